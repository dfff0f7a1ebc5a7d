//! Every family of architectures against another implementation (Hugging Face transformers): models of random weights, small enough to be
//! kept, made by tests/goldens/models.py. The README's table of architectures is made here: LOQUAT_UPDATE_SNAPSHOTS=1 in the environment
//! writes it anew.

use std::path::PathBuf;

use loquat::base::{ErrorKind, SharedBytes};
use loquat::kernels::Isa;
use loquat::model::arch::families;
use loquat::model::{LoadOptions, Mix, Model, Pooling};
use loquat::quant::{TensorType, decode_row};
use loquat::quantize::Quantize;
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{
    Batch, BatchOptions, BatchStep, ContextPolicy, EmbedStep, Embedder, EmbedderOptions, KvType, Session, SessionOptions, Step,
};
use test_support::gguf_writer::{File, Tensor, Val};
use test_support::{model_changes, npy};

/// How far a logit may be from the golden one.
const TOLERANCE: f32 = 1e-3;

/// Tokens that are a prompt; those behind them come one by one.
const PROMPT: usize = 24;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/models")).join(name)
}

/// The models that are kept, by name.
fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(file(""))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".gguf").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 30, "{} models", names.len());
    names
}

fn tokens() -> Vec<u32> {
    serde_json::from_slice(&std::fs::read(file("tokens.json")).unwrap()).unwrap()
}

fn load(name: &str, threads: usize, isa: Option<Isa>) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), isa, ..Default::default() }).unwrap();
    Model::load(&runtime, &file(&format!("{name}.gguf")), LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The context of a model's golden: LongRoPE looks at it.
fn context(name: &str) -> u32 {
    if name == "phi3-short" { 32 } else { 64 }
}

/// The logits of all positions: a prompt in chunks of `chunk` tokens, then token by token, in slices of `budget` nanoseconds.
fn logits(model: &Model, name: &str, kv_type: KvType, chunk: usize, budget: u64) -> Vec<f32> {
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

fn is_encoder(name: &str) -> bool {
    name.ends_with("bert")
}

/// What comes out for all positions: logits, or the embeddings of an encoder.
fn outputs(model: &Model, name: &str) -> Vec<f32> {
    if !is_encoder(name) {
        return logits(model, name, KvType::F32, PROMPT, u64::MAX);
    }
    embeddings(model, Pooling::None, u64::MAX)
}

/// The same model as a Hugging Face folder, where one is kept.
fn folder(name: &str) -> Option<PathBuf> {
    Some(file("hub").join(name)).filter(|folder| folder.exists())
}

/// A safetensors file with all bf16 values as f32.
fn widened(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    for (name, tensor) in &mut header {
        if name != "__metadata__" {
            assert_eq!(tensor["dtype"], "BF16", "{name}");
            tensor["dtype"] = "F32".into();
            tensor["data_offsets"] = tensor["data_offsets"].as_array().unwrap().iter().map(|at| 2 * at.as_u64().unwrap()).collect();
        }
    }
    let header = serde_json::to_vec(&header).unwrap();
    let data = data.chunks_exact(2).flat_map(|half| [0, 0, half[0], half[1]]);
    (header.len() as u64).to_le_bytes().into_iter().chain(header).chain(data).collect()
}

fn embeddings(model: &Model, pooling: Pooling, budget: u64) -> Vec<f32> {
    let options = EmbedderOptions { pooling: Some(pooling), normalize: false, ..Default::default() };
    let mut embedder = Embedder::new(model, &options).unwrap();
    embedder.begin(&tokens()).unwrap();
    while embedder.step(budget).unwrap() == EmbedStep::Pending {}
    (0..embedder.rows()).flat_map(|row| embedder.row(row).unwrap().to_vec()).collect()
}

/// The largest difference between two lists; a NaN is the largest.
fn largest_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, |worst, x| if x <= worst { worst } else { x })
}

/// The rows of the README's table: one per family.
fn table(worst: &[(String, f32)]) -> String {
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(file("llama_cpp.json")).unwrap()).unwrap();
    let mut rows = String::from(
        "| `general.architecture` | models | formats | largest difference from transformers | from llama.cpp |\n|---|---|---|---|---|\n",
    );
    for family in families() {
        let of_family: Vec<&(String, f32)> = worst
            .iter()
            .filter(|(name, _)| {
                let model = load(name, 1, None);
                model.metadata().str("general.architecture").unwrap() == Some(family.name)
            })
            .collect();
        assert!(!of_family.is_empty(), "no model of {}", family.name);
        let golden = of_family.iter().map(|(_, worst)| *worst).fold(0.0, f32::max);
        let known: Vec<f64> = of_family.iter().filter_map(|(name, _)| results["differences"][name.as_str()].as_f64()).collect();
        let peer = known.iter().copied().reduce(f64::max).map_or("not checked".to_owned(), decade);
        let formats = if of_family.iter().any(|(name, _)| folder(name).is_some()) { "GGUF, safetensors" } else { "GGUF" };
        rows += &format!("| `{}` | {} | {formats} | {} | {peer} |\n", family.name, family.models, decade(f64::from(golden)));
    }
    rows
}

/// The power of ten above a difference: its digits may change with the mathematical library of a system.
fn decade(x: f64) -> String {
    format!("< 1e{}", (x.max(1e-9).log10().floor() as i32) + 1)
}

const TABLE: [&str; 2] = ["<!-- made by tests/architectures.rs -->\n", "<!-- end -->\n"];

#[test]
fn every_family_gives_the_outputs_of_the_reference_as_the_readme_says() {
    let mut worst = vec![];
    for name in names() {
        let difference = largest_difference(&outputs(&load(&name, 2, None), &name), &npy(&file(&format!("{name}.npy"))));
        println!("{name}: largest difference {difference:.2e}");
        worst.push((name, difference));
    }
    let wrong: Vec<_> = worst.iter().filter(|(_, difference)| difference.is_nan() || *difference > TOLERANCE).collect();
    assert!(wrong.is_empty(), "{wrong:?}");

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap().replace("\r\n", "\n");
    let (before, rest) = readme.split_once(TABLE[0]).expect("the README has the table");
    let (found, after) = rest.split_once(TABLE[1]).expect("the table has an end");
    let table = table(&worst);
    if std::env::var_os("LOQUAT_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(path, [before, TABLE[0], &table, TABLE[1], after].concat()).unwrap();
    } else {
        assert!(found == table, "the README's table of architectures is out of date; it would now be:\n{table}");
    }
}

/// The weights are kept in bf16, and computed with in f32 as the golden was.
#[test]
fn folders_give_the_outputs_of_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    let scratch = std::env::temp_dir().join(format!("loquat-folders-{}", std::process::id()));
    let mut count = 0;
    for (name, folder) in names().into_iter().filter_map(|name| folder(&name).map(|folder| (name, folder))) {
        let wide = scratch.join(&name);
        std::fs::create_dir_all(&wide).unwrap();
        std::fs::copy(folder.join("config.json"), wide.join("config.json")).unwrap();
        std::fs::write(wide.join("model.safetensors"), widened(&std::fs::read(folder.join("model.safetensors")).unwrap())).unwrap();
        let model = Model::load(&runtime, &wide, LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let difference = largest_difference(&outputs(&model, &name), &npy(&file(&format!("{name}.npy"))));
        assert!(difference <= TOLERANCE, "{name}: {difference:.2e}");
        drop(model);
        // As published, in bf16.
        Model::load(&runtime, &folder, LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        count += 1;
    }
    std::fs::remove_dir_all(scratch).unwrap();
    assert!(count >= 32, "{count} folders");
}

/// Stacked experts, rows of queries and keys in GGUF's order, vectors in f32.
#[test]
fn folders_written_as_gguf_give_the_outputs_of_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    // LOQUAT_KEEP: the files stay there, for other programs to read them.
    let kept = std::env::var_os("LOQUAT_KEEP").map(PathBuf::from);
    let scratch = kept.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("loquat-written-{}", std::process::id())));
    std::fs::create_dir_all(&scratch).unwrap();
    for (name, folder) in names().into_iter().filter_map(|name| folder(&name).map(|folder| (name, folder))) {
        let path = scratch.join(format!("{name}.gguf"));
        let done = Quantize::to(Mix::F32).start(&runtime, &folder, &path).finish().unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = Model::load(&runtime, &path, LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(done.tensors, written.tensors().len() as u64);
        let difference = largest_difference(&outputs(&written, &name), &npy(&file(&format!("{name}.npy"))));
        assert!(difference <= TOLERANCE, "{name}: {difference:.2e}");
        // The same tensors as in the file that was made of the model itself.
        let expected = load(&name, 1, None);
        assert_eq!(written.tensors().len(), expected.tensors().len(), "{name}");
        for tensor in expected.tensors() {
            let found = written.tensors().iter().find(|found| found.name == tensor.name).unwrap();
            assert!(found.ty == TensorType::F32 && found.data[..] == tensor.data[..], "{name}: {}", tensor.name);
            // A matrix of one row may be a vector.
            assert!(found.dims.starts_with(&tensor.dims) && found.elements() == tensor.elements(), "{name}: {}", tensor.name);
        }
    }
    if kept.is_none() {
        std::fs::remove_dir_all(scratch).unwrap();
    }
}

/// Quantised while they are loaded, whatever the tensors are called and however experts are stored.
#[test]
fn folders_quantised_at_load_are_near_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    for (name, folder) in names().into_iter().filter_map(|name| folder(&name).map(|folder| (name, folder))) {
        let options = LoadOptions { quantize: Some(Mix::Q8_0), ..LoadOptions::default() };
        let model = Model::load(&runtime, &folder, options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let changed = model.tensors().iter().filter(|tensor| tensor.ty == TensorType::Q8_0).count();
        assert!(changed >= model.config().unwrap().block_count, "{name}: {changed} tensors");
        let share = share_of_error(&outputs(&model, &name), &npy(&file(&format!("{name}.npy"))));
        assert!(share > 1e-4 && share < 0.1, "{name}: {share:.2e}");
    }
    // Experts alone: each a matrix of its own here.
    let options = LoadOptions { quantize: Some(Mix::MXFP4_MOE), ..LoadOptions::default() };
    let model = Model::load(&runtime, &folder("qwen3moe").unwrap(), options).unwrap();
    let ty = |name: &str| model.tensors().iter().find(|tensor| tensor.name == name).unwrap().ty;
    assert_eq!((ty("blk.0.ffn_up.3.weight"), ty("blk.0.attn_q.weight")), (TensorType::MXFP4, TensorType::Q8_0));
}

/// The error's share of the whole, as lengths of vectors.
fn share_of_error(found: &[f32], expected: &[f32]) -> f64 {
    let squares: f64 = found.iter().zip(expected).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
    (squares / expected.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>()).sqrt()
}

/// Experts of eight bits beside a router in f32: each product reads activations of its own kind.
#[test]
fn quantised_experts_are_near_those_in_f32() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    let scratch = std::env::temp_dir().join(format!("loquat-experts-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    for name in ["mixtral", "qwen2moe", "qwen3moe", "gpt-oss"] {
        let path = scratch.join(format!("{name}.gguf"));
        Quantize::to(Mix::Q8_0).start(&runtime, &file(&format!("{name}.gguf")), &path).finish().unwrap();
        let model = Model::load(&runtime, &path, LoadOptions::default()).unwrap();
        let experts = model.tensors().iter().find(|tensor| tensor.name == "blk.0.ffn_gate_exps.weight").unwrap();
        assert_eq!(experts.ty, TensorType::Q8_0, "{name}");
        // Not the largest difference: a token for which another expert is chosen differs by much.
        let share = share_of_error(&outputs(&model, name), &npy(&file(&format!("{name}.npy"))));
        assert!(share > 1e-4 && share < 0.1, "{name}: {share:.2e}");
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

/// A folder has codes and scales apart, and the rows of two matrices in turn; the GGUF file was made by another library.
#[test]
fn experts_in_mxfp4_are_those_of_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    let load = |name: &str| Model::load(&runtime, &file("mxfp4").join(name), LoadOptions::default()).unwrap();
    let (folder, gguf) = (load("folder"), load("model.gguf"));
    let mut compared = 0;
    for expected in gguf.tensors().iter().filter(|tensor| tensor.name.ends_with("exps.weight")) {
        let found = folder.tensors().iter().find(|tensor| tensor.name == expected.name).unwrap();
        assert_eq!((found.ty, &found.dims), (TensorType::MXFP4, &expected.dims), "{}", expected.name);
        let values = |data: &[u8]| -> Vec<f32> {
            let mut values = vec![0.0; expected.dims.iter().product::<u64>() as usize];
            decode_row(TensorType::MXFP4, data, &mut values).unwrap();
            values
        };
        // Equal, not the same bits: a negative zero may have become a positive one, and an exponent another one with other codes.
        assert_eq!(values(&found.data), values(&expected.data), "{}", expected.name);
        compared += 1;
    }
    assert_eq!(compared, 6);
    for model in [folder, gguf] {
        let share = share_of_error(&outputs(&model, "gpt-oss"), &npy(&file("mxfp4/logits.npy")));
        assert!(share > 1e-4 && share < 0.1, "{share:.2e}");
    }
}

#[test]
fn codes_without_fitting_scales_are_refused_by_name() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(1), ..Default::default() }).unwrap();
    let scratch = std::env::temp_dir().join(format!("loquat-codes-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::copy(file("mxfp4/folder/config.json"), scratch.join("config.json")).unwrap();
    let bytes = std::fs::read(file("mxfp4/folder/model.safetensors")).unwrap();
    for (from, to, says) in [
        ("0.mlp.experts.down_proj_scales\"", "9.mlp.experts.down_proj_scales\"", "model.layers.0.mlp.experts.down_proj_scales"),
        ("\"shape\":[4,192,2]", "\"shape\":[4,96,4]", "gate_up_proj_scales"),
        ("\"shape\":[4,192,2,16]", "\"shape\":[4,192,4,8]", "expected matrices of blocks of 16 bytes"),
        ("\"shape\":[4,192,2,16]", "\"shape\":[768,2,16]", "gate_up_proj_scales"),
    ] {
        let changed = replaced(&bytes, from, to);
        std::fs::write(scratch.join("model.safetensors"), changed).unwrap();
        let error = Model::load(&runtime, &scratch, LoadOptions::default()).err().unwrap_or_else(|| panic!("{to} was taken"));
        assert_eq!(error.kind(), ErrorKind::InvalidFile, "{error}");
        assert!(error.message().contains(says) && error.message().contains("model.safetensors"), "{error}");
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

/// A safetensors file with every `from` of its header replaced.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header = std::str::from_utf8(header).unwrap();
    assert!(header.contains(from), "'{from}' is not in {header}");
    let header = header.replace(from, to);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn pooling_and_slices_change_nothing_in_the_embeddings() {
    for name in names().iter().filter(|name| is_encoder(name)) {
        let model = load(name, 2, None);
        let all = embeddings(&model, Pooling::None, u64::MAX);
        let width = all.len() / tokens().len();
        assert_eq!(embeddings(&model, Pooling::None, 0), all, "{name}");
        assert_eq!(embeddings(&model, Pooling::Cls, 0), all[..width], "{name}");
        assert_eq!(embeddings(&model, Pooling::Last, 0), all[all.len() - width..], "{name}");
        let mean = embeddings(&model, Pooling::Mean, 0);
        for (dimension, mean) in mean.iter().enumerate() {
            let sum: f64 = all.chunks(width).map(|row| f64::from(row[dimension])).sum();
            assert!((sum / tokens().len() as f64 - f64::from(*mean)).abs() < 1e-6, "{name}");
        }
        for isa in Isa::available() {
            assert_eq!(embeddings(&load(name, 1, Some(isa)), Pooling::None, u64::MAX), all, "{name}: {}", isa.name());
        }
    }
}

#[test]
fn the_bits_depend_on_nothing_but_the_tokens() {
    for name in names().iter().filter(|name| !is_encoder(name)) {
        let bits = |model: &Model, chunk, budget| -> Vec<u32> {
            logits(model, name, KvType::F16, chunk, budget).iter().map(|x| x.to_bits()).collect()
        };
        let model = load(name, 2, None);
        let reference = bits(&model, PROMPT, u64::MAX);
        for chunk in [1, 5, 7] {
            assert!(bits(&model, chunk, u64::MAX) == reference, "{name}: chunks of {chunk}");
        }
        assert!(bits(&model, PROMPT, 0) == reference, "{name}: one item at a time");
        assert!(bits(&load(name, 1, None), PROMPT, u64::MAX) == reference, "{name}: one thread");
        for isa in Isa::available() {
            assert!(bits(&load(name, 2, Some(isa)), PROMPT, u64::MAX) == reference, "{name}: {}", isa.name());
        }
    }
}

#[test]
fn neighbours_in_a_batch_change_nothing() {
    for name in ["gemma2", "gpt-oss", "qwen2moe", "phi3-long", "mpt", "gpt2"] {
        let model = load(name, 2, None);
        let options = SessionOptions { context: 64, batch: 32, ignore_eog: true, max_tokens: Some(4), ..Default::default() };
        let tokens = tokens();
        let prompts = [&tokens[..20], &tokens[3..9], &tokens[5..28]];
        let alone: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| {
                let mut session = Session::new(&model, &options).unwrap();
                session.append(prompt).unwrap();
                while !matches!(session.step(u64::MAX).unwrap(), Step::Done { .. }) {}
                session.tokens().iter().copied().chain(bits_of_logits(&session)).collect()
            })
            .collect();
        let mut sessions: Vec<Session> = prompts.iter().map(|_| Session::new(&model, &options).unwrap()).collect();
        sessions.iter_mut().zip(prompts).for_each(|(session, prompt)| session.append(prompt).unwrap());
        let mut batch = Batch::new(&model, BatchOptions { sessions: 3, columns: 11, prompt_share: 5 }).unwrap();
        let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
        while batch.step(&mut all, u64::MAX).unwrap() != BatchStep::Idle {}
        for (session, alone) in sessions.iter().zip(&alone) {
            let got: Vec<u32> = session.tokens().iter().copied().chain(bits_of_logits(session)).collect();
            assert!(got == *alone, "{name}");
        }
    }
}

fn bits_of_logits(session: &Session) -> Vec<u32> {
    session.logits().unwrap().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn learned_positions_end_where_their_table_does() {
    let model = load("gpt2", 1, None);
    let new = |context, context_policy| Session::new(&model, &SessionOptions { context, context_policy, ..Default::default() });
    assert!(new(64, ContextPolicy::Stop).is_ok());
    let Err(error) = new(65, ContextPolicy::Stop) else { panic!("65 of 64 positions") };
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let Err(error) = new(64, ContextPolicy::Shift { keep: 4 }) else { panic!("learned positions shifted") };
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_state_rotated_for_a_long_context_fits_no_short_one() {
    let model = load("phi3-long", 1, None);
    let session = |context| {
        let mut session = Session::new(&model, &SessionOptions { context, max_tokens: Some(0), ..Default::default() }).unwrap();
        session.append(&tokens()[..8]).unwrap();
        session.step(u64::MAX).unwrap();
        let mut state = vec![];
        session.save(&mut state).unwrap();
        (session, state)
    };
    let ((mut short, short_state), (mut long, long_state)) = (session(16), session(64));
    assert_ne!(bits_of_logits(&short), bits_of_logits(&long));
    short.restore(&short_state).unwrap();
    long.restore(&long_state).unwrap();
    assert!(short.restore(&long_state).is_err() && long.restore(&short_state).is_err());
}

/// The model as a file to be changed.
fn changeable(name: &str) -> File {
    model_changes::read(&std::fs::read(file(&format!("{name}.gguf"))).unwrap())
}

fn load_file(file: &File) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    Model::from_bytes(&runtime, SharedBytes::copied(&file.write()), "changed", LoadOptions::default()).unwrap()
}

/// Where one layer alone adds to its input, its keys and values depend on the tokens and their places, not on what came before: a context
/// that was shifted is one that was computed without the tokens that went. So each layer is tried by itself.
#[test]
fn a_full_context_is_shifted_with_each_layers_own_rotation() {
    let mut tried = 0;
    for name in ["gemma3", "smollm3", "mpt", "gpt-oss", "llama", "qwen2-yarn", "phi2", "gptneox"] {
        let layers = load(name, 1, None).config().unwrap().block_count;
        for layer in 0..layers {
            let mut file = changeable(name);
            for tensor in &mut file.tensors {
                let tensor_name = String::from_utf8(tensor.name.clone()).unwrap();
                let adds =
                    ["attn_output.", "ffn_down", "post_attention_norm.", "post_ffw_norm."].iter().any(|part| tensor_name.contains(part));
                // gpt-oss calls the norm before its experts post_attention_norm.
                let before = name == "gpt-oss" && tensor_name.contains("post_attention_norm.");
                if adds && !before && !tensor_name.starts_with(&format!("blk.{layer}.")) {
                    tensor.data.fill(0);
                }
            }
            let model = load_file(&file);
            let options = SessionOptions {
                context: 24,
                kv_type: KvType::F32,
                context_policy: ContextPolicy::Shift { keep: 4 },
                max_tokens: Some(0),
                ..Default::default()
            };
            let run = |session: &mut Session, ids: &[u32]| {
                session.append(ids).unwrap();
                assert!(matches!(session.step(u64::MAX).unwrap(), Step::Done { .. }));
            };
            let mut shifted = Session::new(&model, &options).unwrap();
            for id in tokens() {
                run(&mut shifted, &[id]);
            }
            let left = shifted.tokens().to_vec();
            assert!(left.len() < tokens().len(), "{name}: nothing was shifted");
            let mut fresh = Session::new(&model, &options).unwrap();
            run(&mut fresh, &left);
            let (found, expected) = (shifted.logits().unwrap(), fresh.logits().unwrap());
            let difference = largest_difference(found, expected);
            assert!(difference < 1e-4, "{name}, layer {layer}: {difference:.2e}");
            // A test that sees the context: other tokens in it give other logits.
            let mut other = Session::new(&model, &options).unwrap();
            let swapped: Vec<u32> = left.iter().rev().skip(1).rev().map(|id| id ^ 1).chain(left.last().copied()).collect();
            run(&mut other, &swapped);
            assert!(largest_difference(other.logits().unwrap(), expected) > 1e-3, "{name}, layer {layer}");
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried} layers");
}

/// A context that slides gives the logits of one that holds everything, to the bit: token by token, in chunks, in slices, in a batch, after a
/// fork and a restored state, and whether its memory is reserved or not.
#[test]
fn a_context_that_slides_is_as_one_without_an_end() {
    const WINDOW: usize = 8;
    let text: Vec<u32> = (0..1200u32).map(|i| 3 + i.wrapping_mul(2_654_435_761) % 60).collect();
    for name in ["mistral", "phi3", "starcoder2"] {
        let model = load(name, 2, None);
        let whole = SessionOptions { context: 1300, kv_type: KvType::F16, max_tokens: Some(0), ..Default::default() };
        let slide = SessionOptions { context: 256 + 40, context_policy: ContextPolicy::Slide, ..whole.clone() };
        let run = |session: &mut Session, ids: &[u32], budget: u64| {
            session.append(ids).unwrap();
            while session.step(budget).unwrap() == Step::Pending {}
            session.logits().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        let mut end = 0;
        let mut expected = vec![];
        let mut session = Session::new(&model, &whole).unwrap();
        for (index, part) in text.chunks(50).enumerate() {
            end += part.len();
            expected.push((end, run(&mut session, part, if index % 3 == 0 { 20_000 } else { u64::MAX })));
        }
        for reserve in [true, false] {
            let mut session = Session::new(&model, &SessionOptions { reserve, ..slide.clone() }).unwrap();
            let mut start = 0;
            for (index, (end, expected)) in expected.iter().enumerate() {
                match index {
                    9 => session = session.fork().unwrap(),
                    14 => {
                        let mut state = vec![];
                        session.save(&mut state).unwrap();
                        assert_eq!(state.len() as u64, session.state_bytes().unwrap());
                        let mut other = Session::new(&model, &whole).unwrap();
                        assert_eq!(other.restore(&state).unwrap_err().kind(), ErrorKind::InvalidFile, "a context that does not slide");
                        session = Session::new(&model, &slide).unwrap();
                        session.restore(&state).unwrap();
                    }
                    _ => {}
                }
                let found = run(&mut session, &text[start..*end], if index % 2 == 0 { 0 } else { u64::MAX });
                assert!(found == *expected, "{name}: behind {end} tokens, reserved: {reserve}");
                start = *end;
            }
            assert!(session.tokens().len() <= 296 && session.tokens() == &text[text.len() - session.tokens().len()..]);
            // What a query would see must be there.
            let kept = session.tokens().len();
            assert_eq!(session.truncate(WINDOW - 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
            session.truncate(kept - 20).unwrap();
            let again = run(&mut session, &text[text.len() - 20..], u64::MAX);
            assert!(again == expected.last().unwrap().1, "{name}: rewound");
            session.reset().unwrap();
            assert!(run(&mut session, &text[..50], u64::MAX) == expected[0].1, "{name}: from the beginning");
        }
        let generating = |options: &SessionOptions, prompt: &[u32]| {
            let mut session = Session::new(&model, &SessionOptions { max_tokens: Some(700), ignore_eog: true, ..options.clone() }).unwrap();
            session.append(prompt).unwrap();
            session
        };
        let prompts = [&text[..30], &text[40..45]];
        let mut sessions = prompts.map(|prompt| generating(&slide, prompt));
        let mut batch = Batch::new(&model, BatchOptions { sessions: 2, columns: 32, prompt_share: 16 }).unwrap();
        let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
        while batch.step(&mut all, u64::MAX).unwrap() != BatchStep::Idle {}
        for (session, prompt) in sessions.iter().zip(prompts) {
            let mut alone = generating(&whole, prompt);
            while !matches!(alone.step(u64::MAX).unwrap(), Step::Done { .. }) {}
            assert!(alone.tokens().ends_with(session.tokens()) && session.tokens().len() < 300, "{name}: in a batch");
            assert!(bits_of_logits(&alone) == bits_of_logits(session), "{name}: in a batch");
        }
    }
    let options = SessionOptions { context: 400, context_policy: ContextPolicy::Slide, ..Default::default() };
    let error = Session::new(&load("gemma2", 1, None), &options).err().unwrap();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("gemma2"), "{error}");
    let error = Session::new(&load("mistral", 1, None), &SessionOptions { context: 200, ..options }).err().unwrap();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("263"), "{error}");
}

/// Gemma's largest models are known by their number of layers: there scores are scaled by the width of a head's share of the model, not by that of
/// the head.
#[test]
fn the_largest_gemmas_scale_scores_by_the_width() {
    for (name, layers) in [("gemma2", 46usize), ("gemma3", 62)] {
        let large = |scale: Option<f32>, layers: usize| {
            let mut file = changeable(name);
            let have = load(name, 1, None).config().unwrap().block_count;
            for (key, value) in &mut file.keys {
                if key.ends_with(b".block_count") {
                    *value = Val::U32(layers as u32);
                }
            }
            let first: Vec<Tensor> = file.tensors.clone();
            for layer in have..layers {
                let (from, to) = (format!("blk.{}.", layer % have), format!("blk.{layer}."));
                for tensor in &first {
                    let tensor_name = String::from_utf8(tensor.name.clone()).unwrap();
                    if let Some(rest) = tensor_name.strip_prefix(&from) {
                        file = file.tensor(Tensor { name: format!("{to}{rest}").into(), ..tensor.clone() });
                    }
                }
            }
            if let Some(scale) = scale {
                file = file.key(&format!("{name}.attention.scale"), Val::F32(scale));
            }
            logits(&load_file(&file), name, KvType::F32, PROMPT, u64::MAX)
        };
        // Four heads in a width of 32.
        let by_width = 1.0 / 8.0f32.sqrt();
        assert_eq!(large(None, layers), large(Some(by_width), layers), "{name}");
        if name == "gemma2" {
            // Its heads are 16 wide.
            assert_ne!(large(None, layers - 1), large(Some(by_width), layers - 1), "{name}");
        }
    }
}

#[test]
fn normalized_embeddings_are_of_length_one() {
    for name in names().iter().filter(|name| is_encoder(name)) {
        let model = load(name, 2, None);
        for pooling in [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last] {
            let mut embedder =
                Embedder::new(&model, &EmbedderOptions { pooling: Some(pooling), normalize: true, ..Default::default() }).unwrap();
            embedder.begin(&tokens()).unwrap();
            assert_eq!(embedder.step(u64::MAX).unwrap(), EmbedStep::Done);
            let raw = embeddings(&model, pooling, u64::MAX);
            let width = raw.len() / embedder.rows();
            for (index, raw) in raw.chunks(width).enumerate() {
                let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
                let expected: Vec<f32> = raw.iter().map(|x| x / length).collect();
                assert!(largest_difference(embedder.row(index).unwrap(), &expected) < 1e-6, "{name}");
            }
        }
    }
}
