//! The portable kernels: plain Rust, one element after the other. They define the bits of every result; the folders of
//! other instruction sets compute the same in another shape. No speed here.

mod float;
pub(super) mod grouped;
mod integer;
pub(super) mod peak;
pub(super) mod quantize;
pub(super) mod tables;
pub(super) mod unpack;

use super::table::{Job, Table};
use crate::quant::TensorType;

/// The portable level.
pub(super) static TABLE: Table = Table { isa: super::Isa::Portable, quantize: quantize::quantize, matmul, scratch_bytes };

/// See `Table::matmul`.
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn matmul(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on.
    unsafe {
        match job.ty {
            TensorType::Q8_0 => integer::blocks::<unpack::Q80>(job),
            TensorType::Q4_0 => integer::blocks::<unpack::Q40>(job),
            TensorType::Q4_1 => integer::blocks::<unpack::Q41>(job),
            TensorType::Q5_0 => integer::blocks::<unpack::Q50>(job),
            TensorType::Q5_1 => integer::blocks::<unpack::Q51>(job),
            TensorType::Q2_K => integer::super_blocks::<unpack::Q2K>(job),
            TensorType::Q3_K => integer::super_blocks::<unpack::Q3K>(job),
            TensorType::Q4_K => integer::super_blocks::<unpack::Q4K>(job),
            TensorType::Q5_K => integer::super_blocks::<unpack::Q5K>(job),
            TensorType::Q6_K => integer::super_blocks::<unpack::Q6K>(job),
            TensorType::IQ4_NL => integer::blocks::<tables::Iq4Nl>(job),
            TensorType::MXFP4 => integer::blocks::<tables::Mxfp4>(job),
            TensorType::IQ4_XS => integer::super_blocks::<tables::Iq4Xs>(job),
            TensorType::IQ1_S => integer::super_blocks::<grouped::Iq1S>(job),
            TensorType::IQ1_M => integer::super_blocks::<grouped::Iq1M>(job),
            TensorType::IQ2_XXS => integer::super_blocks::<grouped::Iq2Xxs>(job),
            TensorType::IQ2_XS => integer::super_blocks::<grouped::Iq2Xs>(job),
            TensorType::IQ2_S => integer::super_blocks::<grouped::Iq2S>(job),
            TensorType::IQ3_XXS => integer::super_blocks::<grouped::Iq3Xxs>(job),
            TensorType::IQ3_S => integer::super_blocks::<grouped::Iq3S>(job),
            TensorType::TQ1_0 => integer::super_blocks::<grouped::Tq10>(job),
            TensorType::TQ2_0 => integer::super_blocks::<grouped::Tq20>(job),
            TensorType::BF16 => float::bf16(job),
            _ => float::decoded(job, scratch),
        }
    }
}

/// See `Table::scratch_bytes`.
pub(super) fn scratch_bytes(ty: TensorType, k: usize, _cols: usize) -> usize {
    match super::ActKind::for_type(ty) {
        super::ActKind::F32 => float::scratch_bytes(k),
        _ => 0,
    }
}
