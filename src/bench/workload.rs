//! What is asked of the engine: requests of a fixed number of prompt tokens and of generated tokens, always the same ones.

use crate::base::{Error, Result};
use crate::sampling::SamplerConfig;
use crate::sampling::rng::Rng;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// What it is called: "short_qa".
    pub name: &'static str,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens that are generated, whether the model would end sooner or not.
    pub output_tokens: u32,
}

impl Workload {
    /// A question and a short answer.
    pub const SHORT_QA: Self = Self { name: "short_qa", prompt_tokens: 32, output_tokens: 64 };
    /// A function to be written.
    pub const CODE_GEN: Self = Self { name: "code_gen", prompt_tokens: 128, output_tokens: 256 };
    /// A text to be summarised.
    pub const SUMMARIZE: Self = Self { name: "summarize", prompt_tokens: 512, output_tokens: 128 };
    /// A long document with a long answer.
    pub const LONG_CONTEXT: Self = Self { name: "long_context", prompt_tokens: 2_048, output_tokens: 512 };
    /// All that have names.
    pub const ALL: [Self; 4] = [Self::SHORT_QA, Self::CODE_GEN, Self::SUMMARIZE, Self::LONG_CONTEXT];

    /// A workload of other sizes than those with names.
    ///
    /// # Errors
    /// `InvalidArgument` without prompt tokens or tokens to generate, or above 2²⁰ of either.
    pub fn custom(prompt_tokens: u32, output_tokens: u32) -> Result<Self> {
        let workload = Self { name: "custom", prompt_tokens, output_tokens };
        workload.validate()?;
        Ok(workload)
    }

    /// Whether the sizes can be run.
    ///
    /// # Errors
    /// As for [`custom`](Self::custom).
    pub fn validate(&self) -> Result<()> {
        let Self { prompt_tokens, output_tokens, .. } = *self;
        let range = 1..=1 << 20;
        if range.contains(&prompt_tokens) && range.contains(&output_tokens) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "a workload of {prompt_tokens} prompt tokens and {output_tokens} generated ones: each must be from 1 to 1048576"
        )))
    }

    /// Positions of the context that a request takes.
    pub fn positions(&self) -> u32 {
        self.prompt_tokens + self.output_tokens
    }

    /// The prompt of request number `request`: tokens from the middle half of the vocabulary, where the special ones are not.
    pub fn prompt(&self, vocab_size: usize, seed: u64, request: u64) -> Vec<u32> {
        prompt(self.prompt_tokens as usize, vocab_size, seed, request)
    }
}

/// `count` tokens of the middle half of a vocabulary, the same for the same seed and request.
pub fn prompt(count: usize, vocab_size: usize, seed: u64, request: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed ^ request.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (first, middle) = (vocab_size as u64 / 4, (vocab_size as u64 / 2).max(1));
    (0..count).map(|_| (first + rng.below(middle)) as u32).collect()
}

/// The sampler of every benchmark: always the most probable token.
pub fn deterministic_sampler(seed: u64) -> SamplerConfig {
    SamplerConfig { top_k: 1, seed, ..SamplerConfig::greedy() }
}

/// Whether a sampler gives the same tokens at every run, of whatever build.
///
/// # Errors
/// `InvalidArgument` naming the setting that does not.
pub fn check_deterministic(sampler: &SamplerConfig) -> Result<()> {
    if sampler.temperature != 0.0 {
        return Err(Error::invalid_argument(format!("temperature is {}: a benchmark generates with temperature 0", sampler.temperature)));
    }
    if sampler.top_k != 1 {
        return Err(Error::invalid_argument(format!("top_k is {}: a benchmark generates with top_k 1", sampler.top_k)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_have_sizes_and_names_of_their_own() {
        for (number, workload) in Workload::ALL.iter().enumerate() {
            workload.validate().unwrap();
            assert!(workload.name != "custom" && Workload::ALL[..number].iter().all(|other| other.name != workload.name));
        }
        assert!(Workload::custom(0, 5).is_err() && Workload::custom(5, 0).is_err() && Workload::custom(1 << 21, 1).is_err());
    }

    #[test]
    fn prompts_are_reproducible_and_differ_between_requests() {
        let prompt = |seed, request| Workload::SHORT_QA.prompt(1_000, seed, request);
        assert_eq!(prompt(7, 3), prompt(7, 3));
        assert!(prompt(7, 3) != prompt(7, 4) && prompt(7, 3) != prompt(8, 3));
        assert!(prompt(7, 3).len() == 32 && prompt(7, 3).iter().all(|token| (250..750).contains(token)));
        assert_eq!(Workload::SHORT_QA.prompt(1, 0, 0), vec![0; 32]);
    }

    #[test]
    fn settings_that_leave_tokens_to_chance_are_refused() {
        check_deterministic(&deterministic_sampler(3)).unwrap();
        let warm = SamplerConfig { temperature: 0.1, ..deterministic_sampler(3) };
        assert!(check_deterministic(&warm).unwrap_err().message().contains("temperature"));
        let wide = SamplerConfig { top_k: 40, ..deterministic_sampler(3) };
        assert!(check_deterministic(&wide).unwrap_err().message().contains("top_k"));
    }
}
