//! Blocks of 32 taken apart in registers, as signed bytes in the order of the activations.
//!
//! Layouts as in `generic::unpack`; nothing outside the block is read.

use std::arch::aarch64::*;

use super::lanes;

/// A type with blocks of 32: y = d·q + m.
///
/// # Safety
/// For all functions: `BYTES` bytes are readable at `block`; ASIMD.
pub(super) trait Block {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether `m` is part of the type.
    const MIN: bool;
    /// What `scales` takes d from: d, and in the upper half m, two f16.
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { if Self::MIN { block.cast::<u32>().read_unaligned() } else { block.cast::<u16>().read_unaligned().into() } }
    }
    /// The 32 quants.
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2];
    /// d of the blocks that the lanes are heads of.
    #[inline(always)]
    unsafe fn scales(heads: uint32x4_t) -> float32x4_t {
        // SAFETY: register arithmetic.
        unsafe { lanes::low_halves(heads) }
    }
}

/// Element j the low nibble of byte j, element j + 16 the high one.
#[inline(always)]
pub(super) unsafe fn nibbles(p: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: 16 bytes.
    unsafe {
        let bytes = vld1q_u8(p);
        [vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes)]
    }
}

/// Nibbles with bit j of the u32 at `high` as bit 4 of element j.
#[inline(always)]
unsafe fn five_bits(p: *const u8, high: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: 16 bytes and 4 bytes.
    unsafe {
        let bits = vreinterpretq_u8_u32(vdupq_n_u32(high.cast::<u32>().read_unaligned()));
        // Byte j gets byte j / 8 of the bits, and is kept where bit j % 8 of it is set.
        let which = vcombine_u8(vdup_n_u8(0), vdup_n_u8(1));
        let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
        let low = vtstq_u8(vqtbl1q_u8(bits, which), bit);
        let high = vtstq_u8(vqtbl1q_u8(bits, vaddq_u8(which, vdupq_n_u8(2))), bit);
        let [a, b] = nibbles(p);
        let sixteen = vdupq_n_u8(16);
        [vorrq_u8(a, vandq_u8(low, sixteen)), vorrq_u8(b, vandq_u8(high, sixteen))]
    }
}

/// Bytes below 128 less `offset`, signed.
#[inline(always)]
unsafe fn less(q: [uint8x16_t; 2], offset: i8) -> [int8x16_t; 2] {
    // SAFETY: register arithmetic.
    unsafe {
        let offset = vdupq_n_s8(offset);
        [vsubq_s8(vreinterpretq_s8_u8(q[0]), offset), vsubq_s8(vreinterpretq_s8_u8(q[1]), offset)]
    }
}

pub(super) struct Q80;
impl Block for Q80 {
    const BYTES: usize = 34;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: 32 bytes inside the block.
        unsafe { [vld1q_s8(block.add(2).cast()), vld1q_s8(block.add(18).cast())] }
    }
}

pub(super) struct Q40;
impl Block for Q40 {
    const BYTES: usize = 18;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { less(nibbles(block.add(2)), 8) }
    }
}

pub(super) struct Q41;
impl Block for Q41 {
    const BYTES: usize = 20;
    const MIN: bool = true;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { less(nibbles(block.add(4)), 0) }
    }
}

pub(super) struct Q50;
impl Block for Q50 {
    const BYTES: usize = 22;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { less(five_bits(block.add(6), block.add(2)), 16) }
    }
}

pub(super) struct Q51;
impl Block for Q51 {
    const BYTES: usize = 24;
    const MIN: bool = true;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { less(five_bits(block.add(8), block.add(4)), 0) }
    }
}
