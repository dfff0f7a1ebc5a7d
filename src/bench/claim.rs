//! Claims of the form "so many times faster", and the pairs of measurements that decide them.

use serde_json::{Value, json};

use crate::base::{Error, Result};

use super::clock::Clock;
use super::finding::Verdict;
use super::statistics::{Bootstrap, Interval, Statistic, median};
use super::summary::interval_value;

/// Fewest pairs.
pub const FEWEST_PAIRS: u32 = 10;

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The whole interval of the ratio reaches the threshold.
    Verified,
    /// The whole interval stays below it.
    Falsified,
    /// The interval has both sides, or there is none.
    Inconclusive,
}

impl Claim {
    /// Judges a ratio by its interval against a `threshold` that was given before it was measured.
    pub fn judge(interval: Option<&Interval>, threshold: f64) -> Self {
        match interval {
            Some(interval) if interval.low >= threshold => Self::Verified,
            Some(interval) if interval.high < threshold => Self::Falsified,
            _ => Self::Inconclusive,
        }
    }

    /// In capitals, as such verdicts are written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "VERIFIED",
            Self::Falsified => "FALSIFIED",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }

    /// As a verdict of a finding.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Verified => Verdict::Passed,
            Self::Falsified => Verdict::Failed,
            Self::Inconclusive => Verdict::Inconclusive,
        }
    }
}

/// How many times longer one way takes than another, by pairs measured in turns.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PairRatio {
    /// Median of the pairs' ratios; absent without pairs.
    pub median: Option<f64>,
    /// Its 95 % interval; absent below 8 pairs.
    pub ci: Option<Interval>,
}

/// Whether `repeats` pairs can judge a claim of `threshold`.
///
/// # Errors
/// `InvalidArgument` for too few pairs, and a threshold that is not above 0.
pub(super) fn check(repeats: u32, threshold: f64) -> Result<()> {
    if repeats < FEWEST_PAIRS {
        return Err(Error::invalid_argument(format!("{repeats} repeats: at least {FEWEST_PAIRS}")));
    }
    if !(threshold > 0.0 && threshold.is_finite()) {
        return Err(Error::invalid_argument(format!("a threshold of {threshold}: above 0")));
    }
    Ok(())
}

impl PairRatio {
    /// Of the pairs `over[i] / under[i]`.
    pub(super) async fn of(over: &[f64], under: &[f64], seed: u64, clock: &mut Clock) -> Self {
        let ratios: Vec<[f64; 1]> = over.iter().zip(under).map(|(over, under)| [over / under]).collect();
        let ci = clock.interval(Bootstrap::new(&ratios, Statistic::MEDIAN, seed)).await;
        Self { median: median(ratios.as_flattened()), ci }
    }

    pub(super) fn value(&self) -> Value {
        json!({ "median": self.median, "ci_95": self.ci.as_ref().map(interval_value) })
    }
}

/// Lengths that double from `first` up to `last`, which is among them.
pub(super) fn doubling(first: u32, last: u32) -> Vec<u32> {
    let powers = std::iter::successors(Some(first), |length| length.checked_mul(2)).take_while(|&length| length < last);
    powers.chain([last]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_needs_the_whole_interval_on_its_side() {
        let interval = |low, high| Interval { low, high, n: 10, resamples: 1, seed: 0 };
        assert_eq!(Claim::judge(Some(&interval(10.0, 12.0)), 10.0), Claim::Verified);
        assert_eq!(Claim::judge(Some(&interval(9.9, 12.0)), 10.0), Claim::Inconclusive);
        assert_eq!(Claim::judge(Some(&interval(8.0, 9.99)), 10.0), Claim::Falsified);
        assert_eq!(Claim::judge(Some(&interval(8.0, 10.0)), 10.0), Claim::Inconclusive);
        assert_eq!(Claim::judge(None, 10.0), Claim::Inconclusive);
        assert_eq!((Claim::Verified.verdict(), Claim::Falsified.verdict()), (Verdict::Passed, Verdict::Failed));
    }

    #[test]
    fn lengths() {
        assert_eq!(doubling(8, 100), [8, 16, 32, 64, 100]);
        assert_eq!(doubling(8, 64), [8, 16, 32, 64]);
        assert_eq!((doubling(8, 8), doubling(8, 5)), (vec![8], vec![5]));
    }
}
