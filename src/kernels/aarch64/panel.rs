//! Products of 16 elements of four rows with N columns at once: by lanes of a dot product, or by pairs of rows and columns.
//!
//! Sums of a panel are N registers. How they are arranged is a matter of the implementation until [`Panel::by_row`].

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::dot::{Dot, smmla};
use super::lanes;

/// Panels of four rows.
///
/// # Safety
/// For all functions: the processor has the instructions; no byte of the columns is −128.
pub(super) trait Panel {
    /// Arranges 16 elements of each of four rows.
    unsafe fn arrange(rows: [int8x16_t; 4]) -> [int8x16_t; 4];
    /// Arranges 16 elements of each column; `N` is even.
    unsafe fn columns<const N: usize>(a: [int8x16_t; N]) -> [int8x16_t; N];
    /// Adds the products of arranged rows with arranged columns.
    unsafe fn products<const N: usize>(sums: &mut [int32x4_t; N], w: &[int8x16_t; 4], a: &[int8x16_t; N]);
    /// Adds `sums`, each times the scale of its row: lane r of `scale` for row r.
    unsafe fn add_scaled<const N: usize>(total: &mut [int32x4_t; N], sums: &[int32x4_t; N], scale: int32x4_t);
    /// The sums of each column, lane r that of row r.
    unsafe fn by_row<const N: usize>(sums: [int32x4_t; N]) -> [int32x4_t; N];
}

/// Register i has elements 4i .. 4i + 4 of the four rows, and meets lane i of a column. Sums are a column's, by row.
pub(super) struct ByLane<D>(PhantomData<D>);
impl<D: Dot> Panel for ByLane<D> {
    #[inline(always)]
    unsafe fn arrange(rows: [int8x16_t; 4]) -> [int8x16_t; 4] {
        // SAFETY: register arithmetic.
        unsafe {
            let [a, b, c, d] = rows;
            let [a, b, c, d] = [vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b), vreinterpretq_s32_s8(c), vreinterpretq_s32_s8(d)];
            let [a, b, c, d] = lanes::transpose([a, b, c, d]);
            [vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b), vreinterpretq_s8_s32(c), vreinterpretq_s8_s32(d)]
        }
    }
    #[inline(always)]
    unsafe fn columns<const N: usize>(a: [int8x16_t; N]) -> [int8x16_t; N] {
        a
    }
    #[inline(always)]
    unsafe fn products<const N: usize>(sums: &mut [int32x4_t; N], w: &[int8x16_t; 4], a: &[int8x16_t; N]) {
        // SAFETY: register arithmetic, under the caller's promise.
        unsafe {
            for c in 0..N {
                sums[c] = D::dot_lane::<0>(sums[c], w[0], a[c]);
            }
            for c in 0..N {
                sums[c] = D::dot_lane::<1>(sums[c], w[1], a[c]);
            }
            for c in 0..N {
                sums[c] = D::dot_lane::<2>(sums[c], w[2], a[c]);
            }
            for c in 0..N {
                sums[c] = D::dot_lane::<3>(sums[c], w[3], a[c]);
            }
        }
    }
    #[inline(always)]
    unsafe fn add_scaled<const N: usize>(total: &mut [int32x4_t; N], sums: &[int32x4_t; N], scale: int32x4_t) {
        for c in 0..N {
            // SAFETY: register arithmetic.
            total[c] = unsafe { vmlaq_s32(total[c], sums[c], scale) };
        }
    }
    #[inline(always)]
    unsafe fn by_row<const N: usize>(sums: [int32x4_t; N]) -> [int32x4_t; N] {
        sums
    }
}

/// Registers 0 and 1 have the lower and the upper 8 elements of rows 0 and 1, registers 2 and 3 those of rows 2 and 3; columns
/// are paired alike. Sums are 2 x 2, those of rows 0 and 1 with all pairs of columns first.
pub(super) struct ByPair;

/// The lower 8 bytes of `a` and of `b`, and the upper.
#[inline(always)]
unsafe fn pair(a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
    // SAFETY: register arithmetic.
    unsafe {
        let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
        [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
    }
}

impl Panel for ByPair {
    #[inline(always)]
    unsafe fn arrange(rows: [int8x16_t; 4]) -> [int8x16_t; 4] {
        // SAFETY: register arithmetic.
        unsafe {
            let ([a, b], [c, d]) = (pair(rows[0], rows[1]), pair(rows[2], rows[3]));
            [a, b, c, d]
        }
    }
    #[inline(always)]
    unsafe fn columns<const N: usize>(mut a: [int8x16_t; N]) -> [int8x16_t; N] {
        const { assert!(N.is_multiple_of(2), "columns come in pairs") };
        for c in (0..N).step_by(2) {
            // SAFETY: register arithmetic.
            [a[c], a[c + 1]] = unsafe { pair(a[c], a[c + 1]) };
        }
        a
    }
    #[inline(always)]
    unsafe fn products<const N: usize>(sums: &mut [int32x4_t; N], w: &[int8x16_t; 4], a: &[int8x16_t; N]) {
        for half in 0..2 {
            for i in 0..N {
                let (rows, columns) = (i / (N / 2), i % (N / 2));
                // SAFETY: register arithmetic, under the caller's promise.
                sums[i] = unsafe { smmla(sums[i], w[2 * rows + half], a[2 * columns + half]) };
            }
        }
    }
    #[inline(always)]
    unsafe fn add_scaled<const N: usize>(total: &mut [int32x4_t; N], sums: &[int32x4_t; N], scale: int32x4_t) {
        // SAFETY: register arithmetic.
        unsafe {
            let scales = [vzip1q_s32(scale, scale), vzip2q_s32(scale, scale)];
            for i in 0..N {
                total[i] = vmlaq_s32(total[i], sums[i], scales[i / (N / 2)]);
            }
        }
    }
    #[inline(always)]
    unsafe fn by_row<const N: usize>(sums: [int32x4_t; N]) -> [int32x4_t; N] {
        let mut out = sums;
        for i in 0..N / 2 {
            // SAFETY: register arithmetic.
            unsafe {
                out[2 * i] = vuzp1q_s32(sums[i], sums[N / 2 + i]);
                out[2 * i + 1] = vuzp2q_s32(sums[i], sums[N / 2 + i]);
            }
        }
        out
    }
}
