//! Products with few columns: the rows are read as they lie, one after the other, each byte once.
//!
//! As in the AVX-512 kernels of the same name, with 8 rows at a time: first integer sums of each block into scratch, then
//! the sums of 8 rows side by side and the chains of multiply-adds, one lane per row.

use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::{Ahead, Lead};
use super::blocks::Block;
use super::lanes;
use super::supers::{Super, spread};

/// The largest number of columns of one call.
pub(super) const MAX_COLUMNS: usize = 4;

/// Scratch for [`super_blocks`]: sums `i32[cols][blocks][8 rows][8]`, minima `i32[cols][blocks][8 rows][4]`, heads
/// `u32[blocks][8 rows]`.
pub(super) fn super_blocks_scratch(blocks: usize) -> usize {
    blocks * (MAX_COLUMNS * (256 + 128) + 32)
}

/// Products with super-blocks of 256 of columns `first .. first + N`.
///
/// # Safety
/// As `Table::matmul`; AVX2, FMA, F16C; the columns exist.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn super_blocks<T: Super, const N: usize>(job: &Job<'_>, first: usize, scratch: &mut [u8]) {
    let blocks = job.k / 256;
    assert!(scratch.len() >= super_blocks_scratch(blocks));
    let layout = job.acts.kind.layout(job.k);
    let sums = scratch.as_mut_ptr();
    let lead = Lead::of(job);
    // SAFETY: the scratch holds the three arrays; the columns hold the parts of their layout; rows and outputs exist.
    unsafe {
        let mins = sums.add(N * blocks * 256);
        let heads = mins.add(N * blocks * 128);
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        for start in (0..job.rows).step_by(8) {
            let rows = (job.rows - start).min(8);
            let ahead = Ahead::of(job, lead, start, 8);
            let mut block = job.weights.as_ptr().add(start * job.row_bytes);
            for r in 0..rows {
                for b in 0..blocks {
                    ahead.pass(block, T::BYTES);
                    let scales = T::scales(block);
                    let mut acc = [_mm256_setzero_si256(); N];
                    if T::OFFSET != 0 {
                        for c in 0..N {
                            let scaled = if T::PER_32 {
                                let sums32 = _mm_loadu_si128(columns[c].add(layout.sums32 + b * 16).cast());
                                _mm256_zextsi128_si256(_mm_madd_epi16(_mm256_castsi256_si128(scales), sums32))
                            } else {
                                _mm256_madd_epi16(scales, _mm256_loadu_si256(columns[c].add(layout.sums + b * 32).cast()))
                            };
                            acc[c] = _mm256_mullo_epi32(scaled, _mm256_set1_epi32(-T::OFFSET));
                        }
                    }
                    let q = columns.map(|column| column.add(b * 256));
                    products::<T, N, 0>(&mut acc, block, scales, q);
                    products::<T, N, 1>(&mut acc, block, scales, q);
                    products::<T, N, 2>(&mut acc, block, scales, q);
                    products::<T, N, 3>(&mut acc, block, scales, q);
                    products::<T, N, 4>(&mut acc, block, scales, q);
                    products::<T, N, 5>(&mut acc, block, scales, q);
                    products::<T, N, 6>(&mut acc, block, scales, q);
                    products::<T, N, 7>(&mut acc, block, scales, q);
                    for c in 0..N {
                        _mm256_store_si256(sums.add(((c * blocks + b) * 8 + r) * 32).cast(), acc[c]);
                        if T::MINS {
                            let m = T::mins(block);
                            let sum = if T::PER_32 {
                                let a = _mm_loadu_si128(columns[c].add(layout.sums32 + b * 16).cast());
                                _mm_madd_epi16(_mm256_castsi256_si128(m), a)
                            } else {
                                let a = _mm256_loadu_si256(columns[c].add(layout.sums + b * 32).cast());
                                let sum = _mm256_madd_epi16(m, a);
                                _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum))
                            };
                            // Register r % 4, half r / 4: so sum_4 leaves the rows in their order.
                            _mm_store_si128(mins.add((c * blocks + b) * 128 + r % 4 * 32 + r / 4 * 16).cast(), sum);
                        }
                    }
                    heads.cast::<u32>().add(b * 8 + r).write(T::head(block));
                    block = block.add(T::BYTES);
                }
            }
            let mut acc = [_mm256_setzero_ps(); N];
            for b in 0..blocks {
                let head = _mm256_load_si256(heads.add(b * 32).cast());
                let (d, dmin) = (T::factors(head), lanes::high_halves(head));
                for c in 0..N {
                    let at = sums.add((c * blocks + b) * 256);
                    let sum = lanes::sum_8(std::array::from_fn(|r| _mm256_load_si256(at.add(r * 32).cast())));
                    let da = _mm256_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                    acc[c] = _mm256_fmadd_ps(_mm256_mul_ps(d, da), _mm256_cvtepi32_ps(sum), acc[c]);
                    if T::MINS {
                        let at = mins.add((c * blocks + b) * 128);
                        let sum = lanes::sum_4(std::array::from_fn(|r| _mm256_load_si256(at.add(r * 32).cast())));
                        acc[c] = _mm256_fnmadd_ps(_mm256_mul_ps(dmin, da), _mm256_cvtepi32_ps(sum), acc[c]);
                    }
                }
            }
            for c in 0..N {
                lanes::store_first(job.out.add((first + c) * job.ld + start), rows, acc[c]);
            }
        }
    }
}

/// Adds the products of the 32 elements `I`.
#[inline(always)]
unsafe fn products<T: Super, const N: usize, const I: usize>(acc: &mut [__m256i; N], block: *const u8, scales: __m256i, q: [*const u8; N]) {
    // SAFETY: the caller's promise.
    unsafe {
        let (w, s) = (T::quants::<I>(block), spread::<T, I>(scales));
        for c in 0..N {
            let a = _mm256_loadu_si256(q[c].add(I * 32).cast());
            // Two products of at most 127 · 127 fit 16 bits.
            acc[c] = _mm256_add_epi32(acc[c], _mm256_madd_epi16(pairs(w, a, T::SIGNED), s));
        }
    }
}

/// Scratch for [`blocks`]: sums `i32[cols][groups of 8 blocks][8 rows][8 blocks]`, heads `u32[blocks][8 rows]`.
pub(super) fn blocks_scratch(blocks: usize) -> usize {
    blocks.next_multiple_of(8) * 32 * (MAX_COLUMNS + 1)
}

/// Products with blocks of 32 of columns `first .. first + N`.
///
/// # Safety
/// As [`super_blocks`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn blocks<T: Block, const N: usize>(job: &Job<'_>, first: usize, scratch: &mut [u8]) {
    let blocks = job.k / 32;
    assert!(scratch.len() >= blocks_scratch(blocks));
    let layout = job.acts.kind.layout(job.k);
    let groups = blocks.div_ceil(8);
    let sums = scratch.as_mut_ptr();
    let lead = Lead::of(job);
    // SAFETY: the scratch holds the two arrays; the columns hold the parts of their layout; rows and outputs exist.
    unsafe {
        let heads = sums.add(N * groups * 256);
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        for start in (0..job.rows).step_by(8) {
            let rows = (job.rows - start).min(8);
            let ahead = Ahead::of(job, lead, start, 8);
            let mut block = job.weights.as_ptr().add(start * job.row_bytes);
            for r in 0..rows {
                for g in 0..groups {
                    let left = (blocks - g * 8).min(8);
                    ahead.pass(block, left * T::BYTES);
                    let mut w = [_mm256_setzero_si256(); 8];
                    if left == 8 {
                        for j in 0..8 {
                            w[j] = T::quants(block.add(j * T::BYTES));
                        }
                    } else {
                        for j in 0..left {
                            w[j] = T::quants(block.add(j * T::BYTES));
                        }
                    }
                    for c in 0..N {
                        let q = columns[c].add(g * 256);
                        let mut products = [_mm256_setzero_si256(); 8];
                        for j in 0..8 {
                            if left == 8 || j < left {
                                let a = _mm256_loadu_si256(q.add(j * 32).cast());
                                products[j] = _mm256_madd_epi16(pairs(w[j], a, T::SIGNED), _mm256_set1_epi16(1));
                            }
                        }
                        _mm256_store_si256(sums.add(((c * groups + g) * 8 + r) * 32).cast(), lanes::sum_8(products));
                    }
                    for j in 0..left {
                        heads.cast::<u32>().add((g * 8 + j) * 8 + r).write(T::head(block));
                        block = block.add(T::BYTES);
                    }
                }
            }
            let mut acc = [_mm256_setzero_ps(); N];
            for g in 0..groups {
                for c in 0..N {
                    let at = sums.add((c * groups + g) * 256);
                    let by_block = lanes::transpose(std::array::from_fn(|r| _mm256_load_si256(at.add(r * 32).cast())));
                    for j in 0..8 {
                        let b = g * 8 + j;
                        if b >= blocks {
                            break;
                        }
                        let sum = by_block[j];
                        let head = _mm256_load_si256(heads.add(b * 32).cast());
                        let da = _mm256_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                        let minus_128 = columns[c].add(layout.sums).cast::<i32>().add(b).read();
                        let offset = if T::MIN || T::SIGNED { 0 } else { minus_128 >> T::SHIFT };
                        let sum = _mm256_add_epi32(sum, _mm256_set1_epi32(offset));
                        acc[c] = _mm256_fmadd_ps(_mm256_mul_ps(T::scales(head), da), _mm256_cvtepi32_ps(sum), acc[c]);
                        if T::MIN {
                            let a_sum = _mm256_set1_ps((minus_128 / -128) as f32);
                            acc[c] = _mm256_fmadd_ps(_mm256_mul_ps(lanes::high_halves(head), da), a_sum, acc[c]);
                        }
                    }
                }
            }
            for c in 0..N {
                lanes::store_first(job.out.add((first + c) * job.ld + start), rows, acc[c]);
            }
        }
    }
}

/// Sums of two products as i16, at most 2 · 128 · 127; where `signed`, of quants with their sign.
#[inline(always)]
pub(super) unsafe fn pairs(w: __m256i, a: __m256i, signed: bool) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe { if signed { _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w)) } else { _mm256_maddubs_epi16(w, a) } }
}
