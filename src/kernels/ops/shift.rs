//! A gap in a conversation closed: keys and values behind it move forward, the keys rotated to their new positions.
//!
//! Not part of a program: a session runs it where its context is full and old tokens are to go.

use crate::base::Result;
use crate::base::pool::Sequence;
use crate::kernels::Kernels;
use crate::kernels::kv::{KEY_BLOCK, KvCache, KvShape, KvView, store};
use crate::kernels::vector::VectorOps;

use super::program::{Op, Program};
use super::rope::{RopeStyle, rotate};

/// Positions that an operation moves; one item moves those of one layer and KV head.
const POSITIONS: usize = 128;

/// Which positions go: `keep .. keep + drop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Positions at the front that stay.
    pub keep: usize,
    /// Positions behind them that go.
    pub drop: usize,
}

/// A shift over the memory of a cache. Running it to the end leaves the positions behind the gap moved forward by its length; the caller
/// then truncates the cache by as much.
pub struct ShiftExecution<'a> {
    shift: Shift,
    len: usize,
    kv: KvView,
    shape: KvShape,
    vector: &'static VectorOps,
    /// Of each layer: the rotation by as many positions as are dropped, backwards.
    turns: Vec<Option<(RopeStyle, Vec<f32>)>>,
    _cache: std::marker::PhantomData<&'a mut KvCache>,
}

// SAFETY: the addresses are those of the cache, which is borrowed mutably for 'a; items of one operation touch different heads, and
// operations are ordered by the pool.
unsafe impl Sync for ShiftExecution<'_> {}
// SAFETY: as above.
unsafe impl Send for ShiftExecution<'_> {}

impl Shift {
    /// Binds the shift to `cache`, one of `program`'s.
    ///
    /// # Errors
    /// `OutOfMemory` where pages that others share can't be copied; nothing has changed then.
    pub fn bind<'a>(self, program: &Program, kernels: Kernels, cache: &'a mut KvCache) -> Result<ShiftExecution<'a>> {
        let (len, shape) = (cache.len(), cache.shape());
        cache.make_writable(self.keep, len)?;
        let mut turns = vec![None; shape.layers];
        for op in &program.ops {
            if let Op::RotateStore(op) = op
                && let Some(rope) = &op.rope
            {
                let angles = rope.frequencies.iter().flat_map(|frequency| {
                    let (sin, cos) = (-(self.drop as f64) * frequency).sin_cos();
                    [cos as f32, sin as f32]
                });
                turns[op.layer] = Some((rope.style, angles.collect()));
            }
        }
        let vector = VectorOps::for_isa(kernels.isa());
        Ok(ShiftExecution { shift: self, len, kv: cache.view(), shape, vector, turns, _cache: std::marker::PhantomData })
    }
}

impl Sequence for ShiftExecution<'_> {
    fn len(&self) -> usize {
        (self.len - self.shift.keep - self.shift.drop).div_ceil(POSITIONS)
    }

    fn items(&self, _op: usize) -> u32 {
        (self.shape.layers * self.shape.heads) as u32
    }

    unsafe fn run(&self, op: usize, item: u32, _next: Option<u32>, _worker: usize) {
        let (layer, head) = (item as usize / self.shape.heads, item as usize % self.shape.heads);
        let layout = self.kv.layout;
        let start = self.shift.keep + op * POSITIONS;
        let mut key = vec![0.0f32; self.shape.key_dim];
        for to in start..(start + POSITIONS).min(self.len - self.shift.drop) {
            let from = to + self.shift.drop;
            // SAFETY: bind() made the pages of all these positions this cache's own. The item's head is touched by no other item, and what
            // an earlier operation still had to read lies before `to`.
            unsafe {
                let (source, target) = (self.kv.page(from), self.kv.page(to));
                store::read_key(layout.ty, source.add(layout.key_block(layer, head, from)), from % KEY_BLOCK, &mut key);
                if let Some((style, angles)) = &self.turns[layer] {
                    rotate(*style, &mut key, angles);
                }
                store::key(self.vector, layout.ty, &key, target.add(layout.key_block(layer, head, to)), to % KEY_BLOCK);
                let value = target.add(layout.value(layer, head, to));
                std::ptr::copy(source.add(layout.value(layer, head, from)), value, layout.value_bytes);
            }
        }
    }
}
