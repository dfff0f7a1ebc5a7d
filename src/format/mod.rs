//! Floor 2: model files → metadata and a table of tensors.
//!
//! [`ModelFile`] is what the floors above see: typed metadata ([`Metadata`]) and named, shaped views of bytes ([`TensorInfo`]), whichever
//! container they came in. [`Source`] brings the bytes into reach without copying them where it can; `gguf` reads the container.
//!
//! A file is hostile until proven otherwise. Every count, length and offset is checked against the length of the file before it is
//! believed or allocated for, and an error names the file, the key or tensor, and the byte. What the tensors *mean* is not known
//! here: whether a model is complete, or its shapes fit together, is for `model` to say.

#![deny(unsafe_code)]

mod cursor;
mod gguf;
mod metadata;
mod source;
mod tensor;
mod value;
mod writer;

pub use metadata::Metadata;
pub use source::{Access, Source};
pub use tensor::TensorInfo;
pub use value::{Array, StringArray, Value, ValueType};
pub use writer::GgufWriter;

use std::path::Path;
use std::sync::Arc;

use crate::base::{MemoryBudget, Pace, Result, SharedBytes, at_once};
use tensor::TensorTable;

/// A model file: its metadata, and its tensors as views of the file's bytes. Immutable; may be shared between threads.
///
/// The bytes (a mapping, a private copy, or memory that the host lent) stay alive as long as any view of them, so that a tensor may
/// outlive the `ModelFile`.
#[derive(Debug)]
pub struct ModelFile {
    /// The typed key–value pairs, in the order of the file.
    pub metadata: Metadata,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    by_name: TensorTable,
    name: String,
    version: u32,
    alignment: u32,
    len: u64,
}

impl ModelFile {
    /// Opens the GGUF file at `path`, mapping it or reading it into memory.
    ///
    /// Mapped bytes are counted as [`WeightsMapped`](crate::base::MemoryCategory::WeightsMapped), which no limit holds; bytes read as
    /// [`WeightsPrivate`](crate::base::MemoryCategory::WeightsPrivate). Indexes of string arrays count as `Other`.
    ///
    /// # Errors
    /// [`Io`](crate::base::ErrorKind::Io) where the system refuses, [`InvalidFile`](crate::base::ErrorKind::InvalidFile) naming the
    /// place where the file contradicts its format, [`Unsupported`](crate::base::ErrorKind::Unsupported) for big-endian files, other
    /// versions than 2 and 3, and unknown tensor types, [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) by the budget.
    pub fn open(path: &Path, access: Access, budget: &Arc<MemoryBudget>) -> Result<Self> {
        let pace = Pace::unhurried();
        at_once(async { Self::from_source(Source::open_paced(path, access, budget, &pace).await?, budget, &pace).await })
    }

    /// Reads a GGUF file that already lies in memory; nothing is copied. `name` stands for the file in error messages.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for `Io`.
    pub fn from_bytes(bytes: SharedBytes, name: impl Into<String>, budget: &Arc<MemoryBudget>) -> Result<Self> {
        at_once(Self::from_source(Source::lent(bytes, name), budget, &Pace::unhurried()))
    }

    /// Reads the GGUF file that `source` brought, in pieces.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub async fn from_source(source: Source, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let (bytes, name) = source.into_parts();
        let parsed = gguf::parse(&bytes, budget, pace).await.map_err(|error| error.at(&name))?;
        Ok(Self {
            metadata: parsed.metadata,
            tensors: parsed.tensors,
            by_name: parsed.by_name,
            name,
            version: parsed.version,
            alignment: parsed.alignment,
            len: bytes.len() as u64,
        })
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.find(&self.tensors, name).map(|index| &self.tensors[index])
    }

    /// The path or the given name, as it stands in error messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the container: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Tensors start at multiples of this many bytes, counted from the start of the file.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Bytes in the file.
    #[expect(clippy::len_without_is_empty, reason = "a parsed file is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }
}
