//! Tensors whose bytes do not lie in a file as they are computed with, and are made of what lies there. Which steps that takes is known to the
//! readers of the containers (`apr`, `hub`); here is when they are taken.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::model_file::Conversion;
use super::{apr, hub};
use crate::base::memory::{Filling, Leaving};
use crate::base::{Error, MemoryBudget, MemoryCategory, Pace, Result, SharedBytes};

/// How the bytes of a tensor are made. It holds views of the file's bytes.
#[derive(Debug, Clone)]
pub struct Recipe {
    len: usize,
    steps: Steps,
}

#[derive(Debug, Clone)]
pub(super) enum Steps {
    Apr(apr::Steps),
    Folder(hub::Steps),
}

/// What a reader has found for a tensor.
pub(super) enum Found {
    /// Its bytes, as they lie in the file.
    InPlace(SharedBytes),
    ToBeMade(Recipe),
}

impl Recipe {
    /// `steps` that make `len` bytes; `None` where that passes the address space.
    ///
    /// # Errors
    /// `OutOfMemory` for that.
    pub(super) fn new(len: Option<usize>, steps: Steps) -> Result<Self> {
        let len = len.ok_or_else(|| Error::out_of_memory("a converted tensor passes the address space"))?;
        Ok(Self { len, steps })
    }

    /// Bytes that it makes.
    #[expect(clippy::len_without_is_empty, reason = "no tensor is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Makes the bytes, in private memory.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub async fn make(&self, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<SharedBytes> {
        let mut filling = Filling::new(budget, MemoryCategory::WeightsPrivate, self.len, pace.remains())?;
        let source = match &self.steps {
            Steps::Apr(steps) => {
                steps.take(&mut filling, pace).await;
                steps.source()
            }
            Steps::Folder(steps) => {
                steps.take(&mut filling, pace).await?;
                steps.source()
            }
        };
        source.forget(0..source.len());
        Ok(filling.finish().into())
    }
}

impl Found {
    /// The bytes of the tensor and how they are still to be made; `None` where the tensor is left out.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub async fn settled(
        self,
        conversion: Conversion,
        budget: &Arc<MemoryBudget>,
        pace: &Pace,
    ) -> Result<Option<(SharedBytes, Option<Recipe>)>> {
        let recipe = match self {
            Self::InPlace(data) => return Ok(Some((data, None))),
            Self::ToBeMade(recipe) => recipe,
        };
        Ok(match conversion {
            Conversion::Done => Some((recipe.make(budget, pace).await?, None)),
            Conversion::Later => Some((SharedBytes::default(), Some(recipe))),
            Conversion::Blank => {
                let blank = Leaving::blank(budget, MemoryCategory::WeightsPrivate, recipe.len, pace.remains())?;
                Some((blank.into(), None))
            }
            Conversion::Leave => None,
        })
    }
}
