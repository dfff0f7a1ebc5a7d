//! A set of byte strings as a tree of bytes, to walk along a text. Built once, then only read.

#![forbid(unsafe_code)]

use crate::base::sort::sort;
use crate::base::{Error, Pace, Result};

use super::TOKEN_COST;
use super::definition::out_of_memory;

const NO_VALUE: u32 = u32::MAX;

/// A position in a [`Trie`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Its children lie at `first_child..first_child + children`, ascending by label.
    first_child: u32,
    children: u16,
    /// The byte that leads here.
    label: u8,
    value: u32,
}

/// Byte strings, each with a number below `u32::MAX`.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    roots: [u32; 256],
}

impl Trie {
    /// A tree of `entries`. Empty strings are left out; of equal ones the last counts.
    pub async fn new(pace: &Pace, mut entries: Vec<(&[u8], u32)>) -> Result<Self> {
        sort(pace, &mut entries, TOKEN_COST, |a, b| a.0.cmp(b.0)).await?;
        let sorted = &entries[entries.partition_point(|(string, _)| string.is_empty())..];
        let mut nodes = vec![Node { first_child: 0, children: 0, label: 0, value: NO_VALUE }];
        // Nodes in breadth-first order, each with its range of entries and its depth.
        let mut ranges = vec![(0, sorted.len(), 0)];
        let mut at = 0;
        while at < nodes.len() {
            let (mut start, end, depth) = ranges[at];
            while start < end && sorted[start].0.len() == depth {
                nodes[at].value = sorted[start].1;
                start += 1;
            }
            nodes[at].first_child = u32::try_from(nodes.len()).map_err(|_| Error::unsupported("a vocabulary passes 4 Gi nodes"))?;
            while start < end {
                let label = sorted[start].0[depth];
                let next = start + sorted[start..end].partition_point(|(string, _)| string[depth] == label);
                nodes.try_reserve(1).map_err(out_of_memory)?;
                ranges.try_reserve(1).map_err(out_of_memory)?;
                nodes.push(Node { first_child: 0, children: 0, label, value: NO_VALUE });
                ranges.push((start, next, depth + 1));
                nodes[at].children += 1;
                start = next;
                pace.spend(TOKEN_COST).await;
            }
            at += 1;
            pace.spend(TOKEN_COST).await;
        }
        let mut roots = [0; 256];
        for child in 1..=usize::from(nodes[0].children) {
            roots[nodes[child].label as usize] = child as u32;
        }
        Ok(Self { nodes, roots })
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    /// Whether some string begins with `byte`.
    #[inline]
    pub fn starts_with(&self, byte: u8) -> bool {
        self.roots[byte as usize] != 0
    }

    /// From the root by `byte`.
    #[inline]
    pub fn enter(&self, byte: u8) -> Option<Place> {
        let root = self.roots[byte as usize];
        (root != 0).then_some(Place(root))
    }

    /// From `place` by `byte`.
    #[inline]
    pub fn step(&self, place: Place, byte: u8) -> Option<Place> {
        let node = self.nodes[place.0 as usize];
        let first = node.first_child as usize;
        let children = &self.nodes[first..first + usize::from(node.children)];
        let at = if children.len() <= 8 {
            children.iter().position(|child| child.label == byte)?
        } else {
            children.binary_search_by_key(&byte, |child| child.label).ok()?
        };
        Some(Place((first + at) as u32))
    }

    /// The number of the string that ends at `place`.
    #[inline]
    pub fn value(&self, place: Place) -> Option<u32> {
        let value = self.nodes[place.0 as usize].value;
        (value != NO_VALUE).then_some(value)
    }

    /// The longest string that `text` begins with: its number and length.
    pub fn longest_prefix(&self, text: &[u8]) -> Option<(u32, usize)> {
        let mut place = self.enter(*text.first()?)?;
        let mut found = self.value(place).map(|value| (value, 1));
        for (at, &byte) in text.iter().enumerate().skip(1) {
            match self.step(place, byte) {
                None => break,
                Some(next) => place = next,
            }
            found = self.value(place).map(|value| (value, at + 1)).or(found);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::at_once;

    fn trie<'a>(entries: impl IntoIterator<Item = (&'a [u8], u32)>) -> Trie {
        at_once(Trie::new(&Pace::unhurried(), entries.into_iter().collect())).unwrap()
    }

    #[test]
    fn walks_and_finds_the_longest() {
        let words = ["a", "abc", "abd", "b", "", "xyz"];
        let trie = trie(words.iter().enumerate().map(|(i, w)| (w.as_bytes(), i as u32)));
        assert_eq!(trie.longest_prefix(b"abcd"), Some((1, 3)));
        assert_eq!(trie.longest_prefix(b"abx"), Some((0, 1)));
        assert_eq!(trie.longest_prefix(b"xy"), None);
        assert_eq!(trie.longest_prefix(b""), None);
        assert!(trie.starts_with(b'x') && !trie.starts_with(b'c'));
    }

    #[test]
    fn wide_nodes_and_the_empty_tree() {
        let words: Vec<[u8; 2]> = (0..=255).map(|b| [7, b]).collect();
        let wide = trie(words.iter().enumerate().map(|(i, w)| (w.as_slice(), i as u32)));
        for (i, word) in words.iter().enumerate() {
            assert_eq!(wide.longest_prefix(word), Some((i as u32, 2)));
        }
        assert_eq!(trie([]).longest_prefix(b"a"), None);
    }
}
