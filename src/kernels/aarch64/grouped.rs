//! Types with codebooks or digits: what `generic::grouped` looks up, joined in registers.

use std::arch::aarch64::*;

use super::super::generic::grouped::{Grouped, bytes_of};
use super::supers::Super;

/// The 32 elements `i`.
///
/// # Safety
/// The super-block is readable; ASIMD.
#[inline(always)]
unsafe fn quants<T: Grouped>(block: *const u8, i: usize) -> [int8x16_t; 2] {
    // SAFETY: passed on; the rest is register arithmetic.
    unsafe {
        let bytes = bytes_of::<T>(block);
        let [a, b, c, d] = T::quants(bytes, i);
        let quants = [
            vreinterpretq_s8_u8(vcombine_u8(vcreate_u8(a), vcreate_u8(b))),
            vreinterpretq_s8_u8(vcombine_u8(vcreate_u8(c), vcreate_u8(d))),
        ];
        if !T::SIGNED {
            let offset = vdupq_n_s8(T::OFFSET as i8);
            return [vsubq_s8(quants[0], offset), vsubq_s8(quants[1], offset)];
        }
        // Byte j gets byte j / 8 of the signs, and is negated where bit j % 8 of it is set.
        let bits = vreinterpretq_u8_u32(vdupq_n_u32(T::signs(bytes, i)));
        let which = vcombine_u8(vdup_n_u8(0), vdup_n_u8(1));
        let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
        let low = vtstq_u8(vqtbl1q_u8(bits, which), bit);
        let high = vtstq_u8(vqtbl1q_u8(bits, vaddq_u8(which, vdupq_n_u8(2))), bit);
        [vbslq_s8(low, vnegq_s8(quants[0]), quants[0]), vbslq_s8(high, vnegq_s8(quants[1]), quants[1])]
    }
}

impl<T: Grouped> Super for T {
    const BYTES: usize = <T as Grouped>::BYTES;
    const PER_32: bool = <T as Grouped>::PER_32;
    const MINS: bool = false;
    const FACTOR: f32 = <T as Grouped>::FACTOR;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: passed on.
        unsafe { <T as Grouped>::head(bytes_of::<T>(block)).into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> int8x16_t {
        // SAFETY: passed on; 16 bytes of an array.
        unsafe { vld1q_s8(<T as Grouped>::scales(bytes_of::<T>(block)).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> int8x16_t {
        // SAFETY: no memory.
        unsafe { vdupq_n_s8(0) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: passed on.
        unsafe { quants::<T>(block, I) }
    }
}
