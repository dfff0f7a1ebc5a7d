//! Metadata in the making: for containers whose metadata is written otherwise, and for files that are written.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::metadata::{Entry, Metadata, Stored};
use super::value::{Array, Items, STRING_HEADER, Value, ValueType};
use crate::base::vectors::with_capacity;
use crate::base::{Error, MemoryBudget, MemoryCategory, Pace, Result, SharedBytes};

/// Key–value pairs under GGUF's keys. A key that is set again keeps its last value.
#[derive(Default)]
pub struct Entries(Vec<Entry>);

impl Entries {
    fn set(&mut self, key: String, value: Stored) {
        match self.0.iter_mut().find(|entry| *entry.key == *key) {
            Some(entry) => entry.value = value,
            None => self.0.push(Entry { key: key.into(), value }),
        }
    }

    /// An unsigned integer, as u32 where it fits.
    pub fn integer(&mut self, key: impl Into<String>, value: u64) {
        let value = u32::try_from(value).map_or(Value::U64(value), Value::U32);
        self.set(key.into(), Stored::Scalar(value));
    }

    /// A number, in the precision that GGUF's keys have.
    pub fn float(&mut self, key: impl Into<String>, value: f64) {
        self.set(key.into(), Stored::Scalar(Value::F32(value as f32)));
    }

    /// A bool.
    pub fn bool(&mut self, key: impl Into<String>, value: bool) {
        self.set(key.into(), Stored::Scalar(Value::Bool(value)));
    }

    /// A text that is there already.
    pub fn shared_text(&mut self, key: impl Into<String>, value: SharedBytes) {
        self.set(key.into(), Stored::Str(value));
    }

    /// A string.
    pub fn text(&mut self, key: impl Into<String>, value: &str) {
        self.set(key.into(), Stored::Str(SharedBytes::copied(value.as_bytes())));
    }

    /// An array of u32.
    pub fn integers(&mut self, key: impl Into<String>, values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let array = Array::new(ValueType::U32, values.len(), Items::Scalars(SharedBytes::copied(&bytes)));
        self.set(key.into(), Stored::Array(array));
    }

    /// An array of i32.
    pub fn signed(&mut self, key: impl Into<String>, values: &[i32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let array = Array::new(ValueType::I32, values.len(), Items::Scalars(SharedBytes::copied(&bytes)));
        self.set(key.into(), Stored::Array(array));
    }

    /// An array of f32.
    pub fn floats(&mut self, key: impl Into<String>, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let array = Array::new(ValueType::F32, values.len(), Items::Scalars(SharedBytes::copied(&bytes)));
        self.set(key.into(), Stored::Array(array));
    }

    /// An array of strings.
    ///
    /// # Errors
    /// `OutOfMemory`; `Unsupported` for more than 4 GiB of them.
    pub fn strings<'a>(
        &mut self,
        key: impl Into<String>,
        values: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        budget: &Arc<MemoryBudget>,
    ) -> Result<()> {
        let len: usize = values.clone().map(|value| value.len() + STRING_HEADER).sum();
        let count = values.len();
        if u32::try_from(len).is_err() {
            return Err(Error::unsupported("an array of strings is larger than 4 GiB"));
        }
        let reservation = budget.reserve(MemoryCategory::Other, (len + 4 * count) as u64)?;
        let (mut bytes, mut ends) = (with_capacity(len, "bytes of strings")?, with_capacity(count, "strings")?);
        for value in values {
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
            bytes.extend_from_slice(value);
            ends.push(bytes.len() as u32);
        }
        let items = Items::Strings { bytes: SharedBytes::new(Arc::new(bytes)), ends, _reservation: reservation };
        self.set(key.into(), Stored::Array(Array::new(ValueType::Str, count, items)));
        Ok(())
    }

    /// The finished metadata.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub async fn finish(self, pace: &Pace) -> Result<Metadata> {
        Metadata::new(self.0, pace).await
    }
}
