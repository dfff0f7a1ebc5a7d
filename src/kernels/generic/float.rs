//! The normative floating-point product, over weights decoded to f32 row by row.
//!
//! A dot product has 16 lanes: lane l sums the elements k ≡ l (mod 16) by fused multiply-adds in ascending k, with a tail
//! padded by zeros; then the lanes are added 8 + 8, 4 + 4, 2 + 2, 1 + 1.

use super::super::table::Job;
use crate::base::fma::fma;
use crate::quant::{TensorType, decode_row};

/// Σ w·a in the order above; the shorter slice is padded with zeros.
fn dot(w: &[f32], a: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let k = w.len().min(a.len());
    for (w, a) in w[..k].chunks(16).zip(a[..k].chunks(16)) {
        for (l, lane) in lanes.iter_mut().enumerate() {
            let (w, a) = if l < w.len() { (w[l], a[l]) } else { (0.0, 0.0) };
            *lane = fma(w, a, *lane);
        }
    }
    let mut width = 8;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Bytes of scratch for [`decoded`]: one row as f32.
pub(super) fn scratch_bytes(k: usize) -> usize {
    (k * 4).next_multiple_of(64)
}

/// Products with weights of any type that can be decoded.
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn decoded(job: &Job<'_>, scratch: &mut [u8]) {
    let scratch = &mut scratch[..job.k * 4];
    // SAFETY: scratch is aligned to 64 bytes, and any bytes are an f32.
    let weights = unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast::<f32>(), job.k) };
    for row in 0..job.rows {
        decode(job.ty, job.row(row), weights);
        for c in 0..job.acts.cols {
            let column = job.acts.column(c, job.k);
            // SAFETY: columns are aligned to 64 bytes and hold k floats.
            let a = unsafe { std::slice::from_raw_parts(column.as_ptr().cast::<f32>(), job.k) };
            // SAFETY: the caller gave an output for every row and column.
            unsafe { *job.out_at(row, c) = dot(weights, a) };
        }
    }
}

/// Decodes one row. `Matrix::new` has refused types without a decoder; a failure here would be a fault of this library,
/// and shows as NaN.
fn decode(ty: TensorType, bytes: &[u8], out: &mut [f32]) {
    if decode_row(ty, bytes, out).is_err() {
        out.fill(f32::NAN);
    }
}
