//! The table of tensors: name, shape, type and bytes of each.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::metadata::sorted_unique;
use super::recipe::Recipe;
use crate::base::{MemoryBudget, Pace, Result, SharedBytes};
use crate::quant::TensorType;

/// A tensor of a model file: what it is called, its shape, how its elements are stored, and where.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// One to four dimensions, none zero, the contiguous one first: a matrix of r rows and c columns is `[c, r]`.
    pub dims: Vec<u64>,
    /// How the elements are stored. Known by name, but perhaps not one that this version decodes.
    pub ty: TensorType,
    /// The bytes: rows side by side, exactly as many as shape and type say. At a multiple of the file's alignment from its start;
    /// the address of the start itself is the host's choice where the host lent the bytes. Empty where they are still to be made.
    pub data: SharedBytes,
    /// How they are made, where the file was read with [`Conversion::Later`](super::Conversion::Later) and does not have them as they are used.
    pub recipe: Option<Recipe>,
    /// Which of the model's files it lies in, counted from 0.
    pub file: u32,
    /// The offset of the first byte from the start of that file.
    pub offset: u64,
}

impl TensorInfo {
    /// Elements in one row: the first dimension.
    pub fn cols(&self) -> u64 {
        self.dims[0]
    }

    /// Rows, over all further dimensions.
    pub fn rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// All elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Bytes, made already or not.
    pub fn byte_len(&self) -> usize {
        self.recipe.as_ref().map_or(self.data.len(), Recipe::len)
    }

    /// The bytes: those that are there, or such as are made now, in private memory that goes with the last view of them.
    ///
    /// # Errors
    /// `OutOfMemory` naming the tensor.
    pub async fn bytes(&self, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<SharedBytes> {
        match &self.recipe {
            None => Ok(self.data.clone()),
            Some(recipe) => recipe.make(budget, pace).await.map_err(|error| error.at(format_args!("tensor '{}'", self.name))),
        }
    }
}

/// An index of tensors by name.
#[derive(Debug)]
pub(super) struct TensorTable(Vec<u32>);

impl TensorTable {
    /// The index of `tensors`.
    ///
    /// # Errors
    /// [`InvalidFile`](crate::base::ErrorKind::InvalidFile) for a name that stands twice, `OutOfMemory` where there is no room for the index.
    pub(super) async fn new(tensors: &[TensorInfo], pace: &Pace) -> Result<Self> {
        let indexes = sorted_unique(tensors.len(), |index| &tensors[index].name, pace).await;
        indexes?.map(Self).map_err(|error| error.describe("tensor", "tensors"))
    }

    /// The place of the tensor called `name` in `tensors`, which are those that the index was made of.
    pub(super) fn find(&self, tensors: &[TensorInfo], name: &str) -> Option<usize> {
        let found = self.0.binary_search_by(|&index| (*tensors[index as usize].name).cmp(name)).ok()?;
        Some(self.0[found] as usize)
    }
}
