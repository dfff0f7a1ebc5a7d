//! Options of a session.

use crate::base::{Error, Result};
use crate::kernels::kv::KvType;
use crate::model::ModelConfig;
use crate::sampling::SamplerConfig;

/// How a session is made. The defaults decode greedily with the model's own context length.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Positions of the context; 0 for the length that the model was trained for.
    pub context: u32,
    /// Most prompt tokens computed in one pass: more is faster on long prompts and takes more scratch memory.
    pub batch: u32,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// The sampler chain.
    pub sampler: SamplerConfig,
    /// Keep the logits of every position of the last pass, not of the last position alone. Takes `batch · vocabulary` floats.
    pub all_logits: bool,
    /// Tokens after which a turn ends; none for no limit but the context. 0 computes the prompt and ends.
    pub max_tokens: Option<u32>,
    /// Texts that end a turn; they are not part of its text.
    pub stop: Vec<Vec<u8>>,
    /// Treat end-of-generation tokens like any other.
    pub ignore_eog: bool,
    /// Let control tokens (`<|im_end|>`) appear in the text as they are written.
    pub show_special: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            context: 0,
            batch: 512,
            kv_type: KvType::F16,
            sampler: SamplerConfig::greedy(),
            all_logits: false,
            max_tokens: None,
            stop: vec![],
            ignore_eog: false,
            show_special: false,
        }
    }
}

/// Most positions that a session may ask for.
const MAX_CONTEXT: usize = 1 << 24;

impl SessionOptions {
    /// Context length and batch for a model of `config`, checked.
    ///
    /// # Errors
    /// `InvalidArgument` for a value out of range.
    pub(super) fn sizes(&self, config: &ModelConfig) -> Result<(usize, usize)> {
        let context = match self.context as usize {
            0 => config.context_length,
            n => n,
        };
        if context > MAX_CONTEXT {
            return Err(Error::invalid_argument(format!("a context of {context} positions (most: {MAX_CONTEXT})")));
        }
        if self.batch == 0 {
            return Err(Error::invalid_argument("a batch of 0 tokens"));
        }
        Ok((context, context.min(self.batch as usize)))
    }
}
