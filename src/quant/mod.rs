//! Floor 1: block types of quantised tensors — their layout and their exact meaning in f32.
//!
//! A block holds a few dozen small integers with one or two scales; each format has its file-borne number and name
//! ([`TensorType`]) and a decoder that is the truth for every kernel above. The order of float operations of a decoder is fixed: the results
//! equal those of the format's reference implementation bit for bit, on every bit pattern. `encode` has the way back, written so that the
//! compiler makes vector code of it for each level of instructions (`kernels::encode`); products are the business of `kernels`.

#![forbid(unsafe_code)]

pub(crate) mod codebooks;
pub(crate) mod encode;
mod float;
pub(crate) mod fp4;
pub(crate) mod grid;
mod iq1;
mod iq2;
mod iq3;
pub(crate) mod iq4;
mod k;
mod legacy;
mod ternary;
mod types;

pub use encode::{encode_row, is_encodable};
pub use types::{TensorType, retired_name};

use crate::base::{Error, Result};

/// Bytes of one row of `cols` elements, or `None` where `cols` is not a whole number of blocks or the product overflows.
pub fn row_bytes(ty: TensorType, cols: usize) -> Option<usize> {
    if !cols.is_multiple_of(ty.block_len()) {
        return None;
    }
    (cols / ty.block_len()).checked_mul(ty.block_bytes())
}

/// Whether [`decode_row`] knows `ty`.
pub fn is_decodable(ty: TensorType) -> bool {
    decoder(ty).is_some()
}

/// Decodes one row: `bytes` are whole blocks of `ty` (little endian, no alignment needed), `out` receives one f32 per element.
///
/// The values are exact: one rounding per operation, in the order that the format defines. Infinite and NaN scales give what
/// IEEE arithmetic gives. Several rows that lie side by side may be decoded as one.
///
/// # Errors
/// [`Unsupported`](crate::base::ErrorKind::Unsupported) naming a type without a decoder;
/// [`InvalidArgument`](crate::base::ErrorKind::InvalidArgument) where the two lengths don't belong together. `out` is untouched then.
pub fn decode_row(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let Some(decode) = decoder(ty) else {
        return Err(Error::unsupported(format!("tensor type {ty} can't be decoded by this version")));
    };
    if row_bytes(ty, out.len()) != Some(bytes.len()) {
        return Err(Error::invalid_argument(format!("{} bytes are not {} elements of {ty}", bytes.len(), out.len())));
    }
    decode(bytes, out);
    Ok(())
}

/// Decodes whole blocks; the lengths have been checked.
type Decoder = fn(&[u8], &mut [f32]);

fn decoder(ty: TensorType) -> Option<Decoder> {
    Some(match ty {
        TensorType::F32 => float::f32,
        TensorType::F16 => float::f16,
        TensorType::BF16 => float::bf16,
        TensorType::F64 => float::f64,
        TensorType::Q4_0 => legacy::q4_0,
        TensorType::Q4_1 => legacy::q4_1,
        TensorType::Q5_0 => legacy::q5_0,
        TensorType::Q5_1 => legacy::q5_1,
        TensorType::Q8_0 => legacy::q8_0,
        TensorType::Q2_K => k::q2_k,
        TensorType::Q3_K => k::q3_k,
        TensorType::Q4_K => k::q4_k,
        TensorType::Q5_K => k::q5_k,
        TensorType::Q6_K => k::q6_k,
        TensorType::IQ1_S => iq1::iq1_s,
        TensorType::IQ1_M => iq1::iq1_m,
        TensorType::IQ2_XXS => iq2::iq2_xxs,
        TensorType::IQ2_XS => iq2::iq2_xs,
        TensorType::IQ2_S => iq2::iq2_s,
        TensorType::IQ3_XXS => iq3::iq3_xxs,
        TensorType::IQ3_S => iq3::iq3_s,
        TensorType::IQ4_NL => iq4::iq4_nl,
        TensorType::IQ4_XS => iq4::iq4_xs,
        TensorType::TQ1_0 => ternary::tq1_0,
        TensorType::TQ2_0 => ternary::tq2_0,
        TensorType::Q1_0 => ternary::q1_0,
        TensorType::Q2_0 => ternary::q2_0,
        TensorType::MXFP4 => fp4::mxfp4,
        TensorType::NVFP4 => fp4::nvfp4,
        _ => return None,
    })
}

/// The f16 at the start of `bytes`, as f32.
fn f16_at(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn u16_at(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

fn u32_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Calls `decode` for each block of `BYTES` bytes and `LEN` elements.
fn for_blocks<const BYTES: usize, const LEN: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn(&[u8; BYTES], &mut [f32; LEN])) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (outs, _) = out.as_chunks_mut::<LEN>();
    for (block, out) in blocks.iter().zip(outs) {
        decode(block, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(row_bytes(TensorType::Q4_K, 512), Some(288));
        assert_eq!(row_bytes(TensorType::Q4_K, 511), None);
        assert_eq!(row_bytes(TensorType::Q8_0, 0), Some(0));
        assert_eq!(row_bytes(TensorType::F64, usize::MAX), None);
    }

    #[test]
    fn an_unknown_decoder_is_named() {
        let error = decode_row(TensorType::Q8_K, &[0; 292], &mut [0.0; 256]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("Q8_K"), "{error}");
    }

    #[test]
    fn lengths_that_do_not_match_are_refused() {
        for (bytes, cols) in [(18, 31), (18, 64), (17, 32), (19, 32), (0, 32), (18, 0)] {
            let error = decode_row(TensorType::Q4_0, &vec![0; bytes], &mut vec![0.0; cols]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bytes} bytes, {cols} columns");
        }
        decode_row(TensorType::Q4_0, &[], &mut []).unwrap();
    }
}
