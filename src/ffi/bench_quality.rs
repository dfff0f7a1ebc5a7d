//! Benchmark quality and cold start
//!
//! The figures of benchmarks of kind LOQUAT_BENCH_QUALITY and LOQUAT_BENCH_COLD_START. What could not be measured is NaN or UINT32_MAX.

use crate::bench::{ColdStartResult, QualityResult};

use super::bench::{figures_of, loquat_bench};
use super::bench_figures::ends;
use super::buffer::{Versioned, VersionedOut};
use super::call::call;
use super::error::loquat_error;
use super::handle;
use super::metrics::number;
use super::status::{LOQUAT_OK, loquat_status};

/// The predictions of a model beside those of its reference.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_quality {
    /// Set by the caller to sizeof(loquat_bench_quality).
    pub struct_size: u32,
    /// Windows of the text.
    pub windows: u32,
    /// Positions that were scored.
    pub positions: u64,
    /// Perplexity of the reference.
    pub reference_perplexity: f64,
    /// Perplexity of the model.
    pub perplexity: f64,
    /// Lower end of the 95 % interval of the model's over the reference's, by resampling windows; NaN below 8 of them.
    pub perplexity_ratio_low: f64,
    /// Upper end.
    pub perplexity_ratio_high: f64,
    /// Divergence KL(reference || model) of the positions, nats: mean.
    pub kl_mean: f64,
    /// Median.
    pub kl_median: f64,
    /// 99th percentile.
    pub kl_p99: f64,
    /// The greatest.
    pub kl_max: f64,
    /// Share of the positions at which both have the same most probable token.
    pub top_1_agreement: f64,
    /// Mean share of the reference's five most probable tokens that are among the model's five.
    pub top_5_agreement: f64,
    /// The least of the lengths for which greedy continuations of both agree, up to 64 tokens.
    pub greedy_agreement_least: u32,
    /// Continuations.
    pub continuations: u32,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_quality {
    const FIRST_SIZE: usize = 104;
}

/// Fresh processes, from their start to their first token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_cold_start {
    /// Set by the caller to sizeof(loquat_bench_cold_start).
    pub struct_size: u32,
    /// Starts.
    pub starts: u32,
    /// 1 where the model's file was in the state that was asked for before every start, 0 where not, UINT32_MAX where that is not known.
    pub page_cache_held: u32,
    /// 0.
    pub reserved: u32,
    /// Milliseconds to the first token: median.
    pub median_ms: f64,
    /// Lower end of its 95 % interval.
    pub median_low_ms: f64,
    /// Upper end.
    pub median_high_ms: f64,
    /// The least.
    pub min_ms: f64,
    /// The most.
    pub max_ms: f64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_cold_start {
    const FIRST_SIZE: usize = 56;
}

fn quality(result: &QualityResult) -> loquat_bench_quality {
    let (perplexity_ratio_low, perplexity_ratio_high) = ends(result.perplexity.ratio_ci.as_ref());
    loquat_bench_quality {
        struct_size: 0,
        windows: result.windows as u32,
        positions: result.kl.len() as u64,
        reference_perplexity: result.perplexity.reference,
        perplexity: result.perplexity.subject,
        perplexity_ratio_low,
        perplexity_ratio_high,
        kl_mean: result.kl_mean,
        kl_median: result.kl_median.value,
        kl_p99: result.kl_p99.value,
        kl_max: result.kl_max,
        top_1_agreement: result.top_1,
        top_5_agreement: result.top_5,
        greedy_agreement_least: result.greedy_agreement.iter().min().copied().unwrap_or(u32::MAX),
        continuations: result.greedy_agreement.len() as u32,
    }
}

fn cold_start(result: &ColdStartResult) -> loquat_bench_cold_start {
    let summary = result.summary.as_ref();
    let (median_low_ms, median_high_ms) = ends(summary.and_then(|summary| summary.median_ci.as_ref()));
    loquat_bench_cold_start {
        struct_size: 0,
        starts: result.starts.len() as u32,
        page_cache_held: result.page_cache_held().map_or(u32::MAX, u32::from),
        reserved: 0,
        median_ms: number(result.median_ms()),
        median_low_ms,
        median_high_ms,
        min_ms: number(summary.map(|summary| summary.min)),
        max_ms: number(summary.map(|summary| summary.max)),
    }
}

/// Fills `quality` with the figures of a benchmark of quality. LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_quality(
    bench: *const loquat_bench,
    quality: *mut loquat_bench_quality,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(quality, "quality")?;
            out.set(self::quality(figures_of(&**handle::shared(bench)?, "quality")?));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `cold_start` with the figures of cold starts. LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_cold_start(
    bench: *const loquat_bench,
    cold_start: *mut loquat_bench_cold_start,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(cold_start, "cold_start")?;
            out.set(self::cold_start(figures_of(&**handle::shared(bench)?, "cold start")?));
            Ok(LOQUAT_OK)
        })
    }
}
