//! The metadata of an APR file in GGUF's words. Keys have several names, and those of the vocabulary may be written with a dot or as an
//! object within the object.

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::entries::Entries;
use super::super::hub::published;
use super::super::json;
use super::super::model_file::RotaryRows;
use crate::base::{Error, MemoryBudget, Result};

/// Numbers of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Canonical key, names in the file, whether it must be there.
const SIZES: &[(&str, &[&str], bool)] = &[
    ("embedding_length", &["hidden_size", "hidden_dim", "d_model", "n_embd"], true),
    ("block_count", &["num_layers", "num_hidden_layers", "n_layer"], true),
    ("attention.head_count", &["num_heads", "num_attention_heads", "n_head"], true),
    ("attention.head_count_kv", &["num_kv_heads", "num_key_value_heads"], false),
    ("attention.key_length", &["head_dim"], false),
    ("attention.value_length", &["head_dim"], false),
    ("feed_forward_length", &["intermediate_size", "ffn_dim"], true),
    ("context_length", &["max_position_embeddings", "context_length"], true),
    ("vocab_size", &["vocab_size"], false),
];

/// The metadata object.
pub(super) struct Settings(Map<String, Value>);

impl Settings {
    pub(super) fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// The value of `key`, whose dots may be objects; null counts as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        let within = || {
            let (outer, inner) = key.split_once('.')?;
            self.0.get(outer)?.as_object()?.get(inner)
        };
        self.0.get(key).or_else(within).filter(|value| !value.is_null())
    }

    fn typed<'a, T>(&'a self, keys: &[&str], expected: &str, convert: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some((key, value)) = keys.iter().find_map(|key| Some((*key, self.get(key)?))) else { return Ok(None) };
        let converted = convert(value);
        let error = || Error::invalid_file(format!("metadata key '{key}': expected {expected}, found {}", json::kind(value)));
        Ok(Some(converted.ok_or_else(error)?))
    }

    fn text(&self, keys: &[&str]) -> Result<Option<&str>> {
        self.typed(keys, "a string", Value::as_str)
    }

    fn integer(&self, keys: &[&str]) -> Result<Option<u64>> {
        self.typed(keys, "an integer from 0 on", Value::as_u64)
    }

    /// `general.architecture`: families are also called as they publish themselves.
    pub(super) fn architecture(&self) -> Result<String> {
        let keys = ["architecture", "model_type", "general.architecture"];
        let name = self.text(&keys)?.ok_or_else(|| Error::invalid_file("metadata key 'architecture' is missing"))?;
        Ok(published(&name.to_ascii_lowercase()).map_or_else(|| name.to_owned(), |(architecture, _)| architecture.to_owned()))
    }

    /// How query and key rows are paired: as `rope_type` says, else by who named the tensors.
    pub(super) fn rotary(&self, architecture: &str, converted: bool) -> Result<RotaryRows> {
        let own = published(architecture).map_or(RotaryRows::AsConverted, |(_, rotary)| rotary);
        match self.integer(&["rope_type"])? {
            None => Ok(if converted { RotaryRows::AsConverted } else { own }),
            Some(2) => Ok(RotaryRows::Halves),
            // Only families whose converter permutes the rows have them side by side.
            Some(0) if own == RotaryRows::Halves => Ok(RotaryRows::AsConverted),
            Some(other) => Err(Error::unsupported(format!("metadata key 'rope_type': {other} in architecture '{architecture}'"))),
        }
    }

    /// All of it that a model is made by.
    pub(super) fn entries(&self, architecture: &str, budget: &Arc<MemoryBudget>) -> Result<Entries> {
        let mut entries = Entries::default();
        entries.text("general.architecture", architecture);
        if let Some(name) = self.text(&["name", "model_name"])? {
            entries.text("general.name", name);
        }
        for (canonical, keys, needed) in SIZES {
            match self.integer(keys)? {
                Some(value) => entries.integer(format!("{architecture}.{canonical}"), value),
                None if *needed => return Err(Error::invalid_file(format!("metadata key '{}' is missing", keys[0]))),
                None => {}
            }
        }
        for (canonical, keys) in
            [("rope.freq_base", &["rope_theta"][..]), ("attention.layer_norm_rms_epsilon", &["rms_norm_eps", "layer_norm_eps", "norm_eps"])]
        {
            if let Some(value) = self.typed(keys, "a number", Value::as_f64)? {
                entries.float(format!("{architecture}.{canonical}"), value);
            }
        }
        if let Some(template) = self.text(&["tokenizer.chat_template", "chat_template"])? {
            entries.text("tokenizer.chat_template", template);
        }
        self.vocabulary(&mut entries, budget)?;
        Ok(entries)
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        self.typed(&[key], "an array of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    fn vocabulary(&self, entries: &mut Entries, budget: &Arc<MemoryBudget>) -> Result<()> {
        let Some(tokens) = self.texts("tokenizer.vocabulary")? else { return Ok(()) };
        let merges = self.texts("tokenizer.merges")?.filter(|merges| !merges.is_empty());
        let scores = self.typed(&["tokenizer.scores"], "an array of numbers", |value| {
            value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>()
        })?;
        let scores = scores.filter(|scores| !scores.is_empty());
        let model = match (self.text(&["tokenizer.model", "tokenizer.model_type"])?, &merges, &scores) {
            (Some("gpt2" | "bpe" | "BPE"), ..) | (None, Some(_), _) => "gpt2",
            (Some("llama" | "spm" | "sentencepiece"), ..) | (None, None, Some(_)) => "llama",
            (Some(other), ..) => {
                return Err(Error::unsupported(format!("metadata key 'tokenizer.model': '{}' (known: gpt2, llama)", other.escape_debug())));
            }
            (None, None, None) => {
                return Err(Error::invalid_file("metadata key 'tokenizer.vocabulary': neither merges nor scores go with it"));
            }
        };
        entries.text("tokenizer.ggml.model", model);
        if let Some(pre) = self.text(&["tokenizer.pre", "tokenizer.pre_tokenizer"])? {
            entries.text("tokenizer.ggml.pre", pre);
        }
        let mut types: Vec<i32> = tokens.iter().map(|text| if model == "llama" && is_byte(text) { BYTE } else { NORMAL }).collect();
        for (name, kind) in [("bos", CONTROL), ("eos", CONTROL), ("padding", CONTROL), ("unknown", UNKNOWN)] {
            let keys = [format!("tokenizer.{name}_token_id"), format!("{name}_token_id")];
            let given = self.integer(&[&keys[0], &keys[1]])?;
            // The first token of SentencePiece vocabularies is the unknown one.
            let id = given.or((name == "unknown" && model == "llama").then_some(0));
            let Some(id) = id else { continue };
            entries.integer(format!("tokenizer.ggml.{name}_token_id"), id);
            if let Some(ty) = usize::try_from(id).ok().and_then(|id| types.get_mut(id)) {
                *ty = kind;
            }
        }
        for (key, canonical) in [("add_bos", "add_bos_token"), ("add_eos", "add_eos_token")] {
            let keys = [format!("tokenizer.{canonical}"), format!("tokenizer.{key}")];
            if let Some(value) = self.typed(&[&keys[0], &keys[1]], "a bool", Value::as_bool)? {
                entries.bool(format!("tokenizer.ggml.{canonical}"), value);
            }
        }
        if let Some(listed) = self.typed(&["tokenizer.token_types"], "an array of integers", |value| {
            value.as_array()?.iter().map(|ty| i32::try_from(ty.as_i64()?).ok()).collect::<Option<Vec<i32>>>()
        })? {
            types = listed;
        }
        entries.signed("tokenizer.ggml.token_type", &types);
        if let Some(scores) = scores {
            entries.floats("tokenizer.ggml.scores", &scores.iter().map(|&score| score as f32).collect::<Vec<f32>>());
        }
        if let Some(merges) = merges {
            entries.strings("tokenizer.ggml.merges", merges.iter().map(|text| text.as_bytes()), budget)?;
        }
        entries.strings("tokenizer.ggml.tokens", tokens.iter().map(|text| text.as_bytes()), budget)
    }
}

/// Whether a token of a SentencePiece vocabulary stands for a byte.
fn is_byte(text: &str) -> bool {
    let hex = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
