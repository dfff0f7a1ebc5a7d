//! Products of floating-point weights with many columns: some rows decoded to f32 once, then tiles of 4 rows by 6 columns over stretches of k
//! that stay in the first-level cache.
//!
//! The lanes and their order are those of `generic::float`; where they go on from one stretch to the next they wait in memory. Prompts of 512 were
//! read with BF16 at 1.46 times the tokens a second of tiles by `vdpbf16ps`, with F16 at 1.03 to 1.1 times those of tiles that decode for
//! themselves over all of k (Emerald Rapids, 2 threads, 5 pairs); one thread by itself does 70 % of the multiply-adds that the processor can do.

use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead;
use super::super::for_columns;
use super::{float, lanes};

/// Columns of a tile, at most: the first number where they are counted off.
const COLUMNS: usize = 6;
/// Rows, likewise.
const ROWS: usize = 4;
/// Floats of a row or column that a tile passes over at a time: 6 columns and 4 rows are 20 KiB.
const STRETCH: usize = 512;
/// Rows that are decoded together: at most these, and at most so many bytes, to stay in the second-level cache.
const MOST_ROWS: usize = 64;
const ROW_BYTES: usize = 768 << 10;
/// Lanes of a register, and the rows whose lanes are added up together.
const LANES: usize = 16;

/// Weights and the activations that they are multiplied with, as f32 in the order in which lanes take them.
pub(super) trait Decode {
    /// Elements that are decoded together.
    const STEP: usize;
    /// Bytes of a weight.
    const BYTES: usize;
    /// Whether activations have to be decoded, too.
    const BOTH: bool;

    /// Decodes [`Self::STEP`] weights at `from`, those of them that are `there`, to as many floats at `to`; the others, which are not read, to zero.
    ///
    /// # Safety
    /// Readable and writable, `to` aligned to 64 bytes; AVX-512 F, BW, VL.
    unsafe fn weights(from: *const u8, there: u32, to: *mut f32);

    /// Decodes [`Self::STEP`] activations; where [`Self::BOTH`].
    ///
    /// # Safety
    /// As above.
    unsafe fn activations(from: *const u8, to: *mut f32);

    /// What the sums of a column are multiplied with.
    fn scale(job: &Job<'_>, column: usize) -> f32;
}

impl<T: float::Float> Decode for T {
    const STEP: usize = 16;
    const BYTES: usize = T::BYTES;
    const BOTH: bool = false;
    #[inline(always)]
    unsafe fn weights(from: *const u8, there: u32, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_store_ps(to, T::load(from, there as u16)) }
    }
    #[inline(always)]
    unsafe fn activations(_: *const u8, _: *mut f32) {}
    fn scale(_: &Job<'_>, _: usize) -> f32 {
        1.0
    }
}

/// With fewer columns decoding costs more than it saves: with 12 columns F16 and BF16 were read at 0.8 times the tokens a second of tiles that decode
/// for themselves, with 24 at 0.97 (F16) and 1.18 (BF16), with 48 at 1.2.
const LEAST_COLUMNS: usize = 24;

/// Whether so many columns are many.
pub(super) fn are_many(columns: usize) -> bool {
    columns >= LEAST_COLUMNS
}

/// Where the parts of the scratch lie, in floats, and how many rows are decoded together.
struct Plan {
    /// From one decoded row to the next: an odd number of lines.
    stride: usize,
    rows: usize,
    /// Decoded activations.
    acts: usize,
    /// Lanes of the sums, `[COLUMNS][rows rounded up to 16][16]`.
    sums: usize,
}

impl Plan {
    fn new(k: usize) -> Self {
        let stride = k.next_multiple_of(2 * LANES) + LANES;
        let rows = (ROW_BYTES / 4 / stride / ROWS * ROWS).clamp(ROWS, MOST_ROWS);
        let acts = rows * stride;
        let sums = acts + COLUMNS * (STRETCH + LANES);
        Self { stride, rows, acts, sums }
    }

    /// The lanes of the sums of a column of a tile.
    fn sums_of(&self, column: usize) -> usize {
        self.sums + column * self.rows.next_multiple_of(LANES) * LANES
    }

    fn bytes(&self) -> usize {
        self.sums_of(COLUMNS) * 4
    }
}

/// Bytes of scratch for rows of `k` elements.
pub(super) fn scratch_bytes(k: usize) -> usize {
    Plan::new(k).bytes()
}

/// Runs one product.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL.
pub(super) unsafe fn products<T: Decode>(job: &Job<'_>, scratch: &mut [u8]) {
    let plan = Plan::new(job.k);
    assert!(scratch.len() >= plan.bytes());
    let scratch = scratch.as_mut_ptr().cast::<f32>();
    for first in (0..job.rows).step_by(plan.rows) {
        let rows = (job.rows - first).min(plan.rows);
        let mut later = Later::of(job, first + rows, rows, T::STEP);
        // SAFETY: passed on; the scratch has room for the plan, and rows and columns exist.
        unsafe {
            for r in 0..rows {
                decode::<T>(job, first + r, scratch.add(r * plan.stride));
            }
            for_columns!(column..job.acts.cols, N in [6, 4, 2, 1], {
                stretches::<T, N>(job, &plan, rows, column, &mut later, scratch);
                for c in 0..N {
                    finish(job, (first, rows), column + c, T::scale(job, column + c), scratch.add(plan.sums_of(c)));
                }
            });
        }
    }
}

/// Asks for the weights that are decoded next while tiles of the present ones are computed, some with each: at once they would hold up the decoding.
struct Later<'a> {
    bytes: &'a [u8],
    /// Bytes with each tile.
    share: usize,
}

impl<'a> Later<'a> {
    /// Rows from `row` on, in this job or the next one, while as many rows are computed.
    fn of(job: &Job<'a>, row: usize, rows: usize, step: usize) -> Self {
        let rest = &job.weights[row * job.row_bytes..];
        let bytes = if rest.is_empty() { job.next } else { rest };
        let bytes = &bytes[..bytes.len().min(rows * job.row_bytes)];
        let tiles = job.acts.cols.div_ceil(COLUMNS) * job.k.next_multiple_of(step).div_ceil(STRETCH) * rows.div_ceil(ROWS);
        Self { bytes, share: bytes.len().div_ceil(tiles).next_multiple_of(64) }
    }

    fn ask(&mut self) {
        let (now, rest) = self.bytes.split_at(self.share.min(self.bytes.len()));
        ahead::ask(now.as_ptr(), now.len());
        self.bytes = rest;
    }
}

/// Decodes a row, filled up with zeros to a whole step.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn decode<T: Decode>(job: &Job<'_>, row: usize, to: *mut f32) {
    // SAFETY: the row exists; of its elements only those inside are read.
    unsafe {
        let from = job.weights.as_ptr().add(row * job.row_bytes);
        for k in (0..job.k).step_by(T::STEP) {
            let there = if job.k - k >= T::STEP { u32::MAX } else { (1 << (job.k - k)) - 1 };
            T::weights(from.add(k * T::BYTES), there, to.add(k));
        }
    }
}

/// The lanes of all decoded rows with `N` columns from `column` on.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn stretches<T: Decode, const N: usize>(
    job: &Job<'_>,
    plan: &Plan,
    rows: usize,
    column: usize,
    later: &mut Later<'_>,
    scratch: *mut f32,
) {
    let floats = job.k.next_multiple_of(T::STEP);
    let element = if T::BOTH { 2 } else { 4 };
    for k in (0..floats).step_by(STRETCH) {
        let len = (floats - k).min(STRETCH);
        // SAFETY: columns are padded to 64 bytes, which is a whole step; the rest lies in the scratch.
        unsafe {
            let start = job.acts.data.as_ptr().add(column * job.acts.stride);
            let column = start.add(k * element);
            let (acts, stride) = if T::BOTH {
                let acts = scratch.add(plan.acts);
                for c in 0..N {
                    for i in (0..len).step_by(T::STEP) {
                        T::activations(column.add(c * job.acts.stride + i * element), acts.add(c * (STRETCH + LANES) + i));
                    }
                }
                (acts.cast_const(), STRETCH + LANES)
            } else {
                (column.cast(), job.acts.stride / 4)
            };
            let sums: [*mut f32; N] = std::array::from_fn(|c| scratch.add(plan.sums_of(c)));
            // The columns of the stretch that comes next, one asked for with each tile.
            let next = if k + STRETCH < floats { column.add(STRETCH * element) } else { start.wrapping_add(N * job.acts.stride) };
            for_columns!(r..rows, R in [4, 2, 1], {
                later.ask();
                let weights = scratch.add(r * plan.stride + k);
                let next = (next.wrapping_add((r / ROWS).min(N - 1) * job.acts.stride), LANES * element);
                tile::<R, N>((weights, plan.stride), (acts, stride), len, k > 0, sums.map(|sums| sums.add(r * LANES)), next);
            });
        }
    }
}

/// The lanes of `R` rows with `N` columns over `len` floats, from zero or where they were. Asks for what begins at `next.0`, so many bytes with each
/// register of 16: all at once, before the tile, was slower than not at all, and so was asking for rows, which come from the second-level cache.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn tile<const R: usize, const N: usize>(
    w: (*const f32, usize),
    a: (*const f32, usize),
    len: usize,
    go_on: bool,
    sums: [*mut f32; N],
    next: (*const u8, usize),
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); R]; N];
        if go_on {
            for c in 0..N {
                for r in 0..R {
                    acc[c][r] = _mm512_load_ps(sums[c].add(r * LANES));
                }
            }
        }
        let mut asked = next.0;
        for i in (0..len).step_by(LANES) {
            _mm_prefetch::<_MM_HINT_T0>(asked.cast());
            asked = asked.wrapping_add(next.1);
            let mut weights = [_mm512_setzero_ps(); R];
            for r in 0..R {
                weights[r] = _mm512_load_ps(w.0.add(r * w.1 + i));
            }
            for c in 0..N {
                let a = _mm512_load_ps(a.0.add(c * a.1 + i));
                for r in 0..R {
                    acc[c][r] = _mm512_fmadd_ps(weights[r], a, acc[c][r]);
                }
            }
        }
        for c in 0..N {
            for r in 0..R {
                _mm512_store_ps(sums[c].add(r * LANES), acc[c][r]);
            }
        }
    }
}

/// Adds up the lanes of `rows` rows with one column.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn finish(job: &Job<'_>, (first, rows): (usize, usize), column: usize, scale: f32, sums: *const f32) {
    for r in (0..rows).step_by(LANES) {
        // SAFETY: the sums have whole sixteens of rows; of the outputs only those of rows that exist are written.
        unsafe {
            let mut v = [_mm512_setzero_ps(); LANES];
            for i in 0..LANES {
                v[i] = _mm512_load_ps(sums.add((r + i) * LANES));
            }
            let sums = _mm512_mul_ps(lanes::sum_16_floats(v), _mm512_set1_ps(scale));
            let out: *mut f32 = job.out_at(first + r, column);
            _mm512_mask_storeu_ps(out, lanes::first((rows - r).min(LANES)), sums);
        }
    }
}
