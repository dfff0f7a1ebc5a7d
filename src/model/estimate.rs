//! What a model will hold in memory, before it is loaded.
//!
//! The loader runs on a mapping of the file with a budget of its own and leaves out only what touches the data of tensors; what it then has
//! taken is what a load takes. So an estimate can't go astray from the load, and costs as much time as one of a mapped file, nearly all
//! of it for the tokenizer's tables, whose size only building them tells.

#![forbid(unsafe_code)]

use std::path::Path;

use crate::base::{Error, Job, MemoryBudget, MemoryCategory, Pace, Result, SharedBytes};
use crate::format::{Access, Origin};
use crate::kernels::ops::Program;

use super::config::ModelConfig;
use super::loaded::LoadOptions;
use super::loader::{Network, Parts, Purpose, stages};

/// Bytes that a model takes of its runtime's budget, by category, and what sessions of it are computed from.
pub struct ModelEstimate {
    /// The file, where it is mapped.
    pub weights_mapped: u64,
    /// The file, where it is read; vectors, and all tensors that are converted or quantised.
    pub weights_private: u64,
    /// Indexes of the metadata and the tokenizer's tables (category `other`).
    pub tables: u64,
    network: Option<Network>,
}

impl ModelEstimate {
    /// What [`Model::load`](super::Model::load) with the same arguments will take.
    ///
    /// # Errors
    /// As for `load`: a file that can't be loaded has no estimate. Not `OutOfMemory` by a budget.
    pub fn of_file(path: &Path, options: LoadOptions) -> Result<Self> {
        Self::of_file_job(path, options).finish()
    }

    /// A job that does what [`of_file`](Self::of_file) does, in the stages of a load.
    pub fn of_file_job(path: &Path, options: LoadOptions) -> Job<Self> {
        Self::job(Origin::Path(path.to_owned()), options)
    }

    /// What [`Model::from_bytes`](super::Model::from_bytes) with the same arguments will take; the lent bytes are not part of it.
    ///
    /// # Errors
    /// As for [`of_file`](Self::of_file).
    pub fn of_bytes(bytes: SharedBytes, name: &str, options: LoadOptions) -> Result<Self> {
        Self::job(Origin::Bytes(bytes, name.to_owned()), options).finish()
    }

    fn job(origin: Origin, options: LoadOptions) -> Job<Self> {
        Job::new(stages(&origin, &LoadOptions { access: Access::Map, ..options }), move |pace| async move {
            Self::of(origin, options, &pace).await
        })
    }

    async fn of(origin: Origin, options: LoadOptions, pace: &Pace) -> Result<Self> {
        let own = MemoryBudget::new(u64::MAX);
        let mapped = LoadOptions { access: Access::Map, ..options };
        let parts = Parts::load(&own, origin, mapped, Purpose::Estimate, pace).await?;
        let tables = own.used(MemoryCategory::Other) + parts.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.memory());
        let (file, vectors) = (own.used(MemoryCategory::WeightsMapped), own.used(MemoryCategory::WeightsPrivate));
        let (weights_mapped, weights_private) = match options.access {
            Access::Map => (file, vectors),
            Access::Read => (0, file + vectors),
        };
        Ok(Self { weights_mapped, weights_private, tables, network: parts.network })
    }

    /// Private bytes: all but the mapped file.
    pub fn private(&self) -> u64 {
        self.weights_private + self.tables
    }

    /// The configuration.
    ///
    /// # Errors
    /// `InvalidArgument` for an estimate of the vocabulary alone.
    pub fn config(&self) -> Result<&ModelConfig> {
        Ok(&self.network()?.config)
    }

    /// The number of logits.
    ///
    /// # Errors
    /// As for [`config`](Self::config).
    pub fn vocab_size(&self) -> Result<usize> {
        Ok(self.network()?.vocab_size)
    }

    pub(crate) fn program(&self) -> Result<&Program> {
        Ok(&self.network()?.program)
    }

    fn network(&self) -> Result<&Network> {
        self.network.as_ref().ok_or_else(|| Error::invalid_argument("the estimate is of the vocabulary alone"))
    }
}
