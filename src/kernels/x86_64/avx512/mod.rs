//! AVX-512 F, BW, DQ, VL, with or without VNNI.

mod abreast;
mod bf16;
mod blocks;
mod decoded;
mod float;
mod fours;
mod grouped;
pub(super) mod lanes;
mod lookup;
pub(super) mod many;
pub(super) mod panel;
mod quantize;
mod rows;
mod short_sums;
pub(super) mod supers;
mod tables;
mod tile;

use std::arch::x86_64::__cpuid;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::super::generic::{grouped as codebook, tables as table};
use super::super::table::{Job, Table};
use super::super::{ActKind, Isa, generic};
use super::{avx2, for_columns};
use crate::quant::TensorType;
use blocks::Block;
use supers::{Super, Super32};

/// [`Isa::Avx512`].
pub(super) static TABLE: Table = Table { isa: Isa::Avx512, quantize, matmul: matmul::<false>, scratch_bytes: either_scratch_bytes };
/// [`Isa::Avx512Vnni`].
pub(super) static TABLE_VNNI: Table = Table { isa: Isa::Avx512Vnni, quantize, matmul: matmul::<true>, scratch_bytes };

/// See `Table::quantize`.
pub(super) fn quantize(kind: ActKind, x: &[f32], out: &mut [u8]) {
    // SAFETY: the table is used on processors of its level only.
    unsafe { quantize::quantize(kind, x, out) }
}

/// See `Table::matmul`.
///
/// # Safety
/// As `Table::matmul`; VNNI where `VNNI` says so.
pub(super) unsafe fn matmul<const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the table is used on processors of its level only.
    unsafe {
        let few = job.acts.cols <= rows::MAX_COLUMNS;
        if !VNNI && !few && ActKind::for_type(job.ty).block_len() > 1 {
            // Measured: sums of two products in 16 bits beat 512-bit tiles without their dot product.
            return avx2::matmul(job, scratch);
        }
        if VNNI && abreast_columns(job.ty).contains(&job.acts.cols) {
            match job.ty {
                TensorType::Q8_0 => return abreast::blocks::<blocks::Q80>(job, scratch, few_blocks::<blocks::Q80, true>),
                TensorType::Q4_0 => return abreast::blocks::<blocks::Q40>(job, scratch, few_blocks::<blocks::Q40, true>),
                TensorType::Q4_1 => return abreast::blocks::<blocks::Q41>(job, scratch, few_blocks::<blocks::Q41, true>),
                TensorType::Q5_0 => return abreast::blocks::<blocks::Q50>(job, scratch, few_blocks::<blocks::Q50, true>),
                TensorType::Q5_1 => return abreast::blocks::<blocks::Q51>(job, scratch, few_blocks::<blocks::Q51, true>),
                TensorType::Q2_K => return abreast::super_blocks::<supers::Q2K>(job, scratch, few_supers::<supers::Q2K, true>),
                TensorType::Q3_K => return abreast::super_blocks::<supers::Q3K>(job, scratch, few_supers::<supers::Q3K, true>),
                TensorType::Q4_K => return abreast::super_blocks::<supers::Q4K>(job, scratch, few_supers_32::<supers::Q4K, true>),
                TensorType::Q5_K => return abreast::super_blocks::<supers::Q5K>(job, scratch, few_supers_32::<supers::Q5K, true>),
                TensorType::Q6_K => return abreast::super_blocks::<supers::Q6K>(job, scratch, few_supers::<supers::Q6K, true>),
                TensorType::IQ4_NL => return abreast::blocks::<table::Iq4Nl>(job, scratch, few_blocks::<table::Iq4Nl, true>),
                TensorType::MXFP4 => return abreast::blocks::<table::Mxfp4>(job, scratch, few_blocks::<table::Mxfp4, true>),
                TensorType::IQ4_XS => return abreast::super_blocks::<table::Iq4Xs>(job, scratch, few_supers::<table::Iq4Xs, true>),
                _ => {}
            }
        }
        match job.ty {
            TensorType::Q8_0 => with_blocks::<blocks::Q80, VNNI>(job, scratch, tile::blocks::<false>),
            TensorType::Q4_0 => with_blocks::<blocks::Q40, VNNI>(job, scratch, tile::blocks::<false>),
            TensorType::Q4_1 => with_blocks::<blocks::Q41, VNNI>(job, scratch, tile::blocks::<true>),
            TensorType::Q5_0 => with_blocks::<blocks::Q50, VNNI>(job, scratch, tile::blocks::<false>),
            TensorType::Q5_1 => with_blocks::<blocks::Q51, VNNI>(job, scratch, tile::blocks::<true>),
            TensorType::Q4_K if few => few_supers_32::<supers::Q4K, VNNI>(job, scratch),
            TensorType::Q5_K if few => few_supers_32::<supers::Q5K, VNNI>(job, scratch),
            TensorType::Q2_K if few => few_supers::<supers::Q2K, VNNI>(job, scratch),
            TensorType::Q3_K if few => few_supers::<supers::Q3K, VNNI>(job, scratch),
            TensorType::Q2_K => many::super_blocks::<supers::Q2K, true>(job, scratch, tile::planes::<supers::Q2K>),
            TensorType::Q3_K => many::super_blocks::<supers::Q3K, true>(job, scratch, tile::planes::<supers::Q3K>),
            TensorType::Q4_K => many::scaled_blocks::<supers::Q4K>(job, scratch, tile::scaled::<supers::Q4K>),
            TensorType::Q5_K => many::scaled_blocks::<supers::Q5K>(job, scratch, tile::scaled::<supers::Q5K>),
            TensorType::Q6_K => with_supers::<supers::Q6K, VNNI>(job, scratch),
            TensorType::IQ4_NL => with_blocks::<table::Iq4Nl, VNNI>(job, scratch, tile::blocks::<false>),
            TensorType::MXFP4 => with_blocks::<table::Mxfp4, VNNI>(job, scratch, tile::blocks::<false>),
            TensorType::IQ4_XS => with_supers::<table::Iq4Xs, VNNI>(job, scratch),
            TensorType::IQ1_S => with_supers::<codebook::Iq1S, VNNI>(job, scratch),
            TensorType::IQ1_M => with_supers::<codebook::Iq1M, VNNI>(job, scratch),
            TensorType::IQ2_XXS => with_supers::<codebook::Iq2Xxs, VNNI>(job, scratch),
            TensorType::IQ2_XS => with_supers::<codebook::Iq2Xs, VNNI>(job, scratch),
            TensorType::IQ2_S => with_supers::<codebook::Iq2S, VNNI>(job, scratch),
            TensorType::IQ3_XXS => with_supers::<codebook::Iq3Xxs, VNNI>(job, scratch),
            TensorType::IQ3_S => with_supers::<codebook::Iq3S, VNNI>(job, scratch),
            TensorType::TQ1_0 => with_supers::<codebook::Tq10, VNNI>(job, scratch),
            TensorType::TQ2_0 => with_supers::<codebook::Tq20, VNNI>(job, scratch),
            TensorType::F32 => float::products::<float::F32>(job, scratch),
            TensorType::F16 => float::products::<float::F16>(job, scratch),
            TensorType::BF16 if VNNI && is_x86_feature_detected!("avx512bf16") => bf16::products::<true>(job, scratch),
            TensorType::BF16 => bf16::products::<false>(job, scratch),
            _ => generic::matmul(job, scratch),
        }
    }
}

/// Whether `vdpbf16ps` takes the steps of four multiply-adds, in which case its halves are faster ([`bf16`]), and a product of 32-bit integers two
/// steps, in which case one of 16 bits with a sum is ([`tile`]).
fn is_intel() -> bool {
    static VENDOR: LazyLock<bool> = LazyLock::new(|| {
        let leaf = __cpuid(0);
        [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
    });
    *VENDOR
}

/// The numbers of columns with which 16 rows abreast are fastest: with fewer it is rows one after the other, with more panels.
fn abreast_columns(ty: TensorType) -> RangeInclusive<usize> {
    match ty {
        TensorType::Q5_K | TensorType::Q6_K => 3..=24,
        TensorType::Q2_K | TensorType::Q3_K | TensorType::Q4_K => 2..=24,
        _ => 1..=24,
    }
}

unsafe fn few_blocks<T: Block, const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [4, 2, 1], rows::blocks::<T, N, VNNI>(job, first, scratch));
    }
}

unsafe fn few_supers<T: Super, const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [4, 2, 1], rows::super_blocks::<T, N, VNNI>(job, first, scratch));
    }
}

unsafe fn few_supers_32<T: Super32, const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [4, 2, 1], fours::super_blocks::<T, N, VNNI>(job, first, scratch));
    }
}

/// Rows one after the other, or panels of which the scales stand apart.
unsafe fn with_supers<T: Super, const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on.
    unsafe {
        match job.acts.cols {
            1..=rows::MAX_COLUMNS => few_supers::<T, VNNI>(job, scratch),
            _ => many::scaled_blocks::<T>(job, scratch, tile::scaled::<T>),
        }
    }
}

unsafe fn with_blocks<T: Block, const VNNI: bool>(job: &Job<'_>, scratch: &mut [u8], tile: many::Tile) {
    // SAFETY: passed on; the columns exist.
    unsafe {
        match job.acts.cols {
            1..=rows::MAX_COLUMNS => few_blocks::<T, VNNI>(job, scratch),
            _ => many::blocks::<T>(job, scratch, tile),
        }
    }
}

/// Room for the kernels here and those of AVX2.
fn either_scratch_bytes(ty: TensorType, k: usize, cols: usize) -> usize {
    scratch_bytes(ty, k, cols).max(avx2::scratch_bytes(ty, k, cols))
}

/// See `Table::scratch_bytes`.
pub(super) fn scratch_bytes(ty: TensorType, k: usize, cols: usize) -> usize {
    let kind = ActKind::for_type(ty);
    let few = match kind {
        ActKind::F32 | ActKind::Bf16 => generic::scratch_bytes(ty, k, cols),
        ActKind::Q8x32 => rows::blocks_scratch(k / 32),
        ActKind::Q8x256 => rows::super_blocks_scratch(k / 256),
    };
    let many = match ty {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 if decoded::are_many(cols) => decoded::scratch_bytes(k),
        _ => many::scratch_bytes(kind, k),
    };
    few.max(many)
}
