//! The sampler as a session uses it: no allocation once it is built. Counts the allocations of its own thread: those of the test harness
//! come when they come.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use loquat::base::MemoryBudget;
use loquat::sampling::{Sampler, SamplerConfig};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract, which System shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from System through alloc above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_steady_step_allocates_nothing() {
    const VOCAB: usize = 32_000;
    let penalties = SamplerConfig { repetition_penalty: 1.1, frequency_penalty: 0.1, ..SamplerConfig::default() };
    let configs = [
        SamplerConfig::greedy(),
        SamplerConfig::default(),
        SamplerConfig { logit_bias: vec![(3, -1.0), (7, f32::NEG_INFINITY)], ..penalties.clone() },
        SamplerConfig { top_k: 0, ..penalties.clone() },
        SamplerConfig { top_k: 0, top_p: 1.0, min_p: 0.0, ..penalties.clone() },
        SamplerConfig { top_k: 20_000, top_p: 0.999, min_p: 0.0, ..penalties },
    ];
    let logits: Vec<f32> = (0..VOCAB).map(|i| ((i * 7919) % 10_007) as f32 * 1e-3).collect();
    let mut copy = logits.clone();
    for config in configs {
        let mut sampler = Sampler::new(&config, VOCAB, &MemoryBudget::new(u64::MAX)).unwrap();
        let before = ALLOCATIONS.get();
        for _ in 0..200 {
            copy.copy_from_slice(&logits);
            let token = sampler.sample(&mut copy).unwrap();
            sampler.accept(token);
        }
        sampler.reset();
        assert_eq!(ALLOCATIONS.get() - before, 0, "{config:?}");
    }
}
