//! Many short requests one after the other: memory stays where it was after warming up, and the last requests take as long as the first.
//!
//! LOQUAT_SOAK_REQUESTS in the environment says how many (default: 2000; 100000 takes minutes).

use std::time::{Duration, Instant};

use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use loquat::session::{Session, SessionOptions, Step};
use test_support::{demo, goldens};

/// Requests after which the session is freed and another one made.
const PER_SESSION: usize = 100;

/// Bytes of the process in memory; 0 where the system does not say.
fn resident() -> u64 {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

fn session(model: &Model, number: usize) -> Session {
    let sampler = match number % 2 {
        0 => SamplerConfig::greedy(),
        _ => SamplerConfig { temperature: 0.8, repetition_penalty: 1.1, seed: 7, ..Default::default() },
    };
    let options = SessionOptions { context: 64, batch: 32, ignore_eog: true, sampler, stop: vec![b"never".to_vec()], ..Default::default() };
    Session::new(model, &options).unwrap()
}

/// The middle of some times.
fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn many_short_requests() {
    let requests: usize = std::env::var("LOQUAT_SOAK_REQUESTS").map_or(2000, |requests| requests.parse().unwrap());
    assert!(requests >= 20 * PER_SESSION, "too few to tell anything");
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    let model = Model::load(&runtime, &demo("emberfield-3m-q8_0.gguf"), LoadOptions::default()).unwrap();
    let prompts = goldens();
    let mut open = session(&model, 0);
    // Filled with something: pages that are not touched yet would be in memory only later.
    let mut times = vec![Duration::MAX; requests];
    let mut tenths = vec![];
    let begin = Instant::now();
    for request in 0..requests {
        if request % PER_SESSION == 0 {
            open = session(&model, request / PER_SESSION);
        }
        let ids = &prompts[request % prompts.len()].ids;
        let start = request % ids.len().saturating_sub(8).max(1);
        let since = Instant::now();
        open.reset().unwrap();
        open.append(&ids[start..(start + 3 + request % 6).min(ids.len())]).unwrap();
        for _ in 0..2 + request % 3 {
            assert!(matches!(open.step(u64::MAX).unwrap(), Step::Token { .. }));
        }
        times[request] = since.elapsed();
        if (request + 1) % (requests / 10) == 0 {
            let recent = &times[request + 1 - requests / 10..=request];
            tenths.push((resident(), runtime.budget().private_used(), median(recent), *recent.iter().max().unwrap()));
        }
    }
    println!("{requests} requests in {:.1} s; after each tenth of them:", begin.elapsed().as_secs_f64());
    for (resident, held, middle, longest) in &tenths {
        let mib = *resident as f64 / 1048576.0;
        println!("  {mib:8.2} MiB in memory, {held} bytes held, median {middle:?}, longest {longest:?}");
    }
    // The first tenth warms up. Sessions of the two kinds take turns, and the tenths end at the same one of them or at both.
    let (first, last) = (tenths[1], tenths[9]);
    let held: Vec<u64> = tenths.iter().map(|tenth| tenth.1).collect();
    assert!(held.iter().all(|bytes| held[..2].contains(bytes)), "{held:?}");
    assert!(last.0 <= first.0 + (1 << 20), "{} bytes in memory, {} before", last.0, first.0);
    // Medians of loaded machines differ, too; what grows with each request would make much more of a difference.
    let quickest = tenths[1..5].iter().map(|tenth| tenth.2).min().unwrap();
    let quickest_late = tenths[6..].iter().map(|tenth| tenth.2).min().unwrap();
    assert!(quickest_late < quickest * 3 / 2, "median {quickest_late:?}, {quickest:?} before");
}
