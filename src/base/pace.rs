//! Long work in small pieces: where it may pause, and how far it has come.
//!
//! Work that takes longer than a host can wait (loading a model) is written as an `async fn` that is given a [`Pace`] and says
//! [`spend`](Pace::spend) after every little piece. `async` is used for what the compiler makes of it, a state machine that stops at
//! those places and keeps its locals: there is no executor, no waker, and nothing is waited for. Whoever owns the future polls it,
//! which works until the slice is used up; dropping it ends the work and frees everything it had made. [`Job`](super::Job) is that
//! owner, [`at_once`] runs the same code without a pause.

#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::memory::Remains;

/// Costs that are let pass before the clock is read: some microseconds.
const PIECE: u64 = 4096;

/// No time limit.
const NEVER: u64 = u64::MAX;

/// A part of some long work.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// What people are told: "metadata", "weights".
    pub name: &'static CStr,
    /// The share of the whole work, from 0 to 1, that the stage usually takes.
    pub share: f32,
}

#[derive(Debug)]
struct Shared {
    epoch: Instant,
    /// When the slice ends and when the work must have ended, in nanoseconds after `epoch`.
    slice_end: AtomicU64,
    deadline: AtomicU64,
    cancelled: AtomicBool,
    /// Costs since the clock was last read.
    spent: AtomicU64,
    stages: &'static [Stage],
    stage: AtomicU32,
    /// Time that polls have spent in each stage, and when the poll or the stage in hand began, in nanoseconds after `epoch`.
    stage_ns: Box<[AtomicU64]>,
    since: AtomicU64,
    /// Of the present stage, in units of its own.
    done: AtomicU64,
    total: AtomicU64,
    remains: Weak<Remains>,
}

/// The time that work may take and the progress that it makes. Clones share both; all methods are thread-safe, but only the thread
/// that works says what it does ([`stage`](Self::stage) to [`work`](Self::work)).
#[derive(Debug, Clone)]
pub struct Pace(Arc<Shared>);

impl Pace {
    /// For work of these stages, which follow each other in this order. It may run without a pause until a slice is begun.
    pub fn new(stages: &'static [Stage]) -> Self {
        Self::with_remains(stages, Weak::new())
    }

    /// The same for work that leaves its large memory to `remains`.
    pub(super) fn with_remains(stages: &'static [Stage], remains: Weak<Remains>) -> Self {
        Self(Arc::new(Shared {
            epoch: Instant::now(),
            slice_end: AtomicU64::new(NEVER),
            deadline: AtomicU64::new(NEVER),
            cancelled: AtomicBool::new(false),
            spent: AtomicU64::new(0),
            stages,
            stage_ns: stages.iter().map(|_| AtomicU64::new(0)).collect(),
            since: AtomicU64::new(NEVER),
            stage: AtomicU32::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            remains,
        }))
    }

    /// For work that is to be done [`at_once`].
    pub fn unhurried() -> Self {
        Self::new(&[])
    }

    /// Where large memory is to be left that is no longer needed once the work is given up.
    pub fn remains(&self) -> &Weak<Remains> {
        &self.0.remains
    }

    /// Gives back the large memory that the work has let go so far, in pieces.
    pub async fn give_back(&self) {
        while self.remains().upgrade().is_some_and(|remains| remains.give_back()) {
            self.spend(usize::MAX).await;
        }
    }

    /// Begins stage number `stage`.
    pub fn stage(&self, stage: usize) {
        self.account();
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(0, Ordering::Relaxed);
        self.0.stage.store(stage as u32, Ordering::Relaxed);
    }

    /// Says that the stage has about `units` more to do, in units of its own.
    pub fn expect(&self, units: u64) {
        self.0.total.store(self.0.total.load(Ordering::Relaxed).saturating_add(units), Ordering::Relaxed);
    }

    /// Counts `units` more of the stage as done.
    #[inline]
    pub fn advance(&self, units: u64) {
        // One thread works, so that no addition is lost.
        self.reach(self.0.done.load(Ordering::Relaxed).saturating_add(units));
    }

    /// Says that `units` of the stage are done in all.
    #[inline]
    pub fn reach(&self, units: u64) {
        self.0.done.store(units, Ordering::Relaxed);
    }

    /// Says that something was done that costs about as much as `cost` bytes copied one by one, and pauses here where the slice is
    /// used up. To be said at least every few microseconds; it reads the clock only now and then.
    #[inline]
    pub fn spend(&self, cost: usize) -> Pause<'_> {
        let spent = self.0.spent.load(Ordering::Relaxed).saturating_add(cost as u64);
        let due = spent >= PIECE;
        self.0.spent.store(if due { 0 } else { spent }, Ordering::Relaxed);
        Pause { pace: self, due }
    }

    /// [`advance`](Self::advance) and [`spend`](Self::spend), for stages whose units are costs.
    #[inline]
    pub fn work(&self, cost: usize) -> Pause<'_> {
        self.advance(cost as u64);
        self.spend(cost)
    }

    /// Nanoseconds that are left of the slice, for work that hands its budget on: 0 where it is used up, `u64::MAX` for no limit.
    pub fn budget_ns(&self) -> u64 {
        match self.end() {
            _ if self.is_cancelled() => 0,
            NEVER => NEVER,
            end => end.saturating_sub(self.now()),
        }
    }

    /// Asks the work to end. From any thread, at any time.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Work that has not ended in `ns` nanoseconds from now is ended; `u64::MAX` for no such limit. From any thread, at any time.
    pub fn set_deadline(&self, ns: u64) {
        self.0.deadline.store(self.after(ns), Ordering::Release);
    }

    /// Whether the deadline has passed.
    pub fn is_late(&self) -> bool {
        match self.0.deadline.load(Ordering::Acquire) {
            NEVER => false,
            deadline => self.now() >= deadline,
        }
    }

    /// The share of the work that is done, from 0 to 1, and the name of the stage in hand.
    pub fn progress(&self) -> (f32, &'static CStr) {
        let stage = self.0.stage.load(Ordering::Relaxed) as usize;
        let Some(now) = self.0.stages.get(stage) else { return (0.0, c"") };
        let (done, total) = (self.0.done.load(Ordering::Relaxed), self.0.total.load(Ordering::Relaxed));
        let part = if total == 0 { 0.0 } else { (done as f32 / total as f32).min(1.0) };
        let before: f32 = self.0.stages[..stage].iter().map(|stage| stage.share).sum();
        let whole: f32 = self.0.stages.iter().map(|stage| stage.share).sum();
        (((before + part * now.share) / whole.max(f32::MIN_POSITIVE)).clamp(0.0, 1.0), now.name)
    }

    /// The stages in their order, each with the time that polls have spent in it, in nanoseconds.
    pub fn stage_times(&self) -> impl Iterator<Item = (&'static CStr, u64)> + '_ {
        self.0.stages.iter().zip(&self.0.stage_ns).map(|(stage, ns)| (stage.name, ns.load(Ordering::Relaxed)))
    }

    /// Counts the time since the last call, within a slice, to the present stage.
    fn account(&self) {
        let now = self.now();
        let since = self.0.since.swap(now, Ordering::Relaxed);
        if let Some(ns) = self.0.stage_ns.get(self.0.stage.load(Ordering::Relaxed) as usize) {
            ns.fetch_add(now.saturating_sub(since), Ordering::Relaxed);
        }
    }

    /// Ends the slice: what follows is not the work's time.
    pub(super) fn end_slice(&self) {
        self.account();
        self.0.since.store(NEVER, Ordering::Relaxed);
    }

    /// Begins a slice of `budget_ns` nanoseconds: `u64::MAX` for no limit, 0 for one piece.
    pub(super) fn begin_slice(&self, budget_ns: u64) {
        self.0.since.store(self.now(), Ordering::Relaxed);
        self.0.slice_end.store(self.after(budget_ns), Ordering::Relaxed);
    }

    fn after(&self, ns: u64) -> u64 {
        if ns == NEVER { NEVER } else { self.now().saturating_add(ns) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.epoch.elapsed().as_nanos()).unwrap_or(NEVER)
    }

    fn end(&self) -> u64 {
        self.0.slice_end.load(Ordering::Relaxed).min(self.0.deadline.load(Ordering::Acquire))
    }

    fn must_pause(&self) -> bool {
        self.is_cancelled()
            || match self.end() {
                NEVER => false,
                end => self.now() >= end,
            }
    }
}

/// A place where work may pause.
#[must_use = "nothing pauses unless it is awaited"]
#[derive(Debug)]
pub struct Pause<'a> {
    pace: &'a Pace,
    due: bool,
}

impl Future for Pause<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.due && self.pace.must_pause() {
            self.due = false;
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

/// Runs work to its end on the calling thread. What it pauses for is not waited for: there is nothing to wait for.
pub fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(result) = poll_once(work.as_mut()) {
            return result;
        }
    }
}

/// Goes on with work until it pauses or ends.
pub(super) fn poll_once<F: Future + ?Sized>(work: Pin<&mut F>) -> Poll<F::Output> {
    work.poll(&mut Context::from_waker(Waker::noop()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: &[Stage] = &[Stage { name: c"one", share: 0.25 }, Stage { name: c"two", share: 0.75 }];

    #[test]
    fn progress_goes_through_the_stages_by_their_shares() {
        let pace = Pace::new(STAGES);
        assert_eq!(pace.progress(), (0.0, c"one"));
        pace.stage(0);
        pace.expect(10);
        pace.advance(5);
        assert_eq!(pace.progress(), (0.125, c"one"));
        pace.advance(100);
        assert_eq!(pace.progress(), (0.25, c"one"));
        pace.stage(1);
        pace.expect(4);
        pace.reach(2);
        assert_eq!(pace.progress(), (0.625, c"two"));
        assert_eq!(Pace::unhurried().progress(), (0.0, c""));
    }

    #[test]
    fn work_pauses_only_when_the_slice_is_used_up() {
        let pace = Pace::unhurried();
        let mut work = pin!(async {
            for _ in 0..3 {
                pace.spend(PIECE as usize).await;
            }
        });
        pace.begin_slice(0);
        for _ in 0..3 {
            assert!(poll_once(work.as_mut()).is_pending());
        }
        assert!(poll_once(work.as_mut()).is_ready());
        pace.begin_slice(NEVER);
        assert!(poll_once(pin!(pace.spend(usize::MAX))).is_ready());
        pace.begin_slice(3_600_000_000_000);
        assert!(poll_once(pin!(pace.spend(usize::MAX))).is_ready());
        assert!((1..3_600_000_000_000).contains(&pace.budget_ns()));
        pace.cancel();
        assert!(poll_once(pin!(pace.spend(usize::MAX))).is_pending());
        assert_eq!(pace.budget_ns(), 0);
    }
}
