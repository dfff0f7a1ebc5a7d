//! How far one prediction is from another: Kullback-Leibler divergence, log-probabilities and ranks of two rows of logits, in f64.

use crate::base::{Error, Result};

/// Tokens of the second agreement that is counted.
pub(super) const TOP: usize = 5;

/// A row of logits as log-probabilities.
struct LogProbabilities<'a> {
    logits: &'a [f32],
    /// What is subtracted from each logit.
    normaliser: f64,
}

impl<'a> LogProbabilities<'a> {
    fn of(logits: &'a [f32]) -> Result<Self> {
        if let Some(place) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(Error::invalid_argument(format!("logit {place} is {}: all must be finite", logits[place])));
        }
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - f64::from(top)).exp()).sum();
        Ok(Self { logits, normaliser: f64::from(top) + sum.ln() })
    }

    fn at(&self, token: usize) -> f64 {
        f64::from(self.logits[token]) - self.normaliser
    }
}

/// The tokens of the largest logits, descending; of equal ones the first.
fn top(logits: &[f32]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(TOP + 1);
    for (token, &logit) in logits.iter().enumerate() {
        let place = best.iter().position(|&other| logit > logits[other]).unwrap_or(best.len());
        if place < TOP {
            best.insert(place, token);
            best.truncate(TOP);
        }
    }
    best
}

/// Two predictions of one token beside each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Divergence {
    /// KL(reference ‖ subject) in nats; infinite where it is.
    pub kl: f64,
    /// −ln of the probability that each gives to the token that comes: the reference, and the subject.
    pub nats: [f64; 2],
    /// Whether both have the same most probable token.
    pub top_1: bool,
    /// The share of the reference's five most probable tokens that are among the subject's five.
    pub top_5: f64,
}

impl Divergence {
    /// Of the logits of a reference and a subject, where `next` comes.
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are empty or of different lengths, a token that they do not have, and logits that are not finite.
    pub fn of(reference: &[f32], subject: &[f32], next: u32) -> Result<Self> {
        if reference.is_empty() || reference.len() != subject.len() || next as usize >= reference.len() {
            return Err(Error::invalid_argument(format!(
                "{} logits against {}, token {next}: as many of each, and the token among them",
                reference.len(),
                subject.len()
            )));
        }
        let (p, q) = (LogProbabilities::of(reference)?, LogProbabilities::of(subject)?);
        // A token of which the reference is sure that it does not come adds nothing, whatever the subject says: 0 · ln 0 is 0.
        let terms = (0..reference.len()).map(|token| (p.at(token), q.at(token))).filter(|(p, _)| p.exp() > 0.0);
        let kl: f64 = terms.map(|(p, q)| p.exp() * (p - q)).sum();
        let (first, second) = (top(reference), top(subject));
        let shared = first.iter().filter(|token| second.contains(token)).count();
        Ok(Self {
            // Rounding alone can make the divergence of near-equal rows a little negative.
            kl: kl.max(0.0),
            nats: [-p.at(next as usize), -q.at(next as usize)],
            top_1: first[0] == second[0],
            top_5: shared as f64 / first.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergences_by_hand() {
        let far = Divergence::of(&[0.0, 0.0], &[30.0, 0.0], 1).unwrap();
        // ln(1/2) − (−30 − ln(1 + e⁻³⁰))/2 …: 15 − ln 2.
        assert!((far.kl - (15.0 - 2f64.ln())).abs() < 1e-9, "{}", far.kl);
        assert!((far.nats[0] - 2f64.ln()).abs() < 1e-12 && (far.nats[1] - 30.0).abs() < 1e-9);
        let same = Divergence::of(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0], 0).unwrap();
        assert!(same.kl < 1e-12 && same.top_1 && same.top_5 == 1.0);
        let other = Divergence::of(&[9., 8., 7., 6., 5., 0.], &[8., 9., 0., 6., 5., 7.], 0).unwrap();
        assert!(!other.top_1 && (other.top_5 - 0.8).abs() < 1e-12 && other.kl > 0.0);
        // Beyond the range of exp: nothing is clipped.
        let sure = Divergence::of(&[0.0, -2000.0], &[-2000.0, 0.0], 0).unwrap();
        assert!((sure.kl - 2000.0).abs() < 1e-9, "{}", sure.kl);
    }

    #[test]
    fn what_is_no_prediction_is_refused() {
        let none: [(&[f32], &[f32]); 4] =
            [(&[], &[]), (&[1.0], &[1.0, 2.0]), (&[f32::NAN, 1.0], &[1.0, 2.0]), (&[1.0, 2.0], &[f32::INFINITY, 2.0])];
        for (reference, subject) in none {
            assert!(Divergence::of(reference, subject, 0).is_err(), "{reference:?} {subject:?}");
        }
        assert!(Divergence::of(&[1.0], &[1.0], 1).is_err());
    }
}
