//! What quantisation costs: the predictions of a model beside those of a reference, on the same text.
//!
//! Perplexity is by the rule of llama.cpp's tool: the text in windows, each of them computed on its own (with the token that begins a text in
//! its first place where the model wants one), an incomplete tail dropped, the second half of each window scored. At the same positions the two
//! predictions are compared as a whole: Kullback-Leibler divergence, agreement of the most probable tokens. Besides, both go on greedily from
//! the beginnings of windows, until they part.

use serde_json::{Value, json};

use crate::base::{Error, Job, Pace, Result, Stage};
use crate::model::Model;
use crate::session::{Session, Step};
use crate::tokenizer::EncodeOptions;

use super::clock::Clock;
use super::divergence::Divergence;
use super::finding::{Finding, Kind, Verdict, beyond, check_limits};
use super::host::{Context, Subject};
use super::recompute::{self, at_once};
use super::request::step;
use super::settings::Settings;
use super::statistics::{Bootstrap, Interval, P50, P99, Percentile, Sorted, Statistic, mean};
use super::summary::{interval_value, percentile_value, range};
use super::table::{Table, figure};

const STAGES: &[Stage] = &[
    Stage { name: c"text", share: 0.02 },
    Stage { name: c"windows", share: 0.85 },
    Stage { name: c"greedy", share: 0.08 },
    Stage { name: c"statistics", share: 0.05 },
];

/// Tokens of a window, unless the settings say another context.
const WINDOW: u32 = 512;
/// Fewest positions that are compared.
pub const FEWEST_POSITIONS: usize = 512;
/// Bytes of logits that a pass of a session may leave.
const LOGIT_BYTES: usize = 32 << 20;
/// Greedy continuations: how many, of how long a beginning, and how long.
const CONTINUATIONS: usize = 8;
const BEGINNING: usize = 32;
const CONTINUATION: u32 = 64;
/// How much larger than the mean the p99 of the divergence may be, where only the mean has a limit.
const P99_FACTOR: f64 = 10.0;

/// Beyond which the quantisation fails.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QualityLimits {
    /// Mean divergence, nats. Without it that of the quantisation ([`default_limit`]).
    pub mean_kl: Option<f64>,
    /// p99 of the divergence, nats. Without it ten times the limit of the mean.
    pub p99_kl: Option<f64>,
}

/// The limit of the mean divergence for the tensor type that most weights have; `None` for one without a usual limit.
pub fn default_limit(quantization: &str) -> Option<f64> {
    match quantization {
        "F32" | "F16" | "BF16" => Some(0.001),
        "Q8_0" => Some(0.01),
        "Q4_K" | "Q5_K" | "Q6_K" => Some(0.05),
        "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" => Some(0.10),
        _ => None,
    }
}

/// What is compared, and on what.
#[derive(Clone)]
pub struct QualityOptions {
    /// The model that is right.
    pub reference: Model,
    /// The text, of any bytes.
    pub text: Vec<u8>,
    /// The limits.
    pub limits: QualityLimits,
    /// How sessions are made; their context is the window.
    pub settings: Settings,
}

/// The perplexities and what lies between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Perplexity {
    /// Of the reference.
    pub reference: f64,
    /// Of the subject.
    pub subject: f64,
    /// 95 % interval of subject over reference, by resampling windows; absent below 8 of them.
    pub ratio_ci: Option<Interval>,
}

impl Perplexity {
    /// Subject less reference.
    pub fn difference(&self) -> f64 {
        self.subject - self.reference
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityResult {
    context: Context,
    reference: Subject,
    settings: Settings,
    /// The limits that were held, mean and p99; absent for a quantisation without any.
    pub limits: Option<(f64, f64)>,
    /// Tokens of a window.
    pub window: u32,
    /// Windows.
    pub windows: usize,
    /// Divergences in nats, one for each position that was scored.
    pub kl: Vec<f64>,
    /// Their mean.
    pub kl_mean: f64,
    /// Their median.
    pub kl_median: Percentile,
    /// Their 99th percentile.
    pub kl_p99: Percentile,
    /// The greatest.
    pub kl_max: f64,
    /// Perplexities.
    pub perplexity: Perplexity,
    /// Share of the positions at which both have the same most probable token.
    pub top_1: f64,
    /// Mean share of the reference's five most probable tokens that are among the subject's.
    pub top_5: f64,
    /// Tokens of greedy continuations up to the first that differs, of 64 at most.
    pub greedy_agreement: Vec<u32>,
    /// Why the quantisation fails.
    pub failure_reasons: Vec<String>,
}

/// Compares `model` with the reference as a job.
///
/// # Errors
/// `InvalidArgument` for options out of range, models with different vocabularies, and a text of too few tokens. The job itself fails as sessions
/// do, and where logits are not finite.
pub fn measure(model: &Model, options: QualityOptions) -> Result<Job<QualityResult>> {
    options.settings.validate()?;
    let limits = [options.limits.mean_kl, options.limits.p99_kl];
    check_limits(&limits.into_iter().flatten().collect::<Vec<f64>>())?;
    let (ours, theirs) = (model.vocab_size()?, options.reference.vocab_size()?);
    if ours != theirs {
        return Err(Error::invalid_argument(format!("the reference has {theirs} tokens, the model {ours}: they can't be compared")));
    }
    let window = if options.settings.context == 0 { WINDOW } else { options.settings.context };
    let most = [model.config()?.context_length, options.reference.config()?.context_length];
    if window < 4 || most.iter().any(|&most| window as usize > most) {
        return Err(Error::invalid_argument(format!("windows of {window} tokens: from 4 to the context of both models ({most:?})")));
    }
    let model = model.clone();
    Ok(Job::new(STAGES, move |pace| run(model, options, window, pace)))
}

/// The tokens of the text, the same for both models.
fn tokens(model: &Model, reference: &Model, text: &[u8], window: usize) -> Result<Vec<u32>> {
    let encode = |model: &Model| {
        let mut ids = vec![];
        model.tokenizer()?.encode(text, EncodeOptions { add_special: true, parse_special: true }, &mut ids)?;
        Ok(ids)
    };
    let (ours, theirs) = (encode(model)?, encode(reference)?);
    if ours != theirs {
        return Err(Error::invalid_argument("the reference makes other tokens of the text than the model"));
    }
    let positions = ours.len() / window * scored(window).len();
    if positions < FEWEST_POSITIONS {
        return Err(Error::invalid_argument(format!(
            "a text of {} tokens: in windows of {window} that is {positions} positions, at least {FEWEST_POSITIONS} are compared",
            ours.len()
        )));
    }
    Ok(ours)
}

/// The positions of a window whose predictions are scored.
fn scored(window: usize) -> std::ops::Range<usize> {
    window / 2..window - 1
}

/// A model that computes windows and keeps all their logits.
struct Scorer {
    session: Session,
    columns: usize,
}

impl Scorer {
    fn new(model: &Model, settings: &Settings, window: u32) -> Result<Self> {
        let row = model.vocab_size()? * size_of::<f32>();
        let columns = (LOGIT_BYTES / row.max(1)).clamp(1, settings.batch.min(window) as usize);
        Ok(Self { session: settings.scoring_session(model, window, columns as u32)?, columns })
    }

    /// Computes the next tokens of a window. Their logits are there until the next call.
    async fn next(&mut self, tokens: &[u32], clock: &mut Clock) -> Result<()> {
        self.session.append(tokens)?;
        recompute::end(&mut self.session, 0, clock).await
    }

    fn logits(&self, position: usize) -> Result<&[f32]> {
        self.session.logits_at(position).ok_or_else(|| Error::internal("a session that keeps all logits has lost some"))
    }
}

async fn run(model: Model, options: QualityOptions, window: u32, pace: Pace) -> Result<QualityResult> {
    let mut clock = Clock::new(pace.clone());
    let context = Context::of(&model);
    let QualityOptions { reference, text, limits, settings } = options;
    pace.stage(0);
    let mut tokens = tokens(&model, &reference, &text, window as usize)?;
    let tokenizer = model.tokenizer()?;
    let begins_with = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    clock.pause().await;

    pace.stage(1);
    let windows = tokens.len() / window as usize;
    pace.expect(windows as u64);
    let mut scorers = [Scorer::new(&reference, &settings, window)?, Scorer::new(&model, &settings, window)?];
    let columns = scorers[0].columns.min(scorers[1].columns);
    let mut compared: Vec<Vec<Divergence>> = vec![];
    for part in tokens.as_mut_slice().chunks_exact_mut(window as usize) {
        if let Some(bos) = begins_with {
            part[0] = bos;
        }
        let mut found = vec![];
        scorers.iter_mut().try_for_each(|scorer| scorer.session.reset())?;
        for (number, some) in part.chunks(columns).enumerate() {
            for scorer in &mut scorers {
                scorer.next(some, &mut clock).await?;
            }
            let first = number * columns;
            for position in (first..first + some.len()).filter(|position| scored(part.len()).contains(position)) {
                let [reference, subject] = &scorers;
                found.push(Divergence::of(reference.logits(position)?, subject.logits(position)?, part[position + 1])?);
                clock.pause().await;
            }
        }
        compared.push(found);
        pace.advance(1);
    }
    drop(scorers);

    pace.stage(2);
    let greedy_agreement = agreement(&model, &reference, &tokens, window as usize, &settings, &mut clock).await?;

    pace.stage(3);
    let all = compared.concat();
    let kl: Vec<f64> = all.iter().map(|one| one.kl).collect();
    let sorted = Sorted::new(&kl);
    let (Some(kl_mean), Some(kl_median), Some(kl_p99)) = (mean(&kl), sorted.percentile(P50), sorted.percentile(P99)) else {
        return Err(Error::internal("positions were compared and there are none"));
    };
    let share = |of: &dyn Fn(&Divergence) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    let log_ratios: Vec<Vec<f64>> = compared.iter().map(|found| found.iter().map(|one| one.nats[1] - one.nats[0]).collect()).collect();
    let ratio_ci = clock.interval(Bootstrap::new(&log_ratios, Statistic::Mean, settings.seed())).await;
    let ratio_ci = ratio_ci.map(|ci| Interval { low: ci.low.exp(), high: ci.high.exp(), ..ci });
    let perplexity = Perplexity { reference: share(&|one| one.nats[0]).exp(), subject: share(&|one| one.nats[1]).exp(), ratio_ci };
    let usual = context.subject.quantization.and_then(default_limit);
    let limits = limits.mean_kl.or(usual).map(|mean| (mean, limits.p99_kl.unwrap_or(P99_FACTOR * mean)));
    let failure_reasons = limits.iter().flat_map(|&(mean, p99)| judge(kl_mean, kl_p99.value, mean, p99)).collect();
    Ok(QualityResult {
        reference: Subject::of(&reference),
        kl_max: sorted.values().last().copied().unwrap_or(f64::NAN),
        top_1: share(&|one| f64::from(u8::from(one.top_1))),
        top_5: share(&|one| one.top_5),
        context,
        settings,
        limits,
        window,
        windows,
        kl,
        kl_mean,
        kl_median,
        kl_p99,
        perplexity,
        greedy_agreement,
        failure_reasons,
    })
}

/// Why divergences are beyond their limits.
fn judge(mean: f64, p99: f64, mean_limit: f64, p99_limit: f64) -> Vec<String> {
    let figures = [("mean divergence", mean, mean_limit), ("p99 of the divergence", p99, p99_limit)];
    figures.into_iter().filter_map(|(name, value, limit)| beyond(name, Some(1e3 * value), 1e3 * limit, " millinats")).collect()
}

/// How long greedy continuations of both agree.
async fn agreement(
    model: &Model,
    reference: &Model,
    tokens: &[u32],
    window: usize,
    settings: &Settings,
    clock: &mut Clock,
) -> Result<Vec<u32>> {
    let beginning = BEGINNING.min(window / 2);
    let length = CONTINUATION.min((window - beginning) as u32);
    let mut sessions =
        [settings.session(reference, window as u32, settings.batch, true)?, settings.session(model, window as u32, settings.batch, true)?];
    let mut agreed = vec![];
    for part in tokens.chunks_exact(window).take(CONTINUATIONS) {
        let mut said: [Vec<u32>; 2] = [vec![], vec![]];
        for (session, said) in sessions.iter_mut().zip(&mut said) {
            at_once(session, &part[..beginning], 0, clock).await?;
            session.set_max_tokens(Some(length));
            session.append(&[])?;
            while said.len() < length as usize {
                let Step::Token { id } = step(session, clock).await? else { break };
                said.push(id);
                clock.pause().await;
            }
        }
        agreed.push(said[0].iter().zip(&said[1]).take_while(|(a, b)| a == b).count() as u32);
    }
    Ok(agreed)
}

impl Finding for QualityResult {
    fn kind(&self) -> Kind {
        Kind::Quality
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn verdict(&self) -> Option<Verdict> {
        Some(match &self.limits {
            None => Verdict::Inconclusive,
            Some(_) if self.failure_reasons.is_empty() => Verdict::Passed,
            Some(_) => Verdict::Failed,
        })
    }

    fn members(&self) -> Value {
        json!({
            "config": {
                "reference": self.reference.value(),
                "window": self.window,
                "limits": self.limits.map(|(mean, p99)| json!({ "mean_kl": mean, "p99_kl": p99 })),
                "settings": self.settings.value(),
            },
            "windows": self.windows,
            "positions": self.kl.len(),
            "perplexity": {
                "reference": self.perplexity.reference,
                "model": self.perplexity.subject,
                "difference": self.perplexity.difference(),
                "ratio_ci_95": self.perplexity.ratio_ci.as_ref().map(interval_value),
            },
            "kl_nats": {
                "mean": self.kl_mean,
                "median": percentile_value(&self.kl_median),
                "p99": percentile_value(&self.kl_p99),
                "max": self.kl_max,
            },
            "infinite_kl": self.kl.iter().filter(|kl| kl.is_infinite()).count(),
            "top_1_agreement": self.top_1,
            "top_5_agreement": self.top_5,
            "greedy_agreement_tokens": self.greedy_agreement,
            "greedy_agreement_of": CONTINUATION,
            "failure_reasons": self.failure_reasons,
            "kl": self.kl,
        })
    }

    fn table(&self) -> String {
        let limit = |of: fn((f64, f64)) -> f64| figure(self.limits.map(|limits| 1e3 * of(limits)));
        let milli = |nats: f64| figure(1e3 * nats);
        let mut table = Table::new(["", "measured", "limit"]);
        table.row(["perplexity of the reference".to_owned(), format!("{:.4}", self.perplexity.reference)]);
        table.row(["perplexity of the model".to_owned(), format!("{:.4}", self.perplexity.subject)]);
        table.row(["model over reference, 95 %".to_owned(), range(self.perplexity.ratio_ci.as_ref())]);
        table.row(["divergence, mean, millinats".to_owned(), milli(self.kl_mean), limit(|(mean, _)| mean)]);
        table.row(["divergence, median, millinats".to_owned(), milli(self.kl_median.value)]);
        table.row(["divergence, p99, millinats".to_owned(), milli(self.kl_p99.value), limit(|(_, p99)| p99)]);
        table.row(["divergence, most, millinats".to_owned(), milli(self.kl_max)]);
        table.row(["same most probable token, %".to_owned(), figure(100.0 * self.top_1)]);
        table.row(["of the five most probable, shared, %".to_owned(), figure(100.0 * self.top_5)]);
        let agreed: Vec<String> = self.greedy_agreement.iter().map(u32::to_string).collect();
        let mut text = format!(
            "against {}\n{} windows of {} tokens, {} positions\n\n{}greedy continuations agree for {} of {CONTINUATION} tokens\n",
            self.reference.description,
            self.windows,
            self.window,
            self.kl.len(),
            table.text(),
            agreed.join(", "),
        );
        if self.limits.is_none() {
            text += "no limit is usual for this quantisation, and none was given\n";
        }
        for reason in &self.failure_reasons {
            text += &format!("failed: {reason}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_held() {
        assert!(judge(0.01, 0.1, 0.01, 0.1).is_empty());
        assert_eq!(judge(0.011, 0.1, 0.01, 0.1).len(), 1);
        assert_eq!(judge(0.01, 0.11, 0.01, 0.1).len(), 1);
        assert_eq!(judge(f64::INFINITY, f64::INFINITY, 0.01, 0.1).len(), 2);
        assert_eq!(judge(f64::NAN, 0.0, 0.01, 0.1).len(), 1);
    }

    #[test]
    fn the_second_half_is_scored_but_for_the_last() {
        assert_eq!((scored(512), scored(512).len()), (256..511, 255));
        assert_eq!((default_limit("Q4_K"), default_limit("Q8_0"), default_limit("IQ1_S")), (Some(0.05), Some(0.01), None));
    }
}
