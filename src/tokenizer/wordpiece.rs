//! WordPiece, the tokenizer of BERT: normalise, cut into words and punctuation, then take the longest token that fits.
//!
//! In GGUF a token that begins a word starts with `▁`, and one that continues a word has no `##`.

#![forbid(unsafe_code)]

use crate::base::{Error, Pace, Result};

use super::bpe::duplicate;
use super::definition::Definition;
use super::table::IdTable;
use super::trie::Trie;
use super::unicode::{CONTROL, MARK, PUNCTUATION, REPLACEMENT, SYMBOL, WHITESPACE, char_at, class_of, decomposed, lowercase};
use super::{SPACE, TOKEN_COST, reserve};

/// A WordPiece vocabulary.
pub(super) struct WordPiece {
    tokens: Trie,
    lowercase: bool,
    strip_accents: bool,
    unknown: u32,
}

/// Ideographs are words of their own. The last range but two begins where the reference implementation begins it.
const IDEOGRAPHS: [(u32, u32); 8] = [
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
];

impl WordPiece {
    /// Builds the tables.
    pub async fn new(pace: &Pace, definition: &Definition, unknown: Option<u32>) -> Result<Self> {
        let tokens = &definition.tokens;
        // The table only proves that no two tokens are equal.
        let ids = IdTable::new(pace, tokens.clone(), |_| false).await?;
        ids.map_err(|(first, second)| duplicate(definition, first, second))?;
        let mut entries = Vec::new();
        entries.try_reserve_exact(tokens.len()).map_err(super::definition::out_of_memory)?;
        for id in 0..tokens.len() {
            entries.push((tokens.get(id).unwrap_or_default(), id as u32));
            pace.work(TOKEN_COST).await;
        }
        let tokens = Trie::new(pace, entries).await?;
        let unknown = unknown.ok_or_else(|| Error::invalid_file("a WordPiece vocabulary without an unknown token"))?;
        let lowercase = definition.lowercase.unwrap_or(true);
        Ok(Self { tokens, lowercase, strip_accents: definition.strip_accents.unwrap_or(lowercase), unknown })
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.tokens.memory()
    }

    /// Appends the tokens of `text`, which has no special tokens in it. `word` is working memory.
    pub fn encode(&self, text: &[u8], word: &mut Vec<u8>, out: &mut Vec<u32>) -> Result<()> {
        let mut at = 0;
        word.clear();
        while at < text.len() {
            let c = char_at(text, at);
            at += c.len as usize;
            let point = if self.strip_accents { decomposed(c.point) } else { c.point };
            let class = if point == c.point { c.class } else { class_of(point) };
            if class & WHITESPACE != 0 {
                self.word(word, out)?;
                continue;
            }
            let dropped = point == 0 || point == REPLACEMENT || class & CONTROL != 0 || (self.strip_accents && class & MARK != 0);
            if dropped {
                continue;
            }
            let alone = class & PUNCTUATION != 0
                || (point < 0x7F && class & SYMBOL != 0)
                || IDEOGRAPHS.iter().any(|&(first, last)| (first..=last).contains(&point));
            if alone {
                self.word(word, out)?;
            }
            if word.is_empty() {
                word.extend_from_slice(SPACE);
            }
            let point = if self.lowercase { lowercase(point) } else { point };
            word.try_reserve(4).map_err(super::definition::out_of_memory)?;
            word.extend_from_slice(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut [0; 4]).as_bytes());
            if alone {
                self.word(word, out)?;
            }
        }
        self.word(word, out)
    }

    /// Appends the tokens of `word`, or the unknown token where it can't be covered, and empties it.
    fn word(&self, word: &mut Vec<u8>, out: &mut Vec<u32>) -> Result<()> {
        if word.is_empty() {
            return Ok(());
        }
        reserve(out, word.len())?;
        let start = out.len();
        let mut rest = &word[..];
        while !rest.is_empty() {
            match self.tokens.longest_prefix(rest) {
                Some((id, len)) => {
                    out.push(id);
                    rest = &rest[len..];
                }
                None => {
                    out.truncate(start);
                    out.push(self.unknown);
                    break;
                }
            }
        }
        word.clear();
        Ok(())
    }
}
