//! Sums of four products of signed bytes in each lane of 32 bits: one instruction, or what baseline ASIMD makes of it.
//!
//! The instructions are written as assembly because their intrinsics are not stable in the oldest compiler that we support. The
//! wrappers are inlined into functions that enable the feature ([`Level::enter`](super::level::Level::enter)); none is called by
//! itself.

use std::arch::aarch64::*;
use std::arch::asm;

/// Dot products of four bytes.
pub(super) trait Dot {
    /// Lane i of the result is that of `acc` plus the products of bytes 4i .. 4i + 4.
    ///
    /// # Safety
    /// The processor has the instruction. No byte of `a` is −128.
    unsafe fn dot(acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t;

    /// As [`dot`](Self::dot), every lane with the bytes 4 · LANE .. of `a`.
    ///
    /// # Safety
    /// As [`dot`](Self::dot); `LANE` < 4.
    unsafe fn dot_lane<const LANE: i32>(acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t;
}

/// Baseline ASIMD.
pub(super) struct Widening;
impl Dot for Widening {
    #[inline(always)]
    unsafe fn dot(acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
        // SAFETY: register arithmetic. A sum of two products is at most 2 · 128 · 127 and fits 16 bits.
        unsafe {
            let low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
            let high = vmull_high_s8(w, a);
            vpadalq_s16(acc, vpaddq_s16(low, high))
        }
    }
    #[inline(always)]
    unsafe fn dot_lane<const LANE: i32>(acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
        // SAFETY: register arithmetic.
        unsafe { Self::dot(acc, w, vreinterpretq_s8_s32(vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s8(a)))) }
    }
}

/// `sdot` of the feature `dotprod`.
pub(super) struct Sdot;
impl Dot for Sdot {
    #[inline(always)]
    unsafe fn dot(mut acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
        // SAFETY: one instruction on registers, which the processor has.
        unsafe {
            asm!(
                "sdot {acc:v}.4s, {w:v}.16b, {a:v}.16b",
                acc = inout(vreg) acc, w = in(vreg) w, a = in(vreg) a,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        acc
    }
    #[inline(always)]
    unsafe fn dot_lane<const LANE: i32>(mut acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
        // SAFETY: one instruction on registers, which the processor has.
        unsafe {
            asm!(
                "sdot {acc:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
                acc = inout(vreg) acc, w = in(vreg) w, a = in(vreg) a, lane = const LANE,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        acc
    }
}

/// `smmla` of the feature `i8mm`: `w` and `a` are 2 x 8 bytes, and `acc` the 2 x 2 products of their rows, those of the first row of `w` first.
///
/// # Safety
/// The processor has the instruction.
#[inline(always)]
pub(super) unsafe fn smmla(mut acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, which the processor has.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {w:v}.16b, {a:v}.16b",
            acc = inout(vreg) acc, w = in(vreg) w, a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
