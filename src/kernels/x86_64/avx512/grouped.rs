//! Types with codebooks or digits, as the AVX-512 kernels see them.

use std::arch::x86_64::*;

use super::super::super::generic::grouped::{Grouped, Tq10, Tq20, bytes_of};
use super::lookup::InRegisters;
use super::supers::{Super, two_bits};

impl InRegisters for Tq10 {
    const PLANES: usize = 1;
    #[inline(always)]
    unsafe fn scales(_block: *const u8) -> __m256i {
        // SAFETY: register arithmetic.
        unsafe { _mm256_set1_epi16(1) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block: 32 bytes of five digits, 16 of five, 4 of four.
        unsafe {
            let first = _mm256_loadu_si256(block.cast());
            let second = _mm_loadu_si128(block.add(32).cast());
            let (low, high) = match I {
                0 => (first, times_three::<1>(first)),
                1 => (times_three::<2>(first), times_three::<3>(first)),
                2 => (times_three::<4>(first), digits_of_16::<0, 1>(second)),
                _ => {
                    let fives = digits_of_16::<2, 3>(second);
                    let four = _mm256_set1_epi32(block.add(48).cast::<i32>().read_unaligned());
                    let fourth = _mm256_castsi256_si128(times_three::<4>(_mm256_castsi128_si256(second)));
                    // Of the last four bytes, one digit after the other.
                    let ones = _mm256_castsi256_si128(four);
                    let twos = _mm256_castsi256_si128(times_three::<1>(four));
                    let threes = _mm256_castsi256_si128(times_three::<2>(four));
                    let last = _mm256_castsi256_si128(times_three::<3>(four));
                    let last = _mm_unpacklo_epi64(_mm_unpacklo_epi32(ones, twos), _mm_unpacklo_epi32(threes, last));
                    (fives, _mm256_set_m128i(last, fourth))
                }
            };
            // The first digit of a fraction of 256: how many of a third and two thirds it reaches.
            let fraction = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            let one = _mm512_set1_epi8(1);
            let digit = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(fraction, _mm512_set1_epi8(86)), one);
            _mm512_mask_add_epi8(digit, _mm512_cmpge_epu8_mask(fraction, _mm512_set1_epi8(171_u8 as i8)), digit, one)
        }
    }
}

/// Bytes times 3 to the power `N`, of which the whole numbers are dropped: the next digits come first.
#[inline(always)]
unsafe fn times_three<const N: usize>(mut v: __m256i) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe {
        for _ in 0..N {
            v = _mm256_add_epi8(v, _mm256_add_epi8(v, v));
        }
        v
    }
}

/// 16 bytes so that digit `A` comes first, and then so that digit `B` does.
#[inline(always)]
unsafe fn digits_of_16<const A: usize, const B: usize>(v: __m128i) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe {
        let v = _mm256_castsi128_si256(v);
        _mm256_set_m128i(_mm256_castsi256_si128(times_three::<B>(v)), _mm256_castsi256_si128(times_three::<A>(v)))
    }
}

impl InRegisters for Tq20 {
    const PLANES: usize = 1;
    #[inline(always)]
    unsafe fn scales(_block: *const u8) -> __m256i {
        // SAFETY: register arithmetic.
        unsafe { _mm256_set1_epi16(1) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: the first 64 bytes of the block.
        unsafe { two_bits::<I>(block) }
    }
}

impl<T: InRegisters> Super for T {
    const BYTES: usize = <T as Grouped>::BYTES;
    const OFFSET: i32 = <T as Grouped>::OFFSET as i32;
    const LARGEST: i32 = {
        let above = <T as Grouped>::LARGEST as i32 - <T as Grouped>::OFFSET as i32;
        // With signs both ends are as far away; else quants begin at 0 at the least.
        if <T as Grouped>::SIGNED || above > <T as Grouped>::OFFSET as i32 { above } else { <T as Grouped>::OFFSET as i32 }
    };
    const NEGATIVE_SCALES: bool = false;
    const PER_32: bool = <T as Grouped>::PER_32;
    const MINS: bool = false;
    const PLANES: usize = <T as InRegisters>::PLANES;
    const NEGATE: bool = false;
    const BIAS: i32 = 64;
    const LOOKED_UP: bool = true;
    const FACTOR: f32 = <T as Grouped>::FACTOR;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: passed on.
        unsafe { <T as Grouped>::head(bytes_of::<T>(block)).into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: passed on.
        unsafe { <T as InRegisters>::scales(block) }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> __m256i {
        // SAFETY: no memory.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: passed on.
        unsafe { <T as InRegisters>::quants::<I>(block) }
    }
}
