//! A loaded model: its file, configuration and program. Immutable, shared by its sessions.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use crate::base::{Error, Job, MemoryCategory, Reservation, Result, SharedBytes};
use crate::format::{Access, Metadata, ModelFile, TensorInfo};
use crate::kernels::ops::Program;
use crate::metrics::runtime::ModelCount;
use crate::runtime::{LogLevel, Runtime};
use crate::tokenizer::Tokenizer;

use super::config::ModelConfig;
use super::loader::{self, Network, Origin, Parts};

/// How a model is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Map the file, or read it into memory.
    pub access: Access,
    /// Load the vocabulary and metadata alone; such a model makes no sessions.
    pub vocab_only: bool,
}

struct Inner {
    runtime: Runtime,
    file: ModelFile,
    tokenizer: Option<Tokenizer>,
    network: Option<Network>,
    _tables: Option<Reservation>,
    _count: ModelCount,
}

/// A loaded model. Clones share it; it keeps its runtime alive. Thread-safe.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

impl Model {
    /// Loads the model file at `path`.
    ///
    /// # Errors
    /// `Io`; `InvalidFile` and `Unsupported` naming the place; `OutOfMemory`.
    pub fn load(runtime: &Runtime, path: &Path, options: LoadOptions) -> Result<Self> {
        Self::load_job(runtime, path, options).finish()
    }

    /// A job that does what [`load`](Self::load) does, in pieces of some microseconds (a page of the file that has to come from the disk takes
    /// as long as it takes). While it runs, and where it is given up, nothing of the model is there but what it holds in the budget.
    pub fn load_job(runtime: &Runtime, path: &Path, options: LoadOptions) -> Job<Self> {
        loader::job(runtime, Origin::Path(path.to_owned()), options)
    }

    /// Loads a model from bytes that the host keeps unchanged while the model or a session of it lives. `name` stands for the path in
    /// messages.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn from_bytes(runtime: &Runtime, bytes: SharedBytes, name: &str, options: LoadOptions) -> Result<Self> {
        Self::from_bytes_job(runtime, bytes, name, options).finish()
    }

    /// A job that does what [`from_bytes`](Self::from_bytes) does.
    pub fn from_bytes_job(runtime: &Runtime, bytes: SharedBytes, name: &str, options: LoadOptions) -> Job<Self> {
        loader::job(runtime, Origin::Bytes(bytes, name.to_owned()), options)
    }

    /// The model of loaded parts.
    pub(super) fn of_parts(runtime: &Runtime, parts: Parts) -> Result<Self> {
        let Parts { file, tokenizer, network } = parts;
        let tables = tokenizer.as_ref().map(|tokenizer| runtime.budget().reserve(MemoryCategory::Other, tokenizer.memory())).transpose()?;
        for warning in tokenizer.iter().flat_map(|tokenizer| tokenizer.warnings()) {
            runtime.log(LogLevel::Warning, || format!("{}: {warning}", file.name()));
        }
        let count = runtime.metrics().model();
        let model = Self(Arc::new(Inner { runtime: runtime.clone(), file, tokenizer, network, _tables: tables, _count: count }));
        runtime.log(LogLevel::Info, || format!("{}: {}", model.0.file.name(), model.description()));
        Ok(model)
    }

    /// The runtime that the model was loaded with.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// The configuration.
    ///
    /// # Errors
    /// `InvalidArgument` for a model loaded with `vocab_only`.
    pub fn config(&self) -> Result<&ModelConfig> {
        Ok(&self.network()?.config)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// `InvalidArgument` for a model whose file has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.0.tokenizer.as_ref().ok_or_else(|| Error::invalid_argument("the model's file has no tokenizer"))
    }

    /// The source of the model's chat template (Jinja).
    ///
    /// # Errors
    /// `InvalidArgument` for a model whose file has none, `InvalidFile` where it is not text.
    pub fn chat_template(&self) -> Result<&str> {
        let source = self.metadata().str("tokenizer.chat_template")?;
        source.ok_or_else(|| Error::invalid_argument("the model's file has no chat template"))
    }

    /// The metadata of the file.
    pub fn metadata(&self) -> &Metadata {
        &self.0.file.metadata
    }

    /// The tensors of the file, in its order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.0.file.tensors
    }

    /// Rows of the output matrix: the number of logits.
    ///
    /// # Errors
    /// `InvalidArgument` for a model loaded with `vocab_only`.
    pub fn vocab_size(&self) -> Result<usize> {
        Ok(self.network()?.vocab_size)
    }

    /// One line for people: architecture, size, parameters.
    pub fn description(&self) -> String {
        let tensors = &self.0.file.tensors;
        let parameters: u64 = tensors.iter().map(TensorInfo::elements).sum();
        let bytes: usize = tensors.iter().map(|tensor| tensor.data.len()).sum();
        let architecture = self.metadata().str("general.architecture").ok().flatten().unwrap_or("unknown architecture");
        let name = self.metadata().str("general.name").ok().flatten().unwrap_or("unnamed");
        format!("{name}, {architecture}, {:.1} M parameters, {:.1} MB", parameters as f64 / 1e6, bytes as f64 / 1e6)
    }

    pub(crate) fn program(&self) -> Result<&Program> {
        Ok(&self.network()?.program)
    }

    fn network(&self) -> Result<&Network> {
        self.0.network.as_ref().ok_or_else(|| Error::invalid_argument("the model was loaded with its vocabulary alone"))
    }
}
