//! Registers of four lanes: sums across lanes, transpositions, half floats, and products with one lane.

use std::arch::aarch64::*;

/// Lane i of the result is the sum of the lanes of `v[i]`.
///
/// # Safety
/// ASIMD.
#[inline(always)]
pub(super) unsafe fn sum_4(v: [int32x4_t; 4]) -> int32x4_t {
    // SAFETY: register arithmetic.
    unsafe { vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3])) }
}

/// Rows become columns: lane i of result j is lane j of `v[i]`.
///
/// # Safety
/// ASIMD.
#[inline(always)]
pub(super) unsafe fn transpose(v: [int32x4_t; 4]) -> [int32x4_t; 4] {
    // SAFETY: register arithmetic.
    unsafe {
        let (a, b) = (vreinterpretq_s64_s32(vtrn1q_s32(v[0], v[1])), vreinterpretq_s64_s32(vtrn2q_s32(v[0], v[1])));
        let (c, d) = (vreinterpretq_s64_s32(vtrn1q_s32(v[2], v[3])), vreinterpretq_s64_s32(vtrn2q_s32(v[2], v[3])));
        [
            vreinterpretq_s32_s64(vtrn1q_s64(a, c)),
            vreinterpretq_s32_s64(vtrn1q_s64(b, d)),
            vreinterpretq_s32_s64(vtrn2q_s64(a, c)),
            vreinterpretq_s32_s64(vtrn2q_s64(b, d)),
        ]
    }
}

/// 16 bytes as lanes of 32 bits.
///
/// # Safety
/// ASIMD.
#[inline(always)]
pub(super) unsafe fn widen(bytes: int8x16_t) -> [int32x4_t; 4] {
    // SAFETY: register arithmetic.
    unsafe {
        let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
        [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)]
    }
}

/// `acc` + `v` · scale `j` of 16. `j` is known where this is inlined.
///
/// # Safety
/// ASIMD.
#[inline(always)]
pub(super) unsafe fn add_scaled(acc: int32x4_t, v: int32x4_t, scales: &[int32x4_t; 4], j: usize) -> int32x4_t {
    let four = scales[j / 4];
    // SAFETY: register arithmetic.
    unsafe {
        match j % 4 {
            0 => vmlaq_laneq_s32::<0>(acc, v, four),
            1 => vmlaq_laneq_s32::<1>(acc, v, four),
            2 => vmlaq_laneq_s32::<2>(acc, v, four),
            _ => vmlaq_laneq_s32::<3>(acc, v, four),
        }
    }
}

/// The f16 in the low half of each lane, as f32.
///
/// # Safety
/// ASIMD.
#[inline(always)]
pub(super) unsafe fn low_halves(v: uint32x4_t) -> float32x4_t {
    // SAFETY: register arithmetic.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(v))) }
}

/// The f16 in the high half of each lane, as f32.
///
/// # Safety
/// ASIMD.
#[inline(always)]
pub(super) unsafe fn high_halves(v: uint32x4_t) -> float32x4_t {
    // SAFETY: register arithmetic.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32::<16>(v))) }
}

/// Stores the first `n` lanes.
///
/// # Safety
/// ASIMD; the smaller of `n` and 4 floats are writable.
#[inline(always)]
pub(super) unsafe fn store_first(p: *mut f32, n: usize, v: float32x4_t) {
    // SAFETY: the caller's promise; the array has four lanes.
    unsafe {
        if n >= 4 {
            vst1q_f32(p, v);
        } else {
            let mut lanes = [0.0f32; 4];
            vst1q_f32(lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n);
        }
    }
}
