//! Products with few columns: the rows are read as they lie, one after the other, each byte once. With VNNI the types that
//! `abreast` has are mostly faster there, and it has the kernels here only for what it leaves.
//!
//! For 16 rows at a time, a first pass leaves integer sums of each block and its scales in scratch; a second one puts the
//! sums of 16 rows side by side and runs the chains of multiply-adds, one lane per row. So no block costs a sum across
//! lanes of its own, and memory sees one stream.

use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::{Ahead, Lead};
use super::blocks::Block;
use super::lanes;
use super::supers::{Super, spread};

/// The largest number of columns of one call.
pub(super) const MAX_COLUMNS: usize = 4;
/// Scratch for [`super_blocks`]: sums `i32[cols][blocks][16 rows][16]`, minima `i32[cols][blocks][16 rows][4]`,
/// heads `u32[blocks][16 rows]`.
pub(super) const fn super_blocks_scratch(blocks: usize) -> usize {
    blocks * (MAX_COLUMNS * (1024 + 256) + 64)
}

/// Products with super-blocks of 256 of columns `first .. first + N`.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL, and VNNI where `VNNI` says so; the columns exist.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn super_blocks<T: Super, const N: usize, const VNNI: bool>(job: &Job<'_>, first: usize, scratch: &mut [u8]) {
    let blocks = job.k / 256;
    assert!(scratch.len() >= super_blocks_scratch(blocks));
    let layout = job.acts.kind.layout(job.k);
    let sums = scratch.as_mut_ptr();
    let lead = Lead::of(job);
    // SAFETY: the scratch holds the three arrays; the columns hold the parts of their layout; rows and outputs exist.
    unsafe {
        let mins = sums.add(N * blocks * 1024);
        let heads = mins.add(N * blocks * 256);
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        for start in (0..job.rows).step_by(16) {
            let rows = (job.rows - start).min(16);
            let ahead = Ahead::of(job, lead, start, 16);
            let mut block = job.weights.as_ptr().add(start * job.row_bytes);
            for r in 0..rows {
                for b in 0..blocks {
                    ahead.pass(block, T::BYTES);
                    let scales = T::scales(block);
                    let w = [T::quants::<0>(block), T::quants::<1>(block), T::quants::<2>(block), T::quants::<3>(block)];
                    let s = [spread::<T, 0>(scales), spread::<T, 1>(scales), spread::<T, 2>(scales), spread::<T, 3>(scales)];
                    for c in 0..N {
                        let q = columns[c].add(b * 256);
                        let mut acc = _mm512_setzero_si512();
                        if T::OFFSET != 0 && !wide::<T>() {
                            let scaled = if T::PER_32 {
                                let sums32 = _mm_loadu_si128(columns[c].add(layout.sums32 + b * 16).cast());
                                _mm256_zextsi128_si256(_mm_madd_epi16(_mm256_castsi256_si128(scales), sums32))
                            } else {
                                _mm256_madd_epi16(scales, _mm256_loadu_si256(columns[c].add(layout.sums + b * 32).cast()))
                            };
                            let offset = _mm256_mullo_epi32(scaled, _mm256_set1_epi32(-T::OFFSET));
                            acc = _mm512_zextsi256_si512(offset);
                        }
                        for i in 0..4 {
                            let a = _mm512_loadu_si512(q.add(i * 64).cast());
                            acc = lanes::dot_i16::<VNNI>(acc, pairs::<T>(w[i], a), s[i]);
                        }
                        _mm512_store_si512(sums.add(((c * blocks + b) * 16 + r) * 64).cast(), acc);
                        if T::MINS {
                            let m = T::mins(block);
                            let a = _mm256_loadu_si256(columns[c].add(layout.sums + b * 32).cast());
                            let sum = _mm256_madd_epi16(m, a);
                            let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
                            // Register r % 4, group r / 4: so sum_4 leaves the rows in their order.
                            _mm_store_si128(mins.add((c * blocks + b) * 256 + r % 4 * 64 + r / 4 * 16).cast(), sum);
                        }
                    }
                    heads.cast::<u32>().add(b * 16 + r).write(T::head(block));
                    block = block.add(T::BYTES);
                }
            }
            let mut acc = [_mm512_setzero_ps(); N];
            for b in 0..blocks {
                let head = _mm512_load_si512(heads.add(b * 64).cast());
                let (d, dmin) = (T::factors(head), lanes::high_halves(head));
                for c in 0..N {
                    let at = sums.add((c * blocks + b) * 1024);
                    let sum = lanes::sum_16(std::array::from_fn(|r| _mm512_load_si512(at.add(r * 64).cast())));
                    let da = _mm512_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                    acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(sum), acc[c]);
                    if T::MINS {
                        let at = mins.add((c * blocks + b) * 256);
                        let sum = lanes::sum_4(std::array::from_fn(|r| _mm512_load_si512(at.add(r * 64).cast())));
                        acc[c] = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, da), _mm512_cvtepi32_ps(sum), acc[c]);
                    }
                }
            }
            for c in 0..N {
                _mm512_mask_storeu_ps(job.out.add((first + c) * job.ld + start), lanes::first(rows), acc[c]);
            }
        }
    }
}

/// Whether two products with unsigned quants do not fit 16 bits.
const fn wide<T: Super>() -> bool {
    T::OFFSET == 128
}

/// Sums of two products as i16: of at most 127 · 127 each. Quants that are too wide are taken with their sign, without the offset.
#[inline(always)]
unsafe fn pairs<T: Super>(w: __m512i, a: __m512i) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe {
        if !wide::<T>() {
            return _mm512_maddubs_epi16(w, a);
        }
        let w = _mm512_sub_epi8(w, _mm512_set1_epi8(-128));
        let a = _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), _mm512_setzero_si512(), a);
        _mm512_maddubs_epi16(_mm512_abs_epi8(w), a)
    }
}

/// Scratch for [`blocks`]: sums `i32[cols][groups of 16 blocks][16 rows][16 blocks]`, heads `u32[blocks][16 rows]`.
pub(super) fn blocks_scratch(blocks: usize) -> usize {
    blocks.next_multiple_of(16) * 64 * (MAX_COLUMNS + 1)
}

/// Products with blocks of 32 of columns `first .. first + N`.
///
/// # Safety
/// As [`super_blocks`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn blocks<T: Block, const N: usize, const VNNI: bool>(job: &Job<'_>, first: usize, scratch: &mut [u8]) {
    let blocks = job.k / 32;
    assert!(scratch.len() >= blocks_scratch(blocks));
    let (whole, left) = (blocks / 16, blocks % 16);
    let groups = blocks.div_ceil(16);
    let sums = scratch.as_mut_ptr();
    let lead = Lead::of(job);
    // SAFETY: the scratch holds the two arrays; the columns hold the parts of their layout; rows and outputs exist.
    unsafe {
        let heads = sums.add(N * groups * 1024);
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        for start in (0..job.rows).step_by(16) {
            let rows = (job.rows - start).min(16);
            let ahead = Ahead::of(job, lead, start, 16);
            let mut block = job.weights.as_ptr().add(start * job.row_bytes);
            for r in 0..rows {
                // Column c of group g: `c * groups * 1024` further on.
                for g in 0..groups {
                    let to = sums.add((g * 16 + r) * 64);
                    let heads = heads.add(g * 1024 + r * 4);
                    let q = columns.map(|column| column.add(g * 512));
                    if g < whole {
                        group_sums::<T, N, VNNI, true>(block, 16, q, to, groups * 1024, heads, ahead);
                    } else {
                        group_sums::<T, N, VNNI, false>(block, left, q, to, groups * 1024, heads, ahead);
                    }
                    block = block.wrapping_add(16 * T::BYTES);
                }
                block = job.weights.as_ptr().wrapping_add((start + r + 1) * job.row_bytes);
            }
            let mut acc = [_mm512_setzero_ps(); N];
            for g in 0..groups {
                for c in 0..N {
                    let from = sums.add((c * groups + g) * 1024);
                    let heads = heads.add(g * 1024);
                    acc[c] = if g < whole {
                        group_chain::<T, true>(acc[c], from, heads, job, columns[c], g * 16, 16)
                    } else {
                        group_chain::<T, false>(acc[c], from, heads, job, columns[c], g * 16, left)
                    };
                }
            }
            for c in 0..N {
                _mm512_mask_storeu_ps(job.out.add((first + c) * job.ld + start), lanes::first(rows), acc[c]);
            }
        }
    }
}

/// The integer sums of `count` blocks of one row, 16 where `WHOLE`, and their heads.
#[inline(always)]
unsafe fn group_sums<T: Block, const N: usize, const VNNI: bool, const WHOLE: bool>(
    block: *const u8,
    count: usize,
    q: [*const u8; N],
    to: *mut u8,
    column_bytes: usize,
    heads: *mut u8,
    ahead: Ahead,
) {
    let there = |j: usize| WHOLE || j < count;
    ahead.pass(block, 16 * T::BYTES);
    // SAFETY: only the blocks that are there are read, with their activations, of which there are 64 bytes for each pair.
    unsafe {
        // Loops, because closures of this size are not inlined.
        let mut w = [_mm512_setzero_si512(); 8];
        for j in 0..8 {
            if there(2 * j) {
                // The half of a block that is not there takes the other one; that sum is not used.
                let a = block.add(2 * j * T::BYTES);
                w[j] = T::pair(a, if there(2 * j + 1) { a.add(T::BYTES) } else { a });
            }
        }
        for c in 0..N {
            let mut products = [_mm512_setzero_si512(); 8];
            for j in 0..8 {
                if there(2 * j) {
                    let a = _mm512_loadu_si512(q[c].add(j * 64).cast());
                    products[j] = if T::SHIFT == 0 && !T::MIN {
                        lanes::dot_u8::<VNNI>(products[j], w[j], a)
                    } else {
                        lanes::dot_u7::<VNNI>(products[j], w[j], a)
                    };
                }
            }
            _mm512_store_si512(to.add(c * column_bytes).cast(), lanes::sum_8_pairs(products));
        }
        for j in 0..16 {
            if there(j) {
                heads.add(j * 64).cast::<u32>().write(T::head(block.add(j * T::BYTES)));
            }
        }
    }
}

/// Goes on with the chains of 16 rows over `count` blocks from block `b` on, 16 where `WHOLE`.
#[inline(always)]
unsafe fn group_chain<T: Block, const WHOLE: bool>(
    mut acc: __m512,
    sums: *const u8,
    heads: *const u8,
    job: &Job<'_>,
    column: *const u8,
    b: usize,
    count: usize,
) -> __m512 {
    let layout = job.acts.kind.layout(job.k);
    // SAFETY: the scratch and the column hold the blocks.
    unsafe {
        let by_block = lanes::transpose(std::array::from_fn(|r| _mm512_load_si512(sums.add(r * 64).cast())));
        for j in 0..16 {
            if !WHOLE && j >= count {
                break;
            }
            let head = _mm512_load_si512(heads.add(j * 64).cast());
            let da = _mm512_set1_ps(column.add(layout.scales).cast::<f32>().add(b + j).read());
            let minus_128 = column.add(layout.sums).cast::<i32>().add(b + j).read();
            let sum = if T::MIN { by_block[j] } else { _mm512_add_epi32(by_block[j], _mm512_set1_epi32(minus_128 >> T::SHIFT)) };
            acc = _mm512_fmadd_ps(_mm512_mul_ps(T::scales(head), da), _mm512_cvtepi32_ps(sum), acc);
            if T::MIN {
                let a_sum = _mm512_set1_ps((minus_128 / -128) as f32);
                acc = _mm512_fmadd_ps(_mm512_mul_ps(lanes::high_halves(head), da), a_sum, acc);
            }
        }
        acc
    }
}
