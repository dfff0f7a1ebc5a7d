//! Many conversations in one pass: the weights are read once for all of them (continuous batching).
//!
//! A [`Batch`] owns the memory of the passes, not the sessions: each [`step`](Batch::step) is given those that take part, so that sessions
//! come and go between any two steps. Sessions that generate have a column in every pass. The columns that are left go to prompts: first
//! to short ones, then in equal shares to long ones, and few of them where somebody else waits for a token, so that nobody waits for
//! another's long prompt. A session whose next page another one is about to compute waits for that page instead of computing it too.
//!
//! What comes out is what each session would say alone, to the bit.

use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::base::pool::{Budget, Cursor, Lane, Outcome};
use crate::base::{Error, ErrorKind, Result};
use crate::kernels::ops::{Arena, Execution, Pass};
use crate::metrics::StepRecord;
use crate::model::Model;

use super::conversation::{CancelHandle, Session, Step, budget, nanoseconds, with_room};
use super::work::{Columns, Due};

/// How a batch is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Most sessions whose tokens are computed in one pass. With more, they take turns.
    pub sessions: u32,
    /// Most tokens of a pass: more is faster on long prompts and takes more scratch memory.
    pub columns: u32,
    /// Most prompt tokens of a pass in which another session generates: fewer let its token come earlier. A prompt of up to as many is
    /// a short one.
    pub prompt_share: u32,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { sessions: 16, columns: 512, prompt_share: 64 }
    }
}

/// Most sessions that a batch may ask for.
const MAX_SESSIONS: u32 = 1024;

/// What a step brought for one session.
#[derive(Debug)]
pub struct BatchEvent {
    /// Its index among those that the step was given.
    pub session: usize,
    /// As [`Session::step`] would have it, but never [`Step::Pending`].
    pub result: Result<Step>,
}

/// How a step of a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStep {
    /// There are events.
    Events,
    /// The budget is spent; call again to go on.
    Pending,
    /// No session has anything to do.
    Idle,
}

/// The columns of one session in the pass in progress.
#[derive(Debug)]
struct Part {
    /// Which session it is.
    session: CancelHandle,
    epoch: u64,
    columns: Columns,
}

/// What the sessions that have no event wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waiting {
    Nobody,
    ForShift,
    ForPass,
}

/// How running the pass ended.
enum Run {
    Finished,
    Stopped,
    /// A session that took part is not there, or has changed.
    Abandoned,
    /// Sessions that can't take part have their events.
    Refused,
}

/// The memory of passes over several sessions of one model. One thread at a time.
pub struct Batch {
    model: Model,
    options: BatchOptions,
    arena: Arena,
    pass: Pass,
    lane: Lane,
    parts: Vec<Part>,
    cursor: Cursor,
    /// Time of the pass so far.
    spent_ns: u64,
    /// The sessions that have a short prompt to compute, and a long one; made anew for each pass.
    short: Vec<usize>,
    long: Vec<usize>,
    /// The session that is asked first for the next pass, so that all have their turn.
    turn: usize,
    events: Vec<BatchEvent>,
}

impl Batch {
    /// A batch for sessions of `model`.
    ///
    /// # Errors
    /// `InvalidArgument` for options out of range or a model without weights, `OutOfMemory`.
    pub fn new(model: &Model, options: BatchOptions) -> Result<Self> {
        let BatchOptions { sessions, columns, prompt_share } = options;
        if !(1..=MAX_SESSIONS).contains(&sessions) {
            return Err(Error::invalid_argument(format!("a batch for {sessions} sessions: expected 1 to {MAX_SESSIONS}")));
        }
        if model.config()?.encoder {
            return Err(Error::invalid_argument(format!("architecture '{}' gives embeddings, not text", model.config()?.architecture)));
        }
        if columns < sessions || prompt_share == 0 {
            let message = format!(
                "{columns} columns with a prompt share of {prompt_share}: a column for each of {sessions} sessions, and a share above 0"
            );
            return Err(Error::invalid_argument(message));
        }
        let (runtime, sessions) = (model.runtime(), sessions as usize);
        let columns = columns as usize;
        let arena =
            with_room(model, || Arena::new(model.program()?, runtime.kernels(), runtime.budget(), columns, sessions, runtime.threads()))?;
        Ok(Self {
            model: model.clone(),
            options,
            arena,
            pass: Pass::with_capacity(columns, sessions, sessions)?,
            // A batch is not cancelled; its sessions are.
            lane: Lane::new(Arc::new(AtomicBool::new(false))),
            parts: Vec::with_capacity(sessions),
            cursor: Cursor::default(),
            spent_ns: 0,
            short: Vec::with_capacity(sessions),
            long: Vec::with_capacity(sessions),
            turn: 0,
            events: Vec::with_capacity(sessions),
        })
    }

    /// Goes on until at least one of `sessions` has a token or another event, or `budget_ns` nanoseconds are spent (`u64::MAX`: no limit;
    /// 0: one work item). The events are in [`events`](Self::events); of a session that ends its turn there is one [`Step::Done`], and no
    /// event more until something is appended to it, nor of one that failed (appending nothing lets it try again). A cancelled session has
    /// its event and goes on with the next step; leave it out of that to stop it.
    ///
    /// The sessions may be others at each call. A pass in progress begins again where one that takes part in it is missing or was
    /// changed so that its part is worthless.
    ///
    /// # Errors
    /// `InvalidArgument` for a session of another model or one that keeps all logits; `Internal` after a fault inside a pass. What goes wrong
    /// with one session is an event of that session.
    pub fn step<S: DerefMut<Target = Session>>(&mut self, sessions: &mut [S], budget_ns: u64) -> Result<BatchStep> {
        let begin = Instant::now();
        let budget = budget(begin, budget_ns);
        self.events.clear();
        for session in &mut *sessions {
            session.text.clear();
            self.check(session)?;
        }
        loop {
            if self.parts.is_empty() {
                let waiting = self.look_around(sessions, budget)?;
                if !self.events.is_empty() {
                    return Ok(BatchStep::Events);
                }
                match waiting {
                    Waiting::Nobody => return Ok(BatchStep::Idle),
                    Waiting::ForShift => return Ok(BatchStep::Pending),
                    Waiting::ForPass => self.fill_pass(sessions),
                }
            } else if self.cancellations(sessions) {
                return Ok(BatchStep::Events);
            }
            match self.run_pass(sessions, budget)? {
                Run::Abandoned => {}
                Run::Refused => return Ok(BatchStep::Events),
                Run::Stopped => return Ok(BatchStep::Pending),
                Run::Finished => {
                    self.complete(sessions);
                    if matches!(budget, Budget::OneItem) {
                        return Ok(BatchStep::Pending);
                    }
                }
            }
            if is_spent(budget) && self.parts.is_empty() {
                // Sampling takes time too: the next step begins with it.
                return Ok(BatchStep::Pending);
            }
        }
    }

    /// Whether `session` can take part.
    ///
    /// # Errors
    /// `InvalidArgument` for a session of another model or one that keeps all logits.
    pub fn check(&self, session: &Session) -> Result<()> {
        if !Model::is_same(&session.model, &self.model) {
            return Err(Error::invalid_argument("a session of another model than the batch's"));
        }
        if session.options.all_logits {
            return Err(Error::invalid_argument("a session that keeps all logits can't be part of a batch"));
        }
        Ok(())
    }

    /// What the last step brought, at most one event of a session.
    pub fn events(&self) -> &[BatchEvent] {
        &self.events
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Bytes of scratch memory.
    pub fn bytes(&self) -> u64 {
        self.arena.bytes()
    }

    /// Work items that steps have run since the batch was made.
    pub fn items_done(&self) -> u64 {
        self.lane.items_done()
    }

    /// Asks every session what it has to do next: samples, makes room, or waits for a pass.
    fn look_around<S: DerefMut<Target = Session>>(&mut self, sessions: &mut [S], budget: Budget) -> Result<Waiting> {
        let mut waiting = Waiting::Nobody;
        for (index, session) in sessions.iter_mut().enumerate() {
            let session = &mut **session;
            if session.turn.told || (session.tokens.is_empty() && session.turn.done.is_none()) {
                continue;
            }
            let mut record = std::mem::take(&mut session.carried);
            let due = session.check_poison().and_then(|()| session.due(&mut record));
            let due = match due {
                Ok(Due::Shift) => match session.run_work(budget, &mut record) {
                    Ok(Outcome::Finished) => Ok(Due::Pass),
                    Ok(Outcome::Stopped) => Ok(Due::Shift),
                    Err(error) => Err(error),
                },
                due => due,
            };
            let result = match due {
                Ok(Due::Event(step)) => Ok(step),
                Ok(Due::Shift) => {
                    session.carried = record;
                    waiting = waiting.max(Waiting::ForShift);
                    continue;
                }
                Ok(Due::Pass) => {
                    session.carried = record;
                    waiting = Waiting::ForPass;
                    continue;
                }
                Err(error) => {
                    session.turn.told = true;
                    Err(error)
                }
            };
            session.record(&result, record);
            self.events.push(BatchEvent { session: index, result });
            if is_spent(budget) {
                // Sampling takes time too: the others come with the next step.
                break;
            }
        }
        Ok(waiting)
    }

    /// Whether a session of the pass in progress was asked to stop.
    fn cancellations<S: DerefMut<Target = Session>>(&mut self, sessions: &mut [S]) -> bool {
        for (index, session) in sessions.iter_mut().enumerate() {
            if !session.turn.told && session.cancelled() {
                let result = Ok(Step::Cancelled);
                session.record(&result, StepRecord::default());
                self.events.push(BatchEvent { session: index, result });
            }
        }
        !self.events.is_empty()
    }

    /// Chooses the columns of the next pass.
    fn fill_pass<S: DerefMut<Target = Session>>(&mut self, sessions: &mut [S]) {
        self.pass.clear();
        (self.cursor, self.spent_ns) = (Cursor::default(), 0);
        let (count, most) = (sessions.len(), self.options.sessions as usize);
        let order = |turn: usize| (0..count).map(move |offset| (turn + offset) % count);
        let short = self.options.prompt_share as usize;
        self.short.clear();
        self.long.clear();
        for index in order(self.turn) {
            if self.parts.len() + self.short.len() + self.long.len() == most {
                break;
            }
            let session = &mut *sessions[index];
            if !session.wants_pass() {
                continue;
            }
            session.reuse_prefix();
            match session.missing() {
                1 => _ = self.add(session, 1),
                _ if self.is_awaited(sessions, index) => {}
                missing if missing <= short => self.short.push(index),
                _ => self.long.push(index),
            }
        }
        // Short prompts are computed whole, one after the other; long ones share what is left, and have a quarter in any case.
        let generating = self.parts.len();
        let mut left = self.options.columns as usize - generating;
        if generating > 0 {
            left = left.min(short);
        }
        let kept = if self.long.is_empty() { 0 } else { (short / 4).max(1).min(left) };
        left -= kept;
        for number in 0..self.short.len() {
            if left > 0 {
                left -= self.add(&mut sessions[self.short[number]], left);
            }
        }
        left += kept;
        if !self.parts.is_empty() {
            left = left.min(short);
        }
        for number in 0..self.long.len() {
            if left > 0 {
                let share = left / (self.long.len() - number);
                left -= self.add(&mut sessions[self.long[number]], share.max(1));
            }
        }
        self.turn = (self.turn + 1) % count.max(1);
    }

    /// Whether the next page of a session is one that another one, chosen before it, is about to compute.
    fn is_awaited<S: DerefMut<Target = Session>>(&self, sessions: &[S], index: usize) -> bool {
        let session = &sessions[index];
        let mut chosen = self.short.iter().chain(&self.long);
        session.could_reuse_page() && session.next_page().is_some_and(|page| chosen.any(|&other| sessions[other].next_page() == Some(page)))
    }

    /// Adds up to `most` tokens of a session to the pass; how many.
    fn add(&mut self, session: &mut Session, most: usize) -> usize {
        // A pass of the session's own, begun and not ended, is begun again here.
        session.work = None;
        session.epoch += 1;
        let columns = session.next_columns(most);
        let start = session.cache.len();
        self.pass.push(&session.tokens[start..start + columns.count], session.slid, start, columns.outputs..columns.count);
        self.parts.push(Part { session: session.cancel.clone(), epoch: session.epoch, columns });
        columns.count
    }

    /// The number of the part that is `session`'s.
    fn part_of(parts: &[Part], session: &Session) -> Option<usize> {
        parts.iter().position(|part| Arc::ptr_eq(&part.session.0, &session.cancel.0) && part.epoch == session.epoch)
    }

    fn run_pass<S: DerefMut<Target = Session>>(&mut self, sessions: &mut [S], budget: Budget) -> Result<Run> {
        let there = sessions.iter().filter(|session| Self::part_of(&self.parts, session).is_some()).count();
        if there < self.parts.len() {
            self.parts.clear();
            return Ok(Run::Abandoned);
        }
        let begin = Instant::now();
        let Self { model, arena, pass, lane, parts, cursor, .. } = self;
        let (runtime, program) = (model.runtime(), model.program()?);
        let bound = with_room(model, || {
            let caches = sessions.iter_mut().filter_map(|session| Some((Self::part_of(parts, session)?, &mut session.cache)));
            let execution = Execution::bind(program, runtime.kernels(), arena, pass, caches)?;
            Ok(runtime.pool().run(lane, &execution, cursor, budget))
        });
        let outcome = match bound {
            Ok(outcome) => outcome,
            Err(error) => {
                // One session's cache can't grow: that session hears of it, and the others go on without it.
                let refused = self.refuse(sessions, error);
                self.parts.clear();
                return refused;
            }
        };
        if outcome.is_err() {
            for session in &mut *sessions {
                session.poisoned |= Self::part_of(parts, session).is_some();
            }
            self.parts.clear();
        }
        self.spent_ns += nanoseconds(begin.elapsed());
        Ok(match outcome? {
            Outcome::Finished => Run::Finished,
            Outcome::Stopped => Run::Stopped,
        })
    }

    /// Takes the sessions that can't take part in a pass out of the running, with an event each. `error` is what binding the pass said.
    fn refuse<S: DerefMut<Target = Session>>(&mut self, sessions: &mut [S], error: Error) -> Result<Run> {
        for (index, session) in sessions.iter_mut().enumerate() {
            let session = &mut **session;
            if let Some(number) = Self::part_of(&self.parts, session)
                && let Err(error) = session.cache.prepare(self.parts[number].columns.count)
            {
                session.turn.told = true;
                let result = Err(error);
                session.record(&result, StepRecord::default());
                self.events.push(BatchEvent { session: index, result });
            }
        }
        match error.kind() {
            _ if !self.events.is_empty() => Ok(Run::Refused),
            // There is memory again: somebody else has given some back in between.
            ErrorKind::OutOfMemory => Ok(Run::Abandoned),
            _ => Err(error),
        }
    }

    /// The pass has ended: every session takes its results.
    fn complete<S: DerefMut<Target = Session>>(&mut self, sessions: &mut [S]) {
        let Ok(program) = self.model.program() else { return };
        let (logits, total) = (program.logits(), self.pass.columns() as u64);
        let mut output = 0;
        for number in 0..self.parts.len() {
            let columns = self.parts[number].columns;
            let session = sessions.iter_mut().find(|session| Self::part_of(&self.parts, session) == Some(number));
            let session = &mut **session.expect("run_pass() has seen all of them");
            if columns.outputs < columns.count {
                session.arena.floats_mut(logits, 0).copy_from_slice(self.arena.floats(logits, output));
                output += 1;
            }
            let share = self.spent_ns * columns.count as u64 / total;
            session.recorder.dispatch(share);
            if columns.prefill {
                session.carried.prefill_ns += share;
            } else {
                session.carried.decode_ns += share;
            }
            let mut record = std::mem::take(&mut session.carried);
            // The pages were prepared for these columns, so they fit.
            let completed = session.complete(columns, &mut record);
            debug_assert!(completed.is_ok());
            session.carried = record;
        }
        self.parts.clear();
    }
}

fn is_spent(budget: Budget) -> bool {
    matches!(budget, Budget::Until(time) if Instant::now() >= time)
}

impl Session {
    /// Whether tokens of the session are to be computed; after [`due`](Self::due) has said so.
    fn wants_pass(&self) -> bool {
        let idle = self.turn.told || self.turn.done.is_some() || self.poisoned;
        !idle && self.missing() > 0 && self.cache.len() < self.cache.capacity() && !self.in_shift()
    }
}
