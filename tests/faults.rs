//! Memory that is refused: each block that an operation asks for fails once, and each place in the budget. It must come back as an error of the
//! right kind, hold nothing, and leave what was there before in order.
//!
//! Small allocations of the language (names, lists) are no part of the contract: Rust ends the process where the system has no memory for
//! them.

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loquat::base::{BlockSource, ErrorKind, MemoryCategory, Result};
use loquat::format::Access;
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use loquat::session::{Batch, BatchOptions, BatchStep, Session, SessionOptions, Step};
use test_support::{demo, goldens};

/// Blocks of the system, filled with something, of which those numbered `refused` are not given.
struct Heap {
    asked: AtomicU64,
    refused: Range<u64>,
    held: AtomicU64,
}

// SAFETY: blocks of the system.
unsafe impl BlockSource for Heap {
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        if self.refused.contains(&self.asked.fetch_add(1, Ordering::Relaxed)) {
            return None;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the size is above zero.
        let block = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
        // SAFETY: the block has the layout's size.
        unsafe { block.write_bytes(0x5a, layout.size()) };
        Some(block)
    }

    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        self.held.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: as allocated.
        unsafe { std::alloc::dealloc(block.as_ptr(), layout) }
    }
}

fn heap(refused: Range<u64>) -> Arc<Heap> {
    Arc::new(Heap { asked: AtomicU64::new(0), refused, held: AtomicU64::new(0) })
}

/// An operation that takes memory; what it makes is dropped before the count.
type Operation = fn(&Runtime) -> Result<()>;

fn load(runtime: &Runtime, access: Access) -> Result<Model> {
    Model::load(runtime, &demo("emberfield-3m-q4_k_m.gguf"), LoadOptions { access, ..Default::default() })
}

fn options() -> SessionOptions {
    SessionOptions {
        context: 200,
        batch: 16,
        all_logits: true,
        ignore_eog: true,
        stop: vec![b"never this".to_vec()],
        sampler: SamplerConfig { temperature: 0.8, repetition_penalty: 1.1, logit_bias: vec![(7, 1.0)], ..Default::default() },
        ..Default::default()
    }
}

fn load_mapped(runtime: &Runtime) -> Result<()> {
    load(runtime, Access::Map).map(drop)
}

fn load_read(runtime: &Runtime) -> Result<()> {
    load(runtime, Access::Read).map(drop)
}

/// A second session that finds no room must not disturb the first.
fn two_sessions(runtime: &Runtime) -> Result<()> {
    let model = load(runtime, Access::Map)?;
    let mut first = Session::new(&model, &options())?;
    first.append(&goldens()[0].ids)?;
    let second = Session::new(&model, &options()).map(drop);
    let used = runtime.budget().private_used();
    for _ in 0..5 {
        assert!(matches!(first.step(u64::MAX)?, Step::Token { .. }));
    }
    assert_eq!(runtime.budget().private_used(), used, "a step takes no memory");
    second
}

/// Options of sessions whose caches grow, without a prefix index that could give way.
fn growing() -> SessionOptions {
    SessionOptions { all_logits: false, reserve: false, prefix_reuse: false, ..options() }
}

/// Steps until the cache has `positions`; a step that fails loses nothing, and the next may succeed.
fn grow(session: &mut Session, positions: usize) -> Result<()> {
    while session.position() < positions {
        let before = (session.tokens().to_vec(), session.position());
        if let Err(error) = session.step(u64::MAX) {
            assert!(session.tokens() == before.0 && session.position() >= before.1);
            let (before, again) = (session.position(), session.step(u64::MAX));
            assert_eq!(again.is_ok(), session.position() > before, "{again:?}");
            return Err(error);
        }
    }
    Ok(())
}

/// Forks that take their own pages as they write.
fn forks(runtime: &Runtime) -> Result<()> {
    let model = load(runtime, Access::Map)?;
    let mut first = Session::new(&model, &growing())?;
    first.append(&[5; 40])?;
    grow(&mut first, 45)?;
    let mut fork = first.fork()?;
    grow(&mut fork, 70)?;
    grow(&mut first, 70)?;
    let mut reserved = Session::new(&model, &SessionOptions { reserve: true, ..growing() })?;
    reserved.append(&[5; 40])?;
    grow(&mut reserved, 45)?;
    let used = runtime.budget().private_used();
    let other = reserved.fork();
    assert!(other.is_ok() || runtime.budget().private_used() == used);
    other.map(drop)
}

fn saved_and_restored(runtime: &Runtime) -> Result<()> {
    let model = load(runtime, Access::Map)?;
    let mut first = Session::new(&model, &growing())?;
    first.append(&[5; 40])?;
    grow(&mut first, 45)?;
    let mut state = vec![];
    first.save(&mut state)?;
    let mut second = Session::new(&model, &growing())?;
    second.append(&[6; 3])?;
    grow(&mut second, 4)?;
    if let Err(error) = second.restore(&state) {
        assert_eq!(second.position(), 4, "what was there stays");
        return Err(error);
    }
    grow(&mut second, 70)
}

/// In a batch the session that finds no room says so; the others go on.
fn batch(runtime: &Runtime) -> Result<()> {
    let model = load(runtime, Access::Map)?;
    let mut batch = Batch::new(&model, BatchOptions { columns: 32, ..Default::default() })?;
    let mut sessions = vec![];
    for _ in 0..3 {
        let mut session = Session::new(&model, &SessionOptions { max_tokens: Some(40), stop: vec![], ..growing() })?;
        session.append(&[5; 20])?;
        sessions.push(session);
    }
    let mut failures = vec![];
    loop {
        let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
        match batch.step(&mut all, u64::MAX)? {
            BatchStep::Idle => break,
            _ => failures.extend(batch.events().iter().filter_map(|event| event.result.as_ref().err().cloned())),
        }
    }
    let through = sessions.iter().filter(|session| session.tokens().len() == 60).count();
    assert_eq!(through + failures.len(), 3);
    failures.into_iter().next().map_or(Ok(()), Err)
}

const OPERATIONS: [(&str, Operation); 6] = [
    ("load mapped", load_mapped),
    ("load read", load_read),
    ("two sessions", two_sessions),
    ("forks", forks),
    ("saved and restored", saved_and_restored),
    ("batch", batch),
];

/// The result, after which everything must be given back.
fn run(operation: Operation, source: &Arc<Heap>, limit: u64) -> (Result<()>, u64) {
    let runtime = Runtime::new(RuntimeOptions {
        threads: Threads::CallerOnly,
        memory_limit: Some(limit),
        blocks: Some(Arc::clone(source) as Arc<dyn BlockSource>),
        ..Default::default()
    })
    .unwrap();
    let result = operation(&runtime);
    let budget = runtime.budget();
    assert!(budget.private_peak() <= limit);
    assert_eq!(MemoryCategory::ALL.map(|category| budget.used(category)), [0; 5], "{result:?}");
    assert_eq!(source.held.load(Ordering::Relaxed), 0, "{result:?}");
    (result, budget.private_peak())
}

#[test]
fn each_block_refused_in_turn() {
    for (name, operation) in OPERATIONS {
        let whole = heap(0..0);
        run(operation, &whole, u64::MAX).0.unwrap();
        let blocks = whole.asked.load(Ordering::Relaxed);
        assert!(blocks > 0 || name == "load mapped", "{name} asked for {blocks} blocks");
        let told = |refused: Range<u64>, result: Result<()>| {
            let error = result.expect_err(&format!("{name} did without blocks {refused:?}"));
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{name}, blocks {refused:?}: {error}");
            assert!(error.message().contains("the host's allocator refused"), "{error}");
        };
        let mut asked_again = 0;
        for refused in 0..blocks {
            told(refused..u64::MAX, run(operation, &heap(refused..u64::MAX), u64::MAX).0);
            let once = heap(refused..refused + 1);
            let (result, _) = run(operation, &once, u64::MAX);
            if name == "batch" && result.is_ok() {
                // Its step asks again before a session is told, and this heap then grants the block: that one and no other.
                assert_eq!(once.asked.load(Ordering::Relaxed), blocks + 1, "block {refused}");
                asked_again += 1;
            } else {
                told(refused..refused + 1, result);
            }
        }
        assert!(asked_again == 0 || asked_again < blocks, "{name} never told of one refused block");
    }
}

/// Limits between which the operation gets equally far are tried once: each place that it asks of the budget is refused.
#[test]
fn each_place_in_the_budget_refused_in_turn() {
    for (name, operation) in OPERATIONS {
        let (result, peak) = run(operation, &heap(0..0), u64::MAX);
        result.unwrap();
        let mut reached = BTreeSet::new();
        let reach = |limit: u64| {
            let (result, reached) = run(operation, &heap(0..0), limit);
            match result {
                Ok(()) => assert!(limit >= peak, "{name} did with {limit} of {peak} bytes"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{name}, limit {limit}: {error}"),
            }
            reached
        };
        let mut ranges = vec![(0, reach(0), peak, reach(peak))];
        while let Some((low, low_reached, high, high_reached)) = ranges.pop() {
            reached.extend([low_reached, high_reached]);
            if low_reached < high_reached && high - low > 1 {
                let middle = low + (high - low) / 2;
                let middle_reached = reach(middle);
                ranges.extend([(low, low_reached, middle, middle_reached), (middle, middle_reached, high, high_reached)]);
            }
        }
        let steps = reached.len();
        eprintln!("{name}: {steps} places, {peak} bytes");
        assert!(steps > 2, "{name}: {reached:?}");
        run(operation, &heap(0..0), peak).0.unwrap();
    }
}
