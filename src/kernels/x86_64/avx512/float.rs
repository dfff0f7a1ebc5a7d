//! Dot products with F32 and F16 weights: tiles of a few rows by a few columns, one register of 16 lanes each. For many columns see `decoded`.
//!
//! The order is that of `generic::float`: lane l sums the elements k ≡ l (mod 16), then 8 + 8, 4 + 4, 2 + 2, 1 + 1.

use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::{Ahead, Lead};
use super::super::for_columns;
use super::{decoded, lanes};

/// A type of weights that is read 16 at a time.
pub(super) trait Float {
    /// Bytes of an element.
    const BYTES: usize;
    /// The elements at `p` whose bit is set in `mask`, zero for the others, which are not read.
    ///
    /// # Safety
    /// The elements are readable; AVX-512 F, BW, VL.
    unsafe fn load(p: *const u8, mask: __mmask16) -> __m512;
}

pub(super) struct F32;
impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(p: *const u8, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(mask, p.cast()) }
    }
}

pub(super) struct F16;
impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(p: *const u8, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p.cast())) }
    }
}

/// Runs one product.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL.
pub(super) unsafe fn products<T: Float>(job: &Job<'_>, scratch: &mut [u8]) {
    if decoded::are_many(job.acts.cols) {
        // SAFETY: passed on.
        return unsafe { decoded::products::<T>(job, scratch) };
    }
    let lead = Lead::of(job);
    // SAFETY: passed on; rows and columns exist.
    unsafe {
        if job.acts.cols <= 4 {
            // Few rows side by side: each is a stream of its own from memory.
            for_columns!(row..job.rows, R in [1], {
                for_columns!(first..job.acts.cols, N in [4, 2, 1], tile::<T, R, N>(job, lead, row, first));
            });
        } else {
            for_columns!(first..job.acts.cols, N in [6, 4, 2, 1], {
                for_columns!(row..job.rows, R in [4, 2, 1], tile::<T, R, N>(job, lead, row, first));
            });
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn tile<T: Float, const R: usize, const N: usize>(job: &Job<'_>, lead: Lead, row: usize, first: usize) {
    // SAFETY: rows and columns exist; columns are padded to 16 floats, and of the weights only those inside are read.
    unsafe {
        let w: [*const u8; R] = std::array::from_fn(|r| job.weights.as_ptr().add((row + r) * job.row_bytes));
        let a: [*const f32; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride).cast());
        let mut acc = [[_mm512_setzero_ps(); N]; R];
        let whole = job.k / 16;
        let ahead = Ahead::of(job, lead, row, R);
        for i in 0..whole {
            // Once per line, by the columns that come first.
            if first == 0 && (i * 16 * T::BYTES).is_multiple_of(64) {
                for r in 0..R {
                    ahead.pass(w[r].add(i * 16 * T::BYTES), 64);
                }
            }
            let w: [__m512; R] = std::array::from_fn(|r| T::load(w[r].add(i * 16 * T::BYTES), 0xffff));
            for c in 0..N {
                let a = _mm512_loadu_ps(a[c].add(i * 16));
                for r in 0..R {
                    acc[r][c] = _mm512_fmadd_ps(w[r], a, acc[r][c]);
                }
            }
        }
        if !job.k.is_multiple_of(16) {
            let mask = lanes::first(job.k % 16);
            for r in 0..R {
                let w = T::load(w[r].add(whole * 16 * T::BYTES), mask);
                for c in 0..N {
                    acc[r][c] = _mm512_fmadd_ps(w, _mm512_loadu_ps(a[c].add(whole * 16)), acc[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..N {
                *job.out_at(row + r, first + c) = sum(acc[r][c]);
            }
        }
    }
}

/// The sum of 16 lanes in the order of the definition.
///
/// # Safety
/// AVX-512 F and DQ.
#[inline(always)]
pub(super) unsafe fn sum(v: __m512) -> f32 {
    // SAFETY: register arithmetic.
    unsafe {
        let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
        super::super::sum_8(v)
    }
}
