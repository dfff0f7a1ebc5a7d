//! A prompt computed at once against the same prompt token by token.
//!
//! Both must leave the same logits, keys and values, to the bit, before their times mean anything. The claim that is judged is the one of
//! the systems that this suite answers to: 8.2 times faster, for a prompt of 91 tokens.

use serde_json::{Value, json};

use crate::base::{Error, Job, Pace, Result, Stage};
use crate::model::Model;

use super::claim::{self, Claim, FEWEST_PAIRS, PairRatio, doubling};
use super::clock::Clock;
use super::finding::{Finding, Kind, Verdict};
use super::host::Context;
use super::recompute::{at_once, one_by_one};
use super::settings::Settings;
use super::statistics::median;
use super::summary::range;
use super::table::{Table, figure};
use super::workload::prompt;

const STAGES: &[Stage] = &[Stage { name: c"prefill", share: 1.0 }];

/// The shortest prompt.
const SHORTEST: u32 = 16;
/// The longest, unless the model's context is shorter or another one is asked for.
const LONGEST: u32 = 2_048;
/// The prompt of the claim.
const CLAIMED_LENGTH: u32 = 91;

/// How the test is run.
#[derive(Debug, Clone)]
pub struct PrefillOptions {
    /// The longest prompt; 0 for 2,048 tokens, or as many as the model's context has room for.
    pub max_length: u32,
    /// Pairs at each length, at least 10.
    pub repeats: u32,
    /// How many times faster a prompt of 91 tokens (or the longest one, where that is shorter) has to be for the claim to hold.
    pub threshold: f64,
    /// How sessions are made.
    pub settings: Settings,
}

impl Default for PrefillOptions {
    fn default() -> Self {
        Self { max_length: 0, repeats: FEWEST_PAIRS, threshold: 8.2, settings: Settings::default() }
    }
}

/// The times at one length.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PrefillRow {
    /// Tokens of the prompt.
    pub length: u32,
    /// Whether both ways left the same logits, keys and values, to the bit. Nothing was timed where not.
    pub equal: bool,
    /// Times token by token.
    pub serial_ms: Vec<f64>,
    /// Times at once.
    pub batched_ms: Vec<f64>,
    /// Token by token over at once.
    pub ratio: PairRatio,
}

/// What the test found.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefillResult {
    context: Context,
    threshold: f64,
    repeats: u32,
    settings: Settings,
    /// The length at which the claim was judged.
    pub judged_length: u32,
    /// One for each length, ascending.
    pub rows: Vec<PrefillRow>,
    /// What becomes of the claim.
    pub claim: Claim,
}

/// Runs the test on `model` as a job.
///
/// # Errors
/// `InvalidArgument` for options out of range. The job itself fails as sessions do.
pub fn measure(model: &Model, options: PrefillOptions) -> Result<Job<PrefillResult>> {
    options.settings.validate()?;
    claim::check(options.repeats, options.threshold)?;
    let context = u32::try_from(model.config()?.context_length).unwrap_or(u32::MAX);
    let most = if options.max_length == 0 { LONGEST.min(context) } else { options.max_length };
    if !(SHORTEST..=1 << 20).contains(&most) {
        return Err(Error::invalid_argument(format!("a longest prompt of {most} tokens: from {SHORTEST} to 1048576")));
    }
    let model = model.clone();
    Ok(Job::new(STAGES, move |pace| run(model, options, most, pace)))
}

/// The lengths up to `most`, that of the claim among them where there is room for it.
fn lengths(most: u32) -> Vec<u32> {
    let mut lengths = doubling(SHORTEST, most);
    if most >= CLAIMED_LENGTH {
        lengths.push(CLAIMED_LENGTH);
    }
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

async fn run(model: Model, options: PrefillOptions, most: u32, pace: Pace) -> Result<PrefillResult> {
    let mut clock = Clock::new(pace.clone());
    let context = Context::of(&model);
    let PrefillOptions { repeats, threshold, settings, .. } = options;
    let lengths = lengths(most);
    pace.stage(0);
    pace.expect(lengths.iter().map(|&length| u64::from(length) * u64::from(repeats + 1)).sum());
    let mut rows = vec![];
    for length in lengths {
        rows.push(row(&model, &settings, length, repeats, &mut clock).await?);
    }
    let judged_length = most.min(CLAIMED_LENGTH);
    let judged = rows.iter().find(|row| row.length == judged_length).and_then(|row| row.ratio.ci.as_ref());
    let claim = Claim::judge(judged.filter(|_| rows.iter().all(|row| row.equal)), threshold);
    Ok(PrefillResult { context, threshold, repeats, settings, judged_length, rows, claim })
}

async fn row(model: &Model, settings: &Settings, length: u32, repeats: u32, clock: &mut Clock) -> Result<PrefillRow> {
    let tokens = prompt(length as usize, model.vocab_size()?, settings.seed(), u64::from(length));
    let mut serial = settings.session(model, length + 1, 1, true)?;
    let mut batched = settings.session(model, length + 1, settings.batch, true)?;
    let mut row = PrefillRow { length, ..PrefillRow::default() };
    for round in 0..=repeats {
        let serial_ms = one_by_one(&mut serial, &tokens, 0, clock).await?;
        let batched_ms = at_once(&mut batched, &tokens, 0, clock).await?;
        clock.pace().advance(u64::from(length));
        if round > 0 {
            row.serial_ms.push(serial_ms);
            row.batched_ms.push(batched_ms);
            continue;
        }
        // The first round warms up and is compared: a saved session holds the logits, keys and values.
        let mut states = [vec![], vec![]];
        serial.save(&mut states[0])?;
        batched.save(&mut states[1])?;
        row.equal = states[0] == states[1];
        if !row.equal {
            break;
        }
    }
    row.ratio = PairRatio::of(&row.serial_ms, &row.batched_ms, settings.seed(), clock).await;
    Ok(row)
}

impl Finding for PrefillResult {
    fn kind(&self) -> Kind {
        Kind::Prefill
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn verdict(&self) -> Option<Verdict> {
        Some(self.claim.verdict())
    }

    fn members(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "length": row.length,
                "logits_and_kv_equal": row.equal,
                "serial_ms": row.serial_ms,
                "batched_ms": row.batched_ms,
                "serial_over_batched": row.ratio.value(),
            })
        });
        json!({
            "config": {
                "threshold": self.threshold,
                "judged_length": self.judged_length,
                "repeats": self.repeats,
                "settings": self.settings.value(),
            },
            "claim": self.claim.name(),
            "lengths": rows.collect::<Vec<_>>(),
        })
    }

    fn table(&self) -> String {
        let mut table =
            Table::new(["prompt", "one by one ms", "at once ms", "one by one tok/s", "at once tok/s", "ratio", "95 %", "logits and KV"]);
        for row in &self.rows {
            let (serial, batched) = (median(&row.serial_ms), median(&row.batched_ms));
            let speed = |ms: Option<f64>| figure(ms.map(|ms| f64::from(row.length) / ms * 1e3));
            table.row([
                row.length.to_string(),
                figure(serial),
                figure(batched),
                speed(serial),
                speed(batched),
                figure(row.ratio.median),
                range(row.ratio.ci.as_ref()),
                if row.equal { "equal" } else { "DIFFER" }.to_owned(),
            ]);
        }
        format!(
            "a prompt at once, against token by token; {} pairs in turns\nclaim: {} times faster at {} tokens\n\n{}\n{}\n",
            self.repeats,
            self.threshold,
            self.judged_length,
            table.text(),
            self.claim.name(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claimed_length_is_among_the_lengths() {
        assert_eq!(lengths(128), [16, 32, 64, 91, 128]);
        assert_eq!(lengths(91), [16, 32, 64, 91]);
        assert_eq!(lengths(40), [16, 32, 40]);
    }
}
