//! The files of a model folder, brought into reach: which of them there are, and how much of each may be read.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;

use super::super::source::{Access, Source};
use super::index::Index;
use crate::base::{Error, ErrorKind, MemoryBudget, Pace, Result, SharedBytes};

/// The longest files that are read whole, in bytes. The largest known: some megabytes of index, 33 MB of tokenizer.
const MAX_JSON: u64 = 16 << 20;
const MAX_INDEX: u64 = 64 << 20;
const MAX_TOKENIZER: u64 = 64 << 20;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Where the files are looked for.
#[derive(Debug)]
pub(in super::super) enum Place {
    /// A folder, and the one weight file to be read where the host has named it.
    Disk(PathBuf, Option<String>),
    /// Files in memory by name, and what stands for the folder in messages.
    Memory(Vec<(String, SharedBytes)>, String),
}

/// The files of a model.
#[derive(Debug)]
pub(in super::super) struct Folder {
    /// The folder, in messages.
    pub name: String,
    /// Its last component: what the model is called where nothing else names it.
    pub title: String,
    pub config: Source,
    pub generation: Option<Source>,
    pub tokenizer: Option<Source>,
    pub tokenizer_config: Option<Source>,
    /// `chat_template.jinja`.
    pub template: Option<Source>,
    pub index: Option<Index>,
    /// The files with tensors: none where the folder holds a vocabulary alone.
    pub weights: Vec<Source>,
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Disk(folder, _) => folder.display().to_string(),
            Self::Memory(_, name) => name.clone(),
        }
    }

    fn title(&self) -> String {
        match self {
            // `.` has a name only once it is resolved.
            Self::Disk(folder, _) => {
                let whole = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                whole.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
            }
            Self::Memory(_, name) => name.clone(),
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Disk(folder, _) => folder.join(name).is_file(),
            Self::Memory(files, _) => files.iter().any(|(known, _)| known == name),
        }
    }

    /// A file of which there should be one.
    async fn file(&self, name: &str, access: Access, limit: u64, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Source> {
        let source = match self {
            Self::Disk(folder, _) => Source::open_within(&folder.join(name), access, limit, budget, pace).await?,
            Self::Memory(files, place) => match files.iter().find(|(known, _)| known == name) {
                Some((_, bytes)) => Source::lent(bytes.clone(), format!("{place}/{name}")),
                None => return Err(Error::new(ErrorKind::Io, format!("{place}/{name}: no such file"))),
            },
        };
        if source.len() > limit {
            return Err(Error::invalid_file(format!("{}: {} bytes; at most {limit} are read", source.name(), source.len())));
        }
        Ok(source)
    }

    /// A small file that may be missing, in private memory: what happens to it afterwards does not matter.
    async fn small(&self, name: &str, limit: u64, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Option<Source>> {
        if !self.has(name) {
            return Ok(None);
        }
        self.file(name, Access::Read, limit, budget, pace).await.map(Some)
    }
}

impl Folder {
    /// Finds and opens the files.
    ///
    /// # Errors
    /// `Io` where the system refuses, `InvalidFile` for a file that is missing or larger than any model's, naming it.
    pub(in super::super) async fn open(place: Place, access: Access, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let name = place.name();
        let small = async |file: &str, limit: u64| place.small(file, limit, budget, pace).await;
        let config = small("config.json", MAX_JSON).await?;
        let config = config.ok_or_else(|| Error::invalid_file(format!("{name}: there is no config.json")))?;
        let tokenizer = small("tokenizer.json", MAX_TOKENIZER).await?;
        let index = small(INDEX, MAX_INDEX).await?.map(Index::read).transpose()?;
        let chosen = if let Place::Disk(_, Some(chosen)) = &place { Some(chosen.clone()) } else { None };
        let index = index.filter(|index| chosen.as_ref().is_none_or(|chosen| index.files().contains(chosen)));
        let (index, files) = match (index, chosen) {
            (Some(index), _) => {
                let files = index.files().to_vec();
                (Some(index), files)
            }
            (None, Some(chosen)) => (None, vec![chosen]),
            (None, None) if place.has(SINGLE) => (None, vec![SINGLE.to_owned()]),
            (None, None) if place.has("pytorch_model.bin") || place.has("pytorch_model.bin.index.json") => {
                return Err(Error::unsupported(format!("{name}: weights as pytorch_model.bin; save the model as safetensors")));
            }
            (None, None) if tokenizer.is_some() => (None, vec![]),
            (None, None) => return Err(Error::invalid_file(format!("{name}: there is neither {SINGLE} nor {INDEX}"))),
        };
        let mut weights = Vec::new();
        for file in &files {
            weights.push(place.file(file, access, u64::MAX, budget, pace).await?);
        }
        Ok(Self {
            title: place.title(),
            generation: small("generation_config.json", MAX_JSON).await?,
            tokenizer_config: small("tokenizer_config.json", MAX_JSON).await?,
            template: small("chat_template.jinja", MAX_JSON).await?,
            name,
            config,
            tokenizer,
            index,
            weights,
        })
    }

    /// Bytes of all weight files.
    pub(in super::super) fn len(&self) -> u64 {
        self.weights.iter().map(Source::len).sum()
    }
}
