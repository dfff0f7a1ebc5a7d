//! Normalisation with quantisation of the result, and quantisation alone.

use std::sync::Arc;

use super::execution::Bound;
use super::program::{Acts, Columns, FloatView};

/// The weights of a norm, in f32.
#[derive(Clone)]
pub struct NormWeights {
    /// One factor per element.
    pub weight: Arc<[f32]>,
    /// With a bias it is a layer norm, without an RMS norm.
    pub bias: Option<Arc<[f32]>>,
    /// Added to the variance.
    pub eps: f32,
}

/// Columns per work item.
const COLUMNS: usize = 8;

pub(in crate::kernels) struct Norm {
    pub x: FloatView,
    pub norm: NormWeights,
    pub acts: Acts,
}

impl Norm {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.count(self.acts.columns).div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        let count = bound.count(self.acts.columns);
        for column in item * COLUMNS..count.min((item + 1) * COLUMNS) {
            let source = match self.acts.columns {
                Columns::Outputs => bound.outputs[column] as usize,
                Columns::All => column,
            };
            // SAFETY: the worker's slot holds the widest row; x has the width of the weights (checked by the builder).
            unsafe {
                let row = bound.arena.worker(worker).0.cast::<f32>();
                let x = bound.arena.floats(self.x, source);
                let (n, weight) = (self.x.len, self.norm.weight.as_ptr());
                match &self.norm.bias {
                    None => (bound.vector.rms)(x, weight, row, n, self.norm.eps),
                    Some(bias) => (bound.vector.layer)(x, weight, bias.as_ptr(), row, n, self.norm.eps),
                }
                quantize(bound, &self.acts, std::slice::from_raw_parts(row, n), column);
            }
        }
    }
}

pub(in crate::kernels) struct Quantize {
    pub x: FloatView,
    pub acts: Acts,
}

impl Quantize {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.count(self.acts.columns).div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Norm::run`].
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        let count = bound.count(self.acts.columns);
        for column in item * COLUMNS..count.min((item + 1) * COLUMNS) {
            // SAFETY: x is not written during this operation.
            let x = unsafe { std::slice::from_raw_parts(bound.arena.floats(self.x, column), self.x.len) };
            // SAFETY: the column belongs to this item alone.
            unsafe { quantize(bound, &self.acts, x, column) };
        }
    }
}

/// Writes `x` into every region of `acts` in column `column`.
///
/// # Safety
/// No other thread touches that column of those regions.
unsafe fn quantize(bound: &Bound<'_>, acts: &Acts, x: &[f32], column: usize) {
    for &(kind, region) in &acts.regions {
        // SAFETY: the region holds kind.bytes(k) bytes per column.
        let out = unsafe { std::slice::from_raw_parts_mut(bound.arena.column(region, column), kind.bytes(acts.k)) };
        bound.kernels.quantize(kind, x, out);
    }
}
