//! The gated feed-forward product: gate and up projections with the activation between them, fused.

use crate::kernels::Matrix;
use crate::kernels::vector::VectorOps;

use super::execution::Bound;
use super::matmul::{Cut, OutTile, product};
use super::program::{Acts, FloatView};

/// The function between two matrices, on the gate where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + e^−x)
    Silu,
    /// x·Φ(x), the normal distribution in its tanh form.
    Gelu,
    /// x·Φ(x) by the error function.
    GeluErf,
    /// The clamped, shifted gate of gpt-oss.
    ClampedSwiglu,
}

impl Activation {
    /// `gate = activation(gate) ∘ up`
    ///
    /// # Safety
    /// Both have `n` elements.
    pub(super) unsafe fn gate(self, vector: &VectorOps, gate: *mut f32, up: *const f32, n: usize) {
        let function = match self {
            Self::Silu => vector.silu_mul,
            Self::Gelu => vector.gelu_mul,
            Self::ClampedSwiglu => vector.clamped_swiglu,
            Self::GeluErf => unreachable!("the builder refuses it as a gate"),
        };
        // SAFETY: the caller's promise; the table is of an available instruction set.
        unsafe { function(gate, up, gate, n) }
    }

    /// `x = activation(x)`
    ///
    /// # Safety
    /// It has `n` elements.
    pub(super) unsafe fn apply(self, vector: &VectorOps, x: *mut f32, n: usize) {
        let function = match self {
            Self::Gelu => vector.gelu,
            Self::GeluErf => vector.gelu_erf,
            Self::Silu | Self::ClampedSwiglu => unreachable!("the builder refuses it without a gate"),
        };
        // SAFETY: as above.
        unsafe { function(x, n) }
    }

    /// Whether it stands between a gate and what it gates.
    pub fn is_gate(self) -> bool {
        self != Self::GeluErf
    }

    /// Whether it stands alone.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Gelu | Self::GeluErf)
    }
}

pub(in crate::kernels) struct Gated {
    pub acts: Acts,
    /// (width, k)
    pub gate: Matrix,
    /// (width, k)
    pub up: Matrix,
    pub activation: Activation,
    pub out: FloatView,
}

impl Gated {
    /// Gate and up are cut alike, by the one of more bytes.
    fn cut(&self, columns: usize, workers: usize) -> Cut {
        Cut::new(if self.up.row_bytes() > self.gate.row_bytes() { &self.up } else { &self.gate }, columns, workers)
    }

    pub fn items(&self, bound: &Bound<'_>) -> usize {
        let columns = bound.count(self.acts.columns);
        if columns == 0 { 0 } else { self.cut(columns, bound.workers).items() }
    }

    /// The weights that item `item` reads first.
    pub fn weights(&self, bound: &Bound<'_>, item: usize) -> &[u8] {
        self.gate.rows_bytes(self.cut(bound.count(self.acts.columns), bound.workers).item(item).0)
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, next: &[u8], worker: usize) {
        let cut = self.cut(bound.count(self.acts.columns), bound.workers);
        let (rows, columns) = cut.item(item);
        // SAFETY: the item's rows and columns of `out` belong to it alone; the worker's slot has room for the tile and the kernel.
        unsafe {
            let stride = bound.arena.stride(self.out);
            let target = bound.arena.floats(self.out, columns.start).add(rows.start);
            let (tile, scratch) = bound.tile_and_scratch(worker, cut.tile_floats());
            let gate = OutTile { start: target, ld: stride };
            let up_rows = self.up.rows_bytes(rows.clone());
            product(bound, &self.acts, &self.gate, (rows.clone(), columns.clone()), up_rows, gate, scratch);
            let up = OutTile { start: tile, ld: rows.len() };
            product(bound, &self.acts, &self.up, (rows.clone(), columns.clone()), next, up, scratch);
            for column in 0..columns.len() {
                let (gate, up) = (target.add(column * stride), tile.add(column * rows.len()));
                self.activation.gate(bound.vector, gate, up, rows.len());
            }
        }
    }

    pub fn tile_floats(&self, columns: usize, workers: usize) -> usize {
        self.cut(columns, workers).tile_floats()
    }
}
