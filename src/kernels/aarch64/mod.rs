//! Kernels for AArch64: which levels the processor has, and their tables.
//!
//! The three levels differ in how sums of products of bytes are made ([`level`]); everything else is written once. All of it
//! needs ASIMD alone, which every AArch64 processor that this library is built for has.

mod bf16;
mod blocks;
mod dot;
mod float;
mod grouped;
mod lanes;
mod level;
mod panel;
pub(super) mod peak;
mod quantize;
mod rows;
mod supers;
mod tables;
mod tile;

use std::arch::is_aarch64_feature_detected;
use std::marker::PhantomData;

use super::columns::for_columns;
use super::generic::{grouped as codebook, tables as table};
use super::table::{Job, Table};
use super::{ActKind, Isa, generic};
use crate::quant::TensorType;
use blocks::Block;
use level::Level;
use supers::Super;

/// Whether the processor has the features of `isa`.
pub(super) fn is_available(isa: Isa) -> bool {
    // The kernels take registers apart as little-endian bytes.
    let neon = cfg!(target_endian = "little") && is_aarch64_feature_detected!("neon");
    let dotprod = neon && is_aarch64_feature_detected!("dotprod");
    match isa {
        Isa::Portable => true,
        Isa::Neon => neon,
        Isa::Dotprod => dotprod,
        Isa::I8mm => dotprod && is_aarch64_feature_detected!("i8mm"),
        _ => false,
    }
}

static NEON: Table = Table { isa: Isa::Neon, quantize: quantize::quantize, matmul: matmul::<level::Neon>, scratch_bytes };
static DOTPROD: Table = Table { isa: Isa::Dotprod, quantize: quantize::quantize, matmul: matmul::<level::Dotprod>, scratch_bytes };
static I8MM: Table = Table { isa: Isa::I8mm, quantize: quantize::quantize, matmul: matmul::<level::I8mm>, scratch_bytes };

/// The table of a level, or `None` for a level of other processors.
pub(super) fn table(isa: Isa) -> Option<&'static Table> {
    match isa {
        Isa::Portable => Some(&generic::TABLE),
        Isa::Neon => Some(&NEON),
        Isa::Dotprod => Some(&DOTPROD),
        Isa::I8mm => Some(&I8MM),
        _ => None,
    }
}

/// See `Table::matmul`.
///
/// # Safety
/// As `Table::matmul`.
unsafe fn matmul<L: Level>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the table is used on processors of its level only.
    unsafe {
        match job.ty {
            TensorType::Q8_0 => with_blocks::<L, blocks::Q80>(job, scratch),
            TensorType::Q4_0 => with_blocks::<L, blocks::Q40>(job, scratch),
            TensorType::Q4_1 => with_blocks::<L, blocks::Q41>(job, scratch),
            TensorType::Q5_0 => with_blocks::<L, blocks::Q50>(job, scratch),
            TensorType::Q5_1 => with_blocks::<L, blocks::Q51>(job, scratch),
            TensorType::Q2_K => with_supers::<L, supers::Q2K>(job, scratch),
            TensorType::Q3_K => with_supers::<L, supers::Q3K>(job, scratch),
            TensorType::Q4_K => with_supers::<L, supers::Q4K>(job, scratch),
            TensorType::Q5_K => with_supers::<L, supers::Q5K>(job, scratch),
            TensorType::Q6_K => with_supers::<L, supers::Q6K>(job, scratch),
            TensorType::IQ4_NL => with_blocks::<L, table::Iq4Nl>(job, scratch),
            TensorType::MXFP4 => with_blocks::<L, table::Mxfp4>(job, scratch),
            TensorType::IQ4_XS => with_supers::<L, table::Iq4Xs>(job, scratch),
            TensorType::IQ1_S => with_supers::<L, codebook::Iq1S>(job, scratch),
            TensorType::IQ1_M => with_supers::<L, codebook::Iq1M>(job, scratch),
            TensorType::IQ2_XXS => with_supers::<L, codebook::Iq2Xxs>(job, scratch),
            TensorType::IQ2_XS => with_supers::<L, codebook::Iq2Xs>(job, scratch),
            TensorType::IQ2_S => with_supers::<L, codebook::Iq2S>(job, scratch),
            TensorType::IQ3_XXS => with_supers::<L, codebook::Iq3Xxs>(job, scratch),
            TensorType::IQ3_S => with_supers::<L, codebook::Iq3S>(job, scratch),
            TensorType::TQ1_0 => with_supers::<L, codebook::Tq10>(job, scratch),
            TensorType::TQ2_0 => with_supers::<L, codebook::Tq20>(job, scratch),
            TensorType::F32 => float::products::<float::F32>(job),
            TensorType::F16 => float::products::<float::F16>(job),
            TensorType::BF16 => bf16::products(job),
            _ => generic::matmul(job, scratch),
        }
    }
}

unsafe fn with_supers<L: Level, T: Super>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        if job.acts.cols <= rows::MAX_COLUMNS {
            for_columns!(first..job.acts.cols, N in [4, 2, 1], {
                L::Few::enter(rows::SuperBlocks::<T, N> { job, first, scratch: &mut *scratch, ty: PhantomData });
            });
        } else {
            L::enter(tile::SuperBlocks::<T> { job, scratch, ty: PhantomData });
        }
    }
}

unsafe fn with_blocks<L: Level, T: Block>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        if job.acts.cols <= rows::MAX_COLUMNS {
            for_columns!(first..job.acts.cols, N in [4, 2, 1], {
                L::Few::enter(rows::Blocks::<T, N> { job, first, scratch: &mut *scratch, ty: PhantomData });
            });
        } else {
            L::enter(tile::Blocks::<T> { job, scratch, ty: PhantomData });
        }
    }
}

/// See `Table::scratch_bytes`.
fn scratch_bytes(ty: TensorType, k: usize, cols: usize) -> usize {
    match ActKind::for_type(ty) {
        ActKind::F32 | ActKind::Bf16 => generic::scratch_bytes(ty, k, cols),
        ActKind::Q8x32 => rows::blocks_scratch(k / 32).max(tile::blocks_scratch(k / 32)),
        ActKind::Q8x256 => rows::super_blocks_scratch(k / 256).max(tile::super_blocks_scratch(k / 256)),
    }
}
