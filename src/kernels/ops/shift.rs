//! A gap in a conversation closed: keys and values behind it move forward, the keys rotated to their new positions.
//!
//! Not part of a program: a session runs it where its context is full and old tokens are to go.

use crate::base::Result;
use crate::base::pool::Sequence;
use crate::kernels::Kernels;
use crate::kernels::kv::{KEY_BLOCK, KvCache, KvShape, KvView, store};
use crate::kernels::vector::VectorOps;

use super::arena::{Arena, RawArena};
use super::program::{Op, Program};
use super::rope::{RopeStyle, rotate};

/// Positions that an operation moves; one item moves those of one layer and KV head.
const POSITIONS: usize = 128;

/// Which positions go, and how the others are rotated. Made once; running it allocates nothing.
pub struct Shift {
    keep: usize,
    drop: usize,
    /// Of each layer: the rotation by as many positions as are dropped, backwards.
    turns: Vec<Option<(RopeStyle, Vec<f32>)>>,
}

/// A shift over the memory of a cache. Running it to the end leaves the positions behind the gap moved forward by its length; the caller
/// then truncates the cache by as much.
pub struct ShiftExecution<'a> {
    shift: &'a Shift,
    len: usize,
    kv: KvView,
    shape: KvShape,
    vector: &'static VectorOps,
    arena: RawArena<'a>,
    _cache: std::marker::PhantomData<&'a mut KvCache>,
}

// SAFETY: the addresses are those of the cache and the arena, which are borrowed mutably for 'a; items of one operation touch different
// heads and the scratch of their workers, and operations are ordered by the pool.
unsafe impl Sync for ShiftExecution<'_> {}
// SAFETY: as above.
unsafe impl Send for ShiftExecution<'_> {}

impl Shift {
    /// The shift that drops `drop` positions behind the first `keep`, for caches of `program`'s that hold `capacity`.
    pub fn new(program: &Program, keep: usize, drop: usize, capacity: usize) -> Self {
        let mut turns = vec![None; program.kv.layers];
        for op in &program.ops {
            if let Op::RotateStore(op) = op
                && let Some(rope) = &op.rope
            {
                let angles = rope.frequencies_for(capacity).iter().flat_map(|frequency| {
                    let (sin, cos) = (-(drop as f64) * frequency).sin_cos();
                    [cos as f32, sin as f32]
                });
                turns[op.layer] = Some((rope.style, angles.collect()));
            }
        }
        Self { keep, drop, turns }
    }

    /// Positions at the front that stay.
    pub fn keep(&self) -> usize {
        self.keep
    }

    /// Positions behind them that go.
    pub fn dropped(&self) -> usize {
        self.drop
    }

    /// Binds the shift to `cache`, which holds at least the positions that go, and the scratch of `arena`, both of the program that the
    /// shift was made for.
    ///
    /// # Errors
    /// `OutOfMemory` where pages that others share can't be copied; nothing has changed then.
    pub fn bind<'a>(&'a self, kernels: Kernels, arena: &'a mut Arena, cache: &'a mut KvCache) -> Result<ShiftExecution<'a>> {
        let (len, shape) = (cache.len(), cache.shape());
        cache.make_writable(self.keep, len)?;
        let vector = VectorOps::for_isa(kernels.isa());
        Ok(ShiftExecution { shift: self, len, kv: cache.view(), shape, vector, arena: arena.raw(), _cache: std::marker::PhantomData })
    }
}

impl Sequence for ShiftExecution<'_> {
    fn len(&self) -> usize {
        (self.len - self.shift.keep - self.shift.drop).div_ceil(POSITIONS)
    }

    fn items(&self, _op: usize) -> u32 {
        (self.shape.layers * self.shape.heads) as u32
    }

    unsafe fn run(&self, op: usize, item: u32, _next: Option<u32>, worker: usize) {
        let (layer, head) = (item as usize / self.shape.heads, item as usize % self.shape.heads);
        let layout = self.kv.layout;
        let start = self.shift.keep + op * POSITIONS;
        // SAFETY: the slot is this worker's alone, and worker_bytes() has made it large enough for a key; all bit patterns are floats.
        let key = unsafe { std::slice::from_raw_parts_mut(self.arena.worker(worker).0.cast::<f32>(), self.shape.key_dim) };
        for to in start..(start + POSITIONS).min(self.len - self.shift.drop) {
            let from = to + self.shift.drop;
            // SAFETY: bind() made the pages of all these positions this cache's own. The item's head is touched by no other item, and what
            // an earlier operation still had to read lies before `to`.
            unsafe {
                let (source, target) = (self.kv.page(from), self.kv.page(to));
                store::read_key(layout.ty, source.add(layout.key_block(layer, head, from)), from % KEY_BLOCK, key);
                if let Some((style, angles)) = &self.shift.turns[layer] {
                    rotate(*style, key, angles);
                }
                store::key(self.vector, layout.ty, key, target.add(layout.key_block(layer, head, to)), to % KEY_BLOCK);
                let value = target.add(layout.value(layer, head, to));
                std::ptr::copy(source.add(layout.value(layer, head, from)), value, layout.value_bytes);
            }
        }
    }
}
