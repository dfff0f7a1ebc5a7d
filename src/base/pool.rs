//! The worker pool of the hot path: a sequence of operations, each cut into items that threads claim one by one.
//!
//! A step of a session is one [`Pool::run`]: the calling thread works through the sequence and others join it: workers of the pool's own that
//! are idle, or threads of the host ([`ParallelFor`]). There is no barrier that waits for threads, only for *items*: an operation ends
//! when its last item is done, and whoever finished that item opens the next operation. A thread that the operating system has taken off
//! its processor between two items therefore holds up nobody, and one that sits inside an item holds up the others for that item
//! only, or for two where items are short enough to be claimed ahead ([`Sequence::claims_ahead`]).
//!
//! A run can stop between items (deadline, cancel) and resume later at the same [`Cursor`], with another number of threads if
//! need be. What an item computes never depends on who computes it.
//!
//! Workers spin for some microseconds after their last item and then park; an idle pool uses no processor time. Dropping
//! the pool joins its threads.
//!
//! `run` holds the state of a run and the rules of claiming, `workers` the pool's own threads, `seats` the places for the host's.

mod patience;
mod run;
mod seats;
mod workers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::error::{Error, Result};
use workers::Workers;

pub use run::{MAX_ITEMS, Run};
pub use workers::ThreadHooks;

/// Operations in order, each cut into items that may run at the same time on different threads.
#[expect(clippy::len_without_is_empty, reason = "nothing asks whether there is nothing to do")]
pub trait Sequence: Sync {
    /// The number of operations.
    fn len(&self) -> usize;

    /// The number of items of operation `op`; 0 skips it. Below 2²⁴.
    fn items(&self, op: usize) -> u32;

    /// Whether a thread that runs an item of operation `op` should claim its next one at once, so that the item can prepare for
    /// it. For short items: where a run stops, the item that was claimed is still run.
    fn claims_ahead(&self, op: usize) -> bool {
        let _ = op;
        false
    }

    /// Runs one item on the thread number `worker`, which is below [`Pool::threads`]. `next` is the item of the same operation that this
    /// thread runs afterwards, where that is known.
    ///
    /// # Safety
    /// Called once per item and pass over the sequence, after all items of all earlier operations have been completed
    /// (their writes are visible), and never twice at a time with the same `worker` for one sequence.
    unsafe fn run(&self, op: usize, item: u32, next: Option<u32>, worker: usize);
}

/// Where a run stands: the next item to do. Items before it are done, items from it on are not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Index of the operation.
    pub op: usize,
    /// Index of the item in it.
    pub item: u32,
}

/// How far a run may go.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// To the end of the sequence.
    Unlimited,
    /// One item, on the calling thread.
    OneItem,
    /// Until one item at least is done. No item is begun at or after this time, nor so short before it that its end would be further from it.
    Until(Instant),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The whole sequence is done.
    Finished,
    /// The budget was used up or the run was cancelled; the cursor says where to go on.
    Stopped,
}

/// A host's way to have something done by several of its threads at once: a job system, a thread pool.
pub trait ParallelFor: Send + Sync {
    /// Calls [`run.help()`](Run::help) up to `count` times, on any threads, at the same time as far as it can; the calling thread may be among
    /// them. Returns, as a rule, when those calls have returned.
    ///
    /// Every way to fall short of that is slower, and right all the same: fewer calls, or none; one call after the other; calls that come after
    /// this function has returned (they return at once, or help the next run). The thread that called [`Pool::run`] does what is left.
    ///
    /// Called from several threads at once where several runs are in progress.
    fn run(&self, count: u32, run: &Arc<Run>);
}

/// One session's place in the pool: made once, used for one run at a time, costs no allocation per run.
pub struct Lane {
    run: Arc<Run>,
    most_threads: usize,
}

impl Lane {
    /// A lane whose runs stop when `cancel` becomes true.
    pub fn new(cancel: Arc<AtomicBool>) -> Self {
        Self { run: Arc::new(Run::new(cancel)), most_threads: usize::MAX }
    }

    /// The same, its runs worked on by `threads` threads at most, the calling one included; 0 for all of the pool.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { most_threads: if threads == 0 { usize::MAX } else { threads }, ..self }
    }

    /// Items that have run through this lane since it was made.
    pub fn items_done(&self) -> u64 {
        self.run.items_done()
    }
}

/// Who works beside the caller.
enum Crew {
    /// Nobody.
    None,
    Own(Workers),
    Host(Arc<dyn ParallelFor>),
}

/// The threads that work on runs. Its own are created with it and joined when it is dropped. All methods are thread-safe.
pub struct Pool {
    crew: Crew,
    threads: usize,
}

impl Pool {
    /// A pool for `threads` threads in all: `threads - 1` workers beside the callers. One thread means no workers.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 or more than 1024, `Io` where the system refuses a thread, `Internal` where a start hook panics.
    pub fn new(threads: usize, hooks: &ThreadHooks) -> Result<Self> {
        check(threads)?;
        let crew = if threads == 1 { Crew::None } else { Crew::Own(Workers::start(threads - 1, hooks)?) };
        Ok(Self { crew, threads })
    }

    /// A pool without threads of its own, whose runs ask `host` for up to `threads`, the calling one included.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 or more than 1024.
    pub fn on_host(threads: usize, host: Arc<dyn ParallelFor>) -> Result<Self> {
        check(threads)?;
        let crew = if threads == 1 { Crew::None } else { Crew::Host(host) };
        Ok(Self { crew, threads })
    }

    /// Threads that can work on one run, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether the threads beside the caller are the host's.
    pub fn is_on_host(&self) -> bool {
        matches!(self.crew, Crew::Host(_))
    }

    /// Runs `sequence` from `cursor` on, on the calling thread and any that help, until its end or the end of `budget`, or
    /// until the lane's cancel flag is set. `cursor` is left where the next run has to go on.
    ///
    /// # Errors
    /// `Internal` where an item panicked; the state that the sequence works on is then undefined.
    pub fn run(&self, lane: &mut Lane, sequence: &dyn Sequence, cursor: &mut Cursor, budget: Budget) -> Result<Outcome> {
        let mut start = *cursor;
        while start.op < sequence.len() && start.item >= sequence.items(start.op) {
            start = Cursor { op: start.op + 1, item: 0 };
        }
        if start.op >= sequence.len() {
            *cursor = start;
            return Ok(Outcome::Finished);
        }
        let run = &lane.run;
        let threads = self.threads.min(lane.most_threads);
        // SAFETY: the last run of the lane was settled before its `run` returned, and &mut Lane excludes other owners. `sequence` outlives
        // the settling below, which comes on every path (nothing between the two unwinds: the panics of items and of the host are caught).
        unsafe { run.begin(sequence, start, budget, threads - 1) };
        let mut host_panicked = false;
        match &self.crew {
            _ if matches!(budget, Budget::OneItem) => {
                run.work(None, 0);
                run.stop();
            }
            Crew::Own(workers) if threads > 1 => workers.work(run),
            Crew::Host(host) if threads > 1 => host_panicked = !work_with_host(&**host, run, threads),
            _ => run.work_to_the_end(None, 0, 1),
        }
        let (outcome, item_panicked) = run.settle(cursor);
        match (item_panicked, host_panicked) {
            (false, false) => Ok(outcome),
            (true, _) => Err(Error::internal("a worker panicked inside a step")),
            (false, true) => Err(Error::internal("the host's parallel_for panicked inside a step")),
        }
    }
}

/// Works on a run that has begun with the calling thread and those that the host sends; false where the host's function panicked.
fn work_with_host(host: &dyn ParallelFor, run: &Arc<Run>, threads: usize) -> bool {
    run.open_seats(threads);
    let sent = catch_unwind(AssertUnwindSafe(|| host.run(threads as u32, run)));
    // A host that waits has left nothing to do, one that does not leaves this thread a seat, or has sent as many threads as there are seats.
    run.help();
    run.wait_for_the_end();
    run.close_seats();
    sent.is_ok()
}

fn check(threads: usize) -> Result<()> {
    if !(1..=1024).contains(&threads) {
        return Err(Error::invalid_argument(format!("{threads} threads: expected 1 to 1024")));
    }
    Ok(())
}
