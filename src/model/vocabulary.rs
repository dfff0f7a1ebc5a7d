//! The vocabulary of a model file as the tokenizer's [`Definition`] or [`JsonDefinition`]: which key means what.
//!
//! Nothing is judged here but the types of the values; `Tokenizer::new` does the rest.

#![forbid(unsafe_code)]

use crate::base::{Error, Pace, Result, at_once};
use crate::format::{Metadata, TokenizerJson};
use crate::tokenizer::{ByteStrings, Definition, JsonDefinition, TokenHint};

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
        ends: vec![],
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
