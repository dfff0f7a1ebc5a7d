//! Weights in MXFP4 as folders have them: a tensor of codes and one of scales, which GGUF's blocks hold together. Not what the codes mean (see
//! `quant`).
//!
//! Source: OCP Microscaling Formats (MX) 1.0. A folder's byte has two elements that follow one another, the first in its low half; a byte of GGUF's
//! block has the elements `i` and `i + 16`.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::super::safetensors::{Dtype, RawTensor};
use super::convert::alternating;
use super::names::Lot;
use crate::base::memory::Filling;
use crate::base::{Error, Pace, Result, SharedBytes};

/// Bytes of the 32 codes of a block.
const CODES: usize = 16;

/// What the names of codes end with, and those of their scales.
const SUFFIXES: (&str, &str) = ("_blocks", "_scales");

/// Codes and scales in one tensor.
pub(super) struct Joined {
    pub dims: Vec<u64>,
    /// Bytes: no more than the two tensors take, which are in memory.
    pub len: usize,
    pub scales: SharedBytes,
}

/// The rows of `lot`, of codes shaped `[16, blocks, rows, …]` (the innermost first) and scales shaped `[blocks, rows, …]`.
///
/// # Errors
/// `InvalidFile` where there are no scales, or types and shapes are others.
pub(super) fn joined(codes: &RawTensor, by_name: &HashMap<&str, &RawTensor>, lot: Lot) -> Result<Joined> {
    let name = codes.name.strip_suffix(SUFFIXES.0).map(|stem| format!("{stem}{}", SUFFIXES.1));
    let name = name.ok_or_else(|| Error::internal("codes of another name"))?;
    let scales = by_name.get(&*name).ok_or_else(|| Error::invalid_file(format!("there is no tensor '{name}'")))?;
    for tensor in [codes, scales] {
        if tensor.dtype != Dtype::Other(1) {
            return Err(Error::invalid_file(format!("'{}' is of type {:?}, expected bytes", tensor.name, tensor.dtype)));
        }
    }
    let &[16, blocks, rows, ..] = &codes.dims[..] else {
        return Err(Error::invalid_file(format!("shape {:?}, expected matrices of blocks of 16 bytes", codes.dims)));
    };
    if codes.dims[1..] != scales.dims[..] {
        return Err(Error::invalid_file(format!("{:?} blocks, but '{name}' is of shape {:?}", &codes.dims[1..], scales.dims)));
    }
    let mut dims = codes.dims[1..].to_vec();
    dims[0] = blocks.checked_mul(2 * CODES as u64).ok_or_else(|| Error::invalid_file(format!("{blocks} blocks")))?;
    dims[1] = lot.of(rows).ok_or_else(|| alternating(rows))?;
    Ok(Joined { dims, len: scales.data.len() / lot.stride().1 * (1 + CODES), scales: scales.data.clone() })
}

/// Makes the bytes of what [`joined`] has found.
pub(super) async fn join(codes: &RawTensor, scales: &SharedBytes, lot: Lot, filling: &mut Filling, pace: &Pace) {
    let (first, step) = lot.stride();
    let across = codes.dims[1] as usize;
    // Rows alternate within each matrix of a stack: an even number each, so that they do so in the whole as well.
    let given = codes.data.chunks_exact(CODES * across).zip(scales.chunks_exact(across));
    for (codes, scales) in given.skip(first).step_by(step) {
        let out = filling.next((1 + CODES) * across);
        for ((out, codes), &scale) in out.chunks_exact_mut(1 + CODES).zip(codes.chunks_exact(CODES)).zip(scales) {
            out[0] = scale;
            put_apart(codes, &mut out[1..]);
        }
        pace.spend(codes.len()).await;
    }
}

/// The codes of a block: from pairs of neighbours to pairs that are 16 apart.
fn put_apart(neighbours: &[u8], out: &mut [u8]) {
    let code = |i: usize| neighbours[i / 2] >> (4 * (i % 2)) & 15;
    out.iter_mut().enumerate().for_each(|(i, out)| *out = code(i) | code(i + CODES) << 4);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{self, TensorType};

    /// The element `i` of a block has the code `i % 16`, which is read back from GGUF's block.
    #[test]
    fn codes_keep_their_places() {
        let neighbours: Vec<u8> = (0..CODES as u8).map(|i| (2 * i % 16) | (((2 * i + 1) % 16) << 4)).collect();
        let mut block = [127; 1 + CODES];
        put_apart(&neighbours, &mut block[1..]);
        let mut values = [0.0; 32];
        quant::decode_row(TensorType::MXFP4, &block, &mut values).unwrap();
        let positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        for (i, value) in values.into_iter().enumerate() {
            let expected: f32 = if i % 16 < 8 { positive[i % 8] } else { -positive[i % 8] };
            assert_eq!(value, expected, "element {i}");
        }
    }
}
