//! Files whose configuration contradicts their tensors, or asks for what their architecture does not compute: an error that names the
//! tensor or the key, for every tensor of every kept model. Never a panic, and never a model that runs all the same.

use std::path::Path;
use std::sync::LazyLock;

use loquat::base::{ErrorKind, Result, SharedBytes};
use loquat::model::{LoadOptions, Model};
use loquat::quant::TensorType;
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use test_support::gguf_writer::{File, Tensor, Val};
use test_support::model_changes;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Runtime::new(RuntimeOptions { threads: Threads::Count(1), memory_limit: Some(256 << 20), ..Default::default() }).unwrap()
});

/// Tensors that a file may lack: the family computes without them.
const OPTIONAL: [&str; 9] = [
    "output.weight",
    "rope_freqs.weight",
    "attn_q.bias",
    "attn_k.bias",
    "attn_v.bias",
    "attn_q_norm",
    "attn_k_norm",
    "ffn_norm",
    "attn_norm_2",
];

/// The models, as files to write again.
fn files() -> Vec<(String, File)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models");
    let mut files: Vec<(String, File)> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?.to_owned();
            Some((name, model_changes::read(&std::fs::read(&path).unwrap())))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn load(file: &File) -> Result<Model> {
    Model::from_bytes(&RUNTIME, SharedBytes::copied(&file.write()), "test", LoadOptions::default())
}

#[track_caller]
fn refused(what: &str, file: &File, parts: &[&str]) {
    match load(file) {
        Ok(_) => panic!("{what}: loaded"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::InvalidFile | ErrorKind::Unsupported), "{what}: {error}");
            for part in parts {
                assert!(error.message().contains(part), "{what}: '{part}' is not in: {error}");
            }
        }
    }
}

#[test]
fn a_missing_tensor_is_named() {
    for (name, file) in files() {
        load(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        for index in 0..file.tensors.len() {
            let mut less = file.clone();
            let tensor = String::from_utf8(less.tensors.remove(index).name).unwrap();
            let what = format!("{name} without {tensor}");
            if OPTIONAL.iter().any(|optional| tensor == *optional || tensor.contains(&format!(".{optional}"))) {
                // It computes something else then, or its counterpart is named.
                let _ = load(&less).map_err(|error| assert!(error.message().contains("tensor '"), "{what}: {error}"));
                continue;
            }
            // Without a fused matrix the first of its parts is missing.
            let part = if tensor.contains("attn_qkv.weight") { "attn_q.weight" } else { &tensor };
            refused(&what, &less, &[&format!("{part}'")]);
        }
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    for (name, file) in files() {
        for index in 0..file.tensors.len() {
            let mut other = file.clone();
            let tensor = &mut other.tensors[index];
            let dims = tensor.dims.clone();
            let Some(at) = dims.iter().position(|&dim| dim > 1) else { continue };
            tensor.dims[at] += 1;
            tensor.data = vec![0; tensor.dims.iter().product::<u64>() as usize * 4];
            let (tensor, shape) = (String::from_utf8(tensor.name.clone()).unwrap(), format!("{:?}", tensor.dims));
            let what = format!("{name} with {tensor} {shape}");
            refused(&what, &other, &[&format!("'{tensor}'"), &shape]);
        }
    }
}

#[test]
fn a_tensor_that_has_no_place_is_named() {
    for (name, file) in files() {
        let more = file.tensor(Tensor::new("blk.0.attn_surprise.weight", &[32], TensorType::F32, vec![0; 128]));
        refused(&name, &more, &["blk.0.attn_surprise.weight"]);
    }
}

#[test]
fn sizes_that_contradict_the_tensors_are_refused() {
    const SIZES: [&str; 11] = [
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "expert_count",
        "expert_used_count",
        "expert_feed_forward_length",
        "expert_shared_feed_forward_length",
    ];
    let mut changed = 0;
    for (name, file) in files() {
        for index in 0..file.keys.len() {
            let key = String::from_utf8(file.keys[index].0.clone()).unwrap();
            let Val::U32(value) = file.keys[index].1 else { continue };
            if !SIZES.iter().any(|size| key.ends_with(&format!(".{size}"))) {
                continue;
            }
            for wrong in [0, 1, value - 1, value + 1, value * 2, 1 << 20, u32::MAX] {
                let mut other = file.clone();
                other.keys[index].1 = Val::U32(wrong);
                let what = format!("{name} with {key} {wrong} for {value}");
                // How many experts compute, and the sizes that a model with experts does not have, no tensor tells.
                let free = key.ends_with("expert_used_count")
                    || key.ends_with(".feed_forward_length") && name.contains("moe")
                    || name == "gpt-oss";
                if wrong == value || free {
                    let _ = load(&other);
                    continue;
                }
                refused(&what, &other, &[]);
                changed += 1;
            }
        }
    }
    assert!(changed > 500, "{changed}");
}

#[test]
fn what_a_family_does_not_compute_is_an_error_that_names_it() {
    let files = files();
    let file = |name: &str| files.iter().find(|(have, _)| have == name).unwrap().1.clone();
    let mut unknown = file("llama");
    unknown.keys[0].1 = Val::str("llama9");
    refused("an unknown architecture", &unknown, &["'llama9'", "gemma2"]);
    for (model, key, value, part) in [
        ("llama", "llama.rope.scaling.type", Val::str("spiral"), "spiral"),
        ("llama", "llama.attn_logit_softcapping", Val::F32(30.0), "attn_logit_softcapping"),
        ("llama", "llama.attention.clamp_kqv", Val::F32(8.0), "clamp_kqv"),
        ("qwen3", "qwen3.attention.sliding_window", Val::U32(8), "sliding_window"),
        ("olmo2", "olmo2.attention.sliding_window", Val::U32(8), "sliding_window"),
        ("gpt2", "gpt2.logit_scale", Val::F32(2.0), "logit_scale"),
        ("falcon", "falcon.attention.max_alibi_bias", Val::F32(8.0), "max_alibi_bias"),
        ("gemma3", "gemma3.attention.causal", Val::Bool(false), "attention.causal"),
        ("bert", "bert.attention.causal", Val::Bool(true), "attention.causal"),
        ("gemma2", "gemma2.attn_logit_softcapping", Val::F32(-1.0), "attn_logit_softcapping"),
        ("granite", "granite.residual_scale", Val::F32(f32::NAN), "residual_scale"),
        ("bert", "bert.pooling_type", Val::U32(4), "pooling"),
        ("phi2", "phi2.expert_count", Val::U32(4), "experts"),
    ] {
        let mut other = file(model);
        other.keys.retain(|(have, _)| have != key.as_bytes());
        refused(&format!("{model} with {key}"), &other.key(key, value), &[part]);
    }
    let mut no_key = file("gptneox");
    no_key.keys.retain(|(key, _)| key != b"gptneox.use_parallel_residual");
    refused("gptneox", &no_key, &["use_parallel_residual"]);
    let mut no_length = file("phi3-long");
    no_length.keys.retain(|(key, _)| key != b"phi3.rope.scaling.original_context_length");
    refused("phi3", &no_length, &["original_context_length"]);
}

#[test]
fn a_changed_model_is_refused_or_computes() {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for (_, file) in files() {
        for _ in 0..40 {
            let changes: Vec<u8> = (0..6 * (1 + usize::from(random() % 2))).map(|_| random()).collect();
            model_changes::check(&RUNTIME, file.clone(), &changes);
        }
    }
}
