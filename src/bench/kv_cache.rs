//! Is the key/value cache worth what is claimed of it? The claim is that it makes a decode step 10 to 100 times faster.
//!
//! For growing lengths, one decode step (a) with the cache is timed against computing everything before it again, (b) as one prompt and
//! (c) token by token. The three take turns. They must give the same logits, to the bit, before their times mean anything. The claim is
//! judged by (b) against (a) at the greatest length: nobody without a cache would compute token by token.
//!
//! The attention's part of a decode step is what grows with the length: its share is the slope of the step time over the lengths (the
//! median of the slopes between all pairs of them, after Theil and Sen), times the length. The rate at which it reads the cache follows.

use serde_json::{Value, json};

use crate::base::{Error, Job, Pace, Result, Stage};
use crate::model::Model;

use super::claim::{self, Claim, FEWEST_PAIRS, PairRatio, doubling};
use super::clock::Clock;
use super::finding::{Finding, Kind, Verdict};
use super::host::Context;
use super::recompute::{at_once, logit_bits, one_by_one, with_cache};
use super::settings::Settings;
use super::statistics::median;
use super::string_map::{MapOptions, MapRow};
use super::summary::range;
use super::table::{Table, figure};
use super::workload::prompt;

const STAGES: &[Stage] = &[Stage { name: c"decoding", share: 0.9 }, Stage { name: c"map", share: 0.1 }];

/// The shortest length.
const SHORTEST: u32 = 8;

/// How the test is run.
#[derive(Debug, Clone)]
pub struct KvCacheOptions {
    /// The greatest length, in tokens before the step; 0 for as many as the model's context has room for.
    pub max_length: u32,
    /// Rounds of the three ways at each length, at least 10.
    pub repeats: u32,
    /// How many times faster the cache has to be for the claim to hold.
    pub threshold: f64,
    /// Measured read bandwidth of this machine, to compare the attention's with; none where it is not known.
    pub read_bandwidth_gb_s: Option<f64>,
    /// How sessions are made.
    pub settings: Settings,
}

impl Default for KvCacheOptions {
    fn default() -> Self {
        Self { max_length: 0, repeats: FEWEST_PAIRS, threshold: 10.0, read_bandwidth_gb_s: None, settings: Settings::default() }
    }
}

/// The times at one length.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KvCacheRow {
    /// Tokens before the one that is computed.
    pub length: u32,
    /// Whether the three ways gave the same logits, to the bit. Nothing was timed where not.
    pub logits_equal: bool,
    /// Times of the step with the cache.
    pub cached_ms: Vec<f64>,
    /// Times of computing everything again as one prompt.
    pub batched_ms: Vec<f64>,
    /// Times of computing everything again token by token.
    pub serial_ms: Vec<f64>,
    /// One prompt over cache.
    pub batched_ratio: PairRatio,
    /// Token by token over cache.
    pub serial_ratio: PairRatio,
    /// Bytes of keys and values that the step reads.
    pub kv_bytes: u64,
    /// The attention's share of the step, 0 to 1; absent where the step time does not grow, or below three lengths.
    pub attention_share: Option<f64>,
    /// Rate at which the attention reads keys and values; absent likewise.
    pub kv_gb_s: Option<f64>,
}

/// What the test found.
#[derive(Debug, Clone, PartialEq)]
pub struct KvCacheResult {
    context: Context,
    threshold: f64,
    repeats: u32,
    read_bandwidth_gb_s: Option<f64>,
    settings: Settings,
    /// One for each length, ascending.
    pub rows: Vec<KvCacheRow>,
    /// The least length from which on the cache is faster than one prompt, by the whole interval; absent where it is at none.
    pub break_even: Option<u32>,
    /// What becomes of the claim.
    pub claim: Claim,
    /// A map of strings to vectors against one contiguous block of memory.
    pub map: Vec<MapRow>,
}

/// Runs the test on `model` as a job.
///
/// # Errors
/// `InvalidArgument` for options out of range. The job itself fails as sessions do.
pub fn measure(model: &Model, options: KvCacheOptions) -> Result<Job<KvCacheResult>> {
    options.settings.validate()?;
    claim::check(options.repeats, options.threshold)?;
    let most = longest(model, options.max_length)?;
    let model = model.clone();
    Ok(Job::new(STAGES, move |pace| run(model, options, most, pace)))
}

/// The greatest length: `asked`, or what leaves room in the model's context for one token more.
fn longest(model: &Model, asked: u32) -> Result<u32> {
    let context = u32::try_from(model.config()?.context_length).unwrap_or(u32::MAX);
    match asked {
        0 if context > SHORTEST => Ok(context - 1),
        0 => Err(Error::invalid_argument(format!("the model's context of {context} positions is too short to measure"))),
        1..SHORTEST => Err(Error::invalid_argument(format!("a greatest length of {asked}: at least {SHORTEST}"))),
        asked if asked > 1 << 20 => Err(Error::invalid_argument(format!("a greatest length of {asked}: at most 1048576"))),
        asked => Ok(asked),
    }
}

async fn run(model: Model, options: KvCacheOptions, most: u32, pace: Pace) -> Result<KvCacheResult> {
    let mut clock = Clock::new(pace.clone());
    let context = Context::of(&model);
    let KvCacheOptions { repeats, threshold, read_bandwidth_gb_s, settings, .. } = options;
    let lengths = doubling(SHORTEST, most);
    pace.stage(0);
    pace.expect(lengths.iter().map(|&length| u64::from(length) * u64::from(repeats + 1)).sum());
    let mut rows = vec![];
    for length in lengths {
        rows.push(row(&model, &settings, length, repeats, &mut clock).await?);
    }
    share_attention(&mut rows);
    let last = rows.last().and_then(|row| row.batched_ratio.ci.as_ref());
    let claim = Claim::judge(last.filter(|_| rows.iter().all(|row| row.logits_equal)), threshold);
    pace.stage(1);
    let map = MapRow::measure(&model, MapOptions { max_positions: most, repeats, seed: settings.seed() }, &mut clock).await?;
    let break_even = break_even(&rows);
    Ok(KvCacheResult { context, threshold, repeats, read_bandwidth_gb_s, settings, rows, break_even, claim, map })
}

async fn row(model: &Model, settings: &Settings, length: u32, repeats: u32, clock: &mut Clock) -> Result<KvCacheRow> {
    let tokens = prompt(length as usize + 1, model.vocab_size()?, settings.seed(), u64::from(length));
    let session = |columns| settings.session(model, length + 2, columns, true);
    let (mut cached, mut batched, mut serial) = (session(settings.batch)?, session(settings.batch)?, session(1)?);
    let mut row = KvCacheRow { length, ..KvCacheRow::default() };
    at_once(&mut cached, &tokens, 1, clock).await?;
    for round in 0..=repeats {
        let times = (
            with_cache(&mut cached, tokens.len(), clock).await?,
            at_once(&mut batched, &tokens, 1, clock).await?,
            one_by_one(&mut serial, &tokens, 1, clock).await?,
        );
        clock.pace().advance(u64::from(length));
        if round == 0 {
            // The first round warms up and is compared.
            let logits = logit_bits(&cached);
            row.logits_equal = logits.is_some() && logits == logit_bits(&batched) && logits == logit_bits(&serial);
            if !row.logits_equal {
                break;
            }
            row.kv_bytes = (model.config()?.kv_shape().position_bytes(settings.kv_type) * cached.position()) as u64;
            continue;
        }
        row.cached_ms.push(times.0);
        row.batched_ms.push(times.1);
        row.serial_ms.push(times.2);
    }
    row.batched_ratio = PairRatio::of(&row.batched_ms, &row.cached_ms, settings.seed(), clock).await;
    row.serial_ratio = PairRatio::of(&row.serial_ms, &row.cached_ms, settings.seed(), clock).await;
    Ok(row)
}

/// Fills in what the attention takes of each step: see the head of the file.
fn share_attention(rows: &mut [KvCacheRow]) {
    let points: Vec<(f64, f64)> = rows.iter().filter_map(|row| Some((f64::from(row.length), median(&row.cached_ms)?))).collect();
    let Some(slope) = theil_sen(&points).filter(|&slope| slope > 0.0) else { return };
    for row in rows {
        if let Some(step_ms) = median(&row.cached_ms) {
            let attention_ms = slope * f64::from(row.length);
            row.attention_share = Some((attention_ms / step_ms).min(1.0));
            row.kv_gb_s = Some(row.kv_bytes as f64 / attention_ms / 1e6);
        }
    }
}

/// The median slope between all pairs of points; `None` below three points.
fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = points.iter().enumerate().flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (b.1 - a.1) / (b.0 - a.0)));
    median(&pairs.collect::<Vec<_>>()).filter(|_| points.len() >= 3)
}

/// The least length from which on all intervals lie above 1.
fn break_even(rows: &[KvCacheRow]) -> Option<u32> {
    let faster = |row: &&KvCacheRow| row.batched_ratio.ci.is_some_and(|ci| ci.low > 1.0);
    rows.iter().rev().take_while(faster).last().map(|row| row.length)
}

impl Finding for KvCacheResult {
    fn kind(&self) -> Kind {
        Kind::KvCache
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
                "logits_equal": row.logits_equal,
                "cached_ms": row.cached_ms,
                "batched_ms": row.batched_ms,
                "serial_ms": row.serial_ms,
                "batched_over_cached": row.batched_ratio.value(),
                "serial_over_cached": row.serial_ratio.value(),
                "kv_bytes": row.kv_bytes,
                "attention_share": row.attention_share,
                "kv_gb_s": row.kv_gb_s,
                "kv_bandwidth_share": row.kv_gb_s.zip(self.read_bandwidth_gb_s).map(|(rate, most)| rate / most),
            })
        });
        json!({
            "config": {
                "threshold": self.threshold,
                "judged": "batched_over_cached at the greatest length",
                "repeats": self.repeats,
                "settings": self.settings.value(),
            },
            "claim": self.claim.name(),
            "break_even_length": self.break_even,
            "read_bandwidth_gb_s": self.read_bandwidth_gb_s,
            "lengths": rows.collect::<Vec<_>>(),
            "map": self.map.iter().map(MapRow::value).collect::<Vec<_>>(),
        })
    }

    fn table(&self) -> String {
        let head = ["length", "cache ms", "at once ms", "one by one ms", "at once/cache", "95 %", "one by one/cache", "95 %"];
        let mut table = Table::new(head.into_iter().chain(["logits", "KV bytes", "attention %", "KV GB/s"]));
        for row in &self.rows {
            let time = |times: &[f64]| figure(median(times));
            table.row([
                row.length.to_string(),
                time(&row.cached_ms),
                time(&row.batched_ms),
                time(&row.serial_ms),
                figure(row.batched_ratio.median),
                range(row.batched_ratio.ci.as_ref()),
                figure(row.serial_ratio.median),
                range(row.serial_ratio.ci.as_ref()),
                if row.logits_equal { "equal" } else { "DIFFER" }.to_owned(),
                row.kv_bytes.to_string(),
                figure(row.attention_share.map(|share| 100.0 * share)),
                figure(row.kv_gb_s),
            ]);
        }
        let mut map = Table::new(["positions", "floats", "operation", "map ns", "block ns", "ratio", "95 %"]);
        self.map.iter().for_each(|row| row.cells(&mut map));
        let bandwidth =
            self.read_bandwidth_gb_s.map_or_else(String::new, |rate| format!("measured read bandwidth: {} GB/s\n", figure(rate)));
        let break_even = self.break_even.map_or_else(|| "at no length".to_owned(), |length| format!("from {length} tokens on"));
        format!(
            "one decode step with the cache, against computing everything again; {} rounds in turns\nclaim: {} times faster at the greatest \
             length\n\n{}faster than at once: {break_even}\n{bandwidth}\na map of strings to vectors, against one block of memory:\n{}\n{}\n",
            self.repeats,
            self.threshold,
            table.text(),
            map.text(),
            self.claim.name(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::statistics::Interval;
    use super::*;

    fn row(length: u32, cached_ms: f64, low: f64) -> KvCacheRow {
        let ci = Some(Interval { low, high: low + 1.0, n: 10, resamples: 1, seed: 0 });
        KvCacheRow {
            length,
            logits_equal: true,
            cached_ms: vec![cached_ms; 10],
            batched_ratio: PairRatio { median: None, ci },
            kv_bytes: 1_000 * u64::from(length),
            ..KvCacheRow::default()
        }
    }

    #[test]
    fn the_attention_is_what_grows() {
        // 1 ms that does not grow, 1 µs for each position, 1,000 bytes for each position: 1 GB/s.
        let mut rows: Vec<KvCacheRow> = [8, 16, 1_000].map(|length| row(length, 1.0 + 1e-3 * f64::from(length), 1.0)).into();
        share_attention(&mut rows);
        assert!((rows[2].attention_share.unwrap() - 0.5).abs() < 1e-9 && (rows[0].kv_gb_s.unwrap() - 1.0).abs() < 1e-9);
        let mut flat = vec![row(8, 1.0, 1.0), row(16, 1.0, 1.0), row(32, 1.0, 1.0)];
        share_attention(&mut flat);
        assert_eq!((flat[2].attention_share, flat[2].kv_gb_s), (None, None));
        let mut few = rows[..2].to_vec();
        few.iter_mut().for_each(|row| row.attention_share = None);
        share_attention(&mut few);
        assert_eq!(few[0].attention_share, None);
    }

    #[test]
    fn break_even_is_where_the_last_slower_length_ends() {
        let lows = |lows: [f64; 4]| -> Vec<KvCacheRow> { (0u32..).zip(lows).map(|(i, low)| row(8 << i, 1.0, low)).collect() };
        assert_eq!(break_even(&lows([1.5, 2.0, 3.0, 4.0])), Some(8));
        assert_eq!(break_even(&lows([1.5, 1.0, 3.0, 4.0])), Some(32));
        assert_eq!(break_even(&lows([1.5, 2.0, 3.0, 0.9])), None);
    }
}
