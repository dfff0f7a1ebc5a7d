//! Token embedding: a row of the table per token, with what some families add to it.

use std::sync::Arc;

use crate::kernels::Matrix;
use crate::quant;

use super::execution::Bound;
use super::program::FloatView;

/// Columns per work item.
const COLUMNS: usize = 8;

pub(in crate::kernels) struct Embed {
    /// (vocabulary, width)
    pub table: Matrix,
    pub out: FloatView,
    /// Factor on the row.
    pub scale: f32,
    /// (positions, width), added to it.
    pub positions: Option<Matrix>,
    /// Added to every row.
    pub constant: Option<Arc<[f32]>>,
}

impl Embed {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.columns().div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        for column in item * COLUMNS..bound.columns().min((item + 1) * COLUMNS) {
            let token = bound.tokens[column] as usize;
            // SAFETY: the column belongs to this item alone.
            let out = unsafe { std::slice::from_raw_parts_mut(bound.arena.floats(self.out, column), self.out.len) };
            // The session refuses tokens outside the vocabulary and the model refuses a table that can't be decoded.
            if quant::decode_row(self.table.ty(), self.table.rows_bytes(token..token + 1), out).is_err() {
                out.fill(f32::NAN);
            }
            if self.scale != 1.0 {
                // SAFETY: the row has that many floats.
                unsafe { (bound.vector.scale)(out.as_mut_ptr(), self.scale, out.len()) };
            }
            if let Some(table) = &self.positions {
                // SAFETY: the worker's slot holds the widest row.
                let row = unsafe { std::slice::from_raw_parts_mut(bound.arena.worker(worker).0.cast::<f32>(), out.len()) };
                // No context is longer than the table (see decoder::build).
                let position = bound.positions[column] as usize;
                if position >= table.rows() || quant::decode_row(table.ty(), table.rows_bytes(position..position + 1), row).is_err() {
                    row.fill(f32::NAN);
                }
                // SAFETY: both have that many floats.
                unsafe { (bound.vector.add)(out.as_mut_ptr(), row.as_ptr(), out.len()) };
            }
            if let Some(constant) = &self.constant {
                // SAFETY: both have that many floats (checked by the builder).
                unsafe { (bound.vector.add)(out.as_mut_ptr(), constant.as_ptr(), out.len()) };
            }
        }
    }
}
