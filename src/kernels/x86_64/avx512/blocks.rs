//! Blocks of 32 taken apart in registers: two blocks at a time as unsigned bytes, in the order of the activations.
//!
//! Layouts as in `generic::unpack`; nothing outside the blocks is read.

use std::arch::x86_64::*;

use super::lanes;

/// A type with blocks of 32, as the AVX-512 kernels see it: y = d·(q − offset) + m.
pub(super) trait Block {
    /// Bytes of a block.
    const BYTES: usize;
    /// What is taken off the unsigned quants is 128 >> SHIFT, or nothing where the type has a minimum.
    const SHIFT: u32;
    /// Whether `m` is part of the type.
    const MIN: bool;
    /// What `scales` takes d from: d, and in the upper half m, two f16.
    ///
    /// # Safety
    /// `BYTES` bytes are readable at `block`.
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { if Self::MIN { block.cast::<u32>().read_unaligned() } else { block.cast::<u16>().read_unaligned().into() } }
    }
    /// The quants of the blocks at `a` and `b`, unsigned.
    ///
    /// # Safety
    /// `BYTES` bytes are readable at both; AVX-512 F and BW.
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i;
    /// d of the blocks that the lanes are heads of.
    ///
    /// # Safety
    /// AVX-512 F.
    #[inline(always)]
    unsafe fn scales(heads: __m512i) -> __m512 {
        // SAFETY: register arithmetic.
        unsafe { lanes::low_halves(heads) }
    }
}

/// Elements of two blocks of nibbles: element j the low nibble of byte j, element j + 16 the high one.
#[inline(always)]
pub(super) unsafe fn nibbles(a: *const u8, b: *const u8) -> __m512i {
    const HIGH: i64 = 0x0004_0004_0004_0004;
    // SAFETY: 16 bytes at each.
    unsafe {
        let low = _mm512_castsi256_si512(_mm256_broadcastsi128_si256(_mm_loadu_si128(a.cast())));
        let both = _mm512_inserti64x4::<1>(low, _mm256_broadcastsi128_si256(_mm_loadu_si128(b.cast())));
        let shifted = _mm512_srlv_epi16(both, _mm512_setr_epi64(0, 0, HIGH, HIGH, 0, 0, HIGH, HIGH));
        _mm512_and_si512(shifted, _mm512_set1_epi8(15))
    }
}

/// Nibbles with bit j of the u32 at `high` as bit 4 of element j.
#[inline(always)]
unsafe fn five_bits(a: *const u8, b: *const u8, high_a: *const u8, high_b: *const u8) -> __m512i {
    // SAFETY: 4 bytes at each of the high parts, 16 at each of the low ones.
    unsafe {
        let bits = u64::from(high_a.cast::<u32>().read_unaligned()) | u64::from(high_b.cast::<u32>().read_unaligned()) << 32;
        let low = nibbles(a, b);
        _mm512_mask_add_epi8(low, bits, low, _mm512_set1_epi8(16))
    }
}

pub(super) struct Q80;
impl Block for Q80 {
    const BYTES: usize = 34;
    const SHIFT: u32 = 0;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: 32 bytes inside each block.
        unsafe {
            let low = _mm512_castsi256_si512(_mm256_loadu_si256(a.add(2).cast()));
            let both = _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(b.add(2).cast()));
            _mm512_xor_si512(both, _mm512_set1_epi8(-128))
        }
    }
}

pub(super) struct Q40;
impl Block for Q40 {
    const BYTES: usize = 18;
    const SHIFT: u32 = 4;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: inside the blocks.
        unsafe { nibbles(a.add(2), b.add(2)) }
    }
}

pub(super) struct Q41;
impl Block for Q41 {
    const BYTES: usize = 20;
    const SHIFT: u32 = 0;
    const MIN: bool = true;
    #[inline(always)]
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: inside the blocks.
        unsafe { nibbles(a.add(4), b.add(4)) }
    }
}

pub(super) struct Q50;
impl Block for Q50 {
    const BYTES: usize = 22;
    const SHIFT: u32 = 3;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: inside the blocks.
        unsafe { five_bits(a.add(6), b.add(6), a.add(2), b.add(2)) }
    }
}

pub(super) struct Q51;
impl Block for Q51 {
    const BYTES: usize = 24;
    const SHIFT: u32 = 0;
    const MIN: bool = true;
    #[inline(always)]
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: inside the blocks.
        unsafe { five_bits(a.add(8), b.add(8), a.add(4), b.add(4)) }
    }
}
