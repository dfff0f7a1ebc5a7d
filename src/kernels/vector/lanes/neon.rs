//! Sixteen lanes as four registers of 128 bits, for AArch64.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Lanes;

/// Four 128-bit registers.
#[derive(Clone, Copy)]
pub struct Neon(float32x4_t, float32x4_t, float32x4_t, float32x4_t);

impl Neon {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        Self(f(self.0, b.0), f(self.1, b.1), f(self.2, b.2), f(self.3, b.3))
    }
}

/// Four half floats.
#[inline(always)]
unsafe fn half(from: *const u16) -> float32x4_t {
    // SAFETY: the caller vouches for 4 elements.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from))) }
}

/// Four bfloat16 values.
#[inline(always)]
unsafe fn brain(from: *const u16) -> float32x4_t {
    // SAFETY: the caller vouches for 4 elements.
    unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) }
}

// SAFETY: ASIMD intrinsics on registers; the pointer methods use loads and stores of exactly 16 elements.
#[expect(clippy::undocumented_unsafe_blocks, reason = "each body is intrinsics that the trait's contract vouches for")]
unsafe impl Lanes for Neon {
    // Four of 32 registers each.
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn ask(at: *const u8) {
        // SAFETY: a hint; no address is wrong.
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) at, options(readonly, nostack, preserves_flags)) };
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        let x = unsafe { vdupq_n_f32(x) };
        Self(x, x, x, x)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            vst1q_f32(to, self.0);
            vst1q_f32(to.add(4), self.1);
            vst1q_f32(to.add(8), self.2);
            vst1q_f32(to.add(12), self.3);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        unsafe { Self(half(from), half(from.add(4)), half(from.add(8)), half(from.add(12))) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        let bits = |x: float32x4_t| unsafe { vreinterpret_u16_f16(vcvt_f16_f32(x)) };
        unsafe {
            vst1q_u16(to, vcombine_u16(bits(self.0), bits(self.1)));
            vst1q_u16(to.add(8), vcombine_u16(bits(self.2), bits(self.3)));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        unsafe { Self(brain(from), brain(from.add(4)), brain(from.add(8)), brain(from.add(12))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe {
            let bytes = vld1q_s8(from);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            Self(
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            )
        }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| unsafe { vaddq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| unsafe { vsubq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| unsafe { vmulq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        self.zip(b, |a, b| unsafe { vdivq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        unsafe { Self(vfmaq_f32(c.0, self.0, b.0), vfmaq_f32(c.1, self.1, b.1), vfmaq_f32(c.2, self.2, b.2), vfmaq_f32(c.3, self.3, b.3)) }
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // Not fmax, which prefers a NaN on either side.
        self.zip(b, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }
    #[inline(always)]
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        unsafe {
            Self(
                vbslq_f32(vcltq_f32(self.0, b.0), yes.0, no.0),
                vbslq_f32(vcltq_f32(self.1, b.1), yes.1, no.1),
                vbslq_f32(vcltq_f32(self.2, b.2), yes.2, no.2),
                vbslq_f32(vcltq_f32(self.3, b.3), yes.3, no.3),
            )
        }
    }
    #[inline(always)]
    unsafe fn pow2_biased(self) -> Self {
        unsafe {
            let power = |x: float32x4_t| {
                let biased = vaddq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
            };
            Self(power(self.0), power(self.1), power(self.2), power(self.3))
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let four = vaddq_f32(vaddq_f32(self.0, self.2), vaddq_f32(self.1, self.3));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
}
