//! Greedy pair merging, the heart of both BPE kinds: repeatedly the best pair of neighbours becomes one piece.
//!
//! Which pairs merge, and which is best, is the caller's ([`Pairs`]). Among equals the leftmost comes first. Short words
//! are scanned; long ones go through a heap over a linked list, O(n log n), so a megabyte without a space is no trap.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::Result;

use super::definition::out_of_memory;
use super::table::Merge;

/// A piece that is no token and part of no merge; also the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// Up to this many pieces a scan for the minimum beats the heap.
const SHORT: usize = 48;

/// A piece and the bytes it covers in the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    pub piece: u32,
    pub start: u32,
    pub end: u32,
}

/// What merges.
pub(super) trait Pairs {
    /// The merge of two neighbours. The rank is below [`NONE`]; smaller is better.
    fn merge(&self, left: Symbol, right: Symbol) -> Option<Merge>;
}

#[derive(Debug, Clone, Copy)]
struct Node {
    symbol: Symbol,
    /// Of the merge with the next piece; `NONE` where they don't merge.
    rank: u32,
    /// What that merge makes.
    merged: u32,
    previous: u32,
    next: u32,
}

/// Reusable memory for merging one word after another.
#[derive(Debug, Default)]
pub(super) struct Merger {
    nodes: Vec<Node>,
    /// `rank << 32 | node` of every merge that was once possible; stale ones are skipped when they come up.
    heap: BinaryHeap<Reverse<u64>>,
}

impl Merger {
    /// Begins a word of at most `symbols` pieces.
    pub fn begin(&mut self, symbols: usize) -> Result<()> {
        self.nodes.clear();
        self.nodes.try_reserve(symbols).map_err(out_of_memory)
    }

    /// Appends the next piece, `len` bytes long.
    #[inline]
    pub fn push(&mut self, piece: u32, len: usize) {
        let start = self.nodes.last().map_or(0, |node| node.symbol.end);
        let symbol = Symbol { piece, start, end: start + len as u32 };
        self.nodes.push(Node { symbol, rank: NONE, merged: NONE, previous: NONE, next: NONE });
    }

    /// Merges until nothing merges; `symbols` gives the result.
    pub fn run(&mut self, pairs: &impl Pairs) -> Result<()> {
        if self.nodes.len() <= SHORT {
            self.run_short(pairs)
        } else {
            self.run_long(pairs)?
        }
        Ok(())
    }

    /// The pieces in order.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.nodes.iter().map(|node| node.symbol).filter(|symbol| symbol.end > symbol.start)
    }

    fn run_short(&mut self, pairs: &impl Pairs) {
        let nodes = &mut self.nodes;
        for at in 0..nodes.len() {
            rate(nodes, pairs, at, at + 1);
        }
        loop {
            let Some((at, node)) = nodes.iter().enumerate().min_by_key(|(_, node)| node.rank) else { return };
            if node.rank == NONE {
                return;
            }
            nodes[at].symbol = Symbol { piece: node.merged, end: nodes[at + 1].symbol.end, ..node.symbol };
            nodes.remove(at + 1);
            rate(nodes, pairs, at, at + 1);
            if at > 0 {
                rate(nodes, pairs, at - 1, at);
            }
        }
    }

    fn run_long(&mut self, pairs: &impl Pairs) -> Result<()> {
        let Self { nodes, heap } = self;
        let mut entries = std::mem::take(heap).into_vec();
        entries.clear();
        // A merge takes away one piece and adds at most two entries.
        entries.try_reserve(nodes.len()).map_err(out_of_memory)?;
        for at in 0..nodes.len() {
            nodes[at].previous = (at as u32).wrapping_sub(1);
            nodes[at].next = if at + 1 < nodes.len() { at as u32 + 1 } else { NONE };
            rate(nodes, pairs, at, at + 1);
            if nodes[at].rank != NONE {
                entries.push(entry(nodes, at));
            }
        }
        *heap = entries.into();
        while let Some(Reverse(top)) = heap.pop() {
            let at = (top as u32) as usize;
            // A node that was merged away has rank NONE; one whose pair has changed has another rank or the same claim.
            if nodes[at].rank != (top >> 32) as u32 {
                continue;
            }
            let right = nodes[at].next as usize;
            let after = nodes[right].next;
            nodes[at].symbol.piece = nodes[at].merged;
            nodes[at].symbol.end = nodes[right].symbol.end;
            nodes[at].next = after;
            nodes[right].symbol.end = nodes[right].symbol.start;
            nodes[right].rank = NONE;
            if after != NONE {
                nodes[after as usize].previous = at as u32;
            }
            rate(nodes, pairs, at, after as usize);
            heap.try_reserve(2).map_err(out_of_memory)?;
            if nodes[at].rank != NONE {
                heap.push(entry(nodes, at));
            }
            let before = nodes[at].previous;
            if before != NONE {
                rate(nodes, pairs, before as usize, at);
                if nodes[before as usize].rank != NONE {
                    heap.push(entry(nodes, before as usize));
                }
            }
        }
        Ok(())
    }
}

fn entry(nodes: &[Node], at: usize) -> Reverse<u64> {
    Reverse(u64::from(nodes[at].rank) << 32 | at as u64)
}

/// Notes at node `left` what its merge with node `right` would be; `right` may be past the end.
#[inline]
fn rate(nodes: &mut [Node], pairs: &impl Pairs, left: usize, right: usize) {
    let merge = nodes.get(right).and_then(|next| pairs.merge(nodes[left].symbol, next.symbol));
    (nodes[left].rank, nodes[left].merged) = merge.map_or((NONE, NONE), |merge| (merge.rank, merge.piece));
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    /// Merges by a table of piece pairs, and counts how often it is asked.
    struct Table<'a>(&'a [(u32, u32, u32, u32)], Cell<usize>);

    impl Pairs for Table<'_> {
        fn merge(&self, left: Symbol, right: Symbol) -> Option<Merge> {
            self.1.set(self.1.get() + 1);
            let found = self.0.iter().find(|&&(l, r, ..)| (l, r) == (left.piece, right.piece));
            found.map(|&(_, _, rank, piece)| Merge { rank, piece })
        }
    }

    fn merged(pieces: &[u32], table: &Table, long: bool) -> Vec<u32> {
        let mut merger = Merger::default();
        merger.begin(pieces.len()).unwrap();
        pieces.iter().for_each(|&piece| merger.push(piece, 1));
        if long {
            merger.run_long(table).unwrap()
        } else {
            merger.run_short(table)
        }
        merger.symbols().map(|symbol| symbol.piece).collect()
    }

    #[test]
    fn best_rank_first_then_leftmost() {
        // 1+1 → 2 (rank 1), 2+2 → 3 (rank 0), 1+2 → 4 (rank 2)
        let table = Table(&[(1, 1, 1, 2), (2, 2, 0, 3), (1, 2, 2, 4)], Cell::new(0));
        for long in [false, true] {
            assert_eq!(merged(&[1, 1, 1, 1], &table, long), [3]);
            assert_eq!(merged(&[1, 1, 1], &table, long), [2, 1]);
            assert_eq!(merged(&[1, 1, 1, 1, 1], &table, long), [3, 1]);
            assert_eq!(merged(&[1], &table, long), [1]);
            assert_eq!(merged(&[], &table, long), [0u32; 0]);
        }
    }

    #[test]
    fn a_long_word_asks_for_few_merges() {
        let doubling: Vec<_> = (0..16).map(|i| (i, i, 15 - i, i + 1)).collect();
        let table = Table(&doubling, Cell::new(0));
        let n = 200_000;
        assert!(merged(&vec![0; n], &table, true).len() <= n / 16);
        assert!(table.1.get() <= 3 * n, "{} questions for {n} pieces", table.1.get());
    }

    proptest! {
        #[test]
        fn scan_and_heap_agree(pieces in prop::collection::vec(0u32..4, 0..80),
                               pairs in prop::collection::vec((0u32..8, 0u32..8, 0u32..4, 0u32..8), 0..20)) {
            let table = Table(&pairs, Cell::new(0));
            prop_assert_eq!(merged(&pieces, &table, false), merged(&pieces, &table, true));
        }
    }
}
