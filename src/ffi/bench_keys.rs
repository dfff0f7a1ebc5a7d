//! Options of benchmarks by name.

use crate::bench::{PageCache, Plan, StopRule, Workload};
use crate::session::KvType;

use super::call::Failure;
use super::settings;

/// The workload of a name.
pub(super) fn workload_named(name: &str) -> Result<Workload, Failure> {
    settings::choice("workload", name, &Workload::ALL.map(|workload| (workload.name, workload)))
}

/// The stop rule of a name.
pub(super) fn rule_named(name: &str) -> Result<StopRule, Failure> {
    settings::choice("stop_rule", name, &StopRule::PRESETS).map(|preset| preset())
}

/// A number that may be missing: NaN for none, else above 0.
pub(super) fn positive(name: &str, value: f64) -> Result<Option<f64>, Failure> {
    match value {
        value if value.is_nan() => Ok(None),
        value if value > 0.0 && value.is_finite() => Ok(Some(value)),
        value => Err(Failure::argument(format!("{name} is {value}, must be above 0, or NaN for none"))),
    }
}

/// Sets one size of a workload and keeps the other.
fn resize(plan: &mut Plan, prompt_tokens: Option<u32>, output_tokens: Option<u32>) -> Result<(), Failure> {
    let now = plan.workload.unwrap_or(Workload::SHORT_QA);
    plan.workload = Some(Workload::custom(prompt_tokens.unwrap_or(now.prompt_tokens), output_tokens.unwrap_or(now.output_tokens))?);
    Ok(())
}

/// Sets the option `key`; see `loquat_bench_options_set`.
pub(super) fn set_by_name(plan: &mut Plan, key: &str, value: &str) -> Result<(), Failure> {
    let Plan { settings: session, stop, convoy_limits, saturation_limits, regression_limits, .. } = plan;
    match key {
        "workload" => plan.workload = Some(workload_named(value)?),
        "prompt_tokens" => resize(plan, Some(settings::number(key, value)?), None)?,
        "output_tokens" => resize(plan, None, Some(settings::number(key, value)?))?,
        "stop_rule" => *stop = rule_named(value)?,
        "min_samples" => stop.min_samples = settings::number(key, value)?,
        "max_samples" => stop.max_samples = settings::number(key, value)?,
        "precision" => stop.precision = settings::number(key, value)?,
        "cv_threshold" => stop.cv_threshold = settings::number(key, value)?,
        "window" => stop.window = settings::number(key, value)?,
        "consecutive" => stop.consecutive = settings::number(key, value)?,
        "warmup_requests" => stop.warmup_samples = settings::number(key, value)?,
        "warmup_ms" => stop.warmup_ms = settings::number(key, value)?,
        "time_budget_ms" => stop.time_budget_ms = Some(settings::number(key, value)?),
        "model_path" => plan.model_path = (!value.is_empty()).then(|| value.into()),
        "seed" => session.sampler.seed = settings::number(key, value)?,
        "temperature" => session.sampler.temperature = settings::number(key, value)?,
        "top_k" => session.sampler.top_k = settings::number(key, value)?,
        "kv_type" => session.kv_type = settings::choice(key, value, &KvType::ALL.map(|ty| (ty.name(), ty)))?,
        "context" => session.context = settings::number(key, value)?,
        "batch" => session.batch = settings::number(key, value)?,
        "requests" => plan.requests = Some(settings::number(key, value)?),
        "long_requests" => plan.long_requests = Some(settings::number(key, value)?),
        "slots" => plan.slots = Some(settings::number(key, value)?),
        "prompt_share" => plan.prompt_share = Some(settings::number(key, value)?),
        "repeats" => plan.repeats = Some(settings::number(key, value)?),
        "p99_increase_pct" => convoy_limits.p99_increase_pct = settings::number(key, value)?,
        "head_of_line_blocking_ms" => convoy_limits.head_of_line_blocking_ms = settings::number(key, value)?,
        "kv_fragmentation_pct" => convoy_limits.kv_fragmentation_pct = settings::number(key, value)?,
        "load_pct" => plan.load_pct = Some(settings::number(key, value)?),
        "throughput_loss_pct" => saturation_limits.throughput_loss_pct = settings::number(key, value)?,
        "saturated_p99_increase_pct" => saturation_limits.p99_increase_pct = settings::number(key, value)?,
        "starvation_factor" => saturation_limits.starvation_factor = settings::number(key, value)?,
        "max_length" => plan.max_length = settings::number(key, value)?,
        "threshold" => plan.threshold = Some(settings::number(key, value)?),
        "mean_kl" => plan.quality_limits.mean_kl = positive(key, settings::number(key, value)?)?,
        "p99_kl" => plan.quality_limits.p99_kl = positive(key, settings::number(key, value)?)?,
        "page_cache" => plan.page_cache = settings::choice(key, value, &PageCache::ALL)?,
        "read_bandwidth_gb_s" => plan.read_bandwidth_gb_s = positive(key, settings::number(key, value)?)?,
        "warn_pct" => regression_limits.warn_pct = settings::number(key, value)?,
        "fail_pct" => regression_limits.fail_pct = settings::number(key, value)?,
        _ => return Err(settings::unknown("benchmark", key)),
    }
    Ok(())
}
