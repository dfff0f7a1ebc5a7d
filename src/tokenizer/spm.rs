//! SentencePiece BPE: spaces become `▁`, and neighbours merge whose text is a token, best score first.
//!
//! Where no token holds `▁` behind another character (true of all usual vocabularies), no merge can cross the place before a
//! `▁`, so each such stretch is encoded alone, and one that is a token is mostly done with a single look.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::sort::sort;
use crate::base::{Error, Pace, Result};

use super::bpe::duplicate;
use super::definition::Definition;
use super::merge::{Merger, NONE, Pairs, Symbol};
use super::table::{IdTable, Merge, filled_paced};
use super::unicode::decode;
use super::{SPACE, TOKEN_COST, byte_token, escape_spaces, reserve};

const UNKNOWN: u8 = 0;
const WHOLE: u8 = 1;
const SPLIT: u8 = 2;

/// A SentencePiece BPE vocabulary.
pub(super) struct Spm {
    ids: IdTable,
    /// Per token, its place by score: 0 for the highest; equal scores share a place.
    ranks: Vec<u32>,
    /// Whether merging the text of a token gives that token: worked out when the token is first met as a stretch.
    whole: Vec<AtomicU8>,
    /// Tokens for single bytes.
    bytes: Vec<Option<u32>>,
    /// Whether stretches are independent.
    stretches: bool,
    add_space_prefix: bool,
    unknown: Option<u32>,
}

impl Spm {
    /// Builds the tables.
    pub async fn new(pace: &Pace, definition: &Definition, unknown: Option<u32>) -> Result<Self> {
        let tokens = &definition.tokens;
        let ids = IdTable::new(pace, tokens.clone(), |_| false).await?;
        let ids = ids.map_err(|(first, second)| duplicate(definition, first, second))?;
        let ranks = ranks(pace, &definition.scores, tokens.len()).await?;
        let mut whole = Vec::new();
        whole.try_reserve_exact(tokens.len()).map_err(super::definition::out_of_memory)?;
        whole.resize_with(tokens.len(), || AtomicU8::new(UNKNOWN));
        let bytes = (0..=255).map(|byte| ids.get(&byte_token(byte)).or_else(|| ids.get(&[byte]))).collect();
        let crosses = |token: &[u8]| {
            token.windows(SPACE.len() + 1).enumerate().any(|(at, window)| window[1..] == *SPACE && !is_space_end(token, at + 1))
        };
        let mut stretches = true;
        for id in 0..tokens.len() {
            let token = tokens.get(id).unwrap_or_default();
            stretches &= !crosses(token);
            pace.work(TOKEN_COST + token.len()).await;
        }
        Ok(Self { ids, ranks, whole, bytes, stretches, add_space_prefix: definition.add_space_prefix.unwrap_or(true), unknown })
    }

    /// Appends the tokens of `text`, which has no special tokens in it. `first` says that nothing or a special token precedes.
    pub fn encode(&self, text: &[u8], first: bool, merger: &mut Merger, escaped: &mut Vec<u8>, out: &mut Vec<u32>) -> Result<()> {
        escape_spaces(text, first && self.add_space_prefix, escaped)?;
        if !self.stretches {
            return self.stretch(escaped, merger, out);
        }
        let mut start = 0;
        let mut at = 0;
        while at < escaped.len() {
            while escaped[at..].starts_with(SPACE) {
                at += SPACE.len();
            }
            while at < escaped.len() && !(escaped[at] == SPACE[0] && escaped[at..].starts_with(SPACE)) {
                at += 1;
            }
            self.stretch(&escaped[start..at], merger, out)?;
            start = at;
        }
        Ok(())
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.ids.memory() + self.ranks.len() * size_of::<u32>() + self.whole.len() + self.bytes.len() * 8
    }

    /// Whether decoding takes one space away from the start of a text.
    pub fn adds_space_prefix(&self) -> bool {
        self.add_space_prefix
    }

    fn stretch(&self, text: &[u8], merger: &mut Merger, out: &mut Vec<u32>) -> Result<()> {
        reserve(out, text.len())?;
        let token = self.ids.get(text);
        if let Some(id) = token
            && self.whole[id as usize].load(Ordering::Relaxed) == WHOLE
        {
            out.push(id);
            return Ok(());
        }
        merger.begin(text.len())?;
        let mut rest = text;
        while !rest.is_empty() {
            let (character, next) = rest.split_at(decode(rest).1.into());
            merger.push(self.ids.get(character).unwrap_or(NONE), character.len());
            rest = next;
        }
        merger.run(&Stretch { spm: self, text })?;
        let start = out.len();
        for symbol in merger.symbols() {
            if symbol.piece != NONE {
                out.push(symbol.piece);
            } else {
                let bytes = &text[symbol.start as usize..symbol.end as usize];
                out.extend(bytes.iter().filter_map(|&byte| self.bytes[byte as usize].or(self.unknown)));
            }
        }
        if let Some(id) = token {
            let known = if out[start..] == [id] { WHOLE } else { SPLIT };
            self.whole[id as usize].store(known, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether `token[..at]` ends in `▁` or is empty.
fn is_space_end(token: &[u8], at: usize) -> bool {
    at == 0 || token[..at].ends_with(SPACE)
}

/// Places by falling score.
async fn ranks(pace: &Pace, scores: &[f32], count: usize) -> Result<Vec<u32>> {
    if scores.is_empty() {
        return filled_paced(pace, 0, count).await;
    }
    if scores.len() < count {
        return Err(Error::invalid_file(format!("{} token scores for {count} tokens", scores.len())));
    }
    if let Some(id) = scores[..count].iter().position(|score| score.is_nan()) {
        return Err(Error::invalid_file(format!("the score of token {id} is NaN")));
    }
    let mut order = filled_paced(pace, 0u32, count).await?;
    order.iter_mut().enumerate().for_each(|(id, slot)| *slot = id as u32);
    sort(pace, &mut order, TOKEN_COST / 4, |&a, &b| scores[b as usize].total_cmp(&scores[a as usize])).await?;
    let mut ranks = filled_paced(pace, 0u32, count).await?;
    let mut rank = 0;
    for pair in order.windows(2) {
        // Compared as numbers: -0 and 0 are equal.
        rank += u32::from(scores[pair[0] as usize] != scores[pair[1] as usize]);
        ranks[pair[1] as usize] = rank;
        pace.work(TOKEN_COST / 4).await;
    }
    Ok(ranks)
}

/// Merges within one stretch: by the text of both pieces together.
struct Stretch<'a> {
    spm: &'a Spm,
    text: &'a [u8],
}

impl Pairs for Stretch<'_> {
    #[inline]
    fn merge(&self, left: Symbol, right: Symbol) -> Option<Merge> {
        let piece = self.spm.ids.get(&self.text[left.start as usize..right.end as usize])?;
        Some(Merge { rank: self.spm.ranks[piece as usize], piece })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::at_once;

    fn ranks(scores: &[f32], count: usize) -> Result<Vec<u32>> {
        at_once(super::ranks(&Pace::unhurried(), scores, count))
    }

    #[test]
    fn equal_scores_share_a_place() {
        assert_eq!(ranks(&[1.0, -2.0, 0.0, -0.0, f32::INFINITY], 5).unwrap(), [1, 3, 2, 2, 0]);
        assert_eq!(ranks(&[], 2).unwrap(), [0, 0]);
        assert!(ranks(&[0.0], 2).is_err());
        assert!(ranks(&[0.0, f32::NAN], 2).unwrap_err().message().contains("token 1"));
    }

    #[test]
    fn a_token_across_a_space_turns_stretches_off() {
        let spm = |tokens: &[&str]| {
            let definition = Definition { tokens: tokens.iter().collect(), ..Definition::default() };
            at_once(Spm::new(&Pace::unhurried(), &definition, None)).unwrap()
        };
        assert!(spm(&["▁", "▁▁▁", "▁a", "a"]).stretches);
        assert!(!spm(&["▁", "a▁"]).stretches);
        assert!(!spm(&["▁", "▁of▁the"]).stretches);
    }
}
