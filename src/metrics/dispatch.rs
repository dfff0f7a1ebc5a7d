//! Dispatch metrics: how often work is handed to a device and how long it takes until the result is there.
//!
//! A dispatch is one hand-over of work and the wait for its end (on the CPU: one run of the worker pool). Each thread that
//! dispatches holds a [`DispatchRecorder`]; [`DispatchMetrics`] gathers them, the dropped ones too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::sync::Mutex;

use super::epoch::{Reader, Recorder};
use super::latency::{LatencyCells, LatencySnapshot, LatencyTotal};

/// Where work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Device {
    /// The processor.
    Cpu = 0,
    /// A graphics processor.
    Gpu = 1,
}

impl Device {
    /// All devices, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Gpu];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

/// All dispatches of a runtime, per device. Cheap to clone (a shared handle); every method may be called from any thread.
#[derive(Clone)]
pub struct DispatchMetrics {
    shared: Arc<Mutex<State>>,
}

struct State {
    started: Instant,
    /// One per living recorder.
    living: Vec<(Device, Reader<LatencyCells>)>,
    /// What dropped recorders left, by device.
    gone: [LatencyTotal; Device::ALL.len()],
}

impl Default for DispatchMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl DispatchMetrics {
    /// No dispatches; the clock of `elapsed` starts.
    pub fn new() -> Self {
        let state = State { started: Instant::now(), living: Vec::new(), gone: Default::default() };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// A recorder for one thread and one device. Allocates about 15 KiB, here and not when recording.
    pub fn recorder(&self, device: Device) -> DispatchRecorder {
        let recorder = Recorder::new();
        self.shared.lock().living.push((device, recorder.reader()));
        DispatchRecorder { metrics: self.clone(), device, recorder }
    }

    /// All figures at one moment. Every dispatch recorded before the call is in it, none is in it by half.
    pub fn snapshot(&self) -> DispatchSnapshot {
        let state = self.shared.lock();
        let mut totals = state.gone.clone();
        for (device, reader) in &state.living {
            reader.collect(|total| totals[*device as usize].merge(total));
        }
        DispatchSnapshot::of(state.started.elapsed(), totals)
    }

    /// Forgets all dispatches and restarts `elapsed`. A dispatch recorded meanwhile belongs wholly to one side of the reset.
    pub fn reset(&self) {
        self.take();
    }

    /// A snapshot and a reset in one: summed over successive calls, each dispatch is counted exactly once.
    pub fn take(&self) -> DispatchSnapshot {
        let mut state = self.shared.lock();
        let mut totals = std::mem::take(&mut state.gone);
        for (device, reader) in &state.living {
            reader.collect(|total| totals[*device as usize].merge(&std::mem::take(total)));
        }
        let elapsed = std::mem::replace(&mut state.started, Instant::now()).elapsed();
        DispatchSnapshot::of(elapsed, totals)
    }
}

/// Records the dispatches of one thread to one device. Dropping it keeps what it recorded.
pub struct DispatchRecorder {
    metrics: DispatchMetrics,
    device: Device,
    recorder: Recorder<LatencyCells>,
}

impl DispatchRecorder {
    /// Records a dispatch that took `ns` nanoseconds. Wait-free, without allocation; a few nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.recorder.update(|cells| cells.record(ns));
    }

    /// The device recorded for.
    pub fn device(&self) -> Device {
        self.device
    }
}

impl Drop for DispatchRecorder {
    fn drop(&mut self) {
        let mine = self.recorder.reader();
        let mut state = self.metrics.shared.lock();
        mine.collect(|total| state.gone[self.device as usize].merge(total));
        state.living.retain(|(_, reader)| !reader.same(&mine));
    }
}

/// What [`DispatchMetrics`] held at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DispatchSnapshot {
    /// The processor's dispatches.
    pub cpu: DeviceSnapshot,
    /// The graphics processor's.
    pub gpu: DeviceSnapshot,
    /// Dispatches to all devices.
    pub total: u64,
    /// GPU dispatches / all dispatches, 0–1; absent without dispatches.
    pub gpu_ratio: Option<f64>,
    /// Dispatches per second of `elapsed_ns`, all devices; absent when no time has passed.
    pub dispatches_per_s: Option<f64>,
    /// Mean CPU latency / mean GPU latency; absent unless both were used.
    pub gpu_speedup: Option<f64>,
    /// Since creation or the last reset.
    pub elapsed_ns: u64,
}

/// One device's part of a [`DispatchSnapshot`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceSnapshot {
    /// Latency of its dispatches; its `count` is the number of dispatches.
    pub latency: LatencySnapshot,
    /// This device's dispatches / all dispatches, 0–1; absent without dispatches.
    pub ratio: Option<f64>,
    /// Dispatches per second; absent when no time has passed.
    pub dispatches_per_s: Option<f64>,
}

impl DispatchSnapshot {
    fn of(elapsed: Duration, [cpu, gpu]: [LatencyTotal; 2]) -> Self {
        let (cpu, gpu) = (cpu.snapshot(), gpu.snapshot());
        let total = cpu.count + gpu.count;
        let rate = |count: u64| (!elapsed.is_zero()).then(|| count as f64 / elapsed.as_secs_f64());
        let ratio = |count: u64| (total > 0).then(|| count as f64 / total as f64);
        let device =
            |latency: LatencySnapshot| DeviceSnapshot { ratio: ratio(latency.count), dispatches_per_s: rate(latency.count), latency };
        Self {
            gpu_ratio: ratio(gpu.count),
            gpu_speedup: cpu.mean_ns.zip(gpu.mean_ns).filter(|(_, gpu)| *gpu > 0.0).map(|(cpu, gpu)| cpu / gpu),
            dispatches_per_s: rate(total),
            total,
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            cpu: device(cpu),
            gpu: device(gpu),
        }
    }

    /// The part of `device`.
    pub fn device(&self, device: Device) -> &DeviceSnapshot {
        match device {
            Device::Cpu => &self.cpu,
            Device::Gpu => &self.gpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_two_devices() {
        let metrics = DispatchMetrics::new();
        let (mut cpu, mut gpu) = (metrics.recorder(Device::Cpu), metrics.recorder(Device::Gpu));
        [300_000, 500_000, 400_000].iter().for_each(|&ns| cpu.record(ns));
        gpu.record(100_000);
        std::thread::sleep(Duration::from_millis(2));
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.total, snapshot.cpu.latency.count, snapshot.gpu.latency.count), (4, 3, 1));
        assert_eq!((snapshot.gpu_ratio, snapshot.cpu.ratio), (Some(0.25), Some(0.75)));
        assert_eq!(snapshot.gpu_speedup, Some(4.0));
        assert_eq!(snapshot.cpu.latency.std_ns, Some(100_000.0));
        assert_eq!(snapshot.cpu.latency.cv_pct, Some(25.0));
        assert!(snapshot.elapsed_ns >= 2_000_000);
        let rate = 4.0 / (snapshot.elapsed_ns as f64 / 1e9);
        assert!((snapshot.dispatches_per_s.unwrap() / rate - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_dispatched_is_absent() {
        let snapshot = DispatchMetrics::new().snapshot();
        assert_eq!((snapshot.total, snapshot.gpu_ratio, snapshot.gpu_speedup), (0, None, None));
        assert_eq!(snapshot.cpu.latency.min_ns, None);
    }

    #[test]
    fn a_dropped_recorder_leaves_its_dispatches_and_no_cells() {
        let metrics = DispatchMetrics::new();
        let mut recorder = metrics.recorder(Device::Cpu);
        recorder.record(5_000);
        drop(recorder);
        assert_eq!(metrics.snapshot().cpu.latency.sum_ns, 5_000);
        assert!(metrics.shared.lock().living.is_empty());
        metrics.reset();
        assert_eq!(metrics.snapshot().total, 0);
        assert_eq!(metrics.snapshot().cpu.latency.max_ns, None);
    }

    /// Writers record only 2 µs and 6 µs in turn; readers, resets and coming and going recorders must not tear or lose any.
    #[test]
    fn snapshots_are_whole_and_resets_lose_nothing() {
        const RECORDS: u64 = 60_000;
        let metrics = DispatchMetrics::new();
        let writers: Vec<_> = (0..3)
            .map(|i| {
                let metrics = metrics.clone();
                std::thread::spawn(move || {
                    for _ in 0..4 {
                        let mut recorder = metrics.recorder(if i == 0 { Device::Gpu } else { Device::Cpu });
                        (0..RECORDS / 8).for_each(|_| {
                            recorder.record(2_000);
                            recorder.record(6_000);
                        });
                    }
                })
            })
            .collect();
        let (mut counted, mut sum_ns) = (0, 0);
        while counted < 3 * RECORDS {
            for part in [metrics.snapshot(), metrics.take()].iter().enumerate() {
                let (taken, snapshot) = part;
                for latency in [&snapshot.cpu.latency, &snapshot.gpu.latency] {
                    assert_eq!(latency.histogram.count(), latency.count);
                    let low = latency.histogram.count_le(2_000);
                    assert_eq!(latency.sum_ns, 2_000 * low + 6_000 * (latency.count - low));
                    assert!(latency.count > 0 || latency.min_ns.is_none());
                    assert!(latency.min_ns.is_none_or(|min| min == 2_000 || min == 6_000));
                    if taken == 1 {
                        counted += latency.count;
                        sum_ns += latency.sum_ns;
                    }
                }
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!((counted, sum_ns), (3 * RECORDS, 3 * RECORDS * 4_000));
        assert_eq!(metrics.snapshot().total, 0);
    }
}
