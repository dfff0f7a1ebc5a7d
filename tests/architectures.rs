//! Every family of architectures against another implementation (Hugging Face transformers): models of random weights, small enough to be
//! kept, made by tests/goldens/models.py. The README's table of architectures is made here: LOQUAT_UPDATE_SNAPSHOTS=1 in the environment
//! writes it anew.

use loquat::kernels::Isa;
use loquat::model::arch::families;
use loquat::model::{LoadOptions, Mix, Model, Pooling};
use loquat::quant::TensorType;
use loquat::quantize::Quantize;
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{Batch, BatchOptions, BatchStep, EmbedStep, Embedder, EmbedderOptions, KvType, Session, SessionOptions, Step};
use test_support::gguf_writer::{Tensor, Val};
use test_support::micro::{
    PROMPT, TOLERANCE, bits_of_logits, changeable, embeddings, file, folder, is_encoder, largest_difference, load, load_file, logits,
    names, outputs, share_of_error, tokens,
};
use test_support::npy;

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
