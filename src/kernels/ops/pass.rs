//! What one pass over the weights computes: a run of tokens for each of one or more caches.

use std::ops::Range;

use crate::base::{Error, Result};
use crate::kernels::kv::{KvCache, KvView};

/// The tokens of a pass, as columns: those of the first cache, then those of the second, and so on. Made once and filled anew for each
/// pass; within its capacity it allocates nothing.
#[derive(Debug)]
pub struct Pass {
    tokens: Vec<u32>,
    /// Of each column, in its own conversation.
    positions: Vec<u32>,
    /// The columns whose logits are wanted, ascending.
    outputs: Vec<u32>,
    segments: Vec<Segment>,
}

/// The columns of one cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// First column.
    pub column: usize,
    /// Columns.
    pub count: usize,
    /// Position of the first column in the cache.
    pub first: usize,
    /// Positions that the cache holds, where it is bound.
    pub capacity: usize,
    /// The memory that it was last bound to.
    pub kv: Option<KvView>,
}

impl Segment {
    pub fn kv(&self) -> &KvView {
        self.kv.as_ref().expect("an execution has bound it")
    }
}

// SAFETY: the addresses in `segments` are followed only by an Execution, which has just written them and borrows the caches.
unsafe impl Send for Pass {}
// SAFETY: as above.
unsafe impl Sync for Pass {}

impl Pass {
    /// A pass with room for `columns` tokens of up to `caches` caches, `outputs` of them with logits.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn with_capacity(columns: usize, outputs: usize, caches: usize) -> Result<Self> {
        let mut pass = Self { tokens: vec![], positions: vec![], outputs: vec![], segments: vec![] };
        let room = pass.tokens.try_reserve_exact(columns).and_then(|()| pass.positions.try_reserve_exact(columns));
        let room = room.and_then(|()| pass.outputs.try_reserve_exact(outputs)).and_then(|()| pass.segments.try_reserve_exact(caches));
        room.map_err(|_| Error::out_of_memory(format!("lists for a pass of {columns} columns")))?;
        Ok(pass)
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.outputs.clear();
        self.segments.clear();
    }

    /// Adds the tokens of another cache: `tokens[i]` stands at position `first + i` of what is cached, behind `before` that are no longer, and the
    /// logits of those in `outputs` are wanted. All are below the vocabulary size of the model, and positions below 2³².
    pub fn push(&mut self, tokens: &[u32], before: usize, first: usize, outputs: Range<usize>) {
        let column = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((first..first + tokens.len()).map(|position| (before + position) as u32));
        self.outputs.extend(outputs.map(|output| (column + output) as u32));
        self.segments.push(Segment { column, count: tokens.len(), first, capacity: 0, kv: None });
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.tokens.len()
    }

    /// Columns whose logits are wanted.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Prepares caches for what the pass writes: for each [`push`](Self::push), counted from 0, its own cache.
    ///
    /// # Errors
    /// `ContextFull` and `OutOfMemory` as [`KvCache::prepare`]; `Internal` where these are not the caches that the pass was filled for.
    pub(super) fn bind<'c>(&mut self, caches: impl Iterator<Item = (usize, &'c mut KvCache)>) -> Result<()> {
        self.segments.iter_mut().for_each(|segment| segment.kv = None);
        for (number, cache) in caches {
            let segment = self.segments.get_mut(number).filter(|segment| segment.first == cache.len());
            let segment = segment.ok_or_else(|| Error::internal("a pass over caches that it was not made for"))?;
            cache.prepare(segment.count)?;
            segment.capacity = cache.capacity();
            segment.kv = Some(cache.view());
        }
        if self.segments.iter().any(|segment| segment.kv.is_none()) {
            return Err(Error::internal("a pass over fewer caches than it was made for"));
        }
        Ok(())
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(super) fn positions(&self) -> &[u32] {
        &self.positions
    }

    pub(super) fn output_columns(&self) -> &[u32] {
        &self.outputs
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}
