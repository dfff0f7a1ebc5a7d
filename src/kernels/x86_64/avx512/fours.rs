//! Products of super-blocks with scales per 32 elements and minima (Q4_K, Q5_K) with few columns: as in `rows`, but four rows pass
//! together.
//!
//! Four rows share the loads of a column's activations, and their scales are taken apart in one register of 512 bits, a block ahead of
//! their use: what was just stored can't be loaded in repeated parts without waiting. The rest is done in registers of 256 bits, so
//! that each has one scale, repeated by its load.
//!
//! Measured on Zen 4, one thread, one column of Q4_K: 37 GB/s from the cache, where one row at a time reaches 33 and `abreast` 33;
//! from memory in large pages 30 to 31 instead of 28.5. Whole models are held back by memory: 1.00 (Q4_K) and 1.01 (Q5_K) times the
//! kernels before with one thread, 1.01 and 0.98 with two.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::{Ahead, Lead};
use super::lanes;
use super::rows::{MAX_COLUMNS, super_blocks_scratch};
use super::supers::Super32;

/// Rows that pass together.
const FOUR: usize = 4;
/// Bytes of the scales of a block of four rows: `i16[2][4 rows][4 scales][2]`, each scale twice.
const SCALES_BYTES: usize = 128;

/// Products of columns `first .. first + N`. Scratch: sums `i32[cols][blocks][16 rows][8]`, minima `i32[cols][blocks][4 fours][4 rows][4]`,
/// heads `u32[blocks][16 rows]`, and the scales of two blocks.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL, and VNNI where `VNNI` says so; the columns exist.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn super_blocks<T: Super32, const N: usize, const VNNI: bool>(job: &Job<'_>, first: usize, scratch: &mut [u8]) {
    const { assert!(N <= MAX_COLUMNS && N * (512 + 256) + 64 + 2 * SCALES_BYTES <= super_blocks_scratch(1)) };
    let blocks = job.k / 256;
    assert!(scratch.len() >= super_blocks_scratch(blocks));
    let layout = job.acts.kind.layout(job.k);
    let lead = Lead::of(job);
    // SAFETY: the scratch holds the arrays, since there is a block at least; the columns hold the parts of their layout; rows and outputs exist.
    unsafe {
        let sums = scratch.as_mut_ptr();
        let mins = sums.add(N * blocks * 512);
        let heads = mins.add(N * blocks * 256);
        let scales = heads.add(blocks * 64);
        let mut columns = [std::ptr::null(); N];
        let mut sums32 = [std::ptr::null(); N];
        for c in 0..N {
            columns[c] = job.acts.data.as_ptr().add((first + c) * job.acts.stride);
            sums32[c] = columns[c].add(layout.sums32);
        }
        for start in (0..job.rows).step_by(16) {
            let ahead = Ahead::of(job, lead, start, 16);
            for four in 0..(job.rows - start).min(16).div_ceil(FOUR) {
                let mut rows = [std::ptr::null(); FOUR];
                for i in 0..FOUR {
                    // Rows that are not there repeat the last one; their results are not stored.
                    rows[i] = job.weights.as_ptr().add((start + four * FOUR + i).min(job.rows - 1) * job.row_bytes);
                }
                let to = Apart { scales, mins: mins.add(four * 64), heads: heads.add(four * 16), column_bytes: blocks * 256 };
                take_apart::<T, N>(&rows, 0, &sums32, &to);
                for b in 0..blocks {
                    if b + 1 < blocks {
                        take_apart::<T, N>(&rows, b + 1, &sums32, &to);
                    }
                    let scales = scales.add(b % 2 * SCALES_BYTES).cast();
                    let mut here = rows;
                    for row in &mut here {
                        *row = row.add(b * T::BYTES);
                        ahead.pass(*row, T::BYTES);
                    }
                    let mut q = columns;
                    for c in 0..N {
                        q[c] = columns[c].add(b * 256);
                    }
                    let to = sums.add((b * 16 + four * FOUR) * 32);
                    if N == 1 {
                        block_sums::<T, FOUR, N, VNNI>(&here, &q, scales, to, blocks * 512);
                    } else {
                        // Two sums for each row and column have to fit the registers.
                        for i in 0..FOUR {
                            block_sums::<T, 1, N, VNNI>(&[here[i]], &q, scales.add(i * 4), to.add(i * 32), blocks * 512);
                        }
                    }
                }
            }
            let mut acc = [_mm512_setzero_ps(); N];
            for b in 0..blocks {
                let head = _mm512_load_si512(heads.add(b * 64).cast());
                let (d, dmin) = (lanes::low_halves(head), lanes::high_halves(head));
                for c in 0..N {
                    let mut pairs = [_mm512_setzero_si512(); 8];
                    for r in 0..8 {
                        pairs[r] = _mm512_load_si512(sums.add((c * blocks + b) * 512 + r * 64).cast());
                    }
                    let da = _mm512_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                    let sum = _mm512_cvtepi32_ps(lanes::sum_8_pairs(pairs));
                    acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), sum, acc[c]);
                    let mut fours = [_mm512_setzero_si512(); 4];
                    for four in 0..4 {
                        fours[four] = _mm512_load_si512(mins.add((c * blocks + b) * 256 + four * 64).cast());
                    }
                    // Lane 4i + f of their sums is row 4f + i.
                    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                    let min = _mm512_cvtepi32_ps(_mm512_permutexvar_epi32(order, lanes::sum_4(fours)));
                    acc[c] = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, da), min, acc[c]);
                }
            }
            for c in 0..N {
                _mm512_mask_storeu_ps(job.out.add((first + c) * job.ld + start), lanes::first(job.rows - start), acc[c]);
            }
        }
    }
}

/// Where the parts of four rows go.
struct Apart {
    scales: *mut u8,
    /// Of block 0 of the four rows in the first column.
    mins: *mut u8,
    /// Of block 0 of the four rows.
    heads: *mut u8,
    /// From the minima of one column to those of the next.
    column_bytes: usize,
}

/// Takes the scales, the heads, and the products of the minima with the columns' sums, of block `b` of four rows.
#[inline(always)]
unsafe fn take_apart<T: Super32, const N: usize>(rows: &[*const u8; FOUR], b: usize, sums32: &[*const u8; N], to: &Apart) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut blocks = *rows;
        for block in &mut blocks {
            *block = block.add(b * T::BYTES);
        }
        let (heads, both) = T::heads_scales_and_mins(&blocks);
        let first = _mm512_broadcast_i32x4(_mm_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1));
        let second = _mm512_broadcast_i32x4(_mm_setr_epi8(4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1));
        let scales = to.scales.add(b % 2 * SCALES_BYTES);
        _mm512_store_si512(scales.cast(), _mm512_shuffle_epi8(both, first));
        _mm512_store_si512(scales.add(64).cast(), _mm512_shuffle_epi8(both, second));
        _mm_store_si128(to.heads.add(b * 64).cast(), heads);
        let min = _mm512_unpackhi_epi8(both, _mm512_setzero_si512());
        for c in 0..N {
            let sums = _mm512_broadcast_i32x4(_mm_load_si128(sums32[c].add(b * 16).cast()));
            _mm512_store_si512(to.mins.add(c * to.column_bytes + b * 256).cast(), _mm512_madd_epi16(min, sums));
        }
    }
}

/// Σ scale · Σ q·a of a block of `R` rows and `N` columns, left in eight parts for each row, and for the columns `column_bytes` apart.
#[inline(always)]
unsafe fn block_sums<T: Super32, const R: usize, const N: usize, const VNNI: bool>(
    rows: &[*const u8; R],
    q: &[*const u8; N],
    scales: *const i32,
    to: *mut u8,
    column_bytes: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut even, mut odd) = ([[_mm256_setzero_si256(); N]; R], [[_mm256_setzero_si256(); N]; R]);
        sub_block::<T, 0, R, N, VNNI>(&mut even, rows, q, scales);
        sub_block::<T, 1, R, N, VNNI>(&mut odd, rows, q, scales);
        sub_block::<T, 2, R, N, VNNI>(&mut even, rows, q, scales);
        sub_block::<T, 3, R, N, VNNI>(&mut odd, rows, q, scales);
        sub_block::<T, 4, R, N, VNNI>(&mut even, rows, q, scales);
        sub_block::<T, 5, R, N, VNNI>(&mut odd, rows, q, scales);
        sub_block::<T, 6, R, N, VNNI>(&mut even, rows, q, scales);
        sub_block::<T, 7, R, N, VNNI>(&mut odd, rows, q, scales);
        for r in 0..R {
            for c in 0..N {
                let sum = _mm256_add_epi32(even[r][c], odd[r][c]);
                _mm256_store_si256(to.add(c * column_bytes + r * 32).cast(), sum);
            }
        }
    }
}

/// Adds the products of sub-block `I` times its scale.
#[inline(always)]
unsafe fn sub_block<T: Super32, const I: usize, const R: usize, const N: usize, const VNNI: bool>(
    acc: &mut [[__m256i; N]; R],
    rows: &[*const u8; R],
    q: &[*const u8; N],
    scales: *const i32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for r in 0..R {
            let w = T::quants32::<I>(rows[r]);
            for c in 0..N {
                // Two products of at most 31 · 127 fit 16 bits.
                let products = _mm256_maddubs_epi16(w, _mm256_load_si256(q[c].add(I * 32).cast()));
                acc[r][c] = scaled::<I, VNNI>(acc[r][c], products, scales.add(r * 4));
            }
        }
    }
}

/// `acc` and pairs of products times the scale of sub-block `I`; `scales` are those of the row.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
unsafe fn scaled<const I: usize, const VNNI: bool>(mut acc: __m256i, products: __m256i, scales: *const i32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        if VNNI {
            // As text, because a function for both kinds of processor can't enable VNNI; and so that the scale comes from memory: the units that
            // load can repeat it, while those that shuffle are the ones that are short.
            asm!("vpdpwssd {}, {}, dword ptr [{} + {}]{{1to8}}", inout(ymm_reg) acc, in(ymm_reg) products, in(reg) scales,
                const I / 4 * 64 + I % 4 * 4, options(pure, readonly, nostack, preserves_flags));
            return acc;
        }
        let scale = _mm256_set1_epi32(scales.add(I / 4 * 16 + I % 4).read());
        _mm256_add_epi32(acc, _mm256_madd_epi16(products, scale))
    }
}
