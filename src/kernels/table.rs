//! The choice of kernels: one table of functions per instruction-set level, and the checked front of it.

use std::ops::Range;

use super::activation::{ActKind, Acts};
use super::isa::Isa;
use super::matrix::Matrix;
use crate::quant::TensorType;

/// The functions of one level. All levels give the same bits.
pub(super) struct Table {
    pub isa: Isa,
    /// Fills one column of `k = x.len()` elements; `out` has at least `kind.bytes(k)` bytes.
    pub quantize: fn(kind: ActKind, x: &[f32], out: &mut [u8]),
    /// Runs one product.
    ///
    /// # Safety
    /// - The processor has the table's level.
    /// - The job is consistent: weights of `rows` rows of `k` elements of `ty`; columns of the type's kind, aligned to 64 bytes.
    /// - `out` is valid for writes of every (row, column), and nothing else uses these during the call.
    /// - The scratch has `scratch_bytes` bytes and is aligned to 64 bytes.
    pub matmul: unsafe fn(job: &Job<'_>, scratch: &mut [u8]),
    /// Scratch that `matmul` takes for rows of `k` elements and `cols` columns.
    pub scratch_bytes: fn(ty: TensorType, k: usize, cols: usize) -> usize,
}

/// One product: some rows of a matrix with some columns of activations.
pub(super) struct Job<'a> {
    pub ty: TensorType,
    /// Elements of a row.
    pub k: usize,
    /// Number of rows.
    pub rows: usize,
    /// The rows, one after the other.
    pub weights: &'a [u8],
    pub row_bytes: usize,
    /// What the thread will read after these rows, where that is known.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only the kernels of x86-64 ask for memory ahead"))]
    pub next: &'a [u8],
    pub acts: Acts<'a>,
    /// `out (cols, ld)`: the output of (row, column) is `out[column * ld + row]`.
    pub out: *mut f32,
    pub ld: usize,
}

impl<'a> Job<'a> {
    /// The bytes of one row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.weights[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// The place of one output.
    ///
    /// # Safety
    /// `row` and `column` are inside the job, and no other reference to this place lives.
    #[expect(clippy::mut_from_ref, reason = "the outputs are reached through a raw pointer; the contract is the caller's")]
    pub unsafe fn out_at(&self, row: usize, column: usize) -> &mut f32 {
        // SAFETY: the place is inside the outputs that the job was given.
        unsafe { &mut *self.out.add(column * self.ld + row) }
    }

    /// Sets the outputs of one row to zero.
    ///
    /// # Safety
    /// As `out_at`, for all columns.
    pub unsafe fn clear(&self, row: usize) {
        for c in 0..self.acts.cols {
            // SAFETY: passed on.
            unsafe { *self.out_at(row, c) = 0.0 };
        }
    }
}

/// The kernels of one instruction-set level. A pointer: copy it freely, share it between threads.
#[derive(Clone, Copy)]
pub struct Kernels {
    table: &'static Table,
}

impl Kernels {
    /// Rows that a work item best has, or a multiple of it, where there are many columns. Any number is correct.
    pub const ROW_STEP: usize = 64;

    /// The kernels of `isa`, or `None` where this processor does not have it.
    pub fn for_isa(isa: Isa) -> Option<Self> {
        if !isa.is_available() {
            return None;
        }
        let table = match isa {
            Isa::Portable => &super::generic::TABLE,
            #[cfg(target_arch = "x86_64")]
            _ => super::x86_64::table(isa)?,
            #[cfg(target_arch = "aarch64")]
            _ => super::aarch64::table(isa)?,
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => return None,
        };
        Some(Self { table })
    }

    /// The level.
    pub fn isa(self) -> Isa {
        self.table.isa
    }

    /// Stores one activation vector `x (k)` as `kind` in the first `kind.bytes(k)` bytes of `out`.
    ///
    /// # Panics
    /// Where `k` is not a multiple of the kind's block, or `out` is too short.
    pub fn quantize(self, kind: ActKind, x: &[f32], out: &mut [u8]) {
        assert!(x.len().is_multiple_of(kind.block_len()), "activations of {} elements do not fill blocks of {kind:?}", x.len());
        assert!(out.len() >= kind.bytes(x.len()), "a column of {} bytes is too short", out.len());
        (self.table.quantize)(kind, x, out);
    }

    /// Bytes of scratch that one worker needs for products of rows of `k` elements of `ty` with up to `cols` columns.
    pub fn scratch_bytes(self, ty: TensorType, k: usize, cols: usize) -> usize {
        (self.table.scratch_bytes)(ty, k, cols).next_multiple_of(64)
    }

    /// `out[c * ld + (r - rows.start)] = Σ_k W[r, k] · x[c, k]` for all r in `rows` and all columns c of `acts`.
    ///
    /// The bits of each output depend on its row and its column alone: not on the level, the range, or the other columns.
    /// `next` is what the calling thread will probably read after these rows (or nothing): the weights are asked for ahead of time.
    /// Allocates nothing. NaN and infinities in weights or activations propagate.
    ///
    /// # Safety
    /// `out` is valid for writes of `(acts.cols - 1) * ld + rows.len()` floats, and during the call nothing else reads
    /// or writes the places written.
    ///
    /// # Panics
    /// Where `rows` reaches outside the matrix, `acts` is not of the kind and size that `w` takes, its data is not aligned
    /// to 64 bytes, or `scratch` is too short or not aligned to 64 bytes.
    #[expect(clippy::too_many_arguments, reason = "the two operands with their ranges, the output with its stride, and memory to work in")]
    pub unsafe fn matmul(self, w: &Matrix, rows: Range<usize>, next: &[u8], acts: Acts<'_>, out: *mut f32, ld: usize, scratch: &mut [u8]) {
        let bytes = acts.kind.bytes(w.cols());
        assert!(rows.start <= rows.end && rows.end <= w.rows(), "rows {rows:?} of a matrix of {}", w.rows());
        assert!(acts.kind == ActKind::for_type(w.ty()), "{} takes other activations than {:?}", w.ty().name(), acts.kind);
        assert!(acts.cols > 0 && acts.stride >= bytes && acts.stride.is_multiple_of(64), "{} columns at {}", acts.cols, acts.stride);
        assert!(acts.data.len() / acts.stride >= acts.cols - 1, "the activations are shorter than their columns");
        assert!(acts.data.len() - (acts.cols - 1) * acts.stride >= bytes, "the last column of activations is cut");
        assert!(acts.data.as_ptr().addr().is_multiple_of(64), "activations are not aligned");
        assert!(acts.cols == 1 || ld >= rows.len(), "columns of the output overlap");
        let needed = self.scratch_bytes(w.ty(), w.cols(), acts.cols);
        assert!(
            scratch.len() >= needed && (needed == 0 || scratch.as_ptr().addr().is_multiple_of(64)),
            "scratch of {} bytes",
            scratch.len()
        );
        if rows.is_empty() {
            return;
        }
        let (ty, k, row_bytes) = (w.ty(), w.cols(), w.row_bytes());
        let job = Job { ty, k, rows: rows.len(), weights: w.rows_bytes(rows), row_bytes, next, acts, out, ld };
        // SAFETY: for_isa has checked the level, the job was checked above, and the outputs are the caller's promise.
        unsafe { (self.table.matmul)(&job, scratch) }
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.table.isa.name())
    }
}
