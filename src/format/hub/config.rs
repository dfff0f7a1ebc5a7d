//! `config.json`, with access that says what is wrong. What the keys mean is for `families` to say.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::{Map, Value};

use super::super::json;
use super::super::source::Source;
use crate::base::{Error, Result};

/// An object of a JSON file. A key whose value is null counts as absent.
pub(super) struct Config<'a> {
    object: Cow<'a, Map<String, Value>>,
    /// The file, and the keys that lead to this object.
    place: String,
}

impl Config<'_> {
    /// Reads a file that holds one object.
    ///
    /// # Errors
    /// `InvalidFile` naming file and byte.
    pub(super) fn read(source: &Source) -> Result<Config<'static>> {
        let object = json::object(source.bytes()).map_err(|error| error.at(source.name()))?;
        Ok(Config { object: Cow::Owned(object), place: source.name().to_owned() })
    }

    /// A key's place, for messages.
    pub(super) fn place(&self, key: &str) -> String {
        format!("{}: key '{key}'", self.place)
    }

    /// `InvalidFile` about the value of `key`.
    pub(super) fn error(&self, key: &str, message: impl Display) -> Error {
        Error::invalid_file(format!("{}: {message}", self.place(key)))
    }

    /// The value of `key`. Models that see as well have their language model's configuration in an object of its own, which comes first.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let within = self.object.get("text_config").and_then(Value::as_object).and_then(|inner| inner.get(key));
        within.or_else(|| self.object.get(key)).filter(|value| !value.is_null())
    }

    fn typed<'b, T>(&'b self, key: &str, expected: &str, convert: impl FnOnce(&'b Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let converted = convert(value).ok_or_else(|| self.error(key, format!("expected {expected}, found {}", json::kind(value))))?;
        Ok(Some(converted))
    }

    /// An integer that is not negative.
    pub(super) fn integer(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an integer from 0 on", Value::as_u64)
    }

    /// An integer that must be there.
    pub(super) fn required(&self, key: &str) -> Result<u64> {
        self.integer(key)?.ok_or_else(|| self.error(key, "it is missing"))
    }

    /// A number.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A bool.
    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", Value::as_bool)
    }

    /// A string.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", Value::as_str)
    }

    /// Numbers.
    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        self.typed(key, "an array of numbers", |value| value.as_array()?.iter().map(Value::as_f64).collect())
    }

    /// Integers that are not negative.
    pub(super) fn integers(&self, key: &str) -> Result<Option<Vec<u64>>> {
        self.typed(key, "an array of integers", |value| value.as_array()?.iter().map(Value::as_u64).collect())
    }

    /// An object.
    pub(super) fn object(&self, key: &str) -> Result<Option<Config<'_>>> {
        let object = self.typed(key, "an object", Value::as_object)?;
        Ok(object.map(|object| Config { object: Cow::Borrowed(object), place: self.place(key) }))
    }

    /// One id, or several.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = self.typed(key, "a token id or an array of them", |value| match value {
            Value::Array(ids) => ids.iter().map(id).collect(),
            // Some libraries write -1 for none.
            value if value.as_i64().is_some_and(|id| id < 0) => Some(vec![]),
            value => Some(vec![id(value)?]),
        });
        Ok(ids?.unwrap_or_default())
    }
}
