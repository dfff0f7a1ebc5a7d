//! The files of a model, brought into reach: from where they come to where their bytes are, before anything in them is believed.

#![forbid(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::hub::{Folder, Place};
use super::source::{Access, ReadAt, Source};
use super::{apr, split};
use crate::base::{MemoryBudget, Pace, Result, SharedBytes};

/// Where a model comes from.
pub enum Origin {
    /// A file or, for Hugging Face's format, a folder. Of a GGUF model in several files, any of them.
    Path(PathBuf),
    /// Bytes of one whole file that the host lends, and what stands for the path in messages.
    Bytes(SharedBytes, String),
    /// The files of a Hugging Face folder by name, and what stands for the folder in messages.
    Folder(Vec<(String, SharedBytes)>, String),
    /// A part of an open file that is one whole model file, and what stands for the path in messages.
    Part {
        /// The file, open for reading.
        file: File,
        /// The offset of the part's first byte.
        offset: u64,
        /// Bytes in the part.
        len: u64,
        /// What stands for the path in messages.
        name: String,
    },
    /// Something that reads one whole file when it is asked to: it is copied into private memory whatever the access.
    Reader {
        /// What reads.
        reader: Box<dyn ReadAt>,
        /// Bytes in the file.
        len: u64,
        /// What stands for the path in messages.
        name: String,
    },
}

impl Origin {
    /// Whether opening it with `access` copies all its bytes, which then takes most of the time of a load.
    pub fn is_copied(&self, access: Access) -> bool {
        match self {
            Self::Path(_) | Self::Part { .. } => access == Access::Read,
            Self::Bytes(..) | Self::Folder(..) => false,
            Self::Reader { .. } => true,
        }
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
    /// Files of one model that are GGUF or nothing that is known.
    Gguf(Vec<Source>),
    /// APR; whether its bytes were all read anyway.
    Apr(Source, bool),
    /// A folder.
    Folder(Box<Folder>),
}

impl Files {
    /// Brings the files of `origin` into reach. Progress counts the bytes that are copied, so none for mappings.
    ///
    /// # Errors
    /// [`Io`](crate::base::ErrorKind::Io) naming the path where the system refuses or it is no regular file;
    /// [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) where the budget has no room for a private copy.
    pub async fn open(origin: Origin, access: Access, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let copied = origin.is_copied(access);
        let source = match origin {
            Origin::Path(path) if path.is_dir() => return Self::folder(Place::Disk(path, None), access, budget, pace).await,
            Origin::Path(path) if path.extension().is_some_and(|extension| extension == "safetensors") => {
                let chosen = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                return Self::folder(Place::Disk(folder.to_owned(), chosen), access, budget, pace).await;
            }
            Origin::Path(path) => match split::files(&path)? {
                Some(paths) => {
                    let mut sources = Vec::new();
                    for path in &paths {
                        sources.push(Source::open_paced(path, access, budget, pace).await?);
                    }
                    return Ok(Self { name: path.display().to_string(), shape: Shape::Gguf(sources) });
                }
                None => Source::open_paced(&path, access, budget, pace).await?,
            },
            Origin::Bytes(bytes, name) => Source::lent(bytes, name),
            Origin::Folder(files, name) => return Self::folder(Place::Memory(files, name), access, budget, pace).await,
            Origin::Part { file, offset, len, name } => Source::part(file, offset, len, name, access, budget, pace).await?,
            Origin::Reader { reader, len, name } => Source::read(&*reader, len, name, budget, pace).await?,
        };
        let name = source.name().to_owned();
        let shape = if apr::is_apr(source.bytes()) { Shape::Apr(source, copied) } else { Shape::Gguf(vec![source]) };
        Ok(Self { name, shape })
    }

    async fn folder(place: Place, access: Access, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let folder = Folder::open(place, access, budget, pace).await?;
        Ok(Self { name: folder.name.clone(), shape: Shape::Folder(Box::new(folder)) })
    }

    /// The path or the given name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in all files that may hold tensors.
    pub(super) fn len(&self) -> u64 {
        match &self.shape {
            Shape::Gguf(sources) => sources.iter().map(Source::len).sum(),
            Shape::Apr(source, _) => source.len(),
            Shape::Folder(folder) => folder.len(),
        }
    }

    /// What lies there.
    pub(super) fn shape(self) -> Shape {
        self.shape
    }
}
