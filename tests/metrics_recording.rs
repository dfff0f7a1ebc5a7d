//! What recording costs: no allocation at all, and at most 50 ns.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use loquat::metrics::{Device, DispatchMetrics, RuntimeMetrics, StepRecord, TokenTiming};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // After the thread's locals are gone nothing is counted any more.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call goes unchanged to the system allocator; counting touches no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn step(ns: u64) -> StepRecord {
    StepRecord {
        decode_ns: ns,
        token: Some(TokenTiming::Next { since_previous_ns: ns }),
        overshoot_ns: Some(ns / 100),
        kv_used_bytes: Some(ns),
        ..Default::default()
    }
}

#[test]
fn recording_allocates_nothing() {
    let runtime = RuntimeMetrics::new();
    let mut session = runtime.session(1, 1);
    let reader = session.metrics();
    let before = ALLOCATIONS.get();
    for i in 0..10_000 {
        session.step(&step(i * 7_919));
        session.dispatch(i);
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(reader.snapshot().steps, 10_000);
    assert!(ALLOCATIONS.get() > before, "the counter counts");
}

/// The best of many short rounds: other load on the machine only makes a round slower. Not under emulation, where time means nothing.
fn best_ns_per_call(mut call: impl FnMut(u64)) -> f64 {
    let round = |call: &mut dyn FnMut(u64)| {
        let began = Instant::now();
        (0..2_000u64).for_each(|i| call(black_box(i * 104_729)));
        began.elapsed().as_nanos() as f64 / 2_000.0
    };
    (0..200).map(|_| round(&mut call)).fold(f64::INFINITY, f64::min)
}

#[test]
#[cfg_attr(any(not(target_arch = "x86_64"), miri), ignore = "a time measurement, meaningless under emulation")]
fn recording_a_value_takes_at_most_50_ns() {
    let mut recorder = DispatchMetrics::new().recorder(Device::Cpu);
    let dispatch = best_ns_per_call(|ns| recorder.record(ns));
    let mut session = RuntimeMetrics::new().session(1, 1);
    let whole_step = best_ns_per_call(|ns| session.step(&step(ns)));
    println!("a dispatch {dispatch:.1} ns, a step with all its figures {whole_step:.1} ns");
    assert!(dispatch <= 50.0, "{dispatch} ns");
    // A step records two series and up to seven counters.
    assert!(whole_step <= 100.0, "{whole_step} ns");
}
