//! Writes the logits of every position of a token list, for comparisons with other engines (`benches/compare/quality.py`).
//!
//! ```text
//! cargo run --release --example logits -- MODEL IDS OUT [--threads N] [--batch N] [--kv f16|f32|bf16]
//! ```
//! IDS holds decimal token ids between white space. OUT receives positions × vocabulary raw little-endian f32, the row of a
//! position being the logits for the token after it. One line of JSON says what was run.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{KvType, Session, SessionOptions, Step};

const USAGE: &str = "logits MODEL IDS OUT [--threads N] [--batch N] [--kv f16|f32|bf16]";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut files, mut threads, mut batch, mut kv_type) = (Vec::new(), Threads::All, 512, KvType::F16);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--threads" => threads = Threads::Count(value()?.parse()?),
            "--batch" => batch = value()?.parse()?,
            "--kv" => {
                kv_type = match value()?.as_str() {
                    "f16" => KvType::F16,
                    "f32" => KvType::F32,
                    "bf16" => KvType::Bf16,
                    _ => return Err(USAGE.into()),
                }
            }
            _ => files.push(argument),
        }
    }
    let [model, ids, out] = files.as_slice() else { return Err(USAGE.into()) };
    let ids: Vec<u32> = std::fs::read_to_string(ids)?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;

    let runtime = Runtime::new(RuntimeOptions { threads, ..Default::default() })?;
    let model = Model::load(&runtime, Path::new(model), LoadOptions::default())?;
    let options = SessionOptions { context: ids.len() as u32, batch, kv_type, all_logits: true, max_tokens: Some(0), ..Default::default() };
    let mut session = Session::new(&model, &options)?;
    let mut out = BufWriter::new(File::create(out)?);
    for chunk in ids.chunks(batch as usize) {
        session.append(chunk)?;
        while !matches!(session.step(u64::MAX)?, Step::Done { .. }) {}
        for position in session.logits_range() {
            let row = session.logits_at(position).ok_or("logits of a finished pass are missing")?;
            row.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
        }
    }
    out.flush()?;
    println!(
        "{{\"positions\":{},\"n_vocab\":{},\"threads\":{},\"isa\":\"{}\",\"prefill_ns\":{}}}",
        ids.len(),
        model.vocab_size()?,
        runtime.threads(),
        runtime.isa().name(),
        session.metrics().snapshot().prefill_ns
    );
    Ok(())
}
