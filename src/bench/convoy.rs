//! The convoy test: what happens to short requests that come right behind long ones.
//!
//! A number of long requests, immediately followed by short ones, on one batch of sessions; against a baseline of the same short requests
//! alone. Baseline and convoy take turns. How much longer a short request waits for its first token than the same request of the baseline is
//! what the long ones have blocked it for.

use serde_json::{Value, json};

use crate::base::{Error, Job, Pace, Result, Stage};
use crate::model::Model;
use crate::session::BatchOptions;

use super::clock::Clock;
use super::finding::{Finding, Kind, Verdict, beyond, check_limits};
use super::host::Context;
use super::settings::Settings;
use super::statistics::{Bootstrap, Interval, P50, P99, Sorted, Statistic, increase_pct, mean, percentile};
use super::summary::{interval_value, range};
use super::table::{Table, figure};
use super::traffic::{Request, RequestResult, Served, Server, batch_options};
use super::workload::Workload;

const STAGES: &[Stage] =
    &[Stage { name: c"warm-up", share: 0.1 }, Stage { name: c"convoy", share: 0.85 }, Stage { name: c"statistics", share: 0.05 }];

/// Beyond which the test fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvoyLimits {
    /// How much the p99 of the short requests' latency may grow, percent.
    pub p99_increase_pct: f64,
    /// How long a short request may be blocked, milliseconds.
    pub head_of_line_blocking_ms: f64,
    /// Mean share of the pages in use that may hold nothing, percent.
    pub kv_fragmentation_pct: f64,
}

impl Default for ConvoyLimits {
    fn default() -> Self {
        Self { p99_increase_pct: 50.0, head_of_line_blocking_ms: 500.0, kv_fragmentation_pct: 15.0 }
    }
}

impl ConvoyLimits {
    /// Whether they can be held.
    ///
    /// # Errors
    /// `InvalidArgument` where one is no number: nothing would be beyond it.
    pub fn validate(&self) -> Result<()> {
        let Self { p99_increase_pct, head_of_line_blocking_ms, kv_fragmentation_pct } = *self;
        check_limits(&[p99_increase_pct, head_of_line_blocking_ms, kv_fragmentation_pct])
    }
}

/// How the test is run.
#[derive(Debug, Clone)]
pub struct ConvoyOptions {
    /// The long requests.
    pub long: Workload,
    /// How many.
    pub long_requests: u32,
    /// The short requests.
    pub short: Workload,
    /// How many.
    pub short_requests: u32,
    /// Requests that are computed at once; 0 for all of them. The others wait in a queue.
    pub slots: u32,
    /// Most prompt tokens of a pass in which another request generates; absent for the batch's default. Fewer hold up the short requests less, and
    /// the long ones more.
    pub prompt_share: Option<u32>,
    /// Pairs of a baseline and a convoy, at least 3.
    pub repeats: u32,
    /// The limits.
    pub limits: ConvoyLimits,
    /// How sessions are made.
    pub settings: Settings,
}

impl Default for ConvoyOptions {
    fn default() -> Self {
        Self {
            long: Workload::LONG_CONTEXT,
            long_requests: 10,
            short: Workload::SHORT_QA,
            short_requests: 100,
            slots: 0,
            prompt_share: None,
            repeats: 3,
            limits: ConvoyLimits::default(),
            settings: Settings::default(),
        }
    }
}

/// The arithmetic of the test on given samples.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvoyFigures {
    /// p99 of the short requests' latency without the long ones; absent without data, as all below.
    pub baseline_short_p99_ms: Option<f64>,
    /// The same with them.
    pub convoy_short_p99_ms: Option<f64>,
    /// By how much it grew.
    pub p99_increase_pct: Option<f64>,
    /// The longest that a short request was blocked.
    pub max_hol_blocking_ms: Option<f64>,
    /// The mean.
    pub avg_hol_blocking_ms: Option<f64>,
    /// Mean share of the pages in use that held nothing.
    pub kv_fragmentation_pct: Option<f64>,
    /// Whether all limits were kept, by complete data.
    pub passed: bool,
    /// Why not.
    pub failure_reasons: Vec<String>,
}

impl ConvoyFigures {
    /// Judges latencies of short requests without and with a convoy, and how long each was blocked; `expected` of each.
    pub fn judge(
        baseline_ms: &[f64],
        convoy_ms: &[f64],
        blocking_ms: &[f64],
        kv_fragmentation_pct: Option<f64>,
        expected: usize,
        limits: &ConvoyLimits,
    ) -> Self {
        let p99 = |values: &[f64]| percentile(values, P99).map(|p99| p99.value);
        let (baseline, convoy) = (p99(baseline_ms), p99(convoy_ms));
        let increase = increase_pct(baseline, convoy);
        let longest = Sorted::new(blocking_ms).values().last().copied();
        let mut reasons = vec![];
        for (what, values) in [("baseline", baseline_ms), ("convoy", convoy_ms), ("blocking", blocking_ms)] {
            if values.len() != expected || values.is_empty() {
                reasons.push(format!("{what}: {} of {expected} short requests have data", values.len()));
            }
        }
        reasons.extend(beyond("short p99 increase", increase, limits.p99_increase_pct, " %"));
        reasons.extend(beyond("head-of-line blocking", longest, limits.head_of_line_blocking_ms, " ms"));
        reasons.extend(beyond("KV fragmentation", kv_fragmentation_pct, limits.kv_fragmentation_pct, " %"));
        Self {
            baseline_short_p99_ms: baseline,
            convoy_short_p99_ms: convoy,
            p99_increase_pct: increase,
            max_hol_blocking_ms: longest,
            avg_hol_blocking_ms: mean(blocking_ms),
            kv_fragmentation_pct,
            passed: reasons.is_empty(),
            failure_reasons: reasons,
        }
    }
}

/// A baseline and the convoy after it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvoyRepeat {
    /// The short requests alone.
    pub baseline: Served,
    /// The long ones and the short ones.
    pub convoy: Served,
}

/// How the long requests fared, for fairness.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRequests {
    /// Median time to the first token.
    pub ttft_p50_ms: Option<f64>,
    /// The longest.
    pub ttft_max_ms: Option<f64>,
    /// Median time between tokens.
    pub itl_p50_ms: Option<f64>,
    /// The longest.
    pub itl_max_ms: Option<f64>,
}

/// What the test found.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvoyResult {
    context: Context,
    long: Workload,
    short: Workload,
    limits: ConvoyLimits,
    settings: Settings,
    batch: BatchOptions,
    /// Long requests of each convoy.
    pub long_requests: u32,
    /// Short requests of each run.
    pub short_requests: u32,
    /// Every request of every run.
    pub repeats: Vec<ConvoyRepeat>,
    /// The figures over all repeats.
    pub figures: ConvoyFigures,
    /// 95 % interval of the ratio of the two p99; absent where too few requests were served.
    pub p99_ratio_ci: Option<Interval>,
    /// The long requests of all convoys.
    pub long_fared: LongRequests,
}

/// Runs the test on `model` as a job.
///
/// # Errors
/// `InvalidArgument` for options out of range. The job itself fails as batches do.
pub fn measure(model: &Model, options: ConvoyOptions) -> Result<Job<ConvoyResult>> {
    options.long.validate()?;
    options.short.validate()?;
    options.settings.validate()?;
    options.limits.validate()?;
    if options.long.name == options.short.name {
        return Err(Error::invalid_argument("a convoy of one workload: long and short requests must be of different ones"));
    }
    if options.repeats < 3 || options.long_requests == 0 || options.short_requests == 0 {
        return Err(Error::invalid_argument("a convoy takes at least 3 repeats, a long request and a short one"));
    }
    let mut batch = batch_options(options.slots, options.long_requests.saturating_add(options.short_requests))?;
    batch.prompt_share = options.prompt_share.unwrap_or(batch.prompt_share);
    model.config()?;
    let model = model.clone();
    Ok(Job::new(STAGES, move |pace| run(model, options, batch, pace)))
}

async fn run(model: Model, options: ConvoyOptions, batch: BatchOptions, pace: Pace) -> Result<ConvoyResult> {
    let mut clock = Clock::new(pace.clone());
    let context = Context::of(&model);
    let ConvoyOptions { long, long_requests, short, short_requests, repeats, limits, settings, .. } = options;
    let requests = |workload: Workload, count: u32| (0..u64::from(count)).map(move |number| Request { workload, number });
    let alone: Vec<Request> = requests(short, short_requests).collect();
    let together: Vec<Request> = requests(long, long_requests).chain(requests(short, short_requests)).collect();
    let mut server = Server::new(&model, &settings, batch, &[long, short])?;
    pace.stage(0);
    pace.expect(alone.len() as u64);
    server.serve(&alone, &mut clock).await?;
    pace.stage(1);
    pace.expect(u64::from(repeats) * (alone.len() + together.len()) as u64);
    let mut runs = vec![];
    for _ in 0..repeats {
        let baseline = server.serve(&alone, &mut clock).await?;
        let convoy = server.serve(&together, &mut clock).await?;
        runs.push(ConvoyRepeat { baseline, convoy });
    }
    pace.stage(2);
    let samples = Samples::of(&runs, &long, &short);
    let fragmentation: Vec<f64> = runs.iter().filter_map(|run| run.convoy.kv.mean_tail_pct()).collect();
    let expected = repeats as usize * short_requests as usize;
    let figures =
        ConvoyFigures::judge(&samples.baseline_ms, &samples.convoy_ms, &samples.blocking_ms, mean(&fragmentation), expected, &limits);
    let (with, without) = (samples.convoy_ms.as_chunks::<1>().0, samples.baseline_ms.as_chunks::<1>().0);
    let ratio = Bootstrap::of_ratio(with, without, Statistic::Percentile(P99), settings.seed());
    let p99_ratio_ci = clock.interval(ratio).await;
    Ok(ConvoyResult {
        context,
        long,
        short,
        limits,
        settings,
        batch,
        long_requests,
        short_requests,
        repeats: runs,
        figures,
        p99_ratio_ci,
        long_fared: samples.long_fared,
    })
}

/// What is judged, gathered from the runs. Requests that failed have no latency and are missing.
struct Samples {
    baseline_ms: Vec<f64>,
    convoy_ms: Vec<f64>,
    blocking_ms: Vec<f64>,
    long_fared: LongRequests,
}

impl Samples {
    fn of(runs: &[ConvoyRepeat], long: &Workload, short: &Workload) -> Self {
        let latencies = |served: &Served| -> Vec<f64> { served.of(short).filter_map(|request| request.total_latency_ms).collect() };
        let blocked = |run: &ConvoyRepeat| -> Vec<f64> {
            let pairs = run.baseline.of(short).zip(run.convoy.of(short));
            pairs.filter_map(|(alone, with)| Some((with.ttft_ms? - alone.ttft_ms?).max(0.0))).collect()
        };
        let long: Vec<&RequestResult> = runs.iter().flat_map(|run| run.convoy.of(long)).collect();
        let first = Sorted::new(&long.iter().filter_map(|request| request.ttft_ms).collect::<Vec<_>>());
        let gaps = Sorted::new(&long.iter().flat_map(|request| request.itl_ms.iter().copied()).collect::<Vec<_>>());
        let median = |sorted: &Sorted| sorted.percentile(P50).map(|median| median.value);
        Self {
            baseline_ms: runs.iter().flat_map(|run| latencies(&run.baseline)).collect(),
            convoy_ms: runs.iter().flat_map(|run| latencies(&run.convoy)).collect(),
            blocking_ms: runs.iter().flat_map(blocked).collect(),
            long_fared: LongRequests {
                ttft_p50_ms: median(&first),
                ttft_max_ms: first.values().last().copied(),
                itl_p50_ms: median(&gaps),
                itl_max_ms: gaps.values().last().copied(),
            },
        }
    }
}

impl Finding for ConvoyResult {
    fn kind(&self) -> Kind {
        Kind::Convoy
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn verdict(&self) -> Option<Verdict> {
        Some(if self.figures.passed { Verdict::Passed } else { Verdict::Failed })
    }

    fn members(&self) -> Value {
        let (figures, limits, fared) = (&self.figures, &self.limits, &self.long_fared);
        let repeats: Vec<Value> =
            self.repeats.iter().map(|run| json!({ "baseline": run.baseline.value(), "convoy": run.convoy.value() })).collect();
        json!({
            "config": {
                "long": self.long.name,
                "long_requests": self.long_requests,
                "short": self.short.name,
                "short_requests": self.short_requests,
                "slots": self.batch.sessions,
                "prompt_share": self.batch.prompt_share,
                "repeats": self.repeats.len(),
                "limits": {
                    "p99_increase_pct": limits.p99_increase_pct,
                    "head_of_line_blocking_ms": limits.head_of_line_blocking_ms,
                    "kv_fragmentation_pct": limits.kv_fragmentation_pct,
                },
                "settings": self.settings.value(),
            },
            "baseline_short_p99_ms": figures.baseline_short_p99_ms,
            "convoy_short_p99_ms": figures.convoy_short_p99_ms,
            "p99_increase_pct": figures.p99_increase_pct,
            "p99_ratio_ci_95": self.p99_ratio_ci.as_ref().map(interval_value),
            "max_hol_blocking_ms": figures.max_hol_blocking_ms,
            "avg_hol_blocking_ms": figures.avg_hol_blocking_ms,
            "kv_fragmentation_pct": figures.kv_fragmentation_pct,
            "passed": figures.passed,
            "failure_reasons": figures.failure_reasons,
            "long": {
                "ttft_p50_ms": fared.ttft_p50_ms,
                "ttft_max_ms": fared.ttft_max_ms,
                "itl_p50_ms": fared.itl_p50_ms,
                "itl_max_ms": fared.itl_max_ms,
            },
            "repeats": repeats,
        })
    }

    fn table(&self) -> String {
        let (figures, limits, fared) = (&self.figures, &self.limits, &self.long_fared);
        let mut table = Table::new(["", "measured", "limit"]);
        table.row(["short p99 alone, ms".to_owned(), figure(figures.baseline_short_p99_ms)]);
        table.row(["short p99 in the convoy, ms".to_owned(), figure(figures.convoy_short_p99_ms)]);
        table.row(["increase, %".to_owned(), figure(figures.p99_increase_pct), figure(limits.p99_increase_pct)]);
        table.row(["ratio of the two, 95 %".to_owned(), range(self.p99_ratio_ci.as_ref())]);
        table.row([
            "head-of-line blocking, most, ms".to_owned(),
            figure(figures.max_hol_blocking_ms),
            figure(limits.head_of_line_blocking_ms),
        ]);
        table.row(["head-of-line blocking, mean, ms".to_owned(), figure(figures.avg_hol_blocking_ms)]);
        table.row(["KV fragmentation, %".to_owned(), figure(figures.kv_fragmentation_pct), figure(limits.kv_fragmentation_pct)]);
        table.row(["long: first token, median, ms".to_owned(), figure(fared.ttft_p50_ms)]);
        table.row(["long: first token, most, ms".to_owned(), figure(fared.ttft_max_ms)]);
        table.row(["long: between tokens, median, ms".to_owned(), figure(fared.itl_p50_ms)]);
        table.row(["long: between tokens, most, ms".to_owned(), figure(fared.itl_max_ms)]);
        let mut text = format!(
            "convoy: {} {} requests, then {} {}; {} at once; up to {} prompt tokens in a pass where others generate; {} repeats\n\n{}",
            self.long_requests,
            self.long.name,
            self.short_requests,
            self.short.name,
            self.batch.sessions,
            self.batch.prompt_share,
            self.repeats.len(),
            table.text(),
        );
        for reason in &figures.failure_reasons {
            text += &format!("failed: {reason}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(first: f64, step: f64) -> Vec<f64> {
        (0..100).map(|i| first + step * f64::from(i)).collect()
    }

    fn judge(convoy: &[f64], blocking: &[f64], fragmentation: Option<f64>) -> ConvoyFigures {
        let baseline = line(45.0, 0.1);
        let mut figures = ConvoyFigures::judge(&baseline, convoy, blocking, fragmentation, 100, &ConvoyLimits::default());
        // The golden vector has fewer blocking times than requests; here the arithmetic alone is looked at.
        figures.failure_reasons.retain(|reason| !(reason.starts_with("blocking") && blocking.len() == 5));
        figures
    }

    #[test]
    fn golden_vector() {
        let figures = judge(&line(60.0, 0.15), &[80.0, 120.0, 95.0, 110.0, 85.0], Some(8.5));
        let close = |value: Option<f64>, expected: f64| assert!((value.unwrap() - expected).abs() < 0.05, "{value:?} for {expected}");
        close(figures.baseline_short_p99_ms, 54.8);
        close(figures.convoy_short_p99_ms, 74.7);
        close(figures.p99_increase_pct, 36.3);
        close(figures.max_hol_blocking_ms, 120.0);
        close(figures.avg_hol_blocking_ms, 98.0);
        assert!(figures.failure_reasons.is_empty(), "{:?}", figures.failure_reasons);
    }

    #[test]
    fn limits_fail_only_beyond_them() {
        let at = ConvoyLimits { p99_increase_pct: 100.0, head_of_line_blocking_ms: 90.0, kv_fragmentation_pct: 15.0 };
        let (baseline, blocking) = (vec![10.0; 100], vec![90.0; 100]);
        let judge =
            |convoy: f64, limits: &ConvoyLimits| ConvoyFigures::judge(&baseline, &[convoy; 100], &blocking, Some(15.0), 100, limits);
        assert!(judge(20.0, &at).passed);
        let beyond = [
            ConvoyLimits { p99_increase_pct: 99.9, ..at },
            ConvoyLimits { head_of_line_blocking_ms: 89.9, ..at },
            ConvoyLimits { kv_fragmentation_pct: 14.9, ..at },
        ];
        for limits in beyond {
            let figures = judge(20.0, &limits);
            assert!(!figures.passed && figures.failure_reasons.len() == 1, "{figures:?}");
        }
    }

    #[test]
    fn missing_data_fails() {
        let full = vec![10.0; 100];
        let judge = |baseline: &[f64], convoy: &[f64], blocking: &[f64], fragmentation| {
            ConvoyFigures::judge(baseline, convoy, blocking, fragmentation, 100, &ConvoyLimits::default())
        };
        assert!(judge(&full, &full, &full, Some(0.0)).passed);
        for figures in [
            judge(&[], &[], &[], None),
            judge(&full, &full[1..], &full, Some(0.0)),
            judge(&full[1..], &full, &full, Some(0.0)),
            judge(&full, &full, &full[1..], Some(0.0)),
            judge(&full, &full, &full, None),
            judge(&full, &full, &full, Some(f64::NAN)),
        ] {
            assert!(!figures.passed, "{figures:?}");
        }
        let nothing = ConvoyFigures::judge(&[], &[], &[], Some(0.0), 0, &ConvoyLimits::default());
        assert!(!nothing.passed && nothing.p99_increase_pct.is_none());
    }
}
