//! How evenly a model loads: `cargo bench --bench load -- [MODEL [map|read [REPEATS]]]`.
//!
//! Loads MODEL (the demo model unless given) at once and in slices of 2 ms, and says how long slices last beyond that; then piece by piece,
//! for the longest piece of each stage; then cancels at twenty places of the way, for the time until the call is back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loquat::base::{Job, JobState, Result};
use loquat::format::Access;
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};

const SLICE: Duration = Duration::from_millis(2);

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Polls `job` to its end with `budget`, calling `seen` with the stage before each poll and the time that it took.
fn drive(mut job: Job<Model>, budget: Duration, mut seen: impl FnMut(&'static str, Duration)) -> Result<Model> {
    let watch = job.watch();
    loop {
        let stage = watch.progress().1.to_str().unwrap_or_default();
        let start = Instant::now();
        let state = job.poll(budget.as_nanos() as u64)?;
        seen(stage, start.elapsed());
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

    let (mut overshoot, mut sum) = (Vec::new(), Duration::ZERO);
    for _ in 0..repeats {
        drive(job(), SLICE, |_, took| {
            overshoot.push(took.saturating_sub(SLICE));
            sum += took;
        })?;
    }
    overshoot.sort();
    let at = |share: f64| ms(overshoot[((overshoot.len() - 1) as f64 * share) as usize]);
    println!(
        "slices of 2 ms: {} each load, {:.2} ms of work; beyond the budget: p50 {:.3}, p99 {:.3}, max {:.3} ms",
        overshoot.len() / repeats,
        ms(sum) / repeats as f64,
        at(0.5),
        at(0.99),
        at(1.0)
    );

    let mut stages: BTreeMap<&str, (usize, Duration, Duration)> = BTreeMap::new();
    drive(job(), Duration::ZERO, |stage, took| {
        let (count, sum, longest) = stages.entry(stage).or_default();
        *count += 1;
        *sum += took;
        *longest = took.max(*longest);
    })?;
    for (stage, (count, sum, longest)) in stages {
        println!("{stage}: {count} pieces, {:.2} ms in all, the longest {:.3} ms", ms(sum), ms(longest));
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
        println!("cancel: {} times, the longest {longest:.3} ms (in {stage:?}, at {progress:.2})", latencies.len());
    }
    Ok(())
}
