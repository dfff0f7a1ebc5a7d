//! Types of 4 bits with a table, 16 rows abreast: IQ4_NL, IQ4_XS, MXFP4.

use std::arch::x86_64::*;

use super::super::super::super::generic::tables::{Iq4Nl, Iq4Xs, Mxfp4};
use super::super::tables::{DOUBLED_16, UNEQUAL_128, looked_up};
use super::blocks::{AbreastBlock, nibble_quads};
use super::supers::{AbreastSuper, Packed, none, packed_of};
use super::{Rows, nibbles};

/// Nibble quads at `at` of the rows, looked up.
///
/// # Safety
/// 16 bytes are readable at `at` of the rows; AVX-512 F and BW.
#[inline(always)]
unsafe fn table_quads(table: &[u8; 16], rows: Rows, at: usize) -> [__m512i; 8] {
    // SAFETY: passed on.
    unsafe {
        let mut quads = nibble_quads(rows, at);
        for quad in &mut quads {
            *quad = looked_up(table, *quad);
        }
        quads
    }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastBlock for Iq4Nl {
    #[inline(always)]
    unsafe fn quads(rows: Rows) -> [__m512i; 8] {
        // SAFETY: passed on.
        unsafe { table_quads(&UNEQUAL_128, rows, 2) }
    }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastBlock for Mxfp4 {
    #[inline(always)]
    unsafe fn quads(rows: Rows) -> [__m512i; 8] {
        // SAFETY: passed on.
        unsafe { table_quads(&DOUBLED_16, rows, 1) }
    }
}

/// Four scales of IQ4_XS as signed bytes: low nibbles from 16 bits, upper two bits from 8 bits.
#[inline(always)]
unsafe fn four_scales(low: __m512i, high: __m512i) -> __m512i {
    // SAFETY: register arithmetic. 0xa8 is (a | b) & c.
    unsafe {
        let both = |a: __m512i, b: __m512i, mask: i32| _mm512_ternarylogic_epi32::<0xa8>(a, b, _mm512_set1_epi32(mask));
        let low = both(low, _mm512_slli_epi32::<8>(low), 0x00ff_00ff);
        let low = both(low, _mm512_slli_epi32::<4>(low), 0x0f0f_0f0f);
        let high = both(high, _mm512_slli_epi32::<12>(high), 0x000f_000f);
        let high = both(high, _mm512_slli_epi32::<6>(high), 0x0303_0303);
        _mm512_sub_epi8(_mm512_or_si512(low, _mm512_slli_epi32::<4>(high)), _mm512_set1_epi8(32))
    }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastSuper for Iq4Xs {
    #[inline(always)]
    unsafe fn packed(rows: Rows, group: usize) -> Packed {
        // SAFETY: passed on.
        unsafe { packed_of(rows.dwords(8 + 32 * group), rows.dwords(24 + 32 * group), none()) }
    }
    #[inline(always)]
    unsafe fn quad<const SUB: usize>(packed: &Packed, i: usize) -> __m512i {
        let four = packed[4 * SUB + i % 4];
        // SAFETY: register arithmetic.
        unsafe { looked_up(&UNEQUAL_128, if i < 4 { nibbles::<0>(four) } else { nibbles::<1>(four) }) }
    }
    #[inline(always)]
    unsafe fn scales_and_mins(rows: Rows) -> ([__m512i; 4], [__m512i; 4]) {
        // SAFETY: passed on.
        unsafe {
            let [head, low, ..] = rows.dwords(0);
            let (low_half, byte) = (_mm512_set1_epi32(0xffff), _mm512_set1_epi32(0xff));
            let first = four_scales(_mm512_and_si512(low, low_half), _mm512_and_si512(_mm512_srli_epi32::<16>(head), byte));
            let second = four_scales(_mm512_srli_epi32::<16>(low), _mm512_srli_epi32::<24>(head));
            let zero = _mm512_setzero_si512();
            ([first, second, zero, zero], none())
        }
    }
}
