//! The letters alternative of the `cl100k` family: what counts as a word of letters, and what may stand before it.

#![forbid(unsafe_code)]

use super::super::unicode::{Char, LETTER, MARK, NUMBER, char_at};
use super::words::contraction;
use super::{ranges, run_end};

/// A kind of letters pattern. `^` is `[^\r\n\p{L}\p{N}]?`, `'` the contractions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    /// `^\p{L}+`
    Plain,
    /// `^[\p{L}\p{M}]+`
    WithMarks,
    /// `^[\p{L}\p{M}]+'?`
    WithMarksAndContraction,
    /// `^U*W+'?|^U+W*'?`, where U is a letter but not a to z, and W a letter but not A to Z
    Cased { contraction: bool },
    /// The same with marks among the letters, and contractions
    CasedWithMarks,
    /// `^(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+`
    Phrases,
    /// `^[\p{L}--\p{Han}]+'?`
    NotHan,
}

impl Letters {
    /// The end of the word at `start`, or `start`.
    #[inline]
    pub fn word(self, text: &[u8], start: usize) -> usize {
        match self {
            Self::Plain => after_prefix(text, start, |c| c.is(LETTER), |from| run_end(text, from, |c| c.is(LETTER))),
            Self::WithMarks => marked_word(text, start, is_prefix),
            Self::WithMarksAndContraction => with_contraction(text, start, marked_word(text, start, is_prefix)),
            Self::Cased { contraction } => {
                let end = after_prefix(text, start, |c| c.is(LETTER), |from| cased(text, from, LETTER));
                if contraction { with_contraction(text, start, end) } else { end }
            }
            Self::CasedWithMarks => with_contraction(text, start, cased_with_marks(text, start)),
            Self::Phrases => after_prefix(text, start, |c| c.is(LETTER), |from| phrase(text, from)),
            Self::NotHan => {
                let letter = |c: Char| c.is(LETTER) && !is_han(c);
                with_contraction(text, start, after_prefix(text, start, letter, |from| run_end(text, from, letter)))
            }
        }
    }
}

/// Whether `c` is a Chinese character.
pub(super) fn is_han(c: Char) -> bool {
    ranges::contains(ranges::HAN, c.point)
}

/// `[^\r\n\p{L}\p{N}]`
fn is_prefix(c: Char) -> bool {
    c.point != 0x0D && c.point != 0x0A && c.is_not(LETTER | NUMBER)
}

/// The end that `word` finds from `start`, if a letter is there, or from behind a prefix; else `start`.
#[inline]
fn after_prefix(text: &[u8], start: usize, letter: impl Fn(Char) -> bool, word: impl Fn(usize) -> usize) -> usize {
    let first = char_at(text, start);
    if letter(first) {
        return word(start);
    }
    let next = start + first.len as usize;
    if is_prefix(first) && letter(char_at(text, next)) { word(next) } else { start }
}

/// `P?[\p{L}\p{M}]+` with the prefix P as given. It makes no difference whether a mark counts as prefix.
#[inline]
pub(super) fn marked_word(text: &[u8], start: usize, is_prefix: impl Fn(Char) -> bool) -> usize {
    let letter = |c: Char| c.is(LETTER | MARK);
    let first = char_at(text, start);
    if letter(first) {
        return run_end(text, start, letter);
    }
    let next = start + first.len as usize;
    let end = if is_prefix(first) { run_end(text, next, letter) } else { next };
    if end > next { end } else { start }
}

fn with_contraction(text: &[u8], start: usize, end: usize) -> usize {
    if end > start { contraction(text, end, true) } else { end }
}

/// `U*W+`, or `None`. Letters outside ASCII are both U and W.
fn upper_then_lower(text: &[u8], start: usize, letters: u8) -> Option<usize> {
    // The run of U, and the end of the last letter in it that is also W.
    let mut last_both = None;
    let mut at = start;
    loop {
        let c = char_at(text, at);
        if !c.is(letters) || (0x61..0x7B).contains(&c.point) {
            break;
        }
        at += c.len as usize;
        if c.point >= 0x80 {
            last_both = Some(at);
        }
    }
    let end = run_end(text, at, |c| c.is(letters) && !(0x41..0x5B).contains(&c.point));
    // Where no W follows the run, the pattern takes the last letter of the run that can serve as W.
    if end > at { Some(end) } else { last_both }
}

/// `U*W+|U+W*` at a letter.
fn cased(text: &[u8], start: usize, letters: u8) -> usize {
    // Without any W the letters are A to Z alone.
    upper_then_lower(text, start, letters).unwrap_or_else(|| run_end(text, start, |c| (0x41..0x5B).contains(&c.point)))
}

/// The same with marks, which may be letters or the prefix; the pattern tries them as prefix first.
fn cased_with_marks(text: &[u8], start: usize) -> usize {
    let letters = LETTER | MARK;
    let first = char_at(text, start);
    let next = start + first.len as usize;
    if first.is(MARK) {
        return upper_then_lower(text, next, letters).or_else(|| upper_then_lower(text, start, letters)).unwrap_or(next);
    }
    after_prefix(text, start, |c| c.is(letters), |from| cased(text, from, letters))
}

/// `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+` at a letter.
fn phrase(text: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        at = run_end(text, at, |c| c.is(LETTER));
        at = run_end(text, at, |c| c.is(MARK));
        let c = char_at(text, at);
        if c.point == 0x20 && char_at(text, at + 1).is(LETTER) {
            at += 1;
        } else if !c.is(LETTER) {
            return at;
        }
    }
}
