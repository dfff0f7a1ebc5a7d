//! Pre-tokenizers of BPE: how a text is cut into words before merging. A model file names its own.
//!
//! A pre-tokenizer is a list of stages. Each stage cuts every piece that the stage before left, seeing nothing beyond that
//! piece; what a stage doesn't match stays together as a piece. The names and patterns are those that llama.cpp knows,
//! with the meaning that its scanners give them (for instance, `[\p{Lu}\p{Lt}…]` there means any letter in some of them and
//! "not a to z" in others). Instead of a regex engine there is one scanner for each family of patterns: no backtracking, so
//! no text takes more than a small multiple of its length.

#![forbid(unsafe_code)]

mod digits;
mod letters;
mod names;
mod ranges;
mod runs;
#[cfg(test)]
mod tests;
mod words;

pub(super) use names::{PreTokenizer, named};

use crate::base::Result;

use super::unicode::char_at;

/// Receives the pieces in order; they are never empty and together make the whole text.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// One cut of a piece into smaller ones.
pub(super) type Stage = fn(&[u8], &mut Sink) -> Result<()>;

/// Runs `stages` over `text`.
pub(super) fn split(stages: &[Stage], text: &[u8], sink: &mut Sink) -> Result<()> {
    match stages {
        [] if text.is_empty() => Ok(()),
        [] => sink(text),
        [stage] => stage(text, sink),
        [stage, rest @ ..] => stage(text, &mut |piece| split(rest, piece, sink)),
    }
}

/// Cuts at the matches of a pattern: `matcher` gives the end of the match that starts at a position, or that position where
/// there is none. It must look at no more characters than a small multiple of what it matches.
#[inline]
fn by_matches(text: &[u8], sink: &mut Sink, matcher: impl Fn(&[u8], usize) -> usize) -> Result<()> {
    let (mut unmatched, mut at) = (0, 0);
    while at < text.len() {
        let end = matcher(text, at);
        if end == at {
            at += char_at(text, at).len as usize;
            continue;
        }
        if unmatched < at {
            sink(&text[unmatched..at])?;
        }
        sink(&text[at..end])?;
        (unmatched, at) = (end, end);
    }
    if unmatched < text.len() {
        sink(&text[unmatched..])?;
    }
    Ok(())
}

/// The end of the run, from `at`, of characters that `belongs` takes.
#[inline]
fn run_end(text: &[u8], mut at: usize, mut belongs: impl FnMut(super::unicode::Char) -> bool) -> usize {
    loop {
        let c = char_at(text, at);
        if c.len == 0 || !belongs(c) {
            return at;
        }
        at += c.len as usize;
    }
}
