//! Types with codebooks or digits, for the AVX-512 kernels: what `generic::grouped` looks up, joined in registers.

use std::arch::x86_64::*;

use super::super::super::generic::grouped::{Grouped, Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs, Tq10, Tq20, bytes_of};
use super::supers::Super;

/// OFFSET + q of the 64 elements `i`.
///
/// # Safety
/// The super-block is readable; AVX-512 F and BW.
#[inline(always)]
unsafe fn quants<T: Grouped>(block: *const u8, i: usize) -> __m512i {
    // SAFETY: passed on; the rest is register arithmetic.
    unsafe {
        let bytes = bytes_of::<T>(block);
        let ([a, b, c, d], [e, f, g, h]) = (T::quants(bytes, 2 * i), T::quants(bytes, 2 * i + 1));
        let quants = _mm512_setr_epi64(a as i64, b as i64, c as i64, d as i64, e as i64, f as i64, g as i64, h as i64);
        if !T::SIGNED {
            return quants;
        }
        let minus = u64::from(T::signs(bytes, 2 * i)) | u64::from(T::signs(bytes, 2 * i + 1)) << 32;
        let offset = _mm512_set1_epi8(T::OFFSET as i8);
        _mm512_mask_sub_epi8(_mm512_add_epi8(offset, quants), minus, offset, quants)
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
                // SAFETY: passed on; 16 bytes of an array.
                unsafe {
                    let scales = <$ty as Grouped>::scales(bytes_of::<$ty>(block));
                    _mm256_cvtepi8_epi16(_mm_loadu_si128(scales.as_ptr().cast()))
                }
            }
            #[inline(always)]
            unsafe fn mins(_block: *const u8) -> __m256i {
                // SAFETY: no memory.
                unsafe { _mm256_setzero_si256() }
            }
            #[inline(always)]
            unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
                // SAFETY: passed on.
                unsafe { quants::<$ty>(block, I) }
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
