//! AVX2 with FMA and F16C.

mod bf16;
mod blocks;
mod float;
mod grouped;
mod lanes;
pub(super) mod quantize;
mod rows;
mod supers;
mod tables;
mod tile;

use super::super::generic::{grouped as codebook, tables as table};
use super::super::table::{Job, Table};
use super::super::{ActKind, Isa, generic};
use super::for_columns;
use crate::quant::TensorType;
use blocks::Block;
use supers::Super;

/// [`Isa::Avx2`].
pub(super) static TABLE: Table = Table { isa: Isa::Avx2, quantize, matmul, scratch_bytes };

/// See `Table::quantize`.
fn quantize(kind: ActKind, x: &[f32], out: &mut [u8]) {
    // SAFETY: the table is used on processors of its level only.
    unsafe { quantize::quantize(kind, x, out) }
}

/// See `Table::matmul`.
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn matmul(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the table is used on processors of its level only.
    unsafe {
        match job.ty {
            TensorType::Q8_0 => with_blocks::<blocks::Q80>(job, scratch),
            TensorType::Q4_0 => with_blocks::<blocks::Q40>(job, scratch),
            TensorType::Q4_1 => with_blocks::<blocks::Q41>(job, scratch),
            TensorType::Q5_0 => with_blocks::<blocks::Q50>(job, scratch),
            TensorType::Q5_1 => with_blocks::<blocks::Q51>(job, scratch),
            TensorType::Q2_K => with_supers::<supers::Q2K>(job, scratch),
            TensorType::Q3_K => with_supers::<supers::Q3K>(job, scratch),
            TensorType::Q4_K => with_supers::<supers::Q4K>(job, scratch),
            TensorType::Q5_K => with_supers::<supers::Q5K>(job, scratch),
            TensorType::Q6_K => with_supers::<supers::Q6K>(job, scratch),
            TensorType::IQ4_NL => with_blocks::<table::Iq4Nl>(job, scratch),
            TensorType::MXFP4 => with_blocks::<table::Mxfp4>(job, scratch),
            TensorType::IQ4_XS => with_supers::<table::Iq4Xs>(job, scratch),
            TensorType::IQ1_S => with_supers::<codebook::Iq1S>(job, scratch),
            TensorType::IQ1_M => with_supers::<codebook::Iq1M>(job, scratch),
            TensorType::IQ2_XXS => with_supers::<codebook::Iq2Xxs>(job, scratch),
            TensorType::IQ2_XS => with_supers::<codebook::Iq2Xs>(job, scratch),
            TensorType::IQ2_S => with_supers::<codebook::Iq2S>(job, scratch),
            TensorType::IQ3_XXS => with_supers::<codebook::Iq3Xxs>(job, scratch),
            TensorType::IQ3_S => with_supers::<codebook::Iq3S>(job, scratch),
            TensorType::TQ1_0 => with_supers::<codebook::Tq10>(job, scratch),
            TensorType::TQ2_0 => with_supers::<codebook::Tq20>(job, scratch),
            TensorType::F32 => float::products::<float::F32>(job),
            TensorType::F16 => float::products::<float::F16>(job),
            TensorType::BF16 => bf16::products(job),
            _ => generic::matmul(job, scratch),
        }
    }
}

unsafe fn with_supers<T: Super>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        if job.acts.cols <= rows::MAX_COLUMNS {
            for_columns!(first..job.acts.cols, N in [4, 2, 1], rows::super_blocks::<T, N>(job, first, scratch));
        } else {
            tile::super_blocks::<T>(job, scratch);
        }
    }
}

unsafe fn with_blocks<T: Block>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        if job.acts.cols <= rows::MAX_COLUMNS {
            for_columns!(first..job.acts.cols, N in [4, 2, 1], rows::blocks::<T, N>(job, first, scratch));
        } else {
            tile::blocks::<T>(job, scratch);
        }
    }
}

/// See `Table::scratch_bytes`.
pub(super) fn scratch_bytes(ty: TensorType, k: usize, cols: usize) -> usize {
    match ActKind::for_type(ty) {
        ActKind::F32 | ActKind::Bf16 => generic::scratch_bytes(ty, k, cols),
        ActKind::Q8x32 => rows::blocks_scratch(k / 32).max(tile::blocks_scratch(k / 32)),
        ActKind::Q8x256 => rows::super_blocks_scratch(k / 256).max(tile::super_blocks_scratch(k / 256)),
    }
}
