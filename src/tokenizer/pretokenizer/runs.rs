//! Stages that cut out runs of characters of one kind, and literal oddities.

#![forbid(unsafe_code)]

use crate::base::Result;

use super::super::unicode::{Char, LETTER, NUMBER, PUNCTUATION, WHITESPACE, char_at};
use super::ranges::{self, contains};
use super::{Sink, by_matches, run_end};

/// `X{1,most}`
#[inline]
fn runs(text: &[u8], sink: &mut Sink, most: usize, belongs: impl Fn(Char) -> bool) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let mut at = start;
        for _ in 0..most {
            let c = char_at(text, at);
            if c.len == 0 || !belongs(c) {
                break;
            }
            at += c.len as usize;
        }
        at
    })
}

/// `\s?X+`, where X holds no white space.
#[inline]
fn runs_after_space(text: &[u8], sink: &mut Sink, belongs: impl Fn(Char) -> bool) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let first = char_at(text, start);
        let from = if first.is(WHITESPACE) { start + first.len as usize } else { start };
        let end = run_end(text, from, &belongs);
        if end > from { end } else { start }
    })
}

fn in_ranges(list: &'static [(u32, u32)]) -> impl Fn(Char) -> bool {
    move |c| !c.is(WHITESPACE) && contains(list, c.point)
}

/// `\p{N}`
pub fn each_number(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, 1, |c| c.is(NUMBER))
}

/// `\p{N}{1,3}`
pub fn numbers_by_three(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, 3, |c| c.is(NUMBER))
}

/// `\p{N}+`
pub fn numbers(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, usize::MAX, |c| c.is(NUMBER))
}

/// `[0-9][0-9][0-9]`
pub fn three_digits(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let digits = (0..3).all(|i| char_at(text, start + i).point.wrapping_sub(0x30) < 10);
        if digits { start + 3 } else { start }
    })
}

/// `[\r\n]`
pub fn each_newline(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, 1, |c| c.point == 0x0D || c.point == 0x0A)
}

/// `[^\n]+|[\n]+`
pub fn lines(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let newline = text[start] == b'\n';
        run_end(text, start, |c| (c.point == 0x0A) == newline)
    })
}

/// `\S+`
pub fn words_between_spaces(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, usize::MAX, |c| !c.is(WHITESPACE))
}

/// `\s+$`
pub fn trailing_space(text: &[u8], sink: &mut Sink) -> Result<()> {
    let (mut at, mut start) = (0, 0);
    while at < text.len() {
        let c = char_at(text, at);
        at += c.len as usize;
        if !c.is(WHITESPACE) {
            start = at;
        }
    }
    for piece in [&text[..start], &text[start..]] {
        if !piece.is_empty() {
            sink(piece)?;
        }
    }
    Ok(())
}

/// ``[\p{P}\$\+<=>\^~\|`]+``
pub fn punctuation_and_symbols(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, usize::MAX, |c| c.is(PUNCTUATION) || char::from_u32(c.point).is_some_and(|c| "$+<=>^~|`".contains(c)))
}

/// `[\p{P}\$\+<=>\^~\|]+`
pub fn punctuation_and_symbols_but_backtick(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, usize::MAX, |c| c.is(PUNCTUATION) || char::from_u32(c.point).is_some_and(|c| "$+<=>^~|".contains(c)))
}

/// ``[\p{P}!-/:-@\[-`{-~]``
pub fn each_punctuation(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, 1, |c| c.is(PUNCTUATION) || matches!(c.point, 0x21..0x30 | 0x3A..0x41 | 0x5B..0x61 | 0x7B..0x7F))
}

/// `\s?[A-Za-zµÀ-Ö…]+` of `deepseek-llm`
pub fn cased_words(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs_after_space(text, sink, in_ranges(ranges::CASED_LETTERS))
}

/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`
pub fn wide_punctuation(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs_after_space(text, sink, in_ranges(ranges::PUNCTUATION_AND_WIDE))
}

/// `\s?\p{L}+`
pub fn letters_after_space(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs_after_space(text, sink, |c| c.is(LETTER))
}

/// `\s?\p{P}+`
pub fn punctuation_after_space(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs_after_space(text, sink, |c| c.is(PUNCTUATION))
}

/// `[一-龥ࠀ-一가-퟿]+`
pub fn cjk_and_below(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, usize::MAX, in_ranges(ranges::CJK_AND_BELOW))
}

/// `[一-龥぀-ゟ゠-ヿ]+`
pub fn cjk_and_kana(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, usize::MAX, in_ranges(ranges::CJK_AND_KANA))
}

/// The scripts of `afmoe`.
pub fn asian_scripts(text: &[u8], sink: &mut Sink) -> Result<()> {
    runs(text, sink, usize::MAX, in_ranges(ranges::ASIAN_SCRIPTS))
}

/// Runs within one of the four groups of `youtu`.
pub fn youtu_groups(text: &[u8], sink: &mut Sink) -> Result<()> {
    let group = |c: Char| ranges::YOUTU_GROUPS.iter().position(|group| in_ranges(group)(c));
    by_matches(text, sink, |text, start| match group(char_at(text, start)) {
        None => start,
        found => run_end(text, start, |c| group(c) == found),
    })
}

/// ` ?[^(\s|.,!?…。，、।۔،)]+` of `bloom` and its kin
pub fn between_marks(text: &[u8], sink: &mut Sink) -> Result<()> {
    let belongs = |c: Char| !c.is(WHITESPACE) && !char::from_u32(c.point).is_some_and(|c| "(|.,!?…。，、।۔،)".contains(c));
    by_matches(text, sink, |text, start| {
        let from = start + usize::from(text[start] == b' ');
        let end = run_end(text, from, belongs);
        if end > from { end } else { start }
    })
}

/// `<sentinel:[0-9]+>` of `chameleon`
pub fn sentinels(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let Some(number) = text[start..].strip_prefix(b"<sentinel:") else { return start };
        let digits = run_end(number, 0, |c| c.point.wrapping_sub(0x30) < 10);
        if digits > 0 && number.get(digits) == Some(&b'>') { start + 11 + digits } else { start }
    })
}

/// `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`
pub fn image_tokens(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let Some(code) = text[start..].strip_prefix(b"IMGIMG") else { return start };
        let letters = code.iter().take(5).take_while(|byte| (b'A'..=b'I').contains(byte)).count();
        if (1..=4).contains(&letters) && code.get(letters) == Some(&b'Z') { start + 7 + letters } else { start }
    })
}

/// `([\t\n]|    |  )`
pub fn indentation(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| match &text[start..] {
        [b'\t' | b'\n', ..] => start + 1,
        [b' ', b' ', b' ', b' ', ..] => start + 4,
        [b' ', b' ', ..] => start + 2,
        _ => start,
    })
}
