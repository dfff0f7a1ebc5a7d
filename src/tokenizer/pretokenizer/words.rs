//! The word patterns: contractions, words with a leading space, numbers, punctuation, line ends, spaces. GPT-2's, and the
//! family that began with `cl100k` (Llama 3, Qwen 2, GPT-4o, …), whose members differ in a few places.

#![forbid(unsafe_code)]

use crate::base::Result;

use super::super::unicode::{LETTER, MARK, NUMBER, PUNCTUATION, SYMBOL, WHITESPACE, char_at};
use super::letters::{self, Letters};
use super::{Sink, by_matches, run_end};

const CR: u32 = 0x0D;
const LF: u32 = 0x0A;

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
pub fn gpt2(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let end = contraction(text, start, false);
        if end > start {
            return end;
        }
        let from = start + usize::from(text[start] == b' ');
        let first = char_at(text, from);
        if first.is(LETTER) {
            run_end(text, from, |c| c.is(LETTER))
        } else if first.is(NUMBER) {
            run_end(text, from, |c| c.is(NUMBER))
        } else if first.is_not(WHITESPACE) {
            run_end(text, from, |c| c.is_not(WHITESPACE | LETTER | NUMBER))
        } else {
            spaces(text, start)
        }
    })
}

/// The end of `'s|'t|'re|'ve|'m|'ll|'d` at `start`, or `start`.
pub(super) fn contraction(text: &[u8], start: usize, any_case: bool) -> usize {
    if text.get(start) != Some(&b'\'') {
        return start;
    }
    let letter = |at: usize| text.get(at).map_or(0, |byte| if any_case { byte.to_ascii_lowercase() } else { *byte });
    match (letter(start + 1), letter(start + 2)) {
        (b's' | b't' | b'm' | b'd', _) => start + 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => start + 3,
        _ => start,
    }
}

/// `\s+(?!\S)|\s+`: the white space at `start`, but for its last character if a word follows.
fn spaces(text: &[u8], start: usize) -> usize {
    let (mut at, mut last) = (start, start);
    loop {
        let c = char_at(text, at);
        if !c.is(WHITESPACE) {
            return if c.len > 0 && last > start { last } else { at };
        }
        last = at;
        at += c.len as usize;
    }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`
fn lines_and_spaces(text: &[u8], start: usize) -> usize {
    let (mut at, mut last, mut line_end) = (start, start, start);
    loop {
        let c = char_at(text, at);
        if !c.is(WHITESPACE) {
            return match () {
                () if line_end > start => line_end,
                () if c.len > 0 && last > start => last,
                () => at,
            };
        }
        last = at;
        at += c.len as usize;
        if c.point == CR || c.point == LF {
            line_end = at;
        }
    }
}

/// What follows punctuation in its word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Nothing,
    /// `[\r\n]*`
    Newlines,
    /// `[\r\n/]*`
    NewlinesAndSlashes,
    /// `[\r\n/]?`
    OneNewlineOrSlash,
}

/// A member of the `cl100k` family:
/// `CONTRACTION|LETTERS|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+TAIL|\s*[\r\n]+|\s+(?!\S)|\s+`.
struct Family {
    /// Whether contractions are words of their own.
    contractions: bool,
    letters: Letters,
    digits: usize,
    /// Classes that end punctuation.
    not_punctuation: u8,
    tail: Tail,
}

const LLAMA3: Family =
    Family { contractions: true, letters: Letters::Plain, digits: 3, not_punctuation: WHITESPACE | LETTER | NUMBER, tail: Tail::Newlines };

impl Family {
    /// The end of the word at `start`; every character begins one.
    #[inline]
    fn word(&self, text: &[u8], start: usize) -> usize {
        let end = self.word_but_space(text, start);
        if end > start { end } else { lines_and_spaces(text, start) }
    }

    #[inline]
    fn word_but_space(&self, text: &[u8], start: usize) -> usize {
        if self.contractions {
            let end = contraction(text, start, true);
            if end > start {
                return end;
            }
        }
        let end = self.letters.word(text, start);
        if end > start {
            return end;
        }
        let first = char_at(text, start);
        if first.is(NUMBER) {
            let mut left = self.digits;
            return run_end(text, start, |c| {
                let taken = left > 0 && c.is(NUMBER);
                left = left.saturating_sub(1);
                taken
            });
        }
        let from = start + usize::from(first.point == 0x20);
        let end = run_end(text, from, |c| c.is_not(self.not_punctuation));
        if end == from {
            return start;
        }
        let newline = |byte: u8| byte == b'\r' || byte == b'\n';
        let tail = text[end..].iter();
        end + match self.tail {
            Tail::Nothing => 0,
            Tail::Newlines => tail.take_while(|&&byte| newline(byte)).count(),
            Tail::NewlinesAndSlashes => tail.take_while(|&&byte| newline(byte) || byte == b'/').count(),
            Tail::OneNewlineOrSlash => tail.take(1).filter(|&&byte| newline(byte) || byte == b'/').count(),
        }
    }

    #[inline]
    fn split(&self, text: &[u8], sink: &mut Sink) -> Result<()> {
        by_matches(text, sink, |text, start| self.word(text, start))
    }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
pub fn llama3(text: &[u8], sink: &mut Sink) -> Result<()> {
    LLAMA3.split(text, sink)
}

/// [`llama3`] with one digit to a word
pub fn qwen2(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { digits: 1, ..LLAMA3 }.split(text, sink)
}

/// [`qwen2`] with marks among the letters
pub fn qwen35(text: &[u8], sink: &mut Sink) -> Result<()> {
    let not_punctuation = WHITESPACE | LETTER | MARK | NUMBER;
    Family { digits: 1, letters: Letters::WithMarks, not_punctuation, ..LLAMA3 }.split(text, sink)
}

/// [`qwen2`] without contractions
pub fn ufakzeka(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { digits: 1, contractions: false, ..LLAMA3 }.split(text, sink)
}

/// [`qwen2`] without line ends after punctuation
pub fn seed_coder(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { digits: 1, tail: Tail::Nothing, ..LLAMA3 }.split(text, sink)
}

/// [`llama3`] with any number of digits
pub fn minicpm5(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { digits: usize::MAX, ..LLAMA3 }.split(text, sink)
}

/// [`qwen2`] with phrases of letters and single spaces, and one line end or slash after punctuation
pub fn exaone_moe(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { digits: 1, letters: Letters::Phrases, tail: Tail::OneNewlineOrSlash, ..LLAMA3 }.split(text, sink)
}

const GPT4O: Family =
    Family { contractions: false, letters: Letters::Cased { contraction: true }, tail: Tail::NewlinesAndSlashes, ..LLAMA3 };

/// Words by their case, with contractions attached; slashes after punctuation
pub fn gpt4o(text: &[u8], sink: &mut Sink) -> Result<()> {
    GPT4O.split(text, sink)
}

/// [`gpt4o`] without contractions, one digit to a word
pub fn tekken(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { letters: Letters::Cased { contraction: false }, digits: 1, ..GPT4O }.split(text, sink)
}

/// [`gpt4o`] with marks among the letters
pub fn granite_multilingual(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { letters: Letters::CasedWithMarks, ..GPT4O }.split(text, sink)
}

/// [`gpt4o`] with letters and marks whatever their case
pub fn tiny_aya(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { letters: Letters::WithMarksAndContraction, ..GPT4O }.split(text, sink)
}

/// [`tiny_aya`] with one digit to a word
pub fn youtu(text: &[u8], sink: &mut Sink) -> Result<()> {
    Family { letters: Letters::WithMarksAndContraction, digits: 1, ..GPT4O }.split(text, sink)
}

/// [`llama3`], but white space goes in pieces of 512, 256, … 8, 4, 2, 1
pub fn jais2(text: &[u8], sink: &mut Sink) -> Result<()> {
    let mut at = 0;
    while at < text.len() {
        let end = LLAMA3.word_but_space(text, at);
        if end > at {
            sink(&text[at..end])?;
            at = end;
            continue;
        }
        // The run of white space as a whole: up to its last line end it is one piece; after that pieces of falling size,
        // leaving a last character for the word behind, whose own pattern decides whether it takes it.
        let (mut run, mut spaces, mut line_end) = (at, 0usize, at);
        loop {
            let c = char_at(text, run);
            if !c.is(WHITESPACE) {
                spaces -= usize::from(c.len > 0 && spaces > 1);
                break;
            }
            run += c.len as usize;
            spaces += 1;
            if c.point == CR || c.point == LF {
                (line_end, spaces) = (run, 0);
            }
        }
        if line_end > at {
            sink(&text[at..line_end])?;
            at = line_end;
            continue;
        }
        while spaces > 0 {
            let size = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1].into_iter().find(|&size| size <= spaces).unwrap_or(1);
            let start = at;
            for _ in 0..size {
                at += char_at(text, at).len as usize;
            }
            spaces -= size;
            sink(&text[start..at])?;
        }
    }
    Ok(())
}

/// ``[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+``, then `TAIL`
fn deepseek_word(text: &[u8], start: usize, tail: bool) -> usize {
    if text[start].is_ascii_punctuation() {
        let letters = text[start + 1..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if letters > 0 {
            return start + 1 + letters;
        }
    }
    let end = letters::marked_word(text, start, |c| c.point != CR && c.point != LF && c.is_not(LETTER | PUNCTUATION | SYMBOL));
    if end > start {
        return end;
    }
    let from = start + usize::from(text[start] == b' ');
    let end = run_end(text, from, |c| c.is(PUNCTUATION | SYMBOL));
    match () {
        () if end == from => start,
        () if tail => end + text[end..].iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count(),
        () => end,
    }
}

/// The words of `deepseek-v3`: punctuation clings to ASCII letters, line ends to punctuation.
pub fn deepseek3(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| {
        let end = deepseek_word(text, start, true);
        if end > start { end } else { lines_and_spaces(text, start) }
    })
}

/// [`deepseek3`], but line ends stand alone: `…| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+`
pub fn spark(text: &[u8], sink: &mut Sink) -> Result<()> {
    by_matches(text, sink, |text, start| match text[start] {
        b'\r' | b'\n' => start + 1,
        _ => {
            let end = deepseek_word(text, start, false);
            if end > start { end } else { spaces(text, start) }
        }
    })
}

/// `kimi-k2`: runs of Chinese characters, else [`llama3`] with contractions attached to their words.
pub fn kimi(text: &[u8], sink: &mut Sink) -> Result<()> {
    const REST: Family = Family { contractions: false, letters: Letters::NotHan, ..LLAMA3 };
    by_matches(text, sink, |text, start| {
        let han = run_end(text, start, letters::is_han);
        if han > start { han } else { REST.word(text, start) }
    })
}
