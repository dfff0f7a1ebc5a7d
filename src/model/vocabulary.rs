//! The vocabulary of a model file as the tokenizer's [`Definition`] or [`JsonDefinition`], and back: which key means what.
//!
//! Nothing is judged here but the types of the values; `Tokenizer::new` does the rest.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::base::{Error, MemoryBudget, Pace, Result, SharedBytes, at_once};
use crate::format::{Entries, Metadata, TokenizerJson};
use crate::tokenizer::{ByteStrings, Definition, JsonDefinition, Roles, TokenHint};

/// The tokenizer model of files without a vocabulary.
pub const NONE: &str = "no_vocab";

/// The key of GGUF's specification for a whole `tokenizer.json`.
const EMBEDDED: &str = "tokenizer.huggingface.json";

/// What a string costs beside its length (see [`Pace::spend`]).
const STRING_COST: usize = 16;

/// Reads all `tokenizer.ggml.*` keys.
///
/// # Errors
/// `InvalidFile` where a key has a value of the wrong type, or the tokens or (for BPE) the merges are missing.
pub fn definition(metadata: &Metadata) -> Result<Definition> {
    at_once(definition_paced(metadata, &Pace::unhurried()))
}

/// As [`definition`], in pieces.
///
/// # Errors
/// As for [`definition`].
pub async fn definition_paced(metadata: &Metadata, pace: &Pace) -> Result<Definition> {
    let model = metadata.str("tokenizer.ggml.model")?.ok_or_else(|| missing("tokenizer.ggml.model"))?.to_owned();
    let tokens = strings(metadata, "tokenizer.ggml.tokens", pace).await?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
    let merges = strings(metadata, "tokenizer.ggml.merges", pace).await?;
    let pre = metadata.str("tokenizer.ggml.pre")?.map(str::to_owned);
    // Kimi K2's vocabulary was made without merges.
    if merges.is_none() && matches!(model.as_str(), "gpt2" | "gemma4") && pre.as_deref() != Some("kimi-k2") {
        return Err(missing("tokenizer.ggml.merges"));
    }
    let id = |name: &str| id(metadata, name);
    let bos = id("bos")?;
    Ok(Definition {
        pre,
        name: text(metadata, "general.name")?,
        architecture: text(metadata, "general.architecture")?,
        tokens,
        scores: metadata.f32s_paced("tokenizer.ggml.scores", pace).await?.unwrap_or_default(),
        types: metadata.i32s_paced("tokenizer.ggml.token_type", pace).await?.unwrap_or_default(),
        merges: merges.unwrap_or_default(),
        bos: if model == "bert" { bos.or(id("cls")?) } else { bos },
        eos: id("eos")?,
        eot: id("eot")?,
        eom: id("eom")?,
        unknown: id("unknown")?,
        // The key is misspelt in the format.
        separator: id("seperator")?,
        padding: id("padding")?,
        mask: id("mask")?,
        fim_prefix: id("fim_pre")?.or(id("prefix")?),
        fim_suffix: id("fim_suf")?.or(id("suffix")?),
        fim_middle: id("fim_mid")?.or(id("middle")?),
        fim_padding: id("fim_pad")?,
        fim_repository: id("fim_rep")?,
        fim_separator: id("fim_sep")?,
        ends: metadata.u32s("tokenizer.ggml.eos_token_ids")?.unwrap_or_default(),
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
        add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?,
        add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?,
        lowercase: metadata.bool("tokenizer.ggml.normalizer.lowercase")?,
        strip_accents: metadata.bool("tokenizer.ggml.normalizer.strip_accents")?,
        model,
    })
}

/// The vocabulary of a `tokenizer.json`, with what the metadata says about its tokens.
///
/// # Errors
/// `InvalidFile` where a key has a value of the wrong type.
pub fn of_json(tokenizer: &TokenizerJson, metadata: &Metadata) -> Result<JsonDefinition> {
    let hint = |text: &Option<String>, name: &str| -> Result<TokenHint> { Ok(TokenHint { text: text.clone(), id: id(metadata, name)? }) };
    let architecture = metadata.str("general.architecture")?.unwrap_or_default();
    Ok(JsonDefinition {
        json: tokenizer.json.clone(),
        rows: metadata.u32(&format!("{architecture}.vocab_size"))?,
        bos: hint(&tokenizer.bos, "bos")?,
        eos: hint(&tokenizer.eos, "eos")?,
        padding: hint(&tokenizer.padding, "padding")?,
        ends: metadata.u32s("tokenizer.ggml.eos_token_ids")?.unwrap_or_default(),
    })
}

/// The `tokenizer.json` that a GGUF file holds, `None` where it holds none. It says more than the vocabulary beside it, where there is one.
///
/// # Errors
/// `InvalidFile` where the key has a value of the wrong type.
pub fn embedded(metadata: &Metadata) -> Result<Option<TokenizerJson>> {
    let json = metadata.bytes(EMBEDDED)?.map(SharedBytes::copied);
    Ok(json.map(|json| TokenizerJson { json, name: format!("metadata key '{EMBEDDED}'"), ..TokenizerJson::default() }))
}

/// Puts a vocabulary into the metadata of a GGUF file.
///
/// # Errors
/// `OutOfMemory`.
pub fn write(definition: &Definition, entries: &mut Entries, budget: &Arc<MemoryBudget>) -> Result<()> {
    entries.text("tokenizer.ggml.model", &definition.model);
    definition.pre.iter().for_each(|pre| entries.text("tokenizer.ggml.pre", pre));
    entries.strings("tokenizer.ggml.tokens", definition.tokens.iter(), budget)?;
    entries.signed("tokenizer.ggml.token_type", &definition.types);
    if !definition.scores.is_empty() {
        entries.floats("tokenizer.ggml.scores", &definition.scores);
    }
    if !definition.merges.is_empty() {
        entries.strings("tokenizer.ggml.merges", definition.merges.iter(), budget)?;
    }
    let ids = [
        ("bos", definition.bos),
        ("eos", definition.eos),
        ("unknown", definition.unknown),
        ("seperator", definition.separator),
        ("padding", definition.padding),
        ("mask", definition.mask),
    ];
    for (name, id) in ids {
        id.into_iter().for_each(|id| entries.integer(format!("tokenizer.ggml.{name}_token_id"), id.into()));
    }
    for (key, value) in [
        ("add_bos_token", definition.add_bos),
        ("add_eos_token", definition.add_eos),
        ("add_space_prefix", definition.add_space_prefix),
        ("normalizer.lowercase", definition.lowercase),
        ("normalizer.strip_accents", definition.strip_accents),
    ] {
        value.into_iter().for_each(|value| entries.bool(format!("tokenizer.ggml.{key}"), value));
    }
    Ok(())
}

/// Says in the metadata of a GGUF file that it has no vocabulary of its own, as other programs want it said.
pub fn write_none(entries: &mut Entries) {
    entries.text("tokenizer.ggml.model", NONE);
}

/// Puts a `tokenizer.json` as it is into the metadata of a GGUF file, with the ids of the tokens that other files name.
pub fn write_json(json: &SharedBytes, roles: &Roles, entries: &mut Entries) {
    entries.shared_text(EMBEDDED, json.clone());
    for (name, id) in [("bos", roles.bos), ("eos", roles.eos), ("padding", roles.padding)] {
        id.into_iter().for_each(|id| entries.integer(format!("tokenizer.ggml.{name}_token_id"), id.into()));
    }
}

fn missing(key: &str) -> Error {
    Error::invalid_file(format!("metadata key '{key}' is missing"))
}

/// A text that only helps to recognise a model, so that bad UTF-8 does no harm.
fn text(metadata: &Metadata, key: &str) -> Result<String> {
    Ok(metadata.bytes(key)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default())
}

async fn strings(metadata: &Metadata, key: &str, pace: &Pace) -> Result<Option<ByteStrings>> {
    let Some(array) = metadata.strings(key)? else { return Ok(None) };
    let mut strings = ByteStrings::with_room_for(array.len(), array.text_len())?;
    for index in 0..array.len() {
        let string = array.get(index).unwrap_or_default();
        strings.push(string)?;
        pace.spend(STRING_COST + string.len()).await;
    }
    Ok(Some(strings))
}

/// A special id. Negative means none, as some converters write it; one that is too large is left to be ignored later.
fn id(metadata: &Metadata, name: &str) -> Result<Option<u32>> {
    let id = metadata.i64(&format!("tokenizer.ggml.{name}_token_id"))?;
    Ok(id.filter(|&id| id >= 0).map(|id| u32::try_from(id).unwrap_or(u32::MAX)))
}
