//! Types of 4 bits with a table, for the AVX-512 kernels: IQ4_NL, IQ4_XS, MXFP4.

use std::arch::x86_64::*;

use super::super::super::generic::tables::{DOUBLED, Iq4Nl, Iq4Xs, Mxfp4, UNEQUAL, above, iq4_xs_scales};
use super::blocks::{Block, nibbles};
use super::supers::Super;

/// The values of IQ4_NL and IQ4_XS, 128 above.
pub(super) static UNEQUAL_128: [u8; 16] = above(&UNEQUAL, 128);
/// Twice the values of MXFP4, 16 above.
pub(super) static DOUBLED_16: [u8; 16] = above(&DOUBLED, 16);

/// The bytes of a table at the places that `v` has.
///
/// # Safety
/// AVX-512 BW.
#[inline(always)]
pub(super) unsafe fn looked_up(table: &[u8; 16], v: __m512i) -> __m512i {
    // SAFETY: 16 bytes of the table; the rest is register arithmetic.
    unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), v) }
}

impl Block for Iq4Nl {
    const BYTES: usize = 18;
    const SHIFT: u32 = 0;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: inside the blocks.
        unsafe { looked_up(&UNEQUAL_128, nibbles(a.add(2), b.add(2))) }
    }
}

impl Block for Mxfp4 {
    const BYTES: usize = 17;
    const SHIFT: u32 = 3;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn pair(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: inside the blocks.
        unsafe { looked_up(&DOUBLED_16, nibbles(a.add(1), b.add(1))) }
    }
    /// The heads are the exponent and, above it, the first quants.
    #[inline(always)]
    unsafe fn scales(heads: __m512i) -> __m512 {
        // SAFETY: register arithmetic.
        unsafe {
            // Half of 2^(e − 127), which is subnormal for the two smallest e.
            let e = _mm512_and_si512(heads, _mm512_set1_epi32(0xff));
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
            let small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
            _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, small, _mm512_set1_epi32(0x0020_0000), e))
        }
    }
}

impl Super for Iq4Xs {
    const LARGEST: i32 = 127;
    const NEGATIVE_SCALES: bool = true;
    const BYTES: usize = 136;
    const OFFSET: i32 = 128;
    const PER_32: bool = true;
    const MINS: bool = false;
    const PLANES: usize = 2;
    const NEGATE: bool = false;
    const BIAS: i32 = 64;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.cast::<u16>().read_unaligned().into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe {
            let scales = iq4_xs_scales(block.add(4).cast::<u32>().read_unaligned(), block.add(2).cast::<u16>().read_unaligned());
            _mm256_cvtepi8_epi16(_mm_sub_epi8(_mm_cvtsi64_si128(scales as i64), _mm_set1_epi8(32)))
        }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> __m256i {
        // SAFETY: no memory.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe { looked_up(&UNEQUAL_128, nibbles(block.add(8 + 32 * I), block.add(24 + 32 * I))) }
    }
}
