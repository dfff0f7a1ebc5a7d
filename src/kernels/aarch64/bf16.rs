//! Dot products in bf16: tiles of two rows by up to three columns, four registers of 4 lanes each, as `generic::float` defines them.
//!
//! The instructions of BF16 for AArch64 are not used: they round differently.

use std::arch::aarch64::*;

use super::super::table::Job;
use super::for_columns;

/// Runs one product.
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn products(job: &Job<'_>) {
    // SAFETY: passed on; rows and columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [3, 1], {
            for_columns!(row..job.rows, R in [2, 1], tile::<R, N>(job, row, first));
        });
    }
}

unsafe fn tile<const R: usize, const N: usize>(job: &Job<'_>, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    // SAFETY: rows and columns exist; columns are padded to 64 bytes, and of the weights only those inside are read.
    unsafe {
        let (mut w, mut a) = ([std::ptr::null::<u8>(); R], [std::ptr::null::<u8>(); N]);
        for r in 0..R {
            w[r] = job.weights.as_ptr().add((row + r) * job.row_bytes);
        }
        for c in 0..N {
            a[c] = job.acts.data.as_ptr().add((first + c) * job.acts.stride);
        }
        let mut acc = [[[vdupq_n_f32(0.0); 4]; N]; R];
        for _ in 0..job.k / 32 {
            step::<R, N>(&mut acc, &w, &a);
            for r in 0..R {
                w[r] = w[r].add(64);
            }
            for c in 0..N {
                a[c] = a[c].add(64);
            }
        }
        if !job.k.is_multiple_of(32) {
            let mut tail = [[0u8; 64]; R];
            for r in 0..R {
                std::ptr::copy_nonoverlapping(w[r], tail[r].as_mut_ptr(), job.k % 32 * 2);
                w[r] = tail[r].as_ptr();
            }
            step::<R, N>(&mut acc, &w, &a);
        }
        for c in 0..N {
            let d = job.acts.data.as_ptr().add((first + c) * job.acts.stride + layout.scales).cast::<f32>().read();
            for r in 0..R {
                let [x, y, z, t] = acc[r][c];
                let four = vaddq_f32(vaddq_f32(x, z), vaddq_f32(y, t));
                let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
                *job.out_at(row + r, first + c) = (vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)) * d;
            }
        }
    }
}

/// 32 elements of each row and column.
#[inline(always)]
unsafe fn step<const R: usize, const N: usize>(acc: &mut [[[float32x4_t; 4]; N]; R], w: &[*const u8; R], a: &[*const u8; N]) {
    // SAFETY: 32 elements are readable at each place.
    unsafe {
        for part in 0..4 {
            let mut columns = [[vdupq_n_f32(0.0); 2]; N];
            for c in 0..N {
                columns[c] = halves(a[c].add(part * 16)).map(|half| vreinterpretq_f32_u32(half));
            }
            for r in 0..R {
                // Zero instead of subnormal weights.
                let normal = |half: uint32x4_t| vreinterpretq_f32_u32(vandq_u32(half, vtstq_u32(half, vdupq_n_u32(0x7f80_0000))));
                let [odd, even] = halves(w[r].add(part * 16)).map(normal);
                for c in 0..N {
                    let sum = vfmaq_f32(acc[r][c][part], odd, columns[c][0]);
                    acc[r][c][part] = vfmaq_f32(sum, even, columns[c][1]);
                }
            }
        }
    }
}

/// The odd and the even ones of 8 elements, as f32 bits.
#[inline(always)]
unsafe fn halves(p: *const u8) -> [uint32x4_t; 2] {
    // SAFETY: 16 bytes are readable.
    unsafe {
        let pairs = vreinterpretq_u32_u8(vld1q_u8(p));
        [vandq_u32(pairs, vdupq_n_u32(0xffff_0000)), vshlq_n_u32::<16>(pairs)]
    }
}
