//! The roofline: what this machine allows a model at most, and how much of it the library reaches.
//!
//! A pass can't be faster than its bytes are read, nor than its operations are done (Williams, Waterman, Patterson 2009). Both rates are
//! measured on this machine ([`Roof`]); bytes and operations follow from the table of tensors ([`Demand`]). The points are passes of the
//! model itself: a token for each of several conversations, and prompts at once. Memory here means wherever weights of this size are read
//! from: a small model stays in the caches.

use serde_json::{Value, json};

use crate::base::{Error, Job, Pace, Result, Stage};
use crate::kernels::peak::Arithmetic;
use crate::model::Model;

use super::claim::{FEWEST_PAIRS, doubling};
use super::clock::Clock;
use super::demand::{Demand, Work};
use super::finding::{Finding, Kind};
use super::fusion::Fusion;
use super::host::Context;
use super::recompute::at_once;
use super::roof::Roof;
use super::settings::Settings;
use super::statistics::median;
use super::table::{Table, figure};
use super::traffic::{Request, Server, batch_options};
use super::workload::{Workload, prompt};

const STAGES: &[Stage] = &[
    Stage { name: c"roofs", share: 0.5 },
    Stage { name: c"decode", share: 0.25 },
    Stage { name: c"prefill", share: 0.15 },
    Stage { name: c"fusion", share: 0.1 },
];

/// Conversations of the curve: up to this many.
const MOST_SEQUENCES: u32 = 512;
/// Tokens that each conversation of a point generates.
const TOKENS: u32 = 16;
/// The longest prompt of a point.
const LONGEST_PROMPT: u32 = 512;
/// Where a point of one size took longer than this, larger ones are left out.
const PATIENCE_MS: f64 = 3_000.0;

/// How the roofline is measured.
#[derive(Debug, Clone)]
pub struct RooflineOptions {
    /// The most conversations at once of a point, up to 512.
    pub most_sequences: u32,
    /// Samples of each point.
    pub repeats: u32,
    /// How sessions are made.
    pub settings: Settings,
}

impl Default for RooflineOptions {
    fn default() -> Self {
        Self { most_sequences: 64, repeats: 5, settings: Settings::default() }
    }
}

/// What a point is a pass of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A token for each of several conversations.
    Decode,
    /// A prompt at once.
    Prefill,
}

impl Way {
    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        }
    }
}

/// Passes of the model under the roofs.
#[derive(Debug, Clone, PartialEq)]
pub struct RoofPoint {
    /// Of what.
    pub way: Way,
    /// Tokens of a pass: conversations, or those of the prompt.
    pub tokens: u32,
    /// Times of a pass.
    pub pass_ms: Vec<f64>,
    /// What a pass asks for.
    pub work: Work,
    /// The least times of a pass: by memory, and by arithmetic.
    pub roof_ms: (f64, f64),
}

impl RoofPoint {
    fn new(way: Way, tokens: u32, pass_ms: Vec<f64>, work: Work, roof: &Roof) -> Self {
        let (memory, compute) = roof.seconds(work.bytes, &work.operations);
        Self { way, tokens, pass_ms, work, roof_ms: (memory * 1e3, compute * 1e3) }
    }

    fn median_ms(&self) -> f64 {
        median(&self.pass_ms).unwrap_or(f64::NAN)
    }

    /// Tokens a second.
    pub fn tok_s(&self) -> f64 {
        f64::from(self.tokens) / self.median_ms() * 1e3
    }

    /// Tokens a second under the lower one of the roofs.
    pub fn ceiling_tok_s(&self) -> f64 {
        f64::from(self.tokens) / self.roof_ms.0.max(self.roof_ms.1) * 1e3
    }

    /// Tokens a second under the roof of memory.
    pub fn memory_ceiling_tok_s(&self) -> f64 {
        f64::from(self.tokens) / self.roof_ms.0 * 1e3
    }

    /// Bytes that were read, GB/s.
    pub fn gb_s(&self) -> f64 {
        self.work.bytes / self.median_ms() / 1e6
    }

    /// Operations that were done, 10⁹ a second.
    pub fn gop_s(&self) -> f64 {
        self.work.all_operations() / self.median_ms() / 1e6
    }

    /// What was reached of the lower one of the roofs.
    pub fn share(&self) -> f64 {
        self.tok_s() / self.ceiling_tok_s()
    }

    /// The lower roof.
    pub fn bound(&self) -> &'static str {
        if self.roof_ms.0 >= self.roof_ms.1 { "memory" } else { "arithmetic" }
    }

    fn value(&self) -> Value {
        json!({
            "way": self.way.name(),
            "tokens": self.tokens,
            "pass_ms": self.pass_ms,
            "bytes": self.work.bytes,
            "operations": self.work.all_operations(),
            "intensity": self.work.intensity(),
            "tok_s": self.tok_s(),
            "memory_ceiling_tok_s": self.memory_ceiling_tok_s(),
            "ceiling_tok_s": self.ceiling_tok_s(),
            "bound_by": self.bound(),
            "gb_s": self.gb_s(),
            "gop_s": self.gop_s(),
            "share_of_roof": self.share(),
        })
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct RooflineResult {
    context: Context,
    settings: Settings,
    /// The roofs of the machine.
    pub roof: Roof,
    /// What the model asks for.
    pub demand: Demand,
    /// Passes of the model: decode, then prefill, each ascending.
    pub points: Vec<RoofPoint>,
    /// What the fusion of gate and up is worth.
    pub fusion: Fusion,
}

/// Measures `model` as a job.
///
/// # Errors
/// `InvalidArgument` for options out of range. The job itself fails as sessions and batches do, and with `OutOfMemory` where there is no room
/// for a block that stands for main memory.
pub fn measure(model: &Model, options: RooflineOptions) -> Result<Job<RooflineResult>> {
    options.settings.validate()?;
    if !(1..=MOST_SEQUENCES).contains(&options.most_sequences) || !(1..=1_000).contains(&options.repeats) {
        return Err(Error::invalid_argument(format!(
            "{} conversations at once, {} repeats: from 1 to {MOST_SEQUENCES}, and from 1 to 1000",
            options.most_sequences, options.repeats
        )));
    }
    model.config()?;
    let model = model.clone();
    Ok(Job::new(STAGES, move |pace| run(model, options, pace)))
}

async fn run(model: Model, options: RooflineOptions, pace: Pace) -> Result<RooflineResult> {
    let mut clock = Clock::new(pace.clone());
    let context = Context::of(&model);
    let RooflineOptions { most_sequences, repeats, settings } = options;
    let demand = Demand::of(&model, settings.kv_type)?;
    pace.stage(0);
    let roof = Roof::measure(model.runtime(), demand.token_bytes() as u64, &mut clock).await?;
    let mut points = vec![];

    pace.stage(1);
    let sizes = doubling(1, most_sequences);
    pace.expect(sizes.iter().map(|&size| u64::from(size) * u64::from(repeats + 1)).sum());
    for sequences in sizes {
        let pass_ms = decode(&model, &settings, sequences, repeats, &mut clock).await?;
        let tokens_before = f64::from(TOKENS) / 2.0;
        points.push(RoofPoint::new(Way::Decode, sequences, pass_ms, demand.decode(sequences, tokens_before), &roof));
        if points.last().is_some_and(|point| point.median_ms() * f64::from(TOKENS) > PATIENCE_MS) {
            break;
        }
    }

    pace.stage(2);
    let context_length = u32::try_from(model.config()?.context_length).unwrap_or(u32::MAX);
    for length in doubling(16, LONGEST_PROMPT.min(context_length)).into_iter().step_by(2) {
        let tokens = prompt(length as usize, model.vocab_size()?, settings.seed(), u64::from(length));
        let mut session = settings.session(&model, length + 1, length, true)?;
        at_once(&mut session, &tokens, 0, &mut clock).await?;
        let mut pass_ms = vec![];
        for _ in 0..repeats {
            pass_ms.push(at_once(&mut session, &tokens, 0, &mut clock).await?);
        }
        points.push(RoofPoint::new(Way::Prefill, length, pass_ms, demand.prefill(length), &roof));
        if points.last().is_some_and(|point| point.median_ms() > PATIENCE_MS) {
            break;
        }
    }

    pace.stage(3);
    let fusion = Fusion::measure(&model, FEWEST_PAIRS.max(repeats), settings.seed(), &mut clock).await?;
    Ok(RooflineResult { context, settings, roof, demand, points, fusion })
}

/// Times of a pass that brings a token to each of `sequences` conversations.
async fn decode(model: &Model, settings: &Settings, sequences: u32, repeats: u32, clock: &mut Clock) -> Result<Vec<f64>> {
    let workload = Workload { name: "decode", prompt_tokens: 1, output_tokens: TOKENS };
    let requests: Vec<Request> = (0..u64::from(sequences)).map(|number| Request { workload, number }).collect();
    let mut server = Server::new(model, settings, batch_options(sequences, sequences)?, &[workload])?;
    server.serve(&requests, clock).await?;
    let mut pass_ms = vec![];
    for _ in 0..repeats {
        let served = server.serve(&requests, clock).await?;
        if let Some(error) = served.requests.iter().find_map(|request| request.error.as_ref()) {
            return Err(Error::internal(format!("a conversation of the roofline ended: {error}")));
        }
        pass_ms.push(served.elapsed_ms / f64::from(TOKENS));
    }
    Ok(pass_ms)
}

impl RooflineResult {
    /// Operations for each byte from which on arithmetic is the lower roof, in the mixture of a token of this model.
    pub fn ridge(&self) -> f64 {
        let one = self.demand.decode(1, 0.0);
        let per_operation = self.roof.all().compute_s(&one.operations) / one.all_operations();
        1.0 / per_operation / (self.roof.all().weights_gb_s.best() * 1e9)
    }

    /// Intensity and ceiling (tokens a second) of decoding, for 1 to 512 conversations.
    pub fn curve(&self) -> Vec<(u32, f64, f64)> {
        let point = |sequences: u32| {
            let work = self.demand.decode(sequences, 0.0);
            let (memory, compute) = self.roof.seconds(work.bytes, &work.operations);
            (sequences, work.intensity(), f64::from(sequences) / memory.max(compute))
        };
        doubling(1, MOST_SEQUENCES).into_iter().map(point).collect()
    }

    /// The point of decoding one conversation.
    pub fn decode_point(&self) -> Option<&RoofPoint> {
        self.points.iter().find(|point| point.way == Way::Decode && point.tokens == 1)
    }
}

impl Finding for RooflineResult {
    fn kind(&self) -> Kind {
        Kind::Roofline
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn members(&self) -> Value {
        let curve = self.curve().into_iter().map(|(sequences, intensity, ceiling)| json!([sequences, intensity, ceiling]));
        json!({
            "config": { "settings": self.settings.value() },
            "roof": self.roof.value(),
            "token": self.demand.value(),
            "ridge_operations_per_byte": self.ridge(),
            "points": self.points.iter().map(RoofPoint::value).collect::<Vec<_>>(),
            "curve_columns": ["sequences", "operations_per_byte", "ceiling_tok_s"],
            "curve": curve.collect::<Vec<_>>(),
            "fusion": self.fusion.value(),
        })
    }

    fn table(&self) -> String {
        let mut roofs = Table::new(["threads", "memory GB/s", "weights GB/s", "int8 Gop/s", "f32 Gop/s", "bf16 Gop/s"]);
        for roof in &self.roof.threads {
            let rates = [&roof.memory_gb_s, &roof.weights_gb_s].into_iter().chain(&roof.gop_s).map(|rate| figure(rate.best()));
            roofs.row([roof.threads.to_string()].into_iter().chain(rates));
        }
        let mib = |bytes: u64| figure(bytes as f64 / f64::from(1 << 20));
        let mut blocks = Table::new(["block MiB", "GB/s"]);
        self.roof.blocks.iter().for_each(|block| blocks.row([mib(block.bytes), figure(block.gb_s.best())]));
        let head = ["pass", "tokens", "tok/s", "ceiling tok/s", "% of it", "bound by", "op/byte", "GB/s", "Gop/s"];
        let mut points = Table::new(head);
        for point in &self.points {
            points.row([
                point.way.name().to_owned(),
                point.tokens.to_string(),
                figure(point.tok_s()),
                figure(point.ceiling_tok_s()),
                figure(100.0 * point.share()),
                point.bound().to_owned(),
                figure(point.work.intensity()),
                figure(point.gb_s()),
                figure(point.gop_s()),
            ]);
        }
        let one = self.demand.decode(1, 0.0);
        let operations: Vec<String> = Arithmetic::ALL
            .iter()
            .zip(one.operations)
            .filter(|(_, count)| *count > 0.0)
            .map(|(kind, count)| format!("{} {}", figure(count / 1e6), kind.name()))
            .collect();
        format!(
            "reads, best of samples (memory: a block of {} MiB; weights: one of {} MiB, as a token reads; large pages: {}; last cache: {} MiB)\n{}\
             \nreading a block again and again, all threads:\n{}\na token: {} MB, {} million operations; ridge at {} operations for each byte\n{}\n{}",
            mib(self.roof.memory_block_bytes),
            mib(self.demand.token_bytes() as u64),
            self.roof.large_pages.as_deref().unwrap_or("not known"),
            self.roof.last_cache_bytes.map_or_else(|| "–".to_owned(), mib),
            roofs.text(),
            blocks.text(),
            figure(self.demand.token_bytes() / 1e6),
            operations.join(" + "),
            figure(self.ridge()),
            points.text(),
            self.fusion.table(),
        )
    }
}
