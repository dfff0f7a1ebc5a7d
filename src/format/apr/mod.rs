//! The APR container, version 2, little endian.
//!
//! ```text
//! header of 64 bytes · JSON metadata · tensor index · tensor data · CRC-32 of all before      each part padded to 64 bytes
//! header:  magic "APR\0" · version u8 u8 · flags u16 · tensors u32 · metadata offset u64, size u32 · index offset u64 · data offset u64
//!          · CRC-32 of the header without this field u32 · 20 zeros
//! index:   name length u16 · name · dtype u8 · dimensions u8 · each u64 (outermost first) · offset u64 (in the data) · size u64
//! ```
//! The checksum at the end is held against the file where its bytes were read anyway; a mapped file's tensors are not touched for it. `settings`
//! puts the metadata into GGUF's words; tensors are called as in GGUF files or as their family publishes them.

#![forbid(unsafe_code)]

mod convert;
mod settings;

use std::sync::Arc;

use super::cursor::Cursor;
use super::hub::{NamedPlace, canonical};
use super::json;
use super::model_file::{Container, Contents, Conversion};
use super::tensor::TensorInfo;
use crate::base::sort::sort;
use crate::base::vectors::with_capacity;
use crate::base::{Error, MemoryBudget, Pace, Result, SharedBytes};
pub(super) use convert::Steps;
use convert::Stored;
use settings::Settings;

/// Bytes of the header, and what the parts are padded to.
const HEADER: usize = 64;
const ALIGNMENT: u64 = 64;
/// The longest metadata: the format's limit.
const MAX_METADATA: u32 = 16 << 20;
/// The longest name, and the most dimensions: the format's limits. Weights have at most four.
const MAX_NAME: u64 = 256;
const MAX_DIMS: usize = 4;
const MAX_TENSORS: usize = 1 << 20;
/// Least bytes of an entry of the index.
const MIN_ENTRY: u64 = 2 + 1 + 1 + 8 + 8;
/// What a tensor costs (see [`Pace::spend`]).
const TENSOR_COST: usize = 256;

/// Flags that change how the file is to be read, and what they say.
const REFUSED: [(u16, &str); 5] = [
    (0x1, "compressed with LZ4"),
    (0x2, "compressed with ZSTD"),
    (0x4, "encrypted"),
    (0x10, "one of several shards"),
    (0x800, "stored by columns"),
];

/// A tensor of the index.
struct Entry<'a> {
    name: &'a str,
    stored: Stored,
    dims: Vec<u64>,
    data: SharedBytes,
    offset: u64,
}

/// Whether `bytes` begin like an APR file of any version.
pub(super) fn is_apr(bytes: &[u8]) -> bool {
    matches!(bytes.get(..4), Some(b"APR\0" | b"APRN" | b"APR1" | b"APNR"))
}

/// Reads a file; `whole` has all its bytes checked. Errors name the place inside the file, but not the file.
///
/// # Errors
/// `InvalidFile`, `Unsupported` for older versions and for what the flags say, `OutOfMemory`.
pub(super) async fn read(
    file: &SharedBytes,
    whole: bool,
    conversion: Conversion,
    budget: &Arc<MemoryBudget>,
    pace: &Pace,
) -> Result<Contents> {
    let header = Header::read(file)?;
    if whole {
        check_whole(file, pace).await?;
    }
    let metadata = header.metadata(file);
    let metadata =
        json::object(metadata).map_err(|error| error.at(format_args!("the metadata (bytes from {} on)", header.metadata_offset)))?;
    let settings = Settings::new(metadata);
    let architecture = settings.architecture()?;
    let entries = header.index(file, pace).await?;
    no_overlap(&entries, pace).await?;

    let converted = entries.iter().any(|entry| is_canonical(entry.name));
    let rotary = settings.rotary(&architecture, converted)?;
    let mut tensors = with_capacity(entries.len(), "tensors")?;
    for entry in entries {
        pace.spend(TENSOR_COST).await;
        let at = |error: Error| error.at(format_args!("tensor '{}'", entry.name));
        let name = match is_canonical(entry.name) {
            true => entry.name.to_owned(),
            false => match canonical(&architecture, entry.name) {
                NamedPlace::Tensor(name) => name,
                NamedPlace::Nowhere => continue,
                NamedPlace::Unknown => {
                    return Err(at(Error::unsupported(format!("it has no place in architecture '{architecture}'"))));
                }
            },
        };
        let (ty, found) = convert::tensor(entry.stored, &entry.dims, &entry.data).map_err(at)?;
        let Some((data, recipe)) = found.settled(conversion, budget, pace).await.map_err(at)? else { continue };
        tensors.push(TensorInfo { name, dims: entry.dims, ty, data, recipe, file: 0, offset: entry.offset });
    }
    let metadata = settings.entries(&architecture, budget)?.finish(pace).await?;
    Ok(Contents { metadata, tensors, rotary, tokenizer: None, container: Container::Apr })
}

/// Whether a tensor is called as in GGUF files.
fn is_canonical(name: &str) -> bool {
    const STARTS: [&str; 9] = [
        "blk.",
        "token_embd.",
        "token_embd_norm.",
        "token_types.",
        "position_embd.",
        "output_norm.",
        "output.",
        "rope_freqs.",
        "rope_factors_",
    ];
    STARTS.iter().any(|start| name.starts_with(start))
}

/// The header, checked.
struct Header {
    tensors: usize,
    metadata_offset: u64,
    metadata_size: u32,
    index_offset: u64,
    data_offset: u64,
}

impl Header {
    fn read(file: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(file);
        let magic = cursor.take(4, "the magic number of an APR file")?;
        match &file[magic] {
            b"APR\0" => {}
            b"APRN" | b"APR1" => {
                return Err(Error::unsupported("at byte 0: an APR file of version 1; version 2 is supported, so convert the model anew"));
            }
            b"APNR" => return Err(Error::unsupported("at byte 0: an APNR file, which is another format than APR")),
            other => return Err(Error::invalid_file(format!("at byte 0: not an APR file: it starts with \"{}\"", other.escape_ascii()))),
        }
        cursor.take(HEADER as u64 - 4, "the header")?;
        let mut cursor = Cursor::new(&file[..HEADER]);
        cursor.take(4, "the magic number")?;
        let version = [file[4], file[5]];
        if version != [2, 0] {
            return Err(Error::unsupported(format!("at byte 4: APR version {}.{}; version 2.0 is supported", version[0], version[1])));
        }
        let stated = u32::from_le_bytes(file[40..44].try_into().expect("four bytes"));
        let crc = Crc32::new().with(&file[..40]).with(&file[44..HEADER]).finish();
        if crc != stated {
            return Err(Error::invalid_file(format!("at byte 40: the checksum of the header is {stated:08x}, expected {crc:08x}")));
        }
        let flags = u16::from_le_bytes([file[6], file[7]]);
        if let Some((flag, says)) = REFUSED.iter().find(|(flag, _)| flags & flag != 0) {
            return Err(Error::unsupported(format!("at byte 6: flag {flag:#x}: the model is {says}")));
        }
        cursor.take(4, "version and flags")?;
        let tensors = cursor.u32("the number of tensors")?;
        let metadata_offset = cursor.u64("the offset of the metadata")?;
        let metadata_size = cursor.u32("the size of the metadata")?;
        let index_offset = cursor.u64("the offset of the index")?;
        let data_offset = cursor.u64("the offset of the data")?;
        if metadata_size > MAX_METADATA {
            return Err(Error::invalid_file(format!(
                "at byte 20: the metadata has {metadata_size} bytes; at most {MAX_METADATA} are allowed"
            )));
        }
        let end = file.len() as u64;
        for (byte, what, offset) in [(12, "metadata", metadata_offset), (24, "index", index_offset), (32, "data", data_offset)] {
            if offset > end || !offset.is_multiple_of(ALIGNMENT) {
                return Err(Error::invalid_file(format!(
                    "at byte {byte}: the offset of the {what} is {offset}, expected a multiple of {ALIGNMENT} within {end} bytes"
                )));
            }
        }
        if metadata_offset < HEADER as u64 || index_offset < metadata_offset + u64::from(metadata_size) || data_offset < index_offset {
            return Err(Error::invalid_file(format!(
                "at byte 12: metadata from {metadata_offset} on ({metadata_size} bytes), index from {index_offset}, data from {data_offset}: \
                 expected one behind the other"
            )));
        }
        let tensors = tensors as usize;
        if tensors > MAX_TENSORS || tensors as u64 * MIN_ENTRY > data_offset - index_offset {
            return Err(Error::invalid_file(format!(
                "at byte 8: {tensors} tensors, but the index has {} bytes",
                data_offset - index_offset
            )));
        }
        Ok(Self { tensors, metadata_offset, metadata_size, index_offset, data_offset })
    }

    /// The bytes of the metadata, without padding.
    fn metadata<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        let start = self.metadata_offset as usize;
        &file[start..start + self.metadata_size as usize]
    }

    async fn index<'a>(&self, file: &'a SharedBytes, pace: &Pace) -> Result<Vec<Entry<'a>>> {
        let start = self.index_offset as usize;
        let index = &file[start..self.data_offset as usize];
        let mut cursor = Cursor::new(index);
        let mut entries: Vec<Entry<'a>> = with_capacity(self.tensors, "tensors")?;
        for number in 1..=self.tensors {
            let entry = self.entry(file, index, &mut cursor);
            let entry =
                entry.map_err(|error| error.at(format_args!("the index (bytes from {start} on): tensor {number} of {}", self.tensors)))?;
            if entries.last().is_some_and(|before| before.name >= entry.name) {
                return Err(Error::invalid_file(format!("the index: tensor '{}' is not behind the one before it by name", entry.name)));
            }
            entries.push(entry);
            pace.spend(TENSOR_COST).await;
        }
        Ok(entries)
    }

    fn entry<'a>(&self, file: &'a SharedBytes, index: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Entry<'a>> {
        let at = cursor.at();
        let len = cursor.take(2, "the length of the name")?;
        let len = u64::from(u16::from_le_bytes([index[len.start], index[len.start + 1]]));
        if len > MAX_NAME {
            return Err(Error::invalid_file(format!("at byte {at}: the name has {len} bytes; at most {MAX_NAME} are allowed")));
        }
        let name = cursor.take(len, "the name")?;
        let name = std::str::from_utf8(&index[name.clone()])
            .map_err(|error| Error::invalid_file(format!("at byte {}: the name is not UTF-8", name.start + error.valid_up_to())))?;
        let named = |error: Error| error.at(format_args!("'{name}'"));
        let kinds = cursor.take(2, "type and number of dimensions").map_err(named)?;
        let (dtype, count) = (index[kinds.start], usize::from(index[kinds.start + 1]));
        let stored = Stored::of(dtype)
            .ok_or_else(|| named(Error::unsupported(format!("at byte {}: tensor type {dtype} is unknown", kinds.start))))?;
        if count > MAX_DIMS {
            return Err(named(Error::unsupported(format!(
                "at byte {}: {count} dimensions; at most {MAX_DIMS} are known",
                kinds.start + 1
            ))));
        }
        let mut dims = Vec::new();
        for number in 1..=count {
            let dim = cursor.u64(format_args!("dimension {number}")).map_err(named)?;
            if dim == 0 {
                return Err(named(Error::invalid_file(format!("dimension {number} is zero"))));
            }
            dims.push(dim);
        }
        // The file has the outermost dimension first.
        dims.reverse();
        if dims.is_empty() {
            dims.push(1);
        }
        let offset = cursor.u64("the offset").map_err(named)?;
        let size = cursor.u64("the size").map_err(named)?;
        let expected = stored.bytes(&dims);
        if expected != Some(size) {
            return Err(named(Error::invalid_file(format!(
                "{size} bytes for {} of shape {dims:?} (innermost first), expected {}",
                stored.name(),
                expected.map_or("a shape that can be".to_owned(), |bytes| bytes.to_string())
            ))));
        }
        let end = file.len() as u64;
        let start = self.data_offset.checked_add(offset).filter(|start| start.is_multiple_of(ALIGNMENT));
        let range = start.and_then(|start| Some((start, start.checked_add(size).filter(|&to| to <= end)?)));
        let Some((start, to)) = range else {
            return Err(named(Error::invalid_file(format!(
                "{size} bytes from offset {offset} on (counted from byte {}), expected a multiple of {ALIGNMENT} and an end within the file's {end} bytes",
                self.data_offset
            ))));
        };
        let data = file.slice(start as usize..to as usize).expect("the range was held against the length of the file");
        Ok(Entry { name, stored, dims, data, offset: start })
    }
}

/// Refuses tensors that share bytes.
async fn no_overlap(entries: &[Entry<'_>], pace: &Pace) -> Result<()> {
    let mut order: Vec<&Entry<'_>> = with_capacity(entries.len(), "tensors")?;
    order.extend(entries);
    sort(pace, &mut order, TENSOR_COST, |a, b| a.offset.cmp(&b.offset)).await?;
    for pair in order.windows(2) {
        let end = pair[0].offset + pair[0].data.len() as u64;
        if pair[1].offset < end {
            return Err(Error::invalid_file(format!(
                "tensors '{}' and '{}' overlap: the first ends at byte {end}, the second starts at {}",
                pair[0].name, pair[1].name, pair[1].offset
            )));
        }
        pace.spend(TENSOR_COST / 8).await;
    }
    Ok(())
}

/// Holds the checksum at the end against all bytes before it.
async fn check_whole(file: &[u8], pace: &Pace) -> Result<()> {
    const PART: usize = 1 << 15;
    let (body, stated) = file.split_at(file.len() - 4);
    let stated = u32::from_le_bytes(stated.try_into().expect("four bytes"));
    let mut crc = Crc32::new();
    for part in body.chunks(PART) {
        crc = crc.with(part);
        pace.spend(part.len()).await;
    }
    match crc.finish() {
        crc if crc == stated => Ok(()),
        crc => Err(Error::invalid_file(format!("at byte {}: the checksum of the file is {stated:08x}, expected {crc:08x}", body.len()))),
    }
}

/// CRC-32 as in IEEE 802.3: reflected, polynomial 0x04C11DB7.
struct Crc32(u32);

impl Crc32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };

    fn new() -> Self {
        Self(!0)
    }

    fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, &byte| crc >> 8 ^ Self::TABLE[usize::from(crc as u8 ^ byte)]))
    }

    fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(Crc32::new().with(b"123456789").finish(), 0xCBF4_3926);
        assert_eq!(Crc32::new().with(b"1234").with(b"56789").finish(), 0xCBF4_3926);
    }
}
