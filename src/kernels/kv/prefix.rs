//! Pages that begin conversations, kept for the next conversation that begins alike: a common system prompt is computed and stored once.
//!
//! The index is a tree of full pages: a page is found by the page before it and its own tokens, compared in full. Pages of the same tokens
//! under the same beginning have the same bits whoever computed them, so that reuse changes no result. The index holds at most a given
//! number of bytes; past that the page that was not used for longest, and that no other page of the index follows, is let go.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::memory::Trim;
use crate::base::sync::Mutex;

use super::{KvPage, KvType, PAGE};

/// A page of the index; [`PrefixId::ROOT`] stands before the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixId(u64);

impl PrefixId {
    /// The beginning of every conversation.
    pub const ROOT: Self = Self(0);
    /// The beginning of conversations whose positions are rotated for long contexts: their keys are others.
    pub const LONG_ROOT: Self = Self(u64::MAX);

    /// Whether it stands before the first page.
    fn is_root(self) -> bool {
        self == Self::ROOT || self == Self::LONG_ROOT
    }
}

/// What an index holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefixStats {
    /// Pages that the index holds.
    pub pages: u64,
    /// Bytes of those pages; sessions may share them.
    pub bytes: u64,
    /// The most bytes that it may hold.
    pub limit: u64,
    /// Positions that sessions took from it instead of computing them.
    pub reused_positions: u64,
    /// Pages that were let go for others.
    pub evicted_pages: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    before: PrefixId,
    ty: KvType,
    tokens: [u32; PAGE],
}

struct Node {
    page: KvPage,
    before: PrefixId,
    tokens: [u32; PAGE],
    ty: KvType,
    /// Pages of the index that follow this one.
    followers: usize,
    last_use: u64,
}

#[derive(Default)]
struct Tree {
    by_key: HashMap<Key, PrefixId>,
    nodes: HashMap<PrefixId, Node>,
    next: u64,
    clock: u64,
    stats: PrefixStats,
}

/// The pages that conversations with one model began with. Thread-safe.
pub struct PrefixIndex {
    limit: u64,
    tree: Mutex<Tree>,
}

impl PrefixIndex {
    /// An index of at most `limit` bytes; 0 keeps nothing.
    pub fn new(limit: u64) -> Self {
        Self { limit, tree: Mutex::new(Tree { stats: PrefixStats { limit, ..Default::default() }, ..Default::default() }) }
    }

    /// The most bytes that it may hold.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The page of `tokens` after `before`, if it is there.
    pub(crate) fn find(&self, before: PrefixId, ty: KvType, tokens: &[u32; PAGE]) -> Option<(PrefixId, KvPage)> {
        let tree = &mut *self.tree.lock();
        let id = *tree.by_key.get(&Key { before, ty, tokens: *tokens })?;
        tree.stats.reused_positions += PAGE as u64;
        Some((id, tree.touch(id)))
    }

    /// Takes in a full page, whose memory nobody writes any more. Returns its place, where the index has room for it.
    pub(crate) fn insert(&self, before: PrefixId, ty: KvType, tokens: &[u32; PAGE], page: &KvPage) -> Option<PrefixId> {
        let tree = &mut *self.tree.lock();
        if let Some(&id) = tree.by_key.get(&Key { before, ty, tokens: *tokens }) {
            tree.touch(id);
            return Some(id);
        }
        if !before.is_root() && !tree.nodes.contains_key(&before) {
            return None; // the page before it has been let go
        }
        let bytes = page.len() as u64;
        while tree.stats.bytes + bytes > tree.stats.limit {
            tree.evict(before)?;
        }
        tree.next += 1;
        tree.clock += 1;
        let id = PrefixId(tree.next);
        if let Some(node) = tree.nodes.get_mut(&before) {
            node.followers += 1;
        }
        tree.by_key.insert(Key { before, ty, tokens: *tokens }, id);
        let page = KvPage::clone(page);
        tree.nodes.insert(id, Node { page, before, tokens: *tokens, ty, followers: 0, last_use: tree.clock });
        tree.stats.bytes += bytes;
        tree.stats.pages += 1;
        Some(id)
    }

    /// Lets everything go. Sessions keep the pages that they share; returns the bytes of the others.
    pub fn clear(&self) -> u64 {
        let tree = &mut *self.tree.lock();
        tree.by_key.clear();
        let nodes = std::mem::take(&mut tree.nodes);
        (tree.stats.pages, tree.stats.bytes) = (0, 0);
        nodes.values().filter(|node| Arc::strong_count(&node.page) == 1).map(|node| node.page.len() as u64).sum()
    }

    /// Its figures.
    pub fn stats(&self) -> PrefixStats {
        self.tree.lock().stats
    }
}

impl Trim for PrefixIndex {
    fn trim(&self) -> u64 {
        self.clear()
    }
}

impl Tree {
    fn touch(&mut self, id: PrefixId) -> KvPage {
        self.clock += 1;
        let node = self.nodes.get_mut(&id).expect("by_key names pages that are there");
        node.last_use = self.clock;
        KvPage::clone(&node.page)
    }

    /// Lets go of the page that was not used for longest and has no followers, but not of `keep`. `None` where there is none.
    fn evict(&mut self, keep: PrefixId) -> Option<()> {
        let free = self.nodes.iter().filter(|(id, node)| node.followers == 0 && **id != keep);
        let id = *free.min_by_key(|(_, node)| node.last_use)?.0;
        let node = self.nodes.remove(&id)?;
        self.by_key.remove(&Key { before: node.before, ty: node.ty, tokens: node.tokens });
        if let Some(before) = self.nodes.get_mut(&node.before) {
            before.followers -= 1;
        }
        self.stats.bytes -= node.page.len() as u64;
        self.stats.pages -= 1;
        self.stats.evicted_pages += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{AlignedBuf, MemoryBudget, MemoryCategory};

    #[test]
    fn pages_are_found_by_all_that_came_before_and_the_oldest_leaf_goes_first() {
        let budget = MemoryBudget::new(u64::MAX);
        let page = || Arc::new(AlignedBuf::<u8>::zeroed(&budget, MemoryCategory::KvCache, 100).unwrap());
        let index = PrefixIndex::new(300);
        let ty = KvType::F16;
        let (a, b) = ([1; PAGE], [2; PAGE]);
        let first = index.insert(PrefixId::ROOT, ty, &a, &page()).unwrap();
        let second = index.insert(first, ty, &b, &page()).unwrap();
        assert_eq!(index.insert(first, ty, &b, &page()), Some(second), "the same page has one place");
        assert!(index.find(PrefixId::ROOT, ty, &b).is_none() && index.find(first, KvType::F32, &b).is_none());
        assert_eq!(index.find(first, ty, &b).unwrap().0, second);
        let other = index.insert(PrefixId::ROOT, ty, &b, &page()).unwrap();
        index.find(first, ty, &b).unwrap();
        // Full: `first` is the oldest but has a follower, so `other` goes.
        let third = index.insert(second, ty, &a, &page()).unwrap();
        assert!(index.find(PrefixId::ROOT, ty, &b).is_none());
        assert_eq!(index.insert(other, ty, &a, &page()), None, "what came before is gone");
        assert_eq!(index.find(second, ty, &a).unwrap().0, third);
        // A chain as long as the limit can't grow: nothing but its own end could go.
        assert_eq!(index.insert(third, ty, &a, &page()), None);
        let expected = PrefixStats { pages: 3, bytes: 300, limit: 300, reused_positions: 3 * PAGE as u64, evicted_pages: 1 };
        assert_eq!(index.stats(), expected);
        assert_eq!(budget.used(MemoryCategory::KvCache), 300);
        assert_eq!((index.clear(), index.clear()), (300, 0));
        assert_eq!((index.stats().bytes, budget.used(MemoryCategory::KvCache)), (0, 0));
        assert_eq!(PrefixIndex::new(0).insert(PrefixId::ROOT, ty, &a, &page()), None);
    }
}
