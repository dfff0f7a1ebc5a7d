//! The normative integer products: exact sums inside a scale block, then one chain of fused multiply-adds per (row, column).

use super::super::table::Job;
use super::unpack::{BlockType, SuperBlockType};
use crate::base::fma::fma;

/// Products with blocks of 32. Per block, in ascending order:
/// acc = fma(dw·da, Σ qw·qa, acc), and where the type has a minimum acc = fma(m·da, Σ qa, acc).
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn blocks<T: BlockType>(job: &Job<'_>) {
    let layout = job.acts.kind.layout(job.k);
    for row in 0..job.rows {
        let blocks = job.row(row);
        // SAFETY: the caller gave an output for every row and column.
        unsafe { job.clear(row) };
        for (i, bytes) in blocks.chunks_exact(T::BYTES).enumerate() {
            let block = T::unpack(bytes);
            for c in 0..job.acts.cols {
                let column = job.acts.column(c, job.k);
                let q = &column[i * 32..i * 32 + 32];
                let da = f32_at(column, layout.scales + i * 4);
                let isum: i32 = block.q.iter().zip(q).map(|(&w, &a)| i32::from(w) * i32::from(a as i8)).sum();
                // SAFETY: the caller gave an output for every row and column.
                let out = unsafe { job.out_at(row, c) };
                *out = fma(block.d * da, isum as f32, *out);
                if T::HAS_MIN {
                    let asum: i32 = q.iter().map(|&a| i32::from(a as i8)).sum();
                    *out = fma(block.m * da, asum as f32, *out);
                }
            }
        }
    }
}

/// Products with super-blocks of 256. Per super-block, in ascending order: acc = fma(dw·da, Σ_j sc_j·Σ qw·qa, acc), and
/// where the type has minima acc = fma(−(dmin·da), Σ_j mn_j·Σ qa, acc).
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn super_blocks<T: SuperBlockType>(job: &Job<'_>) {
    let layout = job.acts.kind.layout(job.k);
    for row in 0..job.rows {
        let blocks = job.row(row);
        // SAFETY: the caller gave an output for every row and column.
        unsafe { job.clear(row) };
        for (i, bytes) in blocks.chunks_exact(T::BYTES).enumerate() {
            let block = T::unpack(bytes);
            for c in 0..job.acts.cols {
                let column = job.acts.column(c, job.k);
                let q = &column[i * 256..i * 256 + 256];
                let da = f32_at(column, layout.scales + i * 4);
                let mut isum = 0i32;
                let mut msum = 0i32;
                for j in 0..16 {
                    let (w, a) = (&block.q[j * 16..j * 16 + 16], &q[j * 16..j * 16 + 16]);
                    let dot: i32 = w.iter().zip(a).map(|(&w, &a)| i32::from(w) * i32::from(a as i8)).sum();
                    isum += i32::from(block.scales[j]) * dot;
                    msum += i32::from(block.mins[j]) * a.iter().map(|&a| i32::from(a as i8)).sum::<i32>();
                }
                // SAFETY: the caller gave an output for every row and column.
                let out = unsafe { job.out_at(row, c) };
                *out = fma(block.d * da, isum as f32, *out);
                if T::HAS_MIN {
                    *out = fma(-(block.dmin * da), msum as f32, *out);
                }
            }
        }
    }
}

fn f32_at(column: &[u8], at: usize) -> f32 {
    f32::from_ne_bytes([column[at], column[at + 1], column[at + 2], column[at + 3]])
}
