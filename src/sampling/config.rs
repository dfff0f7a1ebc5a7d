//! What a host may set about sampling, and the checks on it. Plain data: the chain is built in `chain.rs`.

use crate::base::{Error, Result};

/// The longest penalty window that is accepted, in tokens.
pub const MAX_PENALTY_WINDOW: u32 = 1 << 20;

/// Settings of a sampler chain. The default is llama.cpp's: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerConfig {
    /// Logits are divided by it before the draw: below 1 sharper, above 1 flatter. 0 is greedy. Finite, ≥ 0.
    pub temperature: f32,
    /// Keep the `top_k` tokens of the largest logits. 0, or the vocabulary's size and above: all.
    pub top_k: u32,
    /// Keep the smallest set of most probable tokens whose probabilities (at temperature 1, among those that top-k kept)
    /// reach `top_p`. In (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least `min_p` times as probable as the most probable one. In [0, 1]; 0 keeps all.
    pub min_p: f32,
    /// Tokens of the window have positive logits divided by it, others multiplied. Finite, > 0; 1 is off.
    pub repetition_penalty: f32,
    /// Taken once from the logit of each token of the window. Finite; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the logit of a token once for each time it stands in the window. Finite; 0 is off.
    pub frequency_penalty: f32,
    /// How many of the last accepted tokens the penalties look at, at most [`MAX_PENALTY_WINDOW`]. 0 turns them off.
    pub penalty_window: u32,
    /// Seed of the draws. The same seed and logits give the same tokens.
    pub seed: u64,
    /// Added to the logits of single tokens, first of all: finite, or −∞ to forbid a token. A token at most once.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: 64,
            seed: 0,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplerConfig {
    /// Always the largest logit: temperature 0, no penalties, no bias.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks every range; `vocab_size` bounds the token ids of the logit bias.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::base::ErrorKind::InvalidArgument) naming the setting, its value and its range.
    pub fn validate(&self, vocab_size: usize) -> Result<()> {
        let check = |ok: bool, name: &str, value: f32, range: &str| {
            if ok { Ok(()) } else { Err(Error::invalid_argument(format!("{name} is {value}, must be {range}"))) }
        };
        check(self.temperature.is_finite() && self.temperature >= 0.0, "temperature", self.temperature, "finite and at least 0")?;
        check(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", self.top_p, "above 0 and at most 1")?;
        check((0.0..=1.0).contains(&self.min_p), "min_p", self.min_p, "from 0 to 1")?;
        let repetition = self.repetition_penalty;
        check(repetition.is_finite() && repetition > 0.0, "repetition_penalty", repetition, "finite and above 0")?;
        check(self.presence_penalty.is_finite(), "presence_penalty", self.presence_penalty, "finite")?;
        check(self.frequency_penalty.is_finite(), "frequency_penalty", self.frequency_penalty, "finite")?;
        if self.penalty_window > MAX_PENALTY_WINDOW {
            let window = self.penalty_window;
            return Err(Error::invalid_argument(format!("penalty_window is {window} tokens, must be at most {MAX_PENALTY_WINDOW}")));
        }
        let mut tokens = Vec::new();
        tokens
            .try_reserve_exact(self.logit_bias.len())
            .map_err(|_| Error::out_of_memory(format!("{} entries of logit_bias", self.logit_bias.len())))?;
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab_size {
                return Err(Error::invalid_argument(format!("logit_bias names token {token}, the vocabulary has {vocab_size}")));
            }
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(Error::invalid_argument(format!("logit_bias of token {token} is {bias}, must be finite or negative infinity")));
            }
            tokens.push(token);
        }
        tokens.sort_unstable();
        if let Some(twice) = tokens.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid_argument(format!("logit_bias names token {} twice", twice[0])));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut SamplerConfig), named: &str) {
        let mut config = SamplerConfig::default();
        change(&mut config);
        let error = config.validate(100).unwrap_err();
        assert!(error.message().contains(named), "{error}");
    }

    #[test]
    fn defaults_and_bounds_are_fine() {
        SamplerConfig::default().validate(100).unwrap();
        SamplerConfig::greedy().validate(1).unwrap();
        let edge = SamplerConfig {
            top_k: u32::MAX,
            top_p: 1.0,
            min_p: 1.0,
            penalty_window: MAX_PENALTY_WINDOW,
            logit_bias: vec![(99, f32::NEG_INFINITY), (0, 3.0)],
            ..SamplerConfig::default()
        };
        edge.validate(100).unwrap();
    }

    #[test]
    fn each_range_is_checked_by_name() {
        for bad in [-0.1, f32::NAN, f32::INFINITY] {
            refused(|c| c.temperature = bad, "temperature");
        }
        for bad in [0.0, 1.01, f32::NAN, -1.0] {
            refused(|c| c.top_p = bad, "top_p");
        }
        for bad in [-0.01, 1.01, f32::NAN] {
            refused(|c| c.min_p = bad, "min_p");
        }
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            refused(|c| c.repetition_penalty = bad, "repetition_penalty");
        }
        refused(|c| c.presence_penalty = f32::NAN, "presence_penalty");
        refused(|c| c.frequency_penalty = f32::INFINITY, "frequency_penalty");
        refused(|c| c.penalty_window = MAX_PENALTY_WINDOW + 1, "penalty_window");
        refused(|c| c.logit_bias = vec![(100, 0.0)], "token 100");
        refused(|c| c.logit_bias = vec![(5, f32::INFINITY)], "token 5");
        refused(|c| c.logit_bias = vec![(5, 1.0), (7, 0.0), (5, 2.0)], "token 5 twice");
    }
}
