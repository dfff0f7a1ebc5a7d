//! What a session has to do next, and doing it: a pass over the model, or making room in a full context.

use std::time::Instant;

use crate::base::pool::{Budget, Cursor, Outcome};
use crate::base::{Error, Result};
use crate::kernels::ops::Execution;
use crate::metrics::{StepRecord, TokenTiming};

use super::conversation::{DoneReason, Session, Step, nanoseconds, with_room};
use super::options::ContextPolicy;

/// Work in progress.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Pass(Columns, Cursor),
    Shift(Cursor),
}

/// The fault of shifting without what [`Session::new`] makes for it.
pub(super) fn no_shift() -> Error {
    Error::internal("a shift in a session that has none")
}

/// The tokens of a session that a pass computes: it begins where the cache ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    pub count: usize,
    /// The first whose logits are computed; they are to the end.
    pub outputs: usize,
    /// Whether it computes prompt tokens (for the metrics).
    pub prefill: bool,
}

/// What is next.
pub(super) enum Due {
    /// Something for the host.
    Event(Step),
    /// To run the shift in progress.
    Shift,
    /// To compute tokens.
    Pass,
}

impl Session {
    /// Decides what is next. Samples a token where that is possible.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub(super) fn due(&mut self, record: &mut StepRecord) -> Result<Due> {
        if self.cancelled() {
            return Ok(Due::Event(Step::Cancelled));
        }
        if let Some((reason, token)) = self.turn.done {
            return Ok(Due::Event(Step::Done { reason, token }));
        }
        match self.work {
            Some(Work::Pass(..)) => return Ok(Due::Pass),
            Some(Work::Shift(..)) => return Ok(Due::Shift),
            None => {}
        }
        if self.tokens.is_empty() {
            return Err(Error::invalid_argument("a step without tokens: append a prompt first"));
        }
        if self.cache.len() == self.tokens.len() {
            return self.sample(record).map(Due::Event);
        }
        let most = self.options.max_tokens;
        if most.is_some_and(|most| most > 0 && self.turn.generated >= most) {
            return Ok(Due::Event(self.finish(DoneReason::TokenLimit, None)));
        }
        if self.cache.len() == self.cache.capacity() {
            return Ok(match self.options.context_policy {
                ContextPolicy::Stop => Due::Event(self.finish(DoneReason::ContextFull, None)),
                ContextPolicy::Shift { .. } => {
                    self.begin_shift();
                    Due::Shift
                }
                ContextPolicy::Slide => match self.slide()? {
                    true => Due::Pass,
                    false => Due::Event(self.finish(DoneReason::ContextFull, None)),
                },
            });
        }
        Ok(Due::Pass)
    }

    /// Tokens that the cache does not cover.
    pub(super) fn missing(&self) -> usize {
        self.tokens.len() - self.cache.len()
    }

    /// Whether a pass of the session's own is in progress: its arena holds no logits then.
    pub(super) fn in_pass(&self) -> bool {
        matches!(self.work, Some(Work::Pass(..)))
    }

    /// Whether a shift is in progress: the cache is nothing to begin a pass from then.
    pub(super) fn in_shift(&self) -> bool {
        matches!(self.work, Some(Work::Shift(..)))
    }

    /// The next tokens, as many as there are up to `most`.
    pub(super) fn next_columns(&self, most: usize) -> Columns {
        let start = self.cache.len();
        let count = self.missing().min(most).min(self.cache.capacity() - start);
        let last = start + count == self.tokens.len();
        let outputs = match (self.options.all_logits, last) {
            (true, _) => 0,
            (false, true) => count - 1,
            (false, false) => count,
        };
        Columns { count, outputs, prefill: start < self.prompt_end }
    }

    /// Sets up the session's own next pass.
    pub(super) fn begin_pass(&mut self) {
        self.epoch += 1;
        self.reuse_prefix();
        let columns = self.next_columns(self.batch);
        let start = self.cache.len();
        self.pass.clear();
        self.pass.push(&self.tokens[start..start + columns.count], self.slid, start, columns.outputs..columns.count);
        self.work = Some(Work::Pass(columns, Cursor::default()));
    }

    /// Goes on with the work in progress; where that ends, takes note of its results.
    pub(super) fn run_work(&mut self, budget: Budget, record: &mut StepRecord) -> Result<Outcome> {
        let begin = Instant::now();
        let work = self.work.expect("work was set up by the caller");
        let (outcome, prefill) = match work {
            Work::Pass(columns, mut cursor) => {
                let outcome = self.run_pass(&mut cursor, budget);
                self.work = Some(Work::Pass(columns, cursor));
                (outcome, columns.prefill)
            }
            Work::Shift(mut cursor) => {
                let outcome = self.run_shift(&mut cursor, budget);
                self.work = Some(Work::Shift(cursor));
                (outcome, false)
            }
        };
        let spent = nanoseconds(begin.elapsed());
        self.recorder.dispatch(spent);
        if prefill {
            record.prefill_ns += spent;
        } else {
            record.decode_ns += spent;
        }
        let outcome = outcome?;
        if outcome == Outcome::Finished {
            self.work = None;
            match work {
                Work::Pass(columns, _) => self.complete(columns, record)?,
                Work::Shift(_) => self.complete_shift()?,
            }
        }
        Ok(outcome)
    }

    fn run_pass(&mut self, cursor: &mut Cursor, budget: Budget) -> Result<Outcome> {
        let Self { model, arena, cache, pass, lane, .. } = self;
        let (runtime, program) = (model.runtime(), model.program()?);
        let outcome = with_room(model, || {
            let execution = Execution::bind(program, runtime.kernels(), arena, pass, std::iter::once((0, &mut *cache)))?;
            Ok(runtime.pool().run(lane, &execution, cursor, budget))
        })?;
        self.poisoned |= outcome.is_err();
        outcome
    }

    fn run_shift(&mut self, cursor: &mut Cursor, budget: Budget) -> Result<Outcome> {
        let Self { model, arena, cache, shift, lane, .. } = self;
        let (runtime, shift) = (model.runtime(), shift.as_ref().ok_or_else(no_shift)?);
        let outcome = with_room(model, || {
            let execution = shift.bind(runtime.kernels(), arena, cache)?;
            Ok(runtime.pool().run(lane, &execution, cursor, budget))
        })?;
        self.poisoned |= outcome.is_err();
        outcome
    }

    /// The keys and values of `columns` are in the cache.
    pub(super) fn complete(&mut self, columns: Columns, record: &mut StepRecord) -> Result<()> {
        let start = self.cache.len();
        self.cache.advance(columns.count)?;
        self.logits = start + columns.outputs..start + columns.count;
        if columns.prefill {
            record.prompt_tokens += columns.count as u64;
            self.index_pages();
        }
        Ok(())
    }

    /// The cache covers all tokens: choose the next.
    fn sample(&mut self, record: &mut StepRecord) -> Result<Step> {
        if self.options.max_tokens.is_some_and(|most| self.turn.generated >= most) {
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
        if !self.options.ignore_eog && self.model.tokenizer().is_ok_and(|tokenizer| tokenizer.is_eog(id)) {
            return Ok(self.finish(DoneReason::EndOfGeneration, Some(id)));
        }
        self.sampler.accept(id);
        self.tokens.push(id);
        self.turn.generated = self.turn.generated.saturating_add(1);
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
}
