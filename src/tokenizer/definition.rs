//! What a vocabulary file says, as plain data: the input of [`Tokenizer::new`](super::Tokenizer::new).
//!
//! Knows nothing of GGUF; `model::vocabulary` fills it from a file's metadata. Nothing here is checked yet.

#![forbid(unsafe_code)]

use std::ops::Range;

use crate::base::{Error, Result};

/// A list of byte strings in one piece of memory. Token texts are meant to be UTF-8, but a file may hold anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByteStrings {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl ByteStrings {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty list with room for `strings` strings of `bytes` bytes in all.
    ///
    /// # Errors
    /// Out of memory.
    pub fn with_room_for(strings: usize, bytes: usize) -> Result<Self> {
        let mut list = Self::new();
        list.bytes.try_reserve_exact(bytes).map_err(out_of_memory)?;
        list.ends.try_reserve_exact(strings).map_err(out_of_memory)?;
        Ok(list)
    }

    /// Appends one string.
    ///
    /// # Errors
    /// Out of memory, or all strings together pass 4 GiB.
    pub fn push(&mut self, string: &[u8]) -> Result<()> {
        let end = u32::try_from(self.bytes.len() + string.len()).map_err(|_| Error::unsupported("the texts of a vocabulary pass 4 GiB"))?;
        self.bytes.try_reserve(string.len()).map_err(out_of_memory)?;
        self.ends.try_reserve(1).map_err(out_of_memory)?;
        self.bytes.extend_from_slice(string);
        self.ends.push(end);
        Ok(())
    }

    /// The number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The length of all strings together.
    pub fn text_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        Some(start..end)
    }

    /// String `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.range(index).map(|range| &self.bytes[range])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for ByteStrings {
    /// For lists known to be small: panics past 4 GiB.
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut list = Self::new();
        for string in strings {
            list.push(string.as_ref()).expect("a small list");
        }
        list
    }
}

pub(super) fn out_of_memory(_: std::collections::TryReserveError) -> Error {
    Error::out_of_memory("no memory for the tokenizer")
}

/// The types that `tokenizer.ggml.token_type` gives to tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// A piece of text.
    Normal = 1,
    /// Stands for what the vocabulary can't express.
    Unknown = 2,
    /// Structure such as begin or end of text; matched in text only where special tokens are parsed.
    Control = 3,
    /// An added token, matched in text always.
    UserDefined = 4,
    /// Never produced.
    Unused = 5,
    /// One byte, written `<0xAB>`.
    Byte = 6,
}

/// A vocabulary and its rules. `None` and empty lists mean that the file is silent, so that the default of the tokenizer
/// model or of the pre-tokenizer applies.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "each group has its comment; the names are those of the GGUF keys")]
pub struct Definition {
    /// The tokenizer model: `llama` (SentencePiece BPE), `gpt2` (byte-level BPE), `gemma4` or `bert` (WordPiece).
    pub model: String,
    /// The pre-tokenizer, for BPE.
    pub pre: Option<String>,
    /// Name and architecture of the model: a few models strip spaces beside special tokens, known by name only.
    pub name: String,
    pub architecture: String,

    /// Token texts by id; the merge scores (empty, or one per token); [`TokenType`] numbers (empty, or one per token).
    pub tokens: ByteStrings,
    pub scores: Vec<f32>,
    pub types: Vec<i32>,
    /// BPE merges, best first, each `left right`.
    pub merges: ByteStrings,

    /// Special ids. One beyond the vocabulary is ignored, as llama.cpp does.
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub eot: Option<u32>,
    pub eom: Option<u32>,
    pub unknown: Option<u32>,
    pub separator: Option<u32>,
    pub padding: Option<u32>,
    pub mask: Option<u32>,
    pub fim_prefix: Option<u32>,
    pub fim_suffix: Option<u32>,
    pub fim_middle: Option<u32>,
    pub fim_padding: Option<u32>,
    pub fim_repository: Option<u32>,
    pub fim_separator: Option<u32>,
    /// Further tokens that end a generation.
    pub ends: Vec<u32>,

    /// What is put around a text, and before it.
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,

    /// Normalisation of WordPiece: both default to true, stripping accents to what `lowercase` says.
    pub lowercase: Option<bool>,
    pub strip_accents: Option<bool>,
}
