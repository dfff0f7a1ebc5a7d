//! Speed of a tokenizer: `cargo bench --bench tokenizer -- [MODEL [TEXT [REPEATS]]]`.
//!
//! MODEL is a GGUF file, of which only the vocabulary is read; TEXT a file that is encoded as a whole, without special tokens.
//! Without arguments the demo model encodes its own held-out text. `benches/compare/peer.py tokenize` is the other lane.

use std::time::Instant;

use loquat::base::{MemoryBudget, Result};
use loquat::format::{Access, ModelFile};
use loquat::model::vocabulary;
use loquat::tokenizer::{EncodeOptions, Tokenizer};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let inside = |file: &str| format!("{}/models/{file}", env!("CARGO_MANIFEST_DIR"));
    let model = args.first().cloned().unwrap_or_else(|| inside("emberfield-3m-q8_0.gguf"));
    let text = args.get(1).cloned().unwrap_or_else(|| inside("heldout.txt"));
    let repeats: usize = args.get(2).and_then(|arg| arg.parse().ok()).unwrap_or(9).max(1);

    let file = ModelFile::open(model.as_ref(), Access::Map, &MemoryBudget::new(u64::MAX))?;
    let start = Instant::now();
    let tokenizer = Tokenizer::new(vocabulary::definition(&file.metadata)?)?;
    let built = start.elapsed().as_secs_f64() * 1e3;
    let text = std::fs::read(&text).map_err(|error| loquat::base::Error::io(format!("read {text}"), &error))?;
    let mut ids = Vec::new();
    let mut times: Vec<f64> = (0..repeats)
        .map(|_| {
            ids.clear();
            let start = Instant::now();
            let encoded = tokenizer.encode(&text, EncodeOptions { add_special: false, parse_special: false }, &mut ids);
            encoded.map(|()| start.elapsed().as_secs_f64() * 1e3)
        })
        .collect::<Result<_>>()?;
    let first = times[0];
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let rate = text.len() as f64 / 1e3 / median;
    println!("{tokenizer:?}, {:.1} MB, built in {built:.1} ms", tokenizer.memory() as f64 / 1e6);
    println!(
        "{} bytes, {} tokens: median {median:.2} ms ({rate:.1} MB/s), first {first:.2} ms, best {:.2} ms",
        text.len(),
        ids.len(),
        times[0]
    );
    Ok(())
}
