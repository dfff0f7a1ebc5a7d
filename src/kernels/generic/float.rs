//! The normative floating-point products, with weights decoded to f32 row by row, or with both operands in bf16.
//!
//! A product of f32 has 16 lanes: lane l sums the elements k ≡ l (mod 16) by fused multiply-adds in ascending k, with a tail
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
    sum(lanes)
}

/// Products with BF16 weights and activations.
///
/// A dot product has 16 lanes: lane l takes the elements 2l and 2l + 1 of each 32, with a tail padded by zeros, in ascending k,
/// of each two first the odd one, by fused multiply-adds. Subnormal weights count as zero. Then the lanes are added 8 + 8, 4 + 4,
/// 2 + 2, 1 + 1, and the sum is multiplied by the scale of the activations. This is what `vdpbf16ps` does, as long as no sum is
/// subnormal, which the storage of the activations ensures.
///
/// # Safety
/// As `Table::matmul`.
pub(super) unsafe fn bf16(job: &Job<'_>) {
    let layout = job.acts.kind.layout(job.k);
    let weight = |bytes: &[u8]| {
        let bits = u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16;
        f32::from_bits(if bits & 0x7f80_0000 == 0 { 0 } else { bits })
    };
    let activation = |bytes: &[u8]| f32::from_bits(u32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) << 16);
    for row in 0..job.rows {
        for c in 0..job.acts.cols {
            let column = job.acts.column(c, job.k);
            let mut lanes = [0.0f32; 16];
            for (w, a) in job.row(row).chunks(64).zip(column[..job.k * 2].chunks(64)) {
                for (l, lane) in lanes.iter_mut().enumerate() {
                    for at in [4 * l + 2, 4 * l] {
                        let there = at < w.len();
                        let (w, a) = if there { (weight(&w[at..]), activation(&a[at..])) } else { (0.0, 0.0) };
                        *lane = fma(w, a, *lane);
                    }
                }
            }
            let d = f32::from_ne_bytes([0, 1, 2, 3].map(|i| column[layout.scales + i]));
            // SAFETY: the caller gave an output for every row and column.
            unsafe { *job.out_at(row, c) = sum(lanes) * d };
        }
    }
}

/// The sum of 16 lanes in the order above.
fn sum(mut lanes: [f32; 16]) -> f32 {
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
