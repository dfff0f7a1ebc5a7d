//! Snapshots as JSON: a schema name and version first, units in the names, what could not be measured as `null`.
//!
//! ```json
//! {"schema":"loquat.metrics.session","schema_version":1,"library_version":"0.1.0","time":"2026-01-31T12:00:00Z",
//!  "prompt_tokens":8, … ,"inter_token":{"count":3,"min_ns":…,"p50":{"value_ns":…,"resolved":true},…,"buckets":[{"le_ns":1050,"count":2}]}}
//! ```
//! Members may be added within a schema version; none changes its meaning or goes away.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::dispatch::{DeviceSnapshot, DispatchSnapshot};
use super::latency::{LatencySnapshot, Quantile};
use super::runtime::{MemorySnapshot, RuntimeSnapshot};
use super::session::SessionSnapshot;

/// Version of the JSON that this library writes; goes up when a member changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON text of a session's snapshot, written now.
pub fn session(snapshot: &SessionSnapshot) -> String {
    document("loquat.metrics.session", SystemTime::now(), session_value(snapshot))
}

/// The JSON text of a runtime's snapshot, written now.
pub fn runtime(snapshot: &RuntimeSnapshot) -> String {
    document("loquat.metrics.runtime", SystemTime::now(), runtime_value(snapshot))
}

/// The JSON text of a dispatch snapshot, written now.
pub fn dispatch(snapshot: &DispatchSnapshot) -> String {
    document("loquat.metrics.dispatch", SystemTime::now(), dispatch_value(snapshot))
}

fn document(schema: &str, time: SystemTime, body: Value) -> String {
    let mut document = head(schema, SCHEMA_VERSION);
    document.insert("time".into(), rfc3339(time).into());
    if let Value::Object(members) = body {
        document.extend(members);
    }
    Value::Object(document).to_string()
}

/// What every document of the library begins with.
pub(crate) fn head(schema: &str, version: u32) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("schema".into(), schema.into());
    document.insert("schema_version".into(), version.into());
    document.insert("library_version".into(), env!("CARGO_PKG_VERSION").into());
    document
}

fn session_value(s: &SessionSnapshot) -> Value {
    json!({
        "prompt_tokens": s.prompt_tokens,
        "generated_tokens": s.generated_tokens,
        "prefill_ns": s.prefill_ns,
        "decode_ns": s.decode_ns,
        "prefill_tok_per_s": s.prefill_tok_per_s,
        "decode_tok_per_s": s.decode_tok_per_s,
        "last_ttft_ns": s.last_ttft_ns,
        "ttft": latency_value(&s.ttft),
        "inter_token": latency_value(&s.inter_token),
        "steps": s.steps,
        "pending_steps": s.pending_steps,
        "cancellations": s.cancellations,
        "errors": s.errors,
        "overshoot": latency_value(&s.overshoot),
        "kv_capacity_bytes": s.kv_capacity_bytes,
        "kv_used_bytes": s.kv_used_bytes,
        "scratch_bytes": s.scratch_bytes,
    })
}

fn runtime_value(r: &RuntimeSnapshot) -> Value {
    json!({
        "threads": r.facts.threads,
        "isa": Some(r.facts.isa).filter(|isa| !isa.is_empty()),
        "recording": r.recording,
        "elapsed_ns": r.elapsed_ns,
        "sessions_alive": r.sessions_alive,
        "sessions_created": r.sessions_created,
        "models_alive": r.models_alive,
        "models_loaded": r.models_loaded,
        "memory": memory_value(&r.facts.memory),
        "sessions": session_value(&r.sessions),
        "dispatch": dispatch_value(&r.dispatch),
    })
}

fn memory_value(m: &MemorySnapshot) -> Value {
    let categories: Map<String, Value> = m.categories.iter().map(|c| (format!("{}_bytes", c.category), c.bytes.into())).collect();
    json!({
        "categories": categories,
        "private_bytes": m.private_bytes,
        "private_peak_bytes": m.private_peak_bytes,
        "limit_bytes": m.limit_bytes,
    })
}

fn dispatch_value(d: &DispatchSnapshot) -> Value {
    let device = |device: &DeviceSnapshot| {
        json!({
            "dispatches": device.latency.count,
            "ratio": device.ratio,
            "dispatches_per_s": device.dispatches_per_s,
            "latency": latency_value(&device.latency),
        })
    };
    json!({
        "dispatches": d.total,
        "gpu_ratio": d.gpu_ratio,
        "dispatches_per_s": d.dispatches_per_s,
        "gpu_speedup": d.gpu_speedup,
        "elapsed_ns": d.elapsed_ns,
        "cpu": device(&d.cpu),
        "gpu": device(&d.gpu),
    })
}

fn latency_value(l: &LatencySnapshot) -> Value {
    let quantile = |q: Option<Quantile>| q.map(|q| json!({ "value_ns": q.value_ns, "resolved": q.resolved }));
    let buckets: Vec<Value> = l.histogram.occupied().map(|(le_ns, count)| json!({ "le_ns": le_ns, "count": count })).collect();
    json!({
        "count": l.count,
        "sum_ns": l.sum_ns,
        "min_ns": l.min_ns,
        "max_ns": l.max_ns,
        "mean_ns": l.mean_ns,
        "variance_ns2": l.variance_ns2,
        "std_ns": l.std_ns,
        "cv_pct": l.cv_pct,
        "p50": quantile(l.p50),
        "p95": quantile(l.p95),
        "p99": quantile(l.p99),
        "p999": quantile(l.p999),
        "overflow": l.overflow,
        "buckets": buckets,
    })
}

/// `time` as RFC 3339 in UTC with whole seconds; a clock before 1970 counts as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date of a day number, by eras of 400 years that start on 1 March (Howard Hinnant, "chrono-compatible date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::super::runtime::{RuntimeFacts, RuntimeMetrics};
    use super::super::session::{StepRecord, TokenTiming};
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_rfc3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let value: Value = serde_json::from_str(&runtime(&RuntimeMetrics::new().snapshot(RuntimeFacts::default()))).unwrap();
        assert_eq!(value["schema"], "loquat.metrics.runtime");
        assert_eq!(value["schema_version"], SCHEMA_VERSION);
        for path in [
            "/isa",
            "/memory/limit_bytes",
            "/sessions/last_ttft_ns",
            "/sessions/decode_tok_per_s",
            "/sessions/inter_token/min_ns",
            "/sessions/inter_token/p50",
            "/dispatch/gpu_speedup",
            "/dispatch/gpu/latency/mean_ns",
        ] {
            assert_eq!(value.pointer(path), Some(&Value::Null), "{path}");
        }
        assert_eq!(value.pointer("/sessions/inter_token/count"), Some(&Value::from(0)));
    }

    #[test]
    fn figures_come_back() {
        let mut recorder = RuntimeMetrics::new().session(4_096, 64);
        for ns in [1_050, 2_000_000, 700_000_000_000] {
            recorder.step(&StepRecord { decode_ns: ns, token: Some(TokenTiming::Next { since_previous_ns: ns }), ..Default::default() });
        }
        let snapshot = recorder.metrics().snapshot();
        let value: Value = serde_json::from_str(&session(&snapshot)).unwrap();
        assert_eq!(value["kv_capacity_bytes"], 4_096);
        assert_eq!(value["inter_token"]["max_ns"], 700_000_000_000u64);
        assert_eq!(value["inter_token"]["p99"]["resolved"], false);
        assert_eq!(value["inter_token"]["mean_ns"].as_f64(), snapshot.inter_token.mean_ns);
        assert_eq!(value["inter_token"]["buckets"][0], json!({ "le_ns": 1_050, "count": 1 }));
        assert_eq!(value["inter_token"]["buckets"][2], json!({ "le_ns": null, "count": 1 }));
    }
}
