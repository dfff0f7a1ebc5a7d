//! Encoders: rows of f32 into the blocks of a tensor type, with as little weighted squared error as a cheap search finds.
//!
//! What a block means is defined by the decoders; an encoder may choose whatever bits decode to values near those it was given. Each
//! is scalar Rust over arrays of independent lanes, without a sum whose order the compiler would have to keep, so that it becomes
//! vector code wherever it is inlined into a function with the features for it (`kernels` has those) and gives the same bits there.
//!
//! `search` and `affine` find scales; the other files know the layout of one family each.

mod affine;
mod float;
mod iq4;
mod k;
mod legacy;
mod mxfp4;
mod search;

use super::{TensorType, row_bytes};
use crate::base::{Error, Result};

/// Elements that are encoded at a time: one block of 256, or eight of 32.
const TILE: usize = 256;

/// Whether [`encode_row`] knows `ty`.
pub fn is_encodable(ty: TensorType) -> bool {
    use TensorType::*;
    matches!(ty, F32 | F16 | BF16 | Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_NL | IQ4_XS | MXFP4)
}

/// Encodes one row: `out` receives whole blocks of `ty`. `importance` has one weight per element, positive and finite: how much the square
/// of the element's error counts; without it, larger elements count somewhat more. The types of whole floats and Q8_0 do not ask for it.
///
/// Deterministic: the bits depend on nothing but the arguments. Values whose scale would pass below the range of f16 become zero.
///
/// # Errors
/// [`Unsupported`](crate::base::ErrorKind::Unsupported) naming a type without an encoder;
/// [`InvalidArgument`](crate::base::ErrorKind::InvalidArgument) where the lengths don't belong together, where an element is NaN, infinite or
/// beyond the range of the type (naming its column), and where a weight is no positive finite number.
pub fn encode_row(ty: TensorType, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    encode_row_inline(ty, values, importance, out)
}

/// [`encode_row`], to be compiled with the features of the function that it is inlined into.
///
/// # Errors
/// As [`encode_row`].
#[inline(always)]
pub(crate) fn encode_row_inline(ty: TensorType, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    if !is_encodable(ty) {
        return Err(Error::unsupported(format!("tensor type {ty} can't be encoded by this version")));
    }
    if row_bytes(ty, values.len()) != Some(out.len()) {
        return Err(Error::invalid_argument(format!("{} elements of {ty} are not {} bytes", values.len(), out.len())));
    }
    if ty == TensorType::F32 {
        float::f32(values, out);
        return Ok(());
    }
    check_values(ty, values)?;
    if let Some(importance) = importance {
        check_importance(importance, values.len())?;
    }
    match ty {
        TensorType::F16 => float::f16(values, out),
        TensorType::BF16 => float::bf16(values, out),
        TensorType::Q8_0 => legacy::q8_0(values, out),
        TensorType::Q4_0 => blocks::<legacy::Q40>(values, importance, out),
        TensorType::Q4_1 => blocks::<legacy::Q41>(values, importance, out),
        TensorType::Q5_0 => blocks::<legacy::Q50>(values, importance, out),
        TensorType::Q5_1 => blocks::<legacy::Q51>(values, importance, out),
        TensorType::Q2_K => blocks::<k::Q2K>(values, importance, out),
        TensorType::Q3_K => blocks::<k::Q3K>(values, importance, out),
        TensorType::Q4_K => blocks::<k::Q4K>(values, importance, out),
        TensorType::Q5_K => blocks::<k::Q5K>(values, importance, out),
        TensorType::Q6_K => blocks::<k::Q6K>(values, importance, out),
        TensorType::IQ4_NL => blocks::<iq4::Iq4Nl>(values, importance, out),
        TensorType::IQ4_XS => blocks::<iq4::Iq4Xs>(values, importance, out),
        TensorType::MXFP4 => blocks::<mxfp4::Mxfp4>(values, importance, out),
        _ => return Err(Error::unsupported(format!("tensor type {ty} can't be encoded by this version"))),
    }
    Ok(())
}

/// The largest magnitude that an element of `ty` may have. The scales of blocks are f16, and none is larger than the largest element.
fn most(ty: TensorType) -> f32 {
    match ty {
        TensorType::BF16 => half::bf16::MAX.to_f32(),
        // The largest exponent of a block, and the largest value of an element under it.
        TensorType::MXFP4 => 6.0 * f32::from_bits((mxfp4::MOST_EXPONENT as u32) << 23),
        _ => 65504.0,
    }
}

#[inline(always)]
fn check_values(ty: TensorType, values: &[f32]) -> Result<()> {
    let most = most(ty);
    // As integers, the magnitudes of floats are ordered as they are, infinity and NaN above all.
    let largest = values.iter().fold(0i32, |largest, value| largest.max((value.to_bits() & 0x7fff_ffff) as i32));
    if largest <= most.to_bits() as i32 { Ok(()) } else { Err(bad_value(ty, values, most)) }
}

#[cold]
fn bad_value(ty: TensorType, values: &[f32], most: f32) -> Error {
    let column = values.iter().position(|value| value.is_nan() || value.abs() > most).unwrap_or(0);
    let value = values[column];
    match value.is_finite() {
        true => Error::invalid_argument(format!("column {column}: {value:e} is beyond {most:e}, the most that {ty} takes")),
        false => Error::invalid_argument(format!("column {column}: {value} can't be stored as {ty}")),
    }
}

#[inline(always)]
fn check_importance(importance: &[f32], len: usize) -> Result<()> {
    if importance.len() != len {
        return Err(Error::invalid_argument(format!("{} weights of importance for {len} elements", importance.len())));
    }
    match importance.iter().all(|&weight| weight > 0.0 && weight <= f32::MAX) {
        true => Ok(()),
        false => Err(Error::invalid_argument("a weight of importance is no positive finite number")),
    }
}

/// The encoder of a type of blocks. (A trait, because a closure can't be told to go into the function that it is used in.)
trait Blocks {
    /// Elements and bytes of a block.
    const LEN: usize;
    /// See `LEN`.
    const BYTES: usize;

    /// Encodes 256 elements, with the weights given for them, into their blocks; into the first ones alone where `out` has no more.
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]);
}

/// Encodes a row, the last tile with zeros behind it where the row ends earlier.
#[inline(always)]
fn blocks<B: Blocks>(values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let bytes = TILE / B::LEN * B::BYTES;
    let (tiles, rest) = values.as_chunks::<TILE>();
    let (importance, rest_importance) = match importance.map(|importance| importance.as_chunks::<TILE>()) {
        Some((importance, rest)) => (Some(importance), Some(rest)),
        None => (None, None),
    };
    let (whole, rest_out) = out.split_at_mut(tiles.len() * bytes);
    for (number, (values, out)) in tiles.iter().zip(whole.chunks_exact_mut(bytes)).enumerate() {
        B::encode(values, importance.map(|importance| &importance[number]), out);
    }
    if !rest.is_empty() {
        let (mut tile, mut weights) = ([0.0; TILE], [1.0; TILE]);
        tile[..rest.len()].copy_from_slice(rest);
        if let Some(importance) = rest_importance {
            weights[..rest.len()].copy_from_slice(importance);
        }
        B::encode(&tile, rest_importance.map(|_| &weights), rest_out);
    }
}

#[cfg(test)]
mod tests;
