//! The safetensors container: one file of named tensors.
//!
//! ```text
//! header length n u64 · n bytes of JSON · tensor data
//! {"name": {"dtype": "F16", "shape": [rows, columns], "data_offsets": [begin, end]}, …, "__metadata__": {"key": "text"}}
//! ```
//! Offsets count from the end of the header. The format allows neither overlaps nor gaps nor bytes behind the last tensor, and neither does
//! this reader. (The `safetensors` crate checks the same, but takes the last of two equal names, and its errors name neither byte nor
//! field.) What the tensors are called and for what is not known here.

#![forbid(unsafe_code)]

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::cursor::Cursor;
use super::json;
use super::metadata::sorted_unique;
use crate::base::sort::sort;
use crate::base::vectors::with_capacity;
use crate::base::{Error, Pace, Result, SharedBytes};
use crate::quant::TensorType;

/// The longest header: the format's limit.
const MAX_HEADER: u64 = 100_000_000;
/// Tensors in a file; the largest models have some ten thousands over all their files.
const MAX_TENSORS: usize = 1 << 20;
/// Bytes of a name.
const MAX_NAME: usize = 65_535;
/// Dimensions of a tensor; weights have at most four.
const MAX_DIMS: usize = 4;
/// What a tensor costs (see [`Pace::spend`]).
const TENSOR_COST: usize = 256;

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    /// A type that GGUF has too.
    Plain(TensorType),
    /// Eight-bit floats with four bits of exponent and three of mantissa, without infinities (OCP 8-bit floating point, E4M3).
    F8E4M3,
    /// With five bits of exponent and two of mantissa (E5M2).
    F8E5M2,
    /// One that no weight has: unsigned integers and bools, by their bytes.
    Other(u8),
}

impl Dtype {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::Plain(TensorType::F64),
            "F32" => Self::Plain(TensorType::F32),
            "F16" => Self::Plain(TensorType::F16),
            "BF16" => Self::Plain(TensorType::BF16),
            "I64" => Self::Plain(TensorType::I64),
            "I32" => Self::Plain(TensorType::I32),
            "I16" => Self::Plain(TensorType::I16),
            "I8" => Self::Plain(TensorType::I8),
            "F8_E4M3" => Self::F8E4M3,
            "F8_E5M2" => Self::F8E5M2,
            "BOOL" | "U8" | "F8_E8M0" => Self::Other(1),
            "U16" => Self::Other(2),
            "U32" => Self::Other(4),
            "U64" | "C64" => Self::Other(8),
            _ => return None,
        })
    }

    /// Bytes of one element.
    fn bytes(self) -> u64 {
        match self {
            Self::Plain(ty) => ty.block_bytes() as u64,
            Self::F8E4M3 | Self::F8E5M2 => 1,
            Self::Other(bytes) => bytes.into(),
        }
    }
}

/// A tensor as the file has it.
#[derive(Debug, Clone)]
pub(super) struct RawTensor {
    /// The name, unique in the file.
    pub name: String,
    pub dtype: Dtype,
    /// One to four dimensions, none zero, the contiguous one first.
    pub dims: Vec<u64>,
    /// The elements, little endian, at any address.
    pub data: SharedBytes,
    /// The offset of the first byte from the start of the file.
    pub offset: u64,
}

/// Reads the table of a file. Errors name the place inside the file, but not the file.
///
/// # Errors
/// `InvalidFile` and, for a type or shape that no reader here knows, `Unsupported`, naming byte, tensor and field.
pub(super) async fn read(file: &SharedBytes, pace: &Pace) -> Result<Vec<RawTensor>> {
    let mut cursor = Cursor::new(file);
    let len = cursor.u64("the length of the header")?;
    if len > MAX_HEADER {
        return Err(Error::invalid_file(format!("at byte 0: the length of the header is {len}; at most {MAX_HEADER} bytes are allowed")));
    }
    let header = cursor.take(len, "the header")?;
    let data_start = header.end;
    if file[header.clone()].first() != Some(&b'{') {
        return Err(Error::invalid_file("at byte 8: the header does not start with '{'; is this a safetensors file?"));
    }
    let Header(entries) = json::typed(&file[header]).map_err(|error| error.at("the header (bytes from 8 on)"))?;
    let data_len = (file.len() - data_start) as u64;
    let mut tensors = with_capacity(entries.len(), "tensors")?;
    for (name, entry) in entries {
        pace.spend(TENSOR_COST + name.len()).await;
        let tensor = entry.locate(file, data_start, data_len).map_err(|error| error.at(format_args!("tensor '{name}'")))?;
        tensors.push(RawTensor { name, ..tensor });
    }
    let names = sorted_unique(tensors.len(), |index| &*tensors[index].name, pace).await?;
    names.map_err(|error| error.describe("tensor", "tensors"))?;
    no_gaps(&tensors, data_start as u64, file.len() as u64, pace).await?;
    Ok(tensors)
}

/// One entry of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl RawEntry {
    fn locate(self, file: &SharedBytes, data_start: usize, data_len: u64) -> Result<RawTensor> {
        let Self { dtype: given, shape, data_offsets: (begin, end) } = self;
        let dtype = Dtype::of(&given).ok_or_else(|| Error::unsupported(format!("field 'dtype': '{}' is unknown", given.escape_debug())))?;
        if begin > end || end > data_len {
            return Err(Error::invalid_file(format!(
                "field 'data_offsets': {begin} to {end}, but the data (from byte {data_start} on) has {data_len} bytes; is the file truncated?"
            )));
        }
        if shape.len() > MAX_DIMS {
            return Err(Error::unsupported(format!("field 'shape': {} dimensions; at most {MAX_DIMS} are known", shape.len())));
        }
        if shape.contains(&0) {
            return Err(Error::unsupported(format!("field 'shape': {shape:?} has no elements")));
        }
        let bytes = shape.iter().try_fold(dtype.bytes(), |product, &dim| product.checked_mul(dim));
        if bytes != Some(end - begin) {
            return Err(Error::invalid_file(format!(
                "field 'data_offsets': {begin} to {end} are {} bytes, but shape {shape:?} of {given} takes {}",
                end - begin,
                bytes.map_or("more than 64 bits can count".to_owned(), |bytes| bytes.to_string())
            )));
        }
        let mut dims = shape;
        dims.reverse();
        if dims.is_empty() {
            dims.push(1);
        }
        let (start, end) = (data_start + begin as usize, data_start + end as usize);
        let data = file.slice(start..end).expect("the range was held against the length of the file");
        Ok(RawTensor { name: String::new(), dtype, dims, data, offset: start as u64 })
    }
}

/// All entries in the order of the file.
struct Header(Vec<(String, RawEntry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an entry for each tensor")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
                let (mut entries, mut metadata) = (Vec::new(), false);
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut metadata, true) {
                            return Err(A::Error::custom("key '__metadata__' stands twice"));
                        }
                        map.next_value::<Texts>()?;
                        continue;
                    }
                    if name.len() > MAX_NAME {
                        return Err(A::Error::custom(format_args!("a name of {} bytes; at most {MAX_NAME} are allowed", name.len())));
                    }
                    if entries.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
                    }
                    let entry = map.next_value()?;
                    entries.push((name, entry));
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The metadata: texts by name. They say nothing that a model is computed by, so that only their form is checked.
struct Texts;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Texts, A::Error> {
                while map.next_key::<IgnoredAny>()?.is_some() {
                    map.next_value::<String>()?;
                }
                Ok(Texts)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Refuses tensors that share bytes, and bytes that belong to none.
async fn no_gaps(tensors: &[RawTensor], data_start: u64, file_len: u64, pace: &Pace) -> Result<()> {
    let mut order: Vec<&RawTensor> = with_capacity(tensors.len(), "tensors")?;
    order.extend(tensors);
    sort(pace, &mut order, TENSOR_COST, |a, b| a.offset.cmp(&b.offset)).await?;
    let (mut end, mut before) = (data_start, "the header");
    for tensor in order {
        if tensor.offset != end {
            let fault = if tensor.offset < end { "overlaps" } else { "leaves a gap behind" };
            return Err(Error::invalid_file(format!(
                "tensor '{}' {fault} '{before}': it starts at byte {}, expected {end}",
                tensor.name, tensor.offset
            )));
        }
        end += tensor.data.len() as u64;
        before = &tensor.name;
        pace.spend(TENSOR_COST / 8).await;
    }
    if end != file_len {
        return Err(Error::invalid_file(format!("at byte {end}: {} bytes that belong to no tensor", file_len - end)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ErrorKind, at_once};

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    fn parsed(bytes: &[u8]) -> Result<Vec<RawTensor>> {
        at_once(read(&SharedBytes::copied(bytes), &Pace::unhurried()))
    }

    #[track_caller]
    fn refused(header: &str, data: &[u8], kind: ErrorKind, says: &str) {
        let error = parsed(&file(header, data)).expect_err("the file was taken");
        assert!(error.message().contains(says), "'{says}' is not in: {error}");
        assert_eq!(error.kind(), kind);
    }

    #[test]
    fn tensors_read_with_the_contiguous_dimension_first() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let data: Vec<u8> = (0..16).collect();
        let tensors = parsed(&file(header, &data)).unwrap();
        assert_eq!((&*tensors[0].name, &*tensors[0].dims, tensors[0].dtype), ("b", &[3, 2][..], Dtype::Plain(TensorType::F16)));
        assert_eq!(&*tensors[0].data, &data[4..]);
        assert_eq!((&*tensors[1].dims, tensors[1].offset), (&[1][..], 8 + header.len() as u64));
        assert!(parsed(&file("{}", b"")).unwrap().is_empty());
        assert!(parsed(&file("{}   ", b"")).unwrap().is_empty());
    }

    #[test]
    fn cut_off_anywhere_is_an_error() {
        let bytes = file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8]);
        for len in 0..bytes.len() {
            assert_eq!(parsed(&bytes[..len]).unwrap_err().kind(), ErrorKind::InvalidFile, "{len}");
        }
    }

    #[test]
    fn faults_name_the_place() {
        use ErrorKind::{InvalidFile, Unsupported};
        let entry =
            |dtype: &str, shape: &str, offsets: &str| format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#);
        refused("[]", b"", InvalidFile, "does not start with '{'");
        refused("{\"a\": 1}", b"", InvalidFile, "at byte 6: invalid type: integer");
        refused(&entry("F32", "[1]", "[0,4]"), &[0; 5], InvalidFile, "1 bytes that belong to no tensor");
        refused(&entry("F32", "[1]", "[1,5]"), &[0; 5], InvalidFile, "leaves a gap behind 'the header'");
        refused(&entry("F32", "[1]", "[0,8]"), &[0; 8], InvalidFile, "are 8 bytes, but shape [1] of F32 takes 4");
        refused(&entry("F32", "[1]", "[4,0]"), &[0; 8], InvalidFile, "'data_offsets': 4 to 0");
        refused(&entry("F32", "[1]", "[0,4]"), &[0; 3], InvalidFile, "the data (from byte 62 on) has 3 bytes");
        refused(&entry("F32", "[18446744073709551615,2]", "[0,4]"), &[0; 4], InvalidFile, "more than 64 bits");
        refused(&entry("F32", "[-1]", "[0,4]"), &[0; 4], InvalidFile, "invalid value: integer `-1`");
        refused(&entry("F32", "[0]", "[0,0]"), b"", Unsupported, "no elements");
        refused(&entry("F3", "[1]", "[0,4]"), &[0; 4], Unsupported, "'F3' is unknown");
        refused(&entry("U8", "[1,1,1,1,1]", "[0,1]"), &[0; 1], Unsupported, "5 dimensions");
        refused(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, &[0; 4], InvalidFile, "unknown field `x`");
        refused(r#"{"a":{"dtype":"F32","shape":[1]}}"#, &[0; 4], InvalidFile, "missing field `data_offsets`");
        refused(r#"{"__metadata__":{"a":1}}"#, b"", InvalidFile, "expected a string");
        let two = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
        refused(two, &[0; 3], InvalidFile, "tensor 'b' overlaps 'a'");
        let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        assert!(parsed(&huge).unwrap_err().message().contains("at most 100000000"));
    }
}
