//! Metadata values: scalars, strings and arrays, as views of the file's bytes.
//!
//! Arrays are not expanded: one of numbers is its bytes in the file, one of strings its bytes and an index of four bytes per string.
//! So a vocabulary of 150,000 tokens costs one pass over the lengths and one allocation.

#![forbid(unsafe_code)]

use crate::base::{Reservation, SharedBytes};

/// The type of a metadata value; the numbers are those of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants name themselves")]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

use ValueType as T;

impl ValueType {
    /// All types, ascending by number.
    pub const ALL: [Self; 13] = [T::U8, T::I8, T::U16, T::I16, T::U32, T::I32, T::F32, T::Bool, T::Str, T::Array, T::U64, T::I64, T::F64];

    /// The type with the number `id`.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The number in GGUF files.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The name in messages: "u32", "string", "array".
    pub fn name(self) -> &'static str {
        ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"][self as usize]
    }

    /// Bytes of a scalar; `None` for strings and arrays.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            T::U8 | T::I8 | T::Bool => 1,
            T::U16 | T::I16 => 2,
            T::U32 | T::I32 | T::F32 => 4,
            T::U64 | T::I64 | T::F64 => 8,
            T::Str | T::Array => return None,
        })
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value, or an element of an array. Strings are bytes: files carry tokens that are not UTF-8.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a [u8]),
    Array(&'a Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The type.
    pub fn ty(self) -> ValueType {
        match self {
            Self::U8(_) => T::U8,
            Self::I8(_) => T::I8,
            Self::U16(_) => T::U16,
            Self::I16(_) => T::I16,
            Self::U32(_) => T::U32,
            Self::I32(_) => T::I32,
            Self::F32(_) => T::F32,
            Self::Bool(_) => T::Bool,
            Self::Str(_) => T::Str,
            Self::Array(_) => T::Array,
            Self::U64(_) => T::U64,
            Self::I64(_) => T::I64,
            Self::F64(_) => T::F64,
        }
    }

    /// The value of any integer type; `None` for all other types.
    pub fn integer(self) -> Option<i128> {
        Some(match self {
            Self::U8(x) => x.into(),
            Self::I8(x) => x.into(),
            Self::U16(x) => x.into(),
            Self::I16(x) => x.into(),
            Self::U32(x) => x.into(),
            Self::I32(x) => x.into(),
            Self::U64(x) => x.into(),
            Self::I64(x) => x.into(),
            _ => return None,
        })
    }

    /// The value of any float or integer type, the nearest f64; `None` for all other types.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            other => other.integer().map(|x| x as f64),
        }
    }

    /// The bytes of a string.
    pub fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Str(bytes) = self { Some(bytes) } else { None }
    }

    /// The array.
    pub fn array(self) -> Option<&'a Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }

    /// The scalar of type `ty` whose bytes start `bytes`; `None` for a string or array, too few bytes, or a bool other than 0 and 1.
    pub(super) fn scalar(ty: ValueType, bytes: &[u8]) -> Option<Value<'static>> {
        /// The first N bytes.
        fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
            bytes.first_chunk::<N>().copied()
        }
        Some(match ty {
            T::U8 => Value::U8(*bytes.first()?),
            T::I8 => Value::I8(*bytes.first()? as i8),
            T::U16 => Value::U16(u16::from_le_bytes(first(bytes)?)),
            T::I16 => Value::I16(i16::from_le_bytes(first(bytes)?)),
            T::U32 => Value::U32(u32::from_le_bytes(first(bytes)?)),
            T::I32 => Value::I32(i32::from_le_bytes(first(bytes)?)),
            T::F32 => Value::F32(f32::from_le_bytes(first(bytes)?)),
            T::U64 => Value::U64(u64::from_le_bytes(first(bytes)?)),
            T::I64 => Value::I64(i64::from_le_bytes(first(bytes)?)),
            T::F64 => Value::F64(f64::from_le_bytes(first(bytes)?)),
            T::Bool => match bytes.first()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return None,
            },
            T::Str | T::Array => return None,
        })
    }
}

/// An array of values of one type, checked when the file was read.
#[derive(Debug)]
pub struct Array {
    element: ValueType,
    len: usize,
    items: Items,
}

/// The elements of an [`Array`].
#[derive(Debug)]
pub(super) enum Items {
    /// Little-endian numbers or bools, side by side, as the file has them.
    Scalars(SharedBytes),
    /// Strings as the file has them, each behind its u64 length; `ends[i]` is the offset in `bytes` behind string i.
    Strings { bytes: SharedBytes, ends: Vec<u32>, _reservation: Reservation },
    /// Arrays in the array.
    Arrays(Vec<Array>),
}

impl Array {
    /// An array whose parser has checked that `items` are `len` elements of type `element`.
    pub(super) fn new(element: ValueType, len: usize, items: Items) -> Self {
        Self { element, len, items }
    }

    pub(super) fn items(&self) -> &Items {
        &self.items
    }

    /// The type of every element.
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element `index`.
    pub fn get(&self, index: usize) -> Option<Value<'_>> {
        match &self.items {
            Items::Scalars(bytes) => {
                let size = self.element.size()?;
                Value::scalar(self.element, bytes.get(index.checked_mul(size)?..)?)
            }
            Items::Strings { .. } => self.strings()?.get(index).map(Value::Str),
            Items::Arrays(arrays) => arrays.get(index).map(Value::Array),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'_>> {
        (0..self.len).filter_map(|index| self.get(index))
    }

    /// The array as strings; `None` where its elements are something else.
    pub fn strings(&self) -> Option<StringArray<'_>> {
        match &self.items {
            Items::Strings { bytes, ends, .. } => Some(StringArray { bytes, ends }),
            _ => None,
        }
    }

    /// The bytes of an array of numbers or bools: little endian, side by side, at any address; `None` for strings and arrays.
    pub fn scalar_bytes(&self) -> Option<&[u8]> {
        if let Items::Scalars(bytes) = &self.items { Some(bytes) } else { None }
    }
}

/// A borrowed array of strings. Each string is a view of the file's bytes and need not be UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub struct StringArray<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
}

impl<'a> StringArray<'a> {
    /// The number of strings.
    pub fn len(self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.ends.is_empty()
    }

    /// The length of all strings together.
    pub fn text_len(self) -> usize {
        let end = self.ends.last().map_or(0, |&end| end as usize);
        end - STRING_HEADER * self.ends.len()
    }

    /// String `index`.
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.bytes.get(start as usize + STRING_HEADER..end as usize)
    }

    /// All strings in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        (0..self.ends.len()).map(move |index| self.get(index).unwrap_or_default())
    }
}

/// Bytes of the length in front of a string.
pub(super) const STRING_HEADER: usize = 8;
