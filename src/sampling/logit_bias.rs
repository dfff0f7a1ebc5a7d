//! Adds fixed numbers to the logits of single tokens; −∞ forbids one.

use super::{Candidates, Stage};
use crate::base::{Error, Result};

/// The logit bias of a chain: at most one entry for each token.
pub(super) struct LogitBias {
    entries: Vec<(u32, f32)>,
}

impl LogitBias {
    /// The bias of `entries`, whose ids lie inside the vocabulary.
    pub(super) fn new(entries: &[(u32, f32)]) -> Result<Self> {
        let mut own = Vec::new();
        own.try_reserve_exact(entries.len()).map_err(|_| Error::out_of_memory(format!("{} entries of logit_bias", entries.len())))?;
        own.extend_from_slice(entries);
        Ok(Self { entries: own })
    }
}

impl Stage for LogitBias {
    fn apply(&mut self, candidates: &mut Candidates<'_>) -> Result<()> {
        let logits = candidates.whole()?;
        for &(token, bias) in &self.entries {
            logits[token as usize] += bias;
        }
        Ok(())
    }
}
