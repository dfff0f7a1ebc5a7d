//! The GGUF container, versions 2 and 3, little endian.
//!
//! ```text
//! magic "GGUF" · version u32 · tensor count u64 · metadata count u64
//! metadata:  key string · type u32 · value                      string = length u64 · bytes
//! tensors:   name string · dimensions u32 · each u64 · type u32 · offset u64
//! padding to general.alignment (32 unless given) · tensor data
//! ```
//! The header is walked once, in pieces that a [`Pace`] sets; the tensor data is not touched. Memory is bounded by what the header really holds (a few bytes per byte
//! of it) and by the limits below, recursion by [`MAX_ARRAY_DEPTH`].

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::cursor::Cursor;
use super::metadata::{Entry, Metadata, Stored};
use super::model_file::{Container, Contents, RotaryRows};
use super::tensor::TensorInfo;
use super::value::{Array, Items, STRING_HEADER, Value, ValueType};
use crate::base::sort::sort;
use crate::base::vectors::with_capacity;
use crate::base::{Error, MemoryBudget, MemoryCategory, Pace, Result, SharedBytes};
use crate::quant::{TensorType, retired_name, row_bytes};

/// Keys in a file; those of real models have a few dozen.
const MAX_KEYS: usize = 1 << 16;
/// Tensors in a file; those of real models have some thousands.
const MAX_TENSORS: usize = 1 << 20;
/// Bytes of a key or tensor name: the format's limit on keys.
const MAX_NAME: u64 = 65_535;
/// Dimensions of a tensor: the format's limit.
const MAX_DIMS: u32 = 4;
/// Arrays within arrays; real files have none.
const MAX_ARRAY_DEPTH: u32 = 4;
/// Arrays that lie in other arrays, in the whole file: they are the one kind of value that is expanded.
const MAX_INNER_ARRAYS: usize = 1 << 16;
/// The alignment of files that don't name one.
const DEFAULT_ALIGNMENT: u32 = 32;

/// Least bytes of a key–value pair: an empty key, a type and one byte.
const MIN_PAIR: u64 = 8 + 4 + 1;
/// Least bytes of a tensor's entry: an empty name, one dimension, type and offset.
const MIN_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;
/// Least bytes of an array: element type and length.
const MIN_ARRAY: u64 = 4 + 8;

/// What a key and a tensor count for in the progress of reading a header.
const KEY_UNITS: u64 = 1024;
const TENSOR_UNITS: u64 = 32;
/// What a key, a tensor and an element cost (see [`Pace::spend`]).
const ENTRY_COST: usize = 256;
const ELEMENT_COST: usize = 16;
/// Bools that are checked at a time.
const CHECKED: usize = 1 << 15;

/// Reads the header of `file`, whose tensors become views of it. Errors name the place inside the file, but not the file.
pub(super) async fn read(file: &SharedBytes, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Contents> {
    let mut parser = Parser { file, cursor: Cursor::new(file), budget, pace, keys: 0, inner_arrays: 0 };
    let version = parser.version()?;
    let tensor_count = parser.count(MIN_TENSOR, MAX_TENSORS, "the number of tensors")?;
    let key_count = parser.count(MIN_PAIR, MAX_KEYS, "the number of metadata keys")?;
    pace.expect(key_count as u64 * KEY_UNITS + tensor_count as u64 * TENSOR_UNITS);
    let metadata = parser.metadata(key_count).await?;
    let alignment = match metadata.u32("general.alignment")? {
        None => DEFAULT_ALIGNMENT,
        Some(alignment) if alignment.is_power_of_two() => alignment,
        Some(other) => return Err(Error::invalid_file(format!("metadata key 'general.alignment': {other} is not a power of two"))),
    };
    let tensors = parser.tensors(tensor_count, alignment).await?;
    no_overlap(&tensors, pace).await?;
    let container = Container::Gguf { version, alignment };
    Ok(Contents { metadata, tensors, rotary: RotaryRows::AsConverted, tokenizer: None, container })
}

struct Parser<'a> {
    file: &'a SharedBytes,
    cursor: Cursor<'a>,
    budget: &'a Arc<MemoryBudget>,
    pace: &'a Pace,
    /// Keys read so far.
    keys: usize,
    /// Arrays in arrays met so far.
    inner_arrays: usize,
}

impl Parser<'_> {
    /// Magic and version.
    fn version(&mut self) -> Result<u32> {
        let magic = self.cursor.take(4, "the magic number of a GGUF file")?;
        match &self.file[magic] {
            b"GGUF" => {}
            b"FUGG" => return Err(Error::unsupported("at byte 0: a big-endian GGUF file; only little-endian ones are supported")),
            b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => {
                return Err(Error::unsupported("at byte 0: a GGML file from before GGUF; convert the model anew"));
            }
            other => return Err(Error::invalid_file(format!("at byte 0: not a GGUF file: it starts with \"{}\"", other.escape_ascii()))),
        }
        let version = self.cursor.u32("the GGUF version")?;
        match version {
            2 | 3 => Ok(version),
            1 => Err(Error::unsupported("at byte 4: GGUF version 1; versions 2 and 3 are supported, so convert the model anew")),
            _ if (1..=0xFFFF).contains(&version.swap_bytes()) => Err(Error::unsupported(format!(
                "at byte 4: a big-endian GGUF file (version {}); only little-endian ones are supported",
                version.swap_bytes()
            ))),
            0 => Err(Error::invalid_file("at byte 4: GGUF version 0 does not exist")),
            _ => Err(Error::unsupported(format!("at byte 4: GGUF version {version}; versions 2 and 3 are supported"))),
        }
    }

    /// A count of things of at least `each` bytes, at most `limit`.
    fn count(&mut self, each: u64, limit: usize, what: &str) -> Result<usize> {
        let start = self.cursor.at();
        let count = self.cursor.count(each, what)?;
        if count > limit {
            return Err(Error::invalid_file(format!("at byte {start}: {what} is {count}; at most {limit} are allowed")));
        }
        Ok(count)
    }

    async fn metadata(&mut self, count: usize) -> Result<Metadata> {
        let mut entries = with_capacity(count, "metadata keys")?;
        for number in 1..=count {
            let key = self.cursor.name(MAX_NAME, "the key").map_err(|error| error.at(format_args!("metadata key {number} of {count}")))?;
            let value = self.value().await.map_err(|error| error.at(format_args!("metadata key '{key}' ({number} of {count})")))?;
            entries.push(Entry { key: key.into(), value });
            self.keys = number;
            self.pace.reach(number as u64 * KEY_UNITS);
            self.pace.spend(ENTRY_COST + key.len()).await;
        }
        Metadata::new(entries, self.pace).await
    }

    async fn value(&mut self) -> Result<Stored> {
        match self.value_type("the value's type")? {
            ValueType::Str => Ok(Stored::Str(self.string("the string")?)),
            ValueType::Array => Ok(Stored::Array(self.array(1).await?)),
            scalar => Ok(Stored::Scalar(self.scalar(scalar)?)),
        }
    }

    fn value_type(&mut self, what: &str) -> Result<ValueType> {
        let start = self.cursor.at();
        let id = self.cursor.u32(what)?;
        ValueType::from_id(id).ok_or_else(|| Error::invalid_file(format!("at byte {start}: {what} is {id}; types go from 0 to 12")))
    }

    fn scalar(&mut self, ty: ValueType) -> Result<Value<'static>> {
        let start = self.cursor.at();
        let range = self.cursor.take(ty.size().unwrap_or(0) as u64, format_args!("the {ty}"))?;
        let bytes = &self.file[range];
        Value::scalar(ty, bytes).ok_or_else(|| Error::invalid_file(format!("at byte {start}: a bool is 0 or 1, not {}", bytes[0])))
    }

    fn string(&mut self, what: &str) -> Result<SharedBytes> {
        let range = self.cursor.string(what)?;
        Ok(self.slice(range))
    }

    /// An array at depth `depth`: 1 for one that is itself the value of a key.
    async fn array(&mut self, depth: u32) -> Result<Array> {
        if depth > MAX_ARRAY_DEPTH {
            return Err(self.cursor.error(format_args!("arrays lie in arrays more than {MAX_ARRAY_DEPTH} deep")));
        }
        let element = self.value_type("the array's element type")?;
        let what = "the array's length";
        match element {
            ValueType::Str => {
                let len = self.cursor.count(STRING_HEADER as u64, what)?;
                Ok(Array::new(element, len, self.strings(len).await?))
            }
            ValueType::Array => {
                let start = self.cursor.at();
                let len = self.cursor.count(MIN_ARRAY, what)?;
                self.inner_arrays += len;
                if self.inner_arrays > MAX_INNER_ARRAYS {
                    return Err(Error::invalid_file(format!(
                        "at byte {start}: {what} is {len}; the file may hold {MAX_INNER_ARRAYS} arrays in arrays altogether"
                    )));
                }
                let mut arrays = with_capacity(len, "arrays")?;
                for index in 0..len {
                    let array = Box::pin(self.array(depth + 1)).await;
                    arrays.push(array.map_err(|error| error.at(format_args!("element {index}")))?);
                    self.pace.spend(ENTRY_COST).await;
                }
                Ok(Array::new(element, len, Items::Arrays(arrays)))
            }
            scalar => {
                let size = scalar.size().unwrap_or(1);
                let len = self.cursor.count(size as u64, what)?;
                // The count has been held against the rest of the file, so that the product can't overflow.
                let range = self.cursor.take((len * size) as u64, "the array")?;
                if scalar == ValueType::Bool {
                    self.check_bools(range.clone()).await?;
                }
                Ok(Array::new(element, len, Items::Scalars(self.slice(range))))
            }
        }
    }

    /// Refuses bytes that are no bools.
    async fn check_bools(&self, range: std::ops::Range<usize>) -> Result<()> {
        for start in range.clone().step_by(CHECKED) {
            let part = &self.file[start..range.end.min(start + CHECKED)];
            if let Some(index) = part.iter().position(|&byte| byte > 1) {
                let (element, at) = (start + index - range.start, start + index);
                return Err(Error::invalid_file(format!("element {element}: at byte {at}: a bool is 0 or 1, not {}", part[index])));
            }
            self.pace.spend(part.len()).await;
        }
        Ok(())
    }

    /// `len` strings: checks each length and remembers where each ends.
    async fn strings(&mut self, len: usize) -> Result<Items> {
        let start = self.cursor.at();
        let reservation = self.budget.reserve(MemoryCategory::Other, 4 * len as u64)?;
        let mut ends = with_capacity(len, "strings")?;
        for index in 0..len {
            let string = self.cursor.string("the string").map_err(|error| error.at(format_args!("element {index}")))?;
            let end = u32::try_from(string.end - start).map_err(|_| self.cursor.error("an array of strings is larger than 4 GiB"))?;
            ends.push(end);
            self.pace.reach(self.keys as u64 * KEY_UNITS + index as u64 * KEY_UNITS / len as u64);
            self.pace.spend(ELEMENT_COST).await;
        }
        Ok(Items::Strings { bytes: self.slice(start..self.cursor.at()), ends, _reservation: reservation })
    }

    async fn tensors(&mut self, count: usize, alignment: u32) -> Result<Vec<TensorInfo>> {
        let mut tensors: Vec<TensorInfo> = with_capacity(count, "tensors")?;
        for number in 1..=count {
            let name = self.cursor.name(MAX_NAME, "the name").map_err(|error| error.at(format_args!("tensor {number} of {count}")))?;
            let tensor = self.tensor(name, alignment);
            let tensor = tensor.map_err(|error| error.at(format_args!("tensor '{name}' ({number} of {count})")))?;
            tensors.push(tensor);
            self.pace.advance(TENSOR_UNITS);
            self.pace.spend(ENTRY_COST + name.len()).await;
        }
        // Offsets count from the first multiple of the alignment behind the table.
        let data_start = (self.cursor.at() as u64).next_multiple_of(u64::from(alignment));
        for (index, tensor) in tensors.iter_mut().enumerate() {
            self.locate(tensor, data_start)
                .map_err(|error| error.at(format_args!("tensor '{}' ({} of {count})", tensor.name, index + 1)))?;
            self.pace.spend(ENTRY_COST).await;
        }
        Ok(tensors)
    }

    /// One entry of the table, its data not yet located: `offset` counts from the start of the data section.
    fn tensor(&mut self, name: &str, alignment: u32) -> Result<TensorInfo> {
        let start = self.cursor.at();
        let dim_count = self.cursor.u32("the number of dimensions")?;
        if !(1..=MAX_DIMS).contains(&dim_count) {
            return Err(Error::invalid_file(format!("at byte {start}: {dim_count} dimensions; a tensor has one to {MAX_DIMS}")));
        }
        let mut dims = Vec::with_capacity(dim_count as usize);
        for number in 1..=dim_count {
            let start = self.cursor.at();
            let dim = self.cursor.u64(format_args!("dimension {number}"))?;
            if dim == 0 {
                return Err(Error::invalid_file(format!("at byte {start}: dimension {number} is zero")));
            }
            dims.push(dim);
        }
        let start = self.cursor.at();
        let id = self.cursor.u32("the tensor type")?;
        let ty = TensorType::from_ggml(id).ok_or_else(|| match retired_name(id) {
            Some(name) => Error::unsupported(format!("at byte {start}: tensor type {name} ({id}), which the format has given up")),
            None => Error::unsupported(format!("at byte {start}: tensor type {id} is unknown to this version")),
        })?;
        let start = self.cursor.at();
        let offset = self.cursor.u64("the offset")?;
        if !offset.is_multiple_of(u64::from(alignment)) {
            return Err(Error::invalid_file(format!("at byte {start}: offset {offset} is not a multiple of the alignment, {alignment}")));
        }
        Ok(TensorInfo { name: name.into(), dims, ty, data: self.slice(0..0), recipe: None, file: 0, offset })
    }

    /// Makes `tensor.offset` absolute and `tensor.data` its bytes.
    fn locate(&self, tensor: &mut TensorInfo, data_start: u64) -> Result<()> {
        let bytes = data_bytes(tensor)?;
        let end = data_start.checked_add(tensor.offset).and_then(|start| start.checked_add(bytes));
        match end.filter(|&end| end <= self.file.len() as u64) {
            Some(end) => {
                tensor.offset += data_start;
                tensor.data = self.slice((end - bytes) as usize..end as usize);
                Ok(())
            }
            None => Err(Error::invalid_file(format!(
                "{bytes} bytes of {} data from offset {} on (counted from byte {data_start}) pass the end of the file at byte {}; is it truncated?",
                tensor.ty,
                tensor.offset,
                self.file.len()
            ))),
        }
    }

    /// A view of a range that the cursor or a check above has found to be inside the file.
    fn slice(&self, range: std::ops::Range<usize>) -> SharedBytes {
        self.file.slice(range).expect("the range was held against the length of the file")
    }
}

/// Bytes of the tensor's data by shape and type.
fn data_bytes(tensor: &TensorInfo) -> Result<u64> {
    let (ty, dims) = (tensor.ty, &tensor.dims);
    if !dims[0].is_multiple_of(ty.block_len() as u64) {
        return Err(Error::invalid_file(format!("{} columns are not a whole number of {ty} blocks of {}", dims[0], ty.block_len())));
    }
    let row = usize::try_from(dims[0]).ok().and_then(|cols| row_bytes(ty, cols));
    let bytes = row.and_then(|row| dims[1..].iter().try_fold(row as u64, |product, &dim| product.checked_mul(dim)));
    bytes.ok_or_else(|| Error::invalid_file(format!("the shape {dims:?} passes all limits")))
}

/// Refuses tensors that share bytes.
async fn no_overlap(tensors: &[TensorInfo], pace: &Pace) -> Result<()> {
    let mut order: Vec<&TensorInfo> = with_capacity(tensors.len(), "tensors")?;
    order.extend(tensors);
    sort(pace, &mut order, ELEMENT_COST, |a, b| a.offset.cmp(&b.offset)).await?;
    for pair in order.windows(2) {
        let end = pair[0].offset + pair[0].data.len() as u64;
        if pair[1].offset < end {
            return Err(Error::invalid_file(format!(
                "tensors '{}' and '{}' overlap: the first takes bytes {} to {end}, the second starts at {}",
                pair[0].name, pair[1].name, pair[0].offset, pair[1].offset
            )));
        }
        pace.spend(ELEMENT_COST).await;
    }
    Ok(())
}
