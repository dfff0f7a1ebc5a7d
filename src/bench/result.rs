//! The result of a benchmark: every sample, and what it was measured with.

use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::finding::{Finding, Kind};
use super::host::Context;
use super::kv_use::KvTimeline;
use super::load::LoadTimes;
use super::request::RequestTimes;
use super::sensors::{EnergyUse, SensorsResult};
use super::settings::Settings;
use super::stop::{Stop, StopRule};
use super::summary::BenchmarkSummary;
use super::table::{Table, figure};
use super::workload::Workload;

/// With what a benchmark was run.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchmarkConfig {
    /// The requests.
    pub workload: Workload,
    /// When they were enough.
    pub rule: StopRule,
    /// How the session was made.
    pub settings: Settings,
    /// Requests that were not counted.
    pub warmup_samples: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchmarkResult {
    /// Machine, model and time.
    pub context: Context,
    /// Settings.
    pub config: BenchmarkConfig,
    /// From the start of a fresh process to its first token, median; absent unless that was asked for.
    pub cold_start_ms: Option<f64>,
    /// The load of the model's file; absent unless that was asked for.
    pub load: Option<LoadTimes>,
    /// From each request to its first token.
    pub ttft_ms: Vec<f64>,
    /// From each token to the next, a list per request.
    pub itl_ms: Vec<Vec<f64>>,
    /// Prompt tokens per second of the time to the first token.
    pub prefill_tok_s: Vec<f64>,
    /// Tokens per second after the first one of each request; empty where requests have one token.
    pub generation_tok_s: Vec<f64>,
    /// What the machine said of itself meanwhile.
    pub sensors: SensorsResult,
    /// The use of the key/value cache.
    pub kv: KvTimeline,
    /// Tokens that the counted requests generated.
    pub tokens_generated: u64,
    /// How the requests ended.
    pub stop: Stop,
    /// A hash of the tokens of the first counted request: equal for runs that computed the same, however many requests they took.
    pub output_fingerprint: u128,
    /// The figures.
    pub summary: BenchmarkSummary,
}

impl BenchmarkResult {
    pub(super) fn new(
        context: Context,
        config: BenchmarkConfig,
        requests: Vec<RequestTimes>,
        kv: KvTimeline,
        sensors: SensorsResult,
        stop: Stop,
    ) -> Self {
        Self {
            context,
            config,
            cold_start_ms: None,
            load: None,
            ttft_ms: requests.iter().map(|request| request.ttft_ms).collect(),
            prefill_tok_s: requests.iter().map(RequestTimes::prefill_tok_s).collect(),
            generation_tok_s: requests.iter().filter_map(RequestTimes::generation_tok_s).collect(),
            kv,
            sensors,
            tokens_generated: requests.iter().map(|request| request.tokens.len() as u64).sum(),
            stop,
            output_fingerprint: fingerprint(requests.first()),
            summary: BenchmarkSummary::default(),
            itl_ms: requests.into_iter().map(|request| request.itl_ms).collect(),
        }
    }

    /// Most memory that the process has held; absent where the system does not tell.
    pub fn peak_memory_mb(&self) -> Option<f64> {
        self.sensors.memory.value().map(|memory| memory.peak_mb)
    }

    /// Energy of the counted requests; absent likewise.
    pub fn energy_joules(&self) -> Option<f64> {
        self.sensors.energy.value().map(EnergyUse::gross_joules)
    }

    /// Requests that were counted.
    pub fn iterations(&self) -> usize {
        self.ttft_ms.len()
    }
}

/// The outputs of every run begin with those of the shortest, so that the hash of the first request tells whether they agree.
fn fingerprint(first: Option<&RequestTimes>) -> u128 {
    let mut hash = Xxh3::new();
    first.into_iter().flat_map(|request| &request.tokens).for_each(|token| hash.update(&token.to_le_bytes()));
    hash.digest128()
}

impl Finding for BenchmarkResult {
    fn kind(&self) -> Kind {
        Kind::Requests
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn members(&self) -> Value {
        let Workload { name, prompt_tokens, output_tokens } = self.config.workload;
        json!({
            "config": {
                "workload": name,
                "prompt_tokens": prompt_tokens,
                "output_tokens": output_tokens,
                "settings": self.config.settings.value(),
                "stop_rule": self.config.rule.value(),
                "warmup_samples": self.config.warmup_samples,
            },
            "summary": self.summary.value(),
            "stop": self.stop.value(),
            "cold_start_ms": self.cold_start_ms,
            "model_load_ms": self.load.as_ref().map(|load| load.load_ms),
            "load": self.load.as_ref().map(LoadTimes::value),
            "peak_memory_mb": self.peak_memory_mb(),
            "energy_joules": self.energy_joules(),
            "sensors": self.sensors.value(),
            "kv_cache": self.kv.value(),
            "kv_cache_waste_pct": self.kv.mean_waste_pct(),
            "tokens_generated": self.tokens_generated,
            "actual_iterations": self.iterations(),
            "cv_at_stop": self.stop.cv,
            "output_fingerprint": format!("{:032x}", self.output_fingerprint),
            "ttft_ms": self.ttft_ms,
            "prefill_tok_s": self.prefill_tok_s,
            "generation_tok_s": self.generation_tok_s,
            "itl_ms": self.itl_ms,
        })
    }

    fn table(&self) -> String {
        let (workload, summary, stop) = (&self.config.workload, &self.summary, &self.stop);
        let mut text = format!(
            "{}: {} prompt tokens, {} generated; {} requests after {} for warming up; stopped by {}, {}\n\n",
            workload.name,
            workload.prompt_tokens,
            workload.output_tokens,
            self.iterations(),
            self.config.warmup_samples,
            stop.reason.name(),
            if stop.converged { "converged" } else { "not converged" },
        );
        text += &summary.table();
        let mut rest = Table::new(["", ""]);
        rest.row(["variation of the speed, %".to_owned(), figure(stop.cv.map(|cv| 100.0 * cv))]);
        rest.row(["half-width of its interval, %".to_owned(), figure(stop.half_width_share.map(|share| 100.0 * share))]);
        rest.row(["cache reserved and empty, % (mean, max)".to_owned(), figure(self.kv.mean_waste_pct()), figure(self.kv.max_waste_pct())]);
        for (name, ms) in self.load.iter().flat_map(|load| &load.stages) {
            rest.row([format!("load, {name}, ms"), figure(*ms)]);
        }
        if let Some(load) = &self.load {
            rest.row(["session made, ms".to_owned(), figure(load.session_ms)]);
            rest.row(["first forward pass, ms".to_owned(), figure(load.first_pass_ms)]);
        }
        if self.cold_start_ms.is_some() {
            rest.row(["first token of a fresh process, ms".to_owned(), figure(self.cold_start_ms)]);
        }
        for (name, value) in self.sensors.rows() {
            rest.row([name, figure(value)]);
        }
        text += &rest.text();
        text
    }
}
