//! Normalisation with quantisation of the result, and quantisation alone.

use std::sync::Arc;

use crate::kernels::vector::VectorOps;

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
                let n = self.x.len;
                self.norm.row(bound.vector, 0, x, row, n);
                quantize(bound, &self.acts, std::slice::from_raw_parts(row, n), column);
            }
        }
    }
}

impl NormWeights {
    /// `y = norm(x)`, of the elements of the weights from `at` on; `y` may be `x`.
    ///
    /// # Safety
    /// `x` and `y` have `n` elements, and the weights `at + n`.
    pub(super) unsafe fn row(&self, vector: &VectorOps, at: usize, x: *const f32, y: *mut f32, n: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let weight = self.weight.as_ptr().add(at);
            match &self.bias {
                None => (vector.rms)(x, weight, y, n, self.eps),
                Some(bias) => (vector.layer)(x, weight, bias.as_ptr().add(at), y, n, self.eps),
            }
        }
    }
}

/// `out = norm(x)`, or `out += norm(x)`, in f32.
pub(in crate::kernels) struct NormFloats {
    pub x: FloatView,
    pub norm: NormWeights,
    pub out: FloatView,
    pub add: bool,
}

impl NormFloats {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.count(self.out.columns).div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Norm::run`].
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        let count = bound.count(self.out.columns);
        for column in item * COLUMNS..count.min((item + 1) * COLUMNS) {
            // SAFETY: the worker's slot holds the widest row; widths and columns are equal (checked by the builder); the column belongs to
            // this item alone.
            unsafe {
                let (x, out, n) = (bound.arena.floats(self.x, column), bound.arena.floats(self.out, column), self.x.len);
                if self.add {
                    let row = bound.arena.worker(worker).0.cast::<f32>();
                    self.norm.row(bound.vector, 0, x, row, n);
                    (bound.vector.add)(out, row, n);
                } else {
                    self.norm.row(bound.vector, 0, x, out, n);
                }
            }
        }
    }
}

/// `out = x` of the output columns.
pub(in crate::kernels) struct Outputs {
    pub x: FloatView,
    pub out: FloatView,
}

impl Outputs {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.outputs.len().div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Norm::run`].
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        for column in item * COLUMNS..bound.outputs.len().min((item + 1) * COLUMNS) {
            // SAFETY: the column belongs to this item alone; the widths are equal (set by the builder).
            unsafe {
                let from = bound.arena.floats(self.x, bound.outputs[column] as usize);
                std::ptr::copy_nonoverlapping(from, bound.arena.floats(self.out, column), self.x.len);
            }
        }
    }
}

/// `x *= 1 / (1 + e^−gate)`, one gate per column.
pub(in crate::kernels) struct SigmoidScale {
    pub x: FloatView,
    pub gate: FloatView,
}

impl SigmoidScale {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.columns().div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Norm::run`].
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        for column in item * COLUMNS..bound.columns().min((item + 1) * COLUMNS) {
            // SAFETY: the column belongs to this item alone.
            unsafe {
                let gate = *bound.arena.floats(self.gate, column);
                let factor = 1.0 / (1.0 + (-f64::from(gate)).exp());
                (bound.vector.scale)(bound.arena.floats(self.x, column), factor as f32, self.x.len);
            }
        }
    }
}

pub(in crate::kernels) struct Quantize {
    /// What is quantised, and into what.
    pub parts: Vec<(FloatView, Acts)>,
}

impl Quantize {
    fn columns(&self) -> Columns {
        self.parts[0].1.columns
    }

    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.count(self.columns()).div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Norm::run`].
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        let count = bound.count(self.columns());
        for column in item * COLUMNS..count.min((item + 1) * COLUMNS) {
            for (x, acts) in &self.parts {
                // SAFETY: x is not written during this operation; the column belongs to this item alone.
                unsafe { quantize(bound, acts, std::slice::from_raw_parts(bound.arena.floats(*x, column), x.len), column) };
            }
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
