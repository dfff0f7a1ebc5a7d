//! Products with few columns: the rows are read as they lie, one after the other, each byte once.
//!
//! Of eight rows, first the integer sums of each block into scratch, not yet added up across lanes; then those of four rows side
//! by side and the chains of multiply-adds, one lane per row.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::super::table::Job;
use super::blocks::Block;
use super::dot::Dot;
use super::lanes;
use super::level::{Kernel, Level};
use super::supers::Super;

/// The largest number of columns of one call.
pub(super) const MAX_COLUMNS: usize = 4;

/// Rows that are read before their sums are added up.
const ROWS: usize = 8;

/// Scratch for [`SuperBlocks`]: sums `i32[cols][blocks][8 rows][4]`, minima alike, heads `u32[blocks][8 rows]`.
pub(super) fn super_blocks_scratch(blocks: usize) -> usize {
    blocks * (MAX_COLUMNS * 2 * ROWS * 16 + ROWS * 4)
}

/// Scratch for [`Blocks`]: sums `i32[cols][groups of 4 blocks][8 rows][4 blocks]`, heads `u32[blocks][8 rows]`.
pub(super) fn blocks_scratch(blocks: usize) -> usize {
    blocks.next_multiple_of(4) * ROWS * 4 * (MAX_COLUMNS + 1)
}

/// Products with super-blocks of 256 of columns `first .. first + N`.
///
/// To run it asks, beside the level, for a job as `Table::matmul` takes it whose columns exist.
pub(super) struct SuperBlocks<'a, T, const N: usize> {
    pub job: &'a Job<'a>,
    pub first: usize,
    pub scratch: &'a mut [u8],
    pub ty: PhantomData<T>,
}

impl<T: Super, const N: usize> Kernel for SuperBlocks<'_, T, N> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Self { job, first, scratch, .. } = self;
        let blocks = job.k / 256;
        assert!(scratch.len() >= super_blocks_scratch(blocks));
        let layout = job.acts.kind.layout(job.k);
        let sums = scratch.as_mut_ptr();
        // SAFETY: the scratch holds the three arrays; the columns hold the parts of their layout; rows and outputs exist.
        unsafe {
            let mins = sums.add(N * blocks * ROWS * 16);
            let heads = mins.add(N * blocks * ROWS * 16);
            let columns: [*const u8; N] = columns(job, first);
            for start in (0..job.rows).step_by(ROWS) {
                let rows = (job.rows - start).min(ROWS);
                let mut block = job.weights.as_ptr().add(start * job.row_bytes);
                for r in 0..rows {
                    for b in 0..blocks {
                        let scales = lanes::widen(T::scales(block));
                        let mut acc = [vdupq_n_s32(0); N];
                        let mut q = columns;
                        for c in 0..N {
                            q[c] = columns[c].add(b * 256);
                        }
                        products::<L::Dot, T, N, 0>(&mut acc, block, &scales, &q);
                        products::<L::Dot, T, N, 1>(&mut acc, block, &scales, &q);
                        products::<L::Dot, T, N, 2>(&mut acc, block, &scales, &q);
                        products::<L::Dot, T, N, 3>(&mut acc, block, &scales, &q);
                        products::<L::Dot, T, N, 4>(&mut acc, block, &scales, &q);
                        products::<L::Dot, T, N, 5>(&mut acc, block, &scales, &q);
                        products::<L::Dot, T, N, 6>(&mut acc, block, &scales, &q);
                        products::<L::Dot, T, N, 7>(&mut acc, block, &scales, &q);
                        for c in 0..N {
                            let at = ((c * blocks + b) * ROWS + r) * 16;
                            vst1q_s32(sums.add(at).cast(), acc[c]);
                            if T::MINS {
                                let a = columns[c].add(if T::PER_32 { layout.sums32 + b * 16 } else { layout.sums + b * 32 });
                                vst1q_s32(mins.add(at).cast(), min_sums::<T>(T::mins(block), a.cast()));
                            }
                        }
                        heads.cast::<u32>().add(b * ROWS + r).write(T::head(block));
                        block = block.add(T::BYTES);
                    }
                }
                for four in 0..rows.div_ceil(4) {
                    let mut acc = [vdupq_n_f32(0.0); N];
                    for b in 0..blocks {
                        let head = vld1q_u32(heads.cast::<u32>().add(b * ROWS + four * 4));
                        let (d, dmin) = (T::factors(head), lanes::high_halves(head));
                        for c in 0..N {
                            let at = ((c * blocks + b) * ROWS + four * 4) * 16;
                            let da = vdupq_n_f32(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                            let sum = lanes::sum_4(load_4(sums.add(at)));
                            acc[c] = vfmaq_f32(acc[c], vmulq_f32(d, da), vcvtq_f32_s32(sum));
                            if T::MINS {
                                let sum = lanes::sum_4(load_4(mins.add(at)));
                                acc[c] = vfmsq_f32(acc[c], vmulq_f32(dmin, da), vcvtq_f32_s32(sum));
                            }
                        }
                    }
                    for c in 0..N {
                        let row = start + four * 4;
                        lanes::store_first(job.out.add((first + c) * job.ld + row), rows - four * 4, acc[c]);
                    }
                }
            }
        }
    }
}

/// Where columns `first .. first + N` begin.
///
/// # Safety
/// They exist.
#[inline(always)]
unsafe fn columns<const N: usize>(job: &Job<'_>, first: usize) -> [*const u8; N] {
    let mut columns = [job.acts.data.as_ptr(); N];
    for c in 0..N {
        // SAFETY: the caller's promise.
        columns[c] = unsafe { columns[c].add((first + c) * job.acts.stride) };
    }
    columns
}

/// Four registers that lie one after the other.
#[inline(always)]
unsafe fn load_4(from: *const u8) -> [int32x4_t; 4] {
    // SAFETY: the caller's promise.
    unsafe { [vld1q_s32(from.cast()), vld1q_s32(from.add(16).cast()), vld1q_s32(from.add(32).cast()), vld1q_s32(from.add(48).cast())] }
}

/// Adds the products of the 32 elements `I`.
#[inline(always)]
unsafe fn products<D: Dot, T: Super, const N: usize, const I: usize>(
    acc: &mut [int32x4_t; N],
    block: *const u8,
    scales: &[int32x4_t; 4],
    q: &[*const u8; N],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (w, zero) = (T::quants::<I>(block), vdupq_n_s32(0));
        for c in 0..N {
            let (low, high) = (vld1q_s8(q[c].add(I * 32).cast()), vld1q_s8(q[c].add(I * 32 + 16).cast()));
            if T::PER_32 {
                let sum = D::dot(D::dot(zero, w[0], low), w[1], high);
                acc[c] = lanes::add_scaled(acc[c], sum, scales, I);
            } else {
                acc[c] = lanes::add_scaled(acc[c], D::dot(zero, w[0], low), scales, 2 * I);
                acc[c] = lanes::add_scaled(acc[c], D::dot(zero, w[1], high), scales, 2 * I + 1);
            }
        }
    }
}

/// The products of minima with sums of activations, in four lanes.
#[inline(always)]
unsafe fn min_sums<T: Super>(mins: int8x16_t, a: *const i16) -> int32x4_t {
    // SAFETY: the caller's promise: 8 sums, or 16.
    unsafe {
        let (m, s) = (vmovl_s8(vget_low_s8(mins)), vld1q_s16(a));
        let sum = vmlal_high_s16(vmull_s16(vget_low_s16(m), vget_low_s16(s)), m, s);
        if T::PER_32 {
            return sum;
        }
        let (m, s) = (vmovl_high_s8(mins), vld1q_s16(a.add(8)));
        vmlal_high_s16(vmlal_s16(sum, vget_low_s16(m), vget_low_s16(s)), m, s)
    }
}

/// Products with blocks of 32 of columns `first .. first + N`; see [`SuperBlocks`].
pub(super) struct Blocks<'a, T, const N: usize> {
    pub job: &'a Job<'a>,
    pub first: usize,
    pub scratch: &'a mut [u8],
    pub ty: PhantomData<T>,
}

impl<T: Block, const N: usize> Kernel for Blocks<'_, T, N> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Self { job, first, scratch, .. } = self;
        let blocks = job.k / 32;
        assert!(scratch.len() >= blocks_scratch(blocks));
        let layout = job.acts.kind.layout(job.k);
        let groups = blocks.div_ceil(4);
        let sums = scratch.as_mut_ptr();
        // SAFETY: the scratch holds the two arrays; the columns hold the parts of their layout; rows and outputs exist.
        unsafe {
            let heads = sums.add(N * groups * ROWS * 16);
            let columns: [*const u8; N] = columns(job, first);
            for start in (0..job.rows).step_by(ROWS) {
                let rows = (job.rows - start).min(ROWS);
                let mut block = job.weights.as_ptr().add(start * job.row_bytes);
                for r in 0..rows {
                    for g in 0..groups {
                        let left = (blocks - g * 4).min(4);
                        let mut q = columns;
                        for c in 0..N {
                            q[c] = columns[c].add(g * 128);
                        }
                        let to = sums.add((g * ROWS + r) * 16);
                        if left == 4 {
                            four_blocks::<L::Dot, T, N>(block, &q, to, groups * ROWS * 16);
                        } else {
                            last_blocks::<L::Dot, T, N>(block, left, &q, to, groups * ROWS * 16);
                        }
                        for j in 0..left {
                            heads.cast::<u32>().add((g * 4 + j) * ROWS + r).write(T::head(block));
                            block = block.add(T::BYTES);
                        }
                    }
                }
                for four in 0..rows.div_ceil(4) {
                    let mut acc = [vdupq_n_f32(0.0); N];
                    for g in 0..groups {
                        for c in 0..N {
                            let by_block = lanes::transpose(load_4(sums.add(((c * groups + g) * ROWS + four * 4) * 16)));
                            for j in 0..4 {
                                let b = g * 4 + j;
                                if b >= blocks {
                                    break;
                                }
                                let head = vld1q_u32(heads.cast::<u32>().add(b * ROWS + four * 4));
                                let da = vdupq_n_f32(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                                acc[c] = vfmaq_f32(acc[c], vmulq_f32(T::scales(head), da), vcvtq_f32_s32(by_block[j]));
                                if T::MIN {
                                    let minus_128 = columns[c].add(layout.sums).cast::<i32>().add(b).read();
                                    let a_sum = vdupq_n_f32((minus_128 / -128) as f32);
                                    acc[c] = vfmaq_f32(acc[c], vmulq_f32(lanes::high_halves(head), da), a_sum);
                                }
                            }
                        }
                    }
                    for c in 0..N {
                        let row = start + four * 4;
                        lanes::store_first(job.out.add((first + c) * job.ld + row), rows - four * 4, acc[c]);
                    }
                }
            }
        }
    }
}

/// The products of a block with 32 activations, in four lanes.
#[inline(always)]
unsafe fn dot_32<D: Dot>(w: [int8x16_t; 2], q: *const u8) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe { D::dot(D::dot(vdupq_n_s32(0), w[0], vld1q_s8(q.cast())), w[1], vld1q_s8(q.add(16).cast())) }
}

/// The sums of four blocks, lane j that of block j, to `to` and for each further column `stride` bytes on.
#[inline(always)]
unsafe fn four_blocks<D: Dot, T: Block, const N: usize>(block: *const u8, q: &[*const u8; N], to: *mut u8, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        // Written out: an array that a loop indexes lies in memory where the loop is not unrolled.
        let w = [T::quants(block), T::quants(block.add(T::BYTES)), T::quants(block.add(2 * T::BYTES)), T::quants(block.add(3 * T::BYTES))];
        for c in 0..N {
            let (a, b) = (dot_32::<D>(w[0], q[c]), dot_32::<D>(w[1], q[c].add(32)));
            let (e, f) = (dot_32::<D>(w[2], q[c].add(64)), dot_32::<D>(w[3], q[c].add(96)));
            vst1q_s32(to.add(c * stride).cast(), lanes::sum_4([a, b, e, f]));
        }
    }
}

/// As [`four_blocks`], of `left` blocks.
#[inline(always)]
unsafe fn last_blocks<D: Dot, T: Block, const N: usize>(block: *const u8, left: usize, q: &[*const u8; N], to: *mut u8, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        for c in 0..N {
            let mut sums = [vdupq_n_s32(0); 4];
            for j in 0..left {
                sums[j] = dot_32::<D>(T::quants(block.add(j * T::BYTES)), q[c].add(j * 32));
            }
            vst1q_s32(to.add(c * stride).cast(), lanes::sum_4(sums));
        }
    }
}
