//! The models of random weights in tests/goldens/models, small enough to be kept, one or more of each family: how they are loaded, and what comes out
//! of them for the goldens' sequence.

use std::path::PathBuf;

use loquat::base::SharedBytes;
use loquat::kernels::Isa;
use loquat::model::{LoadOptions, Model, Pooling};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{EmbedStep, Embedder, EmbedderOptions, KvType, Session, SessionOptions, Step};

use crate::gguf_writer::File;
use crate::model_changes;

/// How far a logit may be from the golden one.
pub const TOLERANCE: f32 = 1e-3;

/// Tokens that are a prompt; those behind them come one by one.
pub const PROMPT: usize = 24;

/// The place of a file of the models.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../goldens/models")).join(name)
}

/// The models that are kept, by name.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(file(""))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".gguf").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 30, "{} models", names.len());
    names
}

/// The sequence of the goldens.
pub fn tokens() -> Vec<u32> {
    serde_json::from_slice(&std::fs::read(file("tokens.json")).unwrap()).unwrap()
}

/// The model of that name.
pub fn load(name: &str, threads: usize, isa: Option<Isa>) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), isa, ..Default::default() }).unwrap();
    Model::load(&runtime, &file(&format!("{name}.gguf")), LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The context of a model's golden: LongRoPE looks at it.
pub fn context(name: &str) -> u32 {
    if name == "phi3-short" { 32 } else { 64 }
}

/// The logits of all positions: a prompt in chunks of `chunk` tokens, then token by token, in slices of `budget` nanoseconds.
pub fn logits(model: &Model, name: &str, kv_type: KvType, chunk: usize, budget: u64) -> Vec<f32> {
    let options =
        SessionOptions { context: context(name), batch: 32, kv_type, all_logits: true, max_tokens: Some(0), ..Default::default() };
    let mut session = Session::new(model, &options).unwrap();
    let tokens = tokens();
    let (prompt, rest) = tokens.split_at(PROMPT);
    let mut logits = vec![];
    for part in prompt.chunks(chunk).chain(rest.chunks(1)) {
        session.append(part).unwrap();
        while session.step(budget).unwrap() == Step::Pending {}
        for position in session.logits_range() {
            logits.extend_from_slice(session.logits_at(position).unwrap());
        }
    }
    logits
}

/// Whether the model gives embeddings.
pub fn is_encoder(name: &str) -> bool {
    name.ends_with("bert")
}

/// What comes out for all positions: logits, or the embeddings of an encoder.
pub fn outputs(model: &Model, name: &str) -> Vec<f32> {
    if !is_encoder(name) {
        return logits(model, name, KvType::F32, PROMPT, u64::MAX);
    }
    embeddings(model, Pooling::None, u64::MAX)
}

/// The same model as a Hugging Face folder, where one is kept.
pub fn folder(name: &str) -> Option<PathBuf> {
    Some(file("hub").join(name)).filter(|folder| folder.exists())
}

/// What an encoder gives for the goldens' sequence, not normalised, in slices of `budget` nanoseconds.
pub fn embeddings(model: &Model, pooling: Pooling, budget: u64) -> Vec<f32> {
    let options = EmbedderOptions { pooling: Some(pooling), normalize: false, ..Default::default() };
    let mut embedder = Embedder::new(model, &options).unwrap();
    embedder.begin(&tokens()).unwrap();
    while embedder.step(budget).unwrap() == EmbedStep::Pending {}
    (0..embedder.rows()).flat_map(|row| embedder.row(row).unwrap().to_vec()).collect()
}

/// The largest difference between two lists; a NaN is the largest.
pub fn largest_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, |worst, x| if x <= worst { worst } else { x })
}

/// The error's share of the whole, as lengths of vectors.
pub fn share_of_error(found: &[f32], expected: &[f32]) -> f64 {
    let squares: f64 = found.iter().zip(expected).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
    (squares / expected.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>()).sqrt()
}

/// The last logits, as bits.
pub fn bits_of_logits(session: &Session) -> Vec<u32> {
    session.logits().unwrap().iter().map(|x| x.to_bits()).collect()
}

/// The model as a file to be changed.
pub fn changeable(name: &str) -> File {
    model_changes::read(&std::fs::read(file(&format!("{name}.gguf"))).unwrap())
}

/// The model of a changed file.
pub fn load_file(file: &File) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    Model::from_bytes(&runtime, SharedBytes::copied(&file.write()), "changed", LoadOptions::default()).unwrap()
}
