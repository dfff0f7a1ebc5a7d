//! The pool's own threads: how they find runs, wait, park, and what of the host they call when they start and end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;

use super::patience::Patience;
use super::run::{Claim, Interest, Run};
use crate::base::error::{Error, Result};
use crate::base::float_mode::FloatMode;
use crate::base::sync::{Condvar, Mutex};

/// Functions of the host that each worker thread calls: to name it, to give it a priority or processors, to tell a profiler of it. They get
/// the worker's number, from 1 on (0 is the thread that calls [`Pool::run`](super::Pool::run)).
#[derive(Clone, Default)]
pub struct ThreadHooks {
    /// Called before the thread does anything else; making the pool waits for it. A panic in it is an error of making the pool.
    pub start: Option<Arc<dyn Fn(u32) + Send + Sync>>,
    /// Called when the thread has nothing more to do, in the drop of the pool. A panic in it is caught and forgotten.
    pub end: Option<Arc<dyn Fn(u32) + Send + Sync>>,
}

/// Worker threads, joined when they are dropped.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// `Io` where the system refuses a thread, `Internal` where the start hook panics; those that were started have ended then.
    pub fn start(count: usize, hooks: &ThreadHooks) -> Result<Self> {
        let shared = Arc::new(Shared {
            runs: Mutex::new(Vec::with_capacity(64)),
            active: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            bell: Condvar::new(),
            quit: AtomicBool::new(false),
        });
        let mut workers = Self { shared, threads: Vec::with_capacity(count) };
        let starts = Arc::new(Starts::default());
        for worker in 1..=count {
            let (shared, hooks, starts) = (Arc::clone(&workers.shared), hooks.clone(), Arc::clone(&starts));
            let thread = std::thread::Builder::new()
                .name(format!("loquat-{worker}"))
                .spawn(move || thread_body(&shared, &hooks, &starts, worker, count + 1))
                .map_err(|error| Error::io("start a worker thread", &error))?;
            workers.threads.push(thread);
        }
        if hooks.start.is_some() {
            starts.wait(count)?;
        }
        Ok(workers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Works on `run`, which has begun, with the calling thread and those workers that have the time, until it is over.
    pub fn work(&self, run: &Arc<Run>) {
        let shared = &*self.shared;
        {
            let mut runs = shared.runs.lock();
            runs.push(Arc::clone(run));
            shared.active.store(runs.len(), Ordering::Relaxed);
        }
        shared.wake_for(run);
        run.work_to_the_end(Some(shared), 0, self.count() + 1);
        let mut runs = shared.runs.lock();
        if let Some(index) = runs.iter().position(|other| Arc::ptr_eq(other, run)) {
            runs.swap_remove(index);
        }
        shared.active.store(runs.len(), Ordering::Relaxed);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Release);
        drop(self.shared.sleep.lock());
        self.shared.bell.notify_all();
        for thread in self.threads.drain(..) {
            // A worker catches the panics of its items, so joining fails only where the loop itself is broken; nothing to do then.
            let _ = thread.join();
        }
    }
}

/// How the start hooks went: workers that have called theirs, and whether one panicked.
#[derive(Default)]
struct Starts {
    count: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Starts {
    fn add(&self, panicked: bool) {
        let mut count = self.count.lock();
        *count = (count.0 + 1, count.1 | panicked);
        self.changed.notify_all();
    }

    fn wait(&self, wanted: usize) -> Result<()> {
        let mut count = self.count.lock();
        while count.0 < wanted {
            count = self.changed.wait(count);
        }
        if count.1 { Err(Error::internal("the start hook of a worker thread panicked")) } else { Ok(()) }
    }
}

fn thread_body(shared: &Shared, hooks: &ThreadHooks, starts: &Starts, worker: usize, threads: usize) {
    if let Some(start) = &hooks.start {
        let result = catch_unwind(AssertUnwindSafe(|| start(worker as u32)));
        starts.add(result.is_err());
    }
    let _mode = FloatMode::standard(); // the hook may have changed it, or the thread have it from the one that started it
    worker_loop(shared, worker, threads);
    if let Some(end) = &hooks.end {
        let _ = catch_unwind(AssertUnwindSafe(|| end(worker as u32)));
    }
}

/// What the workers share.
pub(super) struct Shared {
    /// Runs in progress. Its capacity is kept, so a steady state does not allocate.
    runs: Mutex<Vec<Arc<Run>>>,
    /// Length of `runs`, readable without the lock.
    active: AtomicUsize,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    bell: Condvar,
    quit: AtomicBool,
}

impl Shared {
    /// Wakes parked workers for `run`, no more than may join it. Cheap where nobody is parked.
    pub(super) fn wake_for(&self, run: &Run) {
        // Pairs with the fence in park(): either the sleeper sees the new work, or these loads see the sleeper.
        fence(Ordering::SeqCst);
        let sleepers = self.sleepers.load(Ordering::Relaxed);
        let room = run.room() as usize;
        if sleepers == 0 || room == 0 {
            return;
        }
        drop(self.sleep.lock());
        if room >= sleepers {
            self.bell.notify_all();
        } else {
            (0..room).for_each(|_| self.bell.notify_one());
        }
    }

    /// Joins a run that has unclaimed items; failing that, one whose next operation may open any moment. `joined` is the run that the worker
    /// is in; it is left where another one is better or it is over.
    fn pick(&self, turn: usize, joined: &mut Option<Arc<Run>>) {
        let best = self.best(turn, joined.as_ref());
        match (&*joined, &best) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {}
            _ => {
                leave(joined);
                *joined = best;
            }
        }
    }

    fn best(&self, turn: usize, joined: Option<&Arc<Run>>) -> Option<Arc<Run>> {
        if self.active.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let runs = self.runs.lock();
        let is_joined = |run: &Arc<Run>| joined.is_some_and(|joined| Arc::ptr_eq(run, joined));
        let mut best = None;
        let mut interest = Interest::None;
        for run in runs.iter().cycle().skip(turn % runs.len().max(1)).take(runs.len()) {
            let here = run.interest();
            let may = if is_joined(run) { !run.is_overfull() } else { run.room() > 0 };
            if here > interest && may {
                (best, interest) = (Some(run), here);
            }
            if interest == Interest::Now {
                break;
            }
        }
        let best = best?;
        if !is_joined(best) {
            best.join();
        }
        Some(Arc::clone(best))
    }

    /// Whether a worker that is in no run could join one and find an item.
    fn has_unclaimed(&self) -> bool {
        self.runs.lock().iter().any(|run| run.interest() == Interest::Now && run.room() > 0)
    }
}

fn leave(joined: &mut Option<Arc<Run>>) {
    if let Some(run) = joined.take() {
        run.leave();
    }
}

fn worker_loop(shared: &Shared, worker: usize, threads: usize) {
    let mut turn = worker;
    let mut joined = None;
    let mut patience = Patience::new();
    while !shared.quit.load(Ordering::Acquire) {
        shared.pick(turn, &mut joined);
        if let Some(run) = &joined {
            while let Claim::Ran = run.work_ahead(Some(shared), worker, threads) {
                patience = Patience::new();
            }
            turn = turn.wrapping_add(1);
        }
        patience.wait();
        if patience.exhausted() {
            leave(&mut joined);
            park(shared);
            patience = Patience::new();
        }
    }
    leave(&mut joined);
}

fn park(shared: &Shared) {
    let mut guard = shared.sleep.lock();
    shared.sleepers.fetch_add(1, Ordering::Relaxed);
    // Pairs with the fence in Shared::wake_for.
    fence(Ordering::SeqCst);
    if !shared.has_unclaimed() && !shared.quit.load(Ordering::Acquire) {
        guard = shared.bell.wait(guard);
    }
    shared.sleepers.fetch_sub(1, Ordering::Relaxed);
    drop(guard);
}
