//! Types with codebooks or digits, as the AVX-512 kernels see them.

use std::arch::x86_64::*;

use super::super::super::generic::grouped::{Grouped, Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs, Tq10, Tq20, bytes_of};
use super::lookup::InRegisters;
use super::supers::Super;

/// A ternary type, of which 64 elements are OFFSET + q.
///
/// # Safety
/// The super-block is readable; AVX-512 F.
#[inline(always)]
unsafe fn digits<T: Grouped>(block: *const u8, i: usize) -> __m512i {
    // SAFETY: passed on.
    unsafe {
        let bytes = bytes_of::<T>(block);
        let ([a, b, c, d], [e, f, g, h]) = (T::quants(bytes, 2 * i), T::quants(bytes, 2 * i + 1));
        _mm512_setr_epi64(a as i64, b as i64, c as i64, d as i64, e as i64, f as i64, g as i64, h as i64)
    }
}

impl InRegisters for Tq10 {
    #[inline(always)]
    unsafe fn scales(_block: *const u8) -> __m256i {
        // SAFETY: register arithmetic.
        unsafe { _mm256_set1_epi16(1) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: passed on.
        unsafe { digits::<Self>(block, I) }
    }
}

impl InRegisters for Tq20 {
    #[inline(always)]
    unsafe fn scales(_block: *const u8) -> __m256i {
        // SAFETY: register arithmetic.
        unsafe { _mm256_set1_epi16(1) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: passed on.
        unsafe { digits::<Self>(block, I) }
    }
}

macro_rules! grouped {
    ($($ty:ident: $planes:literal;)*) => {
        $(impl Super for $ty {
            const BYTES: usize = <$ty as Grouped>::BYTES;
            const OFFSET: i32 = <$ty as Grouped>::OFFSET as i32;
            const PER_32: bool = <$ty as Grouped>::PER_32;
            const MINS: bool = false;
            const PLANES: usize = $planes;
            const NEGATE: bool = false;
            const BIAS: i32 = 64;
            const FACTOR: f32 = <$ty as Grouped>::FACTOR;
            #[inline(always)]
            unsafe fn head(block: *const u8) -> u32 {
                // SAFETY: passed on.
                unsafe { <$ty as Grouped>::head(bytes_of::<$ty>(block)).into() }
            }
            #[inline(always)]
            unsafe fn scales(block: *const u8) -> __m256i {
                // SAFETY: passed on.
                unsafe { <$ty as InRegisters>::scales(block) }
            }
            #[inline(always)]
            unsafe fn mins(_block: *const u8) -> __m256i {
                // SAFETY: no memory.
                unsafe { _mm256_setzero_si256() }
            }
            #[inline(always)]
            unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
                // SAFETY: passed on.
                unsafe { <$ty as InRegisters>::quants::<I>(block) }
            }
        })*
    };
}

grouped! {
    Iq1S: 2;
    Iq1M: 2;
    Iq2Xxs: 2;
    Iq2Xs: 2;
    Iq2S: 2;
    Iq3Xxs: 2;
    Iq3S: 2;
    Tq10: 1;
    Tq20: 1;
}
