//! When there are samples enough: the stop rule of a benchmark.
//!
//! The question is how precise the figure is that will be printed, not how noisy the single samples are. So the primary rule stops where
//! half the bootstrap interval of the median is at most 2 % of it and the samples don't drift. The coefficient of variation is the
//! second rule: low in several windows that share no samples, again without drift. Both are looked at every 10 samples.

use serde_json::{Value, json};

use crate::base::{Error, Result};

use super::clock::Clock;
use super::statistics::{Bootstrap, Statistic, coefficient_of_variation, mann_kendall, median};

/// New samples between two looks.
const EVERY: usize = 10;
/// Resamples of a look; the printed interval has more.
const LOOK_RESAMPLES: usize = 1_000;

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StopRule {
    /// Fewest samples.
    pub min_samples: usize,
    /// Most samples.
    pub max_samples: usize,
    /// Half the interval of the median as a share of it, at which the samples are enough.
    pub precision: f64,
    /// Coefficient of variation of a window that counts as a pass.
    pub cv_threshold: f64,
    /// Samples of a window; windows don't overlap.
    pub window: usize,
    /// Windows in a row that must pass.
    pub consecutive: usize,
    /// Samples that are not counted, at the beginning.
    pub warmup_samples: usize,
    /// Time of the warm-up, at least, milliseconds.
    pub warmup_ms: f64,
    /// Time of the counted samples, at most, milliseconds; none for no limit.
    pub time_budget_ms: Option<f64>,
}

impl Default for StopRule {
    fn default() -> Self {
        Self {
            min_samples: 100,
            max_samples: 10_000,
            precision: 0.02,
            cv_threshold: 0.05,
            window: 50,
            consecutive: 3,
            warmup_samples: 10,
            warmup_ms: 1_000.0,
            time_budget_ms: None,
        }
    }
}

impl StopRule {
    /// 3 to 10 samples: a first look.
    pub fn relaxed() -> Self {
        Self { min_samples: 3, max_samples: 10, cv_threshold: 0.2, window: 3, warmup_samples: 1, ..Self::default() }
    }

    /// 10 to 50 samples.
    pub fn reproducible() -> Self {
        Self { min_samples: 10, max_samples: 50, cv_threshold: 0.03, window: 10, ..Self::default() }
    }

    /// 30 to 200 samples: for many settings one after the other.
    pub fn matrix() -> Self {
        Self { min_samples: 30, max_samples: 200, window: 30, ..Self::default() }
    }

    /// The rules that have names.
    pub const PRESETS: [(&'static str, fn() -> Self); 4] =
        [("default", Self::default), ("relaxed", Self::relaxed), ("reproducible", Self::reproducible), ("matrix", Self::matrix)];

    /// Whether it can be followed.
    ///
    /// # Errors
    /// `InvalidArgument` naming the value out of range.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, what: &str| if ok { Ok(()) } else { Err(Error::invalid_argument(format!("stop rule: {what}"))) };
        check(self.min_samples >= 1 && self.min_samples <= self.max_samples, "from 1 sample to at least as many at most")?;
        check(self.max_samples <= 1_000_000, "at most 1000000 samples")?;
        check(self.precision > 0.0 && self.precision < 1.0, "the precision is a share above 0 and below 1")?;
        check(self.cv_threshold > 0.0 && self.cv_threshold.is_finite(), "the variation threshold is above 0")?;
        check(self.window >= 2 && self.consecutive >= 1, "windows of at least 2 samples, at least 1 of them")?;
        check(self.warmup_ms >= 0.0 && self.warmup_ms.is_finite(), "the time of the warm-up is at least 0")?;
        check(self.time_budget_ms.is_none_or(|budget| budget > 0.0), "the time budget is above 0")
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "min_samples": self.min_samples,
            "max_samples": self.max_samples,
            "precision": self.precision,
            "cv_threshold": self.cv_threshold,
            "window": self.window,
            "consecutive": self.consecutive,
            "warmup_samples": self.warmup_samples,
            "warmup_ms": self.warmup_ms,
            "time_budget_ms": self.time_budget_ms,
        })
    }
}

/// Why the samples ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The median is known precisely enough.
    Precision,
    /// The windows vary little enough.
    Cv,
    /// The most samples were taken.
    MaxSamples,
    /// The time was used up.
    TimeBudget,
}

impl StopReason {
    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Precision => "precision",
            Self::Cv => "cv",
            Self::MaxSamples => "max_samples",
            Self::TimeBudget => "time_budget",
        }
    }
}

/// How the samples ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// Whether that was a rule about their precision, not a limit.
    pub converged: bool,
    /// Coefficient of variation of all samples.
    pub cv: Option<f64>,
    /// Half the interval of the median as a share of it, at the last look; absent below 8 samples.
    pub half_width_share: Option<f64>,
    /// Whether the samples drift; absent below 10.
    pub drifting: Option<bool>,
}

impl Stop {
    pub(super) fn value(&self) -> Value {
        json!({
            "stop_reason": self.reason.name(),
            "converged": self.converged,
            "cv": self.cv,
            "half_width_share": self.half_width_share,
            "drifting": self.drifting,
        })
    }
}

/// The rule at work on the samples of a run.
#[derive(Debug)]
pub struct Sampling {
    rule: StopRule,
    samples: Vec<f64>,
    seed: u64,
}

impl Sampling {
    /// No samples yet.
    pub fn new(rule: StopRule, seed: u64) -> Self {
        Self { rule, samples: vec![], seed }
    }

    /// Adds a sample; `elapsed_ms` since the first one began. Says how the run ended, where it has. A look at the samples pauses as `clock`
    /// does.
    pub(super) async fn add(&mut self, sample: f64, elapsed_ms: f64, clock: &mut Clock) -> Option<Stop> {
        self.samples.push(sample);
        let (rule, n) = (&self.rule, self.samples.len());
        let full = n >= rule.max_samples;
        let late = rule.time_budget_ms.is_some_and(|budget| elapsed_ms >= budget);
        if !full && !late && (n < rule.min_samples || !n.is_multiple_of(EVERY)) {
            return None;
        }
        let drifting = mann_kendall(&self.samples).map(|trend| trend.significant);
        if !full && !late && drifting != Some(false) {
            return None;
        }
        let half_width_share = self.half_width_share(clock).await;
        let stop = |reason, converged| {
            let cv = coefficient_of_variation(&self.samples);
            Some(Stop { reason, converged, cv, half_width_share, drifting })
        };
        if n >= rule.min_samples && drifting == Some(false) {
            if half_width_share.is_some_and(|share| share <= rule.precision) {
                return stop(StopReason::Precision, true);
            }
            if self.windows_pass() {
                return stop(StopReason::Cv, true);
            }
        }
        match (late, full) {
            (true, _) => stop(StopReason::TimeBudget, false),
            (_, true) => stop(StopReason::MaxSamples, false),
            _ => None,
        }
    }

    async fn half_width_share(&self, clock: &mut Clock) -> Option<f64> {
        let bootstrap = Bootstrap::new(self.samples.as_chunks::<1>().0, Statistic::MEDIAN, self.seed);
        clock.interval_of(bootstrap, LOOK_RESAMPLES).await?.half_width_share(median(&self.samples)?)
    }

    /// Whether the last windows vary little: so many in a row, back from the newest sample, none sharing a sample with another.
    fn windows_pass(&self) -> bool {
        let rule = &self.rule;
        let mut windows = self.samples.rchunks_exact(rule.window).take(rule.consecutive);
        windows.len() == rule.consecutive
            && windows.all(|window| coefficient_of_variation(window).is_some_and(|cv| cv <= rule.cv_threshold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Pace, at_once};
    use crate::sampling::rng::Rng;

    fn run(rule: StopRule, mut sample: impl FnMut(usize) -> f64) -> (usize, Stop) {
        rule.validate().unwrap();
        let (mut sampling, mut clock) = (Sampling::new(rule, 1), Clock::new(Pace::unhurried()));
        for number in 0.. {
            if let Some(stop) = at_once(sampling.add(sample(number), number as f64, &mut clock)) {
                return (number + 1, stop);
            }
        }
        unreachable!("the most samples end every run")
    }

    #[test]
    fn quiet_samples_are_enough_at_the_least_number() {
        let mut rng = Rng::new(4);
        let (n, stop) = run(StopRule::default(), |_| 100.0 + rng.next_f64());
        assert_eq!((n, stop.reason, stop.converged, stop.drifting), (100, StopReason::Precision, true, Some(false)));
        assert!(stop.half_width_share.unwrap() < 0.005 && stop.cv.unwrap() < 0.01);
    }

    #[test]
    fn noisy_samples_go_on_until_the_median_is_known() {
        let mut rng = Rng::new(5);
        let (n, stop) = run(StopRule::default(), |_| 50.0 + 100.0 * rng.next_f64());
        assert!(stop.reason == StopReason::Precision && n > 500, "{n} samples, {stop:?}");
        assert!(stop.cv.unwrap() > 0.2, "the samples stay as noisy as they are");
    }

    #[test]
    fn a_drift_is_not_taken_for_precision() {
        let rule = StopRule { max_samples: 400, ..StopRule::default() };
        let (n, stop) = run(rule, |number| 100.0 + 0.001 * number as f64);
        assert_eq!((n, stop.reason, stop.converged, stop.drifting), (400, StopReason::MaxSamples, false, Some(true)));
        assert!(stop.half_width_share.unwrap() < 0.01 && stop.cv.unwrap() < 0.01, "both rules but for the drift would have stopped");
    }

    #[test]
    fn windows_that_vary_little_are_enough_where_the_precision_asked_for_is_not_reached() {
        let mut rng = Rng::new(6);
        let rule = StopRule { precision: 1e-9, min_samples: 10, window: 20, ..StopRule::default() };
        let (n, stop) = run(rule, |_| 100.0 + rng.next_f64());
        assert_eq!((stop.reason, stop.converged), (StopReason::Cv, true));
        assert!((60..=120).contains(&n), "three windows of 20: {n} samples");
    }

    #[test]
    fn limits_end_a_run_without_convergence() {
        let mut rng = Rng::new(7);
        let rule = StopRule { time_budget_ms: Some(25.0), ..StopRule::default() };
        let (n, stop) = run(rule, |_| rng.next_f64());
        assert_eq!((n, stop.reason, stop.converged), (26, StopReason::TimeBudget, false));
        let (n, stop) = run(StopRule::relaxed(), |_| rng.next_f64());
        assert_eq!((n, stop.reason, stop.converged), (10, StopReason::MaxSamples, false));
    }

    #[test]
    fn presets_and_ranges() {
        let facts = StopRule::PRESETS.map(|(name, preset)| {
            let rule = preset();
            rule.validate().unwrap();
            (name, rule.min_samples, rule.max_samples, rule.cv_threshold)
        });
        assert_eq!(
            facts,
            [("default", 100, 10_000, 0.05), ("relaxed", 3, 10, 0.2), ("reproducible", 10, 50, 0.03), ("matrix", 30, 200, 0.05)]
        );
        assert!(StopRule { min_samples: 11, max_samples: 10, ..StopRule::default() }.validate().is_err());
        assert!(StopRule { precision: f64::NAN, ..StopRule::default() }.validate().is_err());
    }
}
