//! BPE by ranked merges: byte-level (GPT-2 and its heirs), and on plain UTF-8 with byte tokens (Gemma 4).
//!
//! Byte-level vocabularies write bytes as printable characters; texts are turned back into bytes at load, so that encoding
//! works on the text itself.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::{Error, Pace, Result};

use super::definition::{ByteStrings, Definition};
use super::merge::{Merger, NONE, Pairs, Symbol};
use super::pretokenizer::{PreTokenizer, split};
use super::table::{IdTable, Merge, MergeTable, filled_paced};
use super::unicode::decode;
use super::{MERGE_COST, TOKEN_COST, byte_token, escape_spaces, reserve};

/// Whether merging the text of a token gives that token: worked out when the token is first met as a word.
const UNKNOWN: u8 = 0;
const WHOLE: u8 = 1;
const SPLIT: u8 = 2;

/// A BPE vocabulary with its pre-tokenizer.
pub(super) struct Bpe {
    pre: PreTokenizer,
    /// Token texts as they appear in a text, so bytes for byte-level.
    ids: IdTable,
    merges: MergeTable,
    /// The piece of each byte (byte-level).
    bytes: Vec<u32>,
    /// Pieces of merges that are no tokens, numbered behind the tokens.
    others: HashMap<Vec<u8>, u32>,
    token_count: u32,
    /// Per token: `UNKNOWN`, `WHOLE` or `SPLIT`.
    whole: Vec<AtomicU8>,
    /// Tokens for single bytes, where no piece fits.
    fallback: Vec<Option<u32>>,
    unknown: Option<u32>,
}

impl Bpe {
    /// Builds the tables.
    pub async fn new(pace: &Pace, definition: &Definition, pre: PreTokenizer, unknown: Option<u32>) -> Result<Self> {
        let alphabet = ByteAlphabet::new();
        let tokens = &definition.tokens;
        let mut texts = ByteStrings::with_room_for(tokens.len(), tokens.text_len())?;
        let mut skipped = filled_paced(pace, false, tokens.len()).await?;
        let mut buffer = Vec::new();
        for id in 0..tokens.len() {
            let token = tokens.get(id).unwrap_or_default();
            pace.work(TOKEN_COST + token.len()).await;
            let text = if pre.byte_level {
                skipped[id] = !alphabet.decode(token, &mut buffer);
                &buffer[..]
            } else {
                token
            };
            texts.push(if skipped[id] { b"" } else { text })?;
        }
        let ids = IdTable::new(pace, texts, |id| skipped[id]).await?.map_err(|(first, second)| duplicate(definition, first, second))?;
        let token_count = definition.tokens.len() as u32;
        let mut others = HashMap::new();
        let mut merges = MergeTable::with_room_for(pace, definition.merges.len()).await?;
        let mut both = Vec::new();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for rank in 0..definition.merges.len() {
            let merge = definition.merges.get(rank).unwrap_or_default();
            pace.work(MERGE_COST + merge.len()).await;
            // A part begins where the merge begins, so the space that parts them isn't the first byte. Without one, and with
            // characters outside the byte alphabet, a merge can't ever apply.
            let Some(space) = merge.iter().skip(1).position(|&byte| byte == b' ') else { continue };
            let (first, second) = (&merge[..space + 1], &merge[space + 2..]);
            if pre.byte_level {
                if !alphabet.decode(first, &mut left) || !alphabet.decode(second, &mut right) {
                    continue;
                }
            } else {
                left.clear();
                left.extend_from_slice(first);
                right.clear();
                right.extend_from_slice(second);
            }
            if right.is_empty() {
                continue;
            }
            both.clear();
            both.extend_from_slice(&left);
            both.extend_from_slice(&right);
            let mut piece = |text: &[u8]| match ids.get(text) {
                Some(id) => id,
                None => {
                    let next = token_count + others.len() as u32;
                    *others.entry(text.to_vec()).or_insert(next)
                }
            };
            let (left, right, both) = (piece(&left), piece(&right), piece(&both));
            merges.insert(left, right, Merge { rank: rank as u32, piece: both });
        }
        let mut whole = Vec::new();
        whole.try_reserve_exact(token_count as usize).map_err(super::definition::out_of_memory)?;
        whole.resize_with(token_count as usize, || AtomicU8::new(UNKNOWN));
        let piece = |text: &[u8]| ids.get(text).or_else(|| others.get(text).copied()).unwrap_or(NONE);
        let bytes = (0..=255).map(|byte| piece(&[byte])).collect();
        let fallback = (0..=255).map(|byte| if pre.byte_level { ids.get(&[byte]) } else { ids.get(&byte_token(byte)) }).collect();
        Ok(Self { pre, merges, bytes, others, token_count, whole, fallback, unknown, ids })
    }

    /// Appends the tokens of `text`, which has no special tokens in it.
    pub fn encode(&self, text: &[u8], merger: &mut Merger, escaped: &mut Vec<u8>, out: &mut Vec<u32>) -> Result<()> {
        let text = if self.pre.escape_spaces {
            escape_spaces(text, false, escaped)?;
            escaped
        } else {
            text
        };
        split(self.pre.stages, text, &mut |word| self.word(word, merger, out))
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        let others: usize = self.others.keys().map(|text| text.capacity() + size_of::<(Vec<u8>, u32)>()).sum();
        size_of::<Self>() + self.ids.memory() + self.merges.memory() + others + self.whole.len() + self.bytes.len() * 12
    }

    fn word(&self, word: &[u8], merger: &mut Merger, out: &mut Vec<u32>) -> Result<()> {
        reserve(out, word.len())?;
        let token = self.ids.get(word);
        if let Some(id) = token {
            let known = self.whole[id as usize].load(Ordering::Relaxed);
            if self.pre.ignore_merges || known == WHOLE || (self.pre.newline_tokens && word.iter().all(|&byte| byte == b'\n')) {
                out.push(id);
                return Ok(());
            }
        }
        merger.begin(word.len())?;
        if self.pre.byte_level {
            word.iter().for_each(|&byte| merger.push(self.bytes[byte as usize], 1));
        } else {
            let mut rest = word;
            while !rest.is_empty() {
                let (character, next) = rest.split_at(decode(rest).1.into());
                let piece = self.ids.get(character).or_else(|| self.others.get(character).copied());
                merger.push(piece.unwrap_or(NONE), character.len());
                rest = next;
            }
        }
        merger.run(self)?;
        let start = out.len();
        for symbol in merger.symbols() {
            if symbol.piece < self.token_count {
                out.push(symbol.piece);
            } else {
                let bytes = &word[symbol.start as usize..symbol.end as usize];
                out.extend(bytes.iter().filter_map(|&byte| self.fallback[byte as usize].or(self.unknown)));
            }
        }
        if let Some(id) = token {
            let known = if out[start..] == [id] { WHOLE } else { SPLIT };
            self.whole[id as usize].store(known, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Pairs for Bpe {
    #[inline]
    fn merge(&self, left: Symbol, right: Symbol) -> Option<Merge> {
        self.merges.get(left.piece, right.piece)
    }
}

/// The error for two equal tokens.
pub(super) fn duplicate(definition: &Definition, first: usize, second: usize) -> Error {
    let text = String::from_utf8_lossy(definition.tokens.get(second).unwrap_or_default());
    Error::invalid_file(format!("tokens {first} and {second} have the same text '{text}'"))
}

/// GPT-2's way to write any byte as a printable character: printable Latin-1 as itself, the rest from U+0100 on.
pub(super) struct ByteAlphabet {
    /// By code point.
    bytes: [Option<u8>; 0x144],
}

impl ByteAlphabet {
    /// Builds the table.
    pub fn new() -> Self {
        let mut bytes = [None; 0x144];
        let mut next = 0x100;
        for byte in 0..=255u8 {
            let point = match byte {
                0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => byte.into(),
                _ => {
                    next += 1;
                    next - 1
                }
            };
            bytes[point] = Some(byte);
        }
        Self { bytes }
    }

    /// Turns `text` into the bytes it stands for; false if a character of it stands for none.
    pub fn decode(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        let mut rest = text;
        while !rest.is_empty() {
            let (point, len) = decode(rest);
            match self.bytes.get(point as usize) {
                Some(&Some(byte)) => out.push(byte),
                _ => return false,
            }
            rest = &rest[len.into()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let alphabet = ByteAlphabet::new();
        let mut seen: Vec<u8> = alphabet.bytes.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
        let mut out = Vec::new();
        assert!(alphabet.decode("Ġworld".as_bytes(), &mut out));
        assert_eq!(out, b" world");
        assert!(!alphabet.decode("a b".as_bytes(), &mut out));
        assert!(!alphabet.decode(&[0xC3], &mut out));
    }
}
