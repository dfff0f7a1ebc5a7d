//! Cuts a text at its special tokens.
//!
//! The longest token goes first: wherever it occurs, left to right, it takes its bytes; then the next longest looks at what
//! is left, and so on (of equally long ones the lower id first). That isn't leftmost-longest, but it is what llama.cpp
//! does. To keep it linear, the text is first cut into regions of overlapping occurrences; only within a region, nearly
//! always a single token, do priorities matter.

#![forbid(unsafe_code)]

use crate::base::sort::sort;
use crate::base::{Pace, Result};

use super::TOKEN_COST;
use super::definition::{ByteStrings, out_of_memory};
use super::special::Attributes;
use super::table::filled;
use super::trie::Trie;

/// A piece of a text: raw, or a special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Never empty.
    Text(&'a [u8]),
    Token(u32),
}

/// A special token.
#[derive(Debug)]
struct Entry {
    id: u32,
    text: Box<[u8]>,
    strip_left: bool,
    strip_right: bool,
}

/// Where a token was found, with the white space that it strips.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    id: u32,
}

/// The special tokens that are looked for.
#[derive(Debug)]
pub(super) struct Partition {
    /// Longest first.
    entries: Vec<Entry>,
    /// Finds the index of an entry.
    trie: Trie,
    /// Whether any entry strips white space.
    strips: bool,
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, 9..=13 | 32)
}

impl Partition {
    /// Looks for the tokens whose attributes have a property of `wanted` and none of `unwanted`.
    pub async fn new(
        pace: &Pace,
        tokens: &ByteStrings,
        attributes: &[Attributes],
        wanted: Attributes,
        unwanted: Attributes,
    ) -> Result<Self> {
        let text = |id: u32| tokens.get(id as usize).unwrap_or_default();
        let mut ids: Vec<u32> = Vec::new();
        for (id, attributes) in (0u32..).zip(attributes) {
            if attributes.any(wanted) && !attributes.any(unwanted) && !text(id).is_empty() {
                ids.try_reserve(1).map_err(out_of_memory)?;
                ids.push(id);
            }
            pace.work(TOKEN_COST / 8).await;
        }
        sort(pace, &mut ids, TOKEN_COST, |&a, &b| text(b).len().cmp(&text(a).len())).await?;
        let (mut entries, mut texts) = (Vec::new(), Vec::new());
        entries.try_reserve_exact(ids.len()).map_err(out_of_memory)?;
        texts.try_reserve_exact(ids.len()).map_err(out_of_memory)?;
        for (priority, &id) in ids.iter().enumerate() {
            let attributes = attributes[id as usize];
            texts.push((text(id), priority as u32));
            entries.push(Entry {
                id,
                text: text(id).into(),
                strip_left: attributes.any(Attributes::STRIP_LEFT),
                strip_right: attributes.any(Attributes::STRIP_RIGHT),
            });
            pace.spend(TOKEN_COST + text(id).len()).await;
        }
        let trie = Trie::new(pace, texts).await?;
        let strips = entries.iter().any(|entry: &Entry| entry.strip_left || entry.strip_right);
        Ok(Self { entries, trie, strips })
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        let texts: usize = self.entries.iter().map(|entry| entry.text.len()).sum();
        self.entries.capacity() * size_of::<Entry>() + texts + self.trie.memory()
    }

    /// Gives the parts of `text` in order.
    pub fn split<'a>(&self, text: &'a [u8], sink: &mut dyn FnMut(Part<'a>) -> Result<()>) -> Result<()> {
        let mut seen = Seen { bits: filled(0, self.entries.len().div_ceil(64))?, priorities: Vec::new() };
        let mut found = Vec::new();
        let (mut taken, mut at) = (0, 0);
        while at < text.len() {
            if !self.trie.starts_with(text[at]) {
                at += 1;
                continue;
            }
            let end = self.region(text, at, &mut seen);
            if end == at {
                at += 1;
                continue;
            }
            self.resolve(text, taken, at..end, &mut seen, &mut found);
            for Found { start, end, id } in found.drain(..) {
                if taken < start {
                    sink(Part::Text(&text[taken..start]))?;
                }
                sink(Part::Token(id))?;
                taken = end;
            }
            at = end;
        }
        if taken < text.len() {
            sink(Part::Text(&text[taken..]))?;
        }
        Ok(())
    }

    /// The end of the region of overlapping occurrences that starts at `start`, and in `seen` what occurs there; `start` if
    /// nothing does.
    fn region(&self, text: &[u8], start: usize, seen: &mut Seen) -> usize {
        seen.clear();
        let (mut at, mut end) = (start, start);
        loop {
            let mut place = text.get(at).and_then(|&byte| self.trie.enter(byte));
            let mut next = at + 1;
            while let Some(here) = place {
                if let Some(priority) = self.trie.value(here) {
                    seen.insert(priority);
                    end = end.max(next);
                }
                place = text.get(next).and_then(|&byte| self.trie.step(here, byte));
                next += 1;
            }
            if end == start {
                return start;
            }
            at += 1;
            if at >= end && self.strips {
                // What is stripped may hold other tokens, and what follows it may strip to the left.
                end += text[end..].iter().take_while(|&&byte| is_space(byte)).count();
            }
            if at > end || (at == end && !self.strips) || at == text.len() {
                return end;
            }
        }
    }

    /// Decides which of the tokens seen in `region` are there; text from `taken` on is free.
    fn resolve(&self, text: &[u8], taken: usize, region: std::ops::Range<usize>, seen: &mut Seen, found: &mut Vec<Found>) {
        if let [priority] = seen.priorities[..]
            && !self.strips
            && self.entries[priority as usize].text.len() == region.len()
        {
            found.push(Found { start: region.start, end: region.end, id: self.entries[priority as usize].id });
            return;
        }
        seen.priorities.sort_unstable();
        let mut free = vec![(taken, region.end)];
        let mut left_free = Vec::new();
        for &priority in &seen.priorities {
            let entry = &self.entries[priority as usize];
            for &(mut free_start, free_end) in &free {
                let mut at = free_start.max(region.start);
                while at + entry.text.len() <= free_end {
                    if !text[at..].starts_with(&entry.text) {
                        at += 1;
                        continue;
                    }
                    let (mut start, mut end) = (at, at + entry.text.len());
                    while entry.strip_left && start > free_start && is_space(text[start - 1]) {
                        start -= 1;
                    }
                    while entry.strip_right && end < free_end && is_space(text[end]) {
                        end += 1;
                    }
                    found.push(Found { start, end, id: entry.id });
                    if free_start < start {
                        left_free.push((free_start, start));
                    }
                    (free_start, at) = (end, end);
                }
                if free_start < free_end {
                    left_free.push((free_start, free_end));
                }
            }
            std::mem::swap(&mut free, &mut left_free);
            left_free.clear();
        }
        found.sort_unstable_by_key(|found| found.start);
    }
}

/// A set of priorities.
struct Seen {
    bits: Vec<u64>,
    priorities: Vec<u32>,
}

impl Seen {
    fn clear(&mut self) {
        for priority in self.priorities.drain(..) {
            self.bits[priority as usize / 64] = 0;
        }
    }

    fn insert(&mut self, priority: u32) {
        let (word, bit) = (priority as usize / 64, 1 << (priority % 64));
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.priorities.push(priority);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::at_once;

    fn partition(tokens: &[(&str, Attributes)]) -> Partition {
        let texts = tokens.iter().map(|(text, _)| text).collect();
        let attributes: Vec<_> = tokens.iter().map(|&(_, attributes)| attributes).collect();
        at_once(Partition::new(&Pace::unhurried(), &texts, &attributes, Attributes::SPECIAL, Attributes::UNDEFINED)).unwrap()
    }

    fn shown(partition: &Partition, text: &str) -> String {
        let mut shown = String::new();
        partition
            .split(text.as_bytes(), &mut |part| {
                match part {
                    Part::Text(text) => shown.push_str(&format!("[{}]", String::from_utf8_lossy(text))),
                    Part::Token(id) => shown.push_str(&format!("<{id}>")),
                }
                Ok(())
            })
            .unwrap();
        shown
    }

    const CONTROL: Attributes = Attributes::CONTROL;

    #[test]
    fn the_longest_token_goes_first_wherever_it_is() {
        let tokens = partition(&[("xab", CONTROL), ("abcd", CONTROL), ("b", CONTROL), ("plain", Attributes::NORMAL)]);
        assert_eq!(shown(&tokens, "xabcd"), "[x]<1>");
        assert_eq!(shown(&tokens, "xabxabcdb"), "<0>[x]<1><2>");
        assert_eq!(shown(&tokens, "plain"), "[plain]");
        assert_eq!(shown(&tokens, "a b c"), "[a ]<2>[ c]");
        assert_eq!(shown(&tokens, ""), "");
    }

    #[test]
    fn white_space_beside_a_token_is_stripped() {
        let left = Attributes::STRIP_LEFT;
        let right = Attributes::STRIP_RIGHT;
        let with = |mut attributes: Attributes, other: Attributes| {
            attributes = Attributes::union(attributes, other);
            attributes
        };
        let tokens = partition(&[("<l>", with(CONTROL, left)), ("<r>", with(CONTROL, right)), ("  ", CONTROL), ("<n>", CONTROL)]);
        assert_eq!(shown(&tokens, "a \t<l> b"), "[a]<0>[ b]");
        assert_eq!(shown(&tokens, "a <r> \nb"), "[a ]<1>[b]");
        assert_eq!(shown(&tokens, "<r>    <l>    <n>"), "<1><0><2><2><3>");
        assert_eq!(shown(&tokens, "<r>  "), "<1>");
    }

    /// The definition, word for word.
    fn slow<'a>(partition: &Partition, text: &'a str) -> Vec<(usize, Part<'a>)> {
        let mut parts = vec![(0, Part::Text(text.as_bytes()))];
        for entry in &partition.entries {
            let mut next = Vec::new();
            for (start, part) in parts {
                let Part::Text(mut text) = part else {
                    next.push((start, part));
                    continue;
                };
                let mut start = start;
                while let Some(at) = text.windows(entry.text.len()).position(|window| window == &*entry.text) {
                    let mut left = &text[..at];
                    let mut right = at + entry.text.len();
                    while entry.strip_left && left.last().is_some_and(|&byte| is_space(byte)) {
                        left = &left[..left.len() - 1];
                    }
                    while entry.strip_right && text.get(right).is_some_and(|&byte| is_space(byte)) {
                        right += 1;
                    }
                    next.push((start, Part::Text(left)));
                    next.push((start + at, Part::Token(entry.id)));
                    (start, text) = (start + right, &text[right..]);
                }
                next.push((start, Part::Text(text)));
            }
            parts = next;
        }
        parts.retain(|(_, part)| *part != Part::Text(b""));
        parts
    }

    proptest! {
        #[test]
        fn regions_give_what_the_definition_gives(tokens in prop::collection::btree_map("[ab \n]{1,4}", 0u8..4, 0..6), text in "[abc \n]{0,24}") {
            let strips = [Attributes::UNDEFINED, Attributes::STRIP_LEFT, Attributes::STRIP_RIGHT,
                          Attributes::union(Attributes::STRIP_LEFT, Attributes::STRIP_RIGHT)];
            let tokens: Vec<_> = tokens.iter().map(|(text, &kind)| (text.as_str(), Attributes::union(CONTROL, strips[kind as usize]))).collect();
            let partition = partition(&tokens);
            let mut fast = Vec::new();
            partition.split(text.as_bytes(), &mut |part| { fast.push(part); Ok(()) }).unwrap();
            let slow: Vec<_> = slow(&partition, &text).into_iter().map(|(_, part)| part).collect();
            prop_assert_eq!(fast, slow);
        }
    }
}
