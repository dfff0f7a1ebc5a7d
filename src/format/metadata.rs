//! Metadata: an ordered list of keys with typed values, and access that says what is wrong.
//!
//! The typed getters return `Ok(None)` for a key that is absent and an error that names key, type and value where the value is of
//! another kind or doesn't fit; whether absence is a fault, only the caller knows.

#![forbid(unsafe_code)]

use super::value::{Array, StringArray, Value};
use crate::base::sort::sort;
use crate::base::{Error, Pace, Result, SharedBytes, at_once};

/// The key–value pairs of a model file, in its order; keys are unique.
#[derive(Debug, Default)]
pub struct Metadata {
    entries: Vec<Entry>,
    /// Indexes into `entries`, ascending by key.
    by_key: Vec<u32>,
}

/// One key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: Box<str>,
    pub value: Stored,
}

/// A value as it is kept: scalars decoded, all else as views of the file.
#[derive(Debug)]
pub(super) enum Stored {
    Scalar(Value<'static>),
    Str(SharedBytes),
    Array(Array),
}

impl Metadata {
    /// Metadata of `entries`.
    ///
    /// # Errors
    /// [`InvalidFile`](crate::base::ErrorKind::InvalidFile) for a key that stands twice, `OutOfMemory` where there is no room for the index.
    pub(super) async fn new(entries: Vec<Entry>, pace: &Pace) -> Result<Self> {
        let by_key = sorted_unique(entries.len(), |index| &*entries[index].key, pace).await?;
        let by_key = by_key.map_err(|error| error.describe("metadata key", "metadata entries"))?;
        Ok(Self { entries, by_key })
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The pair at `index`, in the order of the file.
    pub fn at(&self, index: usize) -> Option<(&str, Value<'_>)> {
        self.entries.get(index).map(|entry| (&*entry.key, entry.value.view()))
    }

    /// All pairs in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> {
        self.entries.iter().map(|entry| (&*entry.key, entry.value.view()))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.index_of(key).map(|index| self.entries[index].value.view())
    }

    /// The place of `key` in the order of the file.
    pub fn index_of(&self, key: &str) -> Option<usize> {
        let found = self.by_key.binary_search_by(|&index| (*self.entries[index as usize].key).cmp(key)).ok()?;
        Some(self.by_key[found] as usize)
    }

    /// A string that is UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        let Some(bytes) = self.bytes(key)? else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                Err(Error::invalid_file(format!("metadata key '{key}': not UTF-8 at byte {} of the string", error.valid_up_to())))
            }
        }
    }

    /// A string, whatever its encoding.
    pub fn bytes(&self, key: &str) -> Result<Option<&[u8]>> {
        self.typed(key, "string", Value::bytes)
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "bool", as_bool)
    }

    /// Any integer that fits a u32.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.integer(key, "u32")
    }

    /// Any integer that fits a u64.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.integer(key, "u64")
    }

    /// Any integer that fits an i64.
    pub fn i64(&self, key: &str) -> Result<Option<i64>> {
        self.integer(key, "i64")
    }

    /// Any number, as the nearest f32.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        Ok(self.f64(key)?.map(|x| x as f32))
    }

    /// Any number, as the nearest f64.
    pub fn f64(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "number", Value::number)
    }

    /// An array of anything.
    pub fn array(&self, key: &str) -> Result<Option<&Array>> {
        self.typed(key, "array", Value::array)
    }

    /// An array of strings, as a view. An empty array of any type counts as one.
    pub fn strings(&self, key: &str) -> Result<Option<StringArray<'_>>> {
        let Some(array) = self.array(key)? else { return Ok(None) };
        match array.strings() {
            Some(strings) => Ok(Some(strings)),
            None if array.is_empty() => Ok(Some(StringArray::default())),
            None => Err(wrong_elements(key, array, "strings")),
        }
    }

    /// An array of integers that all fit an i32.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        at_once(self.i32s_paced(key, &Pace::unhurried()))
    }

    /// As [`i32s`](Self::i32s), in pieces.
    pub async fn i32s_paced(&self, key: &str, pace: &Pace) -> Result<Option<Vec<i32>>> {
        self.elements(key, "integers that fit i32", |value| i32::try_from(value.integer()?).ok(), pace).await
    }

    /// An array of integers that all fit a u32.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>> {
        at_once(self.elements(key, "integers that fit u32", |value| u32::try_from(value.integer()?).ok(), &Pace::unhurried()))
    }

    /// An array of numbers, each as the nearest f32.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        at_once(self.f32s_paced(key, &Pace::unhurried()))
    }

    /// As [`f32s`](Self::f32s), in pieces.
    pub async fn f32s_paced(&self, key: &str, pace: &Pace) -> Result<Option<Vec<f32>>> {
        self.elements(key, "numbers", |value| value.number().map(|x| x as f32), pace).await
    }

    /// An array of bools.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>> {
        at_once(self.elements(key, "bools", as_bool, &Pace::unhurried()))
    }

    fn typed<'a, T>(&'a self, key: &str, expected: &str, convert: impl Fn(Value<'a>) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(Error::invalid_file(format!("metadata key '{key}': expected {expected}, found {}", value.ty()))),
        }
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str, expected: &str) -> Result<Option<T>> {
        let Some(x) = self.typed(key, expected, Value::integer)? else { return Ok(None) };
        match T::try_from(x) {
            Ok(fits) => Ok(Some(fits)),
            Err(_) => Err(Error::invalid_file(format!("metadata key '{key}': {x} does not fit {expected}"))),
        }
    }

    async fn elements<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl Fn(Value<'_>) -> Option<T>,
        pace: &Pace,
    ) -> Result<Option<Vec<T>>> {
        let Some(array) = self.array(key)? else { return Ok(None) };
        let mut out = Vec::new();
        out.try_reserve_exact(array.len())
            .map_err(|_| Error::out_of_memory(format!("metadata key '{key}': no memory for {} elements", array.len())))?;
        for index in 0..array.len() {
            let Some(value) = array.get(index) else { break };
            let Some(converted) = convert(value) else {
                return Err(match value.integer() {
                    Some(x) => Error::invalid_file(format!("metadata key '{key}': expected {expected}, element {index} is {x}")),
                    None => wrong_elements(key, array, expected),
                });
            };
            out.push(converted);
            pace.spend(size_of::<T>()).await;
        }
        Ok(Some(out))
    }
}

impl Stored {
    fn view(&self) -> Value<'_> {
        match self {
            Self::Scalar(value) => *value,
            Self::Str(bytes) => Value::Str(bytes),
            Self::Array(array) => Value::Array(array),
        }
    }
}

fn as_bool(value: Value<'_>) -> Option<bool> {
    if let Value::Bool(x) = value { Some(x) } else { None }
}

fn wrong_elements(key: &str, array: &Array, expected: &str) -> Error {
    Error::invalid_file(format!("metadata key '{key}': expected an array of {expected}, found one of {}", array.element_type()))
}

/// Two that have the same name: see [`sorted_unique`].
pub(super) struct Duplicate {
    name: String,
    first: usize,
    second: usize,
}

impl Duplicate {
    /// As an error about a `noun` among `list`.
    pub(super) fn describe(self, noun: &str, list: &str) -> Error {
        let Self { name, first, second } = self;
        Error::invalid_file(format!("{noun} '{name}' stands twice: as number {first} and {second} of the {list}"))
    }
}

/// What a comparison of two names costs (see [`Pace::spend`]).
const NAME_COST: usize = 64;

/// The indexes 0..`count`, ascending by name, where all names differ. Takes time n log n whatever the names.
///
/// # Errors
/// `OutOfMemory` where there is no room for the index.
pub(super) async fn sorted_unique<'a>(
    count: usize,
    name: impl Fn(usize) -> &'a str,
    pace: &Pace,
) -> Result<std::result::Result<Vec<u32>, Duplicate>> {
    let mut indexes: Vec<u32> = Vec::new();
    indexes.try_reserve_exact(count).map_err(|_| Error::out_of_memory(format!("no memory for an index of {count} names")))?;
    // The callers' limits keep counts far below u32.
    indexes.extend(0..count as u32);
    sort(pace, &mut indexes, NAME_COST, |&a, &b| name(a as usize).cmp(name(b as usize))).await?;
    for pair in indexes.windows(2) {
        let (first, second) = (pair[0] as usize, pair[1] as usize);
        if name(first) == name(second) {
            return Ok(Err(Duplicate { name: name(first).into(), first: first + 1, second: second + 1 }));
        }
        pace.spend(NAME_COST).await;
    }
    Ok(Ok(indexes))
}
