//! Types of tensors in APR files: those of GGUF stay where they are mapped, the container's own two are converted into private memory.

#![forbid(unsafe_code)]

use half::f16;

use super::super::recipe::{self, Found, Recipe};
use crate::base::memory::Filling;
use crate::base::{Error, Pace, Result, SharedBytes};
use crate::quant::{TensorType, row_bytes};

/// Values in a block of AprQ4, and its bytes: a scale in F16 and sixteen bytes of nibbles, each value + 8, the earlier value in the lower nibble.
const Q4_VALUES: usize = 32;
const Q4_BYTES: usize = 18;
/// Values converted at a time.
const PART: usize = 4096;

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// A type of GGUF.
    Plain(TensorType),
    /// Blocks of 32 values over the rows.
    AprQ4,
    /// A scale in F32 for the whole tensor, then a signed byte for each value.
    AprQ8,
    /// Unsigned bytes, which hold no weights.
    U8,
}

impl Stored {
    /// The type with this number.
    pub(super) fn of(dtype: u8) -> Option<Self> {
        Some(match dtype {
            0 => Self::Plain(TensorType::F32),
            1 => Self::Plain(TensorType::F16),
            3 => Self::Plain(TensorType::F64),
            4 => Self::Plain(TensorType::I32),
            5 => Self::Plain(TensorType::I64),
            6 => Self::Plain(TensorType::I8),
            7 => Self::U8,
            12 => Self::Plain(TensorType::Q4_K),
            14 => Self::Plain(TensorType::Q6_K),
            30 => Self::Plain(TensorType::BF16),
            8 | 128 => Self::AprQ4,
            9 | 129 => Self::AprQ8,
            _ => return None,
        })
    }

    /// The name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain(ty) => ty.name(),
            Self::AprQ4 => "AprQ4",
            Self::AprQ8 => "AprQ8",
            Self::U8 => "U8",
        }
    }

    /// Bytes of a tensor of these dimensions, the contiguous one first; `None` where there can't be one.
    pub(super) fn bytes(self, dims: &[u64]) -> Option<u64> {
        let elements = || dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        match self {
            Self::Plain(ty) => {
                let row = row_bytes(ty, usize::try_from(dims[0]).ok()?)? as u64;
                dims[1..].iter().try_fold(row, |product, &dim| product.checked_mul(dim))
            }
            Self::AprQ4 => elements()?.div_ceil(Q4_VALUES as u64).checked_mul(Q4_BYTES as u64),
            Self::AprQ8 => elements()?.checked_add(4),
            Self::U8 => elements(),
        }
    }
}

/// The type of a tensor to compute with, and its bytes: AprQ4 as Q4_0 where its blocks lie within rows, else F32; AprQ8 as F32, which is exact.
///
/// # Errors
/// `Unsupported` for unsigned bytes, `OutOfMemory` for what passes the address space.
pub(super) fn tensor(stored: Stored, dims: &[u64], data: &SharedBytes) -> Result<(TensorType, Found)> {
    let elements = dims.iter().product::<u64>() as usize;
    let (ty, way, len) = match stored {
        Stored::Plain(ty) => return Ok((ty, Found::InPlace(data.clone()))),
        Stored::U8 => return Err(Error::unsupported("elements are unsigned bytes, no weights")),
        Stored::AprQ4 if dims[0].is_multiple_of(Q4_VALUES as u64) => (TensorType::Q4_0, Way::Q4ToBlocks, Some(data.len())),
        Stored::AprQ4 => (TensorType::F32, Way::Q4ToFloats { elements }, elements.checked_mul(4)),
        Stored::AprQ8 => (TensorType::F32, Way::Q8ToFloats, elements.checked_mul(4)),
    };
    let steps = recipe::Steps::Apr(Steps { data: data.clone(), way });
    Ok((ty, Found::ToBeMade(Recipe::new(len, steps)?)))
}

/// How the bytes of a tensor are made.
#[derive(Debug, Clone)]
pub(in super::super) struct Steps {
    data: SharedBytes,
    way: Way,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Q4ToBlocks,
    Q4ToFloats { elements: usize },
    Q8ToFloats,
}

impl Steps {
    /// What they are made of.
    pub(in super::super) fn source(&self) -> &SharedBytes {
        &self.data
    }

    /// Makes the bytes.
    pub(in super::super) async fn take(&self, filling: &mut Filling, pace: &Pace) {
        let Self { data, way } = self;
        match *way {
            Way::Q8ToFloats => {
                let (scale, values) = data.split_at(4);
                let scale = f32::from_le_bytes(scale.try_into().expect("four bytes"));
                for part in values.chunks(PART) {
                    let out = filling.next(4 * part.len());
                    for (out, &value) in out.chunks_exact_mut(4).zip(part) {
                        out.copy_from_slice(&(f32::from(value as i8) * scale).to_le_bytes());
                    }
                    pace.spend(4 * part.len()).await;
                }
            }
            Way::Q4ToBlocks => {
                for part in data.chunks(PART / Q4_VALUES * Q4_BYTES) {
                    let out = filling.next(part.len());
                    for (out, block) in out.chunks_exact_mut(Q4_BYTES).zip(part.chunks_exact(Q4_BYTES)) {
                        out[..2].copy_from_slice(&block[..2]);
                        // There the lower nibbles are the first sixteen values, the upper ones the others.
                        for index in 0..16 {
                            out[2 + index] = nibble(block, index) | nibble(block, index + 16) << 4;
                        }
                    }
                    pace.spend(4 * part.len()).await;
                }
            }
            Way::Q4ToFloats { elements } => {
                let mut left = elements;
                for block in data.chunks_exact(Q4_BYTES) {
                    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                    let count = left.min(Q4_VALUES);
                    for (index, out) in filling.next(4 * count).chunks_exact_mut(4).enumerate() {
                        out.copy_from_slice(&(f32::from(i16::from(nibble(block, index)) - 8) * scale).to_le_bytes());
                    }
                    left -= count;
                    pace.spend(4 * Q4_VALUES).await;
                }
            }
        }
    }
}

/// Value `index` of a block of AprQ4, plus 8.
fn nibble(block: &[u8], index: usize) -> u8 {
    block[2 + index / 2] >> (4 * (index % 2)) & 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MemoryBudget, at_once};
    use crate::quant::decode_row;

    fn converted(stored: Stored, dims: &[u64], data: &[u8]) -> (TensorType, Vec<f32>) {
        let budget = MemoryBudget::new(u64::MAX);
        let data = SharedBytes::copied(data);
        let (ty, Found::ToBeMade(recipe)) = tensor(stored, dims, &data).unwrap() else { panic!("in place") };
        let bytes = at_once(recipe.make(&budget, &Pace::unhurried())).unwrap();
        let mut values = vec![0.0; dims.iter().product::<u64>() as usize];
        decode_row(ty, &bytes, &mut values).unwrap();
        (ty, values)
    }

    #[test]
    fn both_own_types_decode_to_their_definition() {
        let q4: Vec<u8> = (0..4u8)
            .flat_map(|block| {
                let scale = f16::from_f32(0.5 + f32::from(block)).to_le_bytes();
                scale.into_iter().chain((0..16u8).map(move |byte| byte.wrapping_mul(37).wrapping_add(block)))
            })
            .collect();
        let expected: Vec<f32> = (0..128)
            .map(|index| {
                let (block, within) = (index / 32, index % 32);
                let byte = (within as u8 / 2).wrapping_mul(37).wrapping_add(block as u8);
                let nibble = if within % 2 == 0 { byte & 15 } else { byte >> 4 };
                (f32::from(nibble) - 8.0) * (0.5 + block as f32)
            })
            .collect();
        assert_eq!(converted(Stored::AprQ4, &[64, 2], &q4), (TensorType::Q4_0, expected.clone()));
        assert_eq!(converted(Stored::AprQ4, &[16, 8], &q4), (TensorType::F32, expected.clone()));
        assert_eq!(converted(Stored::AprQ4, &[25, 5], &q4), (TensorType::F32, expected[..125].to_vec()));
        let q8: Vec<u8> = 0.25f32.to_le_bytes().into_iter().chain([0, 1, 127, 128, 255]).collect();
        assert_eq!(converted(Stored::AprQ8, &[5], &q8), (TensorType::F32, vec![0.0, 0.25, 31.75, -32.0, -0.25]));
        assert_eq!(Stored::AprQ4.bytes(&[25, 5]), Some(72));
        assert_eq!((Stored::AprQ8.bytes(&[5]), Stored::Plain(TensorType::Q4_K).bytes(&[255])), (Some(9), None));
    }
}
