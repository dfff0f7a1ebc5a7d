//! Dot products with F32 and F16 weights: tiles of two rows by up to three columns, two registers of 8 lanes each.
//!
//! The order is that of `generic::float`: lane l of 16 sums the elements k ≡ l (mod 16), then 8 + 8, 4 + 4, 2 + 2, 1 + 1.

use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::{Ahead, Lead};
use super::super::for_columns;

/// A type of weights that is read 8 at a time.
pub(super) trait Float {
    /// Bytes of an element.
    const BYTES: usize;
    /// 8 elements.
    ///
    /// # Safety
    /// They are readable; AVX2 and F16C.
    unsafe fn load(p: *const u8) -> __m256;
}

pub(super) struct F32;
impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }
}

pub(super) struct F16;
impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
}

/// Runs one product.
///
/// # Safety
/// As `Table::matmul`; AVX2, FMA, F16C.
pub(super) unsafe fn products<T: Float>(job: &Job<'_>) {
    let lead = Lead::of(job);
    // SAFETY: passed on; rows and columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [3, 1], {
            for_columns!(row..job.rows, R in [2, 1], tile::<T, R, N>(job, lead, row, first));
        });
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<T: Float, const R: usize, const N: usize>(job: &Job<'_>, lead: Lead, row: usize, first: usize) {
    // SAFETY: rows and columns exist; columns are padded to 16 floats, and of the weights only those inside are read.
    unsafe {
        let w: [*const u8; R] = std::array::from_fn(|r| job.weights.as_ptr().add((row + r) * job.row_bytes));
        let a: [*const f32; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride).cast());
        let mut acc = [[[_mm256_setzero_ps(); 2]; N]; R];
        let whole = job.k / 16;
        let ahead = Ahead::of(job, lead, row, R);
        for i in 0..whole {
            // Once per line, by the columns that come first.
            if first == 0 && (i * 16 * T::BYTES).is_multiple_of(64) {
                for r in 0..R {
                    ahead.pass(w[r].add(i * 16 * T::BYTES), 64);
                }
            }
            step::<T, R, N>(&mut acc, w.map(|w| w.add(i * 16 * T::BYTES)), a.map(|a| a.add(i * 16)));
        }
        if !job.k.is_multiple_of(16) {
            let mut tail = [[0u8; 64]; R];
            for r in 0..R {
                let bytes = job.k % 16 * T::BYTES;
                std::ptr::copy_nonoverlapping(w[r].add(whole * 16 * T::BYTES), tail[r].as_mut_ptr(), bytes);
            }
            step::<T, R, N>(&mut acc, std::array::from_fn(|r| tail[r].as_ptr()), a.map(|a| a.add(whole * 16)));
        }
        for r in 0..R {
            for c in 0..N {
                *job.out_at(row + r, first + c) = super::super::sum_8(_mm256_add_ps(acc[r][c][0], acc[r][c][1]));
            }
        }
    }
}

/// 16 elements of each row and column.
#[inline(always)]
unsafe fn step<T: Float, const R: usize, const N: usize>(acc: &mut [[[__m256; 2]; N]; R], w: [*const u8; R], a: [*const f32; N]) {
    // SAFETY: 16 elements are readable at each place.
    unsafe {
        for half in 0..2 {
            let a: [__m256; N] = std::array::from_fn(|c| _mm256_loadu_ps(a[c].add(half * 8)));
            for r in 0..R {
                let w = T::load(w[r].add(half * 8 * T::BYTES));
                for c in 0..N {
                    acc[r][c][half] = _mm256_fmadd_ps(w, a[c], acc[r][c][half]);
                }
            }
        }
    }
}
