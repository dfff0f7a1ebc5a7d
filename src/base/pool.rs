//! The worker pool of the hot path: a sequence of operations, each cut into items that threads claim one by one.
//!
//! A step of a session is one [`Pool::run`]: the calling thread works through the sequence and idle workers join it. There is no
//! barrier that waits for threads, only for *items*: an operation ends when its last item is done, and whoever finished that item
//! opens the next operation. A worker that the operating system has taken off its processor between two items therefore holds
//! up nobody, and one that sits inside an item holds up the others for that item only, or for two where items are short enough to be
//! claimed ahead ([`Sequence::claims_ahead`]).
//!
//! A run can stop between items (deadline, cancel) and resume later at the same [`Cursor`], with another number of threads if
//! need be. What an item computes never depends on who computes it.
//!
//! Workers spin for some microseconds after their last item and then park; an idle pool uses no processor time. Dropping
//! the pool joins its threads.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::sync::{Condvar, Mutex};

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

    /// Runs one item on the thread number `worker` (0 is the caller of [`Pool::run`], workers count from 1). `next` is the item of the
    /// same operation that this thread runs afterwards, where that is known.
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
    /// Until one item at least is done, and no item is begun at or after this time.
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

// A ticket is one word: sequence number (39 bits) | items not yet claimed (23 bits) | FINISHED | STOP. The sequence number grows
// with every operation and never comes back, so a compare-exchange by a thread that slept through operations fails.
const STOP: u64 = 1;
const FINISHED: u64 = 2;
const ONE_ITEM: u64 = 4;
const ITEM_BITS: u32 = 23;
const SERIAL_SHIFT: u32 = 2 + ITEM_BITS;
/// The largest number of items of one operation.
pub const MAX_ITEMS: u32 = (1 << ITEM_BITS) - 1;

fn unclaimed(ticket: u64) -> u32 {
    ((ticket >> 2) as u32) & MAX_ITEMS
}

fn serial(ticket: u64) -> u64 {
    ticket >> SERIAL_SHIFT
}

/// The state of one run, shared with the workers. It outlives the run (workers hold references), but what `job` points
/// to is only touched by a thread that holds a claimed, uncompleted item, and the run does not return before all of those are
/// completed.
struct Control {
    ticket: AtomicU64,
    /// Completed items of the current operation.
    done: AtomicU32,
    op: AtomicUsize,
    items: AtomicU32,
    job: UnsafeCell<Option<*const dyn Sequence>>,
    /// Nanoseconds after `epoch`, `u64::MAX` for none.
    deadline: AtomicU64,
    epoch: Instant,
    /// Whether the run has to complete an item before its deadline counts: a budget however small gets on.
    owed: AtomicBool,
    cancel: Arc<AtomicBool>,
    panicked: AtomicBool,
    items_done: AtomicU64,
}

// SAFETY: `job` is written only by the owner of the lane while no item is claimed, and read only by holders of a claim; the
// ticket's release/acquire orders the two. The pointee is Sync (trait bound).
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

enum Claim {
    /// An item was run.
    Ran,
    /// All items of the operation are claimed, or the run has stopped or ended.
    Nothing(u64),
}

impl Control {
    fn expired(&self) -> bool {
        if self.cancel.load(Ordering::Relaxed) {
            return true;
        }
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != u64::MAX && !self.owed.load(Ordering::Relaxed) && self.epoch.elapsed().as_nanos() as u64 >= deadline
    }

    /// Claims and runs one item, if there is one.
    fn work(&self, shared: &Shared, worker: usize) -> Claim {
        match self.claim(1) {
            Ok(item) => {
                self.run_claimed(shared, item, None, worker);
                Claim::Ran
            }
            Err(nothing) => nothing,
        }
    }

    /// Claims and runs items, the next one before the one in hand where the operation wants that, until there is none to be
    /// claimed. Near the end of an operation nothing is claimed ahead, so that no thread goes without.
    fn work_ahead(&self, shared: &Shared, worker: usize, threads: usize) -> Claim {
        let mut item = match self.claim(1) {
            Ok(item) => item,
            Err(nothing) => return nothing,
        };
        loop {
            // SAFETY: this thread holds a claim, so the owner keeps the pointee alive and does not write `job`.
            let ahead = unsafe { (*(*self.job.get()).expect("a claimed item has a job")).claims_ahead(self.op.load(Ordering::Relaxed)) };
            // The claim in hand keeps the operation from ending, so the next one is of the same operation.
            let next = if ahead { self.claim(2 * threads as u32).ok() } else { None };
            self.run_claimed(shared, item, next, worker);
            match next {
                Some(next) => item = next,
                None => return Claim::Ran,
            }
        }
    }

    /// Claims the next item, where at least `least` are unclaimed.
    fn claim(&self, least: u32) -> std::result::Result<u32, Claim> {
        let ticket = self.ticket.load(Ordering::Acquire);
        if ticket & (STOP | FINISHED) != 0 || unclaimed(ticket) < least {
            return Err(Claim::Nothing(ticket));
        }
        if self.expired() {
            let _ = self.ticket.compare_exchange(ticket, ticket | STOP, Ordering::AcqRel, Ordering::Acquire);
            return Err(Claim::Nothing(self.ticket.load(Ordering::Acquire)));
        }
        if self.ticket.compare_exchange(ticket, ticket - ONE_ITEM, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Err(Claim::Ran); // somebody else took it: look again
        }
        Ok(self.items.load(Ordering::Relaxed) - unclaimed(ticket))
    }

    fn run_claimed(&self, shared: &Shared, item: u32, next: Option<u32>, worker: usize) {
        let (op, items) = (self.op.load(Ordering::Relaxed), self.items.load(Ordering::Relaxed));
        // SAFETY: this thread holds a claim, so the owner keeps the pointee alive and does not write `job`.
        let job = unsafe { (*self.job.get()).expect("a claimed item has a job") };
        // SAFETY: the pointee lives (above). The claim is unique, all items of earlier operations are completed (advance() opens
        // an operation after the last item of the one before), and a thread runs one item at a time.
        if catch_unwind(AssertUnwindSafe(|| unsafe { (*job).run(op, item, next, worker) })).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
            self.ticket.fetch_or(STOP, Ordering::AcqRel);
        }
        self.items_done.fetch_add(1, Ordering::Relaxed);
        self.owed.store(false, Ordering::Relaxed);
        if self.done.fetch_add(1, Ordering::AcqRel) + 1 == items {
            // This thread completed the last item; no other touches op, items, done until the ticket is renewed.
            // SAFETY: the owner waits for the ticket to be renewed, so the pointee lives until advance() does that.
            unsafe { self.advance(shared, job, op + 1) };
        }
    }

    /// Opens the first operation from `op` on that has items, or ends the sequence.
    ///
    /// # Safety
    /// `job` points to a live sequence until the ticket is renewed here (it may die right after, hence the raw pointer).
    unsafe fn advance(&self, shared: &Shared, job: *const dyn Sequence, mut op: usize) {
        let mut items = 0;
        // SAFETY: the ticket is not renewed yet.
        while op < unsafe { (*job).len() } {
            // SAFETY: as above.
            items = unsafe { (*job).items(op) };
            if items > 0 {
                break;
            }
            op += 1;
        }
        self.op.store(op, Ordering::Relaxed);
        self.items.store(items, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.publish(if items == 0 { FINISHED } else { u64::from(items) << 2 });
        if items > 1 {
            shared.wake();
        }
    }

    /// A new ticket with the next serial number; a STOP that was set meanwhile stays set.
    fn publish(&self, rest: u64) {
        let mut old = self.ticket.load(Ordering::Relaxed);
        loop {
            let new = ((serial(old) + 1) << SERIAL_SHIFT) | rest | (old & STOP);
            match self.ticket.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

/// One session's place in the pool: made once, used for one run at a time, costs no allocation per run.
pub struct Lane {
    control: Arc<Control>,
}

impl Lane {
    /// A lane whose runs stop when `cancel` becomes true.
    pub fn new(cancel: Arc<AtomicBool>) -> Self {
        Self {
            control: Arc::new(Control {
                ticket: AtomicU64::new(FINISHED),
                done: AtomicU32::new(0),
                op: AtomicUsize::new(0),
                items: AtomicU32::new(0),
                job: UnsafeCell::new(None),
                deadline: AtomicU64::new(u64::MAX),
                epoch: Instant::now(),
                owed: AtomicBool::new(false),
                cancel,
                panicked: AtomicBool::new(false),
                items_done: AtomicU64::new(0),
            }),
        }
    }

    /// Items that have run through this lane since it was made.
    pub fn items_done(&self) -> u64 {
        self.control.items_done.load(Ordering::Relaxed)
    }
}

struct Shared {
    /// Runs in progress. Its capacity is kept, so a steady state does not allocate.
    runs: Mutex<Vec<Arc<Control>>>,
    /// Length of `runs`, readable without the lock.
    active: AtomicUsize,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    bell: Condvar,
    quit: AtomicBool,
}

impl Shared {
    /// Wakes parked workers. Cheap where nobody is parked.
    fn wake(&self) {
        // Pairs with the fence in Worker::park: either the sleeper sees the new work, or this load sees the sleeper.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            drop(self.sleep.lock());
            self.bell.notify_all();
        }
    }

    /// A run that has unclaimed items; failing that, one whose next operation may open any moment.
    fn pick(&self, turn: usize) -> Option<Arc<Control>> {
        if self.active.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let runs = self.runs.lock();
        let count = runs.len();
        let mut waiting = None;
        for offset in 0..count {
            let run = &runs[(turn + offset) % count];
            let ticket = run.ticket.load(Ordering::Relaxed);
            if ticket & (STOP | FINISHED) == 0 {
                if unclaimed(ticket) > 0 {
                    return Some(Arc::clone(run));
                }
                waiting = Some(run);
            }
        }
        waiting.map(Arc::clone)
    }

    fn has_unclaimed(&self) -> bool {
        self.runs.lock().iter().any(|run| {
            let ticket = run.ticket.load(Ordering::Relaxed);
            ticket & (STOP | FINISHED) == 0 && unclaimed(ticket) > 0
        })
    }
}

/// Waiting that costs little: some spinning, then giving up the processor, with the elapsed time for the caller to judge.
struct Patience {
    rounds: u32,
    since: Instant,
}

/// Rounds of pure spinning (about 10 µs) before the processor is offered to others.
const SPIN_ROUNDS: u32 = 200;
/// How long a worker waits, yielding, for work before it parks.
const PARK_AFTER: Duration = Duration::from_micros(60);

impl Patience {
    fn new() -> Self {
        Self { rounds: 0, since: Instant::now() }
    }

    fn wait(&mut self) {
        self.rounds += 1;
        if self.rounds < SPIN_ROUNDS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// Whether it is time to park. Reads the clock only after the spinning.
    fn exhausted(&self) -> bool {
        self.rounds >= SPIN_ROUNDS && self.since.elapsed() >= PARK_AFTER
    }
}

fn worker_loop(shared: &Shared, worker: usize, threads: usize) {
    let mut turn = worker;
    let mut patience = Patience::new();
    while !shared.quit.load(Ordering::Acquire) {
        if let Some(run) = shared.pick(turn) {
            while let Claim::Ran = run.work_ahead(shared, worker, threads) {
                patience = Patience::new();
            }
            turn = turn.wrapping_add(1);
        }
        patience.wait();
        if patience.exhausted() {
            park(shared);
            patience = Patience::new();
        }
    }
}

fn park(shared: &Shared) {
    let mut guard = shared.sleep.lock();
    shared.sleepers.fetch_add(1, Ordering::Relaxed);
    // Pairs with the fence in Shared::wake.
    fence(Ordering::SeqCst);
    if !shared.has_unclaimed() && !shared.quit.load(Ordering::Acquire) {
        guard = shared.bell.wait(guard);
    }
    shared.sleepers.fetch_sub(1, Ordering::Relaxed);
    drop(guard);
}

/// A fixed set of worker threads, created with the pool and joined when it is dropped. All methods are thread-safe.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool for `threads` threads in all: `threads - 1` workers beside the callers. One thread means no workers.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 or more than 1024, `Io` where the system refuses a thread.
    pub fn new(threads: usize) -> Result<Self> {
        if !(1..=1024).contains(&threads) {
            return Err(Error::invalid_argument(format!("{threads} threads: expected 1 to 1024")));
        }
        let shared = Arc::new(Shared {
            runs: Mutex::new(Vec::with_capacity(64)),
            active: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            bell: Condvar::new(),
            quit: AtomicBool::new(false),
        });
        let mut pool = Self { shared, workers: Vec::with_capacity(threads - 1) };
        for worker in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new()
                .name(format!("loquat-{worker}"))
                .spawn(move || worker_loop(&shared, worker, threads))
                .map_err(|error| Error::io("start a worker thread", &error))?;
            pool.workers.push(thread);
        }
        Ok(pool)
    }

    /// Threads that can work on one run: the workers and the caller.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `sequence` from `cursor` on, on the calling thread and any idle workers, until its end or the end of `budget`, or
    /// until the lane's cancel flag is set. `cursor` is left where the next run has to go on.
    ///
    /// # Errors
    /// `Internal` where an item panicked; the state that the sequence works on is then undefined.
    pub fn run(&self, lane: &mut Lane, sequence: &dyn Sequence, cursor: &mut Cursor, budget: Budget) -> Result<Outcome> {
        let control = &*lane.control;
        let mut start = *cursor;
        while start.op < sequence.len() && start.item >= sequence.items(start.op) {
            start = Cursor { op: start.op + 1, item: 0 };
        }
        if start.op >= sequence.len() {
            *cursor = start;
            return Ok(Outcome::Finished);
        }
        // SAFETY: only the lifetime is erased. Threads follow the pointer only while they hold a claim, and this function
        // returns after all claims are completed.
        let job = unsafe { std::mem::transmute::<*const dyn Sequence, *const (dyn Sequence + 'static)>(sequence) };
        // SAFETY: no item is claimed (the last run waited for all), so nobody reads `job`; &mut Lane excludes other owners.
        unsafe { *control.job.get() = Some(job) };
        let items = sequence.items(start.op);
        control.op.store(start.op, Ordering::Relaxed);
        control.items.store(items, Ordering::Relaxed);
        control.done.store(start.item, Ordering::Relaxed);
        let deadline = match budget {
            Budget::Until(time) => time.saturating_duration_since(control.epoch).as_nanos() as u64,
            Budget::Unlimited | Budget::OneItem => u64::MAX,
        };
        control.deadline.store(deadline, Ordering::Relaxed);
        control.owed.store(true, Ordering::Relaxed);
        let next = (serial(control.ticket.load(Ordering::Relaxed)) + 1) << SERIAL_SHIFT;
        control.ticket.store(next | u64::from(items - start.item) << 2, Ordering::Release);

        if matches!(budget, Budget::OneItem) {
            control.work(&self.shared, 0);
            control.ticket.fetch_or(STOP, Ordering::AcqRel);
        } else if self.workers.is_empty() {
            while let Claim::Ran = control.work_ahead(&self.shared, 0, 1) {}
        } else {
            self.run_shared(&lane.control);
        }
        let outcome = Self::settle(control, cursor);
        // SAFETY: no item is claimed any more.
        unsafe { *control.job.get() = None };
        if control.panicked.swap(false, Ordering::Relaxed) {
            return Err(Error::internal("a worker panicked inside a step"));
        }
        Ok(outcome)
    }

    fn run_shared(&self, control: &Arc<Control>) {
        {
            let mut runs = self.shared.runs.lock();
            runs.push(Arc::clone(control));
            self.shared.active.store(runs.len(), Ordering::Relaxed);
        }
        self.shared.wake();
        let mut patience = Patience::new();
        loop {
            match control.work_ahead(&self.shared, 0, self.threads()) {
                Claim::Ran => patience = Patience::new(),
                Claim::Nothing(ticket) if ticket & (STOP | FINISHED) != 0 => break,
                Claim::Nothing(_) => patience.wait(),
            }
        }
        let mut runs = self.shared.runs.lock();
        if let Some(index) = runs.iter().position(|run| Arc::ptr_eq(run, control)) {
            runs.swap_remove(index);
        }
        self.shared.active.store(runs.len(), Ordering::Relaxed);
    }

    /// Waits until every claimed item is completed and reads off where the run stands.
    fn settle(control: &Control, cursor: &mut Cursor) -> Outcome {
        let mut patience = Patience::new();
        loop {
            let ticket = control.ticket.load(Ordering::Acquire);
            if ticket & FINISHED != 0 {
                *cursor = Cursor { op: control.op.load(Ordering::Relaxed), item: 0 };
                return Outcome::Finished;
            }
            let left = unclaimed(ticket);
            let claimed = control.items.load(Ordering::Relaxed).wrapping_sub(left);
            // With STOP set and items left nothing more is claimed and the operation can't advance, so the numbers hold still.
            if ticket & STOP != 0
                && left > 0
                && control.done.load(Ordering::Acquire) == claimed
                && control.ticket.load(Ordering::Acquire) == ticket
            {
                *cursor = Cursor { op: control.op.load(Ordering::Relaxed), item: claimed };
                return Outcome::Stopped;
            }
            patience.wait();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Release);
        drop(self.shared.sleep.lock());
        self.shared.bell.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its items, so joining fails only where the loop itself is broken; nothing to do then.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests;
