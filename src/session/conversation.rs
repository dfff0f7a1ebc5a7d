//! The session: tokens in, one step at a time, tokens out.
//!
//! The tokens of the conversation are a list; the KV cache covers a prefix of it. A *pass* computes the next tokens of the list
//! (a chunk of a prompt, or the one token that was sampled last). When the cache covers the whole list, the logits of its last
//! position are there and a token is sampled. A step goes on with the pass in progress until its budget is spent or a token
//! comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::pool::{Budget, Cursor, Lane, Outcome};
use crate::base::{AlignedBuf, Error, MemoryCategory, Result};
use crate::kernels::kv::KvCache;
use crate::kernels::ops::{Arena, Execution, Pass};
use crate::metrics::{Outcome as StepOutcome, SessionMetrics, SessionRecorder, StepRecord, TokenTiming};
use crate::model::Model;
use crate::sampling::Sampler;

use super::options::SessionOptions;
use super::text::TextStream;

/// Why a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoneReason {
    /// The model chose an end-of-generation token.
    EndOfGeneration,
    /// A stop string came up.
    StopString,
    /// The limit on tokens was reached.
    TokenLimit,
    /// The context has no room for another token.
    ContextFull,
}

/// What a step brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The budget is spent; call again to go on.
    Pending,
    /// A token.
    Token {
        /// Its id.
        id: u32,
    },
    /// The turn is over. Appending tokens begins another.
    Done {
        /// Why.
        reason: DoneReason,
        /// The end-of-generation token, where that was the reason. It is not part of the conversation's tokens.
        token: Option<u32>,
    },
    /// [`CancelHandle::cancel`] was called. The session is valid; another step goes on where this one stopped.
    Cancelled,
}

/// Stops the step in progress of a session, or its next one. Any thread, at any time.
#[derive(Debug, Clone)]
pub struct CancelHandle(Arc<AtomicBool>);

impl CancelHandle {
    /// Asks for the stop. Takes effect at the next work item, well within a millisecond on usual models.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Takes a request back that no step has seen.
    pub(super) fn withdraw(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A pass in progress.
#[derive(Debug, Clone, Copy)]
struct Running {
    /// Tokens of the pass; it begins where the cache ends.
    count: usize,
    /// First of its columns whose logits are computed.
    outputs: usize,
    cursor: Cursor,
    /// Whether it computes prompt tokens (for the metrics).
    prefill: bool,
}

/// A turn: from appended tokens to its end.
#[derive(Debug, Clone, Copy)]
struct Turn {
    since: Instant,
    last_token: Option<Instant>,
    generated: u32,
    done: Option<(DoneReason, Option<u32>)>,
}

/// A conversation with a model. Owns all memory that its steps touch. One thread at a time.
pub struct Session {
    model: Model,
    arena: Arena,
    cache: KvCache,
    lane: Lane,
    cancel: CancelHandle,
    tokens: Vec<u32>,
    /// Tokens from here on were sampled, not given.
    prompt_end: usize,
    running: Option<Running>,
    /// The positions whose logits are in the arena.
    logits: std::ops::Range<usize>,
    sampler: Sampler,
    /// A copy of the logits for samplers that change them.
    sampled: Option<AlignedBuf<f32>>,
    text: TextStream,
    turn: Turn,
    max_tokens: Option<u32>,
    ignore_eog: bool,
    all_logits: bool,
    batch: usize,
    recorder: SessionRecorder,
    poisoned: bool,
}

impl Session {
    /// A session of `model` with memory for its whole context.
    ///
    /// # Errors
    /// `InvalidArgument` for options out of range or a model without weights, `OutOfMemory`.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self> {
        let (context, batch) = options.sizes(model.config()?)?;
        let (runtime, program, vocab_size) = (model.runtime(), model.program()?, model.vocab_size()?);
        let budget = runtime.budget();
        let outputs = if options.all_logits { batch } else { 1 };
        let cache = KvCache::new(budget, program.kv_shape(), options.kv_type, context)?;
        let arena = Arena::new(program, runtime.kernels(), budget, batch, outputs, runtime.threads())?;
        let sampler = Sampler::new(&options.sampler, vocab_size, budget)?;
        let sampled = match sampler.changes_logits() {
            true => Some(AlignedBuf::zeroed(budget, MemoryCategory::Other, vocab_size)?),
            false => None,
        };
        let mut tokens = Vec::new();
        tokens.try_reserve_exact(context + 1).map_err(|_| Error::out_of_memory(format!("a list of {context} tokens")))?;
        let cancel = CancelHandle(Arc::new(AtomicBool::new(false)));
        let recorder = runtime.metrics().session(cache.memory_bytes(), arena.bytes());
        Ok(Self {
            model: model.clone(),
            arena,
            cache,
            lane: Lane::new(Arc::clone(&cancel.0)),
            cancel,
            tokens,
            prompt_end: 0,
            running: None,
            logits: 0..0,
            sampler,
            sampled,
            text: TextStream::new(model.tokenizer().ok(), &options.stop, options.show_special)?,
            turn: Turn { since: Instant::now(), last_token: None, generated: 0, done: None },
            max_tokens: options.max_tokens,
            ignore_eog: options.ignore_eog,
            all_logits: options.all_logits,
            batch,
            recorder,
            poisoned: false,
        })
    }

    /// Adds tokens to the conversation and begins a turn. They are computed by the steps that follow.
    ///
    /// # Errors
    /// `ContextFull` where they do not fit, `InvalidArgument` for an id outside the vocabulary; nothing is added then.
    pub fn append(&mut self, tokens: &[u32]) -> Result<()> {
        self.check_poison()?;
        let vocab_size = self.model.vocab_size()?;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(Error::invalid_argument(format!("token {token} is outside the vocabulary of {vocab_size}")));
        }
        self.cache.check_room(self.tokens.len() - self.cache.len() + tokens.len())?;
        self.tokens.extend_from_slice(tokens);
        for &token in tokens {
            self.sampler.accept(token);
        }
        self.prompt_end = self.tokens.len();
        self.begin_turn();
        Ok(())
    }

    /// Changes the limit on the tokens of a turn, from the turn in progress on; see [`SessionOptions::max_tokens`].
    pub fn set_max_tokens(&mut self, max_tokens: Option<u32>) {
        self.max_tokens = max_tokens;
    }

    /// Goes on until a token comes out, the turn ends, or `budget_ns` nanoseconds are spent (`u64::MAX`: no limit; 0: one work item).
    ///
    /// # Errors
    /// `InvalidArgument` without tokens to go on from, `NonFinite` where the logits allow no choice, `Poisoned` after an internal fault.
    pub fn step(&mut self, budget_ns: u64) -> Result<Step> {
        self.check_poison()?;
        let begin = Instant::now();
        self.text.clear();
        let mut record = StepRecord::default();
        let result = self.advance(begin, budget_ns, &mut record);
        record.outcome = match &result {
            Ok(Step::Pending) => StepOutcome::Pending,
            Ok(Step::Cancelled) => StepOutcome::Cancelled,
            Ok(_) => StepOutcome::Finished,
            Err(_) => StepOutcome::Failed,
        };
        if budget_ns != u64::MAX {
            record.overshoot_ns = Some(nanoseconds(begin.elapsed()).saturating_sub(budget_ns));
        }
        record.kv_used_bytes = Some(self.cache.live_bytes());
        self.recorder.step(&record);
        result
    }

    fn advance(&mut self, begin: Instant, budget_ns: u64, record: &mut StepRecord) -> Result<Step> {
        let budget = match budget_ns {
            u64::MAX => Budget::Unlimited,
            0 => Budget::OneItem,
            ns => begin.checked_add(Duration::from_nanos(ns)).map_or(Budget::Unlimited, Budget::Until),
        };
        loop {
            if self.cancel.0.swap(false, Ordering::AcqRel) {
                return Ok(Step::Cancelled);
            }
            if let Some((reason, token)) = self.turn.done {
                return Ok(Step::Done { reason, token });
            }
            if self.running.is_none() {
                if self.tokens.is_empty() {
                    return Err(Error::invalid_argument("a step without tokens: append a prompt first"));
                }
                if self.cache.len() == self.tokens.len() {
                    return self.sample(record);
                }
                if self.tokens.len() > self.cache.capacity() {
                    return Ok(self.finish(DoneReason::ContextFull, None));
                }
                if self.max_tokens.is_some_and(|most| most > 0 && self.turn.generated >= most) {
                    return Ok(self.finish(DoneReason::TokenLimit, None));
                }
                self.running = Some(self.next_pass());
            }
            let begin_pass = Instant::now();
            let outcome = self.run_pass(budget);
            let spent = nanoseconds(begin_pass.elapsed());
            self.recorder.dispatch(spent);
            let running = self.running.expect("a pass was set up above");
            if running.prefill {
                record.prefill_ns += spent;
            } else {
                record.decode_ns += spent;
            }
            match outcome? {
                Outcome::Finished => {
                    self.complete(running, record)?;
                    if matches!(budget, Budget::OneItem) {
                        return Ok(Step::Pending);
                    }
                }
                Outcome::Stopped if self.cancel.0.swap(false, Ordering::AcqRel) => return Ok(Step::Cancelled),
                Outcome::Stopped => return Ok(Step::Pending),
            }
        }
    }

    /// The next tokens that the cache does not cover, as many as fit in a pass.
    fn next_pass(&self) -> Running {
        let start = self.cache.len();
        let count = (self.tokens.len() - start).min(self.batch);
        let last = start + count == self.tokens.len();
        let outputs = match (self.all_logits, last) {
            (true, _) => 0,
            (false, true) => count - 1,
            (false, false) => count,
        };
        Running { count, outputs, cursor: Cursor::default(), prefill: start < self.prompt_end }
    }

    fn run_pass(&mut self, budget: Budget) -> Result<Outcome> {
        let running = self.running.as_mut().expect("a pass is in progress");
        let (runtime, start) = (self.model.runtime(), self.cache.len());
        let pass = Pass { tokens: &self.tokens[start..start + running.count], first: start, outputs: running.outputs..running.count };
        let program = self.model.program()?;
        let execution = Execution::bind(program, runtime.kernels(), &mut self.arena, &mut self.cache, pass)?;
        let outcome = runtime.pool().run(&mut self.lane, &execution, &mut running.cursor, budget);
        self.poisoned |= outcome.is_err();
        outcome
    }

    fn complete(&mut self, running: Running, record: &mut StepRecord) -> Result<()> {
        let start = self.cache.len();
        self.cache.advance(running.count)?;
        self.logits = start + running.outputs..start + running.count;
        self.running = None;
        if running.prefill {
            record.prompt_tokens += running.count as u64;
        }
        Ok(())
    }

    /// The cache covers all tokens: choose the next.
    fn sample(&mut self, record: &mut StepRecord) -> Result<Step> {
        if self.max_tokens.is_some_and(|most| self.turn.generated >= most) {
            return Ok(self.finish(DoneReason::TokenLimit, None));
        }
        let begin = Instant::now();
        let (view, column) = (self.model.program()?.logits(), self.logits.len() - 1);
        let id = match &mut self.sampled {
            Some(copy) => {
                copy.copy_from_slice(self.arena.floats(view, column));
                self.sampler.sample(copy)?
            }
            None => self.sampler.sample(self.arena.floats_mut(view, column))?,
        };
        if !self.ignore_eog && self.model.tokenizer().is_ok_and(|tokenizer| tokenizer.is_eog(id)) {
            return Ok(self.finish(DoneReason::EndOfGeneration, Some(id)));
        }
        self.sampler.accept(id);
        self.tokens.push(id);
        self.turn.generated += 1;
        let now = Instant::now();
        record.decode_ns += nanoseconds(now - begin);
        record.token = Some(match self.turn.last_token {
            None => TokenTiming::First { since_request_ns: nanoseconds(now - self.turn.since) },
            Some(before) => TokenTiming::Next { since_previous_ns: nanoseconds(now - before) },
        });
        self.turn.last_token = Some(now);
        match self.text.push(id)? {
            true => Ok(self.finish(DoneReason::StopString, None)),
            false => Ok(Step::Token { id }),
        }
    }

    fn begin_turn(&mut self) {
        self.turn = Turn { since: Instant::now(), last_token: None, generated: 0, done: None };
        self.text.begin();
    }

    fn finish(&mut self, reason: DoneReason, token: Option<u32>) -> Step {
        self.turn.done = Some((reason, token));
        self.text.finish();
        Step::Done { reason, token }
    }

    /// The text that the last step gave out: whole UTF-8 characters, often of one token, sometimes none (a character is not
    /// complete, or the text may be the beginning of a stop string) or more than one token's. A step that ends a turn may give out text.
    pub fn text(&self) -> &[u8] {
        self.text.text()
    }

    /// The logits after the last computed token, `None` before the first pass has ended.
    pub fn logits(&self) -> Option<&[f32]> {
        self.logits_at(self.logits.end.checked_sub(1)?)
    }

    /// The logits after the token at `position`; `None` where they were not kept (see [`SessionOptions::all_logits`]: the positions of
    /// the last pass).
    pub fn logits_at(&self, position: usize) -> Option<&[f32]> {
        if !self.logits.contains(&position) || self.running.is_some() {
            return None;
        }
        Some(self.arena.floats(self.model.program().ok()?.logits(), position - self.logits.start))
    }

    /// The positions whose logits are kept.
    pub fn logits_range(&self) -> std::ops::Range<usize> {
        if self.running.is_some() { 0..0 } else { self.logits.clone() }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// All tokens of the conversation, given and sampled.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens whose keys and values are computed.
    pub fn position(&self) -> usize {
        self.cache.len()
    }

    /// Positions of the context.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// The share of the appended tokens that is computed, 0 to 1.
    pub fn progress(&self) -> f32 {
        if self.prompt_end == 0 { 0.0 } else { (self.cache.len() as f32 / self.prompt_end as f32).min(1.0) }
    }

    /// Forgets all tokens from `len` on, a pass in progress and the turn. Logits are gone until the next pass.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.tokens.len() {
            return;
        }
        self.running = None;
        self.logits = 0..0;
        self.tokens.truncate(len);
        // The last token is computed again, so that its logits are there to go on from.
        self.cache.truncate(len.saturating_sub(1));
        self.prompt_end = self.prompt_end.min(len);
        self.begin_turn();
        self.sampler.reset();
        for &token in &self.tokens {
            self.sampler.accept(token);
        }
    }

    /// Forgets everything but the options; the sampler begins again from its seed.
    pub fn reset(&mut self) {
        self.truncate(0);
    }

    /// A handle that cancels steps from any thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// The metrics, readable from any thread, also after the session is gone.
    pub fn metrics(&self) -> SessionMetrics {
        self.recorder.metrics()
    }

    /// Work items that steps have run since the session was made.
    pub fn items_done(&self) -> u64 {
        self.lane.items_done()
    }

    fn check_poison(&self) -> Result<()> {
        if self.poisoned {
            return Err(Error::new(crate::base::ErrorKind::Poisoned, "an earlier fault left the session in an unknown state"));
        }
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
