//! Typed, checked access to the tensors of a file. Matrices stay where they are mapped; vectors become f32.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::pace::Pause;
use crate::base::vectors::zeros;
use crate::base::{Error, MemoryBudget, MemoryCategory, Pace, Reservation, Result};
use crate::format::{ModelFile, RotaryRows, TensorInfo};
use crate::kernels::Matrix;
use crate::kernels::ops::RopeStyle;
use crate::quant;

use super::stacks;

/// What the tensors of a layer cost (see [`Pace::spend`]).
const LAYER_COST: usize = 1 << 14;
/// What looking for a tensor's name costs.
const NAME_COST: usize = 64;

/// What becomes of the vectors of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// Decoded, to compute with.
    Decoded,
    /// Zeros of the same length: for a program that is measured and never run, so that no tensor's data is touched.
    Blank,
}

/// The tensors of a file, with a note of which were taken, so that a tensor nobody computes with is an error and not a silent
/// difference.
pub struct Weights<'a> {
    file: &'a ModelFile,
    budget: &'a Arc<MemoryBudget>,
    vectors: Vectors,
    pace: &'a Pace,
    taken: HashSet<&'a str>,
    private: Vec<Reservation>,
    zeros: Vec<Arc<[f32]>>,
}

impl<'a> Weights<'a> {
    /// Access to the tensors of `file`. The progress of `pace` counts them.
    pub fn new(file: &'a ModelFile, budget: &'a Arc<MemoryBudget>, vectors: Vectors, pace: &'a Pace) -> Self {
        pace.expect(file.tensors.len() as u64);
        Self { file, budget, vectors, pace, taken: HashSet::new(), private: vec![], zeros: vec![] }
    }

    /// Where a builder may pause: after every layer.
    pub fn pause(&self) -> Pause<'a> {
        self.pace.spend(LAYER_COST)
    }

    /// How the rows of queries and keys are paired, for a family whose GGUF files have them `converted`.
    pub fn rope_style(&self, converted: RopeStyle) -> RopeStyle {
        match self.file.rotary {
            RotaryRows::AsConverted => converted,
            RotaryRows::Halves => RopeStyle::Halves,
        }
    }

    /// Whether the file has a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// The matrix `name` (rows, cols).
    ///
    /// # Errors
    /// `InvalidFile` where it is missing or has another shape, `Unsupported` where its type can't be computed with.
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix> {
        self.optional_matrix(name, rows, cols)?.ok_or_else(|| missing(name))
    }

    /// As [`matrix`](Self::matrix), `None` where the file has no such tensor.
    ///
    /// # Errors
    /// As for [`matrix`](Self::matrix).
    pub fn optional_matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Option<Matrix>> {
        let Some(tensor) = self.take(name) else { return Ok(None) };
        expect_dims(tensor, &[cols as u64, rows as u64])?;
        Matrix::new(tensor.ty, rows, cols, tensor.data.clone()).map(Some).map_err(|error| error.at(format!("tensor '{name}'")))
    }

    /// The tensor `name` of `count` stacked matrices (rows, cols).
    ///
    /// # Errors
    /// As for [`matrix`](Self::matrix).
    pub fn matrices(&mut self, name: &str, count: usize, rows: usize, cols: usize) -> Result<Vec<Matrix>> {
        let Some(tensor) = self.take(name) else { return self.single_matrices(name, count, rows, cols) };
        expect_dims(tensor, &[cols as u64, rows as u64, count as u64])?;
        (0..count).map(|index| part(tensor, index, count, rows, cols)).collect()
    }

    /// The matrices of a tensor that the file has not stacked: `blk.0.ffn_up.3.weight` for the fourth of `blk.0.ffn_up_exps.weight`.
    fn single_matrices(&mut self, name: &str, count: usize, rows: usize, cols: usize) -> Result<Vec<Matrix>> {
        if !name.ends_with(stacks::EXPERTS) || !self.contains_stacked(name) {
            return Err(missing(name));
        }
        (0..count).map(|index| self.matrix(&stacks::part(name, index), rows, cols)).collect()
    }

    /// The matrices (rows, cols) that tensor `name` (2·rows, cols) is the first and the second half of.
    ///
    /// # Errors
    /// As for [`matrix`](Self::matrix).
    pub fn halves(&mut self, name: &str, rows: usize, cols: usize) -> Result<(Matrix, Matrix)> {
        let tensor = self.take(name).ok_or_else(|| missing(name))?;
        expect_dims(tensor, &[cols as u64, 2 * rows as u64])?;
        Ok((part(tensor, 0, 2, rows, cols)?, part(tensor, 1, 2, rows, cols)?))
    }

    /// The vectors of `len` elements that tensor `name` has `count` of, one after the other, in f32.
    ///
    /// # Errors
    /// As for [`vector`](Self::vector).
    pub fn vectors(&mut self, name: &str, count: usize, len: usize) -> Result<Arc<[f32]>> {
        let Some(tensor) = self.take(name) else { return self.single_vectors(name, count, len) };
        expect_dims(tensor, &[len as u64, count as u64])?;
        self.decoded(tensor, count * len)
    }

    /// The vectors of a tensor that the file has not stacked: `blk.0.attn_q_norm.3.weight` for the fourth of `blk.0.attn_q_norm.weight`.
    fn single_vectors(&mut self, name: &str, count: usize, len: usize) -> Result<Arc<[f32]>> {
        if !self.contains_stacked(name) {
            return Err(missing(name));
        }
        let mut values = self.blank(count * len)?;
        for (index, row) in values.chunks_exact_mut(len).enumerate() {
            let name = stacks::part(name, index);
            let tensor = self.take(&name).ok_or_else(|| missing(&name))?;
            expect_dims(tensor, &[len as u64])?;
            self.decode(tensor, row)?;
        }
        Ok(values.into())
    }

    /// Whether the file has a tensor `name`, or its parts one by one.
    pub fn contains_stacked(&self, name: &str) -> bool {
        self.contains(name) || self.contains(&stacks::part(name, 0))
    }

    /// The first row of the matrix `name` with rows of `len` elements, in f32.
    ///
    /// # Errors
    /// As for [`vector`](Self::vector).
    pub fn first_row(&mut self, name: &str, len: usize) -> Result<Arc<[f32]>> {
        let rows = self.rows(name)?;
        let table = self.matrix(name, rows, len)?;
        let mut values = self.blank(len)?;
        if self.vectors == Vectors::Decoded {
            quant::decode_row(table.ty(), table.rows_bytes(0..1), &mut values).map_err(|error| error.at(format!("tensor '{name}'")))?;
        }
        Ok(values.into())
    }

    /// A vector of zeros, for what a family leaves out and an operation asks for.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn zeros(&mut self, len: usize) -> Result<Arc<[f32]>> {
        if let Some(zeros) = self.zeros.iter().find(|zeros| zeros.len() == len) {
            return Ok(Arc::clone(zeros));
        }
        let zeros: Arc<[f32]> = self.blank(len)?.into();
        self.zeros.push(Arc::clone(&zeros));
        Ok(zeros)
    }

    fn blank(&mut self, len: usize) -> Result<Vec<f32>> {
        self.private.push(self.budget.reserve(MemoryCategory::WeightsPrivate, (len * size_of::<f32>()) as u64)?);
        zeros(len)
    }

    fn decoded(&mut self, tensor: &TensorInfo, len: usize) -> Result<Arc<[f32]>> {
        let mut values = self.blank(len)?;
        self.decode(tensor, &mut values)?;
        Ok(values.into())
    }

    fn decode(&self, tensor: &TensorInfo, values: &mut [f32]) -> Result<()> {
        match self.vectors {
            Vectors::Decoded => {
                quant::decode_row(tensor.ty, &tensor.data, values).map_err(|error| error.at(format!("tensor '{}'", tensor.name)))
            }
            Vectors::Blank => Ok(()),
        }
    }

    /// The vector `name` of `len` elements, in f32.
    ///
    /// # Errors
    /// As for [`matrix`](Self::matrix), and `OutOfMemory`.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Arc<[f32]>> {
        self.optional_vector(name, len)?.ok_or_else(|| missing(name))
    }

    /// As [`vector`](Self::vector), `None` where the file has no such tensor.
    ///
    /// # Errors
    /// As for [`vector`](Self::vector).
    pub fn optional_vector(&mut self, name: &str, len: usize) -> Result<Option<Arc<[f32]>>> {
        let Some(tensor) = self.take(name) else { return Ok(None) };
        expect_dims(tensor, &[len as u64])?;
        self.decoded(tensor, len).map(Some)
    }

    /// Rows of the matrix `name`, whatever its number of columns: the size of the vocabulary comes from the embedding.
    ///
    /// # Errors
    /// `InvalidFile` where it is missing or no matrix.
    pub fn rows(&self, name: &str) -> Result<usize> {
        let tensor = self.file.tensor(name).ok_or_else(|| missing(name))?;
        match tensor.dims[..] {
            [_, rows] => usize::try_from(rows).map_err(|_| Error::invalid_file(format!("tensor '{name}': {rows} rows"))),
            _ => Err(Error::invalid_file(format!("tensor '{name}': shape {:?}, expected a matrix", tensor.dims))),
        }
    }

    /// Ends the access: the memory taken for vectors.
    ///
    /// # Errors
    /// `Unsupported` where a tensor was not taken: the model computes something that the architecture here does not.
    pub async fn finish(self) -> Result<Vec<Reservation>> {
        for tensor in &self.file.tensors {
            if !self.taken.contains(tensor.name.as_str()) {
                return Err(Error::unsupported(format!("tensor '{}' has no place in this architecture", tensor.name)));
            }
            self.pace.spend(NAME_COST).await;
        }
        Ok(self.private)
    }

    fn take(&mut self, name: &str) -> Option<&'a TensorInfo> {
        let tensor = self.file.tensor(name)?;
        if self.taken.insert(&tensor.name) {
            self.pace.advance(1);
        }
        Some(tensor)
    }
}

fn missing(name: &str) -> Error {
    Error::invalid_file(format!("tensor '{name}' is missing"))
}

/// Matrix number `index` of the `count` (rows, cols) that a tensor consists of.
fn part(tensor: &TensorInfo, index: usize, count: usize, rows: usize, cols: usize) -> Result<Matrix> {
    let bytes = tensor.data.len() / count.max(1);
    let data = tensor.data.slice(index * bytes..(index + 1) * bytes).expect("a part of the tensor");
    Matrix::new(tensor.ty, rows, cols, data).map_err(|error| error.at(format!("tensor '{}'", tensor.name)))
}

/// Checks a shape; trailing ones do not matter.
fn expect_dims(tensor: &TensorInfo, expected: &[u64]) -> Result<()> {
    let given = &tensor.dims;
    let shared = given.len().min(expected.len());
    let fits = given[..shared] == expected[..shared] && given[shared..].iter().chain(&expected[shared..]).all(|&d| d == 1);
    if fits { Ok(()) } else { Err(Error::invalid_file(format!("tensor '{}': shape {given:?}, expected {expected:?}", tensor.name))) }
}
