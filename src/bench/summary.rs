//! The figures that are printed of a benchmark, each with what it rests on.

use serde_json::{Value, json};

use super::clock::Clock;
use super::result::BenchmarkResult;
use super::statistics::{Bootstrap, InterToken, Interval, Outliers, P50, P95, P99, P999, Percentile, Sorted, Statistic, mean, sample_std};
use super::table::{Table, figure};

/// The share of the median gap up to which jitter is said to be low.
const LOW_JITTER: f64 = 0.1;

/// The figures of one series, a value per request.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSummary {
    /// Values.
    pub n: usize,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// Sample standard deviation; absent below two values.
    pub std: Option<f64>,
    /// Median and percentiles.
    pub p50: Percentile,
    /// 95th percentile.
    pub p95: Percentile,
    /// 99th percentile.
    pub p99: Percentile,
    /// 99.9th percentile.
    pub p999: Percentile,
    /// 95 % interval of the median; absent below 8 values.
    pub median_ci: Option<Interval>,
    /// Values far from the others; absent where they have no spread to measure that by.
    pub outliers: Option<usize>,
}

impl SeriesSummary {
    /// Of `values`; `None` without any.
    pub(super) async fn of(values: &[f64], seed: u64, clock: &mut Clock) -> Option<Self> {
        let sorted = Sorted::new(values);
        let single: Vec<[f64; 1]> = values.iter().map(|&value| [value]).collect();
        let median_ci = clock.interval(Bootstrap::new(&single, Statistic::MEDIAN, seed)).await;
        Some(Self {
            n: values.len(),
            min: *sorted.values().first()?,
            max: *sorted.values().last()?,
            mean: mean(values)?,
            std: sample_std(values),
            p50: sorted.percentile(P50)?,
            p95: sorted.percentile(P95)?,
            p99: sorted.percentile(P99)?,
            p999: sorted.percentile(P999)?,
            median_ci,
            outliers: Outliers::of(values).map(|outliers| outliers.count()),
        })
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "n": self.n,
            "min": self.min,
            "max": self.max,
            "mean": self.mean,
            "std": self.std,
            "p50": percentile_value(&self.p50),
            "p95": percentile_value(&self.p95),
            "p99": percentile_value(&self.p99),
            "p999": percentile_value(&self.p999),
            "median_ci_95": self.median_ci.as_ref().map(interval_value),
            "outliers": self.outliers,
        })
    }

    pub(super) fn row(&self, table: &mut Table, name: &str) {
        let cells = [self.p50.value, self.min, self.max, self.p95.value, self.p99.value, self.mean].map(figure);
        table.row([name.to_owned(), self.n.to_string()].into_iter().chain(cells).chain([range(self.median_ci.as_ref())]));
    }
}

/// The ends of an interval for people.
pub(super) fn range(interval: Option<&Interval>) -> String {
    interval.map_or_else(|| "–".to_owned(), |interval| format!("{}–{}", figure(interval.low), figure(interval.high)))
}

/// A percentile for JSON.
pub(super) fn percentile_value(percentile: &Percentile) -> Value {
    json!({ "value": percentile.value, "n": percentile.n, "resolved": percentile.resolved })
}

/// An interval for JSON.
pub(super) fn interval_value(interval: &Interval) -> Value {
    json!({
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "resamples": interval.resamples,
        "seed": interval.seed,
    })
}

/// The figures of a benchmark.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BenchmarkSummary {
    /// Time to the first token, milliseconds.
    pub ttft_ms: Option<SeriesSummary>,
    /// Prompt tokens per second.
    pub prefill_tok_s: Option<SeriesSummary>,
    /// Generated tokens per second, the throughput; absent where requests have one token.
    pub generation_tok_s: Option<SeriesSummary>,
    /// Times between tokens, milliseconds, pooled; absent likewise.
    pub itl: Option<InterToken>,
    /// 95 % interval of their median, by resampling requests.
    pub itl_median_ci: Option<Interval>,
    /// Energy of a generated token, its share of the prompt's included; absent where energy can't be read.
    pub token_joules: Option<f64>,
    /// Mean share of the reserved cache that held nothing, percent.
    pub memory_waste_pct: Option<f64>,
    /// Requests that were counted.
    pub iterations: usize,
    /// Coefficient of variation of the throughput.
    pub cv_final: Option<f64>,
}

impl BenchmarkSummary {
    pub(super) async fn of(result: &BenchmarkResult, clock: &mut Clock) -> Self {
        let seed = result.config.settings.seed();
        Self {
            ttft_ms: SeriesSummary::of(&result.ttft_ms, seed, clock).await,
            prefill_tok_s: SeriesSummary::of(&result.prefill_tok_s, seed, clock).await,
            generation_tok_s: SeriesSummary::of(&result.generation_tok_s, seed, clock).await,
            itl: InterToken::of(&result.itl_ms),
            itl_median_ci: clock.interval(Bootstrap::new(&result.itl_ms, Statistic::MEDIAN, seed)).await,
            token_joules: result
                .energy_joules()
                .filter(|_| result.tokens_generated > 0)
                .map(|joules| joules / result.tokens_generated as f64),
            memory_waste_pct: result.kv.mean_waste_pct(),
            iterations: result.iterations(),
            cv_final: result.stop.cv,
        }
    }

    pub(super) fn value(&self) -> Value {
        let series = |series: &Option<SeriesSummary>| series.as_ref().map(SeriesSummary::value);
        let itl = self.itl.as_ref().map(|itl| {
            json!({
                "n": itl.n,
                "median": itl.median_ms,
                "mean": itl.mean_ms,
                "std": itl.std_ms,
                "p95": percentile_value(&itl.p95_ms),
                "p99": percentile_value(&itl.p99_ms),
                "p999": percentile_value(&itl.p999_ms),
                "max": itl.max_ms,
                "mad": itl.mad_ms,
                "jitter": itl.jitter_ms,
                "low_jitter": itl.is_low_jitter(LOW_JITTER),
                "stalls": itl.stalls,
                "median_ci_95": self.itl_median_ci.as_ref().map(interval_value),
            })
        });
        json!({
            "ttft_ms": series(&self.ttft_ms),
            "itl_ms": itl,
            "prefill_tok_s": series(&self.prefill_tok_s),
            "throughput_tok_s": series(&self.generation_tok_s),
            "token_joules": self.token_joules,
            "memory_waste_pct": self.memory_waste_pct,
            "iterations": self.iterations,
            "cv_final": self.cv_final,
        })
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new(["", "n", "median", "min", "max", "p95", "p99", "mean", "95 % of the median"]);
        for (name, series) in
            [("prefill tok/s", &self.prefill_tok_s), ("generation tok/s", &self.generation_tok_s), ("first token ms", &self.ttft_ms)]
        {
            series.iter().for_each(|series| series.row(&mut table, name));
        }
        let mut text = String::new();
        if let Some(itl) = &self.itl {
            let cells = [itl.max_ms, itl.p95_ms.value, itl.p99_ms.value, itl.mean_ms].map(figure);
            let front = ["between tokens ms".to_owned(), itl.n.to_string(), figure(itl.median_ms), String::new()];
            table.row(front.into_iter().chain(cells).chain([range(self.itl_median_ci.as_ref())]));
            text = format!(
                "between tokens: p99.9 {}, std {}, MAD {}, jitter {} ms; {} of {} longer than three medians\n",
                figure(itl.p999_ms.value),
                figure(itl.std_ms),
                figure(itl.mad_ms),
                figure(itl.jitter_ms),
                itl.stalls,
                itl.n,
            );
        }
        format!("{}{text}", table.text())
    }
}
