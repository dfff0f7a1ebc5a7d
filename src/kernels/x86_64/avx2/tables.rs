//! Types of 4 bits with a table, for the AVX2 kernels: IQ4_NL, IQ4_XS, MXFP4.

use std::arch::x86_64::*;

use super::super::super::generic::tables::{DOUBLED, HALF_EXPONENTS, Iq4Nl, Iq4Xs, Mxfp4, UNEQUAL, above, iq4_xs_scales};
use super::blocks::{Block, nibbles};
use super::supers::Super;

/// The bytes of a table at the nibbles of 16 bytes.
///
/// # Safety
/// 16 bytes are readable at `p`; AVX2.
#[inline(always)]
unsafe fn looked_up(table: &[u8; 16], p: *const u8) -> __m256i {
    // SAFETY: 16 bytes of each; the rest is register arithmetic.
    unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), nibbles(p)) }
}

impl Block for Iq4Nl {
    const BYTES: usize = 18;
    const SIGNED: bool = true;
    const SHIFT: u32 = 0;
    const MIN: bool = false;
    const ADDS: usize = 1;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { looked_up(&const { above(&UNEQUAL, 0) }, block.add(2)) }
    }
}

impl Block for Mxfp4 {
    const BYTES: usize = 17;
    const SIGNED: bool = false;
    const SHIFT: u32 = 3;
    const MIN: bool = false;
    const ADDS: usize = 4;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { HALF_EXPONENTS[usize::from(block.read())] }
    }
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { looked_up(&const { above(&DOUBLED, 16) }, block.add(1)) }
    }
    #[inline(always)]
    unsafe fn scales(heads: __m256i) -> __m256 {
        // SAFETY: register arithmetic.
        unsafe { _mm256_castsi256_ps(heads) }
    }
}

impl Super for Iq4Xs {
    const BYTES: usize = 136;
    const OFFSET: i32 = 0;
    const PER_32: bool = true;
    const MINS: bool = false;
    const SIGNED: bool = true;
    const ADDS: usize = 1;
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
    unsafe fn quants<const I: usize>(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { looked_up(&const { above(&UNEQUAL, 0) }, block.add(8 + 16 * I)) }
    }
}
