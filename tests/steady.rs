//! What a host may rely on while a session steps: no allocation, no thread left behind, no effect of neighbours. One test at a time,
//! since they count for the whole process.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{demo, goldens};
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use loquat::session::{Background, Happening, Session, SessionOptions, Step};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: every call is passed on to System.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn model(threads: usize, file: &str) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), ..Default::default() }).unwrap();
    Model::load(&runtime, &demo(file), LoadOptions::default()).unwrap()
}

/// The states of this process's worker threads, as Linux gives them: R for one that runs, S for one that sleeps. (Other threads belong to
/// the test harness and come and go.)
#[cfg(target_os = "linux")]
fn workers() -> Vec<char> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    stats.filter(|stat| stat.contains("(loquat-")).filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}

/// Waits for `count` workers to have started and found nothing to do. The system may start a thread late, and a thread that starts
/// allocates its name.
fn wait_for_parked_workers(count: usize) {
    #[cfg(target_os = "linux")]
    while workers().iter().filter(|state| **state == 'S').count() < count {
        std::thread::yield_now();
    }
    #[cfg(not(target_os = "linux"))]
    std::thread::sleep(std::time::Duration::from_millis(20 * count as u64));
}

#[test]
fn a_steady_step_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let chain = SamplerConfig { temperature: 0.8, repetition_penalty: 1.1, seed: 1, ..Default::default() };
    for file in ["emberfield-3m-q8_0.gguf", "emberfield-3m-q4_k_m.gguf", "emberfield-3m-f32.gguf"] {
        for sampler in [SamplerConfig::greedy(), chain.clone()] {
            let model = model(2, file);
            wait_for_parked_workers(1);
            let options = SessionOptions { sampler, ignore_eog: true, stop: vec![b"never this".to_vec()], ..Default::default() };
            let mut session = Session::new(&model, &options).unwrap();
            session.append(&goldens()[0].ids).unwrap();
            for _ in 0..8 {
                session.step(u64::MAX).unwrap();
            }
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..200 {
                assert!(matches!(session.step(u64::MAX).unwrap(), Step::Token { .. }));
                assert!(!session.text().is_empty() || session.position() > 0);
            }
            for _ in 0..200 {
                session.step(20_000).unwrap();
            }
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{file}");
        }
    }
}

#[test]
fn a_steady_turn_in_the_background_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let model = model(2, "emberfield-3m-q8_0.gguf");
    wait_for_parked_workers(1);
    let mut session = Session::new(&model, &SessionOptions { ignore_eog: true, ..Default::default() }).unwrap();
    session.append(&goldens()[0].ids).unwrap();
    let mut background = Background::start(session, 4, || {}).unwrap();
    for _ in 0..8 {
        background.pop(u64::MAX).unwrap();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..200 {
        assert!(matches!(background.pop(u64::MAX).unwrap().what, Happening::Token { .. }));
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn freeing_the_last_handle_ends_the_threads() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    for _ in 0..20 {
        let model = model(4, "emberfield-3m-q8_0.gguf");
        let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
        drop(model); // the session keeps it, and the runtime, alive
        session.append(&goldens()[0].ids).unwrap();
        session.step(u64::MAX).unwrap();
        while workers().len() < 3 {
            std::thread::yield_now(); // a new thread names itself once it runs
        }
        drop(session);
        // An emulator tells who joins a thread before it ends the thread of its own that ran it.
        let grace = if common::emulated() { 1000 } else { 0 };
        let freed = std::time::Instant::now();
        while !workers().is_empty() && freed.elapsed().as_millis() < grace {
            std::thread::yield_now();
        }
        assert!(workers().is_empty());
    }
}

#[test]
fn a_neighbour_changes_no_bit() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let model = model(2, "emberfield-3m-q4_k_m.gguf");
    let options = SessionOptions { ignore_eog: true, ..Default::default() };
    let logits = || {
        let mut session = Session::new(&model, &options).unwrap();
        session.append(&goldens()[1].ids).unwrap();
        let mut bits: Vec<u32> = vec![];
        for _ in 0..40 {
            session.step(u64::MAX).unwrap();
            bits.extend(session.logits().unwrap().iter().map(|x| x.to_bits()));
        }
        bits
    };
    let alone = logits();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut neighbour = Session::new(&model, &options).unwrap();
                neighbour.append(&goldens()[2].ids).unwrap();
                for _ in 0..30 {
                    neighbour.step(u64::MAX).unwrap();
                }
            }
        });
        let beside: Vec<_> = (0..5).map(|_| logits()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(beside.iter().all(|bits| *bits == alone));
    });
}

/// Processor time of this process.
#[cfg(target_os = "linux")]
fn processor_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes the struct.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_runtime_uses_no_processor_time() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let model = model(8, "emberfield-3m-q8_0.gguf");
    let options = SessionOptions { threads: 3, ignore_eog: true, ..Default::default() };
    let mut sessions = [Session::new(&model, &SessionOptions::default()).unwrap(), Session::new(&model, &options).unwrap()];
    for session in &mut sessions {
        session.append(&goldens()[0].ids).unwrap();
        for _ in 0..20 {
            session.step(u64::MAX).unwrap();
            session.step(20_000).unwrap();
        }
    }
    wait_for_parked_workers(7);
    let second = || {
        let before = processor_time();
        std::thread::sleep(std::time::Duration::from_secs(1));
        processor_time() - before
    };
    // Other threads of the test harness may have something to do once.
    let spent = (0..3).map(|_| second()).min().unwrap();
    assert!(spent < std::time::Duration::from_millis(1), "{spent:?} in an idle second");
}
