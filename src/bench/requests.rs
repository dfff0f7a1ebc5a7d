//! The benchmark proper: one request after the other on one session, until the stop rule has samples enough.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::{Job, Pace, Result, Stage};
use crate::model::Model;

use super::clock::Clock;
use super::cold_start::ColdStartOptions;
use super::host::Context;
use super::kv_use::{External, KvTimeline, KvUse};
use super::load::LoadTimes;
use super::request::answer;
use super::result::{BenchmarkConfig, BenchmarkResult};
use super::sensors::Sensors;
use super::settings::Settings;
use super::statistics::median;
use super::stop::{Sampling, StopRule};
use super::summary::BenchmarkSummary;
use super::workload::Workload;

const STAGES: &[Stage] = &[
    Stage { name: c"load", share: 0.05 },
    Stage { name: c"warm-up", share: 0.2 },
    Stage { name: c"requests", share: 0.65 },
    Stage { name: c"starting", share: 0.05 },
    Stage { name: c"statistics", share: 0.05 },
];

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct RequestsOptions {
    /// The requests.
    pub workload: Workload,
    /// When there are enough of them.
    pub stop: StopRule,
    /// How the session is made.
    pub settings: Settings,
    /// The model's file, to be loaded again and timed; none where that is not wanted.
    pub model_path: Option<PathBuf>,
    /// Fresh processes to be started and timed after the requests; none where that is not wanted.
    pub cold_start: Option<ColdStartOptions>,
}

impl Default for RequestsOptions {
    fn default() -> Self {
        Self { workload: Workload::SHORT_QA, stop: StopRule::default(), settings: Settings::default(), model_path: None, cold_start: None }
    }
}

/// Measures `model` as a job.
///
/// # Errors
/// `InvalidArgument` for options out of range or a model without weights. The job itself fails as sessions do.
pub fn measure(model: &Model, options: RequestsOptions) -> Result<Job<BenchmarkResult>> {
    options.workload.validate()?;
    options.stop.validate()?;
    options.settings.validate()?;
    options.cold_start.iter().try_for_each(ColdStartOptions::validate)?;
    model.config()?;
    let model = model.clone();
    Ok(Job::new(STAGES, |pace| run(model, options, pace)))
}

async fn run(model: Model, options: RequestsOptions, pace: Pace) -> Result<BenchmarkResult> {
    let RequestsOptions { workload, stop: rule, settings, model_path, cold_start } = options;
    let mut clock = Clock::new(pace.clone());
    let context = Context::of(&model);
    pace.stage(0);
    let load = match &model_path {
        Some(path) => Some(LoadTimes::measure(model.runtime(), path, &settings, &mut clock).await?),
        None => None,
    };
    let (vocab_size, seed) = (model.vocab_size()?, settings.seed());
    let mut session = settings.session(&model, workload.positions(), settings.batch, true)?;

    pace.stage(1);
    pace.expect(Duration::from_secs_f64(rule.warmup_ms / 1e3).as_nanos() as u64);
    let (begin, mut warmups) = (clock.now_ms(), 0);
    while warmups < rule.warmup_samples || clock.now_ms() - begin < rule.warmup_ms {
        let prompt = workload.prompt(vocab_size, seed, warmups as u64);
        answer(&mut session, &prompt, workload.output_tokens, &mut clock, |_, _| ()).await?;
        warmups += 1;
        pace.reach(((clock.now_ms() - begin) * 1e6) as u64);
    }

    let mut sensors = Sensors::begin(model_path.as_deref(), &mut clock).await;
    pace.stage(2);
    pace.expect(rule.min_samples as u64);
    let begin = clock.now_ms();
    let (mut sampling, mut kv) = (Sampling::new(rule, seed), KvTimeline::default());
    let external = External::of(&model, settings.kv_type)?;
    let mut requests = vec![];
    let stop = loop {
        let number = requests.len() as u64;
        let prompt = workload.prompt(vocab_size, seed, number);
        sensors.before_request(&mut clock).await;
        let note = |point: KvUse, first: bool| {
            if first {
                sensors.first_token();
            }
            kv.note(external.add_to(point));
        };
        let times = answer(&mut session, &prompt, workload.output_tokens, &mut clock, note).await?;
        sensors.after_request();
        // What is judged is the speed of generation, or of the prompt where one token is generated alone.
        let sample = times.generation_tok_s().unwrap_or(times.prefill_tok_s());
        requests.push(times);
        pace.advance(1);
        if let Some(stop) = sampling.add(sample, clock.now_ms() - begin, &mut clock).await {
            break stop;
        }
    };

    let sensors = sensors.end(&model, clock.now_ms());
    pace.stage(3);
    let cold_start_ms = match &cold_start {
        Some(cold_start) => {
            let starts = cold_start.start_all(&mut clock).await?;
            median(&starts.iter().map(|begun| begun.first_token_ms).collect::<Vec<_>>())
        }
        None => None,
    };
    pace.stage(4);
    let config = BenchmarkConfig { workload, rule, settings, warmup_samples: warmups };
    let mut result = BenchmarkResult::new(context, config, requests, kv, sensors, stop);
    result.cold_start_ms = cold_start_ms;
    result.load = load;
    result.summary = BenchmarkSummary::of(&result, &mut clock).await;
    Ok(result)
}
