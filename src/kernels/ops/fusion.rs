//! The gated feed-forward product as the programs of models have it, and the same as an engine without that fusion would compute it: to
//! measure what it is worth, on the weights of a model.
//!
//! Fused is one operation, whose items leave behind what the activation makes of gate and up. Unfused are three: gate, up, and the activation
//! between them, each of which waits for the one before and goes through memory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::base::pool::{Budget, Cursor, Lane, Outcome, Sequence};
use crate::base::{Error, MemoryBudget, Pool, Result};
use crate::kernels::kv::{KvCache, KvShape, KvType};
use crate::kernels::{Kernels, Matrix};

use super::arena::Arena;
use super::execution::Execution;
use super::ffn::Activation;
use super::matmul::{Epilogue, Product};
use super::pass::Pass;
use super::program::{Embedding, FloatView, Program, ProgramBuilder};

/// A cache that is as small as one can be: nothing is stored in it.
const NO_CACHE: KvShape = KvShape { layers: 1, heads: 1, key_dim: 16, value_dim: 16 };
/// Operations before those of the first layer: the input, and its quantisation.
const BEFORE: usize = 2;
/// Floats of an item of the activation alone.
const STRETCH: usize = 2048;

/// Gate and up of a layer, both (width, k).
pub type Pair = (Matrix, Matrix);

/// One of the two ways, with its memory. One thread at a time.
pub struct GatedProducts {
    program: Program,
    /// What comes out of each layer, and where it is not fused what up leaves there.
    layers: Vec<(FloatView, Option<FloatView>)>,
    arena: Arena,
    pass: Pass,
    cache: KvCache,
    lane: Lane,
    kernels: Kernels,
}

impl GatedProducts {
    /// The products of all `pairs` with the same `columns` activations, for up to `workers` threads.
    ///
    /// # Errors
    /// `InvalidArgument` for no pairs, `InvalidFile` for pairs that do not fit together, `OutOfMemory`.
    pub fn new(pairs: &[Pair], fused: bool, columns: usize, kernels: Kernels, budget: &Arc<MemoryBudget>, workers: usize) -> Result<Self> {
        let Some((first, _)) = pairs.first() else { return Err(Error::invalid_argument("no pairs to multiply")) };
        let mut b = ProgramBuilder::new(NO_CACHE);
        let x = b.floats(first.cols());
        b.embed(Embedding { table: first.clone(), scale: 1.0, positions: None, constant: None }, x)?;
        let readers: Vec<&Matrix> = pairs.iter().flat_map(|(gate, up)| [gate, up]).collect();
        let acts = b.quantize("input", x, &readers);
        let mut layers = vec![];
        for (gate, up) in pairs {
            let out = b.floats(gate.rows());
            let beside = (!fused).then(|| b.floats(up.rows()));
            match beside {
                None => b.gated(&acts, gate, up, Activation::Silu, out)?,
                Some(beside) => {
                    for (weight, out) in [(gate, out), (up, beside)] {
                        b.matmul(&acts, vec![Product { weight: weight.clone(), bias: None, out, epilogue: Epilogue::Store }])?;
                    }
                }
            }
            layers.push((out, beside));
        }
        // No output is asked for.
        let program = b.finish_embeddings(x)?;
        let mut pass = Pass::with_capacity(columns, 0, 1)?;
        let tokens: Vec<u32> = (0..columns).map(|column| (column % first.rows()) as u32).collect();
        pass.push(&tokens, 0, 0, 0..0);
        let arena = Arena::new(&program, kernels, budget, columns, 0, workers)?;
        let cache = KvCache::new(budget, NO_CACHE, KvType::F32, columns)?;
        let lane = Lane::new(Arc::new(AtomicBool::new(false)));
        Ok(Self { program, layers, arena, pass, cache, lane, kernels })
    }

    /// Operations that wait for each other, of all layers.
    pub fn dispatches(&self) -> usize {
        self.layers.iter().map(|(_, beside)| if beside.is_some() { 3 } else { 1 }).sum()
    }

    /// Work items that were done since it was made.
    pub fn items_done(&self) -> u64 {
        self.lane.items_done()
    }

    /// Goes on at `cursor` on `pool`, until all is computed or `budget` is spent.
    ///
    /// # Errors
    /// `Internal` where an item panicked.
    pub fn run(&mut self, pool: &Pool, cursor: &mut Cursor, budget: Budget) -> Result<Outcome> {
        let caches = std::iter::once((0, &mut self.cache));
        let execution = Execution::bind(&self.program, self.kernels, &mut self.arena, &mut self.pass, caches)?;
        pool.run(&mut self.lane, &Products { execution, layers: &self.layers }, cursor, budget)
    }

    /// What came out, layer by layer and column by column.
    pub fn outputs(&self) -> impl Iterator<Item = &[f32]> {
        let columns = self.pass.columns();
        self.layers.iter().flat_map(move |(out, _)| (0..columns).map(|column| self.arena.floats(*out, column)))
    }
}

/// The operations of the program up to its outputs, with the activations between them where they are not fused.
struct Products<'a> {
    execution: Execution<'a>,
    layers: &'a [(FloatView, Option<FloatView>)],
}

/// What an operation is.
enum Part {
    /// That number of the program.
    Of(usize),
    /// The activation of that layer.
    Activation(FloatView, FloatView),
}

impl Products<'_> {
    fn part(&self, op: usize) -> Part {
        if op < BEFORE {
            return Part::Of(op);
        }
        match self.layers[0].1 {
            None => Part::Of(op),
            Some(_) => match ((op - BEFORE) / 3, (op - BEFORE) % 3) {
                (layer, 2) => Part::Activation(self.layers[layer].0, self.layers[layer].1.expect("all layers are alike")),
                (layer, part) => Part::Of(BEFORE + 2 * layer + part),
            },
        }
    }
}

impl Sequence for Products<'_> {
    fn len(&self) -> usize {
        BEFORE + self.layers.len() * if self.layers[0].1.is_some() { 3 } else { 1 }
    }

    fn items(&self, op: usize) -> u32 {
        match self.part(op) {
            Part::Of(op) => self.execution.items(op),
            Part::Activation(out, _) => (self.execution.bound.columns() * out.len.div_ceil(STRETCH)) as u32,
        }
    }

    fn claims_ahead(&self, op: usize) -> bool {
        match self.part(op) {
            Part::Of(op) => self.execution.claims_ahead(op),
            Part::Activation(..) => false,
        }
    }

    unsafe fn run(&self, op: usize, item: u32, next: Option<u32>, worker: usize) {
        match self.part(op) {
            // SAFETY: passed on; operations of the program keep their order.
            Part::Of(op) => unsafe { self.execution.run(op, item, next, worker) },
            Part::Activation(out, beside) => {
                let bound = &self.execution.bound;
                let stretches = out.len.div_ceil(STRETCH);
                let (column, first) = (item as usize / stretches, item as usize % stretches * STRETCH);
                // SAFETY: the stretch of the column belongs to this item alone; both products are complete.
                unsafe {
                    let gate = bound.arena.floats(out, column).add(first);
                    let up = bound.arena.floats(beside, column).add(first);
                    (bound.vector.silu_mul)(gate, up, gate, STRETCH.min(out.len - first));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{SharedBytes, ThreadHooks};
    use crate::kernels::Isa;
    use crate::quant::TensorType;

    fn matrix(rows: usize, cols: usize, seed: u32) -> Matrix {
        let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) as f32 / 65_536.0 - 0.5;
        let bytes: Vec<u8> = (0..rows * cols).flat_map(|i| value(i).to_le_bytes()).collect();
        Matrix::new(TensorType::F32, rows, cols, SharedBytes::copied(&bytes)).unwrap()
    }

    #[test]
    fn both_ways_give_the_same_bits() {
        let pairs: Vec<Pair> = (0..3).map(|layer| (matrix(4_100, 48, layer), matrix(4_100, 48, 100 + layer))).collect();
        let (pool, budget) = (Pool::new(2, &ThreadHooks::default()).unwrap(), MemoryBudget::new(u64::MAX));
        let kernels = Kernels::for_isa(Isa::detect()).unwrap();
        for columns in [1, 5] {
            let ways = [true, false].map(|fused| {
                let mut way = GatedProducts::new(&pairs, fused, columns, kernels, &budget, 2).unwrap();
                assert_eq!(way.dispatches(), if fused { 3 } else { 9 });
                // A stop within does not change what comes out.
                let mut cursor = Cursor::default();
                assert_eq!(way.run(&pool, &mut cursor, Budget::OneItem).unwrap(), Outcome::Stopped);
                assert_eq!(way.run(&pool, &mut cursor, Budget::Unlimited).unwrap(), Outcome::Finished);
                assert!(way.items_done() >= way.dispatches() as u64);
                way.outputs().flatten().map(|value| value.to_bits()).collect::<Vec<u32>>()
            });
            assert_eq!(ways[0].len(), 3 * 4_100 * columns);
            assert!(ways[0] == ways[1] && ways[0].iter().any(|&bits| bits != ways[0][0]));
        }
        assert!(GatedProducts::new(&[], true, 1, kernels, &budget, 1).is_err());
    }
}
