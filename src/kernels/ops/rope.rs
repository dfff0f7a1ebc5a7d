//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864) with what stands around it: head norms before, the cache after.

use std::sync::Arc;

use crate::kernels::kv::{KEY_BLOCK, KvView, store};

use super::execution::Bound;
use super::norm::NormWeights;
use super::pass::Segment;
use super::program::FloatView;

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// (2i, 2i+1): GGUF files of the llama architecture.
    Interleaved,
    /// (i, i + pairs): GPT-NeoX, Qwen, Phi.
    Halves,
}

/// The rotary embedding of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Radians per position of each pair; scaling is already in.
    pub frequencies: Vec<f64>,
    /// Factor on cosine and sine.
    pub magnitude: f32,
    /// Other frequencies for conversations whose context holds more positions than the model was first trained with (LongRoPE).
    pub long: Option<LongRope>,
}

/// The frequencies of a long context.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// They are for contexts of more positions than this.
    pub beyond: usize,
    /// Radians per position of each pair.
    pub frequencies: Vec<f64>,
}

impl Rope {
    /// The frequencies for a conversation whose context holds `capacity` positions.
    pub fn frequencies_for(&self, capacity: usize) -> &[f64] {
        match &self.long {
            Some(long) if capacity > long.beyond => &long.frequencies,
            _ => &self.frequencies,
        }
    }

    /// Rotated pairs of a head.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }
}

/// Columns per work item of the table.
const COLUMNS: usize = 16;

/// `out = [cos, sin]` for each pair and column.
pub(in crate::kernels) struct RopeTable {
    pub rope: Arc<Rope>,
    pub out: FloatView,
}

impl RopeTable {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.columns().div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        for column in item * COLUMNS..bound.columns().min((item + 1) * COLUMNS) {
            // SAFETY: the column belongs to this item alone.
            let out = unsafe { std::slice::from_raw_parts_mut(bound.arena.floats(self.out, column), self.out.len) };
            let position = f64::from(bound.positions[column]);
            let frequencies = self.rope.frequencies_for(bound.capacity_of(column));
            for (pair, frequency) in out.chunks_exact_mut(2).zip(frequencies) {
                let (sin, cos) = (position * frequency).sin_cos();
                pair[0] = cos as f32 * self.rope.magnitude;
                pair[1] = sin as f32 * self.rope.magnitude;
            }
        }
    }
}

/// A norm of queries or keys before they are rotated (QK-norm: Henry et al. 2020, arXiv 2010.04245).
#[derive(Clone)]
pub struct HeadNorm {
    /// As many factors as a head has elements, for all heads alike, or as all heads together have.
    pub norm: NormWeights,
    /// The mean is over all heads, not over each.
    pub whole: bool,
}

/// Head norms, rotation of queries and keys in place, keys and values into the cache.
pub struct RotateStore {
    /// Layer of the cache.
    pub layer: usize,
    /// `[head][key_dim]`
    pub q: FloatView,
    /// `[kv head][key_dim]`
    pub k: FloatView,
    /// `[kv head][value_dim]`
    pub v: FloatView,
    /// Norm of the query heads.
    pub q_norm: Option<HeadNorm>,
    /// Norm of the key heads.
    pub k_norm: Option<HeadNorm>,
    /// The rotation and its table; none for models without rotary embedding.
    pub rope: Option<Arc<Rope>>,
    /// The view made by [`ProgramBuilder::rope_table`](super::ProgramBuilder::rope_table).
    pub table: Option<FloatView>,
}

/// Blocks of keys that a segment writes into.
fn blocks(segment: &Segment) -> usize {
    (segment.first + segment.count).div_ceil(KEY_BLOCK) - segment.first / KEY_BLOCK
}

impl RotateStore {
    /// One item per segment and block of 16 positions, so that no two threads write into one cache line of keys.
    pub(super) fn items(&self, bound: &Bound<'_>) -> usize {
        bound.segments.iter().map(blocks).sum()
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub(super) unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        let (segment, item) = bound.segment_of(item, blocks);
        let block = (segment.first / KEY_BLOCK + item) * KEY_BLOCK;
        let from = block.max(segment.first);
        let to = (block + KEY_BLOCK).min(segment.first + segment.count);
        for position in from..to {
            let column = segment.column + position - segment.first;
            // SAFETY: the column's heads and the position's cache entries belong to this item alone.
            unsafe {
                let table = self.table.map(|t| std::slice::from_raw_parts(bound.arena.floats(t, column).cast_const(), t.len));
                self.heads(bound, bound.arena.floats(self.q, column), self.q.len, self.q_norm.as_ref(), table);
                let k = bound.arena.floats(self.k, column);
                self.heads(bound, k, self.k.len, self.k_norm.as_ref(), table);
                self.store(bound, segment.kv(), k, bound.arena.floats(self.v, column), position);
            }
        }
    }

    /// # Safety
    /// `heads` has `len` floats that no other thread touches.
    unsafe fn heads(&self, bound: &Bound<'_>, heads: *mut f32, len: usize, norm: Option<&HeadNorm>, table: Option<&[f32]>) {
        // SAFETY: the caller's promise.
        let heads = unsafe { std::slice::from_raw_parts_mut(heads, len) };
        let dim = bound.kv_shape.key_dim;
        if let Some(HeadNorm { norm, whole }) = norm {
            let (n, step) = if *whole { (len, 0) } else { (dim, if norm.weight.len() == dim { 0 } else { dim }) };
            for (index, row) in heads.chunks_exact_mut(n).enumerate() {
                // SAFETY: the weights have n elements, or n for each head (checked by the builder).
                unsafe { norm.row(bound.vector, index * step, row.as_ptr(), row.as_mut_ptr(), n) };
            }
        }
        for head in heads.chunks_exact_mut(dim) {
            if let (Some(rope), Some(table)) = (&self.rope, table) {
                rotate(rope.style, head, table);
            }
        }
    }

    /// # Safety
    /// The cache entries of `position` are touched by no other thread; `k` and `v` have the widths of the cache.
    unsafe fn store(&self, bound: &Bound<'_>, kv: &KvView, k: *const f32, v: *const f32, position: usize) {
        let (shape, layout) = (bound.kv_shape, kv.layout);
        for head in 0..shape.heads {
            // SAFETY: bind() has made the cache's page of the position writable.
            unsafe {
                let page = kv.page(position);
                let block = page.add(layout.key_block(self.layer, head, position));
                let value = page.add(layout.value(self.layer, head, position));
                let k = std::slice::from_raw_parts(k.add(head * shape.key_dim), shape.key_dim);
                let v = std::slice::from_raw_parts(v.add(head * shape.value_dim), shape.value_dim);
                store::key(bound.vector, layout.ty, k, block, position % KEY_BLOCK);
                store::value(bound.vector, layout.ty, v, value);
            }
        }
    }
}

/// Rotates the pairs of `head` by the angles of `table` (cosine, sine per pair).
pub(super) fn rotate(style: RopeStyle, head: &mut [f32], table: &[f32]) {
    let turn = |a: f32, b: f32, cos: f32, sin: f32| (a * cos - b * sin, a * sin + b * cos);
    match style {
        RopeStyle::Interleaved => {
            for (pair, angle) in head.chunks_exact_mut(2).zip(table.chunks_exact(2)) {
                (pair[0], pair[1]) = turn(pair[0], pair[1], angle[0], angle[1]);
            }
        }
        RopeStyle::Halves => {
            let pairs = table.len() / 2;
            let (low, high) = head.split_at_mut(pairs);
            for ((a, b), angle) in low.iter_mut().zip(high).zip(table.chunks_exact(2)) {
                (*a, *b) = turn(*a, *b, angle[0], angle[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_turn_pairs_and_leave_the_rest() {
        let table = [0.0, 1.0, 1.0, 0.0]; // a quarter turn, no turn
        let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate(RopeStyle::Interleaved, &mut head, &table);
        assert_eq!(head, [-2.0, 1.0, 3.0, 4.0, 5.0]);
        let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate(RopeStyle::Halves, &mut head, &table);
        assert_eq!(head, [-3.0, 2.0, 1.0, 4.0, 5.0]);
    }
}
