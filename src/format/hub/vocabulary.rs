//! What a folder says about its tokens: `tokenizer.json` itself, unread, and the roles and templates in the files beside it.

#![forbid(unsafe_code)]

use super::super::entries::Entries;
use super::super::model_file::TokenizerJson;
use super::super::source::Source;
use super::config::Config;
use super::folder::Folder;
use crate::base::{Error, Result};

/// The vocabulary, `None` where the folder has none; ids of special tokens and the chat template go into `entries`.
///
/// # Errors
/// `InvalidFile` naming file and key.
pub(super) fn read(folder: &Folder, config: &Config<'_>, entries: &mut Entries) -> Result<Option<TokenizerJson>> {
    let generation = folder.generation.as_ref().map(Config::read).transpose()?;
    let own = folder.tokenizer_config.as_ref().map(Config::read).transpose()?;
    // What ends a generation is said best by generation_config.json, which may name several.
    let mut ends = Vec::new();
    for (key, role) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        let mut ids = generation.as_ref().map(|generation| generation.ids(key)).transpose()?.unwrap_or_default();
        ids.extend(config.ids(key)?);
        if let Some(&first) = ids.first() {
            entries.integer(format!("tokenizer.ggml.{role}_token_id"), first.into());
        }
        if role == "eos" {
            ids.sort_unstable();
            ids.dedup();
            ends = ids;
        }
    }
    if !ends.is_empty() {
        entries.integers("tokenizer.ggml.eos_token_ids", &ends);
    }
    if let Some(template) = template(folder, own.as_ref())? {
        entries.text("tokenizer.chat_template", &template);
    }
    let Some(json) = &folder.tokenizer else { return Ok(None) };
    let token = |key: &str| own.as_ref().map(|own| token(own, key)).transpose().map(Option::flatten);
    Ok(Some(TokenizerJson {
        json: json.bytes().clone(),
        name: json.name().to_owned(),
        bos: token("bos_token")?,
        eos: token("eos_token")?,
        padding: token("pad_token")?,
    }))
}

/// A token's text, which may stand alone or with the token's properties.
fn token(config: &Config<'_>, key: &str) -> Result<Option<String>> {
    match config.get(key) {
        Some(serde_json::Value::Object(_)) => {
            Ok(config.object(key)?.map(|token| token.text("content").map(|text| text.map(str::to_owned))).transpose()?.flatten())
        }
        _ => Ok(config.text(key)?.map(str::to_owned)),
    }
}

/// The chat template: a file of its own, else in tokenizer_config.json, alone or as the one of several that is called "default".
fn template(folder: &Folder, config: Option<&Config<'_>>) -> Result<Option<String>> {
    if let Some(file) = &folder.template {
        return text(file).map(Some);
    }
    let Some(config) = config else { return Ok(None) };
    match config.get("chat_template") {
        Some(serde_json::Value::Array(several)) => {
            let field = |one: &serde_json::Value, key: &str| one.get(key).and_then(|value| value.as_str()).map(str::to_owned);
            let default = several.iter().find(|one| field(one, "name").as_deref() == Some("default"));
            match default.map(|one| field(one, "template")) {
                Some(Some(template)) => Ok(Some(template)),
                Some(None) => Err(config.error("chat_template", "the one called 'default' has no text")),
                None => Ok(None),
            }
        }
        _ => Ok(config.text("chat_template")?.map(str::to_owned)),
    }
}

fn text(file: &Source) -> Result<String> {
    let text = std::str::from_utf8(file.bytes());
    let text = text.map_err(|error| Error::invalid_file(format!("{}: at byte {}: not UTF-8", file.name(), error.valid_up_to())))?;
    Ok(text.to_owned())
}
