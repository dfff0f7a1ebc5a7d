//! Texts to vectors: all tokens of a text in one pass through an encoder, and their embeddings pooled.
//!
//! As with a session, all memory is taken at creation, a pass can stop anywhere and go on, and the bits depend on nothing but the tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::base::pool::{Cursor, Lane, Outcome};
use crate::base::{AlignedBuf, Error, ErrorKind, MemoryCategory, Result};
use crate::kernels::kv::{KvCache, KvType};
use crate::kernels::ops::{Arena, Execution, Pass};
use crate::model::{Model, Pooling};

use super::conversation::{CancelHandle, budget, with_room};

/// How an embedder is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedderOptions {
    /// Most tokens of a text; 0 for as many as the model was trained for. The memory of a pass grows with it.
    pub tokens: u32,
    /// What becomes of the tokens' embeddings; none for what the model's file says, or the mean where it says nothing.
    pub pooling: Option<Pooling>,
    /// Divide each embedding by its length.
    pub normalize: bool,
    /// Most threads that work on a pass; 0 for all of the runtime.
    pub threads: u32,
}

impl Default for EmbedderOptions {
    fn default() -> Self {
        Self { tokens: 0, pooling: None, normalize: true, threads: 0 }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbedStep {
    /// The embeddings are there.
    Done,
    /// The budget is spent; call again to go on.
    Pending,
    /// The handle was used; call again to go on.
    Cancelled,
}

/// Computes embeddings with an encoder, one text at a time. One thread at a time.
pub struct Embedder {
    model: Model,
    pooling: Pooling,
    normalize: bool,
    arena: Arena,
    cache: KvCache,
    pass: Pass,
    lane: Lane,
    cancel: CancelHandle,
    /// Of the text in work or done.
    tokens: usize,
    /// The pass in progress.
    cursor: Option<Cursor>,
    /// The mean over the tokens, and the sums that it is made of.
    mean: AlignedBuf<f32>,
    sums: AlignedBuf<f64>,
    /// Embeddings that are there.
    rows: usize,
    width: usize,
    poisoned: bool,
}

impl Embedder {
    /// An embedder of `model`.
    ///
    /// # Errors
    /// `InvalidArgument` for a model that is no encoder or was loaded without weights, or more tokens than it has positions for;
    /// `OutOfMemory`.
    pub fn new(model: &Model, options: &EmbedderOptions) -> Result<Self> {
        with_room(model, || Self::make(model, options))
    }

    fn make(model: &Model, options: &EmbedderOptions) -> Result<Self> {
        let (config, runtime, program) = (model.config()?, model.runtime(), model.program()?);
        if !config.encoder {
            return Err(Error::invalid_argument(format!("architecture '{}' gives text, not embeddings", config.architecture)));
        }
        let most = config.context_length;
        let tokens = if options.tokens == 0 { most } else { options.tokens as usize };
        if tokens > most {
            return Err(Error::invalid_argument(format!("texts of {tokens} tokens: the model has positions for {most}")));
        }
        let pooling = options.pooling.or(config.pooling).unwrap_or(Pooling::Mean);
        let outputs = if matches!(pooling, Pooling::None | Pooling::Mean) { tokens } else { 1 };
        let (budget, width) = (runtime.budget(), config.embedding_length);
        let averaged = if pooling == Pooling::Mean { width } else { 0 };
        let mut cache = KvCache::new(budget, program.kv_shape(), KvType::F32, tokens)?;
        cache.reserve()?;
        let cancel = CancelHandle(Arc::new(AtomicBool::new(false)));
        Ok(Self {
            model: model.clone(),
            pooling,
            normalize: options.normalize,
            arena: Arena::new(program, runtime.kernels(), budget, tokens, outputs, runtime.threads())?,
            cache,
            pass: Pass::with_capacity(tokens, outputs, 1)?,
            lane: Lane::new(Arc::clone(&cancel.0)).with_threads(options.threads as usize),
            cancel,
            tokens: 0,
            cursor: None,
            mean: AlignedBuf::zeroed(budget, MemoryCategory::Other, averaged)?,
            sums: AlignedBuf::zeroed(budget, MemoryCategory::Other, averaged)?,
            rows: 0,
            width,
            poisoned: false,
        })
    }

    /// Begins with a text, in place of what was there before.
    ///
    /// # Errors
    /// `InvalidArgument` for no tokens or one outside the vocabulary, `ContextFull` for too many; what was there before stays.
    pub fn begin(&mut self, tokens: &[u32]) -> Result<()> {
        self.check_poison()?;
        let vocab_size = self.model.vocab_size()?;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(Error::invalid_argument(format!("token {token} is outside the vocabulary of {vocab_size}")));
        }
        if tokens.is_empty() {
            return Err(Error::invalid_argument("a text without tokens"));
        }
        if tokens.len() > self.cache.capacity() {
            let message = format!("a text of {} tokens: the embedder takes {}", tokens.len(), self.cache.capacity());
            return Err(Error::new(ErrorKind::ContextFull, message));
        }
        self.cache.truncate(0);
        self.pass.clear();
        let outputs = match self.pooling {
            Pooling::None | Pooling::Mean => 0..tokens.len(),
            Pooling::Cls => 0..1,
            Pooling::Last => tokens.len() - 1..tokens.len(),
        };
        self.pass.push(tokens, 0, 0, outputs);
        self.tokens = tokens.len();
        self.cursor = Some(Cursor::default());
        self.rows = 0;
        Ok(())
    }

    /// Goes on until the embeddings are there or `budget_ns` nanoseconds are spent (`u64::MAX`: no limit; 0: one work item).
    ///
    /// # Errors
    /// `InvalidArgument` where no text was begun, `Poisoned` after an internal fault.
    pub fn step(&mut self, budget_ns: u64) -> Result<EmbedStep> {
        self.check_poison()?;
        if self.rows > 0 {
            return Ok(EmbedStep::Done);
        }
        let Self { model, arena, cache, pass, lane, cancel, .. } = self;
        let Some(cursor) = &mut self.cursor else { return Err(Error::invalid_argument("a step without a text: begin with one")) };
        if cancel.0.swap(false, Ordering::AcqRel) {
            return Ok(EmbedStep::Cancelled);
        }
        let (runtime, program) = (model.runtime(), model.program()?);
        let execution = Execution::bind(program, runtime.kernels(), arena, pass, std::iter::once((0, &mut *cache)))?;
        let outcome = runtime.pool().run(lane, &execution, cursor, budget(Instant::now(), budget_ns));
        self.poisoned |= outcome.is_err();
        match outcome? {
            Outcome::Stopped if self.cancel.0.swap(false, Ordering::AcqRel) => Ok(EmbedStep::Cancelled),
            Outcome::Stopped => Ok(EmbedStep::Pending),
            Outcome::Finished => {
                self.cursor = None;
                self.pool()?;
                Ok(EmbedStep::Done)
            }
        }
    }

    /// The tokens' embeddings become those of the text.
    fn pool(&mut self) -> Result<()> {
        let view = self.model.program()?.logits();
        self.rows = match self.pooling {
            Pooling::None => self.tokens,
            Pooling::Cls | Pooling::Last => 1,
            Pooling::Mean => {
                self.sums.fill(0.0);
                for token in 0..self.tokens {
                    self.sums.iter_mut().zip(self.arena.floats(view, token)).for_each(|(sum, &x)| *sum += f64::from(x));
                }
                self.mean.iter_mut().zip(self.sums.iter()).for_each(|(mean, sum)| *mean = (sum / self.tokens as f64) as f32);
                1
            }
        };
        if self.normalize {
            for row in 0..self.rows {
                let row = if self.pooling == Pooling::Mean { &mut self.mean[..] } else { self.arena.floats_mut(view, row) };
                let length = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                if length > 0.0 {
                    row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
                }
            }
        }
        Ok(())
    }

    /// Embeddings that are there: one for the text, or with [`Pooling::None`] one for each token; 0 before they are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of an embedding.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Most tokens of a text.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// The embedding number `row`, `None` where it is not there.
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        if row >= self.rows {
            return None;
        }
        match self.pooling {
            Pooling::Mean => Some(&self.mean),
            _ => Some(self.arena.floats(self.model.program().ok()?.logits(), row)),
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A handle that cancels steps from any thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    fn check_poison(&self) -> Result<()> {
        if self.poisoned {
            return Err(Error::new(ErrorKind::Poisoned, "an earlier fault left the embedder in an unknown state"));
        }
        Ok(())
    }
}
