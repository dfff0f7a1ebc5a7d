//! Token embedding: a row of the table per token.

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
}

impl Embed {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.columns().div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        for column in item * COLUMNS..bound.columns().min((item + 1) * COLUMNS) {
            let token = bound.tokens[column] as usize;
            // SAFETY: the column belongs to this item alone.
            let out = unsafe { std::slice::from_raw_parts_mut(bound.arena.floats(self.out, column), self.out.len) };
            // The session refuses tokens outside the vocabulary and the model refuses a table that can't be decoded.
            if quant::decode_row(self.table.ty(), self.table.rows_bytes(token..token + 1), out).is_err() {
                out.fill(f32::NAN);
            }
        }
    }
}
