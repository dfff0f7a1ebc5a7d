//! What a host may rely on while a session steps: no allocation, no thread left behind, no effect of neighbours; and that nothing stays in a
//! thread of its when a handle is gone. One test at a time,
//! since some of them count for the whole process. Allocations are counted on the threads that step alone: the test's own, the workers of
//! its runtime, and the thread of a session in the background; those of the harness do as they like.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use loquat::base::pool::ThreadHooks;
use loquat::base::{Pace, SharedBytes, at_once};
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use loquat::session::{Background, Batch, BatchOptions, BatchStep, ContextPolicy, Happening, KvType, Session, SessionOptions, Step};
use loquat::tokenizer::{EncodeOptions, JsonDefinition, Tokenizer};
use test_support::{demo, goldens};

/// On threads that are watched.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes, likewise.
static HELD: AtomicI64 = AtomicI64::new(0);
thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: every call is passed on to System.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
            HELD.fetch_add(layout.size() as i64, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if WATCHED.get() {
            HELD.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations while `work` runs, on this thread and all workers.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    WATCHED.set(true);
    work();
    WATCHED.set(false);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// A model on a runtime whose workers are watched.
fn model(threads: usize, file: &str) -> Model {
    let hooks = ThreadHooks { start: Some(Arc::new(|_| WATCHED.set(true))), end: None };
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), thread_hooks: hooks, ..Default::default() }).unwrap();
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

#[test]
fn a_steady_step_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let chain = SamplerConfig { temperature: 0.8, repetition_penalty: 1.1, seed: 1, ..Default::default() };
    for file in ["emberfield-3m-q8_0.gguf", "emberfield-3m-q4_k_m.gguf", "emberfield-3m-f32.gguf"] {
        for sampler in [SamplerConfig::greedy(), chain.clone()] {
            let model = model(2, file);
            let options = SessionOptions { sampler, ignore_eog: true, stop: vec![b"never this".to_vec()], ..Default::default() };
            let mut session = Session::new(&model, &options).unwrap();
            session.append(&goldens()[0].ids).unwrap();
            for _ in 0..8 {
                session.step(u64::MAX).unwrap();
            }
            let allocated = allocations(|| {
                for _ in 0..200 {
                    assert!(matches!(session.step(u64::MAX).unwrap(), Step::Token { .. }));
                    assert!(!session.text().is_empty() || session.position() > 0);
                }
                for _ in 0..200 {
                    session.step(20_000).unwrap();
                }
            });
            assert_eq!(allocated, 0, "{file}");
        }
    }
}

/// From its first step on: the shifts come one after the other, at once and in slices.
#[test]
fn a_shifting_session_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let model = model(2, "emberfield-3m-q8_0.gguf");
    for kv_type in [KvType::F16, KvType::Q8_0] {
        let context_policy = ContextPolicy::Shift { keep: 10 };
        let options = SessionOptions { context: 64, context_policy, kv_type, ignore_eog: true, ..Default::default() };
        let mut session = Session::new(&model, &options).unwrap();
        session.append(&goldens()[0].ids).unwrap();
        let (mut tokens, mut shifts, mut before) = (0, 0, 0);
        let allocated = allocations(|| {
            while tokens < 300 {
                let budget = if tokens < 150 { u64::MAX } else { 20_000 };
                tokens += u32::from(matches!(session.step(budget).unwrap(), Step::Token { .. }));
                shifts += u32::from(session.tokens().len() < before);
                before = session.tokens().len();
            }
        });
        assert!(shifts > 10, "{shifts} shifts");
        assert_eq!(allocated, 0, "{kv_type:?}");
    }
}

#[test]
fn a_steady_step_of_a_batch_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let model = model(2, "emberfield-3m-q8_0.gguf");
    let options = SessionOptions { ignore_eog: true, batch: 32, ..Default::default() };
    let mut batch = Batch::new(&model, BatchOptions::default()).unwrap();
    let mut sessions: Vec<_> = (0..5).map(|_| Box::new(Session::new(&model, &options).unwrap())).collect();
    sessions.iter_mut().enumerate().for_each(|(number, session)| session.append(&goldens()[number].ids).unwrap());
    let mut tokens = 0;
    let mut generate = |batch: &mut Batch, most: u32, budget: u64| {
        while tokens < most {
            if batch.step(&mut sessions, budget).unwrap() == BatchStep::Events {
                tokens += batch.events().len() as u32;
            }
        }
    };
    generate(&mut batch, 40, u64::MAX);
    let allocated = allocations(|| {
        generate(&mut batch, 500, u64::MAX);
        generate(&mut batch, 800, 20_000);
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_steady_turn_in_the_background_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let model = model(2, "emberfield-3m-q8_0.gguf");
    let mut session = Session::new(&model, &SessionOptions { ignore_eog: true, ..Default::default() }).unwrap();
    session.append(&goldens()[0].ids).unwrap();
    // The thread is watched from its first event on.
    let mut background = Background::start(session, 4, || WATCHED.set(true)).unwrap();
    for _ in 0..8 {
        background.pop(u64::MAX).unwrap();
    }
    let allocated = allocations(|| {
        for _ in 0..200 {
            assert!(matches!(background.pop(u64::MAX).unwrap().what, Happening::Token { .. }));
        }
    });
    assert_eq!(allocated, 0);
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
        let grace = if test_support::emulated() { 1000 } else { 0 };
        let freed = std::time::Instant::now();
        while !workers().is_empty() && freed.elapsed().as_millis() < grace {
            std::thread::yield_now();
        }
        assert!(workers().is_empty());
    }
}

#[test]
fn a_tokenizer_leaves_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/hub_tokenizers");
    let use_once = |json: &[u8]| {
        let definition = JsonDefinition { json: SharedBytes::copied(json), ..JsonDefinition::default() };
        let (tokenizer, _) = at_once(Tokenizer::translated(definition, &Pace::unhurried())).unwrap();
        let mut ids = vec![];
        tokenizer.encode("Words, and words that come again: words.", EncodeOptions::default(), &mut ids).unwrap();
    };
    for name in ["bert", "gpt2", "llama2", "unigram", "words"] {
        let json = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        // What is made once for the process.
        use_once(&json);
        let before = HELD.load(Ordering::Relaxed);
        let made = allocations(|| (0..2).for_each(|_| use_once(&json)));
        assert!(made > 1000, "{name}: {made} allocations");
        assert_eq!(HELD.load(Ordering::Relaxed) - before, 0, "{name}: bytes kept");
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
    // The system may start a thread late.
    while workers().iter().filter(|state| **state == 'S').count() < 7 {
        std::thread::yield_now();
    }
    let second = || {
        let before = processor_time();
        std::thread::sleep(std::time::Duration::from_secs(1));
        processor_time() - before
    };
    // Other threads of the test harness may have something to do once.
    let spent = (0..3).map(|_| second()).min().unwrap();
    assert!(spent < std::time::Duration::from_millis(1), "{spent:?} in an idle second");
}
