//! How the sessions of a benchmark are made, and what measures them all: nothing is reused, nothing is left to chance.

use serde_json::{Value, json};

use crate::base::{Error, Result};
use crate::model::Model;
use crate::sampling::SamplerConfig;
use crate::session::{KvType, Session, SessionOptions};

use super::workload::{check_deterministic, deterministic_sampler};

/// Settings that all measurements share.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Element type of the key/value cache.
    pub kv_type: KvType,
    /// Positions of a session's context; 0 for as many as the measurement needs.
    pub context: u32,
    /// Most prompt tokens of a pass of a session's own.
    pub batch: u32,
    /// The sampler; it must be deterministic. Its seed makes the prompts too.
    pub sampler: SamplerConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self { kv_type: KvType::F16, context: 0, batch: 512, sampler: deterministic_sampler(0) }
    }
}

impl Settings {
    /// The seed of prompts, draws and resamples.
    pub fn seed(&self) -> u64 {
        self.sampler.seed
    }

    /// Whether a benchmark can be run with them.
    ///
    /// # Errors
    /// `InvalidArgument` for a sampler that leaves tokens to chance, and for a batch of no tokens.
    pub fn validate(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::invalid_argument("a batch of 0 tokens: at least 1"));
        }
        check_deterministic(&self.sampler)
    }

    /// A session with room for `positions` tokens (or for more, where the context is set), which goes on past the end of a text and computes
    /// every prompt itself. `columns`: the most prompt tokens of its own passes, 1 for a session that only takes part in batches.
    ///
    /// # Errors
    /// As [`Session::new`], and `InvalidArgument` where the context is set to fewer positions.
    pub(super) fn session(&self, model: &Model, positions: u32, columns: u32, reserve: bool) -> Result<Session> {
        if self.context != 0 && self.context < positions {
            return Err(Error::invalid_argument(format!("a context of {} positions: this measurement needs {positions}", self.context)));
        }
        Session::new(model, &SessionOptions { reserve, ..self.options(positions, columns) })
    }

    /// A session that computes up to `columns` tokens a pass, generates none, and keeps the logits of all of the pass.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub(super) fn scoring_session(&self, model: &Model, positions: u32, columns: u32) -> Result<Session> {
        Session::new(model, &SessionOptions { all_logits: true, max_tokens: Some(0), ..self.options(positions, columns) })
    }

    fn options(&self, positions: u32, columns: u32) -> SessionOptions {
        SessionOptions {
            context: self.context.max(positions),
            batch: columns,
            kv_type: self.kv_type,
            prefix_reuse: false,
            sampler: self.sampler.clone(),
            ignore_eog: true,
            ..SessionOptions::default()
        }
    }

    /// For JSON.
    pub(super) fn value(&self) -> Value {
        json!({
            "kv_type": self.kv_type.name(),
            "context": (self.context != 0).then_some(self.context),
            "batch": self.batch,
            "temperature": self.sampler.temperature,
            "top_k": self.sampler.top_k,
            "seed": self.sampler.seed,
        })
    }
}
