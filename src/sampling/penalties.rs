//! Repetition, presence and frequency penalties over the last accepted tokens, as llama.cpp and Transformers define them.
//!
//! For each token that stands `count` > 0 times in the window:
//! `logit = (logit > 0 ? logit / repetition : logit · repetition) − count · frequency − presence`.

use std::sync::Arc;

use super::{Candidates, SamplerConfig, Stage};
use crate::base::{AlignedBuf, Error, MemoryBudget, MemoryCategory, Result};

/// The window and its counts. Accepting a token and applying the penalties cost O(1) and O(different tokens in the window).
pub(super) struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    /// `[window]`: the last accepted tokens, a ring; `next` is where the next one goes, `len` how many there are.
    ring: AlignedBuf<u32>,
    next: usize,
    len: usize,
    /// `[vocabulary]`: how often each token stands in the window.
    counts: AlignedBuf<u32>,
    /// `[min(window, vocabulary)]`: the tokens that stand in the window, each once, in no order; `distinct` of them.
    tokens: AlignedBuf<u32>,
    distinct: usize,
    /// `[vocabulary]`: where in `tokens` a token of the window stands.
    places: AlignedBuf<u32>,
}

impl Penalties {
    /// The penalties of `config` (window above 0) for `vocab_size` tokens.
    pub(super) fn new(config: &SamplerConfig, vocab_size: usize, budget: &Arc<MemoryBudget>) -> Result<Self> {
        let window = config.penalty_window as usize;
        let buffer = |len| AlignedBuf::zeroed(budget, MemoryCategory::Other, len);
        Ok(Self {
            repetition: config.repetition_penalty,
            presence: config.presence_penalty,
            frequency: config.frequency_penalty,
            ring: buffer(window)?,
            next: 0,
            len: 0,
            counts: buffer(vocab_size)?,
            tokens: buffer(window.min(vocab_size))?,
            distinct: 0,
            places: buffer(vocab_size)?,
        })
    }

    fn forget_oldest(&mut self) {
        let oldest = (self.next + self.ring.len() - self.len) % self.ring.len();
        let token = self.ring[oldest] as usize;
        self.len -= 1;
        self.counts[token] -= 1;
        if self.counts[token] == 0 {
            // The last of `tokens` takes the place of the one that goes.
            self.distinct -= 1;
            let moved = self.tokens[self.distinct];
            let place = self.places[token];
            self.tokens[place as usize] = moved;
            self.places[moved as usize] = place;
        }
    }
}

impl Stage for Penalties {
    fn apply(&mut self, candidates: &mut Candidates<'_>) -> Result<()> {
        let logits = candidates.whole()?;
        for &token in &self.tokens[..self.distinct] {
            let logit = &mut logits[token as usize];
            let repeated = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
            *logit = repeated - self.counts[token as usize] as f32 * self.frequency - self.presence;
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) {
        if self.len == self.ring.len() {
            self.forget_oldest();
        }
        self.ring[self.next] = token;
        self.next = (self.next + 1) % self.ring.len();
        self.len += 1;
        let count = &mut self.counts[token as usize];
        *count += 1;
        if *count == 1 {
            self.tokens[self.distinct] = token;
            self.places[token as usize] = self.distinct as u32;
            self.distinct += 1;
        }
    }

    fn reset(&mut self) {
        while self.len > 0 {
            self.forget_oldest();
        }
    }

    /// The window's tokens, oldest first, as little-endian `u32`.
    fn save(&self, out: &mut Vec<u8>) {
        for i in 0..self.len {
            let place = (self.next + self.ring.len() - self.len + i) % self.ring.len();
            out.extend_from_slice(&self.ring[place].to_le_bytes());
        }
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let (tokens, rest) = state.as_chunks::<4>();
        if !rest.is_empty() || tokens.len() > self.ring.len() {
            return Err(Error::invalid_file(format!("a penalty window of {} bytes for {} tokens", state.len(), self.ring.len())));
        }
        let tokens = || tokens.iter().map(|&bytes| u32::from_le_bytes(bytes));
        if let Some(token) = tokens().find(|&token| token as usize >= self.counts.len()) {
            return Err(Error::invalid_file(format!("token {token} in the penalty window, the vocabulary has {}", self.counts.len())));
        }
        self.reset();
        tokens().for_each(|token| self.accept(token));
        Ok(())
    }
}
