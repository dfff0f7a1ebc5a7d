//! Super-blocks of 256 taken apart in registers: 64 elements at a time as unsigned bytes, in the order of the activations.
//!
//! Layouts as in `generic::unpack`; nothing outside the block is read.

use std::arch::x86_64::*;

use super::lanes;

/// A type with super-blocks of 256, as the AVX-512 kernels see it: y = d·scale·(q − OFFSET) − dmin·min.
///
/// # Safety
/// For all functions: `BYTES` bytes are readable at `block`; AVX-512 F, BW, DQ, VL.
pub(in crate::kernels::x86_64) trait Super {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// What is taken off the unsigned quants.
    const OFFSET: i32;
    /// Whether scales and minima are per 32 elements, else per 16.
    const PER_32: bool;
    /// Elements that share a scale.
    const SUB_BLOCK_LEN: usize = if Self::PER_32 { 32 } else { 16 };
    /// Whether the type has minima.
    const MINS: bool;
    /// Bytes that hold w = scale · (q − OFFSET), or −w where `NEGATE`: one signed byte, or the low 7 bits and a signed rest.
    const PLANES: usize;
    /// Whether the planes hold −w.
    const NEGATE: bool;
    /// What makes the last plane unsigned when it is added: 0, 64 or 128.
    const BIAS: i32;
    /// Whether the four parts of the quants share the looking up.
    const LOOKED_UP: bool = false;
    /// The largest |q − OFFSET|: whether sums of sub-blocks fit 16 bits (see `tile::totals`).
    const LARGEST: i32;
    /// Whether scales may be below zero.
    const NEGATIVE_SCALES: bool;
    /// By what d is multiplied, a power of two.
    const FACTOR: f32 = 1.0;
    /// d, and in the upper half dmin: two f16.
    unsafe fn head(block: *const u8) -> u32;
    /// 16 scales as i16; where there are 8, the upper ones are something else.
    unsafe fn scales(block: *const u8) -> __m256i;
    /// 16 minima (or 8) as i16.
    unsafe fn mins(block: *const u8) -> __m256i;
    /// Quants `64 * I ..`, unsigned.
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i;
    /// d of the super-blocks that the lanes are heads of.
    #[inline(always)]
    unsafe fn factors(heads: __m512i) -> __m512 {
        // SAFETY: register arithmetic.
        unsafe {
            let d = lanes::low_halves(heads);
            if Self::FACTOR == 1.0 { d } else { _mm512_mul_ps(d, _mm512_set1_ps(Self::FACTOR)) }
        }
    }
    /// −OFFSET times the sum of the activations of sub-block `j` of super-block `b`; `offsets16` are all of a column.
    #[inline(always)]
    unsafe fn minus_offset(offsets16: *const i32, b: usize, j: usize) -> __m512i {
        let at = b * 16 + if Self::PER_32 { 2 * j } else { j };
        // SAFETY: the caller's column has a sum times −32 for each 16 elements.
        unsafe {
            let mut minus_32 = _mm512_set1_epi32(offsets16.add(at).read());
            if Self::PER_32 {
                minus_32 = _mm512_add_epi32(minus_32, _mm512_set1_epi32(offsets16.add(at + 1).read()));
            }
            match Self::OFFSET {
                1 => _mm512_srai_epi32::<5>(minus_32),
                4 => _mm512_srai_epi32::<3>(minus_32),
                16 => _mm512_srai_epi32::<1>(minus_32),
                32 => minus_32,
                64 => _mm512_slli_epi32::<1>(minus_32),
                128 => _mm512_slli_epi32::<2>(minus_32),
                _ => unreachable!("an offset without a shift"),
            }
        }
    }
}

/// A type with scales per 32 elements, as products with few columns read it.
///
/// # Safety
/// As for [`Super`].
pub(in crate::kernels::x86_64) trait Super32: Super {
    /// The heads of a super-block in each of four rows; and for each of them 8 scales and 8 minima, as bytes.
    unsafe fn heads_scales_and_mins(blocks: &[*const u8; 4]) -> (__m128i, __m512i);
    /// Quants `32 * I ..`, unsigned.
    unsafe fn quants32<const I: usize>(block: *const u8) -> __m256i;
}

/// For each quarter of 64 elements: which of the scales belongs to each 16-bit lane, that is, to two elements.
#[repr(align(64))]
struct Order([[u16; 32]; 4]);

static PER_16: Order = order(8);
static PER_32: Order = order(16);

const fn order(lanes_per_scale: usize) -> Order {
    let mut table = [[0; 32]; 4];
    let mut lane = 0;
    while lane < 128 {
        table[lane / 32][lane % 32] = (lane / lanes_per_scale) as u16;
        lane += 1;
    }
    Order(table)
}

/// The scale of each 16-bit lane of quarter `I`.
///
/// # Safety
/// AVX-512 BW.
#[inline(always)]
pub(super) unsafe fn spread<T: Super, const I: usize>(scales: __m256i) -> __m512i {
    let order = if T::PER_32 { &PER_32 } else { &PER_16 };
    // SAFETY: 64 bytes of the table; the rest is register arithmetic.
    unsafe { _mm512_permutexvar_epi16(_mm512_load_si512(order.0[I].as_ptr().cast()), _mm512_castsi256_si512(scales)) }
}

#[inline(always)]
unsafe fn u32_at(p: *const u8) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { p.cast::<u32>().read_unaligned() }
}

#[inline(always)]
unsafe fn u16_at(p: *const u8) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { p.cast::<u16>().read_unaligned().into() }
}

/// 32 bytes in both halves.
#[inline(always)]
unsafe fn twice(p: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_broadcast_i64x4(_mm256_loadu_si256(p.cast())) }
}

/// `v` with its 16-bit lanes shifted right, the lower half by `low` and the upper half by `high` bits; negative is left.
#[inline(always)]
unsafe fn shift(v: __m512i, low: i16, high: i16) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe {
        let counts = |low: i16, high: i16| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(_mm256_set1_epi16(low)), _mm256_set1_epi16(high));
        if low < 0 || high < 0 { _mm512_sllv_epi16(v, counts(-low, -high)) } else { _mm512_srlv_epi16(v, counts(low, high)) }
    }
}

/// `base | (v & mask)`.
#[inline(always)]
unsafe fn or_masked(base: __m512i, v: __m512i, mask: i8) -> __m512i {
    // SAFETY: register arithmetic. 0xf8 is a | (b & c).
    unsafe { _mm512_ternarylogic_epi32::<0xf8>(base, v, _mm512_set1_epi8(mask)) }
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

/// Of four super-blocks of Q4_K or Q5_K the heads, and for each the 8 scales and 8 minima: as [`six_bit_scales`], in bytes.
#[inline(always)]
unsafe fn six_bit_values(blocks: &[*const u8; 4]) -> (__m128i, __m512i) {
    // SAFETY: the first 16 bytes of each block.
    unsafe {
        let mut x = _mm512_castsi128_si512(_mm_loadu_si128(blocks[0].cast()));
        x = _mm512_inserti32x4::<1>(x, _mm_loadu_si128(blocks[1].cast()));
        x = _mm512_inserti32x4::<2>(x, _mm_loadu_si128(blocks[2].cast()));
        x = _mm512_inserti32x4::<3>(x, _mm_loadu_si128(blocks[3].cast()));
        let counts = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 4));
        let lower = _mm512_broadcast_i32x4(_mm_setr_epi32(0x3f3f_3f3f, 0x0f0f_0f0f, 0x3f3f_3f3f, 0x0f0f_0f0f));
        let upper = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x3030_3030, 0, 0x3030_3030));
        let low = _mm512_and_si512(_mm512_srlv_epi32(_mm512_shuffle_epi32::<0b11_10_11_01>(x), counts), lower);
        let high = _mm512_srli_epi32::<2>(_mm512_shuffle_epi32::<0b10_00_01_00>(x));
        let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
        let heads = _mm512_castsi512_si128(_mm512_permutexvar_epi32(first, x));
        // 0xf8 is a | (b & c).
        (heads, _mm512_ternarylogic_epi32::<0xf8>(low, high, upper))
    }
}

/// Quarter `I` of 128 bytes of nibbles: 32 low ones, then the 32 high ones of the same bytes.
#[inline(always)]
unsafe fn nibble_pair<const I: usize>(qs: *const u8) -> __m512i {
    // SAFETY: 32 of the 128 bytes.
    unsafe { _mm512_and_si512(shift(twice(qs.add(32 * I)), 0, 4), _mm512_set1_epi8(15)) }
}

pub(in crate::kernels::x86_64) struct Q4K;
impl Super for Q4K {
    const LARGEST: i32 = 15;
    const NEGATIVE_SCALES: bool = false;
    const BYTES: usize = 144;
    const OFFSET: i32 = 0;
    const PER_32: bool = true;
    const MINS: bool = true;
    const PLANES: usize = 2;
    const NEGATE: bool = false;
    const BIAS: i32 = 0;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u32_at(block) }
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
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe { nibble_pair::<I>(block.add(16)) }
    }
}

impl Super32 for Q4K {
    #[inline(always)]
    unsafe fn heads_scales_and_mins(blocks: &[*const u8; 4]) -> (__m128i, __m512i) {
        // SAFETY: passed on.
        unsafe { six_bit_values(blocks) }
    }
    #[inline(always)]
    unsafe fn quants32<const I: usize>(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { nibbles32::<I>(block.add(16)) }
    }
}

/// The low nibbles of 32 of the 128 bytes at `qs` where `I` is even, the high ones of the same bytes where it is odd.
#[inline(always)]
unsafe fn nibbles32<const I: usize>(qs: *const u8) -> __m256i {
    // SAFETY: 32 of the 128 bytes.
    unsafe {
        let bytes = _mm256_loadu_si256(qs.add(I / 2 * 32).cast());
        let bytes = if I.is_multiple_of(2) { bytes } else { _mm256_srli_epi16::<4>(bytes) };
        _mm256_and_si256(bytes, _mm256_set1_epi8(15))
    }
}

pub(in crate::kernels::x86_64) struct Q5K;
impl Super32 for Q5K {
    #[inline(always)]
    unsafe fn heads_scales_and_mins(blocks: &[*const u8; 4]) -> (__m128i, __m512i) {
        // SAFETY: passed on.
        unsafe { six_bit_values(blocks) }
    }
    #[inline(always)]
    unsafe fn quants32<const I: usize>(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe {
            let high = _mm256_loadu_si256(block.add(16).cast());
            // Bit I goes to bit 4.
            let high = match I {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<3>(high),
                2 => _mm256_slli_epi16::<2>(high),
                3 => _mm256_slli_epi16::<1>(high),
                4 => high,
                5 => _mm256_srli_epi16::<1>(high),
                6 => _mm256_srli_epi16::<2>(high),
                _ => _mm256_srli_epi16::<3>(high),
            };
            // 0xf8 is a | (b & c).
            _mm256_ternarylogic_epi32::<0xf8>(nibbles32::<I>(block.add(48)), high, _mm256_set1_epi8(0x10))
        }
    }
}
impl Super for Q5K {
    const LARGEST: i32 = 31;
    const NEGATIVE_SCALES: bool = false;
    const BYTES: usize = 176;
    const OFFSET: i32 = 0;
    const PER_32: bool = true;
    const MINS: bool = true;
    const PLANES: usize = 2;
    const NEGATE: bool = false;
    const BIAS: i32 = 0;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u32_at(block) }
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
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let high = twice(block.add(16));
            // Bits 2I and 2I + 1 go to bit 4.
            let high = match I {
                0 => shift(high, -4, -3),
                1 => shift(high, -2, -1),
                2 => shift(high, 0, 1),
                _ => shift(high, 2, 3),
            };
            or_masked(nibble_pair::<I>(block.add(48)), high, 0x10)
        }
    }
}

pub(in crate::kernels::x86_64) struct Q6K;
impl Super for Q6K {
    const LARGEST: i32 = 32;
    const NEGATIVE_SCALES: bool = true;
    const BYTES: usize = 210;
    const OFFSET: i32 = 32;
    const PER_32: bool = false;
    const MINS: bool = false;
    const PLANES: usize = 2;
    const NEGATE: bool = false;
    const BIAS: i32 = 64;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u16_at(block.add(208)) }
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
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let low = _mm512_loadu_si512(block.add(I / 2 * 64).cast());
            let high = twice(block.add(128 + I / 2 * 32));
            let nibbles = _mm512_set1_epi8(15);
            if I.is_multiple_of(2) {
                or_masked(_mm512_and_si512(low, nibbles), shift(high, -4, -2), 0x30)
            } else {
                or_masked(_mm512_and_si512(_mm512_srli_epi16::<4>(low), nibbles), shift(high, 0, 2), 0x30)
            }
        }
    }
}

/// The two low bits of quarter `I` of Q2_K and Q3_K, and all of TQ2_0.
///
/// # Safety
/// 64 bytes are readable; AVX-512 F and BW.
#[inline(always)]
pub(super) unsafe fn two_bits<const I: usize>(qs: *const u8) -> __m512i {
    // SAFETY: 32 of the 64 bytes.
    unsafe {
        let bytes = twice(qs.add(I / 2 * 32));
        let bytes = if I.is_multiple_of(2) { shift(bytes, 0, 2) } else { shift(bytes, 4, 6) };
        _mm512_and_si512(bytes, _mm512_set1_epi8(3))
    }
}

pub(in crate::kernels::x86_64) struct Q2K;
impl Super for Q2K {
    const LARGEST: i32 = 3;
    const NEGATIVE_SCALES: bool = false;
    const BYTES: usize = 84;
    const OFFSET: i32 = 0;
    const PER_32: bool = false;
    const MINS: bool = true;
    const PLANES: usize = 1;
    const NEGATE: bool = false;
    const BIAS: i32 = 0;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u32_at(block.add(80)) }
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
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe { two_bits::<I>(block.add(16)) }
    }
}

pub(in crate::kernels::x86_64) struct Q3K;
impl Super for Q3K {
    const LARGEST: i32 = 4;
    const NEGATIVE_SCALES: bool = true;
    const BYTES: usize = 110;
    const OFFSET: i32 = 4;
    const PER_32: bool = false;
    const MINS: bool = false;
    const PLANES: usize = 1;
    const NEGATE: bool = true;
    const BIAS: i32 = 128;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { u16_at(block.add(108)) }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: the last 16 bytes of the block, of which 2..14 are the packed scales.
        unsafe {
            let x = _mm_srli_si128::<2>(_mm_loadu_si128(block.add(94).cast()));
            let low = _mm_srlv_epi32(_mm_shuffle_epi32::<0b01_00_01_00>(x), _mm_setr_epi32(0, 0, 4, 4));
            let low = _mm_and_si128(low, _mm_set1_epi8(15));
            let high = _mm_rolv_epi32(_mm_shuffle_epi32::<0b10_10_10_10>(x), _mm_setr_epi32(4, 2, 0, 30));
            let high = _mm_and_si128(high, _mm_set1_epi8(0x30));
            _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_or_si128(low, high)), _mm256_set1_epi16(32))
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
        unsafe {
            let high = twice(block);
            // Bits 2I and 2I + 1 go to bit 2.
            let high = match I {
                0 => shift(high, -2, -1),
                1 => shift(high, 0, 1),
                2 => shift(high, 2, 3),
                _ => shift(high, 4, 5),
            };
            or_masked(two_bits::<I>(block.add(32)), high, 4)
        }
    }
}
