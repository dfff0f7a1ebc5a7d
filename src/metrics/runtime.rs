//! Runtime metrics: the sum over all sessions, living and gone, with memory, counts of handles and dispatches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::base::sync::Mutex;

use super::dispatch::{DispatchMetrics, DispatchSnapshot};
use super::epoch::{Reader, Recorder};
use super::session::{SessionCells, SessionRecorder, SessionSizes, SessionSnapshot, SessionTotal};
use crate::base::{MemoryBudget, MemoryCategory};

/// What a runtime counts. Shared by its models and sessions; every method may be called from any thread.
pub struct RuntimeMetrics {
    recording: bool,
    started: Instant,
    sessions: Mutex<Sessions>,
    dispatch: DispatchMetrics,
    models: AtomicU64,
    models_loaded: AtomicU64,
}

#[derive(Default)]
struct Sessions {
    living: Vec<(Reader<SessionCells>, SessionSizes)>,
    gone: SessionTotal,
    created: u64,
}

/// Counts a model as living until dropped; see [`RuntimeMetrics::model`].
pub struct ModelCount(Arc<RuntimeMetrics>);

impl Drop for ModelCount {
    fn drop(&mut self) {
        self.0.models.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RuntimeMetrics {
    /// Nothing counted; the clock of `elapsed` starts.
    pub fn new() -> Arc<Self> {
        Self::recording(true)
    }

    /// The same, whose sessions record what their steps cost, or do not; what is alive is counted all the same.
    pub fn recording(recording: bool) -> Arc<Self> {
        Arc::new(Self {
            recording,
            started: Instant::now(),
            sessions: Mutex::default(),
            dispatch: DispatchMetrics::new(),
            models: AtomicU64::new(0),
            models_loaded: AtomicU64::new(0),
        })
    }

    /// The recorder of a new session with these fixed sizes. Allocates about 60 KiB, here and not when recording; dropping it
    /// ends the session's life in these metrics and keeps its counts.
    pub fn session(self: &Arc<Self>, kv_capacity_bytes: u64, scratch_bytes: u64) -> SessionRecorder {
        let recorder = Recorder::new();
        let sizes = SessionSizes { kv_capacity_bytes, scratch_bytes };
        let mut sessions = self.sessions.lock();
        sessions.living.push((recorder.reader(), sizes));
        sessions.created += 1;
        drop(sessions);
        SessionRecorder::new(Arc::clone(self), recorder, sizes)
    }

    /// Counts a loaded model until the result is dropped.
    pub fn model(self: &Arc<Self>) -> ModelCount {
        self.models.fetch_add(1, Ordering::Relaxed);
        self.models_loaded.fetch_add(1, Ordering::Relaxed);
        ModelCount(Arc::clone(self))
    }

    /// Whether sessions record what their steps cost.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// The dispatches of this runtime.
    pub fn dispatch(&self) -> &DispatchMetrics {
        &self.dispatch
    }

    /// Moves the counts of a session that ends to the sum of those gone.
    pub(super) fn retire(&self, session: &Reader<SessionCells>) {
        let mut sessions = self.sessions.lock();
        session.collect(|total| sessions.gone.merge_counters(total));
        sessions.living.retain(|(reader, _)| !reader.same(session));
    }

    /// All figures at one moment, with what the caller knows of the runtime. No step is in it by half, and no session is
    /// missed or counted twice while it ends.
    pub fn snapshot(&self, facts: RuntimeFacts) -> RuntimeSnapshot {
        let sessions = self.sessions.lock();
        let mut sum = sessions.gone.clone();
        let (mut sizes, mut kv_used_bytes) = (SessionSizes::default(), 0u64);
        for (reader, own) in &sessions.living {
            let used = reader.collect(|total| {
                sum.merge_counters(total);
                total.kv_used_bytes()
            });
            kv_used_bytes = kv_used_bytes.saturating_add(used);
            sizes.kv_capacity_bytes = sizes.kv_capacity_bytes.saturating_add(own.kv_capacity_bytes);
            sizes.scratch_bytes = sizes.scratch_bytes.saturating_add(own.scratch_bytes);
        }
        let (sessions_alive, sessions_created) = (sessions.living.len() as u64, sessions.created);
        drop(sessions);
        RuntimeSnapshot {
            recording: self.recording,
            facts,
            elapsed_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            sessions_alive,
            sessions_created,
            models_alive: self.models.load(Ordering::Relaxed),
            models_loaded: self.models_loaded.load(Ordering::Relaxed),
            sessions: SessionSnapshot { kv_used_bytes, ..sum.snapshot(sizes) },
            dispatch: self.dispatch.snapshot(),
        }
    }
}

/// What the caller of a snapshot knows and the metrics don't.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeFacts {
    /// Threads that compute, the caller's included.
    pub threads: u32,
    /// The instruction set in use ("avx512-vnni"); empty where unknown.
    pub isa: &'static str,
    /// Memory in use.
    pub memory: MemorySnapshot,
}

/// Memory that was asked of a runtime's budget.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemorySnapshot {
    /// Bytes in use by category, in a fixed order.
    pub categories: Vec<CategoryUse>,
    /// Private bytes in use: all but the mapped weights.
    pub private_bytes: u64,
    /// The largest value that `private_bytes` has had.
    pub private_peak_bytes: u64,
    /// The limit on `private_bytes`; absent without a limit.
    pub limit_bytes: Option<u64>,
}

/// One category's use of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryUse {
    /// The category's name ("kv_cache").
    pub category: &'static str,
    /// Bytes in use.
    pub bytes: u64,
}

impl MemorySnapshot {
    /// What `budget` says now.
    pub fn of(budget: &MemoryBudget) -> Self {
        Self {
            categories: MemoryCategory::ALL.iter().map(|&c| CategoryUse { category: c.name(), bytes: budget.used(c) }).collect(),
            private_bytes: budget.private_used(),
            private_peak_bytes: budget.private_peak(),
            limit_bytes: Some(budget.limit()).filter(|&limit| limit != u64::MAX),
        }
    }
}

/// The figures of a runtime at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuntimeSnapshot {
    /// Whether sessions record what their steps cost; where not, the counts of steps stay 0.
    pub recording: bool,
    /// What the caller handed in.
    pub facts: RuntimeFacts,
    /// Since the runtime was created, nanoseconds.
    pub elapsed_ns: u64,
    /// Sessions that live now.
    pub sessions_alive: u64,
    /// Sessions ever created.
    pub sessions_created: u64,
    /// Models that are loaded now.
    pub models_alive: u64,
    /// Models ever loaded.
    pub models_loaded: u64,
    /// The sum over all sessions, living and gone; sizes are those of the living ones.
    pub sessions: SessionSnapshot,
    /// Dispatches per device.
    pub dispatch: DispatchSnapshot,
}

#[cfg(test)]
mod tests {
    use super::super::session::{StepRecord, TokenTiming};
    use super::*;

    fn token() -> StepRecord {
        StepRecord {
            decode_ns: 1_000_000,
            token: Some(TokenTiming::Next { since_previous_ns: 1_000_000 }),
            kv_used_bytes: Some(10),
            ..Default::default()
        }
    }

    #[test]
    fn sums_over_the_living_and_the_gone() {
        let metrics = RuntimeMetrics::new();
        let model = metrics.model();
        let (mut first, mut second) = (metrics.session(100, 7), metrics.session(1_000, 70));
        (0..3).for_each(|_| first.step(&token()));
        second.step(&token());
        second.dispatch(800_000);
        let both = metrics.snapshot(RuntimeFacts::default());
        assert_eq!((both.sessions_alive, both.models_alive, both.sessions.generated_tokens), (2, 1, 4));
        assert_eq!((both.sessions.kv_capacity_bytes, both.sessions.kv_used_bytes, both.sessions.scratch_bytes), (1_100, 20, 77));
        assert_eq!(both.dispatch.cpu.latency.count, 1);
        drop(first);
        drop(model);
        let one = metrics.snapshot(RuntimeFacts::default());
        assert_eq!((one.sessions_alive, one.sessions_created, one.sessions.generated_tokens), (1, 2, 4));
        assert_eq!((one.sessions.kv_capacity_bytes, one.sessions.kv_used_bytes), (1_000, 10));
        assert_eq!((one.models_alive, one.models_loaded), (0, 1));
        drop(second);
        let none = metrics.snapshot(RuntimeFacts::default());
        assert_eq!((none.sessions_alive, none.sessions.generated_tokens, none.dispatch.total), (0, 4, 1));
        assert_eq!((none.sessions.kv_capacity_bytes, none.sessions.kv_used_bytes), (0, 0));
    }

    #[test]
    fn sessions_that_come_and_go_are_counted_once() {
        const SESSIONS: u64 = 300;
        let metrics = RuntimeMetrics::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let metrics = Arc::clone(&metrics);
                std::thread::spawn(move || {
                    for _ in 0..SESSIONS {
                        let mut session = metrics.session(1, 1);
                        (0..5).for_each(|_| session.step(&token()));
                    }
                })
            })
            .collect();
        let mut last = 0;
        while last < 2 * SESSIONS * 5 {
            let sum = metrics.snapshot(RuntimeFacts::default()).sessions;
            assert_eq!(sum.decode_ns, 1_000_000 * sum.generated_tokens);
            assert!(sum.generated_tokens >= last, "the sum went backwards");
            last = sum.generated_tokens;
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(metrics.snapshot(RuntimeFacts::default()).sessions.generated_tokens, last);
    }

    #[test]
    fn memory_comes_from_the_budget() {
        let budget = MemoryBudget::new(u64::MAX);
        let held = budget.reserve(MemoryCategory::KvCache, 640).unwrap();
        let memory = MemorySnapshot::of(&budget);
        assert!(memory.categories.contains(&CategoryUse { category: "kv_cache", bytes: 640 }));
        assert_eq!((memory.private_bytes, memory.limit_bytes), (640, None));
        drop(held);
        assert_eq!(MemorySnapshot::of(&budget).private_peak_bytes, 640);
    }
}
