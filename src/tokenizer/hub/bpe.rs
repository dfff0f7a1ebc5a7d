//! The BPE model of a `tokenizer.json`: Hugging Face's, but read here.
//!
//! Read by itself, the crate gives a model a cache of words in each thread that encodes, and those stay until the thread ends, however long the
//! tokenizer is gone: in a host that would be memory lost with each load. Only the builder makes a model without one. It also takes parts of
//! characters off a merge, where the file's prefix asks for that; here that is an error.

#![forbid(unsafe_code)]

use serde::Deserialize;
use tokenizers::models::bpe::{BPE, BpeBuilder, Merges, Vocab};

/// What older files begin their merges with.
const VERSION: &str = "#version";

/// The model as it is written.
#[derive(Deserialize)]
pub(super) struct Bpe {
    vocab: Vocab,
    merges: Vec<Pair>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

/// What of the model is not to be had from the crate.
#[derive(Deserialize)]
pub(super) struct Merging {
    merges: Vec<Pair>,
    ignore_merges: Option<bool>,
}

/// Older files write the two with a space between them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Pair {
    Two(String, String),
    Text(String),
}

impl Bpe {
    /// The model.
    ///
    /// # Errors
    /// Merges that are none, and of what the vocabulary doesn't have. The crate may panic.
    pub(super) fn build(self) -> tokenizers::Result<BPE> {
        let merges = merges(self.merges)?;
        let prefix = self.continuing_subword_prefix.as_ref().map_or(0, String::len);
        if let Some((_, right)) = merges.iter().find(|(_, right)| !right.is_char_boundary(prefix)) {
            return Err(format!("merge of '{}': not behind a prefix of {prefix} bytes", right.escape_debug()).into());
        }
        let mut builder = BpeBuilder::new()
            .cache_capacity(0)
            .fuse_unk(self.fuse_unk.unwrap_or_default())
            .byte_fallback(self.byte_fallback.unwrap_or_default())
            .ignore_merges(self.ignore_merges.unwrap_or_default())
            .vocab_and_merges(self.vocab, merges);
        if let Some(token) = self.unk_token {
            builder = builder.unk_token(token);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build()
    }
}

impl Merging {
    /// Whether words that are tokens are taken as they are.
    pub(super) fn ignores_merges(&self) -> bool {
        self.ignore_merges.unwrap_or_default()
    }

    /// The merges.
    ///
    /// # Errors
    /// Merges that are none.
    pub(super) fn merges(self) -> tokenizers::Result<Merges> {
        merges(self.merges)
    }
}

fn merges(pairs: Vec<Pair>) -> tokenizers::Result<Merges> {
    let is_merge = |pair: &Pair| !matches!(pair, Pair::Text(text) if text.starts_with(VERSION));
    let two = |pair| match pair {
        Pair::Two(left, right) => Ok((left, right)),
        Pair::Text(text) => match text.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
            _ => Err(format!("merge '{}': not two tokens", text.escape_debug()).into()),
        },
    };
    pairs.into_iter().filter(is_merge).map(two).collect()
}
