//! Types with codebooks or digits, for the AVX2 kernels: what `generic::grouped` looks up, joined in registers.

use std::arch::x86_64::*;

use super::super::super::generic::grouped::{Grouped, bytes_of};
use super::supers::Super;

/// OFFSET + q of the 32 elements `i`.
///
/// # Safety
/// The super-block is readable; AVX2.
#[inline(always)]
unsafe fn quants<T: Grouped>(block: *const u8, i: usize) -> __m256i {
    // SAFETY: passed on; the rest is register arithmetic.
    unsafe {
        let bytes = bytes_of::<T>(block);
        let [a, b, c, d] = T::quants(bytes, i);
        let quants = _mm256_setr_epi64x(a as i64, b as i64, c as i64, d as i64);
        if !T::SIGNED {
            return quants;
        }
        // Byte j gets byte j / 8 of the signs, and is taken off where bit j % 8 of it is set.
        let bits = _mm256_set1_epi32(T::signs(bytes, i) as i32);
        let which = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let minus = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, which), bit), bit);
        let offset = _mm256_set1_epi8(T::OFFSET as i8);
        // x − m is (x ^ −1) + 1 in each byte where m is −1.
        _mm256_add_epi8(offset, _mm256_sub_epi8(_mm256_xor_si256(quants, minus), minus))
    }
}

/// How many sums of two products of OFFSET + q fit an i16 together, a power of two of at most 8.
const fn adds<T: Grouped>() -> usize {
    match 32767 / (2 * 127 * T::LARGEST as usize) {
        1 => 1,
        2..4 => 2,
        4..8 => 4,
        _ => 8,
    }
}

impl<T: Grouped> Super for T {
    const BYTES: usize = <T as Grouped>::BYTES;
    const OFFSET: i32 = <T as Grouped>::OFFSET as i32;
    const PER_32: bool = <T as Grouped>::PER_32;
    const MINS: bool = false;
    const ADDS: usize = adds::<T>();
    const FACTOR: f32 = <T as Grouped>::FACTOR;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: passed on.
        unsafe { <T as Grouped>::head(bytes_of::<T>(block)).into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: passed on; 16 bytes of an array.
        unsafe {
            let scales = <T as Grouped>::scales(bytes_of::<T>(block));
            _mm256_cvtepi8_epi16(_mm_loadu_si128(scales.as_ptr().cast()))
        }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> __m256i {
        // SAFETY: no memory.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m256i {
        // SAFETY: passed on.
        unsafe { quants::<T>(block, I) }
    }
}
