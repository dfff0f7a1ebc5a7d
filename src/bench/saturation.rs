//! The saturation test: the same requests while other threads of the process use up a share of the processors.
//!
//! Undisturbed and saturated runs take turns. Throughput may fall and the latency's p99 may rise by so much; and no session may starve, that
//! is, wait for a token many times longer than the sessions beside it do.

use serde_json::{Value, json};

use crate::base::{Error, Job, Pace, Result, Stage};
use crate::model::Model;
use crate::session::BatchOptions;

use super::burners::Burners;
use super::clock::Clock;
use super::finding::{Finding, Kind, Verdict, beyond, check_limits};
use super::host::Context;
use super::settings::Settings;
use super::statistics::{Bootstrap, Interval, P99, Statistic, increase_pct, median, percentile};
use super::summary::{interval_value, range};
use super::table::{Table, figure};
use super::traffic::{Request, RequestResult, Served, Server, batch_options};
use super::workload::Workload;

const STAGES: &[Stage] =
    &[Stage { name: c"warm-up", share: 0.1 }, Stage { name: c"saturation", share: 0.85 }, Stage { name: c"statistics", share: 0.05 }];

/// Beyond which the test fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SaturationLimits {
    /// How much of the throughput may be lost, percent.
    pub throughput_loss_pct: f64,
    /// How much the p99 of the latency may grow, percent.
    pub p99_increase_pct: f64,
    /// A session starves that waited for a token more than so many times as long as the median session of its run.
    pub starvation_factor: f64,
}

impl SaturationLimits {
    /// Whether they can be held.
    ///
    /// # Errors
    /// `InvalidArgument` where one is no number: nothing would be beyond it.
    pub fn validate(&self) -> Result<()> {
        let Self { throughput_loss_pct, p99_increase_pct, starvation_factor } = *self;
        check_limits(&[throughput_loss_pct, p99_increase_pct, starvation_factor])
    }
}

impl Default for SaturationLimits {
    fn default() -> Self {
        Self { throughput_loss_pct: 30.0, p99_increase_pct: 100.0, starvation_factor: 10.0 }
    }
}

/// How the test is run.
#[derive(Debug, Clone)]
pub struct SaturationOptions {
    /// The requests.
    pub workload: Workload,
    /// How many.
    pub requests: u32,
    /// Requests that are computed at once; 0 for all of them.
    pub slots: u32,
    /// Share of the processors that is used up, percent; at least one processor is.
    pub load_pct: f64,
    /// Pairs of an undisturbed and a saturated run, at least 3.
    pub repeats: u32,
    /// The limits.
    pub limits: SaturationLimits,
    /// How sessions are made.
    pub settings: Settings,
}

impl Default for SaturationOptions {
    fn default() -> Self {
        Self {
            workload: Workload::SHORT_QA,
            requests: 100,
            slots: 16,
            load_pct: 50.0,
            repeats: 3,
            limits: SaturationLimits::default(),
            settings: Settings::default(),
        }
    }
}

/// The arithmetic of the test on given samples.
#[derive(Debug, Clone, PartialEq)]
pub struct SaturationFigures {
    /// Median throughput of the undisturbed runs; absent without data, as all below.
    pub alone_tok_s: Option<f64>,
    /// Of the saturated ones.
    pub saturated_tok_s: Option<f64>,
    /// How much was lost.
    pub throughput_loss_pct: Option<f64>,
    /// p99 of the requests' latency, undisturbed.
    pub alone_p99_ms: Option<f64>,
    /// The same, saturated.
    pub saturated_p99_ms: Option<f64>,
    /// By how much it grew.
    pub p99_increase_pct: Option<f64>,
    /// Requests of saturated runs that starved.
    pub starved: usize,
    /// Whether all limits were kept, by complete data.
    pub passed: bool,
    /// Why not.
    pub failure_reasons: Vec<String>,
}

impl SaturationFigures {
    /// Judges throughputs, one for each run, and latencies, one for each of `expected` requests.
    pub fn judge(
        tok_s: (&[f64], &[f64]),
        latency_ms: (&[f64], &[f64]),
        starved: usize,
        expected: usize,
        limits: &SaturationLimits,
    ) -> Self {
        let p99 = |values: &[f64]| percentile(values, P99).map(|p99| p99.value);
        let (alone_tok_s, saturated_tok_s) = (median(tok_s.0), median(tok_s.1));
        let (alone_p99_ms, saturated_p99_ms) = (p99(latency_ms.0), p99(latency_ms.1));
        let loss = increase_pct(alone_tok_s, saturated_tok_s).map(|increase| -increase);
        let increase = increase_pct(alone_p99_ms, saturated_p99_ms);
        let mut reasons = vec![];
        for (what, values) in [("undisturbed", latency_ms.0), ("saturated", latency_ms.1)] {
            if values.len() != expected || values.is_empty() {
                reasons.push(format!("{what}: {} of {expected} requests came to their end", values.len()));
            }
        }
        reasons.extend(beyond("throughput loss", loss, limits.throughput_loss_pct, " %"));
        reasons.extend(beyond("p99 increase", increase, limits.p99_increase_pct, " %"));
        if starved > 0 {
            reasons.push(format!("{starved} requests starved"));
        }
        Self {
            alone_tok_s,
            saturated_tok_s,
            throughput_loss_pct: loss,
            alone_p99_ms,
            saturated_p99_ms,
            p99_increase_pct: increase,
            starved,
            passed: reasons.is_empty(),
            failure_reasons: reasons,
        }
    }
}

/// Requests that waited for a token more than `factor` times as long as the median request, or got none at all.
pub fn starved(longest_waits_ms: &[Option<f64>], factor: f64) -> usize {
    let known: Vec<f64> = longest_waits_ms.iter().copied().flatten().collect();
    let usual = median(&known);
    longest_waits_ms.iter().filter(|wait| wait.zip(usual).is_none_or(|(wait, usual)| wait > factor * usual)).count()
}

/// An undisturbed run and the saturated one after it.
#[derive(Debug, Clone, PartialEq)]
pub struct SaturationRepeat {
    /// Nobody else uses the processors, as far as this process knows.
    pub alone: Served,
    /// Other threads do.
    pub saturated: Served,
}

/// What the test found.
#[derive(Debug, Clone, PartialEq)]
pub struct SaturationResult {
    context: Context,
    workload: Workload,
    limits: SaturationLimits,
    settings: Settings,
    batch: BatchOptions,
    /// Requests of each run.
    pub requests: u32,
    /// Threads that burned.
    pub burning_threads: usize,
    /// Their share of the processors, percent; absent where the number of processors is not known.
    pub load_pct: Option<f64>,
    /// Every request of every run.
    pub repeats: Vec<SaturationRepeat>,
    /// The figures over all repeats.
    pub figures: SaturationFigures,
    /// 95 % interval of the ratio of the two p99; absent where too few requests were served.
    pub p99_ratio_ci: Option<Interval>,
}

/// Runs the test on `model` as a job. Its threads are started here.
///
/// # Errors
/// `InvalidArgument` for options out of range, `Io` where the system refuses a thread. The job itself fails as batches do.
pub fn measure(model: &Model, options: SaturationOptions) -> Result<Job<SaturationResult>> {
    options.workload.validate()?;
    options.settings.validate()?;
    options.limits.validate()?;
    if options.repeats < 3 || options.requests == 0 {
        return Err(Error::invalid_argument("a saturation test takes at least 3 repeats and a request"));
    }
    if !(options.load_pct > 0.0 && options.load_pct <= 100.0) {
        return Err(Error::invalid_argument(format!("a load of {} % of the processors: above 0, at most 100", options.load_pct)));
    }
    let batch = batch_options(options.slots, options.requests)?;
    model.config()?;
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    let threads = (processors as f64 * options.load_pct / 100.0).round().max(1.0) as usize;
    let burners = Burners::start(threads)?;
    let model = model.clone();
    Ok(Job::new(STAGES, move |pace| run(model, options, batch, burners, pace)))
}

async fn run(model: Model, options: SaturationOptions, batch: BatchOptions, burners: Burners, pace: Pace) -> Result<SaturationResult> {
    let mut clock = Clock::new(pace.clone());
    let context = Context::of(&model);
    let SaturationOptions { workload, repeats, limits, settings, .. } = options;
    let requests: Vec<Request> = (0..u64::from(options.requests)).map(|number| Request { workload, number }).collect();
    let mut server = Server::new(&model, &settings, batch, &[workload])?;
    pace.stage(0);
    pace.expect(requests.len() as u64);
    server.serve(&requests, &mut clock).await?;
    pace.stage(1);
    pace.expect(2 * u64::from(repeats) * requests.len() as u64);
    let mut runs = vec![];
    for _ in 0..repeats {
        let alone = server.serve(&requests, &mut clock).await?;
        let lit = burners.lit();
        let saturated = server.serve(&requests, &mut clock).await?;
        drop(lit);
        runs.push(SaturationRepeat { alone, saturated });
    }
    pace.stage(2);
    let of = |which: fn(&SaturationRepeat) -> &Served| -> (Vec<f64>, Vec<f64>) {
        let served = || runs.iter().map(which);
        let latencies = served().flat_map(|served| &served.requests).filter_map(|request| request.total_latency_ms);
        (served().filter_map(Served::tok_s).collect(), latencies.collect())
    };
    let (alone, saturated) = (of(|run| &run.alone), of(|run| &run.saturated));
    let starving = runs.iter().map(|run| {
        let waits: Vec<Option<f64>> = run.saturated.requests.iter().map(RequestResult::longest_wait_ms).collect();
        starved(&waits, limits.starvation_factor)
    });
    let expected = requests.len() * repeats as usize;
    let figures = SaturationFigures::judge((&alone.0, &saturated.0), (&alone.1, &saturated.1), starving.sum(), expected, &limits);
    let (with, without) = (saturated.1.as_chunks::<1>().0, alone.1.as_chunks::<1>().0);
    let ratio = Bootstrap::of_ratio(with, without, Statistic::Percentile(P99), settings.seed());
    let p99_ratio_ci = clock.interval(ratio).await;
    let processors = context.host.processors;
    Ok(SaturationResult {
        load_pct: processors.map(|processors| 100.0 * burners.count() as f64 / processors as f64),
        burning_threads: burners.count(),
        context,
        workload,
        limits,
        settings,
        batch,
        requests: options.requests,
        repeats: runs,
        figures,
        p99_ratio_ci,
    })
}

impl Finding for SaturationResult {
    fn kind(&self) -> Kind {
        Kind::Saturation
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn verdict(&self) -> Option<Verdict> {
        Some(if self.figures.passed { Verdict::Passed } else { Verdict::Failed })
    }

    fn members(&self) -> Value {
        let (figures, limits) = (&self.figures, &self.limits);
        let repeats: Vec<Value> =
            self.repeats.iter().map(|run| json!({ "alone": run.alone.value(), "saturated": run.saturated.value() })).collect();
        json!({
            "config": {
                "workload": self.workload.name,
                "requests": self.requests,
                "slots": self.batch.sessions,
                "repeats": self.repeats.len(),
                "burning_threads": self.burning_threads,
                "load_pct": self.load_pct,
                "limits": {
                    "throughput_loss_pct": limits.throughput_loss_pct,
                    "p99_increase_pct": limits.p99_increase_pct,
                    "starvation_factor": limits.starvation_factor,
                },
                "settings": self.settings.value(),
            },
            "alone_tok_s": figures.alone_tok_s,
            "saturated_tok_s": figures.saturated_tok_s,
            "throughput_loss_pct": figures.throughput_loss_pct,
            "alone_p99_ms": figures.alone_p99_ms,
            "saturated_p99_ms": figures.saturated_p99_ms,
            "p99_increase_pct": figures.p99_increase_pct,
            "p99_ratio_ci_95": self.p99_ratio_ci.as_ref().map(interval_value),
            "starved": figures.starved,
            "passed": figures.passed,
            "failure_reasons": figures.failure_reasons,
            "repeats": repeats,
        })
    }

    fn table(&self) -> String {
        let (figures, limits) = (&self.figures, &self.limits);
        let mut table = Table::new(["", "alone", "saturated", "change, %", "limit, %"]);
        table.row([
            "tokens per second".to_owned(),
            figure(figures.alone_tok_s),
            figure(figures.saturated_tok_s),
            figure(figures.throughput_loss_pct.map(|loss| -loss)),
            figure(-limits.throughput_loss_pct),
        ]);
        table.row([
            "p99 of a request, ms".to_owned(),
            figure(figures.alone_p99_ms),
            figure(figures.saturated_p99_ms),
            figure(figures.p99_increase_pct),
            figure(limits.p99_increase_pct),
        ]);
        let mut text = format!(
            "saturation: {} {} requests, {} at once; {} threads burn; {} repeats\n\n{}p99 ratio, 95 %: {}; requests that starved: {}\n",
            self.requests,
            self.workload.name,
            self.batch.sessions,
            self.burning_threads,
            self.repeats.len(),
            table.text(),
            range(self.p99_ratio_ci.as_ref()),
            figures.starved,
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

    fn judge(saturated_tok_s: f64, saturated_ms: f64, starved: usize) -> SaturationFigures {
        let (slow, late) = ([saturated_tok_s; 3], vec![saturated_ms; 300]);
        SaturationFigures::judge((&[100.0; 3], &slow), (&vec![10.0; 300], &late), starved, 300, &SaturationLimits::default())
    }

    #[test]
    fn limits_fail_only_beyond_them() {
        let at = judge(70.0, 20.0, 0);
        assert!(at.passed, "{at:?}");
        assert!((at.throughput_loss_pct.unwrap() - 30.0).abs() < 1e-9 && (at.p99_increase_pct.unwrap() - 100.0).abs() < 1e-9);
        for beyond in [judge(69.9, 20.0, 0), judge(70.0, 20.1, 0), judge(70.0, 20.0, 1)] {
            assert!(!beyond.passed && beyond.failure_reasons.len() == 1, "{beyond:?}");
        }
    }

    #[test]
    fn missing_data_fails() {
        let limits = SaturationLimits::default();
        assert!(!SaturationFigures::judge((&[], &[]), (&[], &[]), 0, 0, &limits).passed);
        assert!(!SaturationFigures::judge((&[1.0], &[1.0]), (&[1.0; 9], &[1.0; 10]), 0, 10, &limits).passed);
        assert!(SaturationFigures::judge((&[1.0], &[1.0]), (&[1.0; 10], &[1.0; 10]), 0, 10, &limits).passed);
    }

    #[test]
    fn who_waits_many_times_longer_than_the_others_starves() {
        let mut waits = vec![Some(5.0); 20];
        assert_eq!(starved(&waits, 10.0), 0);
        waits[3] = Some(50.0);
        assert_eq!(starved(&waits, 10.0), 0, "ten times is not more than ten times");
        waits[3] = Some(50.1);
        waits[4] = None;
        assert_eq!((starved(&waits, 10.0), starved(&[None], 10.0)), (2, 1));
    }
}
