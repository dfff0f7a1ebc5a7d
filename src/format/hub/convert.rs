//! Tensors that can't be used as they lie in the file: eight-bit floats with their scales, and layouts that GGUF stores otherwise. They are
//! converted row by row into private memory that the budget counts.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use super::super::model_file::Conversion;
use super::super::safetensors::{Dtype, RawTensor};
use super::float8::{e4m3, e5m2};
use super::mxfp4;
use super::names::{Change, Grouping, Lot};
use crate::base::memory::{Filling, Leaving};
use crate::base::vectors::zeros;
use crate::base::{Error, MemoryBudget, MemoryCategory, Pace, Result, SharedBytes};
use crate::quant::{self, TensorType};

/// Type, dimensions and bytes of a tensor after what had to be done to it; `None` where it is not to be had without converting and nothing is
/// to be converted.
pub(super) type Made = Option<(TensorType, Vec<u64>, SharedBytes)>;

/// Converts tensors.
pub(super) struct Converter<'a> {
    pub conversion: Conversion,
    /// Rows and columns that share a scale, where the configuration names them.
    pub block: Option<(u64, u64)>,
    /// Of the fused projections, where the family has them group by group.
    pub grouping: Option<Grouping>,
    pub budget: &'a Arc<MemoryBudget>,
    pub pace: &'a Pace,
}

/// What eight-bit floats are multiplied by.
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

impl Converter<'_> {
    /// Does what has to be done to a tensor; its scales are among those in `by_name`.
    ///
    /// # Errors
    /// `Unsupported` for types that hold no weights, `InvalidFile` for shapes that do not fit, `OutOfMemory`.
    pub(super) async fn convert(&self, raw: &RawTensor, by_name: &HashMap<&str, &RawTensor>, change: Change) -> Result<Made> {
        let scale = Scale::of(raw, by_name, self.block)?;
        match (raw.dtype, change) {
            (_, Change::Mxfp4(lot)) => mxfp4::joined(self, raw, by_name, lot).await,
            (Dtype::Other(_), _) => Err(Error::unsupported("elements are unsigned integers or bools, no weights")),
            (Dtype::Plain(ty), Change::Keep) => Ok(Some((ty, raw.dims.clone(), raw.data.clone()))),
            (Dtype::Plain(ty), Change::Transpose(lot)) => self.transposed(ty, raw, lot).await,
            (Dtype::Plain(ty), Change::Pick(lot)) => self.picked(ty, raw, lot).await,
            (Dtype::Plain(ty), Change::Regroup) => self.regrouped(ty, raw).await,
            (_, Change::Transpose(_) | Change::Pick(_) | Change::Regroup) => {
                Err(Error::unsupported("eight-bit floats whose rows and columns have to be put in another order"))
            }
            (_, Change::Keep | Change::PlusOne) => {
                let added = if change == Change::PlusOne { 1.0 } else { 0.0 };
                let bytes = self.floats(raw, scale, added).await?;
                Ok(bytes.map(|bytes| (TensorType::F32, raw.dims.clone(), bytes)))
            }
        }
    }

    /// Private memory of `len` bytes that is not filled, where nothing is to be converted.
    pub(super) fn instead(&self, len: usize) -> Result<Option<Option<SharedBytes>>> {
        match self.conversion {
            Conversion::Leave => Ok(Some(None)),
            Conversion::Blank => {
                let blank = Leaving::blank(self.budget, MemoryCategory::WeightsPrivate, len, self.pace.remains())?;
                Ok(Some(Some(blank.into())))
            }
            Conversion::Done => Ok(None),
        }
    }

    /// The elements as F32, scaled, with `added` to each.
    async fn floats(&self, raw: &RawTensor, scale: Option<Scale>, added: f32) -> Result<Option<SharedBytes>> {
        let (cols, rows) = (raw.dims[0] as usize, raw.dims[1..].iter().product::<u64>());
        let row_bytes = cols.checked_mul(4);
        let len = row_bytes.zip(usize::try_from(rows).ok()).and_then(|(row, rows)| row.checked_mul(rows));
        let len = len.ok_or_else(|| Error::out_of_memory(format!("{cols} x {rows} floats")))?;
        if let Some(instead) = self.instead(len)? {
            return Ok(instead);
        }
        let mut filling = Filling::new(self.budget, MemoryCategory::WeightsPrivate, len, self.pace.remains())?;
        let mut values = zeros(cols)?;
        let scales = scale.as_ref().map(Scale::values).transpose()?.unwrap_or_default();
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
            if let Some(scale) = &scale {
                scale.apply(&scales, row, &mut values);
            }
            let out = filling.next(4 * cols);
            for (out, value) in out.chunks_exact_mut(4).zip(&values) {
                out.copy_from_slice(&(value + added).to_le_bytes());
            }
            self.pace.spend(8 * cols).await;
        }
        Ok(Some(filling.finish().into()))
    }

    /// A matrix, or each of a stack, with rows and columns exchanged: of its columns those of `lot`.
    async fn transposed(&self, ty: TensorType, raw: &RawTensor, lot: Lot) -> Result<Made> {
        let (&[cols, rows] | &[cols, rows, _]) = &raw.dims[..] else {
            return Err(Error::invalid_file(format!("shape {:?}, expected a matrix, or a stack of them", raw.dims)));
        };
        let picked = lot.of(cols).ok_or_else(|| alternating(cols))?;
        let mut dims = raw.dims.clone();
        dims[..2].copy_from_slice(&[rows, picked]);
        let (cols, rows, size) = (cols as usize, rows as usize, ty.block_bytes());
        let (first, step) = lot.stride();
        if let Some(instead) = self.instead(raw.data.len() / step)? {
            return Ok(instead.map(|bytes| (ty, dims, bytes)));
        }
        let mut filling = Filling::new(self.budget, MemoryCategory::WeightsPrivate, raw.data.len() / step, self.pace.remains())?;
        for matrix in raw.data.chunks_exact(cols * rows * size) {
            for col in (first..cols).step_by(step) {
                let out = filling.next(rows * size);
                for (row, element) in out.chunks_exact_mut(size).enumerate() {
                    let at = (row * cols + col) * size;
                    element.copy_from_slice(&matrix[at..at + size]);
                }
                self.pace.spend(8 * rows).await;
            }
        }
        Ok(Some((ty, dims, filling.finish().into())))
    }

    /// The columns of `lot`.
    async fn picked(&self, ty: TensorType, raw: &RawTensor, lot: Lot) -> Result<Made> {
        let cols = raw.dims[0];
        let mut dims = raw.dims.clone();
        dims[0] = lot.of(cols).ok_or_else(|| alternating(cols))?;
        let (first, step) = lot.stride();
        if let Some(instead) = self.instead(raw.data.len() / step)? {
            return Ok(instead.map(|bytes| (ty, dims, bytes)));
        }
        let size = ty.block_bytes();
        let mut filling = Filling::new(self.budget, MemoryCategory::WeightsPrivate, raw.data.len() / step, self.pace.remains())?;
        for row in raw.data.chunks_exact(cols as usize * size) {
            let out = filling.next(row.len() / step);
            let elements = row.chunks_exact(size).skip(first).step_by(step);
            out.chunks_exact_mut(size).zip(elements).for_each(|(out, element)| out.copy_from_slice(element));
            self.pace.spend(row.len()).await;
        }
        Ok(Some((ty, dims, filling.finish().into())))
    }

    /// A fused projection, or its bias, with all queries first, then all keys, then all values.
    async fn regrouped(&self, ty: TensorType, raw: &RawTensor) -> Result<Made> {
        let Some(Grouping { groups, queries, size }) = self.grouping else {
            return Err(Error::internal("a family without groups has a tensor in groups"));
        };
        let rows = raw.dims.last().copied().unwrap_or(1);
        let heads = queries.checked_add(2).and_then(|heads| heads.checked_mul(groups));
        if heads.and_then(|heads| heads.checked_mul(size)) != Some(rows) || rows == 0 {
            let expected = format!("{groups} groups of {queries} query heads, a key head and a value head of {size}");
            return Err(Error::invalid_file(format!("{rows} rows, expected {expected}")));
        }
        if let Some(instead) = self.instead(raw.data.len())? {
            return Ok(instead.map(|bytes| (ty, raw.dims.clone(), bytes)));
        }
        let head_bytes = raw.data.len() / rows as usize * size as usize;
        let mut filling = Filling::new(self.budget, MemoryCategory::WeightsPrivate, raw.data.len(), self.pace.remains())?;
        let (queries, groups) = (queries as usize, groups as usize);
        let within =
            |parts: std::ops::Range<usize>| (0..groups).flat_map(move |group| parts.clone().map(move |part| group * (queries + 2) + part));
        for head in within(0..queries).chain(within(queries..queries + 1)).chain(within(queries + 1..queries + 2)) {
            filling.next(head_bytes).copy_from_slice(&raw.data[head * head_bytes..(head + 1) * head_bytes]);
            self.pace.spend(head_bytes).await;
        }
        Ok(Some((ty, raw.dims.clone(), filling.finish().into())))
    }
}

/// The error about rows or columns in which two matrices do not alternate.
pub(super) fn alternating(count: u64) -> Error {
    Error::invalid_file(format!("{count} rows or columns, expected an even number: those of two matrices in turn"))
}
