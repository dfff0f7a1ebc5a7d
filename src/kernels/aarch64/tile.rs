//! Products with many columns: 8 rows are taken apart once into a panel, and all columns pass over it, four at a time.
//!
//! Where a last tile has more columns than are left, it computes the last one again and stores it once.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::super::table::Job;
use super::blocks::Block;
use super::lanes;
use super::level::{Kernel, Level};
use super::panel::Panel;
use super::supers::Super;

/// Bytes of 16 elements of 8 rows: two halves of four rows, arranged by [`Panel::arrange`].
const STEP: usize = 128;
/// Offset of the scales `i32[16][8]` in the record of a super-block.
const SCALES: usize = 16 * STEP;
/// Offset of the minima `i16[16][8]`.
const MINS: usize = SCALES + 512;
/// Offset of `f32 d[8]` and `f32 dmin[8]`.
const SUPER_HEAD: usize = MINS + 256;
const SUPER_RECORD: usize = SUPER_HEAD + 64;
/// Offset of `f32 d[8]` and `f32 m[8]` in the record of a block of 32.
const BLOCK_HEAD: usize = 2 * STEP;
const BLOCK_RECORD: usize = BLOCK_HEAD + 64;

/// Scratch for [`SuperBlocks`].
pub(super) fn super_blocks_scratch(blocks: usize) -> usize {
    blocks * SUPER_RECORD
}

/// Scratch for [`Blocks`].
pub(super) fn blocks_scratch(blocks: usize) -> usize {
    blocks * BLOCK_RECORD
}

/// The 8 rows from `row` on; rows that are not there repeat the last one.
fn rows_from(job: &Job<'_>, row: usize) -> [*const u8; 8] {
    std::array::from_fn(|r| job.row((row + r).min(job.rows - 1)).as_ptr())
}

/// The N columns from `first` on; columns that are not there repeat the last one.
fn columns_from<const N: usize>(job: &Job<'_>, first: usize) -> [*const u8; N] {
    std::array::from_fn(|c| job.acts.column((first + c).min(job.acts.cols - 1), job.k).as_ptr())
}

/// Stores what exists of a tile.
///
/// # Safety
/// Row `row` and column `first` are inside the job, whose outputs exist.
#[inline(always)]
unsafe fn store<const N: usize>(job: &Job<'_>, row: usize, first: usize, acc: &[[float32x4_t; N]; 2]) {
    for c in 0..N.min(job.acts.cols - first) {
        for half in 0..2 {
            let row = row + half * 4;
            if row < job.rows {
                // SAFETY: row and column are inside the job.
                unsafe { lanes::store_first(job.out.add((first + c) * job.ld + row), job.rows - row, acc[half][c]) };
            }
        }
    }
}

/// All columns with super-blocks of 256.
///
/// To run it asks, beside the level, for a job as `Table::matmul` takes it.
pub(super) struct SuperBlocks<'a, T> {
    pub job: &'a Job<'a>,
    pub scratch: &'a mut [u8],
    pub ty: PhantomData<T>,
}

impl<T: Super> Kernel for SuperBlocks<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Self { job, scratch, .. } = self;
        let blocks = job.k / 256;
        assert!(scratch.len() >= super_blocks_scratch(blocks));
        for row in (0..job.rows).step_by(8) {
            let rows = rows_from(job, row);
            // SAFETY: the blocks are inside the rows, the records inside the scratch, and the columns exist.
            unsafe {
                for b in 0..blocks {
                    build_super::<L::Panel, T>(rows.map(|row| row.add(b * T::BYTES)), scratch.as_mut_ptr().add(b * SUPER_RECORD));
                }
                let mut first = 0;
                while first + 2 < job.acts.cols {
                    super_tile::<L::Panel, T, 4>(job, scratch.as_ptr(), row, first);
                    first += 4;
                }
                if first < job.acts.cols {
                    super_tile::<L::Panel, T, 2>(job, scratch.as_ptr(), row, first);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn build_super<P: Panel, T: Super>(rows: [*const u8; 8], to: *mut u8) {
    // SAFETY: the blocks are readable, and all stores are inside the record.
    unsafe {
        arrange_super::<P, T, 0>(&rows, to);
        arrange_super::<P, T, 1>(&rows, to);
        arrange_super::<P, T, 2>(&rows, to);
        arrange_super::<P, T, 3>(&rows, to);
        arrange_super::<P, T, 4>(&rows, to);
        arrange_super::<P, T, 5>(&rows, to);
        arrange_super::<P, T, 6>(&rows, to);
        arrange_super::<P, T, 7>(&rows, to);
        let (scales, mins) = (to.add(SCALES).cast::<i32>(), to.add(MINS).cast::<i16>());
        let mut heads = [0u32; 8];
        for r in 0..8 {
            heads[r] = T::head(rows[r]);
            let mut bytes = [0i8; 16];
            vst1q_s8(bytes.as_mut_ptr(), T::scales(rows[r]));
            for (j, &scale) in bytes.iter().enumerate() {
                scales.add(j * 8 + r).write(scale.into());
            }
            if T::MINS {
                vst1q_s8(bytes.as_mut_ptr(), T::mins(rows[r]));
                for (j, &min) in bytes.iter().enumerate() {
                    mins.add(j * 8 + r).write(min.into());
                }
            }
        }
        store_heads(&heads, to.add(SUPER_HEAD).cast(), |heads| T::factors(heads));
    }
}

/// The 32 elements `I` of 8 rows.
#[inline(always)]
unsafe fn arrange_super<P: Panel, T: Super, const I: usize>(rows: &[*const u8; 8], to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut quants = [[vdupq_n_s8(0); 2]; 8];
        for r in 0..8 {
            quants[r] = T::quants::<I>(rows[r]);
        }
        arrange::<P>(&quants, to.add(2 * I * STEP));
    }
}

/// 32 elements of 8 rows as two steps of a panel.
#[inline(always)]
unsafe fn arrange<P: Panel>(quants: &[[int8x16_t; 2]; 8], to: *mut u8) {
    // SAFETY: the caller's promise: two steps are writable.
    unsafe {
        for step in 0..2 {
            for half in 0..2 {
                let [a, b, c, d] = [half * 4, half * 4 + 1, half * 4 + 2, half * 4 + 3];
                let w = P::arrange([quants[a][step], quants[b][step], quants[c][step], quants[d][step]]);
                for i in 0..4 {
                    vst1q_s8(to.add(step * STEP + half * 64 + i * 16).cast(), w[i]);
                }
            }
        }
    }
}

/// The first scales of 8 heads, and then their high halves, as f32.
#[inline(always)]
unsafe fn store_heads(heads: &[u32; 8], to: *mut f32, scales: impl Fn(uint32x4_t) -> float32x4_t) {
    // SAFETY: the caller's promise: 16 floats are writable.
    unsafe {
        for half in 0..2 {
            let four = vld1q_u32(heads.as_ptr().add(half * 4));
            vst1q_f32(to.add(half * 4), scales(four));
            vst1q_f32(to.add(8 + half * 4), lanes::high_halves(four));
        }
    }
}

/// Adds the products of one step of a panel with 16 elements of each column.
#[inline(always)]
unsafe fn step<P: Panel, const N: usize>(sums: &mut [[int32x4_t; N]; 2], w: *const u8, q: &[*const u8; N], at: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut a = [vdupq_n_s8(0); N];
        for c in 0..N {
            a[c] = vld1q_s8(q[c].add(at).cast());
        }
        let a = P::columns(a);
        for half in 0..2 {
            let mut rows = [vdupq_n_s8(0); 4];
            for i in 0..4 {
                rows[i] = vld1q_s8(w.add(half * 64 + i * 16).cast());
            }
            P::products(&mut sums[half], &rows, &a);
        }
    }
}

#[inline(always)]
unsafe fn super_tile<P: Panel, T: Super, const N: usize>(job: &Job<'_>, records: *const u8, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    let columns = columns_from::<N>(job, first);
    // SAFETY: the columns hold the parts of their layout, the records are built, the outputs exist.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); N]; 2];
        for b in 0..job.k / 256 {
            let record = records.add(b * SUPER_RECORD);
            let scales = record.add(SCALES).cast::<i32>();
            let mut total = [[vdupq_n_s32(0); N]; 2];
            // Steps of a sub-block.
            let steps = if T::PER_32 { 2 } else { 1 };
            for j in 0..16 / steps {
                let mut sums = [[vdupq_n_s32(0); N]; 2];
                for i in j * steps..(j + 1) * steps {
                    step::<P, N>(&mut sums, record.add(i * STEP), &columns, b * 256 + i * 16);
                }
                for half in 0..2 {
                    P::add_scaled(&mut total[half], &sums[half], vld1q_s32(scales.add(j * 8 + half * 4)));
                }
            }
            let heads = record.add(SUPER_HEAD).cast::<f32>();
            for half in 0..2 {
                let sums = P::by_row(total[half]);
                let (d, dmin) = (vld1q_f32(heads.add(half * 4)), vld1q_f32(heads.add(8 + half * 4)));
                for c in 0..N {
                    let da = vdupq_n_f32(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                    acc[half][c] = vfmaq_f32(acc[half][c], vmulq_f32(d, da), vcvtq_f32_s32(sums[c]));
                    if T::MINS {
                        let a = columns[c].add(if T::PER_32 { layout.sums32 + b * 16 } else { layout.sums + b * 32 });
                        let sum = min_sums::<T>(record.add(MINS).cast::<i16>().add(half * 4), a.cast());
                        acc[half][c] = vfmsq_f32(acc[half][c], vmulq_f32(dmin, da), vcvtq_f32_s32(sum));
                    }
                }
            }
        }
        store(job, row, first, &acc);
    }
}

/// The products of minima with sums of activations, lane r those of row r.
#[inline(always)]
unsafe fn min_sums<T: Super>(mins: *const i16, a: *const i16) -> int32x4_t {
    // SAFETY: the caller's promise: 8 sums and rows of minima, or 16.
    unsafe {
        let sum = add_min_sums(vdupq_n_s32(0), mins, vld1q_s16(a));
        if T::PER_32 { sum } else { add_min_sums(sum, mins.add(64), vld1q_s16(a.add(8))) }
    }
}

/// Eight of them.
#[inline(always)]
unsafe fn add_min_sums(acc: int32x4_t, mins: *const i16, a: int16x8_t) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let acc = vmlal_laneq_s16::<0>(acc, vld1_s16(mins), a);
        let acc = vmlal_laneq_s16::<1>(acc, vld1_s16(mins.add(8)), a);
        let acc = vmlal_laneq_s16::<2>(acc, vld1_s16(mins.add(16)), a);
        let acc = vmlal_laneq_s16::<3>(acc, vld1_s16(mins.add(24)), a);
        let acc = vmlal_laneq_s16::<4>(acc, vld1_s16(mins.add(32)), a);
        let acc = vmlal_laneq_s16::<5>(acc, vld1_s16(mins.add(40)), a);
        let acc = vmlal_laneq_s16::<6>(acc, vld1_s16(mins.add(48)), a);
        vmlal_laneq_s16::<7>(acc, vld1_s16(mins.add(56)), a)
    }
}

/// All columns with blocks of 32; see [`SuperBlocks`].
pub(super) struct Blocks<'a, T> {
    pub job: &'a Job<'a>,
    pub scratch: &'a mut [u8],
    pub ty: PhantomData<T>,
}

impl<T: Block> Kernel for Blocks<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Self { job, scratch, .. } = self;
        let blocks = job.k / 32;
        assert!(scratch.len() >= blocks_scratch(blocks));
        for row in (0..job.rows).step_by(8) {
            let rows = rows_from(job, row);
            // SAFETY: the blocks are inside the rows, the records inside the scratch, and the columns exist.
            unsafe {
                for b in 0..blocks {
                    build_block::<L::Panel, T>(rows.map(|row| row.add(b * T::BYTES)), scratch.as_mut_ptr().add(b * BLOCK_RECORD));
                }
                let mut first = 0;
                while first + 2 < job.acts.cols {
                    block_tile::<L::Panel, T, 4>(job, scratch.as_ptr(), row, first);
                    first += 4;
                }
                if first < job.acts.cols {
                    block_tile::<L::Panel, T, 2>(job, scratch.as_ptr(), row, first);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn build_block<P: Panel, T: Block>(rows: [*const u8; 8], to: *mut u8) {
    // SAFETY: the blocks are readable, and all stores are inside the record.
    unsafe {
        let mut quants = [[vdupq_n_s8(0); 2]; 8];
        let mut heads = [0u32; 8];
        for r in 0..8 {
            quants[r] = T::quants(rows[r]);
            heads[r] = T::head(rows[r]);
        }
        arrange::<P>(&quants, to);
        store_heads(&heads, to.add(BLOCK_HEAD).cast(), |heads| T::scales(heads));
    }
}

#[inline(always)]
unsafe fn block_tile<P: Panel, T: Block, const N: usize>(job: &Job<'_>, records: *const u8, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    let columns = columns_from::<N>(job, first);
    // SAFETY: the columns hold the parts of their layout, the records are built, the outputs exist.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); N]; 2];
        for b in 0..job.k / 32 {
            let record = records.add(b * BLOCK_RECORD);
            let mut sums = [[vdupq_n_s32(0); N]; 2];
            step::<P, N>(&mut sums, record, &columns, b * 32);
            step::<P, N>(&mut sums, record.add(STEP), &columns, b * 32 + 16);
            let heads = record.add(BLOCK_HEAD).cast::<f32>();
            for half in 0..2 {
                let sums = P::by_row(sums[half]);
                let (d, m) = (vld1q_f32(heads.add(half * 4)), vld1q_f32(heads.add(8 + half * 4)));
                for c in 0..N {
                    let da = vdupq_n_f32(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                    acc[half][c] = vfmaq_f32(acc[half][c], vmulq_f32(d, da), vcvtq_f32_s32(sums[c]));
                    if T::MIN {
                        let minus_128 = columns[c].add(layout.sums).cast::<i32>().add(b).read();
                        let a_sum = vdupq_n_f32((minus_128 / -128) as f32);
                        acc[half][c] = vfmaq_f32(acc[half][c], vmulq_f32(m, da), a_sum);
                    }
                }
            }
        }
        store(job, row, first, &acc);
    }
}
