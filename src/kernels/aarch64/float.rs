//! Dot products with F32 and F16 weights: tiles of two rows by up to three columns, four registers of 4 lanes each.
//!
//! The order is that of `generic::float`: lane l of 16 sums the elements k ≡ l (mod 16), then 8 + 8, 4 + 4, 2 + 2, 1 + 1.

use std::arch::aarch64::*;

use super::super::table::Job;
use super::for_columns;

/// A type of weights that is read 4 at a time.
pub(super) trait Float {
    /// Bytes of an element.
    const BYTES: usize;
    /// 4 elements.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load(p: *const u8) -> float32x4_t;
}

pub(super) struct F32;
impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(p: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(p.cast()) }
    }
}

pub(super) struct F16;
impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(p: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p.cast()))) }
    }
}

/// Runs one product.
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn products<T: Float>(job: &Job<'_>) {
    // SAFETY: passed on; rows and columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [3, 1], {
            for_columns!(row..job.rows, R in [2, 1], tile::<T, R, N>(job, row, first));
        });
    }
}

unsafe fn tile<T: Float, const R: usize, const N: usize>(job: &Job<'_>, row: usize, first: usize) {
    // SAFETY: rows and columns exist; columns are padded to 16 floats, and of the weights only those inside are read.
    unsafe {
        let w: [*const u8; R] = std::array::from_fn(|r| job.weights.as_ptr().add((row + r) * job.row_bytes));
        let a: [*const f32; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride).cast());
        let mut acc = [[[vdupq_n_f32(0.0); 4]; N]; R];
        let whole = job.k / 16;
        for i in 0..whole {
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
                let [x, y, z, t] = acc[r][c];
                let four = vaddq_f32(vaddq_f32(x, z), vaddq_f32(y, t));
                let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
                *job.out_at(row + r, first + c) = vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two);
            }
        }
    }
}

/// 16 elements of each row and column.
#[inline(always)]
unsafe fn step<T: Float, const R: usize, const N: usize>(acc: &mut [[[float32x4_t; 4]; N]; R], w: [*const u8; R], a: [*const f32; N]) {
    // SAFETY: 16 elements are readable at each place.
    unsafe {
        for part in 0..4 {
            let mut columns = [vdupq_n_f32(0.0); N];
            for c in 0..N {
                columns[c] = vld1q_f32(a[c].add(part * 4));
            }
            for r in 0..R {
                let w = T::load(w[r].add(part * 4 * T::BYTES));
                for c in 0..N {
                    acc[r][c][part] = vfmaq_f32(acc[r][c][part], w, columns[c]);
                }
            }
        }
    }
}
