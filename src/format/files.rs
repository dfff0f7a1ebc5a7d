//! The files of a model, brought into reach: from where they come to where their bytes are, before anything in them is believed.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;

use super::source::{Access, Source};
use crate::base::{MemoryBudget, Pace, Result, SharedBytes};

/// Where a model comes from.
#[derive(Debug)]
pub enum Origin {
    /// A file.
    Path(PathBuf),
    /// Bytes of one whole file that the host lends, and what stands for the path in messages.
    Bytes(SharedBytes, String),
}

impl Origin {
    /// Whether opening it with `access` copies all its bytes, which then takes most of the time of a load.
    pub fn is_copied(&self, access: Access) -> bool {
        matches!((self, access), (Self::Path(_), Access::Read))
    }
}

/// The bytes of a model's files.
#[derive(Debug)]
pub struct Files {
    shape: Shape,
    name: String,
}

/// What lies there, by the look of it.
#[derive(Debug)]
pub(super) enum Shape {
    /// A file that is GGUF or nothing that is known.
    Gguf(Source),
}

impl Files {
    /// Brings the files of `origin` into reach. Progress counts the bytes that are copied, so none for mappings.
    ///
    /// # Errors
    /// [`Io`](crate::base::ErrorKind::Io) naming the path where the system refuses or it is no regular file;
    /// [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) where the budget has no room for a private copy.
    pub async fn open(origin: Origin, access: Access, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let source = match origin {
            Origin::Path(path) => Source::open_paced(&path, access, budget, pace).await?,
            Origin::Bytes(bytes, name) => Source::lent(bytes, name),
        };
        Ok(Self { name: source.name().to_owned(), shape: Shape::Gguf(source) })
    }

    /// The path or the given name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in all files that may hold tensors.
    pub(super) fn len(&self) -> u64 {
        match &self.shape {
            Shape::Gguf(source) => source.len(),
        }
    }

    /// What lies there.
    pub(super) fn shape(self) -> Shape {
        self.shape
    }
}
