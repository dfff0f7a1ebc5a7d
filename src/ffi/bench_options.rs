//! Benchmark options
//!
//! What is measured and how; one object for all measurements, each of which looks at what it has a use for. Every benchmark generates greedily
//! (temperature 0, top-k 1) past the end of a text, computes every prompt itself, and makes its prompts from the seed.

use std::ffi::c_char;
use std::path::PathBuf;

use crate::bench::{ConvoyLimits, Plan, RegressionLimits, SaturationLimits, StopRule, Workload};

use super::bench_keys::{positive, rule_named, set_by_name, workload_named};
use super::buffer;
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::session_options::kv_type_of;
use super::settings;
use super::status::loquat_status;

/// What a benchmark is to measure. Later changes do not reach benchmarks that were started with it.
pub struct loquat_bench_options {
    _opaque: (),
}

impl Opaque for loquat_bench_options {
    type Value = Plan;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqbO");
    const NAME: &'static str = "benchmark options";
}

/// New options: short requests, the default stop rule and limits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_new(options: *mut *mut loquat_bench_options, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe { call(error, || handle::make(options, "options", || Ok((Plan::default(), ())))) }
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_bench_options_free(options: *mut loquat_bench_options) {
    // SAFETY: as above.
    unsafe { handle::free(options) }
}

/// The requests, by name: "short_qa" (32 tokens of prompt, 64 generated; the default), "code_gen" (128, 256), "summarize" (512, 128),
/// "long_context" (2048, 512). Of benchmarks of requests and of saturation.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_workload(
    options: *mut loquat_bench_options,
    name: *const c_char,
    name_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.workload = Some(workload_named(buffer::text(name, name_length, "name")?)?);
            Ok(())
        })
    }
}

/// Requests of other sizes than those with names: tokens of the prompt and tokens that are generated, at least 1 of each.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_request(
    options: *mut loquat_bench_options,
    prompt_tokens: u32,
    output_tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.workload = Some(Workload::custom(prompt_tokens, output_tokens)?);
            Ok(())
        })
    }
}

/// When there are requests enough, by name: "default" (100 to 10,000), "relaxed" (3 to 10), "reproducible" (10 to 50), "matrix" (30 to 200). The rule
/// stops where half the 95 % interval of the median speed is at most 2 % of it and the samples do not drift, or where three windows of samples vary
/// little. Takes back what the five functions below have set.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_stop_rule(
    options: *mut loquat_bench_options,
    name: *const c_char,
    name_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.stop = rule_named(buffer::text(name, name_length, "name")?)?;
            Ok(())
        })
    }
}

/// Fewest and most requests that are counted.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_samples(
    options: *mut loquat_bench_options,
    least: u32,
    most: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::set(options, error, |plan| plan.stop = StopRule { min_samples: least as usize, max_samples: most as usize, ..plan.stop })
    }
}

/// Half the interval of the median, as a share of it, at which there are requests enough. Default 0.02.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_precision(
    options: *mut loquat_bench_options,
    share: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.stop.precision = share) }
}

/// The second rule: the coefficient of variation (a share, default 0.05) that `consecutive` windows (default 3) of `window` samples (default 50) must
/// keep. Windows share no samples.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_variation(
    options: *mut loquat_bench_options,
    threshold: f64,
    window: u32,
    consecutive: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::set(options, error, |plan| {
            plan.stop = StopRule { cv_threshold: threshold, window: window as usize, consecutive: consecutive as usize, ..plan.stop }
        })
    }
}

/// Requests before those that are counted: at least so many (default 10), for at least so many nanoseconds (default one second).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_warmup(
    options: *mut loquat_bench_options,
    requests: u32,
    ns: u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::set(options, error, |plan| {
            plan.stop = StopRule { warmup_samples: requests as usize, warmup_ms: ns as f64 / 1e6, ..plan.stop }
        })
    }
}

/// The most time for requests that are counted, nanoseconds; UINT64_MAX (the default) for no limit.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_time_budget(
    options: *mut loquat_bench_options,
    ns: u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.stop.time_budget_ms = (ns != u64::MAX).then(|| ns as f64 / 1e6)) }
}

/// The file of the model, to have it loaded once more beside the loaded one and timed stage by stage. Without it the load is not measured. An empty path
/// takes it back.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_model_path(
    options: *mut loquat_bench_options,
    path: *const c_char,
    path_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            let path = buffer::text(path, path_length, "path")?;
            plan.model_path = (!path.is_empty()).then(|| PathBuf::from(path));
            Ok(())
        })
    }
}

/// The seed of prompts and resamples. Default 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_seed(
    options: *mut loquat_bench_options,
    seed: u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.settings.sampler.seed = seed) }
}

/// Temperature and top-k of the sampler. A benchmark starts only with 0 and 1, the defaults: this exists so that a host which hands its own
/// settings on hears of it where they would leave tokens to chance.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_sampling(
    options: *mut loquat_bench_options,
    temperature: f32,
    top_k: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| (plan.settings.sampler.temperature, plan.settings.sampler.top_k) = (temperature, top_k)) }
}

/// The element type of the key/value cache: a LOQUAT_KV_ number.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_kv_type(
    options: *mut loquat_bench_options,
    kv_type: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.settings.kv_type = kv_type_of(kv_type)?;
            Ok(())
        })
    }
}

/// The number of tokens that the context of a session holds; 0 (the default) for as many as the measurement needs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_context(
    options: *mut loquat_bench_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.settings.context = tokens) }
}

/// The number of prompt tokens that a session processes together; default 512.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_batch(
    options: *mut loquat_bench_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            if tokens == 0 {
                return Err(Failure::argument("tokens is 0, must be at least 1"));
            }
            plan.settings.batch = tokens;
            Ok(())
        })
    }
}

/// Requests of a saturated run, or short requests of a convoy; default 100.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_requests(
    options: *mut loquat_bench_options,
    requests: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.requests = Some(requests)) }
}

/// Long requests of a convoy; default 10.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_long_requests(
    options: *mut loquat_bench_options,
    requests: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.long_requests = Some(requests)) }
}

/// Requests of a convoy or a saturated run that are computed at once, while the others wait: 0 for all of them (the default of a convoy; of
/// saturation 16). Of a roofline the most conversations that decode at once, from 1 to 512, default 64.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_slots(
    options: *mut loquat_bench_options,
    slots: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.slots = Some(slots)) }
}

/// The most prompt tokens of a pass of a convoy in which another request generates; the default is that of batches, 64. Fewer hold up the short requests
/// less, and the long ones more. (loquat_batch_options_set_prompt_share)
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_prompt_share(
    options: *mut loquat_bench_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.prompt_share = Some(tokens)) }
}

/// Pairs of runs (convoy, saturation: at least 3, the default), or of measurements at each length (cache, prefill: at least 10, the default). Of a
/// roofline samples of each point, default 5.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_repeats(
    options: *mut loquat_bench_options,
    repeats: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.repeats = Some(repeats)) }
}

/// Beyond which a convoy fails: growth of the short requests' p99 (default 50 %), time that a short request is blocked (default 500 ms), mean
/// share of the cache's pages in use that holds nothing (default 15 %).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_convoy_limits(
    options: *mut loquat_bench_options,
    p99_increase_pct: f64,
    head_of_line_blocking_ms: f64,
    kv_fragmentation_pct: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::set(options, error, |plan| {
            plan.convoy_limits = ConvoyLimits { p99_increase_pct, head_of_line_blocking_ms, kv_fragmentation_pct }
        })
    }
}

/// The share of the processors that other threads use up in a saturated run, percent; default 50, at least one processor.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_load(
    options: *mut loquat_bench_options,
    percent: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.load_pct = Some(percent)) }
}

/// Beyond which a saturated run fails: loss of throughput (default 30 %), growth of the p99 (default 100 %), and how many times longer than
/// the median session one may wait for a token (default 10).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_saturation_limits(
    options: *mut loquat_bench_options,
    throughput_loss_pct: f64,
    p99_increase_pct: f64,
    starvation_factor: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::set(options, error, |plan| {
            plan.saturation_limits = SaturationLimits { throughput_loss_pct, p99_increase_pct, starvation_factor }
        })
    }
}

/// The greatest length of the cache and prefill benchmarks, tokens; 0 (the default) for what the model's context has room for, of prefill 2048 at
/// most.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_max_length(
    options: *mut loquat_bench_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.max_length = tokens) }
}

/// How many times faster something has to be for a claim to hold: default 10 for the cache, 8.2 for a prompt at once.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_threshold(
    options: *mut loquat_bench_options,
    times: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.threshold = Some(times)) }
}

/// Measured read bandwidth of this machine in GB/s, to set beside the rate at which the cache is read; NaN (the default) where it is not known.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_read_bandwidth(
    options: *mut loquat_bench_options,
    gb_s: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |plan| {
            plan.read_bandwidth_gb_s = positive("gb_s", gb_s)?;
            Ok(())
        })
    }
}

/// By how much a figure may be worse than the baseline's: above `warn_pct` (default 2) a comparison warns, above `fail_pct` (default 5) it fails.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set_regression_limits(
    options: *mut loquat_bench_options,
    warn_pct: f64,
    fail_pct: f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |plan| plan.regression_limits = RegressionLimits { warn_pct, fail_pct }) }
}

/// Sets an option by name, for configuration files.
///
/// "workload", "prompt_tokens" and "output_tokens" (of a workload of other sizes), "stop_rule", "min_samples", "max_samples", "precision",
/// "cv_threshold", "window", "consecutive", "warmup_requests", "warmup_ms", "time_budget_ms", "model_path", "seed", "temperature", "top_k",
/// "kv_type" ("f16", "bf16", "f32", "q8_0"), "context", "batch", "requests", "long_requests", "slots", "prompt_share", "repeats", "p99_increase_pct" (convoy),
/// "head_of_line_blocking_ms", "kv_fragmentation_pct", "load_pct", "throughput_loss_pct", "saturated_p99_increase_pct", "starvation_factor",
/// "max_length", "threshold", "read_bandwidth_gb_s", "mean_kl", "p99_kl", "page_cache" ("warm", "evicted"), "warn_pct", "fail_pct". LOQUAT_UNKNOWN_OPTION for another key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_bench_options_set(
    options: *mut loquat_bench_options,
    key: *const c_char,
    key_length: usize,
    value: *const c_char,
    value_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::change_by_name(options, (key, key_length), (value, value_length), error, set_by_name) }
}
