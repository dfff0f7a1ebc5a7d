//! Super-blocks of 256, 16 rows abreast.

use std::arch::x86_64::*;

use super::super::super::super::table::Job;
use super::super::super::ahead::{Ahead, Lead};
use super::super::lanes;
use super::super::short_sums;
use super::super::supers::{Q2K, Q3K, Q4K, Q5K, Q6K, Super};
use super::{Columns, ROWS, Ring, Rows, nibbles, store};

/// A type with super-blocks of 256, 16 rows abreast. A group of sub-blocks is what the same bytes hold.
///
/// # Safety
/// For all functions: the super-blocks at `rows` are readable; AVX-512 F and BW.
#[expect(private_interfaces, reason = "called in this module only")]
pub(in super::super) trait AbreastSuper: Super {
    /// Dwords of quants in a sub-block.
    const QUADS: usize = if Self::PER_32 { 8 } else { 4 };
    /// Sub-blocks of a group, in four groups.
    const SUBS: usize = if Self::PER_32 { 2 } else { 4 };
    /// The packed quants of a group.
    unsafe fn packed(rows: Rows, group: usize) -> Packed;
    /// Quants `4 i ..` of sub-block `SUB` of a group, unsigned.
    unsafe fn quad<const SUB: usize>(packed: &Packed, i: usize) -> __m512i;
    /// Scales `4 i ..` as signed bytes in dword i, and minima likewise, where there are any.
    unsafe fn scales_and_mins(rows: Rows) -> ([__m512i; 4], [__m512i; 4]);
}

/// Up to 12 dwords of 16 rows.
pub(super) type Packed = [__m512i; 12];

/// 16 rows of an i32, for sub-blocks or pairs of them.
#[repr(C, align(64))]
struct Dwords<const LEN: usize>([[i32; ROWS]; LEN]);

/// Whether sums of sub-blocks fit 16 bits as a rule.
pub(super) const fn short<T: Super>() -> bool {
    matches!(short_sums::len::<T>(), Some(len) if len == T::SUB_BLOCK_LEN)
}

/// `N` columns from `first` on with all rows of the job, a multiple of 16. `SHORT` where the sums of sub-blocks fit 16 bits.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL, VNNI; the columns exist.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn products<T: AbreastSuper, const N: usize, const SHORT: bool>(job: &Job<'_>, first: usize) {
    let blocks = job.k / 256;
    let layout = job.acts.kind.layout(job.k);
    let lead = Lead::of(job);
    let subs = 4 * T::SUBS;
    let mut scales = Dwords([[0; ROWS]; 16]);
    let mut pairs = Dwords([[0; ROWS]; 8]);
    // SAFETY: the columns hold the parts of their layout; rows and outputs exist.
    unsafe {
        let columns = Columns::<N>::new(job, first);
        for start in (0..job.rows).step_by(ROWS) {
            let ahead = Ahead::of(job, lead, start, ROWS);
            let mut pace = job.weights.as_ptr().add(start * job.row_bytes);
            let mut rows = Rows::new(pace, job.row_bytes);
            let mut heads = Ring::new();
            for b in 0..Ring::LEAD.min(blocks) {
                for r in 0..ROWS {
                    heads.put(b, r, T::head(rows.at(r, b * T::BYTES)));
                }
            }
            let mut acc = [_mm512_setzero_ps(); N];
            let mut quants = columns;
            for b in 0..blocks {
                if b + Ring::LEAD < blocks {
                    for r in 0..ROWS {
                        heads.put(b + Ring::LEAD, r, T::head(rows.at(r, Ring::LEAD * T::BYTES)));
                    }
                }
                let (packed_scales, mins) = T::scales_and_mins(rows);
                for j in 0..subs {
                    let byte = _mm512_slli_epi32::<24>(_mm512_srl_epi32(packed_scales[j / 4], _mm_cvtsi32_si128(j as i32 % 4 * 8)));
                    let mut scale = _mm512_srai_epi32::<24>(byte);
                    if SHORT && T::NEGATIVE_SCALES {
                        // The upper half of a sum is its sign, which is to count for nothing.
                        scale = _mm512_and_si512(scale, _mm512_set1_epi32(0xffff));
                    }
                    _mm512_store_si512(scales.0[j].as_mut_ptr().cast(), scale);
                }
                if T::MINS {
                    for pair in 0..subs / 2 {
                        _mm512_store_si512(pairs.0[pair].as_mut_ptr().cast(), pair_of(mins[pair / 2], pair % 2));
                    }
                }
                let mut total = [_mm512_setzero_si512(); N];
                for group in 0..4 {
                    if first == 0 {
                        ahead.pass(pace, ROWS * T::BYTES / 4);
                        pace = pace.wrapping_add(ROWS * T::BYTES / 4);
                    }
                    // Else the sixteen addresses are worked out before the groups, and kept in memory.
                    rows.pass(0);
                    let packed = T::packed(rows, group);
                    // A group of Q4_K and Q5_K are the two nibbles of 32 bytes; with scales per 16, four planes of 16 bytes that lie 32 apart.
                    let j = if T::PER_32 { 2 * group } else { group / 2 * 8 + group % 2 };
                    let offsets = layout.offsets16 + b * 64;
                    sub_block::<T, N, 0, SHORT>(&mut total, &packed, j, &quants, &columns, offsets, &scales);
                    sub_block::<T, N, 1, SHORT>(&mut total, &packed, j, &quants, &columns, offsets, &scales);
                    if T::SUBS == 4 {
                        sub_block::<T, N, 2, SHORT>(&mut total, &packed, j, &quants, &columns, offsets, &scales);
                        sub_block::<T, N, 3, SHORT>(&mut total, &packed, j, &quants, &columns, offsets, &scales);
                    }
                    quants.pass(if T::PER_32 { 64 } else { 16 + group % 2 * 96 });
                }
                rows.pass(T::BYTES);
                let head = heads.get(b);
                let (d, dmin) = (T::factors(head), lanes::high_halves(head));
                for c in 0..N {
                    let da = columns.float(c, layout.scales + b * 4);
                    acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(total[c]), acc[c]);
                }
                if T::MINS {
                    // All columns take a step before one takes the next, so that none is waited for.
                    let mut sums = [_mm512_setzero_si512(); N];
                    let from = if T::PER_32 { layout.sums32 + b * 16 } else { layout.sums + b * 32 };
                    for pair in 0..subs / 2 {
                        let two = _mm512_load_si512(pairs.0[pair].as_ptr().cast());
                        for c in 0..N {
                            sums[c] = lanes::dot_i16::<true>(sums[c], two, columns.dword(c, from + pair * 4));
                        }
                    }
                    for c in 0..N {
                        let da = columns.float(c, layout.scales + b * 4);
                        acc[c] = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, da), _mm512_cvtepi32_ps(sums[c]), acc[c]);
                    }
                }
            }
            store(job, start, first, &acc);
        }
    }
}

/// Bytes 2h and 2h + 1 of each dword as a pair of i16.
#[inline(always)]
unsafe fn pair_of(bytes: __m512i, h: usize) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe {
        let low = _mm512_broadcast_i32x4(_mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1));
        let high = _mm512_broadcast_i32x4(_mm_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1));
        _mm512_shuffle_epi8(bytes, if h == 0 { low } else { high })
    }
}

/// Adds the products of sub-block `SUB` of a group times its scale: the group's first one is `j`, at `quants`; `offsets` is where the
/// super-block's offsets lie in the columns.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn sub_block<T: AbreastSuper, const N: usize, const SUB: usize, const SHORT: bool>(
    total: &mut [__m512i; N],
    packed: &Packed,
    j: usize,
    quants: &Columns<N>,
    columns: &Columns<N>,
    offsets: usize,
    scales: &Dwords<16>,
) {
    // SAFETY: the columns hold the parts of their layout.
    unsafe {
        let j = if T::PER_32 { j + SUB } else { j + 2 * SUB };
        let mut sums = [_mm512_setzero_si512(); N];
        if T::OFFSET != 0 {
            for c in 0..N {
                sums[c] = T::minus_offset(columns.at(c, offsets).cast(), 0, j);
            }
        }
        // With few columns two chains, because one would be waited for.
        let mut others = [_mm512_setzero_si512(); N];
        for i in 0..T::QUADS {
            let w = T::quad::<SUB>(packed, i);
            for c in 0..N {
                let sum = if N <= 2 && i % 2 == 1 { &mut others[c] } else { &mut sums[c] };
                *sum = _mm512_dpbusd_epi32(*sum, w, quants.dword(c, SUB * 32 + i * 4));
            }
        }
        let scale = _mm512_load_si512(scales.0[j].as_ptr().cast());
        for c in 0..N {
            let sum = if N <= 2 { _mm512_add_epi32(sums[c], others[c]) } else { sums[c] };
            total[c] = if SHORT {
                lanes::dot_i16::<true>(total[c], sum, scale)
            } else {
                _mm512_add_epi32(total[c], _mm512_mullo_epi32(sum, scale))
            };
        }
    }
}

/// Up to three times four dwords.
#[inline(always)]
pub(super) unsafe fn packed_of(a: [__m512i; 4], b: [__m512i; 4], c: [__m512i; 4]) -> Packed {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3]]
}

#[inline(always)]
pub(super) unsafe fn none() -> [__m512i; 4] {
    // SAFETY: register arithmetic.
    unsafe { [_mm512_setzero_si512(); 4] }
}

/// `base | (v & mask)`.
#[inline(always)]
unsafe fn or_masked(base: __m512i, v: __m512i, mask: i8) -> __m512i {
    // SAFETY: register arithmetic. 0xf8 is a | (b & c).
    unsafe { _mm512_ternarylogic_epi32::<0xf8>(base, v, _mm512_set1_epi8(mask)) }
}

/// The scales and minima of Q4_K and Q5_K.
#[inline(always)]
unsafe fn six_bits(rows: Rows) -> ([__m512i; 4], [__m512i; 4]) {
    // SAFETY: passed on.
    unsafe {
        let [_, a, b, c] = rows.dwords(0);
        let (low, zero) = (_mm512_set1_epi8(63), _mm512_setzero_si512());
        let scales = or_masked(nibbles::<0>(c), _mm512_srli_epi32::<2>(a), 0x30);
        let mins = or_masked(nibbles::<1>(c), _mm512_srli_epi32::<2>(b), 0x30);
        ([_mm512_and_si512(a, low), scales, zero, zero], [_mm512_and_si512(b, low), mins, zero, zero])
    }
}

/// Two bits of each byte, from bit `2 PLANE` on.
#[inline(always)]
unsafe fn two_bits<const PLANE: usize>(v: __m512i) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe { _mm512_and_si512(_mm512_srl_epi32(v, _mm_cvtsi32_si128(2 * PLANE as i32)), _mm512_set1_epi8(3)) }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastSuper for Q4K {
    #[inline(always)]
    unsafe fn packed(rows: Rows, group: usize) -> Packed {
        // SAFETY: passed on.
        unsafe { packed_of(rows.dwords(16 + 32 * group), rows.dwords(32 + 32 * group), none()) }
    }
    #[inline(always)]
    unsafe fn quad<const SUB: usize>(packed: &Packed, i: usize) -> __m512i {
        // SAFETY: passed on.
        unsafe { nibbles::<SUB>(packed[i]) }
    }
    #[inline(always)]
    unsafe fn scales_and_mins(rows: Rows) -> ([__m512i; 4], [__m512i; 4]) {
        // SAFETY: passed on.
        unsafe { six_bits(rows) }
    }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastSuper for Q5K {
    #[inline(always)]
    unsafe fn packed(rows: Rows, group: usize) -> Packed {
        // SAFETY: passed on.
        unsafe {
            let mut packed = packed_of(rows.dwords(48 + 32 * group), rows.dwords(64 + 32 * group), none());
            // Bits 2 group and 2 group + 1 of the high bytes go to 4 and 5 of those of quad i, which come in pairs of 16 bits.
            let high = packed_of(rows.dwords(16), rows.dwords(32), none());
            for i in 0..4 {
                let first = fifths(high[i], group);
                let second = fifths(high[4 + i], group);
                packed[8 + i] = or_masked(first, _mm512_slli_epi32::<2>(second), 0xc0_u8 as i8);
            }
            packed
        }
    }
    #[inline(always)]
    unsafe fn quad<const SUB: usize>(packed: &Packed, i: usize) -> __m512i {
        // SAFETY: register arithmetic.
        unsafe {
            // Bits 4 and 5 for the first four quads, 6 and 7 for the others.
            let bit = (4 + i / 4 * 2 + SUB) as i32;
            let high = _mm512_srl_epi32(packed[8 + i % 4], _mm_cvtsi32_si128(bit - 4));
            or_masked(nibbles::<SUB>(packed[i]), high, 0x10)
        }
    }
    #[inline(always)]
    unsafe fn scales_and_mins(rows: Rows) -> ([__m512i; 4], [__m512i; 4]) {
        // SAFETY: passed on.
        unsafe { six_bits(rows) }
    }
}

/// Bits 2 group and 2 group + 1 of each byte as bits 4 and 5.
#[inline(always)]
unsafe fn fifths(v: __m512i, group: usize) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe {
        let bits = _mm512_and_si512(_mm512_srl_epi32(v, _mm_cvtsi32_si128(2 * group as i32)), _mm512_set1_epi8(3));
        _mm512_slli_epi32::<4>(bits)
    }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastSuper for Q6K {
    #[inline(always)]
    unsafe fn packed(rows: Rows, group: usize) -> Packed {
        let (half, at) = (group / 2, group % 2 * 16);
        // SAFETY: passed on.
        unsafe { packed_of(rows.dwords(64 * half + at), rows.dwords(64 * half + 32 + at), rows.dwords(128 + 32 * half + at)) }
    }
    #[inline(always)]
    unsafe fn quad<const SUB: usize>(packed: &Packed, i: usize) -> __m512i {
        // SAFETY: register arithmetic.
        unsafe {
            let high = packed[8 + i];
            match SUB {
                0 => or_masked(nibbles::<0>(packed[i]), _mm512_slli_epi32::<4>(high), 0x30),
                1 => or_masked(nibbles::<0>(packed[4 + i]), _mm512_slli_epi32::<2>(high), 0x30),
                2 => or_masked(nibbles::<1>(packed[i]), high, 0x30),
                _ => or_masked(nibbles::<1>(packed[4 + i]), _mm512_srli_epi32::<2>(high), 0x30),
            }
        }
    }
    #[inline(always)]
    unsafe fn scales_and_mins(rows: Rows) -> ([__m512i; 4], [__m512i; 4]) {
        // SAFETY: passed on.
        unsafe { (rows.dwords(192), none()) }
    }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastSuper for Q2K {
    #[inline(always)]
    unsafe fn packed(rows: Rows, group: usize) -> Packed {
        // SAFETY: passed on.
        unsafe { packed_of(rows.dwords(16 + 16 * group), none(), none()) }
    }
    #[inline(always)]
    unsafe fn quad<const SUB: usize>(packed: &Packed, i: usize) -> __m512i {
        // SAFETY: passed on.
        unsafe { two_bits::<SUB>(packed[i]) }
    }
    #[inline(always)]
    unsafe fn scales_and_mins(rows: Rows) -> ([__m512i; 4], [__m512i; 4]) {
        // SAFETY: passed on.
        unsafe {
            let both = rows.dwords(0);
            let (mut scales, mut mins) = (none(), none());
            for i in 0..4 {
                scales[i] = nibbles::<0>(both[i]);
                mins[i] = nibbles::<1>(both[i]);
            }
            (scales, mins)
        }
    }
}

#[expect(private_interfaces, reason = "called in this module only")]
impl AbreastSuper for Q3K {
    #[inline(always)]
    unsafe fn packed(rows: Rows, group: usize) -> Packed {
        // SAFETY: passed on.
        unsafe {
            let mut high = rows.dwords(group % 2 * 16);
            for i in 0..4 {
                // The bits of this half of the super-block.
                high[i] = _mm512_srl_epi32(high[i], _mm_cvtsi32_si128(group as i32 / 2 * 4));
            }
            packed_of(rows.dwords(32 + 16 * group), high, none())
        }
    }
    #[inline(always)]
    unsafe fn quad<const SUB: usize>(packed: &Packed, i: usize) -> __m512i {
        // SAFETY: register arithmetic.
        unsafe {
            let high = packed[4 + i];
            let high = match SUB {
                0 => _mm512_slli_epi32::<2>(high),
                1 => _mm512_slli_epi32::<1>(high),
                2 => high,
                _ => _mm512_srli_epi32::<1>(high),
            };
            or_masked(two_bits::<SUB>(packed[i]), high, 4)
        }
    }
    #[inline(always)]
    unsafe fn scales_and_mins(rows: Rows) -> ([__m512i; 4], [__m512i; 4]) {
        // SAFETY: the 16 bytes at 94 end with the block; those from 96 on are the packed scales.
        unsafe {
            let d = rows.dwords(94);
            let mut words = [_mm512_setzero_si512(); 3];
            for i in 0..3 {
                words[i] = _mm512_or_si512(_mm512_srli_epi32::<16>(d[i]), _mm512_slli_epi32::<16>(d[i + 1]));
            }
            let [a, b, c] = words;
            let mut scales = [
                or_masked(nibbles::<0>(a), _mm512_slli_epi32::<4>(c), 0x30),
                or_masked(nibbles::<0>(b), _mm512_slli_epi32::<2>(c), 0x30),
                or_masked(nibbles::<1>(a), c, 0x30),
                or_masked(nibbles::<1>(b), _mm512_srli_epi32::<2>(c), 0x30),
            ];
            for scale in &mut scales {
                *scale = _mm512_sub_epi8(*scale, _mm512_set1_epi8(32));
            }
            (scales, none())
        }
    }
}
