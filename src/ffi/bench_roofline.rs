//! Benchmark roofline
//!
//! The figures of a benchmark of kind LOQUAT_BENCH_ROOFLINE. What could not be measured is NaN.

use crate::bench::{Fusion, RoofPoint, RooflineResult, ThreadRoof, Way};

use super::bench::{figures_of, loquat_bench};
use super::bench_figures::{ends, written};
use super::buffer::{Versioned, VersionedOut};
use super::call::call;
use super::error::loquat_error;
use super::handle;
use super::metrics::number;
use super::status::{LOQUAT_OK, loquat_status};

/// What this machine allows a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_roofline {
    /// Set by the caller to sizeof(loquat_bench_roofline).
    pub struct_size: u32,
    /// Threads that were measured together: all of the runtime.
    pub threads: u32,
    /// Bytes of the block that stands for main memory.
    pub memory_block_bytes: u64,
    /// Rate at which that block is read, GB/s.
    pub memory_gb_s: f64,
    /// Rate at which a block as large as the weights of a token is read again and again, GB/s: from caches, where it fits in them.
    pub weights_gb_s: f64,
    /// Products and sums of bytes, 10^9 operations a second.
    pub int8_gop_s: f64,
    /// The same of f32.
    pub f32_gop_s: f64,
    /// The same of bf16.
    pub bf16_gop_s: f64,
    /// Bytes of weights that a token reads.
    pub token_bytes: f64,
    /// Operations of a token (a multiplication and an addition are two).
    pub token_operations: f64,
    /// Operations for each byte from which on arithmetic limits the model and not memory.
    pub ridge: f64,
    /// Computing gate and up projections as operations of their own, over both in one with the activation, for one token: median of the pairs.
    /// NaN where the model has no such layers, and where the two gave different bits.
    pub fusion_ratio: f64,
    /// Lower end of its 95 % interval.
    pub fusion_ratio_low: f64,
    /// Upper end.
    pub fusion_ratio_high: f64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_roofline {
    const FIRST_SIZE: usize = 104;
}

/// Passes of the model under the roofs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_roof_point {
    /// Set by the caller to sizeof(loquat_bench_roof_point).
    pub struct_size: u32,
    /// 1 for a prompt at once, 0 for a token of each of several conversations.
    pub prefill: u32,
    /// Tokens of a pass.
    pub tokens: u32,
    /// 1 where arithmetic is the lower roof, 0 where memory is.
    pub bound_by_arithmetic: u32,
    /// Tokens a second, median.
    pub tok_s: f64,
    /// Tokens a second under the lower roof.
    pub ceiling_tok_s: f64,
    /// Operations for each byte.
    pub intensity: f64,
    /// Bytes read, GB/s.
    pub gb_s: f64,
    /// Operations done, 10^9 a second.
    pub gop_s: f64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_roof_point {
    const FIRST_SIZE: usize = 56;
}

fn roofline(result: &RooflineResult) -> loquat_bench_roofline {
    let ThreadRoof { threads, memory_gb_s, weights_gb_s, gop_s } = result.roof.all();
    let fused = match &result.fusion {
        Fusion::Measured { rows, .. } => rows.first().map(|row| &row.ratio),
        Fusion::Absent(_) => None,
    };
    let (fusion_ratio_low, fusion_ratio_high) = ends(fused.and_then(|ratio| ratio.ci.as_ref()));
    let [int8, f32, bf16] = gop_s.each_ref().map(|rate| rate.best());
    loquat_bench_roofline {
        struct_size: 0,
        threads: *threads as u32,
        memory_block_bytes: result.roof.memory_block_bytes,
        memory_gb_s: memory_gb_s.best(),
        weights_gb_s: weights_gb_s.best(),
        int8_gop_s: int8,
        f32_gop_s: f32,
        bf16_gop_s: bf16,
        token_bytes: result.demand.token_bytes(),
        token_operations: result.demand.decode(1, 0.0).all_operations(),
        ridge: result.ridge(),
        fusion_ratio: number(fused.and_then(|ratio| ratio.median)),
        fusion_ratio_low,
        fusion_ratio_high,
    }
}

fn point(point: &RoofPoint) -> loquat_bench_roof_point {
    loquat_bench_roof_point {
        struct_size: 0,
        prefill: u32::from(point.way == Way::Prefill),
        tokens: point.tokens,
        bound_by_arithmetic: u32::from(point.bound() == "arithmetic"),
        tok_s: point.tok_s(),
        ceiling_tok_s: point.ceiling_tok_s(),
        intensity: point.work.intensity(),
        gb_s: point.gb_s(),
        gop_s: point.gop_s(),
    }
}

/// Fills `roofline` with the figures of a roofline. LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_roofline(
    bench: *const loquat_bench,
    roofline: *mut loquat_bench_roofline,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(roofline, "roofline")?;
            out.set(self::roofline(figures_of(&**handle::shared(bench)?, "roofline")?));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `point` with number `index`, from 0 on, of the passes of a roofline: those of decoding, then those of prompts, each with growing numbers of
/// tokens. LOQUAT_NOT_FOUND behind the last one, LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_roof_point(
    bench: *const loquat_bench,
    index: usize,
    point: *mut loquat_bench_roof_point,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(point, "point")?;
            let found = handle::shared(bench)?;
            let result: &RooflineResult = figures_of(&**found, "passes")?;
            Ok(written(out, result.points.get(index).map(self::point)))
        })
    }
}
