//! Snapshots in Prometheus' text exposition format (version 0.0.4): base units (seconds, bytes), `_total` on counters, cumulative
//! histograms that end with `+Inf`.
//!
//! Histograms are shown at the doublings of 1 µs, all of which are bounds of the finer buckets, so that their counts are exact.
//! A figure that could not be measured has no sample. Runtime and session metrics have different names, so that one page may
//! carry both; the host's labels (`model="…"`) are added to every sample.

use std::fmt::Write;

use super::dispatch::{Device, DispatchSnapshot};
use super::histogram::{HIGHEST_NS, LOWEST_NS};
use super::latency::LatencySnapshot;
use super::runtime::RuntimeSnapshot;
use super::session::SessionSnapshot;

/// The content type to serve the text with.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label of every sample: name and value. Names that Prometheus doesn't allow are left out; values may be any text.
pub type Label<'a> = (&'a str, &'a str);

/// The text of a runtime's snapshot.
pub fn runtime(snapshot: &RuntimeSnapshot, labels: &[Label]) -> String {
    let mut page = Page::new("loquat_", labels);
    page.gauge("threads", "Threads that compute, the caller's included.", &[], f64::from(snapshot.facts.threads));
    page.gauge("uptime_seconds", "Time since the runtime was created.", &[], seconds(snapshot.elapsed_ns));
    page.gauge("metrics_recording", "1 where sessions record what their steps cost, else 0.", &[], f64::from(u8::from(snapshot.recording)));
    page.gauge("sessions", "Sessions that live now.", &[], snapshot.sessions_alive as f64);
    page.counter("sessions_created_total", "Sessions created.", snapshot.sessions_created as f64);
    page.gauge("models", "Models loaded now.", &[], snapshot.models_alive as f64);
    page.counter("models_loaded_total", "Models loaded.", snapshot.models_loaded as f64);
    let memory = &snapshot.facts.memory;
    if !memory.categories.is_empty() {
        page.head("memory_bytes", "Memory in use by category.", "gauge");
        for part in &memory.categories {
            page.sample("memory_bytes", &[("category", part.category)], part.bytes as f64);
        }
    }
    page.gauge("memory_private_bytes", "Private memory in use.", &[], memory.private_bytes as f64);
    page.gauge("memory_private_peak_bytes", "Largest private memory use so far.", &[], memory.private_peak_bytes as f64);
    if let Some(limit) = memory.limit_bytes {
        page.gauge("memory_limit_bytes", "Limit on private memory.", &[], limit as f64);
    }
    page.session(&snapshot.sessions);
    page.dispatch(&snapshot.dispatch);
    page.text
}

/// The text of one session's snapshot. Where several sessions share a page, `labels` must tell them apart.
pub fn session(snapshot: &SessionSnapshot, labels: &[Label]) -> String {
    let mut page = Page::new("loquat_session_", labels);
    page.session(snapshot);
    page.text
}

/// The text of a dispatch snapshot.
pub fn dispatch(snapshot: &DispatchSnapshot, labels: &[Label]) -> String {
    let mut page = Page::new("loquat_", labels);
    page.dispatch(snapshot);
    page.text
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The text so far, with the names' prefix and the labels of all samples.
struct Page<'a> {
    text: String,
    prefix: &'static str,
    labels: Vec<Label<'a>>,
}

impl<'a> Page<'a> {
    fn new(prefix: &'static str, labels: &[Label<'a>]) -> Self {
        let mut kept: Vec<Label> = Vec::with_capacity(labels.len());
        for &(name, value) in labels {
            let mut chars = name.chars();
            let allowed = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with("__")
                && !["le", "device", "category"].contains(&name)
                && kept.iter().all(|(other, _)| *other != name);
            if allowed {
                kept.push((name, value));
            }
        }
        Self { text: String::new(), prefix, labels: kept }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let prefix = self.prefix;
        // Writing to a String can't fail.
        let _ = write!(self.text, "# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, own: &[Label], value: f64) {
        self.text.push_str(self.prefix);
        self.text.push_str(name);
        let mut separator = '{';
        for &(label, text) in self.labels.iter().chain(own) {
            self.text.push(separator);
            separator = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, own: &[Label], value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, own, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "counter");
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, own: &[Label], latency: &LatencySnapshot) {
        let bucket = format!("{name}_bucket");
        let doublings = (0..).map(|doubling| LOWEST_NS << doubling).take_while(|&bound| bound < HIGHEST_NS);
        let finite = doublings.chain([HIGHEST_NS]).map(|bound| (seconds(bound).to_string(), latency.histogram.count_le(bound)));
        for (le, count) in finite.chain([("+Inf".to_string(), latency.count)]) {
            let labels: Vec<Label> = own.iter().copied().chain([("le", le.as_str())]).collect();
            self.sample(&bucket, &labels, count as f64);
        }
        self.sample(&format!("{name}_sum"), own, seconds(latency.sum_ns));
        self.sample(&format!("{name}_count"), own, latency.count as f64);
    }

    fn session(&mut self, s: &SessionSnapshot) {
        self.counter("prompt_tokens_total", "Prompt tokens evaluated.", s.prompt_tokens as f64);
        self.counter("generated_tokens_total", "Tokens generated.", s.generated_tokens as f64);
        self.counter("prefill_seconds_total", "Time spent on prompt tokens.", seconds(s.prefill_ns));
        self.counter("decode_seconds_total", "Time spent on generating tokens.", seconds(s.decode_ns));
        self.counter("steps_total", "Steps taken.", s.steps as f64);
        self.counter("pending_steps_total", "Steps whose budget ran out before a token.", s.pending_steps as f64);
        self.counter("cancellations_total", "Steps ended by a cancellation.", s.cancellations as f64);
        self.counter("errors_total", "Steps that failed.", s.errors as f64);
        for (name, help, latency) in [
            ("time_to_first_token_seconds", "Time from a turn's request to its first token.", &s.ttft),
            ("inter_token_latency_seconds", "Time between tokens, first tokens excluded.", &s.inter_token),
            ("step_overshoot_seconds", "Time by which steps outlasted their budget.", &s.overshoot),
        ] {
            self.head(name, help, "histogram");
            self.histogram(name, &[], latency);
        }
        self.gauge("kv_cache_capacity_bytes", "Size of the key/value cache.", &[], s.kv_capacity_bytes as f64);
        self.gauge("kv_cache_used_bytes", "Part of the key/value cache that holds tokens.", &[], s.kv_used_bytes as f64);
        self.gauge("scratch_bytes", "Size of the scratch arena.", &[], s.scratch_bytes as f64);
    }

    fn dispatch(&mut self, d: &DispatchSnapshot) {
        self.gauge("dispatch_elapsed_seconds", "Time since the dispatch metrics were created or reset.", &[], seconds(d.elapsed_ns));
        if let Some(speedup) = d.gpu_speedup {
            self.gauge("dispatch_gpu_speedup_ratio", "Mean latency of CPU dispatches over that of GPU dispatches.", &[], speedup);
        }
        self.head("dispatch_latency_seconds", "Time from handing work to a device until its result.", "histogram");
        for device in Device::ALL {
            self.histogram("dispatch_latency_seconds", &[("device", device.name())], &d.device(device).latency);
        }
        let nanoseconds = |value: Option<u64>| value.map(seconds);
        for (name, help, figure) in [
            ("dispatch_latency_min_seconds", "Shortest dispatch.", Device::ALL.map(|e| nanoseconds(d.device(e).latency.min_ns))),
            ("dispatch_latency_max_seconds", "Longest dispatch.", Device::ALL.map(|e| nanoseconds(d.device(e).latency.max_ns))),
            (
                "dispatch_latency_stddev_seconds",
                "Sample standard deviation of the dispatch latency.",
                Device::ALL.map(|e| d.device(e).latency.std_ns.map(|ns| ns / 1e9)),
            ),
            ("dispatch_device_ratio", "Part of all dispatches that went to the device.", Device::ALL.map(|e| d.device(e).ratio)),
            ("dispatch_rate_per_second", "Dispatches per second.", Device::ALL.map(|e| d.device(e).dispatches_per_s)),
        ] {
            if figure.iter().any(Option::is_some) {
                self.head(name, help, "gauge");
            }
            for (device, value) in Device::ALL.iter().zip(figure) {
                if let Some(value) = value {
                    self.sample(name, &[("device", device.name())], value);
                }
            }
        }
    }
}
