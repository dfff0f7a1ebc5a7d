//! The session: tokens in, one step at a time, tokens out.
//!
//! The tokens of the conversation are a list; the KV cache covers a prefix of it. A *pass* computes the next tokens of the list
//! (a chunk of a prompt, or the one token that was sampled last). When the cache covers the whole list, the logits of its last
//! position are there and a token is sampled. A step goes on with the work in progress until its budget is spent or a token
//! comes out. What is to be done next is decided in `work.rs`, for a session that steps alone and for one in a batch alike.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::pool::{Budget, Lane, Outcome};
use crate::base::{AlignedBuf, Error, ErrorKind, MemoryCategory, Result};
use crate::kernels::kv::prefix::PrefixId;
use crate::kernels::kv::{KvCache, PAGE};
use crate::kernels::ops::{Arena, CHUNK, Pass, Shift};
use crate::metrics::{Outcome as StepOutcome, SessionMetrics, SessionRecorder, StepRecord};
use crate::model::Model;
use crate::sampling::Sampler;

use super::options::{ContextPolicy, SessionOptions};
use super::text::TextStream;
use super::work::{Due, Work};

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
pub struct CancelHandle(pub(super) Arc<AtomicBool>);

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

/// A turn: from appended tokens to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub since: Instant,
    pub last_token: Option<Instant>,
    pub generated: u32,
    pub done: Option<(DoneReason, Option<u32>)>,
    /// Whether a step has told the host that the turn is done.
    pub told: bool,
}

impl Turn {
    pub fn begin() -> Self {
        Self { since: Instant::now(), last_token: None, generated: 0, done: None, told: false }
    }
}

/// A conversation with a model. Owns all memory that its steps touch. One thread at a time.
pub struct Session {
    pub(super) model: Model,
    pub(super) options: SessionOptions,
    pub(super) arena: Arena,
    pub(super) pass: Pass,
    pub(super) cache: KvCache,
    /// How room is made in a full context, where the policy is to make some.
    pub(super) shift: Option<Shift>,
    pub(super) lane: Lane,
    pub(super) cancel: CancelHandle,
    pub(super) tokens: Vec<u32>,
    /// Tokens that came before these and have slid out of every layer's window.
    pub(super) slid: usize,
    /// Tokens from here on were sampled, not given.
    pub(super) prompt_end: usize,
    /// The work in progress.
    pub(super) work: Option<Work>,
    /// Counts what makes a pass in progress worthless: whoever computes one outside the session compares it.
    pub(super) epoch: u64,
    /// The positions whose logits are in the arena.
    pub(super) logits: Range<usize>,
    /// The places in the model's prefix index of the pages that the cache begins with.
    pub(super) indexed: Vec<PrefixId>,
    /// Positions that were computed with all that came before them: behind them tokens were dropped.
    pub(super) unbroken: usize,
    pub(super) sampler: Sampler,
    /// A copy of the logits for samplers that change them.
    pub(super) sampled: Option<AlignedBuf<f32>>,
    pub(super) text: TextStream,
    pub(super) turn: Turn,
    /// Most tokens of a pass.
    pub(super) batch: usize,
    pub(super) recorder: SessionRecorder,
    /// What a batch has done for the session since its last event.
    pub(super) carried: StepRecord,
    pub(super) poisoned: bool,
}

/// Refuses a context that can't slide: one in which a layer sees all that came before, or too small for a window and what is dropped at a time.
fn check_window(model: &Model, context: usize) -> Result<()> {
    let architecture = &model.config()?.architecture;
    let Some(window) = model.program()?.window() else {
        let message = format!("a context that slides: architecture '{architecture}' has layers that see the whole context");
        return Err(Error::unsupported(message));
    };
    let least = (window - 1).saturating_add(CHUNK);
    if context < least {
        let message = format!("a context of {context} that slides: the model's window of {window} needs {least} positions");
        return Err(Error::invalid_argument(message));
    }
    Ok(())
}

impl Session {
    /// A session of `model`.
    ///
    /// # Errors
    /// `InvalidArgument` for options out of range or a model without weights, `OutOfMemory`.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self> {
        with_room(model, || Self::make(model, options))
    }

    fn make(model: &Model, options: &SessionOptions) -> Result<Self> {
        let (context, batch) = options.sizes(model.config()?)?;
        let (runtime, program, vocab_size) = (model.runtime(), model.program()?, model.vocab_size()?);
        let budget = runtime.budget();
        let outputs = if options.all_logits { batch } else { 1 };
        let mut cache = KvCache::new(budget, program.kv_shape(), options.kv_type, context)?;
        if options.reserve {
            cache.reserve()?;
        }
        let shift = match options.context_policy {
            ContextPolicy::Stop => None,
            ContextPolicy::Slide => {
                check_window(model, context)?;
                None
            }
            ContextPolicy::Shift { keep } => {
                let keep = keep as usize;
                Some(Shift::new(program, keep, ((context - keep) / 4).max(1), context))
            }
        };
        let arena = Arena::new(program, runtime.kernels(), budget, batch, outputs, runtime.threads())?;
        let sampler = Sampler::new(&options.sampler, vocab_size, budget)?;
        let sampled = match sampler.changes_logits() {
            true => Some(AlignedBuf::zeroed(budget, MemoryCategory::Other, vocab_size)?),
            false => None,
        };
        let mut tokens = Vec::new();
        tokens.try_reserve_exact(context + 1).map_err(|_| Error::out_of_memory(format!("a list of {context} tokens")))?;
        let mut indexed = Vec::new();
        indexed.try_reserve_exact(context / PAGE).map_err(|_| Error::out_of_memory(format!("a list of {context} tokens")))?;
        let cancel = CancelHandle(Arc::new(AtomicBool::new(false)));
        let recorder = runtime.metrics().session(cache.capacity_bytes(), arena.bytes());
        Ok(Self {
            model: model.clone(),
            options: options.clone(),
            arena,
            pass: Pass::with_capacity(batch, outputs, 1)?,
            cache,
            shift,
            lane: Lane::new(Arc::clone(&cancel.0)).with_threads(options.threads as usize),
            cancel,
            tokens,
            slid: 0,
            prompt_end: 0,
            work: None,
            epoch: 0,
            logits: 0..0,
            indexed,
            unbroken: usize::MAX,
            sampler,
            sampled,
            text: TextStream::new(model.tokenizer().ok(), &options.stop, options.show_special)?,
            turn: Turn::begin(),
            batch,
            recorder,
            carried: StepRecord::default(),
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
        self.check_append(tokens.len())?;
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
        self.options.max_tokens = max_tokens;
    }

    /// Goes on until a token comes out, the turn ends, or `budget_ns` nanoseconds are spent (`u64::MAX`: no limit; 0: one work item).
    ///
    /// # Errors
    /// `InvalidArgument` without tokens to go on from, `NonFinite` where the logits allow no choice, `OutOfMemory` where the cache can't grow
    /// (the session is as it was), `Poisoned` after an internal fault.
    pub fn step(&mut self, budget_ns: u64) -> Result<Step> {
        self.check_poison()?;
        let begin = Instant::now();
        self.text.clear();
        let mut record = StepRecord::default();
        let result = self.advance(begin, budget_ns, &mut record);
        if budget_ns != u64::MAX {
            record.overshoot_ns = Some(nanoseconds(begin.elapsed()).saturating_sub(budget_ns));
        }
        self.record(&result, record);
        result
    }

    fn advance(&mut self, begin: Instant, budget_ns: u64, record: &mut StepRecord) -> Result<Step> {
        let budget = budget(begin, budget_ns);
        loop {
            match self.due(record)? {
                Due::Event(step) => return Ok(step),
                Due::Pass if self.work.is_none() => self.begin_pass(),
                Due::Pass | Due::Shift => {}
            }
            match self.run_work(budget, record)? {
                Outcome::Finished if matches!(budget, Budget::OneItem) => return Ok(Step::Pending),
                Outcome::Finished => {}
                Outcome::Stopped if self.cancelled() => return Ok(Step::Cancelled),
                Outcome::Stopped => return Ok(Step::Pending),
            }
        }
    }

    /// Notes what a step has done.
    pub(super) fn record(&mut self, result: &Result<Step>, mut record: StepRecord) {
        record.outcome = match result {
            Ok(Step::Pending) => StepOutcome::Pending,
            Ok(Step::Cancelled) => StepOutcome::Cancelled,
            Ok(_) => StepOutcome::Finished,
            Err(_) => StepOutcome::Failed,
        };
        record.kv_used_bytes = Some(self.cache.live_bytes());
        self.recorder.step(&record);
    }

    /// Whether the session was asked to stop; asks once.
    pub(super) fn cancelled(&self) -> bool {
        self.cancel.0.swap(false, Ordering::AcqRel)
    }

    pub(super) fn begin_turn(&mut self) {
        self.turn = Turn::begin();
        self.text.begin();
    }

    pub(super) fn finish(&mut self, reason: DoneReason, token: Option<u32>) -> Step {
        self.turn.done = Some((reason, token));
        self.turn.told = true;
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
        if !self.logits.contains(&position) || self.in_pass() {
            return None;
        }
        Some(self.arena.floats(self.model.program().ok()?.logits(), position - self.logits.start))
    }

    /// The positions whose logits are kept.
    pub fn logits_range(&self) -> std::ops::Range<usize> {
        if self.in_pass() { 0..0 } else { self.logits.clone() }
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

    pub(super) fn check_poison(&self) -> Result<()> {
        if self.poisoned {
            return Err(Error::new(ErrorKind::Poisoned, "an earlier fault left the session in an unknown state"));
        }
        Ok(())
    }
}

/// Runs `take`; where there is no memory, once more after what the runtime's models keep for later has been let go.
pub(super) fn with_room<T>(model: &Model, mut take: impl FnMut() -> Result<T>) -> Result<T> {
    match take() {
        Err(error) if error.kind() == ErrorKind::OutOfMemory => {
            // Pages that were shared with the index may be written now, without a copy, even where none was given back.
            let shared = model.prefixes().stats().pages > 0;
            if model.runtime().trim() > 0 || shared { take() } else { Err(error) }
        }
        result => result,
    }
}

/// The budget of a step that began at `begin`.
pub(super) fn budget(begin: Instant, budget_ns: u64) -> Budget {
    match budget_ns {
        u64::MAX => Budget::Unlimited,
        0 => Budget::OneItem,
        ns => begin.checked_add(Duration::from_nanos(ns)).map_or(Budget::Unlimited, Budget::Until),
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
