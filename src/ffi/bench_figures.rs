//! Benchmark figures
//!
//! The single figures of a result, for hosts that do not want to read JSON. What could not be measured is NaN, UINT64_MAX or UINT32_MAX.

use std::ffi::c_char;

use crate::bench::statistics::Interval;
use crate::bench::{
    BenchmarkResult, ConvoyResult, Finding, KvCacheResult, PairRatio, PrefillResult, SaturationResult, SeriesSummary, Validity,
};

use super::bench::{figures_of, loquat_bench};
use super::buffer::{Buffer, Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle;
use super::metrics::number;
use super::status::{LOQUAT_NOT_FOUND, LOQUAT_OK, loquat_status};

/// Series of a benchmark of requests: milliseconds from a request to its first token, one value for each.
pub const LOQUAT_BENCH_TTFT_MS: u32 = 1;
/// Series of a benchmark of requests: milliseconds from one token to the next, of all requests one after the other.
pub const LOQUAT_BENCH_ITL_MS: u32 = 2;
/// Series of a benchmark of requests: prompt tokens per second, one value for each request.
pub const LOQUAT_BENCH_PREFILL_TOK_S: u32 = 3;
/// Series of a benchmark of requests: generated tokens per second, the first one excluded, one value for each request.
pub const LOQUAT_BENCH_GENERATION_TOK_S: u32 = 4;

/// What a benchmark of requests found, but for its series.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_summary {
    /// Set by the caller to sizeof(loquat_bench_summary).
    pub struct_size: u32,
    /// 1 where the stop rule was satisfied, 0 where a limit ended the requests.
    pub converged: u32,
    /// Why the requests ended: "precision", "cv", "max_samples" or "time_budget". Static, ends with NUL.
    pub stop_reason: *const c_char,
    /// Requests that were counted.
    pub iterations: u64,
    /// Tokens that they generated.
    pub tokens_generated: u64,
    /// Coefficient of variation of the generation speed, a share.
    pub cv: f64,
    /// Half the 95 % interval of its median, as a share of it.
    pub half_width_share: f64,
    /// Time to load the model's file; NaN unless a path was given.
    pub model_load_ms: f64,
    /// Time of its first forward pass, of one token; NaN likewise.
    pub first_pass_ms: f64,
    /// Mean share of the reserved cache that held nothing, percent.
    pub kv_cache_waste_pct: f64,
    /// The greatest such share.
    pub kv_cache_waste_max_pct: f64,
    /// Mean difference between a gap between tokens and the one before it.
    pub itl_jitter_ms: f64,
    /// Median absolute deviation of the gaps.
    pub itl_mad_ms: f64,
    /// Gaps of more than three times their median; UINT64_MAX without gaps.
    pub itl_stalls: u64,
    /// From the start of a fresh process to its first token, median; NaN unless a command was given.
    pub cold_start_ms: f64,
    /// Most memory that the process has held, 10^6 bytes. Linux and Apple's systems.
    pub peak_memory_mb: f64,
    /// Energy of the counted requests by the processor's counters, where the system shows them: of all that the machine did meanwhile, between polls too.
    pub energy_joules: f64,
    /// The same less what the idle machine uses in that time.
    pub energy_net_joules: f64,
    /// Energy of a generated token, its share of the prompt's included.
    pub token_joules: f64,
    /// Share of the model's file that was in memory before the requests, 0 to 1; NaN unless a path was given. Linux.
    pub file_in_memory_share: f64,
    /// The highest temperature before a request or behind the last, degrees Celsius, where the system shows any.
    pub temperature_max_c: f64,
    /// 1 where temperatures stayed below 80 degrees and within 2, 0 where not, UINT32_MAX where there are none.
    pub temperatures_valid: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_summary {
    const FIRST_SIZE: usize = std::mem::offset_of!(loquat_bench_summary, itl_stalls) + 8;
}

/// The figures of a series. Percentiles are by nearest rank: values that were measured.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_series {
    /// Set by the caller to sizeof(loquat_bench_series).
    pub struct_size: u32,
    /// Which percentiles have enough values to mean something, a set of bits: 1 for the median, 2 for p95, 4 for p99, 8 for p99.9.
    pub resolved: u32,
    /// Values.
    pub count: u64,
    /// The median.
    pub median: f64,
    /// Lower end of its 95 % interval, by resampling requests; NaN below 8 of them.
    pub median_low: f64,
    /// Upper end.
    pub median_high: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The greatest value.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// Sample standard deviation.
    pub std: f64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_series {
    const FIRST_SIZE: usize = 88;
}

/// What a convoy found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_convoy {
    /// Set by the caller to sizeof(loquat_bench_convoy).
    pub struct_size: u32,
    /// 1 where all limits were kept, else 0.
    pub passed: u32,
    /// p99 of the short requests' latency without long ones.
    pub baseline_short_p99_ms: f64,
    /// The same behind them.
    pub convoy_short_p99_ms: f64,
    /// By how much it grew, percent.
    pub p99_increase_pct: f64,
    /// Lower end of the 95 % interval of the ratio of the two.
    pub p99_ratio_low: f64,
    /// Upper end.
    pub p99_ratio_high: f64,
    /// The longest that a short request was blocked.
    pub max_hol_blocking_ms: f64,
    /// The mean.
    pub avg_hol_blocking_ms: f64,
    /// Mean share of the cache's pages in use that held nothing, percent.
    pub kv_fragmentation_pct: f64,
    /// Median time to the first token of the long requests.
    pub long_ttft_p50_ms: f64,
    /// Their median time between tokens.
    pub long_itl_p50_ms: f64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_convoy {
    const FIRST_SIZE: usize = 88;
}

/// What a saturated run found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_saturation {
    /// Set by the caller to sizeof(loquat_bench_saturation).
    pub struct_size: u32,
    /// 1 where all limits were kept, else 0.
    pub passed: u32,
    /// Threads that used up processors.
    pub burning_threads: u32,
    /// Requests that starved.
    pub starved: u32,
    /// Median throughput, undisturbed.
    pub alone_tok_s: f64,
    /// Saturated.
    pub saturated_tok_s: f64,
    /// How much was lost, percent.
    pub throughput_loss_pct: f64,
    /// p99 of the requests' latency, undisturbed.
    pub alone_p99_ms: f64,
    /// Saturated.
    pub saturated_p99_ms: f64,
    /// By how much it grew, percent.
    pub p99_increase_pct: f64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_saturation {
    const FIRST_SIZE: usize = 64;
}

/// One length of the cache or prefill benchmark: how many times longer the slower way takes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_ratio {
    /// Set by the caller to sizeof(loquat_bench_ratio).
    pub struct_size: u32,
    /// 1 where both ways computed the same, to the bit; the ratio is NaN where not.
    pub equal: u32,
    /// Tokens.
    pub length: u64,
    /// Of the cache: computing everything again as one prompt, over a step with the cache. Of prefill: token by token over at once. Median of the pairs.
    pub ratio: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_ratio {
    const FIRST_SIZE: usize = 40;
}

pub(super) fn ends(interval: Option<&Interval>) -> (f64, f64) {
    (number(interval.map(|interval| interval.low)), number(interval.map(|interval| interval.high)))
}

fn summary(result: &BenchmarkResult) -> loquat_bench_summary {
    use crate::bench::StopReason;
    let (stop, itl, load) = (&result.stop, result.summary.itl.as_ref(), result.load.as_ref());
    let reason = match stop.reason {
        StopReason::Precision => c"precision",
        StopReason::Cv => c"cv",
        StopReason::MaxSamples => c"max_samples",
        StopReason::TimeBudget => c"time_budget",
    };
    loquat_bench_summary {
        struct_size: 0,
        converged: u32::from(stop.converged),
        stop_reason: reason.as_ptr(),
        iterations: result.iterations() as u64,
        tokens_generated: result.tokens_generated,
        cv: number(stop.cv),
        half_width_share: number(stop.half_width_share),
        model_load_ms: number(load.map(|load| load.load_ms)),
        first_pass_ms: number(load.map(|load| load.first_pass_ms)),
        kv_cache_waste_pct: number(result.kv.mean_waste_pct()),
        kv_cache_waste_max_pct: number(result.kv.max_waste_pct()),
        itl_jitter_ms: number(itl.and_then(|itl| itl.jitter_ms)),
        itl_mad_ms: number(itl.map(|itl| itl.mad_ms)),
        itl_stalls: itl.map_or(u64::MAX, |itl| itl.stalls as u64),
        cold_start_ms: number(result.cold_start_ms),
        peak_memory_mb: number(result.peak_memory_mb()),
        energy_joules: number(result.energy_joules()),
        energy_net_joules: number(result.sensors.energy.value().and_then(|energy| energy.net_joules())),
        token_joules: number(result.summary.token_joules),
        file_in_memory_share: number(result.sensors.page_cache.value().copied()),
        temperature_max_c: number(result.sensors.thermal.value().and_then(|thermal| thermal.max_c())),
        temperatures_valid: match result.sensors.thermal.value().map(|thermal| thermal.validity()) {
            Some(Validity::Valid) => 1,
            Some(Validity::Invalid) => 0,
            Some(Validity::Unmeasured) | None => u32::MAX,
        },
        reserved: 0,
    }
}

fn bits(resolved: [bool; 4]) -> u32 {
    (0..4).map(|bit| u32::from(resolved[bit]) << bit).sum()
}

fn series_of_requests(series: &SeriesSummary) -> loquat_bench_series {
    let (median_low, median_high) = ends(series.median_ci.as_ref());
    loquat_bench_series {
        struct_size: 0,
        resolved: bits([series.p50, series.p95, series.p99, series.p999].map(|percentile| percentile.resolved)),
        count: series.n as u64,
        median: series.p50.value,
        median_low,
        median_high,
        p95: series.p95.value,
        p99: series.p99.value,
        p999: series.p999.value,
        max: series.max,
        mean: series.mean,
        std: number(series.std),
    }
}

/// The figures of a series, `None` where the requests have no such values.
fn series(result: &BenchmarkResult, series: u32) -> Result<Option<loquat_bench_series>, Failure> {
    let summary = &result.summary;
    let of = match series {
        LOQUAT_BENCH_TTFT_MS => &summary.ttft_ms,
        LOQUAT_BENCH_PREFILL_TOK_S => &summary.prefill_tok_s,
        LOQUAT_BENCH_GENERATION_TOK_S => &summary.generation_tok_s,
        LOQUAT_BENCH_ITL_MS => {
            let Some(itl) = &summary.itl else { return Ok(None) };
            let (median_low, median_high) = ends(summary.itl_median_ci.as_ref());
            return Ok(Some(loquat_bench_series {
                struct_size: 0,
                resolved: bits([itl.n >= 2, itl.p95_ms.resolved, itl.p99_ms.resolved, itl.p999_ms.resolved]),
                count: itl.n as u64,
                median: itl.median_ms,
                median_low,
                median_high,
                p95: itl.p95_ms.value,
                p99: itl.p99_ms.value,
                p999: itl.p999_ms.value,
                max: itl.max_ms,
                mean: itl.mean_ms,
                std: number(itl.std_ms),
            }));
        }
        _ => return Err(unknown_series(series)),
    };
    Ok(of.as_ref().map(series_of_requests))
}

fn unknown_series(series: u32) -> Failure {
    Failure::argument(format!("series is {series}, must be a number of a benchmark's series"))
}

fn samples(result: &BenchmarkResult, series: u32) -> Result<Vec<f64>, Failure> {
    match series {
        LOQUAT_BENCH_TTFT_MS => Ok(result.ttft_ms.clone()),
        LOQUAT_BENCH_PREFILL_TOK_S => Ok(result.prefill_tok_s.clone()),
        LOQUAT_BENCH_GENERATION_TOK_S => Ok(result.generation_tok_s.clone()),
        LOQUAT_BENCH_ITL_MS => Ok(result.itl_ms.concat()),
        _ => Err(unknown_series(series)),
    }
}

fn convoy(result: &ConvoyResult) -> loquat_bench_convoy {
    let figures = &result.figures;
    let (p99_ratio_low, p99_ratio_high) = ends(result.p99_ratio_ci.as_ref());
    loquat_bench_convoy {
        struct_size: 0,
        passed: u32::from(figures.passed),
        baseline_short_p99_ms: number(figures.baseline_short_p99_ms),
        convoy_short_p99_ms: number(figures.convoy_short_p99_ms),
        p99_increase_pct: number(figures.p99_increase_pct),
        p99_ratio_low,
        p99_ratio_high,
        max_hol_blocking_ms: number(figures.max_hol_blocking_ms),
        avg_hol_blocking_ms: number(figures.avg_hol_blocking_ms),
        kv_fragmentation_pct: number(figures.kv_fragmentation_pct),
        long_ttft_p50_ms: number(result.long_fared.ttft_p50_ms),
        long_itl_p50_ms: number(result.long_fared.itl_p50_ms),
    }
}

fn saturation(result: &SaturationResult) -> loquat_bench_saturation {
    let figures = &result.figures;
    loquat_bench_saturation {
        struct_size: 0,
        passed: u32::from(figures.passed),
        burning_threads: result.burning_threads as u32,
        starved: figures.starved as u32,
        alone_tok_s: number(figures.alone_tok_s),
        saturated_tok_s: number(figures.saturated_tok_s),
        throughput_loss_pct: number(figures.throughput_loss_pct),
        alone_p99_ms: number(figures.alone_p99_ms),
        saturated_p99_ms: number(figures.saturated_p99_ms),
        p99_increase_pct: number(figures.p99_increase_pct),
    }
}

/// Length number `index`, `None` behind the last one.
fn ratio(found: &dyn Finding, index: usize) -> Result<Option<loquat_bench_ratio>, Failure> {
    let of = |length: u32, equal: bool, ratio: &PairRatio| {
        let (low, high) = ends(ratio.ci.as_ref());
        loquat_bench_ratio { struct_size: 0, equal: equal.into(), length: length.into(), ratio: number(ratio.median), low, high }
    };
    Ok(match figures_of::<KvCacheResult>(found, "lengths") {
        Ok(result) => result.rows.get(index).map(|row| of(row.length, row.logits_equal, &row.batched_ratio)),
        Err(_) => figures_of::<PrefillResult>(found, "lengths")?.rows.get(index).map(|row| of(row.length, row.equal, &row.ratio)),
    })
}

/// Writes what was found, if it was.
pub(super) fn written<T: Versioned>(out: VersionedOut<T>, found: Option<T>) -> loquat_status {
    match found {
        Some(found) => {
            out.set(found);
            LOQUAT_OK
        }
        None => LOQUAT_NOT_FOUND,
    }
}

/// Fills `summary` with the figures of a benchmark of requests. LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_summary(
    bench: *const loquat_bench,
    summary: *mut loquat_bench_summary,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(summary, "summary")?;
            out.set(self::summary(figures_of(&**handle::shared(bench)?, "summary")?));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `figures` with those of a series of a benchmark of requests. LOQUAT_NOT_FOUND where it has no values (gaps of requests for one token),
/// LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_series(
    bench: *const loquat_bench,
    series: u32,
    figures: *mut loquat_bench_series,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(figures, "figures")?;
            Ok(written(out, self::series(figures_of(&**handle::shared(bench)?, "series")?, series)?))
        })
    }
}

/// Fills `values` with the samples of a series of a benchmark of requests, in the order in which they were measured.
///
/// LOQUAT_BUFFER_TOO_SMALL; LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_samples(
    bench: *const loquat_bench,
    series: u32,
    values: *mut f64,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(values, capacity, count, "values")?;
            out.fill(&samples(figures_of(&**handle::shared(bench)?, "series")?, series)?)
        })
    }
}

/// Fills `convoy` with the figures of a convoy. LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_convoy(
    bench: *const loquat_bench,
    convoy: *mut loquat_bench_convoy,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(convoy, "convoy")?;
            out.set(self::convoy(figures_of(&**handle::shared(bench)?, "convoy")?));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `saturation` with the figures of a saturated run. LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_saturation(
    bench: *const loquat_bench,
    saturation: *mut loquat_bench_saturation,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(saturation, "saturation")?;
            out.set(self::saturation(figures_of(&**handle::shared(bench)?, "saturation")?));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `ratio` with length number `index`, from 0 on, of the cache or prefill benchmark. LOQUAT_NOT_FOUND behind the last one,
/// LOQUAT_INVALID_ARGUMENT for a result of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_ratio(
    bench: *const loquat_bench,
    index: usize,
    ratio: *mut loquat_bench_ratio,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(ratio, "ratio")?;
            Ok(written(out, self::ratio(&**handle::shared(bench)?, index)?))
        })
    }
}
