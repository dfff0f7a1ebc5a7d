//! A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538; Mixtral: arXiv 2401.04088): a router chooses a few experts for each
//! column, each a gated feed-forward layer, and their outputs are summed with the router's weights.
//!
//! Every column is computed on its own against its experts, in ascending slot order, so that its bits do not depend on which other
//! columns chose the same expert.

use std::ops::Range;

use crate::base::fma::fma;
use crate::kernels::Matrix;

use super::execution::Bound;
use super::ffn::Activation;
use super::matmul::{OutTile, product};
use super::program::{Acts, FloatView};

/// Columns per routing item.
const COLUMNS: usize = 16;
/// Rows per item of the products.
const ROWS: usize = 32;

/// Chooses the experts: the `used` largest router logits, weighted by the softmax over the chosen.
pub(in crate::kernels) struct Route {
    /// One logit per expert.
    pub logits: FloatView,
    /// `[slot][expert number, weight]`
    pub out: FloatView,
}

impl Route {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.columns().div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        for column in item * COLUMNS..bound.columns().min((item + 1) * COLUMNS) {
            // SAFETY: the column belongs to this item alone.
            let (logits, out) = unsafe {
                (
                    std::slice::from_raw_parts_mut(bound.arena.floats(self.logits, column), self.logits.len),
                    std::slice::from_raw_parts_mut(bound.arena.floats(self.out, column), self.out.len),
                )
            };
            route(logits, out);
        }
    }
}

/// Fills `out` with (expert, weight) pairs by descending logit; the lower number first among equals. Overwrites `logits`.
fn route(logits: &mut [f32], out: &mut [f32]) {
    for slot in out.chunks_exact_mut(2) {
        let mut best = 0;
        for (expert, &logit) in logits.iter().enumerate() {
            if logit > logits[best] {
                best = expert;
            }
        }
        slot[0] = best as f32; // exact: far fewer than 2²⁴ experts
        slot[1] = logits[best];
        logits[best] = f32::NEG_INFINITY;
    }
    let top = out[1];
    let total: f32 = out.chunks_exact(2).map(|slot| (slot[1] - top).exp()).sum();
    for slot in out.chunks_exact_mut(2) {
        slot[1] = (slot[1] - top).exp() / total;
    }
}

/// `out[slot] = activation(gate_e·x) ∘ (up_e·x)` for the expert e of each slot.
pub(in crate::kernels) struct ExpertsGated {
    pub acts: Acts,
    pub routes: FloatView,
    /// One (width, k) per expert.
    pub gate: Vec<Matrix>,
    pub up: Vec<Matrix>,
    pub activation: Activation,
    /// `[slot][width]`
    pub out: FloatView,
}

/// `out += Σ_slot weight · down_e·inner[slot]`
pub(in crate::kernels) struct ExpertsDown {
    /// One per slot.
    pub acts: Vec<Acts>,
    pub routes: FloatView,
    /// One (rows, width) per expert.
    pub down: Vec<Matrix>,
    pub out: FloatView,
}

/// Rows of item `item`.
fn rows(item: usize, all: usize) -> Range<usize> {
    item * ROWS..all.min((item + 1) * ROWS)
}

/// The (expert, weight) pairs of a column.
///
/// # Safety
/// The operation that routes is complete.
unsafe fn routes<'a>(bound: &Bound<'a>, view: FloatView, column: usize) -> &'a [[f32; 2]] {
    // SAFETY: the view has a pair per slot, written by an earlier operation.
    unsafe { std::slice::from_raw_parts(bound.arena.floats(view, column).cast(), view.len / 2) }
}

impl ExpertsGated {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        if bound.columns() == 0 { 0 } else { self.gate[0].rows().div_ceil(ROWS) }
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        let width = self.gate[0].rows();
        let rows = rows(item, width);
        for column in 0..bound.columns() {
            // SAFETY: these rows of every slot and column belong to the item alone; the worker's slot has room.
            unsafe {
                for (slot, [expert, _]) in routes(bound, self.routes, column).iter().enumerate() {
                    let expert = *expert as usize;
                    let target = bound.arena.floats(self.out, column).add(slot * width + rows.start);
                    let (tile, scratch) = bound.tile_and_scratch(worker, ROWS);
                    let out = |start| OutTile { start, ld: rows.len() };
                    product(bound, &self.acts, &self.gate[expert], (rows.clone(), column..column + 1), &[], out(target), scratch);
                    product(bound, &self.acts, &self.up[expert], (rows.clone(), column..column + 1), &[], out(tile), scratch);
                    match self.activation {
                        Activation::Silu => (bound.vector.silu_mul)(target, tile, target, rows.len()),
                    }
                }
            }
        }
    }
}

impl ExpertsDown {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        if bound.columns() == 0 { 0 } else { self.down[0].rows().div_ceil(ROWS) }
    }

    /// # Safety
    /// As for [`ExpertsGated::run`].
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        let rows = rows(item, self.down[0].rows());
        for column in 0..bound.columns() {
            // SAFETY: these rows of every column belong to the item alone; the worker's slot has room.
            unsafe {
                let target = bound.arena.floats(self.out, column).add(rows.start);
                for (acts, [expert, weight]) in self.acts.iter().zip(routes(bound, self.routes, column)) {
                    let (tile, scratch) = bound.tile_and_scratch(worker, ROWS);
                    let out = OutTile { start: tile, ld: rows.len() };
                    product(bound, acts, &self.down[*expert as usize], (rows.clone(), column..column + 1), &[], out, scratch);
                    for i in 0..rows.len() {
                        *target.add(i) = fma(*weight, *tile.add(i), *target.add(i));
                    }
                }
            }
        }
    }
}

/// Floats of a worker's tile in either operation.
pub(super) const TILE_FLOATS: usize = ROWS;

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    fn the_largest_logits_share_the_weight() {
        let mut out = [0.0; 4];
        route(&mut [1.0, 3.0, 2.0, 3.0], &mut out);
        assert_eq!(out, [1.0, 0.5, 3.0, 0.5]);
        route(&mut [0.0, f32::NEG_INFINITY, -1.0], &mut out);
        assert_eq!((out[0], out[2]), (0.0, 2.0));
        assert!((out[1] - 0.7310586).abs() < 1e-6 && (out[1] + out[3] - 1.0).abs() < 1e-6);
    }
}
