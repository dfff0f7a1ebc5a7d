//! The pool under odd counts of items and threads, short deadlines, cancels and panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use loquat::base::pool::*;
use loquat::base::sync::Mutex;

/// Operation `op` has `counts[op]` items; each checks that the operation before is complete and counts itself.
struct Counting {
    counts: Vec<u32>,
    done: Vec<AtomicU32>,
    seen: Vec<Vec<AtomicU32>>,
    late: AtomicU32,
    panic_at: Option<(usize, u32)>,
}

impl Counting {
    fn new(counts: &[u32]) -> Self {
        Self {
            counts: counts.to_vec(),
            done: counts.iter().map(|_| AtomicU32::new(0)).collect(),
            seen: counts.iter().map(|&n| (0..n).map(|_| AtomicU32::new(0)).collect()).collect(),
            late: AtomicU32::new(0),
            panic_at: None,
        }
    }

    fn assert_each_item_ran(&self, times: u32) {
        assert!(self.seen.iter().flatten().all(|n| n.load(Ordering::Relaxed) == times));
        assert_eq!(self.late.load(Ordering::Relaxed), 0);
    }
}

impl Sequence for Counting {
    fn len(&self) -> usize {
        self.counts.len()
    }
    fn items(&self, op: usize) -> u32 {
        self.counts[op]
    }
    fn claims_ahead(&self, op: usize) -> bool {
        op.is_multiple_of(2)
    }
    unsafe fn run(&self, op: usize, item: u32, _next: Option<u32>, _worker: usize) {
        if self.panic_at == Some((op, item)) {
            panic!("asked for");
        }
        if op > 0 && self.done[op - 1].load(Ordering::Acquire) < self.counts[op - 1] {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        self.seen[op][item as usize].fetch_add(1, Ordering::Relaxed);
        self.done[op].fetch_add(1, Ordering::AcqRel);
    }
}

fn lane() -> Lane {
    lane_of(0)
}

fn lane_of(threads: usize) -> Lane {
    Lane::new(Arc::new(AtomicBool::new(false))).with_threads(threads)
}

/// Calls `there` on `count` threads and `here` on this one. Joins each thread: the end of a scope alone is an order that ThreadSanitizer does not see.
fn on_threads(count: u32, there: impl Fn() + Sync, here: impl FnOnce()) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&there)).collect();
        here();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn every_item_runs_once_in_order() {
    for threads in [1, 2, 3, 5] {
        let pool = Pool::new(threads, &ThreadHooks::default()).unwrap();
        let mut lane = lane();
        for _ in 0..200 {
            let job = Counting::new(&[3, 0, 1, 17, 0, 0, 64, 1, 2, 0]);
            let mut cursor = Cursor::default();
            assert_eq!(pool.run(&mut lane, &job, &mut cursor, Budget::Unlimited).unwrap(), Outcome::Finished);
            job.assert_each_item_ran(1);
        }
    }
}

#[test]
fn a_run_of_single_items_resumes_where_it_stopped() {
    let pool = Pool::new(2, &ThreadHooks::default()).unwrap();
    let (mut lane, mut cursor) = (lane(), Cursor::default());
    let job = Counting::new(&[2, 0, 3, 1]);
    let mut runs = 0;
    while pool.run(&mut lane, &job, &mut cursor, Budget::OneItem).unwrap() == Outcome::Stopped {
        runs += 1;
    }
    assert_eq!(runs, 5);
    job.assert_each_item_ran(1);
}

#[test]
fn deadlines_stop_and_resume_without_loss() {
    let pool = Pool::new(3, &ThreadHooks::default()).unwrap();
    let (mut lane, mut cursor) = (lane(), Cursor::default());
    let job = Counting::new(&[1000; 50]);
    let mut stops = 0;
    while pool.run(&mut lane, &job, &mut cursor, Budget::Until(Instant::now() + Duration::from_micros(20))).unwrap() == Outcome::Stopped {
        stops += 1;
    }
    assert!(stops > 0);
    job.assert_each_item_ran(1);
}

#[test]
fn a_deadline_that_is_over_lets_a_run_get_on_all_the_same() {
    for threads in [1, 3] {
        let (pool, job, mut lane, mut cursor) =
            (Pool::new(threads, &ThreadHooks::default()).unwrap(), Counting::new(&[3, 40, 1]), lane(), Cursor::default());
        let past = Instant::now();
        let mut runs = 0;
        while pool.run(&mut lane, &job, &mut cursor, Budget::Until(past)).unwrap() == Outcome::Stopped {
            runs += 1;
            assert!(lane.items_done() >= runs);
        }
        job.assert_each_item_ran(1);
    }
}

/// Items of two milliseconds, which write down when they begin.
struct Slow(Mutex<Vec<Instant>>);

impl Sequence for Slow {
    fn len(&self) -> usize {
        1
    }
    fn items(&self, _op: usize) -> u32 {
        1000
    }
    fn claims_ahead(&self, _op: usize) -> bool {
        true
    }
    unsafe fn run(&self, _op: usize, _item: u32, _next: Option<u32>, _worker: usize) {
        self.0.lock().push(Instant::now());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn no_item_is_claimed_ahead_that_would_begin_after_the_deadline() {
    let pool = Pool::new(1, &ThreadHooks::default()).unwrap();
    let mut lane = lane();
    // How long an item lasts is a guess from the one before, so that a busy machine may have one begin late now and then. Claimed ahead
    // whatever the time, the last one always is.
    let in_time = (0..50).any(|_| {
        let job = Slow(Mutex::new(vec![]));
        let deadline = Instant::now() + Duration::from_millis(9);
        let outcome = pool.run(&mut lane, &job, &mut Cursor::default(), Budget::Until(deadline)).unwrap();
        let begun = job.0.lock();
        outcome == Outcome::Stopped && begun.len() > 2 && begun.iter().all(|&begin| begin < deadline)
    });
    assert!(in_time);
}

#[test]
fn no_item_is_begun_that_would_end_further_behind_the_deadline_than_it_begins_before_it() {
    let pool = Pool::new(1, &ThreadHooks::default()).unwrap();
    let job = Slow(Mutex::new(vec![]));
    // After two items at most 0.9 ms are left. A slow machine has less time left, never more.
    let deadline = Instant::now() + Duration::from_micros(4900);
    assert_eq!(pool.run(&mut lane(), &job, &mut Cursor::default(), Budget::Until(deadline)).unwrap(), Outcome::Stopped);
    assert!((1..=2).contains(&job.0.lock().len()));
}

#[test]
fn cancel_stops_before_the_next_item() {
    let pool = Pool::new(2, &ThreadHooks::default()).unwrap();
    let cancel = Arc::new(AtomicBool::new(true));
    let mut lane = Lane::new(Arc::clone(&cancel));
    let mut cursor = Cursor::default();
    let job = Counting::new(&[5, 5]);
    assert_eq!(pool.run(&mut lane, &job, &mut cursor, Budget::Unlimited).unwrap(), Outcome::Stopped);
    assert_eq!(cursor, Cursor::default());
    cancel.store(false, Ordering::Relaxed);
    assert_eq!(pool.run(&mut lane, &job, &mut cursor, Budget::Unlimited).unwrap(), Outcome::Finished);
    job.assert_each_item_ran(1);
}

#[test]
fn several_runs_at_once_share_the_workers() {
    let pool = Pool::new(3, &ThreadHooks::default()).unwrap();
    let runs = || {
        let mut lane = lane();
        for _ in 0..100 {
            let job = Counting::new(&[7, 40, 1, 9]);
            let mut cursor = Cursor::default();
            pool.run(&mut lane, &job, &mut cursor, Budget::Unlimited).unwrap();
            job.assert_each_item_ran(1);
        }
    };
    on_threads(4, runs, || {});
}

#[test]
fn a_panic_is_an_error_and_the_pool_lives_on() {
    let pool = Pool::new(2, &ThreadHooks::default()).unwrap();
    let mut lane = lane();
    for at in [(0, 3), (1, 0)] {
        let mut job = Counting::new(&[8, 1, 4]);
        job.panic_at = Some(at);
        let result = pool.run(&mut lane, &job, &mut Cursor::default(), Budget::Unlimited);
        assert!(result.is_err());
    }
    let job = Counting::new(&[8, 1, 4]);
    pool.run(&mut lane, &job, &mut Cursor::default(), Budget::Unlimited).unwrap();
    job.assert_each_item_ran(1);
}

fn finish(pool: &Pool, lane: &mut Lane, job: &Counting) {
    assert_eq!(pool.run(lane, job, &mut Cursor::default(), Budget::Unlimited).unwrap(), Outcome::Finished);
    job.assert_each_item_ran(1);
}

/// The ways in which hosts call, or fail to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// On threads of their own; the calling one is the first of them. Waits.
    Together,
    /// All on the calling thread, one after the other.
    InTurn,
    /// On other threads than the calling one, which waits.
    Elsewhere,
    /// On other threads, later, without waiting.
    Later,
    /// More often than asked.
    TooOften,
    /// Not at all.
    Never,
    Panicking,
}

struct Host {
    manner: Manner,
    calls: Arc<AtomicU32>,
    late: Arc<Mutex<Vec<std::thread::JoinHandle<()>>>>,
}

impl ParallelFor for Host {
    fn run(&self, count: u32, run: &Arc<Run>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.manner {
            Manner::Together => on_threads(count - 1, || run.help(), || run.help()),
            Manner::InTurn => (0..count).for_each(|_| run.help()),
            Manner::Elsewhere => on_threads(count, || run.help(), || {}),
            Manner::Later => {
                for _ in 0..count {
                    let run = Arc::clone(run);
                    self.late.lock().push(std::thread::spawn(move || run.help()));
                }
            }
            Manner::TooOften => on_threads(3 * count, || run.help(), || {}),
            Manner::Never => {}
            Manner::Panicking => std::panic::resume_unwind(Box::new("asked for")),
        }
    }
}

/// Runs that check besides that no two threads have one number at a time.
struct Numbered {
    counting: Counting,
    busy: Vec<AtomicU32>,
    clashes: AtomicU32,
}

impl Numbered {
    fn new(counts: &[u32], threads: usize) -> Self {
        Self { counting: Counting::new(counts), busy: (0..threads).map(|_| AtomicU32::new(0)).collect(), clashes: AtomicU32::new(0) }
    }
}

impl Sequence for Numbered {
    fn len(&self) -> usize {
        self.counting.len()
    }
    fn items(&self, op: usize) -> u32 {
        self.counting.items(op)
    }
    fn claims_ahead(&self, op: usize) -> bool {
        self.counting.claims_ahead(op)
    }
    unsafe fn run(&self, op: usize, item: u32, next: Option<u32>, worker: usize) {
        self.clashes.fetch_add(self.busy[worker].fetch_add(1, Ordering::AcqRel), Ordering::Relaxed);
        if item.is_multiple_of(7) {
            std::thread::yield_now();
        }
        // SAFETY: passed on.
        unsafe { self.counting.run(op, item, next, worker) };
        self.busy[worker].fetch_sub(1, Ordering::AcqRel);
    }
}

#[test]
fn whatever_a_host_does_each_item_runs_once() {
    for manner in [Manner::Together, Manner::InTurn, Manner::Elsewhere, Manner::Later, Manner::TooOften, Manner::Never] {
        for threads in [2, 3] {
            let (calls, late) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(vec![])));
            let host = Host { manner, calls: Arc::clone(&calls), late: Arc::clone(&late) };
            let pool = Pool::on_host(threads, Arc::new(host)).unwrap();
            let mut lane = lane();
            for round in 0..20 {
                let job = Numbered::new(&[3, 0, 1, 17, 0, 0, 64, 1, 2, 0], threads);
                let mut cursor = Cursor::default();
                let budget = || if round % 2 == 0 { Budget::Unlimited } else { Budget::Until(Instant::now() + Duration::from_micros(200)) };
                while pool.run(&mut lane, &job, &mut cursor, budget()).unwrap() == Outcome::Stopped {}
                job.counting.assert_each_item_ran(1);
                assert_eq!(job.clashes.load(Ordering::Relaxed), 0, "{manner:?}");
            }
            assert!(calls.load(Ordering::Relaxed) >= 20);
            late.lock().drain(..).for_each(|thread| thread.join().unwrap());
        }
    }
}

#[test]
fn a_host_is_not_asked_where_the_caller_is_enough() {
    let calls = Arc::new(AtomicU32::new(0));
    let host = || Arc::new(Host { manner: Manner::InTurn, calls: Arc::clone(&calls), late: Arc::default() });
    finish(&Pool::on_host(1, host()).unwrap(), &mut lane(), &Counting::new(&[5, 5]));
    let pool = Pool::on_host(4, host()).unwrap();
    finish(&pool, &mut lane_of(1), &Counting::new(&[5, 5]));
    pool.run(&mut lane(), &Counting::new(&[5, 5]), &mut Cursor::default(), Budget::OneItem).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert!(Pool::on_host(0, host()).is_err() && Pool::on_host(1025, host()).is_err());
}

#[test]
fn a_panic_of_the_host_is_an_error_after_the_run() {
    let host = Host { manner: Manner::Panicking, calls: Arc::default(), late: Arc::default() };
    let pool = Pool::on_host(2, Arc::new(host)).unwrap();
    let job = Counting::new(&[8, 1, 4]);
    let error = pool.run(&mut lane(), &job, &mut Cursor::default(), Budget::Unlimited).unwrap_err();
    assert!(error.message().contains("parallel_for"));
    job.assert_each_item_ran(1);
}

/// A host that does nothing for a run while it lasts, and keeps it.
#[derive(Default)]
struct Keeping(Mutex<Vec<Arc<Run>>>);

impl ParallelFor for Keeping {
    fn run(&self, _count: u32, run: &Arc<Run>) {
        self.0.lock().push(Arc::clone(run));
    }
}

#[test]
fn calls_that_come_when_nothing_runs_return_at_once() {
    let host = Arc::new(Keeping::default());
    let pool = Pool::on_host(2, Arc::clone(&host) as Arc<dyn ParallelFor>).unwrap();
    let job = Counting::new(&[4]);
    finish(&pool, &mut lane(), &job);
    assert_eq!(host.0.lock().len(), 1);
    host.0.lock().iter().for_each(|run| run.help());
    job.assert_each_item_ran(1);
}

/// Items that last, and note how many threads are inside at once.
struct Crowd {
    inside: AtomicU32,
    most: AtomicU32,
}

impl Sequence for Crowd {
    fn len(&self) -> usize {
        20
    }
    fn items(&self, _op: usize) -> u32 {
        16
    }
    unsafe fn run(&self, _op: usize, _item: u32, _next: Option<u32>, _worker: usize) {
        let inside = self.inside.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(inside, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(200));
        self.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

#[test]
fn a_cap_holds_and_does_not_keep_others_from_working() {
    let host = Host { manner: Manner::Together, calls: Arc::default(), late: Arc::default() };
    let pools = [Pool::new(5, &ThreadHooks::default()).unwrap(), Pool::on_host(5, Arc::new(host)).unwrap()];
    for pool in &pools {
        for cap in [1, 2, 3, 9, 0] {
            let mut lane = lane_of(cap);
            let crowd = Crowd { inside: AtomicU32::new(0), most: AtomicU32::new(0) };
            pool.run(&mut lane, &crowd, &mut Cursor::default(), Budget::Unlimited).unwrap();
            let most = crowd.most.load(Ordering::Relaxed) as usize;
            // The items sleep, so that other threads get to work even on one processor.
            assert!((cap == 0 || most <= cap) && (cap == 1 || most > 1), "{most} of {cap}, host: {}", pool.is_on_host());
        }
    }
}

#[test]
fn hooks_are_called_on_each_worker_before_and_after_its_work() {
    let log = Arc::new(Mutex::new(vec![]));
    let note = |what: &'static str| {
        let log = Arc::clone(&log);
        Some(Arc::new(move |index: u32| log.lock().push((what, index, std::thread::current().id()))) as Arc<dyn Fn(u32) + Send + Sync>)
    };
    let pool = Pool::new(4, &ThreadHooks { start: note("start"), end: note("end") }).unwrap();
    let mut started = log.lock().clone();
    started.sort_by_key(|&(_, index, _)| index);
    assert_eq!(started.iter().map(|&(what, index, _)| (what, index)).collect::<Vec<_>>(), [("start", 1), ("start", 2), ("start", 3)]);
    drop(pool);
    let ended = log.lock().split_off(3);
    assert_eq!(ended.len(), 3);
    for (what, index, thread) in ended {
        assert_eq!((what, thread), ("end", started[index as usize - 1].2));
    }
}

#[test]
fn a_panic_of_the_start_hook_is_an_error_and_leaves_no_thread() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let start: Arc<dyn Fn(u32) + Send + Sync> = Arc::new(move |index| {
        let _ = &held;
        if index == 2 {
            std::panic::resume_unwind(Box::new("asked for"));
        }
    });
    let error = Pool::new(3, &ThreadHooks { start: Some(start), end: None }).err().unwrap();
    assert!(error.message().contains("start hook"));
    assert_eq!(Arc::strong_count(&alive), 1, "a thread that has ended holds the hook no more");
}

/// Numbers in plain memory: each operation replaces each by the sum of its two neighbours in the one before.
struct Triangle {
    rows: [std::cell::UnsafeCell<Vec<u32>>; 2],
    ops: usize,
}

// SAFETY: an item writes its own number in one row and reads the other, which only earlier operations have written.
unsafe impl Sync for Triangle {}

impl Sequence for Triangle {
    fn len(&self) -> usize {
        self.ops
    }
    fn items(&self, _op: usize) -> u32 {
        8
    }
    fn claims_ahead(&self, op: usize) -> bool {
        op % 3 == 1
    }
    unsafe fn run(&self, op: usize, item: u32, _next: Option<u32>, _worker: usize) {
        let item = item as usize;
        if (op + item).is_multiple_of(5) {
            std::thread::yield_now(); // lets others in
        }
        // SAFETY: nobody else touches the number that is written, nobody writes those that are read.
        unsafe {
            let from = (*self.rows[op % 2].get()).as_ptr();
            let sum = (*from.add(item)).wrapping_add(*from.add((item + 1) % 8));
            (*self.rows[(op + 1) % 2].get()).as_mut_ptr().add(item).write(sum);
        }
    }
}

#[test]
fn an_operation_sees_what_the_one_before_wrote() {
    let host = Host { manner: Manner::Together, calls: Arc::default(), late: Arc::default() };
    let pools = [1, 3].map(|threads| Pool::new(threads, &ThreadHooks::default()).unwrap()).into_iter();
    let results = pools.chain([Pool::on_host(3, Arc::new(host)).unwrap()]).map(|pool| {
        let mut lane = lane();
        let job = Triangle { rows: [vec![1, 2, 3, 4, 5, 6, 7, 8], vec![0; 8]].map(Into::into), ops: 500 };
        let mut cursor = Cursor::default();
        let budget = || Budget::Until(Instant::now() + Duration::from_micros(500));
        while pool.run(&mut lane, &job, &mut cursor, budget()).unwrap() == Outcome::Stopped {}
        job.rows.map(|row| row.into_inner())
    });
    let results: Vec<_> = results.collect();
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
}
