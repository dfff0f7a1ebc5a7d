//! A model file of another container as APR, for tests.

use loquat::format::{ModelFile, RotaryRows, TensorInfo, Value};
use loquat::quant::TensorType;
use serde_json::{Map, json};

use crate::apr_writer::{self, Tensor};

/// The number of a tensor type.
fn dtype(ty: TensorType) -> u8 {
    match ty {
        TensorType::F32 => 0,
        TensorType::F16 => 1,
        TensorType::Q4_K => 12,
        TensorType::Q6_K => 14,
        TensorType::BF16 => 30,
        other => panic!("{other} has no place in APR files"),
    }
}

/// The bytes of an APR file with the tensors, settings and GGUF vocabulary of `file`.
pub fn as_apr(file: &ModelFile) -> Vec<u8> {
    let architecture = file.metadata.str("general.architecture").unwrap().unwrap();
    let mut settings = Map::new();
    settings.insert("architecture".into(), json!(architecture));
    settings.insert("rope_type".into(), json!(if file.rotary == RotaryRows::Halves || architecture != "llama" { 2 } else { 0 }));
    for (key, name) in [
        ("embedding_length", "hidden_size"),
        ("block_count", "num_layers"),
        ("attention.head_count", "num_heads"),
        ("attention.head_count_kv", "num_kv_heads"),
        ("feed_forward_length", "intermediate_size"),
        ("context_length", "max_position_embeddings"),
    ] {
        settings.insert(name.into(), json!(file.metadata.u64(&format!("{architecture}.{key}")).unwrap().unwrap()));
    }
    for (key, name) in [("rope.freq_base", "rope_theta"), ("attention.layer_norm_rms_epsilon", "rms_norm_eps")] {
        if let Some(value) = file.metadata.f64(&format!("{architecture}.{key}")).unwrap() {
            settings.insert(name.into(), json!(value));
        }
    }
    let texts = |key: &str| {
        let strings = file.metadata.strings(key).unwrap()?;
        Some(json!(strings.iter().map(|text| std::str::from_utf8(text).unwrap()).collect::<Vec<_>>()))
    };
    let mut vocabulary = Map::new();
    vocabulary.extend(texts("tokenizer.ggml.tokens").map(|tokens| ("vocabulary".to_owned(), tokens)));
    vocabulary.extend(texts("tokenizer.ggml.merges").map(|merges| ("merges".to_owned(), merges)));
    vocabulary.extend(file.metadata.f32s("tokenizer.ggml.scores").unwrap().map(|scores| ("scores".to_owned(), json!(scores))));
    vocabulary.extend(file.metadata.i32s("tokenizer.ggml.token_type").unwrap().map(|types| ("token_types".to_owned(), json!(types))));
    for (key, name) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id"), ("model", "model"), ("pre", "pre")] {
        let value = file.metadata.get(&format!("tokenizer.ggml.{key}")).map(|value| match value {
            Value::Str(text) => json!(std::str::from_utf8(text).unwrap()),
            number => json!(number.integer().unwrap() as u64),
        });
        vocabulary.extend(value.map(|value| (name.to_owned(), value)));
    }
    if let Some(add) = file.metadata.bool("tokenizer.ggml.add_bos_token").unwrap() {
        vocabulary.insert("add_bos_token".into(), json!(add));
    }
    settings.insert("tokenizer".into(), vocabulary.into());
    let tensors = file.tensors.iter().map(|tensor: &TensorInfo| Tensor {
        name: tensor.name.clone(),
        dtype: dtype(tensor.ty),
        dims: tensor.dims.iter().rev().copied().collect(),
        data: tensor.data.to_vec(),
    });
    apr_writer::write(&serde_json::Value::from(settings).to_string(), 0x400, tensors.collect())
}
