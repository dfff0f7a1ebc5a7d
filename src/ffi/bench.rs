//! Benchmark
//!
//! Measurements of a loaded model by the library itself. A benchmark is a job: start it, poll it, watch it, cancel it; the result is an object that can
//! be asked for single figures, for samples, for all of it as JSON, and for a table that people can read.
//!
//! The time between polls is not counted, so that it does not matter how a host polls. (Where other threads load the processors, they go on
//! between polls.) While the engine works, a benchmark looks at least every 20 milliseconds whether it was cancelled; where it makes or copies tens
//! of MiB for the map of strings, a few times a second.

use std::any::Any;
use std::ffi::c_char;

use crate::bench::{self, Comparison, Finding, Kind, Plan, Verdict};
use crate::model::Model;

use super::bench_options::loquat_bench_options;
use super::buffer::{self, Buffer, Out, Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::job::{Work, loquat_job, makes_no, started};
use super::model::loquat_model;
use super::status::{LOQUAT_OK, loquat_status};

/// The result of a benchmark. It does not change; any number of threads may read it at once.
pub struct loquat_bench {
    _opaque: (),
}

impl Opaque for loquat_bench {
    type Value = Box<dyn Finding>;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqMe");
    const NAME: &'static str = "benchmark result";
}

/// Kind of a benchmark: one request after the other on one session, until the stop rule has enough of them.
pub const LOQUAT_BENCH_REQUESTS: u32 = 1;
/// Kind of a benchmark: short requests right behind long ones (2048 tokens of prompt, 512 generated) on a batch of sessions, against the short ones alone.
pub const LOQUAT_BENCH_CONVOY: u32 = 2;
/// Kind of a benchmark: requests on a batch of sessions while other threads use up processors, against the same requests undisturbed.
pub const LOQUAT_BENCH_SATURATION: u32 = 3;
/// Kind of a benchmark: a decode step with the key/value cache against computing everything again; and a map of strings to vectors against one
/// block of memory.
pub const LOQUAT_BENCH_KV_CACHE: u32 = 4;
/// Kind of a benchmark: a prompt at once against the same prompt token by token.
pub const LOQUAT_BENCH_PREFILL: u32 = 5;
/// Kind of a benchmark: how fast this machine reads memory and computes, measured by the library's own loops, and how much of that the model reaches in
/// passes over one and over many tokens; and what it is worth that gate and up projections are one operation.
pub const LOQUAT_BENCH_ROOFLINE: u32 = 6;
/// Kind of a benchmark: what quantisation costs. The model's predictions on a text beside those of a reference (loquat_bench_options_set_reference,
/// loquat_bench_options_set_text): perplexity, divergence, agreement.
pub const LOQUAT_BENCH_QUALITY: u32 = 7;
/// Kind of a benchmark: fresh processes of a program (loquat_bench_options_set_command), from their start to their first token.
pub const LOQUAT_BENCH_COLD_START: u32 = 8;
/// Kind of a result: two stored results beside each other (loquat_bench_compare).
pub const LOQUAT_BENCH_COMPARISON: u32 = 100;

/// The LOQUAT_BENCH_ number of a kind.
fn number_of(kind: Kind) -> u32 {
    match kind {
        Kind::Requests => LOQUAT_BENCH_REQUESTS,
        Kind::Convoy => LOQUAT_BENCH_CONVOY,
        Kind::Saturation => LOQUAT_BENCH_SATURATION,
        Kind::KvCache => LOQUAT_BENCH_KV_CACHE,
        Kind::Prefill => LOQUAT_BENCH_PREFILL,
        Kind::Roofline => LOQUAT_BENCH_ROOFLINE,
        Kind::Quality => LOQUAT_BENCH_QUALITY,
        Kind::ColdStart => LOQUAT_BENCH_COLD_START,
        Kind::Comparison => LOQUAT_BENCH_COMPARISON,
    }
}

/// Verdict of a benchmark: within all limits, or a claim that holds.
pub const LOQUAT_VERDICT_PASSED: u32 = 0;
/// Verdict of a benchmark: worse than is good, within what is borne.
pub const LOQUAT_VERDICT_WARNED: u32 = 1;
/// Verdict of a benchmark: what was measured allows no judgement.
pub const LOQUAT_VERDICT_INCONCLUSIVE: u32 = 2;
/// Verdict of a benchmark: beyond a limit, or a claim that does not hold.
pub const LOQUAT_VERDICT_FAILED: u32 = 3;

/// What kind of result a result is, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_bench_outcome {
    /// Set by the caller to sizeof(loquat_bench_outcome).
    pub struct_size: u32,
    /// A LOQUAT_BENCH_ number.
    pub kind: u32,
    /// A LOQUAT_VERDICT_ number; UINT32_MAX for a kind without limits.
    pub verdict: u32,
    /// Version of the JSON.
    pub schema_version: u32,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_bench_outcome {
    const FIRST_SIZE: usize = 16;
}

/// A result as a kind that has single figures.
pub(super) fn figures_of<'a, F: Finding>(found: &'a dyn Finding, what: &str) -> Result<&'a F, Failure> {
    let any: &dyn Any = found;
    any.downcast_ref().ok_or_else(|| Failure::argument(format!("a result of kind {} has no {what}", found.kind().name())))
}

/// A started measurement whose threads leave nothing behind with the thread that calls.
fn begun(plan: Plan, kind: Kind, model: Model) -> Result<Work, Failure> {
    let start = move || Ok(Work::Bench(plan.start(kind, &model)?));
    #[cfg(unix)]
    if matches!(kind, Kind::Saturation) {
        return super::own_thread::run(start);
    }
    start()
}

/// Begins a benchmark of `model`, of the kind that a LOQUAT_BENCH_ number says. `options` may be NULL for the defaults. Nothing is measured yet: that
/// is the polls' work, on the calling thread and the runtime's. The result is taken with loquat_job_take_bench. The job keeps the model.
///
/// Stages: "load" (only with a path), "warm-up", then "requests", "convoy" or "saturation", then "statistics"; of the cache "decoding" and "map"; of
/// prefill "prefill"; of a roofline "roofs", "decode", "prefill", "fusion"; of quality "text", "windows", "greedy", "statistics"; of cold starts, and after requests
/// with a program to start, "starting". A benchmark of saturation starts threads here, which the library joins when the job is freed or has ended.
///
/// LOQUAT_INVALID_ARGUMENT for options out of range or with which tokens would be left to chance, LOQUAT_IO where the system gives no thread. A poll
/// fails as sessions and batches do.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_start(
    model: *const loquat_model,
    kind: u32,
    options: *const loquat_bench_options,
    job: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            handle::make(job, "job", || {
                let known = Kind::ALL.into_iter().find(|&known| number_of(known) == kind);
                let kind = known.ok_or_else(|| Failure::argument(format!("kind is {kind}, must be a LOQUAT_BENCH_ number")))?;
                let plan = handle::copy_or_default(options)?;
                Ok(started(begun(plan, kind, handle::shared(model)?.clone())?))
            })
        })
    }
}

/// Takes the result out of a finished job that loquat_bench_start began. It is then yours, to be freed with loquat_bench_free, and needs neither
/// the job nor the model any more.
///
/// LOQUAT_INVALID_ARGUMENT where the job has not finished, its result was taken before, or it makes something else.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_take_bench(
    job: *mut loquat_job,
    bench: *mut *mut loquat_bench,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Out::new(bench, "bench")?;
            match &mut *handle::exclusive(job)? {
                Work::Bench(job) => out.set(handle::boxed(job.take()?, ())),
                _ => return Err(makes_no("benchmark result")),
            }
            Ok(LOQUAT_OK)
        })
    }
}

/// Compares two results of requests that were stored as JSON: a baseline and a later one. The verdict fails where a figure is worse than the baseline's
/// by more than the options' limits (NULL for the defaults: 2 % to warn, 5 % to fail) and its interval excludes that nothing has changed. The intervals
/// are computed here, on the calling thread, in a time that grows with the number of requests.
///
/// LOQUAT_INVALID_FILE where a text is no such result; LOQUAT_INVALID_ARGUMENT where the two did different work or other tokens came out.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_compare(
    baseline: *const c_char,
    baseline_length: usize,
    current: *const c_char,
    current_length: usize,
    options: *const loquat_bench_options,
    bench: *mut *mut loquat_bench,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::make(bench, "bench", || {
                let baseline = buffer::text(baseline, baseline_length, "baseline")?;
                let current = buffer::text(current, current_length, "current")?;
                let plan = handle::copy_or_default(options)?;
                let found = Comparison::of(baseline, current, plan.regression_limits, plan.settings.seed())?;
                Ok((Box::new(found) as Box<dyn Finding>, ()))
            })
        })
    }
}

/// Fills `outcome` with the kind of a result and its verdict.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_get_outcome(
    bench: *const loquat_bench,
    outcome: *mut loquat_bench_outcome,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(outcome, "outcome")?;
            let found = handle::shared(bench)?;
            let verdict = match found.verdict() {
                None => u32::MAX,
                Some(Verdict::Passed) => LOQUAT_VERDICT_PASSED,
                Some(Verdict::Warned) => LOQUAT_VERDICT_WARNED,
                Some(Verdict::Inconclusive) => LOQUAT_VERDICT_INCONCLUSIVE,
                Some(Verdict::Failed) => LOQUAT_VERDICT_FAILED,
            };
            out.set(loquat_bench_outcome { struct_size: 0, kind: number_of(found.kind()), verdict, schema_version: bench::SCHEMA_VERSION });
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `buffer` with the whole result as a JSON object on one line: schema and its version, library, time (RFC 3339), hardware, model, settings,
/// verdict, figures, and every sample; a comparison has no time, hardware and model of its own. What could not be measured is null.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_json(
    bench: *const loquat_bench,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            out.fill(bench::json(&**handle::shared(bench)?).as_bytes())
        })
    }
}

/// Fills `buffer` with the result as a text for people, lines of up to some 140 characters. For the eye: it may change with any version.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_text(
    bench: *const loquat_bench,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            out.fill(bench::text(&**handle::shared(bench)?).as_bytes())
        })
    }
}

/// Fills `buffer` with a page about `count` results, in their order: one HTML file with tables and plots that loads nothing. For the eye, as above.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_report(
    benches: *const *const loquat_bench,
    count: usize,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            let mut held = vec![];
            for &bench in buffer::slice(benches, count, "benches")? {
                held.push(handle::shared(bench)?);
            }
            let findings: Vec<&dyn Finding> = held.iter().map(|bench| &***bench).collect();
            out.fill(bench::report::html(&findings).as_bytes())
        })
    }
}

/// Frees a result. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_bench_free(bench: *mut loquat_bench) {
    // SAFETY: as above.
    unsafe { handle::free(bench) }
}
