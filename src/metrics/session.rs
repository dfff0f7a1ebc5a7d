//! Session metrics: what one conversation with a model has cost. Recorded by the session, readable from any thread.
//!
//! A session holds a [`SessionRecorder`] and calls [`SessionRecorder::step`] once at the end of each of its steps with all that
//! the step did, so that a snapshot never shows a token without its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dispatch::{Device, DispatchRecorder};
use super::epoch::{Cells, Reader, Recorder, add, take};
use super::latency::{LatencyCells, LatencySnapshot, LatencyTotal};
use super::runtime::RuntimeMetrics;

/// When a token came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenTiming {
    /// The first of a turn: nanoseconds since the turn's request was accepted (time to first token).
    First {
        /// Wall time, nanoseconds.
        since_request_ns: u64,
    },
    /// A later one: nanoseconds since the token before it (inter-token latency).
    Next {
        /// Wall time, nanoseconds.
        since_previous_ns: u64,
    },
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// It did what was asked: a token, the end of the turn, or a finished prefill.
    #[default]
    Finished,
    /// The budget ran out before the next token.
    Pending,
    /// Another thread cancelled it.
    Cancelled,
    /// It failed.
    Failed,
}

/// What one step did. Fields that don't apply stay at their default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepRecord {
    /// Prompt tokens whose key/value entries this step completed.
    pub prompt_tokens: u64,
    /// Time this step spent on prompt tokens, nanoseconds.
    pub prefill_ns: u64,
    /// Time this step spent on generating tokens (forward pass and sampling), nanoseconds.
    pub decode_ns: u64,
    /// The token that came out, if any.
    pub token: Option<TokenTiming>,
    /// By how much the step outlasted its budget, nanoseconds; `None` for a step without a budget.
    pub overshoot_ns: Option<u64>,
    /// Bytes of the key/value cache that hold tokens after the step; `None` where they haven't changed.
    pub kv_used_bytes: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
}

#[derive(Default)]
pub(super) struct SessionCells {
    prompt_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    prefill_ns: AtomicU64,
    decode_ns: AtomicU64,
    steps: AtomicU64,
    pending_steps: AtomicU64,
    cancellations: AtomicU64,
    errors: AtomicU64,
    /// Values plus one; 0 for none since the last drain.
    last_ttft_ns: AtomicU64,
    kv_used_bytes: AtomicU64,
    ttft: LatencyCells,
    inter_token: LatencyCells,
    overshoot: LatencyCells,
}

impl SessionCells {
    fn record(&self, step: &StepRecord) {
        add(&self.steps, 1);
        add(&self.prompt_tokens, step.prompt_tokens);
        add(&self.prefill_ns, step.prefill_ns);
        add(&self.decode_ns, step.decode_ns);
        match step.token {
            Some(TokenTiming::First { since_request_ns }) => {
                add(&self.generated_tokens, 1);
                self.last_ttft_ns.store(since_request_ns.saturating_add(1), Ordering::Relaxed);
                self.ttft.record(since_request_ns);
            }
            Some(TokenTiming::Next { since_previous_ns }) => {
                add(&self.generated_tokens, 1);
                self.inter_token.record(since_previous_ns);
            }
            None => {}
        }
        if let Some(ns) = step.overshoot_ns {
            self.overshoot.record(ns);
        }
        if let Some(bytes) = step.kv_used_bytes {
            self.kv_used_bytes.store(bytes.saturating_add(1), Ordering::Relaxed);
        }
        match step.outcome {
            Outcome::Finished => {}
            Outcome::Pending => add(&self.pending_steps, 1),
            Outcome::Cancelled => add(&self.cancellations, 1),
            Outcome::Failed => add(&self.errors, 1),
        }
    }
}

impl Cells for SessionCells {
    type Total = SessionTotal;

    fn drain(&self, total: &mut SessionTotal) {
        total.prompt_tokens += take(&self.prompt_tokens);
        total.generated_tokens += take(&self.generated_tokens);
        total.prefill_ns += take(&self.prefill_ns);
        total.decode_ns += take(&self.decode_ns);
        total.steps += take(&self.steps);
        total.pending_steps += take(&self.pending_steps);
        total.cancellations += take(&self.cancellations);
        total.errors += take(&self.errors);
        if let Some(ns) = take(&self.last_ttft_ns).checked_sub(1) {
            total.last_ttft_ns = Some(ns);
        }
        if let Some(bytes) = take(&self.kv_used_bytes).checked_sub(1) {
            total.kv_used_bytes = bytes;
        }
        self.ttft.drain(&mut total.ttft);
        self.inter_token.drain(&mut total.inter_token);
        self.overshoot.drain(&mut total.overshoot);
    }
}

/// The sum over one session, or over several.
#[derive(Clone, Default)]
pub(super) struct SessionTotal {
    prompt_tokens: u64,
    generated_tokens: u64,
    prefill_ns: u64,
    decode_ns: u64,
    steps: u64,
    pending_steps: u64,
    cancellations: u64,
    errors: u64,
    last_ttft_ns: Option<u64>,
    kv_used_bytes: u64,
    ttft: LatencyTotal,
    inter_token: LatencyTotal,
    overshoot: LatencyTotal,
}

impl SessionTotal {
    /// Adds what `other` counted. Not its gauges: what a session holds is the affair of living sessions.
    pub fn merge_counters(&mut self, other: &Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.generated_tokens += other.generated_tokens;
        self.prefill_ns += other.prefill_ns;
        self.decode_ns += other.decode_ns;
        self.steps += other.steps;
        self.pending_steps += other.pending_steps;
        self.cancellations += other.cancellations;
        self.errors += other.errors;
        self.ttft.merge(&other.ttft);
        self.inter_token.merge(&other.inter_token);
        self.overshoot.merge(&other.overshoot);
    }

    /// Bytes of the key/value cache that hold tokens.
    pub fn kv_used_bytes(&self) -> u64 {
        self.kv_used_bytes
    }

    /// The counters and `sizes`, with this total's own gauges.
    pub fn snapshot(&self, sizes: SessionSizes) -> SessionSnapshot {
        let per_s = |count: u64, ns: u64| (count > 0 && ns > 0).then(|| count as f64 / (ns as f64 / 1e9));
        let inter_token = self.inter_token.snapshot();
        SessionSnapshot {
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.generated_tokens,
            prefill_ns: self.prefill_ns,
            decode_ns: self.decode_ns,
            prefill_tok_per_s: per_s(self.prompt_tokens, self.prefill_ns),
            decode_tok_per_s: per_s(inter_token.count, self.decode_ns),
            last_ttft_ns: self.last_ttft_ns,
            ttft: self.ttft.snapshot(),
            inter_token,
            steps: self.steps,
            pending_steps: self.pending_steps,
            cancellations: self.cancellations,
            errors: self.errors,
            overshoot: self.overshoot.snapshot(),
            kv_capacity_bytes: sizes.kv_capacity_bytes,
            kv_used_bytes: self.kv_used_bytes,
            scratch_bytes: sizes.scratch_bytes,
        }
    }
}

/// Sizes that a session fixes at creation, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SessionSizes {
    pub kv_capacity_bytes: u64,
    pub scratch_bytes: u64,
}

/// The recording end, owned by a session. Dropping it moves its counts to the runtime's sum.
pub struct SessionRecorder {
    recording: bool,
    runtime: Arc<RuntimeMetrics>,
    recorder: Recorder<SessionCells>,
    dispatch: DispatchRecorder,
    sizes: SessionSizes,
}

impl SessionRecorder {
    /// See [`RuntimeMetrics::session`].
    pub(super) fn new(runtime: Arc<RuntimeMetrics>, recorder: Recorder<SessionCells>, sizes: SessionSizes) -> Self {
        let dispatch = runtime.dispatch().recorder(Device::Cpu);
        Self { recording: runtime.is_recording(), runtime, recorder, dispatch, sizes }
    }

    /// Records a finished step. Wait-free, without allocation; well below 50 ns. Nothing where the runtime does not record.
    pub fn step(&mut self, step: &StepRecord) {
        if self.recording {
            self.recorder.update(|cells| cells.record(step));
        }
    }

    /// Records one run of the worker pool that took `ns` nanoseconds, in the runtime's dispatch metrics.
    pub fn dispatch(&mut self, ns: u64) {
        if self.recording {
            self.dispatch.record(ns);
        }
    }

    /// The reading end.
    pub fn metrics(&self) -> SessionMetrics {
        SessionMetrics { reader: self.recorder.reader(), sizes: self.sizes }
    }
}

impl Drop for SessionRecorder {
    fn drop(&mut self) {
        self.runtime.retire(&self.recorder.reader());
    }
}

/// The reading end of a session's metrics. Any thread, at any time, also after the session is gone.
#[derive(Clone)]
pub struct SessionMetrics {
    reader: Reader<SessionCells>,
    sizes: SessionSizes,
}

impl SessionMetrics {
    /// All figures at one moment; no step is in it by half.
    pub fn snapshot(&self) -> SessionSnapshot {
        self.reader.collect(|total| total.snapshot(self.sizes))
    }
}

/// The figures of one session, or summed over sessions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionSnapshot {
    /// Prompt tokens evaluated.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Time spent on prompt tokens, nanoseconds; pauses between steps are not in it.
    pub prefill_ns: u64,
    /// Time spent on generating, nanoseconds; likewise.
    pub decode_ns: u64,
    /// `prompt_tokens` per second of `prefill_ns`; absent without either.
    pub prefill_tok_per_s: Option<f64>,
    /// Tokens after the first of each turn, per second of `decode_ns`; absent without either.
    pub decode_tok_per_s: Option<f64>,
    /// Time to first token of the latest turn, nanoseconds; absent before the first, and in sums over sessions.
    pub last_ttft_ns: Option<u64>,
    /// Time to first token, one value per turn.
    pub ttft: LatencySnapshot,
    /// Time between tokens, first tokens excluded.
    pub inter_token: LatencySnapshot,
    /// Steps taken.
    pub steps: u64,
    /// Steps whose budget ran out before a token.
    pub pending_steps: u64,
    /// Steps ended by a cancellation.
    pub cancellations: u64,
    /// Steps that failed.
    pub errors: u64,
    /// By how much steps with a budget outlasted it.
    pub overshoot: LatencySnapshot,
    /// Size of the key/value cache, bytes.
    pub kv_capacity_bytes: u64,
    /// The part of it that holds tokens, bytes.
    pub kv_used_bytes: u64,
    /// Size of the scratch arena, bytes.
    pub scratch_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> SessionRecorder {
        RuntimeMetrics::new().session(1 << 20, 4_096)
    }

    #[test]
    fn a_turn_with_a_paused_prefill() {
        let mut recorder = recorder();
        let metrics = recorder.metrics();
        let pending = StepRecord {
            prefill_ns: 3_000_000,
            overshoot_ns: Some(40_000),
            outcome: Outcome::Pending,
            kv_used_bytes: Some(0),
            ..Default::default()
        };
        recorder.step(&pending);
        recorder.step(&StepRecord {
            prompt_tokens: 8,
            prefill_ns: 1_000_000,
            decode_ns: 100_000,
            token: Some(TokenTiming::First { since_request_ns: 9_000_000 }),
            kv_used_bytes: Some(800),
            ..Default::default()
        });
        for _ in 0..3 {
            recorder.step(&StepRecord {
                decode_ns: 2_000_000,
                token: Some(TokenTiming::Next { since_previous_ns: 2_500_000 }),
                kv_used_bytes: Some(1_100),
                ..Default::default()
            });
        }
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.steps, snapshot.pending_steps, snapshot.prompt_tokens, snapshot.generated_tokens), (5, 1, 8, 4));
        assert_eq!((snapshot.prefill_ns, snapshot.decode_ns), (4_000_000, 6_100_000));
        assert_eq!(snapshot.prefill_tok_per_s, Some(2_000.0));
        assert!((snapshot.decode_tok_per_s.unwrap() - 3.0 / 6.1e-3).abs() < 1e-6);
        assert_eq!((snapshot.last_ttft_ns, snapshot.ttft.count), (Some(9_000_000), 1));
        assert_eq!((snapshot.inter_token.count, snapshot.inter_token.mean_ns), (3, Some(2_500_000.0)));
        assert_eq!(snapshot.overshoot.max_ns, Some(40_000));
        assert_eq!((snapshot.kv_capacity_bytes, snapshot.kv_used_bytes, snapshot.scratch_bytes), (1 << 20, 1_100, 4_096));
    }

    #[test]
    fn what_does_not_record_counts_sessions_alone() {
        let runtime = RuntimeMetrics::recording(false);
        let mut recorder = runtime.session(1 << 20, 4_096);
        recorder.step(&StepRecord { prompt_tokens: 8, decode_ns: 5, ..Default::default() });
        recorder.dispatch(7);
        let snapshot = runtime.snapshot(crate::metrics::RuntimeFacts::default());
        assert_eq!((snapshot.sessions.steps, snapshot.sessions.prompt_tokens, snapshot.sessions_alive), (0, 0, 1));
        assert!(!snapshot.recording && RuntimeMetrics::new().snapshot(crate::metrics::RuntimeFacts::default()).recording);
    }

    #[test]
    fn gauges_outlive_snapshots() {
        let mut recorder = recorder();
        let metrics = recorder.metrics();
        recorder.step(&StepRecord { kv_used_bytes: Some(77), prompt_tokens: 1, ..Default::default() });
        metrics.snapshot();
        recorder.step(&StepRecord { outcome: Outcome::Failed, ..Default::default() });
        assert_eq!((metrics.snapshot().kv_used_bytes, metrics.snapshot().errors), (77, 1));
    }

    #[test]
    fn readable_after_the_session_is_gone() {
        let mut recorder = recorder();
        let metrics = recorder.metrics();
        recorder.step(&StepRecord { outcome: Outcome::Cancelled, ..Default::default() });
        drop(recorder);
        assert_eq!(metrics.snapshot().cancellations, 1);
    }

    #[test]
    fn tokens_and_times_move_together_under_concurrency() {
        let mut recorder = recorder();
        let metrics = recorder.metrics();
        let reader = std::thread::spawn(move || {
            loop {
                let snapshot = metrics.snapshot();
                assert_eq!(snapshot.decode_ns, 7 * snapshot.generated_tokens);
                assert_eq!(snapshot.inter_token.count, snapshot.generated_tokens);
                assert_eq!(snapshot.steps, snapshot.generated_tokens);
                if snapshot.steps == 30_000 {
                    break;
                }
            }
        });
        for _ in 0..30_000 {
            let token = Some(TokenTiming::Next { since_previous_ns: 9_000 });
            recorder.step(&StepRecord { decode_ns: 7, token, ..Default::default() });
        }
        reader.join().unwrap();
    }
}
