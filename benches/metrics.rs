//! What recording metrics costs of decode speed: `cargo bench --bench metrics -- [MODEL [THREADS [ROUNDS]]]`.
//!
//! Two runtimes, one that records and one that does not, decode the same tokens in turns, beginning with the one and the other. Where in memory
//! and on which processors they lie moves the speed by more than what is looked for, so every round makes both anew, in turns the one and the
//! other first. Printed is the median of the rounds' ratios with its interval; more than 1 % ends with status 1, where the whole interval lies
//! above it.

use std::path::PathBuf;
use std::time::Instant;

use loquat::base::Error;
use loquat::bench::statistics::{Statistic, interval, median};
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{Session, SessionOptions};

/// Tokens of a sample.
const TOKENS: usize = 256;
/// Samples of each in a round; one more before them warms up.
const PAIRS: usize = 8;
/// The most that recording may cost.
const MOST: f64 = 0.01;

fn session(path: &std::path::Path, threads: usize, metrics: bool) -> Result<Session, Error> {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), metrics, ..Default::default() })?;
    let model = Model::load(&runtime, path, LoadOptions::default())?;
    Session::new(&model, &SessionOptions { context: TOKENS as u32 + 8, ignore_eog: true, prefix_reuse: false, ..Default::default() })
}

/// Seconds of decoding.
fn sample(session: &mut Session) -> Result<f64, Error> {
    session.reset()?;
    session.append(&[5, 6, 7])?;
    session.step(u64::MAX)?;
    let begin = Instant::now();
    for _ in 0..TOKENS {
        session.step(u64::MAX)?;
    }
    Ok(begin.elapsed().as_secs_f64())
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |index: usize, default: usize| args.get(index).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/models/emberfield-3m-q8_0.gguf");
    let path = PathBuf::from(args.first().map_or(demo, String::as_str));
    let (threads, rounds) = (number(1, 2), number(2, 30));
    let (mut ratios, mut speeds) = (vec![], [vec![], vec![]]);
    for round in 0..rounds {
        let first = session(&path, threads, round % 2 == 0)?;
        let second = session(&path, threads, round % 2 == 1)?;
        let mut sessions = if round % 2 == 0 { [first, second] } else { [second, first] };
        let mut of_round = vec![];
        for pair in 0..=PAIRS {
            let mut seconds = [0.0; 2];
            for turn in 0..2 {
                let which = (pair + turn) % 2;
                seconds[which] = sample(&mut sessions[which])?;
            }
            if pair > 0 {
                of_round.push(seconds[0] / seconds[1]);
                (0..2).for_each(|which| speeds[which].push(TOKENS as f64 / seconds[which]));
            }
        }
        ratios.extend(median(&of_round));
        let steps = sessions.map(|session| session.metrics().snapshot().steps);
        assert!(steps[0] > 0 && steps[1] == 0, "one records, the other does not: {steps:?}");
    }
    let ci = interval(&ratios, Statistic::MEDIAN, 0);
    let percent = |ratio: f64| 100.0 * (ratio - 1.0);
    println!(
        "decode with metrics {:.1} tok/s, without {:.1} tok/s; recording costs {:.2} % of the time ({})",
        median(&speeds[0]).unwrap_or(f64::NAN),
        median(&speeds[1]).unwrap_or(f64::NAN),
        percent(median(&ratios).unwrap_or(f64::NAN)),
        ci.map_or_else(
            || "no interval below 8 rounds".to_owned(),
            |ci| format!("95 %: {:.2} to {:.2} %", percent(ci.low), percent(ci.high))
        ),
    );
    if ci.is_some_and(|ci| ci.low > 1.0 + MOST) {
        std::process::exit(1);
    }
    Ok(())
}
