//! A model file as the floors above see it, whichever container it came in.
//!
//! Every container says the same things in the same words: the configuration as typed metadata under the keys of GGUF, the tensors under
//! the names of GGUF (`blk.0.attn_q.weight`), and the vocabulary either as metadata or as the text of a `tokenizer.json`. What a container
//! calls them itself stays inside its reader.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use super::files::{Files, Origin, Shape};
use super::metadata::Metadata;
use super::source::Access;
use super::tensor::{TensorInfo, TensorTable};
use super::{apr, hub, split};
use crate::base::{MemoryBudget, Pace, Result, SharedBytes, at_once};

/// The container that a model came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// GGUF, in one file or several.
    Gguf {
        /// The version of the format: 2 or 3.
        version: u32,
        /// Tensors start at multiples of this many bytes, counted from the start of their file.
        alignment: u32,
    },
    /// A folder of Hugging Face: safetensors files and JSON beside them.
    Safetensors,
    /// APR version 2.
    Apr,
}

impl Container {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gguf { .. } => "GGUF",
            Self::Safetensors => "safetensors",
            Self::Apr => "APR",
        }
    }
}

/// Which rows of the query and key matrices are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RotaryRows {
    /// Those that the family's GGUF converter puts side by side: what `general.architecture` implies in a GGUF file.
    #[default]
    AsConverted,
    /// Row i and row i + n/2 of the n rotated ones of a head, as the families publish their weights.
    Halves,
}

/// A vocabulary that is not metadata: Hugging Face's `tokenizer.json`, and what the files beside it say about its tokens.
#[derive(Debug, Clone, Default)]
pub struct TokenizerJson {
    /// The text of the file. Nothing of it has been checked.
    pub json: SharedBytes,
    /// The name of the file, for messages.
    pub name: String,
    /// The text of the token that begins a text.
    pub bos: Option<String>,
    /// Of the one that ends a text.
    pub eos: Option<String>,
    /// Of the one that fills a batch.
    pub padding: Option<String>,
}

/// A model file: its metadata, its tensors as views of the files' bytes, and its vocabulary. Immutable; may be shared between threads.
///
/// The bytes (a mapping, a private copy, or memory that the host lent) stay alive as long as any view of them, so that a tensor may
/// outlive the `ModelFile`.
#[derive(Debug)]
pub struct ModelFile {
    /// The typed key–value pairs, in the order of the file.
    pub metadata: Metadata,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// How the rows of query and key matrices lie.
    pub rotary: RotaryRows,
    /// The vocabulary, where it is a `tokenizer.json`; else it is in the metadata (`tokenizer.ggml.*`), or there is none.
    pub tokenizer: Option<TokenizerJson>,
    by_name: TensorTable,
    name: String,
    container: Container,
    len: u64,
}

/// What becomes of tensors that can't be used as they lie in the file (eight-bit floats, codes whose scales lie elsewhere).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// They are converted into private memory.
    Done,
    /// They are converted when they are asked for, one by one ([`TensorInfo::bytes`]).
    Later,
    /// They are blank memory of that size, so that no tensor's data is touched.
    Blank,
    /// They are left out.
    Leave,
}

/// What the reader of a container has found.
pub(super) struct Contents {
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
    pub rotary: RotaryRows,
    pub tokenizer: Option<TokenizerJson>,
    pub container: Container,
}

impl ModelFile {
    /// Opens the model at `path`, mapping its files or reading them into memory: a GGUF file (or all those of a model
    /// in several), an APR file, a Hugging Face folder, or a safetensors file in one.
    ///
    /// Mapped bytes are counted as [`WeightsMapped`](crate::base::MemoryCategory::WeightsMapped), which no limit holds; bytes read as
    /// [`WeightsPrivate`](crate::base::MemoryCategory::WeightsPrivate). Indexes of string arrays count as `Other`.
    ///
    /// # Errors
    /// [`Io`](crate::base::ErrorKind::Io) where the system refuses, [`InvalidFile`](crate::base::ErrorKind::InvalidFile) naming the
    /// place where the file contradicts its format, [`Unsupported`](crate::base::ErrorKind::Unsupported) for big-endian files, other
    /// versions than 2 and 3, and unknown tensor types, [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) by the budget.
    pub fn open(path: &Path, access: Access, budget: &Arc<MemoryBudget>) -> Result<Self> {
        Self::read_at_once(Origin::Path(path.to_owned()), access, budget)
    }

    /// Reads a GGUF or APR file that already lies in memory; nothing is copied. `name` stands for the file in error messages.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for `Io`.
    pub fn from_bytes(bytes: SharedBytes, name: impl Into<String>, budget: &Arc<MemoryBudget>) -> Result<Self> {
        Self::read_at_once(Origin::Bytes(bytes, name.into()), Access::Map, budget)
    }

    /// Reads a Hugging Face folder whose files already lie in memory, by their names. `name` stands for the folder in error messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_folder(files: Vec<(String, SharedBytes)>, name: impl Into<String>, budget: &Arc<MemoryBudget>) -> Result<Self> {
        Self::read_at_once(Origin::Folder(files, name.into()), Access::Map, budget)
    }

    fn read_at_once(origin: Origin, access: Access, budget: &Arc<MemoryBudget>) -> Result<Self> {
        let pace = Pace::unhurried();
        at_once(async { Self::read(Files::open(origin, access, budget, &pace).await?, Conversion::Done, budget, &pace).await })
    }

    /// Reads what lies in `files`, in pieces.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for `Io`.
    pub async fn read(files: Files, conversion: Conversion, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let (len, name) = (files.len(), files.name().to_owned());
        let contents = match files.shape() {
            Shape::Gguf(sources) => split::read(sources, budget, pace).await?,
            Shape::Apr(source, whole) => {
                let contents = apr::read(source.bytes(), whole, conversion, budget, pace).await;
                contents.map_err(|error| error.at(source.name()))?
            }
            Shape::Folder(folder) => hub::read(*folder, conversion, budget, pace).await?,
        };
        let Contents { metadata, tensors, rotary, tokenizer, container } = contents;
        let by_name = TensorTable::new(&tensors, pace).await.map_err(|error| error.at(&name))?;
        Ok(Self { metadata, tensors, rotary, tokenizer, by_name, name, container, len })
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.find(&self.tensors, name).map(|index| &self.tensors[index])
    }

    /// The path or the given name, as it stands in error messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The container that the model came in.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Bytes in all files whose tensors these are.
    #[expect(clippy::len_without_is_empty, reason = "a parsed file is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }
}
