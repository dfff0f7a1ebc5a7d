//! Benchmark subjects
//!
//! What two kinds of benchmarks need besides the model: quality a reference and a text, cold starts a program to be started.

use std::ffi::c_char;

use crate::bench::{PageCache, QualityLimits};

use super::bench_keys::positive;
use super::bench_options::loquat_bench_options;
use super::buffer;
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle;
use super::model::loquat_model;
use super::settings;
use super::status::{LOQUAT_OK, loquat_status};

/// State of the model's file before a cold start: as the start before has left it, in memory as a rule (the default).
pub const LOQUAT_PAGE_CACHE_WARM: u32 = 0;
/// State of the model's file before a cold start: taken out of memory, as far as the system does that. Linux.
pub const LOQUAT_PAGE_CACHE_EVICTED: u32 = 1;

/// The model that a benchmark of quality takes to be right: as a rule the same one before it was quantised. The options, and benchmarks that were
/// started with them, keep it. It must have the same tokens.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_reference(
    options: *mut loquat_bench_options,
    reference: *const loquat_model,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let reference = handle::shared(reference)?.clone();
            handle::exclusive(options)?.reference = Some(reference);
            Ok(LOQUAT_OK)
        })
    }
}

/// The text of a benchmark of quality, any bytes; copied. In windows of 512 tokens (or as many as the option "context" says) of which the second half
/// is scored, at least 512 positions must be scored: three windows of 512.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_text(
    options: *mut loquat_bench_options,
    text: *const c_char,
    length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.text = Some(buffer::slice(text.cast::<u8>(), length, "text")?.to_vec());
            Ok(())
        })
    }
}

/// Beyond which a benchmark of quality fails, in nats: mean and 99th percentile of the divergence KL(reference || model). NaN for the default: of the
/// mean 0.001 for F32, F16 and BF16, 0.01 for Q8_0, 0.05 for Q4_K, Q5_K and Q6_K, 0.1 for Q4_0, Q4_1, Q5_0 and Q5_1, by the type of most weights, and
/// none for others, of which the verdict is LOQUAT_VERDICT_INCONCLUSIVE; of the percentile ten times that of the mean.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_quality_limits(
    options: *mut loquat_bench_options,
    mean_kl: f64,
    p99_kl: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.quality_limits = QualityLimits { mean_kl: positive("mean_kl", mean_kl)?, p99_kl: positive("p99_kl", p99_kl)? };
            Ok(())
        })
    }
}

/// The program that a benchmark of cold starts starts anew each time, with `count` - 1 arguments; copied. What it writes to standard output first
/// counts as its first token; it must then end, with status 0. A benchmark of requests with such a program starts it as well, after the requests. 0
/// arguments take it back. Unix: elsewhere such benchmarks do not start (LOQUAT_UNSUPPORTED).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_command(
    options: *mut loquat_bench_options,
    arguments: *const *const c_char,
    count: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above; the arguments end with NUL.
    unsafe {
        settings::change(options, error, |plan| {
            let mut command = vec![];
            for (number, &argument) in buffer::slice(arguments, count, "arguments")?.iter().enumerate() {
                if argument.is_null() {
                    return Err(Failure::argument(format!("argument {number} is NULL")));
                }
                let argument = std::ffi::CStr::from_ptr(argument).to_str();
                command.push(argument.map_err(|_| Failure::argument(format!("argument {number} is not UTF-8")))?.to_owned());
            }
            plan.command = command;
            Ok(())
        })
    }
}

/// In what state the model's file is before each cold start: a LOQUAT_PAGE_CACHE_ number. Taking it out of memory needs the path of the model
/// (loquat_bench_options_set_model_path); how much was left is measured and part of the result.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_page_cache(
    options: *mut loquat_bench_options,
    state: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.page_cache = match state {
                LOQUAT_PAGE_CACHE_WARM => PageCache::Warm,
                LOQUAT_PAGE_CACHE_EVICTED => PageCache::Evicted,
                _ => return Err(Failure::argument(format!("state is {state}, must be a LOQUAT_PAGE_CACHE_ number"))),
            };
            Ok(())
        })
    }
}
