//! The state of one run, shared by the threads that work on it: who claims which item, when an operation ends, when the run does.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::patience::Patience;
use super::seats::Seats;
use super::workers::Shared;
use super::{Budget, Cursor, Outcome, Sequence};

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

/// The runs of one lane, one after the other. It outlives each of them (threads hold references), but what `job` points to is only touched
/// by a thread that holds a claimed, uncompleted item, and a run does not return before all of those are completed.
///
/// Threads of a host see it as the work that they are to [`help`](Run::help) with.
pub struct Run {
    ticket: AtomicU64,
    /// Completed items of the current operation.
    done: AtomicU32,
    op: AtomicUsize,
    items: AtomicU32,
    job: UnsafeCell<Option<*const dyn Sequence>>,
    /// Nanoseconds after `epoch`, `u64::MAX` for none.
    deadline: AtomicU64,
    /// How long items have lasted lately, the longest of them, in nanoseconds; measured where there is a deadline.
    lasting: AtomicU64,
    /// By how much a run may end before its deadline at most, in nanoseconds.
    early: AtomicU64,
    epoch: Instant,
    /// Whether the run has to complete an item before its deadline counts: a budget however small gets on.
    owed: AtomicBool,
    cancel: Arc<AtomicBool>,
    panicked: AtomicBool,
    items_done: AtomicU64,
    /// Workers of the pool that have joined, and how many may.
    helpers: AtomicU32,
    most_helpers: AtomicU32,
    /// Who of the threads of a host is in.
    seats: Seats,
}

// SAFETY: `job` is written only by the owner of the lane while no item is claimed, and read only by holders of a claim; the
// ticket's release/acquire orders the two. The pointee is Sync (trait bound).
unsafe impl Send for Run {}
// SAFETY: as above.
unsafe impl Sync for Run {}

pub(super) enum Claim {
    /// An item was run.
    Ran,
    /// All items of the operation are claimed.
    Nothing,
    /// The run has stopped or ended.
    Over,
}

impl Claim {
    fn none_in(ticket: u64) -> Self {
        if ticket & (STOP | FINISHED) != 0 { Self::Over } else { Self::Nothing }
    }
}

/// Whether a run is worth a thread's while.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Interest {
    /// It is over.
    None,
    /// Its next operation may open any moment.
    Soon,
    /// It has unclaimed items.
    Now,
}

impl Run {
    /// Runs that stop when `cancel` becomes true.
    pub(super) fn new(cancel: Arc<AtomicBool>) -> Self {
        Self {
            ticket: AtomicU64::new(FINISHED),
            done: AtomicU32::new(0),
            op: AtomicUsize::new(0),
            items: AtomicU32::new(0),
            job: UnsafeCell::new(None),
            deadline: AtomicU64::new(u64::MAX),
            lasting: AtomicU64::new(0),
            early: AtomicU64::new(0),
            epoch: Instant::now(),
            owed: AtomicBool::new(false),
            cancel,
            panicked: AtomicBool::new(false),
            items_done: AtomicU64::new(0),
            helpers: AtomicU32::new(0),
            most_helpers: AtomicU32::new(0),
            seats: Seats::new(),
        }
    }

    /// Items that have run since it was made.
    pub(super) fn items_done(&self) -> u64 {
        self.items_done.load(Ordering::Relaxed)
    }

    /// Works on the run with the calling thread, one of the host's, until the run stops or has no more items. Returns at once where no run
    /// is in progress or enough threads work on it already, so that being called late, or more often than was asked, does no harm.
    pub fn help(&self) {
        let Some(seat) = self.seats.take() else { return };
        self.work_to_the_end(None, seat.number(), seat.of());
    }

    /// Opens the run for threads of the host, `seats` of them at once.
    pub(super) fn open_seats(&self, seats: usize) {
        self.seats.open(seats);
    }

    /// Waits for the threads of the host to leave, and lets none in again. Only after the run is over.
    pub(super) fn close_seats(&self) {
        self.seats.close();
    }

    /// Waits until the run is over, without working on it.
    pub(super) fn wait_for_the_end(&self) {
        let mut patience = Patience::new();
        while self.ticket.load(Ordering::Acquire) & (STOP | FINISHED) == 0 {
            patience.wait();
        }
    }

    /// Takes the place of a worker of the pool, where there is one. One caller at a time (the list of runs is locked).
    pub(super) fn join(&self) {
        self.helpers.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the place back.
    pub(super) fn leave(&self) {
        self.helpers.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many more workers of the pool may join.
    pub(super) fn room(&self) -> u32 {
        self.most_helpers.load(Ordering::Relaxed).saturating_sub(self.helpers.load(Ordering::Relaxed))
    }

    /// Whether more workers of the pool are in than may be, because fewer may than in the run before.
    pub(super) fn is_overfull(&self) -> bool {
        self.helpers.load(Ordering::Relaxed) > self.most_helpers.load(Ordering::Relaxed)
    }

    pub(super) fn interest(&self) -> Interest {
        let ticket = self.ticket.load(Ordering::Relaxed);
        match ticket & (STOP | FINISHED) {
            0 if unclaimed(ticket) > 0 => Interest::Now,
            0 => Interest::Soon,
            _ => Interest::None,
        }
    }

    /// Begins a run of `job` at `start`, which is an item that exists, on up to `most_helpers` workers of the pool beside the caller.
    ///
    /// # Safety
    /// The last run has been settled; `job` lives until this one is.
    pub(super) unsafe fn begin(&self, job: &dyn Sequence, start: Cursor, budget: Budget, most_helpers: usize) {
        // SAFETY: only the lifetime is erased. Threads follow the pointer only while they hold a claim, and the run is settled only
        // after all claims are completed.
        let pointer = unsafe { std::mem::transmute::<*const dyn Sequence, *const (dyn Sequence + 'static)>(job) };
        // SAFETY: no item is claimed (the last run waited for all), so nobody reads `job`.
        unsafe { *self.job.get() = Some(pointer) };
        let items = job.items(start.op);
        self.op.store(start.op, Ordering::Relaxed);
        self.items.store(items, Ordering::Relaxed);
        self.done.store(start.item, Ordering::Relaxed);
        let deadline = match budget {
            Budget::Until(time) => time.saturating_duration_since(self.epoch).as_nanos() as u64,
            Budget::Unlimited | Budget::OneItem => u64::MAX,
        };
        self.deadline.store(deadline, Ordering::Relaxed);
        // An item whose thread was off the processor says little about those to come.
        self.early.store(self.time_left() / 4, Ordering::Relaxed);
        self.owed.store(true, Ordering::Relaxed);
        self.most_helpers.store(u32::try_from(most_helpers).unwrap_or(u32::MAX), Ordering::Relaxed);
        let next = (serial(self.ticket.load(Ordering::Relaxed)) + 1) << SERIAL_SHIFT;
        self.ticket.store(next | u64::from(items - start.item) << 2, Ordering::Release);
    }

    /// Lets no more items be claimed.
    pub(super) fn stop(&self) {
        self.ticket.fetch_or(STOP, Ordering::AcqRel);
    }

    /// Whether no more items are to be begun: one more would end further behind the deadline than now is before it, if it lasted as long as
    /// those before.
    fn expired(&self) -> bool {
        if self.cancel.load(Ordering::Relaxed) {
            return true;
        }
        !self.owed.load(Ordering::Relaxed) && self.time_left() <= self.leeway()
    }

    /// By how much before its deadline the run ends, in nanoseconds: what is begun later would end further from it.
    fn leeway(&self) -> u64 {
        (self.lasting.load(Ordering::Relaxed) / 2).min(self.early.load(Ordering::Relaxed))
    }

    /// Nanoseconds until the deadline, `u64::MAX` where there is none; the clock is not read then.
    fn time_left(&self) -> u64 {
        match self.deadline.load(Ordering::Relaxed) {
            u64::MAX => u64::MAX,
            deadline => deadline.saturating_sub(self.now()),
        }
    }

    /// Nanoseconds after `epoch`.
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Takes note that an item has lasted since `began`. Short items are soon followed by longer ones, so the longest fades slowly.
    fn note_duration(&self, began: u64) {
        let faded = self.lasting.load(Ordering::Relaxed) / 8 * 7;
        self.lasting.store(faded.max(self.now().saturating_sub(began)), Ordering::Relaxed);
    }

    /// Claims and runs items until the run is over.
    pub(super) fn work_to_the_end(&self, shared: Option<&Shared>, worker: usize, threads: usize) {
        let mut patience = Patience::new();
        loop {
            match self.work_ahead(shared, worker, threads) {
                Claim::Ran => patience = Patience::new(),
                Claim::Nothing => patience.wait(),
                Claim::Over => return,
            }
        }
    }

    /// Claims and runs one item, if there is one.
    pub(super) fn work(&self, shared: Option<&Shared>, worker: usize) -> Claim {
        match self.claim(1) {
            Ok(item) => {
                self.run_claimed(shared, item, None, worker);
                Claim::Ran
            }
            Err(nothing) => nothing,
        }
    }

    /// Claims and runs items, the next one before the one in hand where the operation wants that, until there is none to be
    /// claimed. Near the end of an operation nothing is claimed ahead, so that no thread goes without, and neither is where the deadline will
    /// be near when the item in hand is done: what is claimed is run.
    pub(super) fn work_ahead(&self, shared: Option<&Shared>, worker: usize, threads: usize) -> Claim {
        let mut item = match self.claim(1) {
            Ok(item) => item,
            Err(nothing) => return nothing,
        };
        loop {
            // SAFETY: this thread holds a claim, so the owner keeps the pointee alive and does not write `job`.
            let ahead = unsafe { (*(*self.job.get()).expect("a claimed item has a job")).claims_ahead(self.op.load(Ordering::Relaxed)) };
            // The claim in hand keeps the operation from ending, so the next one is of the same operation.
            let in_time = || self.time_left() > self.lasting.load(Ordering::Relaxed).saturating_add(self.leeway());
            let next = if ahead && in_time() { self.claim(2 * threads as u32).ok() } else { None };
            self.run_claimed(shared, item, next, worker);
            match next {
                Some(next) => item = next,
                None => return Claim::Ran,
            }
        }
    }

    /// Claims the next item, where at least `least` are unclaimed.
    fn claim(&self, least: u32) -> Result<u32, Claim> {
        let ticket = self.ticket.load(Ordering::Acquire);
        if ticket & (STOP | FINISHED) != 0 || unclaimed(ticket) < least {
            return Err(Claim::none_in(ticket));
        }
        if self.expired() {
            let _ = self.ticket.compare_exchange(ticket, ticket | STOP, Ordering::AcqRel, Ordering::Acquire);
            return Err(Claim::none_in(self.ticket.load(Ordering::Acquire)));
        }
        if self.ticket.compare_exchange(ticket, ticket - ONE_ITEM, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Err(Claim::Ran); // somebody else took it: look again
        }
        Ok(self.items.load(Ordering::Relaxed) - unclaimed(ticket))
    }

    fn run_claimed(&self, shared: Option<&Shared>, item: u32, next: Option<u32>, worker: usize) {
        let (op, items) = (self.op.load(Ordering::Relaxed), self.items.load(Ordering::Relaxed));
        // SAFETY: this thread holds a claim, so the owner keeps the pointee alive and does not write `job`.
        let job = unsafe { (*self.job.get()).expect("a claimed item has a job") };
        let began = if self.deadline.load(Ordering::Relaxed) == u64::MAX { None } else { Some(self.now()) };
        // SAFETY: the pointee lives (above). The claim is unique, all items of earlier operations are completed (advance() opens
        // an operation after the last item of the one before), and a thread runs one item at a time.
        if catch_unwind(AssertUnwindSafe(|| unsafe { (*job).run(op, item, next, worker) })).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
            self.stop();
        }
        if let Some(began) = began {
            self.note_duration(began);
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
    unsafe fn advance(&self, shared: Option<&Shared>, job: *const dyn Sequence, mut op: usize) {
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
        if items > 1
            && let Some(shared) = shared
        {
            shared.wake_for(self);
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

    /// Waits until every claimed item is completed and reads off where the run stands; says whether an item panicked.
    pub(super) fn settle(&self, cursor: &mut Cursor) -> (Outcome, bool) {
        let mut patience = Patience::new();
        let outcome = loop {
            let ticket = self.ticket.load(Ordering::Acquire);
            if ticket & FINISHED != 0 {
                *cursor = Cursor { op: self.op.load(Ordering::Relaxed), item: 0 };
                break Outcome::Finished;
            }
            let left = unclaimed(ticket);
            let claimed = self.items.load(Ordering::Relaxed).wrapping_sub(left);
            // With STOP set and items left nothing more is claimed and the operation can't advance, so the numbers hold still.
            if ticket & STOP != 0
                && left > 0
                && self.done.load(Ordering::Acquire) == claimed
                && self.ticket.load(Ordering::Acquire) == ticket
            {
                *cursor = Cursor { op: self.op.load(Ordering::Relaxed), item: claimed };
                break Outcome::Stopped;
            }
            patience.wait();
        };
        // SAFETY: no item is claimed any more.
        unsafe { *self.job.get() = None };
        (outcome, self.panicked.swap(false, Ordering::Relaxed))
    }
}
