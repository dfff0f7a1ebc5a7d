//! A program bound to a pass and its memory: what the worker pool runs.

use std::marker::PhantomData;

use crate::base::pool::Sequence;
use crate::base::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::kv::{KvCache, KvShape};
use crate::kernels::vector::VectorOps;

use super::arena::{Arena, RawArena};
use super::attention::Attention;
use super::matmul::{Cut, MAX_COLUMNS};
use super::pass::{Pass, Segment};
use super::program::{Columns, Op, Program};

/// What every operation sees.
pub(super) struct Bound<'a> {
    /// Of each column.
    pub tokens: &'a [u32],
    /// Of each column.
    pub positions: &'a [u32],
    /// The columns whose logits are wanted.
    pub outputs: &'a [u32],
    pub segments: &'a [Segment],
    pub arena: RawArena<'a>,
    /// Threads that may work on it.
    pub workers: usize,
    pub kv_shape: KvShape,
    pub kernels: Kernels,
    pub vector: &'static VectorOps,
}

impl Bound<'_> {
    pub fn columns(&self) -> usize {
        self.tokens.len()
    }

    pub fn count(&self, columns: Columns) -> usize {
        match columns {
            Columns::All => self.tokens.len(),
            Columns::Outputs => self.outputs.len(),
        }
    }

    /// Positions that the cache of column `column` holds.
    pub fn capacity_of(&self, column: usize) -> usize {
        let index = self.segments.partition_point(|segment| segment.column <= column);
        self.segments[index - 1].capacity
    }

    /// The segment that item `item` belongs to, where each has so many `items`, and the item's number in it.
    pub fn segment_of(&self, mut item: usize, items: impl Fn(&Segment) -> usize) -> (&Segment, usize) {
        for segment in self.segments {
            let count = items(segment);
            if item < count {
                return (segment, item);
            }
            item -= count;
        }
        unreachable!("an item beyond the last")
    }

    /// The worker's scratch, cut into a tile of `floats` floats and the rest for the kernel.
    ///
    /// # Safety
    /// Called by that worker alone; earlier results of it are dead.
    #[expect(clippy::mut_from_ref, reason = "the memory belongs to the worker, not to self")]
    pub unsafe fn tile_and_scratch(&self, worker: usize, floats: usize) -> (*mut f32, &mut [u8]) {
        let tile_bytes = (floats * size_of::<f32>()).next_multiple_of(64);
        // SAFETY: worker_bytes() made the slot large enough for the largest tile and kernel scratch together.
        unsafe {
            let (start, bytes) = self.arena.worker(worker);
            (start.cast(), std::slice::from_raw_parts_mut(start.add(tile_bytes), bytes - tile_bytes))
        }
    }
}

/// Bytes of scratch that each of `workers` threads needs for any operation of `program` with up to `columns` columns.
pub(super) fn worker_bytes(program: &Program, kernels: Kernels, columns: usize, workers: usize) -> usize {
    let mut expert_bytes = 0;
    // A shift of the cache holds a key at a time.
    let mut most = program.widest.max(program.kv.key_dim) * size_of::<f32>();
    let mut product = |weight: &crate::kernels::Matrix, tile_floats: usize| {
        let tile = (tile_floats * size_of::<f32>()).next_multiple_of(64);
        let scratch = (1..=columns.min(MAX_COLUMNS)).map(|n| kernels.scratch_bytes(weight.ty(), weight.cols(), n)).max();
        most = most.max(tile + scratch.unwrap_or(0));
    };
    // The cut depends on the number of columns and its tile is not monotonic in it, so each count that can occur is asked for.
    for op in &program.ops {
        match op {
            Op::Matmul(op) => {
                for part in &op.products {
                    let tile = (1..=columns).map(|n| Cut::new(&part.weight, n, workers).tile_floats()).max();
                    product(&part.weight, tile.unwrap_or(0));
                }
            }
            Op::Gated(op) => {
                let tile = (1..=columns).map(|n| op.tile_floats(n, workers)).max().unwrap_or(0);
                product(&op.gate, tile);
                product(&op.up, tile);
            }
            Op::ExpertsGated(op) => expert_bytes = expert_bytes.max(op.scratch_bytes(kernels, columns)),
            Op::ExpertsDown(op) => expert_bytes = expert_bytes.max(op.scratch_bytes(kernels, columns)),
            _ => {}
        }
    }
    for op in &program.ops {
        if let Op::Attention(op) = op {
            let group = op.q.len / (program.kv.key_dim * program.kv.heads);
            most = most.max(Attention::scratch_floats(group, program.kv.key_dim, program.kv.value_dim) * size_of::<f32>());
        }
    }
    most.max(expert_bytes)
}

/// Up to how many columns a thread claims its next item ahead.
const FEW_COLUMNS: usize = 32;

/// A pass in progress over its memory. Running it to the end leaves the logits in the arena, one column for each output in order, and
/// the keys and values in the caches; the caller then advances those.
pub struct Execution<'a> {
    pub(super) program: &'a Program,
    pub(super) bound: Bound<'a>,
    _memory: PhantomData<&'a mut KvCache>,
}

// SAFETY: the raw pointers are to the arena and the caches, all borrowed mutably for 'a; items of one operation touch disjoint
// parts of them (each operation's `run` says which), and operations are ordered by the pool.
unsafe impl Sync for Execution<'_> {}
// SAFETY: as above.
unsafe impl Send for Execution<'_> {}

impl<'a> Execution<'a> {
    /// Binds `program` to its memory: `caches` are those that the pass was filled for, with their numbers in the order of the filling.
    ///
    /// # Errors
    /// `ContextFull` where the tokens do not fit in a cache, `OutOfMemory` where a cache can't grow, `Internal` where the pass does not fit
    /// the arena or a cache is not the one that the pass was filled for.
    pub fn bind(
        program: &'a Program,
        kernels: Kernels,
        arena: &'a mut Arena,
        pass: &'a mut Pass,
        caches: impl Iterator<Item = (usize, &'a mut KvCache)>,
    ) -> Result<Self> {
        if pass.columns() > arena.columns() || pass.outputs() > arena.outputs() {
            return Err(Error::internal("a pass larger than its arena"));
        }
        let mut shapes_fit = true;
        pass.bind(caches.inspect(|(_, cache)| shapes_fit &= cache.shape() == program.kv))?;
        if !shapes_fit {
            return Err(Error::internal("the cache of another model"));
        }
        let workers = arena.workers();
        let bound = Bound {
            tokens: pass.tokens(),
            positions: pass.positions(),
            outputs: pass.output_columns(),
            segments: pass.segments(),
            arena: arena.raw(),
            workers,
            kv_shape: program.kv,
            kernels,
            vector: VectorOps::for_isa(kernels.isa()),
        };
        Ok(Self { program, bound, _memory: PhantomData })
    }

    /// The weights that the worker of an item will read after it: those of `next`, or probably those of the item that comes when each
    /// other worker has taken one, in this operation or the next that has weights.
    fn next_weights(&self, op: usize, item: usize, next: Option<u32>) -> &[u8] {
        let mut item = next.map_or(item + self.bound.workers, |next| next as usize);
        for op in op..self.program.ops.len() {
            let weights = match &self.program.ops[op] {
                Op::Matmul(matmul) => matmul.weights(&self.bound, item),
                Op::Gated(gated) if item < gated.items(&self.bound) => gated.weights(&self.bound, item),
                Op::Gated(_) => &[],
                _ => continue,
            };
            if !weights.is_empty() {
                return weights;
            }
            item -= self.items(op) as usize;
        }
        &[]
    }

    /// Items of the whole pass.
    pub fn total_items(&self) -> u64 {
        (0..self.len()).map(|op| u64::from(self.items(op))).sum()
    }
}

impl Sequence for Execution<'_> {
    fn len(&self) -> usize {
        self.program.ops.len()
    }

    fn items(&self, op: usize) -> u32 {
        let bound = &self.bound;
        let items = match &self.program.ops[op] {
            Op::Embed(op) => op.items(bound),
            Op::RopeTable(op) => op.items(bound),
            Op::Norm(op) => op.items(bound),
            Op::NormFloats(op) => op.items(bound),
            Op::SigmoidScale(op) => op.items(bound),
            Op::Quantize(op) => op.items(bound),
            Op::Matmul(op) => op.items(bound),
            Op::Gated(op) => op.items(bound),
            Op::Route(op) => op.items(bound),
            Op::ExpertsGated(op) => op.items(bound),
            Op::ExpertsDown(op) => op.items(bound),
            Op::RotateStore(op) => op.items(bound),
            Op::Attention(op) => op.items(bound),
            Op::Outputs(op) => op.items(bound),
        };
        items as u32
    }

    fn claims_ahead(&self, op: usize) -> bool {
        // Few columns: a matter of microseconds, and what counts is that the weights are on their way.
        self.bound.columns() <= FEW_COLUMNS && matches!(self.program.ops[op], Op::Matmul(_) | Op::Gated(_))
    }

    unsafe fn run(&self, op: usize, item: u32, next: Option<u32>, worker: usize) {
        let (bound, item) = (&self.bound, item as usize);
        // SAFETY: the caller's promise is the one that every operation asks for.
        unsafe {
            match &self.program.ops[op] {
                Op::Embed(op) => op.run(bound, item, worker),
                Op::RopeTable(op) => op.run(bound, item),
                Op::Norm(op) => op.run(bound, item, worker),
                Op::NormFloats(op) => op.run(bound, item, worker),
                Op::SigmoidScale(op) => op.run(bound, item),
                Op::Quantize(op) => op.run(bound, item),
                Op::Matmul(matmul) => matmul.run(bound, item, self.next_weights(op, item, next), worker),
                Op::Gated(gated) => gated.run(bound, item, self.next_weights(op, item, next), worker),
                Op::Route(op) => op.run(bound, item),
                Op::ExpertsGated(op) => op.run(bound, item, worker),
                Op::ExpertsDown(op) => op.run(bound, item, worker),
                Op::RotateStore(op) => op.run(bound, item),
                Op::Attention(op) => op.run(bound, item, worker),
                Op::Outputs(op) => op.run(bound, item),
            }
        }
    }
}
