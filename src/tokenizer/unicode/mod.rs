//! Characters as the pre-tokenizers see them: code point, class bits, length; and the two normalisations of WordPiece.
//!
//! Text is bytes that should be UTF-8. A byte that isn't part of a well-formed character counts as one character of its
//! own, classed like U+FFFD, so scanning never fails and never loses a byte.

#![forbid(unsafe_code)]

mod tables;

/// `\p{L}`
pub(super) const LETTER: u8 = 1;
/// `\p{N}`
pub(super) const NUMBER: u8 = 2;
/// `\p{M}`
pub(super) const MARK: u8 = 4;
/// `\p{P}`
pub(super) const PUNCTUATION: u8 = 8;
/// `\p{S}`
pub(super) const SYMBOL: u8 = 16;
/// `\s`: the property White_Space
pub(super) const WHITESPACE: u8 = 32;
/// `\p{C}` without unassigned code points
pub(super) const CONTROL: u8 = 64;

/// U+FFFD, which stands for bytes that aren't UTF-8.
pub(super) const REPLACEMENT: u32 = 0xFFFD;

/// Code points below this have an entry of their own in [`CLASSES`]; above are only tags, selectors and private use.
const DENSE: usize = 0x323B0;

static CLASSES: [u8; DENSE] = dense_classes();

const fn dense_classes() -> [u8; DENSE] {
    let mut classes = [0; DENSE];
    let mut run = 0;
    while run < tables::CLASS_RUNS.len() {
        let mut point = (tables::CLASS_RUNS[run] & 0xFF_FFFF) as usize;
        let end = if run + 1 < tables::CLASS_RUNS.len() { (tables::CLASS_RUNS[run + 1] & 0xFF_FFFF) as usize } else { DENSE };
        while point < end && point < DENSE {
            classes[point] = (tables::CLASS_RUNS[run] >> 24) as u8;
            point += 1;
        }
        run += 1;
    }
    classes
}

/// One character of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Char {
    /// Code point; [`REPLACEMENT`] for a byte that isn't UTF-8.
    pub point: u32,
    /// Class bits; 0 for an unassigned code point, and at the end of the text.
    pub class: u8,
    /// Bytes it takes; 0 only at the end of the text.
    pub len: u8,
}

impl Char {
    const END: Self = Self { point: u32::MAX, class: 0, len: 0 };

    /// Whether any of the class bits `mask` is set.
    #[inline]
    pub fn is(self, mask: u8) -> bool {
        self.class & mask != 0
    }

    /// Whether this is a character at all, and none of the class bits `mask` is set.
    #[inline]
    pub fn is_not(self, mask: u8) -> bool {
        self.class & mask == 0 && self.len > 0
    }
}

/// The character at byte `at`, or the end mark where `at` is the length.
#[inline]
pub(super) fn char_at(text: &[u8], at: usize) -> Char {
    #[cfg(test)]
    steps::count();
    match text.get(at) {
        None => Char::END,
        Some(&byte) if byte < 0x80 => Char { point: u32::from(byte), class: CLASSES[byte as usize], len: 1 },
        Some(_) => {
            let (point, len) = decode(&text[at..]);
            Char { point, class: class_of(point), len }
        }
    }
}

/// Class bits of a code point.
pub(super) fn class_of(point: u32) -> u8 {
    match CLASSES.get(point as usize) {
        Some(&class) => class,
        None => {
            let run = tables::CLASS_RUNS.partition_point(|&run| run & 0xFF_FFFF <= point);
            (tables::CLASS_RUNS[run - 1] >> 24) as u8
        }
    }
}

/// The first character of `text`, which isn't empty: code point and length, `(REPLACEMENT, 1)` where it isn't well-formed.
pub(super) fn decode(text: &[u8]) -> (u32, u8) {
    const INVALID: (u32, u8) = (REPLACEMENT, 1);
    let tail = |at: usize| text.get(at).filter(|&&byte| byte & 0xC0 == 0x80).map(|&byte| u32::from(byte & 0x3F));
    let lead = u32::from(text[0]);
    match lead {
        0..0x80 => (lead, 1),
        0xC2..0xE0 => match tail(1) {
            Some(a) => ((lead & 0x1F) << 6 | a, 2),
            None => INVALID,
        },
        0xE0..0xF0 => match (tail(1), tail(2)) {
            (Some(a), Some(b)) => {
                let point = (lead & 0x0F) << 12 | a << 6 | b;
                if point >= 0x800 && !(0xD800..0xE000).contains(&point) { (point, 3) } else { INVALID }
            }
            _ => INVALID,
        },
        0xF0..0xF5 => match (tail(1), tail(2), tail(3)) {
            (Some(a), Some(b), Some(c)) => {
                let point = (lead & 0x07) << 18 | a << 12 | b << 6 | c;
                if (0x1_0000..0x11_0000).contains(&point) { (point, 4) } else { INVALID }
            }
            _ => INVALID,
        },
        _ => INVALID,
    }
}

/// The first code point of the canonical decomposition. What follows it (marks, and the vowels of Hangul) is dropped, as
/// llama.cpp does for WordPiece.
pub(super) fn decomposed(point: u32) -> u32 {
    let next = tables::DECOMPOSITIONS.partition_point(|&entry| (entry >> 40) as u32 <= point);
    match next.checked_sub(1).map(|at| tables::DECOMPOSITIONS[at]) {
        Some(entry) if point - (entry >> 40) as u32 <= (entry >> 24 & 0xFFFF) as u32 => (entry & 0xFF_FFFF) as u32,
        _ => point,
    }
}

/// The simple lower case of a code point.
pub(super) fn lowercase(point: u32) -> u32 {
    char::from_u32(point).and_then(|c| c.to_lowercase().next()).map_or(point, u32::from)
}

/// Counts the characters looked at, so that tests can assert that a scanner is linear.
#[cfg(test)]
pub(super) mod steps {
    use std::cell::Cell;

    thread_local!(static STEPS: Cell<u64> = const { Cell::new(0) });

    pub fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    /// Characters looked at by this thread while `work` ran.
    pub fn during(work: impl FnOnce()) -> u64 {
        let before = STEPS.get();
        work();
        STEPS.get() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_exactly_what_std_accepts() {
        for point in (0..=0x10_FFFF).filter_map(char::from_u32) {
            let mut buffer = [0; 4];
            let bytes = point.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(decode(bytes), (u32::from(point), bytes.len() as u8));
        }
        for bad in [
            &[0x80][..],
            &[0xC0, 0x80],
            &[0xC3],
            &[0xE0, 0x80, 0x80],
            &[0xED, 0xA0, 0x80],
            &[0xE2, 0x82],
            &[0xF4, 0x90, 0x80, 0x80],
            &[0xFF],
        ] {
            assert!(std::str::from_utf8(bad).is_err());
            assert_eq!(decode(bad), (REPLACEMENT, 1));
        }
    }

    #[test]
    fn classes_and_normalisations() {
        for (point, class) in [
            ('a', LETTER),
            ('é', LETTER),
            ('7', NUMBER),
            ('½', NUMBER),
            ('\u{301}', MARK),
            ('!', PUNCTUATION),
            ('+', SYMBOL),
            (' ', WHITESPACE),
            ('\n', WHITESPACE | CONTROL),
            ('\u{3000}', WHITESPACE),
            ('\0', CONTROL),
            ('\u{FFFD}', SYMBOL),
            ('\u{2FFC}', SYMBOL),
            ('\u{E0100}', MARK),
            ('\u{F0000}', CONTROL),
            ('\u{10FFFF}', 0),
            ('\u{323AF}', LETTER),
            ('\u{323B0}', 0),
        ] {
            assert_eq!(class_of(u32::from(point)), class, "{point:?}");
        }
        for (from, to) in [('é', 'e'), ('Ǻ', 'A'), ('한', 'ᄒ'), ('a', 'a'), ('\u{2FA1D}', '\u{2A600}'), ('\u{10FFFF}', '\u{10FFFF}')] {
            assert_eq!(decomposed(u32::from(from)), u32::from(to), "{from:?}");
        }
        assert_eq!(lowercase(u32::from('İ')), u32::from('i'));
    }
}
