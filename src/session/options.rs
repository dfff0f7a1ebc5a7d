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
    /// Take the memory of the whole context when the session is made. Otherwise it is taken as the conversation grows, and a step may
    /// say `OutOfMemory`.
    pub reserve: bool,
    /// What happens when the context is full.
    pub context_policy: ContextPolicy,
    /// Begin with what other sessions of the model have computed of the same prompt, and let them begin with this one's.
    pub prefix_reuse: bool,
    /// Most threads that work on a step, the calling one included; 0 for all of the runtime. Changes speed, not results.
    pub threads: u32,
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

/// What happens when the context is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContextPolicy {
    /// The turn ends with [`DoneReason::ContextFull`](super::DoneReason::ContextFull).
    #[default]
    Stop,
    /// The first `keep` tokens stay, the oldest quarter of the others is dropped, and the rest moves forward: keys are rotated to their new
    /// positions, values stay as they were computed (Xiao et al. 2023, arXiv 2309.17453: what is kept at the front holds attention together).
    /// An approximation: the remaining tokens were computed with the dropped ones in sight.
    Shift {
        /// Tokens that stay: at most half of the context.
        keep: u32,
    },
    /// What no later token sees is dropped, and positions go on being counted: for models all of whose layers have a window. Exact: every token comes
    /// out as in a context without an end. The context holds the window and at least 255 positions more.
    Slide,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            context: 0,
            batch: 512,
            kv_type: KvType::F16,
            reserve: true,
            context_policy: ContextPolicy::Stop,
            prefix_reuse: true,
            threads: 0,
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
        if config.encoder {
            return Err(Error::invalid_argument(format!("architecture '{}' gives embeddings, not text", config.architecture)));
        }
        let context = match self.context as usize {
            0 => config.context_length,
            n => n,
        };
        if context > MAX_CONTEXT {
            return Err(Error::invalid_argument(format!("a context of {context} positions (most: {MAX_CONTEXT})")));
        }
        if let Some(learned) = config.learned_positions {
            if context > learned {
                let message = format!("a context of {context} positions: architecture '{}' has learned {learned}", config.architecture);
                return Err(Error::invalid_argument(message));
            }
            if self.context_policy != ContextPolicy::Stop {
                let message = format!("a shift of the context in architecture '{}': its positions are learned", config.architecture);
                return Err(Error::unsupported(message));
            }
        }
        if self.batch == 0 {
            return Err(Error::invalid_argument("a batch of 0 tokens"));
        }
        if let ContextPolicy::Shift { keep } = self.context_policy
            && (keep as usize > context / 2 || context < 8)
        {
            return Err(Error::invalid_argument(format!(
                "{keep} tokens to keep in a context of {context}: at most half of it (and 8 positions)"
            )));
        }
        Ok((context, context.min(self.batch as usize)))
    }
}
