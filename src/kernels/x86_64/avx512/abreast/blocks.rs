//! Blocks of 32, 16 rows abreast.

use std::arch::x86_64::*;

use super::super::super::super::table::Job;
use super::super::super::ahead::{Ahead, Lead};
use super::super::blocks::{Block, Q40, Q41, Q50, Q51, Q80};
use super::super::lanes;
use super::{Columns, ROWS, Ring, Rows, nibbles, store};

/// A type with blocks of 32, 16 rows abreast.
pub(in super::super) trait AbreastBlock: Block {
    /// Where the dword of fifth bits lies, in types that have one.
    const FIFTHS: Option<usize> = None;

    /// Quants `4 i ..` of 16 blocks, unsigned: a dword per row, without fifth bits.
    ///
    /// # Safety
    /// The blocks at `rows` are readable; AVX-512 F and BW.
    #[expect(private_interfaces, reason = "called in this module only")]
    unsafe fn quads(rows: Rows) -> [__m512i; 8];
}

/// `N` columns from `first` on with all rows of the job, a multiple of 16.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL, VNNI; the columns exist.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn products<T: AbreastBlock, const N: usize>(job: &Job<'_>, first: usize) {
    let blocks = job.k / 32;
    let layout = job.acts.kind.layout(job.k);
    let lead = Lead::of(job);
    // SAFETY: the columns hold the parts of their layout; rows and outputs exist.
    unsafe {
        let columns = Columns::<N>::new(job, first);
        for start in (0..job.rows).step_by(ROWS) {
            let ahead = Ahead::of(job, lead, start, ROWS);
            let mut pace = job.weights.as_ptr().add(start * job.row_bytes);
            let mut rows = Rows::new(pace, job.row_bytes);
            let (mut heads, mut fifths) = (Ring::new(), Ring::new());
            for b in 0..Ring::LEAD.min(blocks) {
                collect::<T>(rows, b, b, &mut heads, &mut fifths);
            }
            let mut acc = [_mm512_setzero_ps(); N];
            let mut quants = columns;
            for b in 0..blocks {
                if first == 0 {
                    ahead.pass(pace, ROWS * T::BYTES);
                    pace = pace.wrapping_add(ROWS * T::BYTES);
                }
                if b + Ring::LEAD < blocks {
                    collect::<T>(rows, Ring::LEAD, b + Ring::LEAD, &mut heads, &mut fifths);
                }
                let mut quads = T::quads(rows);
                if T::FIFTHS.is_some() {
                    quads = with_fifths(quads, fifths.get(b));
                }
                rows.pass(T::BYTES);
                let mut sums = [_mm512_setzero_si512(); N];
                let mut minus_128 = [_mm512_setzero_si512(); N];
                for c in 0..N {
                    minus_128[c] = columns.dword(c, layout.sums + b * 4);
                    if !T::MIN {
                        sums[c] = _mm512_sra_epi32(minus_128[c], _mm_cvtsi32_si128(T::SHIFT as i32));
                    }
                }
                // With few columns two chains, because one would be waited for.
                let mut others = [_mm512_setzero_si512(); N];
                for i in 0..8 {
                    for c in 0..N {
                        let a = quants.dword(c, i * 4);
                        let sum = if N <= 2 && i % 2 == 1 { &mut others[c] } else { &mut sums[c] };
                        *sum = _mm512_dpbusd_epi32(*sum, quads[i], a);
                    }
                }
                quants.pass(32);
                let head = heads.get(b);
                let d = T::scales(head);
                for c in 0..N {
                    let sum = if N <= 2 { _mm512_add_epi32(sums[c], others[c]) } else { sums[c] };
                    let da = columns.float(c, layout.scales + b * 4);
                    acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(sum), acc[c]);
                    if T::MIN {
                        let a_sum = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_srai_epi32::<7>(minus_128[c]));
                        let m = lanes::high_halves(head);
                        acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(m, da), _mm512_cvtepi32_ps(a_sum), acc[c]);
                    }
                }
            }
            store(job, start, first, &acc);
        }
    }
}

/// Collects the heads (and fifth bits) of block `b`, which is `away` blocks from `rows`.
///
/// # Safety
/// The blocks exist.
#[inline(always)]
unsafe fn collect<T: AbreastBlock>(rows: Rows, away: usize, b: usize, heads: &mut Ring, fifths: &mut Ring) {
    // SAFETY: inside the blocks.
    unsafe {
        // Two loops, because one of this length is not unrolled, and then sixteen addresses are computed.
        for r in 0..ROWS {
            heads.put(b, r, T::head(rows.at(r, away * T::BYTES)));
        }
        if let Some(at) = T::FIFTHS {
            for r in 0..ROWS {
                fifths.put(b, r, rows.at(r, away * T::BYTES + at).cast::<u32>().read_unaligned());
            }
        }
    }
}

/// Quads with bit 4 of element j from bit j of the dword.
///
/// # Safety
/// AVX-512 BW.
#[inline(always)]
unsafe fn with_fifths(mut quads: [__m512i; 8], fifths: __m512i) -> [__m512i; 8] {
    // SAFETY: register arithmetic.
    unsafe {
        // Multiplied by this, bits 0 to 3 arrive at bits 4, 12, 20 and 28, and none of the other twelve products meets another.
        let spread = _mm512_set1_epi32(1 << 4 | 1 << 11 | 1 << 18 | 1 << 25);
        for i in 0..8 {
            let four = _mm512_and_si512(_mm512_srl_epi32(fifths, _mm_cvtsi32_si128(4 * i as i32)), _mm512_set1_epi32(15));
            let bits = _mm512_mullo_epi32(four, spread);
            // 0xf8 is a | (b & c).
            quads[i] = _mm512_ternarylogic_epi32::<0xf8>(quads[i], bits, _mm512_set1_epi8(16));
        }
        quads
    }
}

/// 16 low nibbles, then the 16 high ones of the same bytes.
///
/// # Safety
/// 16 bytes are readable at `at` of the rows; AVX-512 F and BW.
#[inline(always)]
pub(super) unsafe fn nibble_quads(rows: Rows, at: usize) -> [__m512i; 8] {
    // SAFETY: passed on.
    unsafe {
        let packed = rows.dwords(at);
        let mut quads = [_mm512_setzero_si512(); 8];
        for i in 0..4 {
            quads[i] = nibbles::<0>(packed[i]);
            quads[4 + i] = nibbles::<1>(packed[i]);
        }
        quads
    }
}

impl AbreastBlock for Q80 {
    #[expect(private_interfaces, reason = "called in this module only")]
    #[inline(always)]
    unsafe fn quads(rows: Rows) -> [__m512i; 8] {
        // SAFETY: passed on.
        unsafe {
            let (first, second) = (rows.dwords(2), rows.dwords(18));
            let mut quads = [_mm512_setzero_si512(); 8];
            for i in 0..4 {
                quads[i] = _mm512_xor_si512(first[i], _mm512_set1_epi8(-128));
                quads[4 + i] = _mm512_xor_si512(second[i], _mm512_set1_epi8(-128));
            }
            quads
        }
    }
}

macro_rules! of_nibbles {
    ($($ty:ident: $quants:literal, $fifths:expr;)*) => {
        $(impl AbreastBlock for $ty {
            const FIFTHS: Option<usize> = $fifths;
            #[expect(private_interfaces, reason = "called in this module only")]
            #[inline(always)]
            unsafe fn quads(rows: Rows) -> [__m512i; 8] {
                // SAFETY: passed on.
                unsafe { nibble_quads(rows, $quants) }
            }
        })*
    };
}

of_nibbles! {
    Q40: 2, None;
    Q41: 4, None;
    Q50: 6, Some(2);
    Q51: 8, Some(4);
}
