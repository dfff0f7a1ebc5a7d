//! Tensors that can't be used as they lie in the file: eight-bit floats with their scales, and layouts that GGUF stores otherwise. What they
//! become is known by their types and shapes ([`Converter`]); the bytes are made row by row ([`Steps`]).

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::super::recipe::{self, Found, Recipe};
use super::super::safetensors::{Dtype, RawTensor};
use super::float8::{e4m3, e5m2};
use super::mxfp4;
use super::names::{Change, Grouping, Lot};
use crate::base::memory::Filling;
use crate::base::vectors::zeros;
use crate::base::{Error, Pace, Result, SharedBytes};
use crate::quant::{self, TensorType};

/// What a tensor becomes: its type, its dimensions, and its bytes, there or to be made.
pub(super) struct Converted {
    pub ty: TensorType,
    pub dims: Vec<u64>,
    pub found: Found,
}

/// Knows what becomes of tensors.
pub(super) struct Converter {
    /// Rows and columns that share a scale, where the configuration names them.
    pub block: Option<(u64, u64)>,
    /// Of the fused projections, where the family has them group by group.
    pub grouping: Option<Grouping>,
}

/// How the bytes of a tensor are made.
#[derive(Debug, Clone)]
pub(in super::super) struct Steps {
    raw: RawTensor,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    /// The elements as F32, scaled, with `added` to each.
    Floats { scale: Option<Scale>, added: f32 },
    /// A matrix, or each of a stack, with rows and columns exchanged: of its columns those of `lot`.
    Transposed { element: usize, lot: Lot },
    /// The columns of `lot`.
    Picked { element: usize, lot: Lot },
    /// A fused projection, or its bias, with all queries first, then all keys, then all values.
    Regrouped(Grouping),
    /// The rows of `lot` of codes, with these scales.
    Joined { scales: SharedBytes, lot: Lot },
}

/// What eight-bit floats are multiplied by.
#[derive(Debug, Clone)]
struct Scale {
    ty: TensorType,
    data: SharedBytes,
    /// Values.
    count: usize,
    /// Rows and columns for each value; values run along the columns first.
    rows: u64,
    cols: u64,
}

impl Scale {
    /// The scale of `weight`, `None` where it is not eight bits wide or has none.
    ///
    /// # Errors
    /// `Unsupported` for a layout that is not known.
    fn of(weight: &RawTensor, by_name: &HashMap<&str, &RawTensor>, block: Option<(u64, u64)>) -> Result<Option<Self>> {
        if !matches!(weight.dtype, Dtype::F8E4M3 | Dtype::F8E5M2) {
            return Ok(None);
        }
        let named = ["_scale_inv", "_scale"].iter().find_map(|suffix| by_name.get(&*format!("{}{suffix}", weight.name)));
        let Some(scale) = named else {
            return match block {
                None => Ok(None),
                Some(_) => Err(Error::invalid_file(format!("there is no tensor '{}_scale_inv'", weight.name))),
            };
        };
        let Dtype::Plain(ty @ (TensorType::F32 | TensorType::F16 | TensorType::BF16)) = scale.dtype else {
            return Err(Error::unsupported(format!("scale '{}' of type {:?}", scale.name, scale.dtype)));
        };
        let (cols, rows) = (weight.dims[0], weight.dims[1..].iter().product::<u64>());
        let (per_rows, per_cols) = match (&scale.dims[..], block) {
            (dims, _) if dims.iter().all(|&dim| dim == 1) => (rows, cols),
            (&[n] | &[1, n], None) if n == rows => (1, cols),
            (&[across, down], Some((r, c))) if across == cols.div_ceil(c) && down == rows.div_ceil(r) => (r, c),
            (dims, block) => {
                return Err(Error::unsupported(format!(
                    "scale '{}' of shape {dims:?} for a weight of shape {:?}, blocks {block:?}: this layout is not known",
                    scale.name, weight.dims
                )));
            }
        };
        let count = (rows.div_ceil(per_rows) * cols.div_ceil(per_cols)) as usize;
        Ok(Some(Self { ty, data: scale.data.clone(), count, rows: per_rows, cols: per_cols }))
    }

    fn values(&self) -> Result<Vec<f32>> {
        let mut values = zeros(self.count)?;
        quant::decode_row(self.ty, &self.data, &mut values)?;
        Ok(values)
    }

    /// Multiplies row number `row`; `scales` are the [`values`](Self::values).
    fn apply(&self, scales: &[f32], row: u64, values: &mut [f32]) {
        let across = (values.len() as u64).div_ceil(self.cols) as usize;
        let start = (row / self.rows) as usize * across;
        for (part, &scale) in values.chunks_mut(self.cols as usize).zip(&scales[start..start + across]) {
            part.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

impl Converter {
    /// What becomes of a tensor; its scales are among those in `by_name`.
    ///
    /// # Errors
    /// `Unsupported` for types that hold no weights, `InvalidFile` for shapes that do not fit, `OutOfMemory` for what passes the address space.
    pub(super) fn converted(&self, raw: &RawTensor, by_name: &HashMap<&str, &RawTensor>, change: Change) -> Result<Converted> {
        let scale = Scale::of(raw, by_name, self.block)?;
        let of = |ty: TensorType, dims: Vec<u64>, len: Option<usize>, way: Way| {
            let recipe = Recipe::new(len, recipe::Steps::Folder(Steps { raw: raw.clone(), way }))?;
            Ok(Converted { ty, dims, found: Found::ToBeMade(recipe) })
        };
        match (raw.dtype, change) {
            (_, Change::Mxfp4(lot)) => {
                let mxfp4::Joined { dims, len, scales } = mxfp4::joined(raw, by_name, lot)?;
                of(TensorType::MXFP4, dims, Some(len), Way::Joined { scales, lot })
            }
            (Dtype::Other(_), _) => Err(Error::unsupported("elements are unsigned integers or bools, no weights")),
            (Dtype::Plain(ty), Change::Keep) => Ok(Converted { ty, dims: raw.dims.clone(), found: Found::InPlace(raw.data.clone()) }),
            (Dtype::Plain(ty), Change::Transpose(lot)) => {
                let (&[cols, rows] | &[cols, rows, _]) = &raw.dims[..] else {
                    return Err(Error::invalid_file(format!("shape {:?}, expected a matrix, or a stack of them", raw.dims)));
                };
                let mut dims = raw.dims.clone();
                dims[..2].copy_from_slice(&[rows, lot.of(cols).ok_or_else(|| alternating(cols))?]);
                let len = raw.data.len() / lot.stride().1;
                of(ty, dims, Some(len), Way::Transposed { element: ty.block_bytes(), lot })
            }
            (Dtype::Plain(ty), Change::Pick(lot)) => {
                let mut dims = raw.dims.clone();
                dims[0] = lot.of(dims[0]).ok_or_else(|| alternating(dims[0]))?;
                of(ty, dims, Some(raw.data.len() / lot.stride().1), Way::Picked { element: ty.block_bytes(), lot })
            }
            (Dtype::Plain(ty), Change::Regroup) => {
                let grouping = self.grouping.ok_or_else(|| Error::internal("a family without groups has a tensor in groups"))?;
                let Grouping { groups, queries, size } = grouping;
                let rows = raw.dims.last().copied().unwrap_or(1);
                let heads = queries.checked_add(2).and_then(|heads| heads.checked_mul(groups));
                if heads.and_then(|heads| heads.checked_mul(size)) != Some(rows) || rows == 0 {
                    let expected = format!("{groups} groups of {queries} query heads, a key head and a value head of {size}");
                    return Err(Error::invalid_file(format!("{rows} rows, expected {expected}")));
                }
                of(ty, raw.dims.clone(), Some(raw.data.len()), Way::Regrouped(grouping))
            }
            (_, Change::Transpose(_) | Change::Pick(_) | Change::Regroup) => {
                Err(Error::unsupported("eight-bit floats whose rows and columns have to be put in another order"))
            }
            (_, Change::Keep | Change::PlusOne) => {
                let elements = raw.dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?));
                let len = elements.and_then(|elements| elements.checked_mul(4));
                let added = if change == Change::PlusOne { 1.0 } else { 0.0 };
                of(TensorType::F32, raw.dims.clone(), len, Way::Floats { scale, added })
            }
        }
    }
}

impl Steps {
    /// What they are made of, but for scales.
    pub(in super::super) fn source(&self) -> &SharedBytes {
        &self.raw.data
    }

    /// Makes the bytes.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(in super::super) async fn take(&self, filling: &mut Filling, pace: &Pace) -> Result<()> {
        let raw = &self.raw;
        match &self.way {
            Way::Floats { scale, added } => floats(raw, scale.as_ref(), *added, filling, pace).await?,
            Way::Transposed { element, lot } => transpose(raw, *element, *lot, filling, pace).await,
            Way::Picked { element, lot } => pick(raw, *element, *lot, filling, pace).await,
            Way::Regrouped(grouping) => regroup(raw, *grouping, filling, pace).await,
            Way::Joined { scales, lot } => mxfp4::join(raw, scales, *lot, filling, pace).await,
        }
        Ok(())
    }
}

async fn floats(raw: &RawTensor, scale: Option<&Scale>, added: f32, filling: &mut Filling, pace: &Pace) -> Result<()> {
    let (cols, rows) = (raw.dims[0] as usize, raw.dims[1..].iter().product::<u64>());
    let mut values = zeros(cols)?;
    let scales = scale.map(Scale::values).transpose()?.unwrap_or_default();
    let decoded: [f32; 256] = std::array::from_fn(|byte| match raw.dtype {
        Dtype::F8E5M2 => e5m2(byte as u8),
        _ => e4m3(byte as u8),
    });
    let given = raw.data.len() / rows as usize;
    for (row, bytes) in (0..rows).zip(raw.data.chunks(given)) {
        match raw.dtype {
            Dtype::Plain(ty) => quant::decode_row(ty, bytes, &mut values)?,
            Dtype::F8E4M3 | Dtype::F8E5M2 => {
                values.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = decoded[usize::from(byte)]);
            }
            Dtype::Other(_) => return Err(Error::internal("no floats")),
        }
        if let Some(scale) = scale {
            scale.apply(&scales, row, &mut values);
        }
        let out = filling.next(4 * cols);
        for (out, value) in out.chunks_exact_mut(4).zip(&values) {
            out.copy_from_slice(&(value + added).to_le_bytes());
        }
        pace.spend(8 * cols).await;
    }
    Ok(())
}

async fn transpose(raw: &RawTensor, element: usize, lot: Lot, filling: &mut Filling, pace: &Pace) {
    let (cols, rows) = (raw.dims[0] as usize, raw.dims[1] as usize);
    let (first, step) = lot.stride();
    for matrix in raw.data.chunks_exact(cols * rows * element) {
        for col in (first..cols).step_by(step) {
            let out = filling.next(rows * element);
            for (row, out) in out.chunks_exact_mut(element).enumerate() {
                let at = (row * cols + col) * element;
                out.copy_from_slice(&matrix[at..at + element]);
            }
            pace.spend(8 * rows).await;
        }
    }
}

async fn pick(raw: &RawTensor, element: usize, lot: Lot, filling: &mut Filling, pace: &Pace) {
    let (first, step) = lot.stride();
    for row in raw.data.chunks_exact(raw.dims[0] as usize * element) {
        let out = filling.next(row.len() / step);
        let elements = row.chunks_exact(element).skip(first).step_by(step);
        out.chunks_exact_mut(element).zip(elements).for_each(|(out, element)| out.copy_from_slice(element));
        pace.spend(row.len()).await;
    }
}

async fn regroup(raw: &RawTensor, grouping: Grouping, filling: &mut Filling, pace: &Pace) {
    let (groups, queries) = (grouping.groups as usize, grouping.queries as usize);
    let head_bytes = raw.data.len() / (groups * (queries + 2));
    let within =
        |parts: std::ops::Range<usize>| (0..groups).flat_map(move |group| parts.clone().map(move |part| group * (queries + 2) + part));
    for head in within(0..queries).chain(within(queries..queries + 1)).chain(within(queries + 1..queries + 2)) {
        filling.next(head_bytes).copy_from_slice(&raw.data[head * head_bytes..(head + 1) * head_bytes]);
        pace.spend(head_bytes).await;
    }
}

/// The error about rows or columns in which two matrices do not alternate.
pub(super) fn alternating(count: u64) -> Error {
    Error::invalid_file(format!("{count} rows or columns, expected an even number: those of two matrices in turn"))
}
