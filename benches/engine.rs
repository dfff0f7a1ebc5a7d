//! Prefill and decode speed of a whole model: `cargo bench --bench engine -- MODEL [THREADS [PROMPT [TOKENS [REPEATS]]]]`.
//!
//! Without a model it measures the demo model. Each repeat is one prefill of PROMPT tokens and TOKENS decoded tokens in a fresh session.

use std::path::PathBuf;
use std::time::Instant;

use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{Session, SessionOptions, Step};

fn main() -> Result<(), loquat::base::Error> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |index: usize, default: usize| args.get(index).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/models/emberfield-3m-q8_0.gguf");
    let path = PathBuf::from(args.first().map_or(demo, String::as_str));
    let (threads, prompt, tokens, repeats) = (number(1, 2), number(2, 512), number(3, 64), number(4, 5));

    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), ..Default::default() })?;
    let start = Instant::now();
    let model = Model::load(&runtime, &path, LoadOptions::default())?;
    println!(
        "{} | {} threads, {}, loaded in {:.1} ms",
        model.description(),
        threads,
        runtime.isa().name(),
        start.elapsed().as_secs_f64() * 1e3
    );
    let vocab = model.vocab_size()? as u32;
    let ids: Vec<u32> = (0..prompt as u32).map(|i| 3 + i.wrapping_mul(2_654_435_761) % (vocab - 3)).collect();
    for _ in 0..repeats {
        let options = SessionOptions { context: (prompt + tokens + 1) as u32, ignore_eog: true, ..Default::default() };
        let mut session = Session::new(&model, &options)?;
        session.append(&ids)?;
        let start = Instant::now();
        assert!(matches!(session.step(u64::MAX)?, Step::Token { .. }));
        let prefill = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for _ in 0..tokens {
            session.step(u64::MAX)?;
        }
        let decode = start.elapsed().as_secs_f64();
        println!("prefill {:8.1} tok/s   decode {:8.2} tok/s", prompt as f64 / prefill, tokens as f64 / decode);
    }
    Ok(())
}
