//! Super-blocks of 256 taken apart in registers: 32 elements at a time as unsigned bytes, in the order of the activations.
//!
//! Layouts as in `generic::unpack`; nothing outside the block is read.

use std::arch::x86_64::*;

use super::lanes;

/// A type with super-blocks of 256, as the AVX2 kernels see it: y = d·scale·(q − OFFSET) − dmin·min.
///
/// # Safety
/// For all functions: `BYTES` bytes are readable at `block`; AVX2.
pub(super) trait Super {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// What is taken off the unsigned quants.
    const OFFSET: i32;
    /// Whether scales and minima are per 32 elements, else per 16.
    const PER_32: bool;
    /// Whether the type has minima.
    const MINS: bool;
    /// Whether the quants are signed; then there is no offset.
    const SIGNED: bool = false;
    /// How many sums of two products fit an i16 together.
    const ADDS: usize;
    /// By what d is multiplied, a power of two.
    const FACTOR: f32 = 1.0;
    /// d, and in the upper half dmin: two f16.
    unsafe fn head(block: *const u8) -> u32;
    /// 16 scales as i16; where there are 8, the upper ones are something else.
    unsafe fn scales(block: *const u8) -> __m256i;
    /// 16 minima (or 8) as i16.
    unsafe fn mins(block: *const u8) -> __m256i;
    /// Quants `32 * I ..`, unsigned but where `SIGNED`.
    unsafe fn quants<const I: usize>(block: *const u8) -> __m256i;
    /// d of the super-blocks that the lanes are heads of.
    #[inline(always)]
    unsafe fn factors(heads: __m256i) -> __m256 {
        // SAFETY: register arithmetic.
        unsafe {
            let d = lanes::low_halves(heads);
            if Self::FACTOR == 1.0 { d } else { _mm256_mul_ps(d, _mm256_set1_ps(Self::FACTOR)) }
        }
    }
}

/// The scale of each 16-bit lane, that is of two elements, of the 32 elements `I`.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn spread<T: Super, const I: usize>(scales: __m256i) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe {
        let (low, high) = if T::PER_32 { (I, I) } else { (2 * I, 2 * I + 1) };
        let source =
            if low < 8 { _mm256_permute2x128_si256::<0x00>(scales, scales) } else { _mm256_permute2x128_si256::<0x11>(scales, scales) };
        // Both bytes of lane n are 2n and 2n + 1.
        let word = |n: usize| _mm_set1_epi16((0x0100 + 0x0202 * (n % 8)) as i16);
        _mm256_shuffle_epi8(source, _mm256_set_m128i(word(high), word(low)))
    }
}

#[inline(always)]
unsafe fn load(p: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

/// `v` shifted right by `by` bits in 16-bit lanes (negative is left), and masked.
#[inline(always)]
unsafe fn bits(v: __m256i, by: i32, mask: i8) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe {
        let shifted = if by < 0 { _mm256_sll_epi16(v, _mm_cvtsi32_si128(-by)) } else { _mm256_srl_epi16(v, _mm_cvtsi32_si128(by)) };
        _mm256_and_si256(shifted, _mm256_set1_epi8(mask))
    }
}

/// The scales (lanes 0..8) and minima (lanes 8..16) of Q4_K and Q5_K.
#[inline(always)]
unsafe fn six_bit_scales(block: *const u8) -> __m256i {
    // SAFETY: the first 16 bytes of the block: d, dmin and the packed scales a, b, c of 4 bytes each.
    unsafe {
        let x = _mm_loadu_si128(block.cast());
        // Lanes: scales 0..4, scales 4..8, mins 0..4, mins 4..8; from a, c, b, c and the top bits of a and b.
        let low = _mm_srlv_epi32(_mm_shuffle_epi32::<0b11_10_11_01>(x), _mm_setr_epi32(0, 0, 0, 4));
        let low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f_3f3f, 0x0f0f_0f0f, 0x3f3f_3f3f, 0x0f0f_0f0f));
        let high = _mm_srli_epi32::<2>(_mm_shuffle_epi32::<0b10_00_01_00>(x));
        let high = _mm_and_si128(high, _mm_setr_epi32(0, 0x3030_3030, 0, 0x3030_3030));
        _mm256_cvtepu8_epi16(_mm_or_si128(low, high))
    }
}

pub(super) struct Q4K;
impl Super for Q4K {
    const BYTES: usize = 144;
    const OFFSET: i32 = 0;
    const PER_32: bool = true;
    const MINS: bool = true;
    const ADDS: usize = 8;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.cast::<u32>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: passed on.
        unsafe { six_bit_scales(block) }
    }
    #[inline(always)]
    unsafe fn mins(block: *const u8) -> __m256i {
        // SAFETY: passed on.
        unsafe { _mm256_castsi128_si256(_mm256_extracti128_si256::<1>(six_bit_scales(block))) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { bits(load(block.add(16 + I / 2 * 32)), 4 * (I % 2) as i32, 15) }
    }
}

pub(super) struct Q5K;
impl Super for Q5K {
    const BYTES: usize = 176;
    const OFFSET: i32 = 0;
    const PER_32: bool = true;
    const MINS: bool = true;
    const ADDS: usize = 4;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.cast::<u32>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: passed on.
        unsafe { six_bit_scales(block) }
    }
    #[inline(always)]
    unsafe fn mins(block: *const u8) -> __m256i {
        // SAFETY: passed on.
        unsafe { _mm256_castsi128_si256(_mm256_extracti128_si256::<1>(six_bit_scales(block))) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe {
            let low = bits(load(block.add(48 + I / 2 * 32)), 4 * (I % 2) as i32, 15);
            _mm256_or_si256(low, bits(load(block.add(16)), I as i32 - 4, 0x10))
        }
    }
}

pub(super) struct Q6K;
impl Super for Q6K {
    const BYTES: usize = 210;
    const OFFSET: i32 = 32;
    const PER_32: bool = false;
    const MINS: bool = false;
    const ADDS: usize = 2;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.add(208).cast::<u16>().read_unaligned().into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: 16 bytes inside the block.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(block.add(192).cast())) }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> __m256i {
        // SAFETY: no memory.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m256i {
        let (half, quarter) = (I / 4, I % 4);
        // SAFETY: inside the block.
        unsafe {
            let low = bits(load(block.add(64 * half + quarter % 2 * 32)), (quarter / 2 * 4) as i32, 15);
            _mm256_or_si256(low, bits(load(block.add(128 + 32 * half)), 2 * quarter as i32 - 4, 0x30))
        }
    }
}

pub(super) struct Q2K;
impl Super for Q2K {
    const BYTES: usize = 84;
    const OFFSET: i32 = 0;
    const PER_32: bool = false;
    const MINS: bool = true;
    const ADDS: usize = 8;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.add(80).cast::<u32>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: 16 bytes inside the block.
        unsafe { _mm256_cvtepu8_epi16(_mm_and_si128(_mm_loadu_si128(block.cast()), _mm_set1_epi8(15))) }
    }
    #[inline(always)]
    unsafe fn mins(block: *const u8) -> __m256i {
        // SAFETY: 16 bytes inside the block.
        unsafe { _mm256_srli_epi16::<4>(_mm256_cvtepu8_epi16(_mm_loadu_si128(block.cast()))) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { bits(load(block.add(16 + I / 4 * 32)), (I % 4 * 2) as i32, 3) }
    }
}

pub(super) struct Q3K;
impl Super for Q3K {
    const BYTES: usize = 110;
    const OFFSET: i32 = 4;
    const PER_32: bool = false;
    const MINS: bool = false;
    const ADDS: usize = 8;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.add(108).cast::<u16>().read_unaligned().into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: the last 16 bytes of the block, of which 2..14 are the packed scales.
        unsafe {
            let x = _mm_srli_si128::<2>(_mm_loadu_si128(block.add(94).cast()));
            let low = _mm_srlv_epi32(_mm_shuffle_epi32::<0b01_00_01_00>(x), _mm_setr_epi32(0, 0, 4, 4));
            let low = _mm_and_si128(low, _mm_set1_epi8(15));
            let high = _mm_shuffle_epi32::<0b10_10_10_10>(x);
            // A shift by 32 leaves nothing.
            let left = _mm_sllv_epi32(high, _mm_setr_epi32(4, 2, 0, 32));
            let right = _mm_srlv_epi32(high, _mm_setr_epi32(32, 32, 32, 2));
            let high = _mm_and_si128(_mm_or_si128(left, right), _mm_set1_epi8(0x30));
            _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_or_si128(low, high)), _mm256_set1_epi16(32))
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
        unsafe {
            let low = bits(load(block.add(32 + I / 4 * 32)), (I % 4 * 2) as i32, 3);
            _mm256_or_si256(low, bits(load(block), I as i32 - 2, 4))
        }
    }
}
