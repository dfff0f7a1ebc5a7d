//! The sampler: its stages in order, the final choice, and the state that is saved with a session.

use std::sync::Arc;

use super::SamplerConfig;
use super::candidates::{Candidates, room_for_top};
use super::logit_bias::LogitBias;
use super::min_p::MinP;
use super::penalties::Penalties;
use super::rng::Rng;
use super::temperature::Temperature;
use super::top_k::TopK;
use super::top_p::TopP;
use crate::base::{AlignedBuf, Error, MemoryBudget, MemoryCategory, Result};

/// One link of the chain. A stage allocates nothing in [`apply`](Self::apply) and [`accept`](Self::accept).
pub trait Stage: Send + Sync {
    /// Changes logits ([`Candidates::whole`], before any narrowing) or narrows the candidates.
    ///
    /// # Errors
    /// Whatever makes a draw impossible; the sampler stays usable.
    fn apply(&mut self, candidates: &mut Candidates<'_>) -> Result<()>;

    /// Takes note of a token that became part of the text; its id lies inside the vocabulary.
    fn accept(&mut self, _token: u32) {}

    /// Forgets what [`accept`](Self::accept) told.
    fn reset(&mut self) {}

    /// Appends what [`restore`](Self::restore) needs.
    fn save(&self, _out: &mut Vec<u8>) {}

    /// Takes up a state that [`save`](Self::save) wrote, from untrusted bytes.
    ///
    /// # Errors
    /// [`InvalidFile`](crate::base::ErrorKind::InvalidFile) where the bytes are not such a state.
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        if state.is_empty() { Ok(()) } else { Err(Error::invalid_file("state for a sampler stage that has none")) }
    }
}

/// First bytes of a saved state: name and version.
const STATE_MAGIC: &[u8; 8] = b"LQSAMP01";

/// A sampler chain for one session. Owns all memory it needs; [`sample`](Self::sample) and [`accept`](Self::accept) allocate
/// nothing. `Send + Sync`, used through `&mut` by one thread at a time.
pub struct Sampler {
    vocab_size: usize,
    seed: u64,
    rng: Rng,
    greedy: bool,
    /// Stages that change logits of the whole vocabulary; after them the logits are checked.
    adjust: Vec<Box<dyn Stage>>,
    /// Stages that narrow the candidates, and the temperature.
    narrow: Vec<Box<dyn Stage>>,
    /// Room for the list of candidates: u64 keys.
    keys: AlignedBuf<u64>,
}

impl Sampler {
    /// The chain that `config` describes, for logits of `vocab_size` tokens.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::base::ErrorKind::InvalidArgument) for a setting out of range or an empty vocabulary;
    /// [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) where the budget (category `other`) refuses.
    pub fn new(config: &SamplerConfig, vocab_size: usize, budget: &Arc<MemoryBudget>) -> Result<Self> {
        if vocab_size == 0 || u32::try_from(vocab_size).is_err() {
            return Err(Error::invalid_argument(format!("a vocabulary of {vocab_size} tokens, must be 1 to {}", u32::MAX)));
        }
        config.validate(vocab_size)?;
        let mut adjust: Vec<Box<dyn Stage>> = Vec::new();
        if !config.logit_bias.is_empty() {
            adjust.push(Box::new(LogitBias::new(&config.logit_bias)?));
        }
        let penalised = config.repetition_penalty != 1.0 || config.presence_penalty != 0.0 || config.frequency_penalty != 0.0;
        if penalised && config.penalty_window > 0 {
            adjust.push(Box::new(Penalties::new(config, vocab_size, budget)?));
        }
        let mut narrow: Vec<Box<dyn Stage>> = Vec::new();
        let mut room = 0;
        let greedy = config.temperature == 0.0;
        if !greedy {
            let top_k = config.top_k as usize;
            if top_k > 0 && top_k < vocab_size {
                narrow.push(Box::new(TopK(top_k)));
                room = room_for_top(top_k, vocab_size);
            } else if config.top_p < 1.0 || config.min_p > 0.0 {
                room = vocab_size;
            }
            if config.top_p < 1.0 {
                narrow.push(Box::new(TopP(config.top_p)));
            }
            if config.min_p > 0.0 {
                narrow.push(Box::new(MinP(config.min_p)));
            }
            if config.temperature != 1.0 {
                narrow.push(Box::new(Temperature(config.temperature)));
            }
        }
        let keys = AlignedBuf::zeroed(budget, MemoryCategory::Other, room)?;
        Ok(Self { vocab_size, seed: config.seed, rng: Rng::new(config.seed), greedy, adjust, narrow, keys })
    }

    /// Whether [`sample`](Self::sample) overwrites the logits that it is given: always but for a plain greedy choice.
    pub fn changes_logits(&self) -> bool {
        !self.greedy || !self.adjust.is_empty()
    }

    /// Draws a token from `logits` (`[vocab_size]`, overwritten). The token is not accepted: the caller does that once it
    /// is part of the text.
    ///
    /// # Errors
    /// [`NonFinite`](crate::base::ErrorKind::NonFinite) naming the token whose logit, after bias and penalties, is NaN or
    /// +∞, or where every logit is −∞; [`InvalidArgument`](crate::base::ErrorKind::InvalidArgument) for a wrong length.
    /// No random number is spent then.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32> {
        let greedy = self.greedy;
        let (candidates, rng) = self.narrowed(logits)?;
        Ok(if greedy { candidates.top() } else { candidates.at_quantile(rng.next_f64()) })
    }

    /// Runs all stages over `logits`; what is left comes back with the random numbers to choose by.
    pub(super) fn narrowed<'a>(&'a mut self, logits: &'a mut [f32]) -> Result<(Candidates<'a>, &'a mut Rng)> {
        if logits.len() != self.vocab_size {
            return Err(Error::invalid_argument(format!("{} logits for a vocabulary of {}", logits.len(), self.vocab_size)));
        }
        let mut candidates = Candidates::new(logits, &mut self.keys);
        for stage in &mut self.adjust {
            stage.apply(&mut candidates)?;
        }
        candidates.scan()?;
        for stage in &mut self.narrow {
            stage.apply(&mut candidates)?;
        }
        Ok((candidates, &mut self.rng))
    }

    /// Tells the chain that `token` became part of the text: prompt tokens too, where penalties shall see them. A token
    /// outside the vocabulary is ignored.
    pub fn accept(&mut self, token: u32) {
        if (token as usize) < self.vocab_size {
            self.adjust.iter_mut().chain(&mut self.narrow).for_each(|stage| stage.accept(token));
        }
    }

    /// Forgets the accepted tokens and starts the random numbers again from the seed.
    pub fn reset(&mut self) {
        self.adjust.iter_mut().chain(&mut self.narrow).for_each(|stage| stage.reset());
        self.rng = Rng::new(self.seed);
    }

    /// All that [`restore`](Self::restore) needs to go on as this sampler would: random numbers and accepted tokens, not
    /// the settings. Layout: magic of 8 bytes, 4 × `u64`, then for each stage a `u32` length and its bytes; little-endian.
    pub fn state(&self) -> Vec<u8> {
        let mut out = STATE_MAGIC.to_vec();
        self.rng.state().iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        for stage in self.adjust.iter().chain(&self.narrow) {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            stage.save(&mut out);
            let len = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        }
        out
    }

    /// Takes up the [`state`](Self::state) of a sampler with the same settings and vocabulary. The bytes may be hostile.
    ///
    /// # Errors
    /// [`InvalidFile`](crate::base::ErrorKind::InvalidFile) where they are not such a state; the sampler is reset then.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.take_up(state).inspect_err(|_| self.reset()).map_err(|error| error.at("sampler state"))
    }

    fn take_up(&mut self, state: &[u8]) -> Result<()> {
        let mut rest = state;
        let mut take = |len: usize| -> Result<&[u8]> {
            let (taken, left) = rest.split_at_checked(len).ok_or_else(|| Error::invalid_file("ends too early"))?;
            rest = left;
            Ok(taken)
        };
        if take(STATE_MAGIC.len())? != STATE_MAGIC {
            return Err(Error::invalid_file("is not one of this version"));
        }
        let mut words = [0u64; 4];
        for word in &mut words {
            *word = take(8)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        }
        let rng = Rng::from_state(words).ok_or_else(|| Error::invalid_file("has a random generator of all zeros"))?;
        for stage in self.adjust.iter_mut().chain(&mut self.narrow) {
            let len = take(4)?.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte));
            stage.restore(take(len)?)?;
        }
        if !rest.is_empty() {
            return Err(Error::invalid_file("goes on after its end"));
        }
        self.rng = rng;
        Ok(())
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stages = self.adjust.len() + self.narrow.len();
        write!(f, "Sampler({stages} stages, vocabulary {}, greedy {})", self.vocab_size, self.greedy)
    }
}
