//! The IQ types with codebooks: entries are looked up in registers, those of a whole super-block together, instead of one after the other
//! in memory.
//!
//! A packed codebook is 0.5 to 4 KiB; two registers have 64 entries, and one instruction takes 32 of them by index. The result is what
//! `generic::grouped` gives: OFFSET + q, 64 elements at a time. The four parts of a super-block share all of the work before the last
//! steps; the compiler sees that where they are taken together, because everything is inlined.

use std::arch::x86_64::*;

use super::super::super::generic::grouped::{Grouped, Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs};
use super::tables::looked_up;
use crate::quant::{codebooks, grid};

#[repr(C, align(64))]
struct Codes<const N: usize>([u16; N]);

static IQ2_XXS: Codes<256> = Codes(codebooks::IQ2_XXS);
static IQ2_XS: Codes<512> = Codes(codebooks::IQ2_XS);
static IQ2_S: Codes<1024> = Codes(codebooks::IQ2_S);
static IQ3_XXS: Codes<256> = Codes(codebooks::IQ3_XXS);
static IQ3_S: Codes<512> = Codes(codebooks::IQ3_S);
static IQ1: Codes<2048> = Codes(codebooks::IQ1);

/// OFFSET + q for each place in the values of a type: with plus, or shifted up, and with minus, or shifted down.
struct Signed {
    plus: [u8; 16],
    minus: [u8; 16],
}

/// `values` added to and taken off `offset`.
const fn both_signs<const N: usize>(offset: u8, values: [u8; N]) -> Signed {
    let mut signed = Signed { plus: [0; 16], minus: [0; 16] };
    let mut i = 0;
    while i < N {
        signed.plus[i] = offset + values[i];
        signed.minus[i] = offset - values[i];
        i += 1;
    }
    signed
}

static TWO_BITS: Signed = both_signs(Iq2Xs::OFFSET, grid::TWO_BITS);
static IQ3_XXS_VALUES: Signed = both_signs(Iq3Xxs::OFFSET, grid::IQ3_XXS_VALUES);
static IQ3_S_VALUES: Signed = both_signs(Iq3S::OFFSET, grid::IQ3_S_VALUES);
/// −1, 0 and 1 as eighths, an eighth up and down, 16 above.
static ONE_BIT: Signed =
    Signed { plus: [9, 17, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], minus: [7, 15, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };

/// Which lane each lane takes, `lanes` times the same, from `from` on.
const fn repeated(from: u16, lanes: usize) -> [u16; 32] {
    let mut table = [0; 32];
    let mut lane = 0;
    while lane < 32 {
        table[lane] = from + (lane / lanes) as u16;
        lane += 1;
    }
    table
}

/// Each 16-bit lane of `v` from lane `FROM` on, `TIMES` times.
#[inline(always)]
unsafe fn spread<const FROM: u16, const TIMES: usize>(v: __m512i) -> __m512i {
    // SAFETY: 64 bytes of a table; the rest is register arithmetic.
    unsafe {
        let lanes = const { &repeated(FROM, TIMES) };
        _mm512_permutexvar_epi16(_mm512_loadu_si512(lanes.as_ptr().cast()), v)
    }
}

/// The entries of 64 from `at` on, by the lowest 6 bits of 32 indices.
#[inline(always)]
unsafe fn of_64(codes: &[u16], at: usize, index: __m512i) -> __m512i {
    let codes = &codes[at..at + 64];
    // SAFETY: 128 bytes of the codes.
    unsafe {
        let (low, high) = (_mm512_loadu_si512(codes.as_ptr().cast()), _mm512_loadu_si512(codes[32..].as_ptr().cast()));
        _mm512_permutex2var_epi16(low, index, high)
    }
}

/// Bits 6 to 10 of 32 indices.
type HighBits = [__mmask32; 5];

macro_rules! of_twice {
    ($($name:ident: twice $half:ident, $len:literal by bit $bit:literal;)*) => {
        $(#[inline(always)]
        unsafe fn $name(codes: &[u16], at: usize, index: __m512i, bits: &HighBits) -> __m512i {
            // SAFETY: passed on.
            unsafe {
                let (low, high) = ($half(codes, at, index, bits), $half(codes, at + $len, index, bits));
                _mm512_mask_mov_epi16(low, bits[$bit], high)
            }
        })*
    };
}

#[inline(always)]
unsafe fn of_first(codes: &[u16], at: usize, index: __m512i, _bits: &HighBits) -> __m512i {
    // SAFETY: passed on.
    unsafe { of_64(codes, at, index) }
}

of_twice! {
    of_128: twice of_first, 64 by bit 0;
    of_256: twice of_128, 128 by bit 1;
    of_512: twice of_256, 256 by bit 2;
    of_1024: twice of_512, 512 by bit 3;
    of_2048: twice of_1024, 1024 by bit 4;
}

/// The entries at 32 indices.
#[inline(always)]
unsafe fn entries<const N: usize>(codes: &Codes<N>, index: __m512i) -> __m512i {
    // SAFETY: register arithmetic and the codes.
    unsafe {
        let mut bits = [0; 5];
        for bit in 0..5 {
            bits[bit] = _mm512_test_epi16_mask(index, _mm512_set1_epi16(64 << bit));
        }
        match N {
            256 => of_256(&codes.0, 0, index, &bits),
            512 => of_512(&codes.0, 0, index, &bits),
            1024 => of_1024(&codes.0, 0, index, &bits),
            _ => of_2048(&codes.0, 0, index, &bits),
        }
    }
}

/// The places of the elements of 8 entries of eight, from entry `FROM` on, two to each 16 bits: `v | v << 6` has the second at bit 8.
#[inline(always)]
unsafe fn places_of_8<const FROM: u16>(entries: __m512i) -> __m512i {
    // SAFETY: register arithmetic. 0xa8 is (a | b) & c.
    unsafe {
        let two = _mm512_srlv_epi16(spread::<FROM, 4>(entries), _mm512_set1_epi64(0x000c_0008_0004_0000));
        let two = _mm512_and_si512(two, _mm512_set1_epi16(0xf));
        _mm512_ternarylogic_epi32::<0xa8>(two, _mm512_slli_epi16::<6>(two), _mm512_set1_epi16(0x0303))
    }
}

/// The places of the elements of 16 entries of four, from entry `FROM` on, likewise.
#[inline(always)]
unsafe fn places_of_4<const FROM: u16>(entries: __m512i) -> __m512i {
    // SAFETY: register arithmetic. 0xa8 is (a | b) & c.
    unsafe {
        let two = _mm512_srlv_epi16(spread::<FROM, 2>(entries), _mm512_set1_epi32(0x0006_0000));
        let two = _mm512_and_si512(two, _mm512_set1_epi16(0x3f));
        _mm512_ternarylogic_epi32::<0xa8>(two, _mm512_slli_epi16::<5>(two), _mm512_set1_epi16(0x0707))
    }
}

/// The values at these places, with minus where a bit is set.
#[inline(always)]
unsafe fn values(table: &Signed, places: __m512i, minus: u64) -> __m512i {
    // SAFETY: 16 bytes of each table; the rest is register arithmetic.
    unsafe {
        let negative = _mm512_broadcast_i32x4(_mm_loadu_si128(table.minus.as_ptr().cast()));
        _mm512_mask_shuffle_epi8(looked_up(&table.plus, places), minus, negative, places)
    }
}

/// Lane `I` of four of 64 bits.
#[inline(always)]
unsafe fn quarter<const I: usize>(v: __m256i) -> u64 {
    // SAFETY: register arithmetic.
    unsafe {
        (match I {
            0 => _mm256_extract_epi64::<0>(v),
            1 => _mm256_extract_epi64::<1>(v),
            2 => _mm256_extract_epi64::<2>(v),
            _ => _mm256_extract_epi64::<3>(v),
        }) as u64
    }
}

#[inline(always)]
unsafe fn u64_at(block: *const u8, at: usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { block.add(at).cast::<u64>().read_unaligned() }
}

/// 32 bytes at `at` as 16-bit lanes.
#[inline(always)]
unsafe fn words_at(block: *const u8, at: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtepu8_epi16(_mm256_loadu_si256(block.add(at).cast())) }
}

/// Bit 7 so that in each lane, of which bits 0 to 6 may be set, their number is even; bits above it are anything.
#[inline(always)]
unsafe fn with_eighth(v: __m512i) -> __m512i {
    // SAFETY: register arithmetic. All shifts stay within 16 bits, which serves lanes of 32 as well.
    unsafe {
        let parity = _mm512_xor_si512(v, _mm512_srli_epi16::<4>(v));
        let parity = _mm512_xor_si512(parity, _mm512_srli_epi16::<2>(parity));
        let parity = _mm512_xor_si512(parity, _mm512_srli_epi16::<1>(parity));
        _mm512_or_si512(v, _mm512_slli_epi16::<7>(parity))
    }
}

/// The signs of quarter `I` from eight words of four times seven signs.
#[inline(always)]
unsafe fn signs_of_words<const I: usize>(words: __m256i) -> u64 {
    // SAFETY: register arithmetic.
    unsafe {
        let half = if I < 2 { _mm256_castsi256_si128(words) } else { _mm256_extracti128_si256::<1>(words) };
        let each =
            _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), _mm512_castsi128_si512(half));
        let shifts = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 7, 14, 21));
        let seven = _mm512_and_si512(_mm512_srlv_epi32(each, shifts), _mm512_set1_epi32(127));
        let signs = _mm512_cvtepi32_epi8(with_eighth(seven));
        (if I.is_multiple_of(2) { _mm_cvtsi128_si64(signs) } else { _mm_extract_epi64::<1>(signs) }) as u64
    }
}

/// 2s + 1 of the top nibbles s of eight words, as i16.
#[inline(always)]
unsafe fn scales_of_words(words: __m256i) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe {
        let odd = _mm256_or_si256(_mm256_slli_epi32::<1>(_mm256_srli_epi32::<28>(words)), _mm256_set1_epi32(1));
        _mm256_zextsi128_si256(_mm256_cvtepi32_epi16(odd))
    }
}

/// 2s + 1 of nibbles s, the low one of a byte first, as i16.
#[inline(always)]
unsafe fn scales_of_nibbles(bytes: u64) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe {
        let bytes = _mm_cvtsi64_si128(bytes as i64);
        let nibbles = _mm_and_si128(_mm_unpacklo_epi8(bytes, _mm_srli_epi16::<4>(bytes)), _mm_set1_epi8(15));
        _mm256_or_si256(_mm256_slli_epi16::<1>(_mm256_cvtepu8_epi16(nibbles)), _mm256_set1_epi16(1))
    }
}

/// What the AVX-512 kernels take from a type.
///
/// # Safety
/// For both functions: the super-block is readable; AVX-512 F, BW, DQ, VL.
pub(super) trait InRegisters: Grouped {
    /// As `Super::PLANES`.
    const PLANES: usize = 2;
    /// As `Super::scales`.
    unsafe fn scales(block: *const u8) -> __m256i;
    /// As `Super::quants`.
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i;
}

/// Places of quarter `I` of entries of eight.
#[inline(always)]
unsafe fn eights<const I: usize>(entries: __m512i) -> __m512i {
    // SAFETY: passed on.
    unsafe {
        match I {
            0 => places_of_8::<0>(entries),
            1 => places_of_8::<8>(entries),
            2 => places_of_8::<16>(entries),
            _ => places_of_8::<24>(entries),
        }
    }
}

/// Places of quarter `I` of entries of four: those of the half of the super-block that the quarter is in.
#[inline(always)]
unsafe fn fours<const I: usize>(entries: __m512i) -> __m512i {
    // SAFETY: passed on.
    unsafe { if I.is_multiple_of(2) { places_of_4::<0>(entries) } else { places_of_4::<16>(entries) } }
}

impl InRegisters for Iq2Xxs {
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: inside the block: eight times four indices and a word.
        unsafe { scales_of_words(_mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(_mm512_loadu_si512(block.add(2).cast())))) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let all = _mm512_loadu_si512(block.add(2).cast());
            let entries = entries(&IQ2_XXS, _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(all)));
            let signs = signs_of_words::<I>(_mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(all)));
            values(&TWO_BITS, eights::<I>(entries), signs)
        }
    }
}

impl InRegisters for Iq2Xs {
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { scales_of_nibbles(u64_at(block, 66)) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let all = _mm512_loadu_si512(block.add(2).cast());
            let entries = entries(&IQ2_XS, _mm512_and_si512(all, _mm512_set1_epi16(511)));
            let signs = _mm512_cvtepi16_epi8(with_eighth(_mm512_srli_epi16::<9>(all)));
            values(&TWO_BITS, eights::<I>(entries), quarter::<I>(signs))
        }
    }
}

impl InRegisters for Iq2S {
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { scales_of_nibbles(u64_at(block, 74)) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let high = _mm512_castsi128_si512(_mm_cvtepu8_epi16(_mm_loadl_epi64(block.add(66).cast())));
            let high = _mm512_sllv_epi16(spread::<0, 4>(high), _mm512_set1_epi64(0x0002_0004_0006_0008));
            // 0xf8 is a | (b & c).
            let index = _mm512_ternarylogic_epi32::<0xf8>(words_at(block, 2), high, _mm512_set1_epi16(0x300));
            values(&TWO_BITS, eights::<I>(entries(&IQ2_S, index)), u64_at(block, 34 + 8 * I))
        }
    }
}

impl InRegisters for Iq3Xxs {
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { scales_of_words(_mm256_loadu_si256(block.add(66).cast())) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let entries = entries(&IQ3_XXS, words_at(block, 2 + I / 2 * 32));
            let signs = signs_of_words::<I>(_mm256_loadu_si256(block.add(66).cast()));
            values(&IQ3_XXS_VALUES, fours::<I>(entries), signs)
        }
    }
}

impl InRegisters for Iq3S {
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe { scales_of_nibbles(block.add(106).cast::<u32>().read_unaligned().into()) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let (low, half) = (words_at(block, 2 + I / 2 * 32), I / 2);
            let ninths = block.add(66 + 4 * half).cast::<u32>().read_unaligned();
            let index = with_ninths(low, ninths);
            values(&IQ3_S_VALUES, fours::<I>(entries(&IQ3_S, index)), u64_at(block, 74 + 8 * I))
        }
    }
}

/// `v` with 256 added in the lanes whose bit is set.
#[inline(always)]
unsafe fn with_ninths(v: __m512i, bits: u32) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe { _mm512_mask_add_epi16(v, bits, v, _mm512_set1_epi16(256)) }
}

impl InRegisters for Iq1S {
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: inside the block.
        unsafe {
            let words = _mm_srli_epi16::<12>(_mm_loadu_si128(block.add(34).cast()));
            let scales = _mm_slli_epi16::<1>(_mm_and_si128(words, _mm_set1_epi16(7)));
            _mm256_zextsi128_si256(_mm_or_si128(scales, _mm_set1_epi16(1)))
        }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let words = _mm512_castsi128_si512(_mm_loadu_si128(block.add(34).cast()));
            let each = spread::<0, 4>(words);
            let high = _mm512_slli_epi16::<8>(_mm512_srlv_epi16(each, _mm512_set1_epi64(0x0009_0006_0003_0000)));
            // 0xf8 is a | (b & c).
            let index = _mm512_ternarylogic_epi32::<0xf8>(words_at(block, 2), high, _mm512_set1_epi16(0x700));
            // The top bits of two words, one for each 32 elements.
            let down = _mm_movepi16_mask(_mm512_castsi512_si128(words)) >> (2 * I);
            let down = (u64::from(down & 1) * 0xffff_ffff) | (u64::from(down >> 1 & 1) * 0xffff_ffff_0000_0000);
            values(&ONE_BIT, eights::<I>(entries(&IQ1, index)), down)
        }
    }
}

impl InRegisters for Iq1M {
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> __m256i {
        // SAFETY: the last 8 bytes of the block.
        unsafe {
            let words = _mm256_castsi128_si256(_mm_loadl_epi64(block.add(48).cast()));
            let each = _mm256_permutexvar_epi16(_mm256_setr_epi16(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), words);
            let three = _mm256_and_si256(_mm256_srlv_epi16(each, _mm256_set1_epi64x(0x0009_0006_0003_0000)), _mm256_set1_epi16(7));
            _mm256_or_si256(_mm256_slli_epi16::<1>(three), _mm256_set1_epi16(1))
        }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> __m512i {
        // SAFETY: inside the block.
        unsafe {
            let bytes = _mm512_castsi256_si512(_mm256_cvtepu8_epi16(_mm_loadu_si128(block.add(32).cast())));
            let nibbles = _mm512_srlv_epi16(spread::<0, 2>(bytes), _mm512_set1_epi32(0x0004_0000));
            let high = _mm512_slli_epi16::<8>(nibbles);
            // 0xf8 is a | (b & c).
            let index = _mm512_ternarylogic_epi32::<0xf8>(words_at(block, 0), high, _mm512_set1_epi16(0x700));
            // Bit 3 of a nibble, for all bytes of its eight elements.
            let twice = _mm512_ternarylogic_epi32::<0xf8>(high, nibbles, _mm512_set1_epi16(0xff));
            let each = match I {
                0 => spread::<0, 4>(twice),
                1 => spread::<8, 4>(twice),
                2 => spread::<16, 4>(twice),
                _ => spread::<24, 4>(twice),
            };
            let down = _mm512_test_epi8_mask(each, _mm512_set1_epi8(8));
            values(&ONE_BIT, eights::<I>(entries(&IQ1, index)), down)
        }
    }
}
