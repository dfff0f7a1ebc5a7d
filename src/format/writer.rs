//! Writes GGUF files: the header, then the tensors' data as it comes.
//!
//! The file is written beside the one that it is to be, under another name, and takes its place when it is whole; dropped before, it is
//! removed. Nothing is held but a piece of the header.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use super::Value;
use super::value::{Array, Items};
use crate::base::{Error, Pace, Result};
use crate::quant::{TensorType, row_bytes};

/// The version that is written.
const VERSION: u32 = 3;
/// Bytes of the header that are gathered before they are written.
const GATHERED: usize = 1 << 16;
/// Names that are tried for the unfinished file.
const NAMES: u32 = 1000;

/// A file in the making. The data of its tensors may be written from several threads at once.
#[derive(Debug)]
pub struct GgufWriter {
    file: File,
    /// Where it is now, until it is finished.
    unfinished: Option<PathBuf>,
    target: PathBuf,
    /// Where the data of each tensor begins.
    starts: Vec<u64>,
    /// The whole file.
    len: u64,
}

/// A tensor that a file is to have.
#[derive(Debug, Clone, Copy)]
pub struct GgufTensor<'a> {
    /// The name.
    pub name: &'a str,
    /// The dimensions, the contiguous one first.
    pub dims: &'a [u64],
    /// The type of its elements.
    pub ty: TensorType,
}

impl GgufTensor<'_> {
    fn bytes(&self) -> Result<u64> {
        let cols = self.dims.first().copied().unwrap_or(1);
        let rows = self.dims.iter().skip(1).try_fold(1u64, |rows, &dim| rows.checked_mul(dim));
        let row = usize::try_from(cols).ok().and_then(|cols| row_bytes(self.ty, cols));
        let bytes = row.zip(rows).and_then(|(row, rows)| (row as u64).checked_mul(rows));
        bytes.ok_or_else(|| Error::invalid_argument(format!("tensor '{}': rows of {cols} elements as {}", self.name, self.ty)))
    }
}

impl GgufWriter {
    /// Begins a file that is to be at `target`, with this metadata and these tensors; the data of each begins at a multiple of `alignment`
    /// bytes.
    ///
    /// # Errors
    /// `Io` naming the path where the system refuses; `InvalidArgument` where a tensor's rows are no whole number of blocks of its type.
    pub async fn create(
        target: &Path,
        metadata: &[(&str, Value<'_>)],
        tensors: &[GgufTensor<'_>],
        alignment: u32,
        pace: &Pace,
    ) -> Result<Self> {
        let alignment = u64::from(alignment);
        let (file, unfinished) = unfinished_file(target)?;
        let mut writer = Self { file, unfinished: Some(unfinished), target: target.to_owned(), starts: vec![], len: 0 };
        let mut header = Header { writer: &writer, gathered: Vec::new(), written: 0, pace };
        header.put(b"GGUF");
        header.put(&VERSION.to_le_bytes());
        header.put(&(tensors.len() as u64).to_le_bytes());
        header.put(&(metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            header.pair(key, *value).await?;
        }
        let (mut starts, mut end) = (Vec::new(), 0u64);
        for tensor in tensors {
            let start = end;
            end = start.checked_add(tensor.bytes()?).and_then(|end| end.checked_next_multiple_of(alignment)).ok_or_else(too_long)?;
            starts.push(start);
            header.string(tensor.name.as_bytes()).await?;
            header.put(&(tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| header.put(&dim.to_le_bytes()));
            header.put(&tensor.ty.ggml_id().to_le_bytes());
            header.put(&start.to_le_bytes());
            header.flush_if_full().await?;
        }
        let written = header.finish()?;
        let data = written.checked_next_multiple_of(alignment).ok_or_else(too_long)?;
        starts.iter_mut().for_each(|start| *start += data);
        let len = data.checked_add(end).ok_or_else(too_long)?;
        (writer.starts, writer.len) = (starts, len);
        // What lies between the tensors is zeros, which need not be written.
        writer.file.set_len(len).map_err(|error| writer.failed("write", &error))?;
        Ok(writer)
    }

    /// Writes `bytes` of the data of tensor `number` from its byte `at` on.
    ///
    /// # Errors
    /// `Io` naming the path: the disk is full, for one.
    pub fn write(&self, number: usize, at: u64, bytes: &[u8]) -> Result<()> {
        write_at(&self.file, bytes, self.starts[number] + at).map_err(|error| self.failed("write", &error))
    }

    /// Bytes of the whole file.
    #[expect(clippy::len_without_is_empty, reason = "it has a header")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Puts the file in its place, over one that is there. To be called when all data is written.
    ///
    /// The system may keep the data in memory for some time after that, as with every file.
    ///
    /// # Errors
    /// `Io` naming the path; the unfinished file is removed then.
    pub fn finish(mut self) -> Result<()> {
        let Some(unfinished) = &self.unfinished else { return Ok(()) };
        std::fs::rename(unfinished, &self.target).map_err(|error| self.failed("rename to", &error))?;
        self.unfinished = None;
        Ok(())
    }

    fn failed(&self, verb: &str, error: &std::io::Error) -> Error {
        Error::io(format_args!("{verb} {}", self.target.display()), error)
    }
}

impl Drop for GgufWriter {
    fn drop(&mut self) {
        if let Some(path) = self.unfinished.take() {
            // There is nobody to tell; what is left says by its name what it is.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn too_long() -> Error {
    Error::invalid_argument("the file would pass all limits")
}

/// A new file beside `target`, with a name that begins like its own.
fn unfinished_file(target: &Path) -> Result<(File, PathBuf)> {
    let failed = |error: &std::io::Error| Error::io(format_args!("create {}", target.display()), error);
    if target.is_dir() {
        return Err(Error::new(crate::base::ErrorKind::Io, format!("create {}: it is a directory", target.display())));
    }
    let name = target.file_name().ok_or_else(|| failed(&std::io::ErrorKind::InvalidInput.into()))?;
    for number in 0..NAMES {
        let mut beside = name.to_owned();
        beside.push(format!(".unfinished-{}-{number}", std::process::id()));
        let path = target.with_file_name(beside);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(failed(&std::io::ErrorKind::AlreadyExists.into()))
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

/// The header as it is written.
struct Header<'a> {
    writer: &'a GgufWriter,
    gathered: Vec<u8>,
    written: u64,
    pace: &'a Pace,
}

impl Header<'_> {
    /// A few bytes more.
    fn put(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
    }

    async fn pair(&mut self, key: &str, value: Value<'_>) -> Result<()> {
        self.string(key.as_bytes()).await?;
        self.put(&value.ty().id().to_le_bytes());
        match value {
            Value::U8(x) => self.put(&x.to_le_bytes()),
            Value::I8(x) => self.put(&x.to_le_bytes()),
            Value::U16(x) => self.put(&x.to_le_bytes()),
            Value::I16(x) => self.put(&x.to_le_bytes()),
            Value::U32(x) => self.put(&x.to_le_bytes()),
            Value::I32(x) => self.put(&x.to_le_bytes()),
            Value::F32(x) => self.put(&x.to_le_bytes()),
            Value::U64(x) => self.put(&x.to_le_bytes()),
            Value::I64(x) => self.put(&x.to_le_bytes()),
            Value::F64(x) => self.put(&x.to_le_bytes()),
            Value::Bool(x) => self.put(&[u8::from(x)]),
            Value::Str(bytes) => self.string(bytes).await?,
            Value::Array(array) => self.array(array).await?,
        }
        self.flush_if_full().await
    }

    async fn array(&mut self, array: &Array) -> Result<()> {
        self.put(&array.element_type().id().to_le_bytes());
        self.put(&(array.len() as u64).to_le_bytes());
        match array.items() {
            Items::Scalars(bytes) | Items::Strings { bytes, .. } => self.bytes(bytes).await,
            Items::Arrays(arrays) => {
                for array in arrays {
                    Box::pin(self.array(array)).await?;
                }
                Ok(())
            }
        }
    }

    async fn string(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(&(bytes.len() as u64).to_le_bytes());
        self.bytes(bytes).await
    }

    /// Any number of bytes.
    async fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(GATHERED) {
            self.put(part);
            self.flush_if_full().await?;
        }
        Ok(())
    }

    async fn flush_if_full(&mut self) -> Result<()> {
        if self.gathered.len() >= GATHERED {
            let bytes = self.gathered.len();
            self.flush()?;
            self.pace.spend(bytes).await;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        write_at(&self.writer.file, &self.gathered, self.written).map_err(|error| self.writer.failed("write", &error))?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Writes the rest; the bytes in all.
    fn finish(mut self) -> Result<u64> {
        self.flush()?;
        Ok(self.written)
    }
}
