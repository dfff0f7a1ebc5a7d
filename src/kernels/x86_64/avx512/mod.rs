//! AVX-512 F, BW, DQ, VL, with or without VNNI.

mod blocks;
mod lanes;
mod quantize;
mod rows;
mod supers;

use super::super::table::{Job, Table};
use super::super::{ActKind, Isa, generic};
use crate::quant::TensorType;

/// [`Isa::Avx512`].
pub(super) static TABLE: Table = Table { isa: Isa::Avx512, quantize, matmul: matmul::<false>, scratch_bytes };
/// [`Isa::Avx512Vnni`].
pub(super) static TABLE_VNNI: Table = Table { isa: Isa::Avx512Vnni, quantize, matmul: matmul::<true>, scratch_bytes };

/// See `Table::quantize`.
pub(super) fn quantize(kind: ActKind, x: &[f32], out: &mut [u8]) {
    // SAFETY: the table is used on processors of its level only.
    unsafe { quantize::quantize(kind, x, out) }
}

unsafe fn matmul<const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the table is used on processors of its level only.
    unsafe {
        match job.ty {
            TensorType::Q8_0 => by_rows_blocks::<blocks::Q80, VNNI>(job, scratch),
            TensorType::Q4_0 => by_rows_blocks::<blocks::Q40, VNNI>(job, scratch),
            TensorType::Q4_1 => by_rows_blocks::<blocks::Q41, VNNI>(job, scratch),
            TensorType::Q5_0 => by_rows_blocks::<blocks::Q50, VNNI>(job, scratch),
            TensorType::Q5_1 => by_rows_blocks::<blocks::Q51, VNNI>(job, scratch),
            TensorType::Q2_K => by_rows_supers::<supers::Q2K, VNNI>(job, scratch),
            TensorType::Q3_K => by_rows_supers::<supers::Q3K, VNNI>(job, scratch),
            TensorType::Q4_K => by_rows_supers::<supers::Q4K, VNNI>(job, scratch),
            TensorType::Q5_K => by_rows_supers::<supers::Q5K, VNNI>(job, scratch),
            TensorType::Q6_K => by_rows_supers::<supers::Q6K, VNNI>(job, scratch),
            _ => generic::matmul(job, scratch),
        }
    }
}

/// Few columns at a time over the rows as they lie.
unsafe fn by_rows_supers<T: supers::Super, const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    for first in (0..job.acts.cols).step_by(rows::MAX_COLUMNS) {
        // SAFETY: passed on; the columns exist.
        unsafe {
            match job.acts.cols - first {
                1 => rows::super_blocks::<T, 1, VNNI>(job, first, scratch),
                2 => rows::super_blocks::<T, 2, VNNI>(job, first, scratch),
                3 => rows::super_blocks::<T, 3, VNNI>(job, first, scratch),
                _ => rows::super_blocks::<T, 4, VNNI>(job, first, scratch),
            }
        }
    }
}

/// Few columns at a time over the rows as they lie.
unsafe fn by_rows_blocks<T: blocks::Block, const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    for first in (0..job.acts.cols).step_by(rows::MAX_COLUMNS) {
        // SAFETY: passed on; the columns exist.
        unsafe {
            match job.acts.cols - first {
                1 => rows::blocks::<T, 1, VNNI>(job, first, scratch),
                2 => rows::blocks::<T, 2, VNNI>(job, first, scratch),
                3 => rows::blocks::<T, 3, VNNI>(job, first, scratch),
                _ => rows::blocks::<T, 4, VNNI>(job, first, scratch),
            }
        }
    }
}

/// See `Table::scratch_bytes`.
fn scratch_bytes(ty: TensorType, k: usize, cols: usize) -> usize {
    match ActKind::for_type(ty) {
        ActKind::F32 => generic::scratch_bytes(ty, k, cols),
        ActKind::Q8x32 => rows::blocks_scratch(k / 32),
        ActKind::Q8x256 => rows::super_blocks_scratch(k / 256),
    }
}
