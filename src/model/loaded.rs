//! A loaded model: its file, configuration and program. Immutable, shared by its sessions.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use xxhash_rust::xxh3::Xxh3;

use crate::base::{Error, Job, MemoryCategory, Pace, Reservation, Result, SharedBytes};
use crate::format::{Access, Metadata, ModelFile, Origin, RotaryRows, TensorInfo};
use crate::kernels::kv::prefix::PrefixIndex;
use crate::kernels::ops::Program;
use crate::metrics::runtime::ModelCount;
use crate::runtime::{LogLevel, Runtime};
use crate::tokenizer::Tokenizer;

use super::config::ModelConfig;
use super::loader::{self, Network, Parts};
use super::mix::Mix;

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Map the file, or read it into memory.
    pub access: Access,
    /// Load the vocabulary and metadata alone; such a model makes no sessions.
    pub vocab_only: bool,
    /// Bytes of KV cache that the model may keep for sessions that begin like earlier ones; 0 for none.
    pub prefix_cache: u64,
    /// The types to put the tensors into, in private memory; `None` to compute with them as they are.
    pub quantize: Option<Mix>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { access: Access::default(), vocab_only: false, prefix_cache: 64 << 20, quantize: None }
    }
}

struct Inner {
    runtime: Runtime,
    file: ModelFile,
    tokenizer: Option<Tokenizer>,
    network: Option<Network>,
    prefixes: Arc<PrefixIndex>,
    fingerprint: OnceLock<u128>,
    _tables: Option<Reservation>,
    _count: ModelCount,
}

/// A loaded model. Clones share it; it keeps its runtime alive. Thread-safe.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({})", self.0.file.name())
    }
}

impl Model {
    /// Loads the model at `path`: a GGUF or APR file, or a Hugging Face folder.
    ///
    /// # Errors
    /// `Io`; `InvalidFile` and `Unsupported` naming the place; `OutOfMemory`.
    pub fn load(runtime: &Runtime, path: &Path, options: LoadOptions) -> Result<Self> {
        Self::load_job(runtime, path, options).finish()
    }

    /// A job that does what [`load`](Self::load) does, in pieces of some microseconds (a page of the file that has to come from the disk takes
    /// as long as it takes), or some hundred where tensors are quantised, which the runtime's threads do as well. While it runs, and where it is given up, nothing of the model is there but what it holds in the budget.
    pub fn load_job(runtime: &Runtime, path: &Path, options: LoadOptions) -> Job<Self> {
        loader::job(runtime, Origin::Path(path.to_owned()), options)
    }

    /// What [`load_job`](Self::load_job) does, as a part of longer work: its stages are the first of `pace`, four where nothing is quantised and
    /// five else.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub async fn load_paced(runtime: &Runtime, path: &Path, options: LoadOptions, pace: &Pace) -> Result<Self> {
        loader::load(runtime, Origin::Path(path.to_owned()), options, pace).await
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

    /// A job that loads a model from wherever its files are.
    pub fn from_origin_job(runtime: &Runtime, origin: Origin, options: LoadOptions) -> Job<Self> {
        loader::job(runtime, origin, options)
    }

    /// The model of loaded parts, with so many bytes for the beginnings of conversations.
    pub(super) fn of_parts(runtime: &Runtime, parts: Parts, prefix_cache: u64) -> Result<Self> {
        let Parts { file, tokenizer, network } = parts;
        let tables = tokenizer.as_ref().map(|tokenizer| runtime.budget().reserve(MemoryCategory::Other, tokenizer.memory())).transpose()?;
        for warning in tokenizer.iter().flat_map(|tokenizer| tokenizer.warnings()) {
            runtime.log(LogLevel::Warning, || format!("{}: {warning}", file.name()));
        }
        let count = runtime.metrics().model();
        let prefixes = Arc::new(PrefixIndex::new(prefix_cache));
        let cache: Weak<PrefixIndex> = Arc::downgrade(&prefixes);
        runtime.budget().add_cache(cache);
        let model = Self(Arc::new(Inner {
            runtime: runtime.clone(),
            file,
            tokenizer,
            network,
            fingerprint: OnceLock::new(),
            prefixes,
            _tables: tables,
            _count: count,
        }));
        runtime.log(LogLevel::Info, || format!("{}: {}", model.0.file.name(), model.description()));
        Ok(model)
    }

    /// Whether two handles are of the same loaded model.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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

    /// The file.
    pub fn file(&self) -> &ModelFile {
        &self.0.file
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

    /// A number by which two models that compute the same can be told from others: a hash of the numbers and names in the metadata, of the
    /// tensors' names, types and shapes, and of some kilobytes of each tensor's data. Computed once, in a few milliseconds.
    pub fn fingerprint(&self) -> u128 {
        *self.0.fingerprint.get_or_init(|| fingerprint(&self.0.file))
    }

    /// The pages that sessions of the model began with, for the next that begins alike.
    pub fn prefixes(&self) -> &PrefixIndex {
        &self.0.prefixes
    }

    pub(crate) fn program(&self) -> Result<&Program> {
        Ok(&self.network()?.program)
    }

    fn network(&self) -> Result<&Network> {
        self.0.network.as_ref().ok_or_else(|| match self.0.file.tensors.is_empty() {
            true => Error::invalid_argument(format!("{} holds a vocabulary alone, no weights", self.0.file.name())),
            false => Error::invalid_argument("the model was loaded with its vocabulary alone"),
        })
    }
}

/// Bytes of a tensor's data that its part of the fingerprint is made from, at its beginning, middle and end.
const FINGERPRINT_SAMPLE: usize = 1024;

fn fingerprint(file: &ModelFile) -> u128 {
    let mut hash = Xxh3::new();
    let mut put = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for (key, value) in file.metadata.iter() {
        // What a model is called, and the text of its vocabulary, decide nothing that a session keeps.
        let value = match (value.number(), value.bytes()) {
            (Some(number), _) => number.to_le_bytes().to_vec(),
            (None, Some(text)) if !key.starts_with("general.") || key == "general.architecture" => text.to_vec(),
            _ => continue,
        };
        put(key.as_bytes());
        put(&value);
    }
    if file.rotary == RotaryRows::Halves {
        put(b"halves");
    }
    for tensor in &file.tensors {
        put(tensor.name.as_bytes());
        put(tensor.ty.name().as_bytes());
        tensor.dims.iter().for_each(|dim| put(&dim.to_le_bytes()));
        let (data, sample) = (&tensor.data[..], FINGERPRINT_SAMPLE.min(tensor.data.len()));
        for start in [0, (data.len() - sample) / 2, data.len() - sample] {
            put(&data[start..start + sample]);
        }
    }
    hash.digest128()
}
