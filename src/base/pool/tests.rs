//! The pool under odd counts of items and threads, short deadlines, cancels and panics.

use super::*;

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
    Lane::new(Arc::new(AtomicBool::new(false)))
}

#[test]
fn every_item_runs_once_in_order() {
    for threads in [1, 2, 3, 5] {
        let pool = Pool::new(threads).unwrap();
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
    let pool = Pool::new(2).unwrap();
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
    let pool = Pool::new(3).unwrap();
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
        let (pool, job, mut lane, mut cursor) = (Pool::new(threads).unwrap(), Counting::new(&[3, 40, 1]), lane(), Cursor::default());
        let past = Instant::now();
        let mut runs = 0;
        while pool.run(&mut lane, &job, &mut cursor, Budget::Until(past)).unwrap() == Outcome::Stopped {
            runs += 1;
            assert!(lane.items_done() >= runs);
        }
        job.assert_each_item_ran(1);
    }
}

#[test]
fn cancel_stops_before_the_next_item() {
    let pool = Pool::new(2).unwrap();
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
    let pool = Pool::new(3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut lane = lane();
                for _ in 0..100 {
                    let job = Counting::new(&[7, 40, 1, 9]);
                    let mut cursor = Cursor::default();
                    pool.run(&mut lane, &job, &mut cursor, Budget::Unlimited).unwrap();
                    job.assert_each_item_ran(1);
                }
            });
        }
    });
}

#[test]
fn a_panic_is_an_error_and_the_pool_lives_on() {
    let pool = Pool::new(2).unwrap();
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
