//! Super-blocks of 256 taken apart in registers: 32 elements at a time as signed bytes, in the order of the activations.
//!
//! Layouts as in `generic::unpack`; nothing outside the block is read.

use std::arch::aarch64::*;

use super::lanes;

/// A type with super-blocks of 256: y = d·scale·q − dmin·min.
///
/// # Safety
/// For all functions: `BYTES` bytes are readable at `block`; ASIMD.
pub(super) trait Super {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// Whether scales and minima are per 32 elements, else per 16.
    const PER_32: bool;
    /// Whether the type has minima.
    const MINS: bool;
    /// By what d is multiplied, a power of two.
    const FACTOR: f32 = 1.0;
    /// d, and in the upper half dmin: two f16.
    unsafe fn head(block: *const u8) -> u32;
    /// 16 scales; where there are 8, the upper ones are something else.
    unsafe fn scales(block: *const u8) -> int8x16_t;
    /// 16 minima (or 8, and something else), where the type has them.
    unsafe fn mins(block: *const u8) -> int8x16_t;
    /// Quants `32 * I ..`.
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2];
    /// d of the super-blocks that the lanes are heads of.
    #[inline(always)]
    unsafe fn factors(heads: uint32x4_t) -> float32x4_t {
        // SAFETY: register arithmetic.
        unsafe {
            let d = lanes::low_halves(heads);
            if Self::FACTOR == 1.0 { d } else { vmulq_n_f32(d, Self::FACTOR) }
        }
    }
}

/// 32 bytes, each shifted right by `by` bits (negative is left), and masked. `by` is known where this is inlined.
#[inline(always)]
unsafe fn bits(p: *const u8, by: i32, mask: u8) -> [uint8x16_t; 2] {
    // SAFETY: the caller's promise: 32 bytes are readable.
    unsafe {
        let (by, mask) = (vdupq_n_s8(-by as i8), vdupq_n_u8(mask));
        [vandq_u8(vshlq_u8(vld1q_u8(p), by), mask), vandq_u8(vshlq_u8(vld1q_u8(p.add(16)), by), mask)]
    }
}

/// `low | high`, less `offset`, signed.
#[inline(always)]
unsafe fn joined(low: [uint8x16_t; 2], high: [uint8x16_t; 2], offset: i8) -> [int8x16_t; 2] {
    // SAFETY: register arithmetic.
    unsafe {
        let offset = vdupq_n_s8(offset);
        let join = [vorrq_u8(low[0], high[0]), vorrq_u8(low[1], high[1])];
        [vsubq_s8(vreinterpretq_s8_u8(join[0]), offset), vsubq_s8(vreinterpretq_s8_u8(join[1]), offset)]
    }
}

/// The same bytes, which are below 128.
#[inline(always)]
unsafe fn signed(q: [uint8x16_t; 2]) -> [int8x16_t; 2] {
    // SAFETY: register arithmetic.
    unsafe { [vreinterpretq_s8_u8(q[0]), vreinterpretq_s8_u8(q[1])] }
}

#[inline(always)]
unsafe fn u32_at(p: *const u8, at: usize) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { p.add(at).cast::<u32>().read_unaligned() }
}

/// 16 bytes from four words.
#[inline(always)]
unsafe fn words(words: [u32; 4]) -> int8x16_t {
    let long = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    // SAFETY: register arithmetic.
    unsafe { vcombine_s8(vcreate_s8(long(words[0], words[1])), vcreate_s8(long(words[2], words[3]))) }
}

/// The scales (bytes 0..8) of Q4_K and Q5_K: in packed words a, b, c the low six bits of a, then the low nibbles of c with
/// the top bits of a.
#[inline(always)]
unsafe fn six_bit_scales(block: *const u8) -> int8x16_t {
    // SAFETY: inside the block.
    unsafe {
        let (a, c) = (u32_at(block, 4), u32_at(block, 12));
        words([a & 0x3f3f_3f3f, (c & 0x0f0f_0f0f) | (a >> 2 & 0x3030_3030), 0, 0])
    }
}

/// The minima (bytes 0..8) of Q4_K and Q5_K: as the scales, with b for a and the high nibbles of c.
#[inline(always)]
unsafe fn six_bit_mins(block: *const u8) -> int8x16_t {
    // SAFETY: inside the block.
    unsafe {
        let (b, c) = (u32_at(block, 8), u32_at(block, 12));
        words([b & 0x3f3f_3f3f, (c >> 4 & 0x0f0f_0f0f) | (b >> 2 & 0x3030_3030), 0, 0])
    }
}

pub(super) struct Q4K;
impl Super for Q4K {
    const BYTES: usize = 144;
    const PER_32: bool = true;
    const MINS: bool = true;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u32_at(block, 0) }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> int8x16_t {
        // SAFETY: passed on.
        unsafe { six_bit_scales(block) }
    }
    #[inline(always)]
    unsafe fn mins(block: *const u8) -> int8x16_t {
        // SAFETY: passed on.
        unsafe { six_bit_mins(block) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { signed(bits(block.add(16 + I / 2 * 32), 4 * (I % 2) as i32, 15)) }
    }
}

pub(super) struct Q5K;
impl Super for Q5K {
    const BYTES: usize = 176;
    const PER_32: bool = true;
    const MINS: bool = true;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u32_at(block, 0) }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> int8x16_t {
        // SAFETY: passed on.
        unsafe { six_bit_scales(block) }
    }
    #[inline(always)]
    unsafe fn mins(block: *const u8) -> int8x16_t {
        // SAFETY: passed on.
        unsafe { six_bit_mins(block) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { joined(bits(block.add(48 + I / 2 * 32), 4 * (I % 2) as i32, 15), bits(block.add(16), I as i32 - 4, 0x10), 0) }
    }
}

pub(super) struct Q6K;
impl Super for Q6K {
    const BYTES: usize = 210;
    const PER_32: bool = false;
    const MINS: bool = false;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.add(208).cast::<u16>().read_unaligned().into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> int8x16_t {
        // SAFETY: 16 bytes inside the block.
        unsafe { vld1q_s8(block.add(192).cast()) }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> int8x16_t {
        // SAFETY: no memory.
        unsafe { vdupq_n_s8(0) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2] {
        let (half, quarter) = (I / 4, I % 4);
        // SAFETY: inside the block.
        unsafe {
            let low = bits(block.add(64 * half + quarter % 2 * 32), (quarter / 2 * 4) as i32, 15);
            joined(low, bits(block.add(128 + 32 * half), 2 * quarter as i32 - 4, 0x30), 32)
        }
    }
}

pub(super) struct Q2K;
impl Super for Q2K {
    const BYTES: usize = 84;
    const PER_32: bool = false;
    const MINS: bool = true;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u32_at(block, 80) }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> int8x16_t {
        // SAFETY: 16 bytes inside the block.
        unsafe { vreinterpretq_s8_u8(vandq_u8(vld1q_u8(block), vdupq_n_u8(15))) }
    }
    #[inline(always)]
    unsafe fn mins(block: *const u8) -> int8x16_t {
        // SAFETY: 16 bytes inside the block.
        unsafe { vreinterpretq_s8_u8(vshrq_n_u8::<4>(vld1q_u8(block))) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { signed(bits(block.add(16 + I / 4 * 32), (I % 4 * 2) as i32, 3)) }
    }
}

pub(super) struct Q3K;
impl Super for Q3K {
    const BYTES: usize = 110;
    const PER_32: bool = false;
    const MINS: bool = false;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.add(108).cast::<u16>().read_unaligned().into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> int8x16_t {
        // SAFETY: inside the block: words a and b of nibbles, and c of four planes of two bits.
        unsafe {
            let (a, b, c) = (u32_at(block, 96), u32_at(block, 100), u32_at(block, 104));
            let low = 0x0f0f_0f0f;
            let high = |plane: u32| (c >> (2 * plane) & 0x0303_0303) << 4;
            let scales = words([a & low | high(0), b & low | high(1), a >> 4 & low | high(2), b >> 4 & low | high(3)]);
            vsubq_s8(scales, vdupq_n_s8(32))
        }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> int8x16_t {
        // SAFETY: no memory.
        unsafe { vdupq_n_s8(0) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { joined(bits(block.add(32 + I / 4 * 32), (I % 4 * 2) as i32, 3), bits(block, I as i32 - 2, 4), 4) }
    }
}
