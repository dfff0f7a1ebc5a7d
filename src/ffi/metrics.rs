//! Metrics
//!
//! What sessions and runtimes count about themselves. All of it may be read at any time, from any thread, also while a step runs: a
//! snapshot never shows half a step. Times are nanoseconds of a monotonic clock. A figure that is not available is UINT64_MAX or NaN.

use std::ffi::c_char;

use crate::metrics::{LatencySnapshot, RuntimeSnapshot, SessionSnapshot, json, prometheus};

use super::buffer::{Buffer, Versioned, VersionedOut};
use super::call::{Failure, Outcome, call};
use super::error::loquat_error;
use super::handle;
use super::runtime::loquat_runtime;
use super::session::loquat_session;
use super::status::{LOQUAT_BUFFER_TOO_SMALL, LOQUAT_OK, loquat_status};

/// Series of times: from the request of a turn to its first token, one value for each turn.
pub const LOQUAT_SERIES_TTFT: u32 = 1;
/// Series of times: from one token to the next.
pub const LOQUAT_SERIES_INTER_TOKEN: u32 = 2;
/// Series of times: by how much steps with a budget outlasted it.
pub const LOQUAT_SERIES_OVERSHOOT: u32 = 3;
/// Series of times: runs of the worker threads. Of runtimes only.
pub const LOQUAT_SERIES_DISPATCH: u32 = 4;

/// The counters of one session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_session_metrics {
    /// Set by the caller to sizeof(loquat_session_metrics).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Prompt tokens that were processed.
    pub prompt_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Time spent on prompt tokens, nanoseconds, without the pauses between steps.
    pub prefill_ns: u64,
    /// Time spent on generating tokens, nanoseconds, likewise.
    pub decode_ns: u64,
    /// Prompt tokens per second of prefill_ns; NaN where there were none.
    pub prefill_tokens_per_s: f64,
    /// Generated tokens (the first of each turn excluded) per second of decode_ns; NaN where there were none.
    pub decode_tokens_per_s: f64,
    /// Time to the first token in the latest turn, nanoseconds; UINT64_MAX before the first and in a runtime's metrics.
    pub last_ttft_ns: u64,
    /// Calls of loquat_session_step.
    pub steps: u64,
    /// Steps whose budget ran out before a token.
    pub pending_steps: u64,
    /// Steps that a cancellation ended.
    pub cancellations: u64,
    /// Steps that failed.
    pub errors: u64,
    /// Size of the key/value cache, bytes.
    pub kv_capacity_bytes: u64,
    /// The part of it that holds tokens, bytes.
    pub kv_used_bytes: u64,
    /// Size of the scratch memory, bytes.
    pub scratch_bytes: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_session_metrics {
    const FIRST_SIZE: usize = 120;
}

/// The counters of a runtime. Those of sessions are sums over all of its sessions, living and gone; sizes are sums over the living.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_runtime_metrics {
    /// Set by the caller to sizeof(loquat_runtime_metrics).
    pub struct_size: u32,
    /// Threads that compute, the calling one included.
    pub threads: u32,
    /// Age of the runtime, nanoseconds.
    pub elapsed_ns: u64,
    /// Sessions that live.
    pub sessions_alive: u64,
    /// Sessions that were ever opened.
    pub sessions_created: u64,
    /// Models that live.
    pub models_alive: u64,
    /// Models that were ever loaded.
    pub models_loaded: u64,
    /// Runs of the worker threads: one for each part of a step.
    pub dispatches: u64,
    /// Runs per second of elapsed_ns; NaN where no time has passed.
    pub dispatches_per_s: f64,
    /// Prompt tokens that were processed.
    pub prompt_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Time spent on prompt tokens, nanoseconds, without the pauses between steps.
    pub prefill_ns: u64,
    /// Time spent on generating tokens, nanoseconds, likewise.
    pub decode_ns: u64,
    /// Prompt tokens per second of prefill_ns; NaN where there were none.
    pub prefill_tokens_per_s: f64,
    /// Generated tokens (the first of each turn excluded) per second of decode_ns; NaN where there were none.
    pub decode_tokens_per_s: f64,
    /// Time to the first token in the latest turn, nanoseconds; UINT64_MAX before the first and in a runtime's metrics.
    pub last_ttft_ns: u64,
    /// Calls of loquat_session_step.
    pub steps: u64,
    /// Steps whose budget ran out before a token.
    pub pending_steps: u64,
    /// Steps that a cancellation ended.
    pub cancellations: u64,
    /// Steps that failed.
    pub errors: u64,
    /// Size of the key/value cache, bytes.
    pub kv_capacity_bytes: u64,
    /// The part of it that holds tokens, bytes.
    pub kv_used_bytes: u64,
    /// Size of the scratch memory, bytes.
    pub scratch_bytes: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_runtime_metrics {
    const FIRST_SIZE: usize = 176;
}

/// The figures of a series of times, nanoseconds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_latency {
    /// Set by the caller to sizeof(loquat_latency).
    pub struct_size: u32,
    /// Which percentiles have enough values to mean something, a set of bits: 1 for p50, 2 for p95, 4 for p99, 8 for p99.9.
    pub resolved: u32,
    /// Number of values.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// The least; UINT64_MAX without values.
    pub min_ns: u64,
    /// The greatest; UINT64_MAX without values.
    pub max_ns: u64,
    /// The mean; NaN without values.
    pub mean_ns: f64,
    /// Sample standard deviation; NaN below two values.
    pub std_ns: f64,
    /// Coefficient of variation, 100 std / mean; NaN below two values.
    pub cv_pct: f64,
    /// The median, by nearest rank, at most 2.5 % off; UINT64_MAX without values, as the percentiles below.
    pub p50_ns: u64,
    /// The 95th percentile.
    pub p95_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The 99.9th percentile.
    pub p999_ns: u64,
    /// Values above 10 minutes, which the percentiles can't tell apart.
    pub overflow: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_latency {
    const FIRST_SIZE: usize = 104;
}

/// A figure as C gets it: NaN with all bits set where it is absent.
pub(super) fn number(figure: Option<f64>) -> f64 {
    figure.unwrap_or(f64::from_bits(u64::MAX))
}

fn session_metrics(figures: &SessionSnapshot) -> loquat_session_metrics {
    loquat_session_metrics {
        struct_size: 0,
        reserved: 0,
        prompt_tokens: figures.prompt_tokens,
        generated_tokens: figures.generated_tokens,
        prefill_ns: figures.prefill_ns,
        decode_ns: figures.decode_ns,
        prefill_tokens_per_s: number(figures.prefill_tok_per_s),
        decode_tokens_per_s: number(figures.decode_tok_per_s),
        last_ttft_ns: figures.last_ttft_ns.unwrap_or(u64::MAX),
        steps: figures.steps,
        pending_steps: figures.pending_steps,
        cancellations: figures.cancellations,
        errors: figures.errors,
        kv_capacity_bytes: figures.kv_capacity_bytes,
        kv_used_bytes: figures.kv_used_bytes,
        scratch_bytes: figures.scratch_bytes,
    }
}

fn runtime_metrics(figures: &RuntimeSnapshot) -> loquat_runtime_metrics {
    let sessions = &figures.sessions;
    loquat_runtime_metrics {
        struct_size: 0,
        threads: figures.facts.threads,
        elapsed_ns: figures.elapsed_ns,
        sessions_alive: figures.sessions_alive,
        sessions_created: figures.sessions_created,
        models_alive: figures.models_alive,
        models_loaded: figures.models_loaded,
        dispatches: figures.dispatch.total,
        dispatches_per_s: number(figures.dispatch.dispatches_per_s),
        prompt_tokens: sessions.prompt_tokens,
        generated_tokens: sessions.generated_tokens,
        prefill_ns: sessions.prefill_ns,
        decode_ns: sessions.decode_ns,
        prefill_tokens_per_s: number(sessions.prefill_tok_per_s),
        decode_tokens_per_s: number(sessions.decode_tok_per_s),
        last_ttft_ns: sessions.last_ttft_ns.unwrap_or(u64::MAX),
        steps: sessions.steps,
        pending_steps: sessions.pending_steps,
        cancellations: sessions.cancellations,
        errors: sessions.errors,
        kv_capacity_bytes: sessions.kv_capacity_bytes,
        kv_used_bytes: sessions.kv_used_bytes,
        scratch_bytes: sessions.scratch_bytes,
    }
}

fn latency(figures: &LatencySnapshot) -> loquat_latency {
    let quantiles = [figures.p50, figures.p95, figures.p99, figures.p999];
    let resolved = quantiles.iter().enumerate().map(|(bit, quantile)| u32::from(quantile.is_some_and(|q| q.resolved)) << bit).sum();
    let [p50_ns, p95_ns, p99_ns, p999_ns] = quantiles.map(|quantile| quantile.map_or(u64::MAX, |q| q.value_ns));
    loquat_latency {
        struct_size: 0,
        resolved,
        count: figures.count,
        sum_ns: figures.sum_ns,
        min_ns: figures.min_ns.unwrap_or(u64::MAX),
        max_ns: figures.max_ns.unwrap_or(u64::MAX),
        mean_ns: number(figures.mean_ns),
        std_ns: number(figures.std_ns),
        cv_pct: number(figures.cv_pct),
        p50_ns,
        p95_ns,
        p99_ns,
        p999_ns,
        overflow: figures.overflow,
    }
}

fn session_series(figures: &SessionSnapshot, series: u32) -> Result<&LatencySnapshot, Failure> {
    match series {
        LOQUAT_SERIES_TTFT => Ok(&figures.ttft),
        LOQUAT_SERIES_INTER_TOKEN => Ok(&figures.inter_token),
        LOQUAT_SERIES_OVERSHOOT => Ok(&figures.overshoot),
        _ => Err(Failure::argument(format!("series {series} is not a LOQUAT_SERIES_ number of a session"))),
    }
}

fn runtime_series(figures: &RuntimeSnapshot, series: u32) -> Result<&LatencySnapshot, Failure> {
    if series == LOQUAT_SERIES_DISPATCH { Ok(&figures.dispatch.cpu.latency) } else { session_series(&figures.sessions, series) }
}

/// A place for a series' buckets: bounds and counts side by side.
struct Buckets {
    bounds: *mut u64,
    counts: *mut u64,
    capacity: usize,
    needed: *mut usize,
}

impl Buckets {
    /// Stores the buckets that hold values.
    ///
    /// # Safety
    /// The arrays are NULL or hold `capacity` elements; `needed` is NULL or writable.
    unsafe fn fill(self, figures: &LatencySnapshot) -> Outcome {
        let occupied = figures.histogram.occupied();
        let (bounds, counts): (Vec<u64>, Vec<u64>) = occupied.map(|(bound, count)| (bound.unwrap_or(u64::MAX), count)).unzip();
        // SAFETY: as promised by the caller.
        unsafe {
            let bounds_out = Buffer::new(self.bounds, self.capacity, self.needed, "bounds_ns")?;
            let counts_out = Buffer::new(self.counts, self.capacity, std::ptr::null_mut(), "counts")?;
            let status = bounds_out.fill(&bounds)?;
            if status != LOQUAT_BUFFER_TOO_SMALL {
                counts_out.fill(&counts)?;
            }
            Ok(status)
        }
    }
}

/// Fills `metrics` with the counters of the session.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_get_metrics(
    session: *const loquat_session,
    metrics: *mut loquat_session_metrics,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(metrics, "metrics")?;
            out.set(session_metrics(&handle::side(session)?.metrics.snapshot()));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `latency` with the figures of a series of the session, a LOQUAT_SERIES_ number.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_get_latency(
    session: *const loquat_session,
    series: u32,
    latency: *mut loquat_latency,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(latency, "latency")?;
            out.set(self::latency(session_series(&handle::side(session)?.metrics.snapshot(), series)?));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills two arrays with the histogram of a series of the session: the buckets that hold values, each with the greatest time that belongs to it
/// (UINT64_MAX for the last, open one) and the number of its values.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_get_histogram(
    session: *const loquat_session,
    series: u32,
    bounds_ns: *mut u64,
    counts: *mut u64,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let buckets = Buckets { bounds: bounds_ns, counts, capacity, needed: count };
            buckets.fill(session_series(&handle::side(session)?.metrics.snapshot(), series)?)
        })
    }
}

/// Fills `buffer` with all figures of the session as a JSON object. The figures go on moving: give it some room (8 KiB are plenty) rather than
/// ask for the length first.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_metrics_json(
    session: *const loquat_session,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            out.fill(json::session(&handle::side(session)?.metrics.snapshot()).as_bytes())
        })
    }
}

/// Fills `metrics` with the counters of the runtime.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_get_metrics(
    runtime: *const loquat_runtime,
    metrics: *mut loquat_runtime_metrics,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(metrics, "metrics")?;
            out.set(runtime_metrics(&handle::shared(runtime)?.snapshot()));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `latency` with the figures of a series of the runtime, a LOQUAT_SERIES_ number.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_get_latency(
    runtime: *const loquat_runtime,
    series: u32,
    latency: *mut loquat_latency,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(latency, "latency")?;
            out.set(self::latency(runtime_series(&handle::shared(runtime)?.snapshot(), series)?));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills two arrays with the histogram of a series of the runtime: the buckets that hold values, each with the greatest time that belongs to it
/// (UINT64_MAX for the last, open one) and the number of its values.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_get_histogram(
    runtime: *const loquat_runtime,
    series: u32,
    bounds_ns: *mut u64,
    counts: *mut u64,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let buckets = Buckets { bounds: bounds_ns, counts, capacity, needed: count };
            buckets.fill(runtime_series(&handle::shared(runtime)?.snapshot(), series)?)
        })
    }
}

/// Fills `buffer` with all figures of the runtime as a JSON object. The figures go on moving: give it some room (16 KiB are plenty) rather than
/// ask for the length first.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_metrics_json(
    runtime: *const loquat_runtime,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            out.fill(json::runtime(&handle::shared(runtime)?.snapshot()).as_bytes())
        })
    }
}

/// Fills `buffer` with all figures of the runtime in the text format of Prometheus (a page for its scraper).
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_metrics_prometheus(
    runtime: *const loquat_runtime,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            out.fill(prometheus::runtime(&handle::shared(runtime)?.snapshot(), &[]).as_bytes())
        })
    }
}
