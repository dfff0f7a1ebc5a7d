//! Attention over the caches, one item per segment, KV head and tile of columns.

use std::sync::Arc;

use crate::kernels::kv::Q8_LEN;
use crate::kernels::vector::attention::{AttentionTile, scratch_floats};

use super::execution::Bound;
use super::pass::Segment;
use super::program::FloatView;

/// Attention of one layer.
pub struct Attention {
    /// Layer of the cache.
    pub layer: usize,
    /// `[head][key_dim]`, rotated.
    pub q: FloatView,
    /// `[head][value_dim]`
    pub out: FloatView,
    /// Factor on the scores.
    pub scale: f32,
    /// What else there is about the scores.
    pub rules: AttentionRules,
}

/// What a family does with scores besides scaling them; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct AttentionRules {
    /// Positions that a query sees: its own and those right before it; none for all.
    pub window: Option<usize>,
    /// Bound of the scores: `cap · tanh(s / cap)`.
    pub soft_cap: Option<f32>,
    /// What a score loses per position of distance (ALiBi), for each query head.
    pub slopes: Option<Arc<[f32]>>,
    /// One more score in the softmax, without a value, for each query head.
    pub sinks: Option<Arc<[f32]>>,
    /// Queries see what comes after them too, as far as it is in the same pass (encoders).
    pub both_ways: bool,
}

/// Positions whose scores are reduced together, counted from the cache's first: whole pages. Caches whose beginnings differ by a multiple of it
/// give the same bits.
pub const CHUNK: usize = crate::kernels::vector::attention::CHUNK;

/// Query rows (columns × heads of a group) per item: keys and values of a chunk are read once for all of them.
const ROWS: usize = 32;

/// Positions up to which an item has all [`ROWS`]; beyond it has fewer, so that a step with a budget never waits long for one.
const DEEP: usize = 4096;
/// The fewest rows: what the kernel computes at once.
const LEAST_ROWS: usize = 8;

/// Columns per item for groups of `group` heads that look at up to `positions` positions.
fn tile_columns(group: usize, positions: usize) -> usize {
    let rows = (ROWS * DEEP / positions.max(DEEP)).max(LEAST_ROWS);
    (rows / group).max(1)
}

/// Items of a segment.
fn tiles(bound: &Bound<'_>, group: usize, segment: &Segment) -> usize {
    bound.kv_shape.heads * segment.count.div_ceil(tile_columns(group, segment.first + segment.count))
}

impl Attention {
    fn group(&self, bound: &Bound<'_>) -> usize {
        self.q.len / (bound.kv_shape.key_dim * bound.kv_shape.heads)
    }

    pub(super) fn items(&self, bound: &Bound<'_>) -> usize {
        let group = self.group(bound);
        bound.segments.iter().map(|segment| tiles(bound, group, segment)).sum()
    }

    /// Floats of scratch for `group` query heads per KV head.
    pub(super) fn scratch_floats(group: usize, key_dim: usize, value_dim: usize) -> usize {
        scratch_floats(tile_columns(group, 0) * group, key_dim, value_dim.next_multiple_of(Q8_LEN))
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub(super) unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        let (shape, group) = (bound.kv_shape, self.group(bound));
        let (segment, item) = bound.segment_of(item, |segment| tiles(bound, group, segment));
        let (kv, segment) = (segment.kv(), *segment);
        let layout = kv.layout;
        let (head, tile) = (item % shape.heads, item / shape.heads);
        let most = tile_columns(group, segment.first + segment.count);
        let start = tile * most;
        let columns = most.min(segment.count - start);
        let column = segment.column + start;
        let of_heads = |values: &Option<Arc<[f32]>>| values.as_ref().map_or(std::ptr::null(), |v| v[head * group..].as_ptr());
        // SAFETY: the item's heads and columns of `out` belong to it alone; the worker's slot has room; the segment's cache holds all
        // positions up to the last column, and this operation comes after the one that stored them.
        unsafe {
            let q = self.q.part(head * group * shape.key_dim, group * shape.key_dim);
            let out = self.out.part(head * group * shape.value_dim, group * shape.value_dim);
            let args = AttentionTile {
                q: bound.arena.floats(q, column),
                q_stride: bound.arena.stride(q),
                out: bound.arena.floats(out, column),
                out_stride: bound.arena.stride(out),
                group,
                key_dim: shape.key_dim,
                value_dim: shape.value_dim,
                columns,
                first: segment.first + start,
                pages: kv.pages(),
                keys: layout.keys(self.layer, head),
                key_block_bytes: layout.key_block_bytes,
                values: layout.values(self.layer, head),
                value_bytes: layout.value_bytes,
                value_stride: layout.value_stride,
                scale: self.scale,
                window: self.rules.window.unwrap_or(usize::MAX),
                soft_cap: self.rules.soft_cap.unwrap_or(0.0),
                slopes: of_heads(&self.rules.slopes),
                sinks: of_heads(&self.rules.sinks),
                seen: if self.rules.both_ways { segment.first + segment.count } else { 0 },
            };
            bound.vector.attend(layout.ty)(&args, bound.arena.worker(worker).0.cast());
        }
    }
}
