//! How evenly a model loads: `cargo bench --bench load -- [MODEL [map|read [REPEATS]]]`.
//!
//! Loads MODEL (the demo model unless given) at once and in slices of 2 ms, and says how long slices last beyond that; then piece by piece,
//! for the longest piece of each stage; then cancels at twenty places of the way, for the time until the call is back. Times are those of
//! the clock and, where the system tells it, of the processor: on a busy machine the two differ by what others took. At last it compares
//! the estimate with what a load and a session take.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loquat::base::{Job, JobState, MemoryCategory, Result};
use loquat::format::Access;
use loquat::model::{LoadOptions, Model, ModelEstimate};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{Session, SessionMemory, SessionOptions};

const SLICE: Duration = Duration::from_millis(2);

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What the processor has worked for this thread.
#[cfg(unix)]
fn worked() -> Duration {
    // SAFETY: all-zero bytes are a timespec.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the place is this function's own.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(unix))]
fn worked() -> Duration {
    Duration::ZERO
}

/// Polls `job` to its end with `budget`, calling `seen` with the stage before each poll and the time that it took: by the clock, and of the
/// processor.
fn drive(mut job: Job<Model>, budget: Duration, mut seen: impl FnMut(&'static str, Duration, Duration)) -> Result<Model> {
    let watch = job.watch();
    loop {
        let stage = watch.progress().1.to_str().unwrap_or_default();
        let (start, begun) = (Instant::now(), worked());
        let state = job.poll(budget.as_nanos() as u64)?;
        seen(stage, start.elapsed(), worked() - begun);
        if state == JobState::Finished {
            return job.take();
        }
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let demo = format!("{}/models/emberfield-3m-q8_0.gguf", env!("CARGO_MANIFEST_DIR"));
    let path = args.first().cloned().unwrap_or(demo);
    let access = if args.get(1).is_some_and(|access| access == "read") { Access::Read } else { Access::Map };
    let repeats: usize = args.get(2).and_then(|arg| arg.parse().ok()).unwrap_or(5).max(1);
    let options = LoadOptions { access, ..Default::default() };
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::CallerOnly, ..Default::default() })?;
    let job = || Model::load_job(&runtime, path.as_ref(), options);

    let mut times = Vec::new();
    for _ in 0..repeats {
        let start = Instant::now();
        let model = Model::load(&runtime, path.as_ref(), options)?;
        times.push(ms(start.elapsed()));
        drop(model);
    }
    let first = times[0];
    times.sort_by(f64::total_cmp);
    println!("at once: median {:.2} ms, first {first:.2} ms, best {:.2} ms ({repeats} loads)", times[times.len() / 2], times[0]);

    let (mut clock, mut processor) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        drive(job(), SLICE, |_, took, worked| {
            clock.push(took.saturating_sub(SLICE));
            processor.push(worked.saturating_sub(SLICE));
        })?;
    }
    println!("slices of 2 ms: {} each load; beyond the budget:", clock.len() / repeats);
    for (name, mut times) in [("clock", clock), ("processor", processor)] {
        times.sort();
        let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
        println!("  {name}: p50 {:.3}, p99 {:.3}, max {:.3} ms", at(0.5), at(0.99), at(1.0));
    }

    let mut stages: BTreeMap<&str, (usize, Duration, Duration, Duration)> = BTreeMap::new();
    drive(job(), Duration::ZERO, |stage, took, worked| {
        let (count, sum, longest, most) = stages.entry(stage).or_default();
        *count += 1;
        *sum += took;
        *longest = took.max(*longest);
        *most = worked.max(*most);
    })?;
    for (stage, (count, sum, longest, most)) in stages {
        let (sum, longest, most) = (ms(sum), ms(longest), ms(most));
        println!("{stage}: {count} pieces, {sum:.2} ms in all, the longest {longest:.3} ms (processor {most:.3} ms)");
    }

    let whole = Duration::from_secs_f64(times[times.len() / 2] / 1e3);
    let mut latencies = Vec::new();
    for place in 0..20 {
        let mut job = job();
        let state = job.poll((whole * place / 20).as_nanos() as u64)?;
        if state == JobState::Finished {
            continue;
        }
        let (watch, canceller) = (job.watch(), job.watch());
        let asked = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(1));
            let now = Instant::now();
            canceller.cancel();
            now
        });
        let state = job.poll(u64::MAX)?;
        let back = Instant::now();
        let asked = asked.join().expect("the canceller does not panic");
        if state == JobState::Cancelled {
            latencies.push((ms(back - asked), watch.progress()));
        }
    }
    latencies.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((longest, (progress, stage))) = latencies.last() {
        let median = latencies[latencies.len() / 2].0;
        println!("cancel: {} times, median {median:.3}, the longest {longest:.3} ms (in {stage:?}, at {progress:.2})", latencies.len());
    }

    let session_options = SessionOptions { context: 4096, ..Default::default() };
    let start = Instant::now();
    let estimate = ModelEstimate::of_file(path.as_ref(), options)?;
    let memory = SessionMemory::estimate(&estimate, &session_options, &runtime)?;
    let took = ms(start.elapsed());
    let model = Model::load(&runtime, path.as_ref(), options)?;
    let _session = Session::new(&model, &session_options)?;
    let parts = [estimate.weights_mapped, estimate.weights_private, memory.kv_cache, memory.scratch, estimate.tables + memory.other];
    println!("estimate in {took:.2} ms:");
    for (category, part) in MemoryCategory::ALL.into_iter().zip(parts) {
        println!("  {}: {part} bytes, accounted {}", category.name(), runtime.budget().used(category));
    }
    Ok(())
}
