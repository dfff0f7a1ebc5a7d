//! Blocks of 32 taken apart in registers, in the order of the activations.
//!
//! Layouts as in `generic::unpack`; nothing outside the block is read.

use std::arch::x86_64::*;

use super::lanes;

/// A type with blocks of 32, as the AVX2 kernels see it: y = d·(q − offset) + m.
///
/// # Safety
/// For all functions: `BYTES` bytes are readable at `block`; AVX2.
pub(super) trait Block {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether the quants are signed; then there is no offset.
    const SIGNED: bool;
    /// What is taken off unsigned quants is 128 >> SHIFT, or nothing where the type has a minimum.
    const SHIFT: u32;
    /// Whether `m` is part of the type.
    const MIN: bool;
    /// How many sums of two products fit an i16 together.
    const ADDS: usize;
    /// What `scales` takes d from: d, and in the upper half m, two f16.
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { if Self::MIN { block.cast::<u32>().read_unaligned() } else { block.cast::<u16>().read_unaligned().into() } }
    }
    /// The 32 quants.
    unsafe fn quants(block: *const u8) -> __m256i;
    /// d of the blocks that the lanes are heads of.
    #[inline(always)]
    unsafe fn scales(heads: __m256i) -> __m256 {
        // SAFETY: register arithmetic.
        unsafe { lanes::low_halves(heads) }
    }
}

/// Element j the low nibble of byte j, element j + 16 the high one.
#[inline(always)]
pub(super) unsafe fn nibbles(p: *const u8) -> __m256i {
    // SAFETY: 16 bytes.
    unsafe {
        let bytes = _mm_loadu_si128(p.cast());
        _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes), _mm256_set1_epi8(15))
    }
}

/// Nibbles with bit j of the u32 at `high` as bit 4 of element j.
#[inline(always)]
unsafe fn five_bits(p: *const u8, high: *const u8) -> __m256i {
    // SAFETY: 16 bytes and 4 bytes.
    unsafe {
        let bits = _mm256_set1_epi32(high.cast::<i32>().read_unaligned());
        // Byte j gets byte j / 8 of the bits, and keeps bit j % 8 of it.
        let which = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, which), bit), bit);
        _mm256_or_si256(nibbles(p), _mm256_and_si256(set, _mm256_set1_epi8(16)))
    }
}

pub(super) struct Q80;
impl Block for Q80 {
    const BYTES: usize = 34;
    const SIGNED: bool = true;
    const SHIFT: u32 = 0;
    const MIN: bool = false;
    const ADDS: usize = 1;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> __m256i {
        // SAFETY: 32 bytes inside the block.
        unsafe { _mm256_loadu_si256(block.add(2).cast()) }
    }
}

pub(super) struct Q40;
impl Block for Q40 {
    const BYTES: usize = 18;
    const SIGNED: bool = false;
    const SHIFT: u32 = 4;
    const MIN: bool = false;
    const ADDS: usize = 8;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { nibbles(block.add(2)) }
    }
}

pub(super) struct Q41;
impl Block for Q41 {
    const BYTES: usize = 20;
    const SIGNED: bool = false;
    const SHIFT: u32 = 0;
    const MIN: bool = true;
    const ADDS: usize = 8;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { nibbles(block.add(4)) }
    }
}

pub(super) struct Q50;
impl Block for Q50 {
    const BYTES: usize = 22;
    const SIGNED: bool = false;
    const SHIFT: u32 = 3;
    const MIN: bool = false;
    const ADDS: usize = 4;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { five_bits(block.add(6), block.add(2)) }
    }
}

pub(super) struct Q51;
impl Block for Q51 {
    const BYTES: usize = 24;
    const SIGNED: bool = false;
    const SHIFT: u32 = 0;
    const MIN: bool = true;
    const ADDS: usize = 4;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { five_bits(block.add(8), block.add(4)) }
    }
}
