//! JSON files of hostile origin: strict where `serde_json` is lenient, and errors that name the byte.

#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::base::{Error, Result};

/// An object, in which no key stands twice at any depth. Depth is bounded by `serde_json` (128), memory by some 40 bytes for each of `bytes`.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>> {
    match parse(bytes, Strict)? {
        Value::Object(object) => Ok(object),
        other => Err(Error::invalid_file(format!("at byte 0: expected an object, found {}", kind(&other)))),
    }
}

/// A value of a type that says itself what may stand there.
pub(super) fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    parse(bytes, std::marker::PhantomData)
}

fn parse<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| refused(bytes, &error))
}

/// The error with its byte instead of line and column.
fn refused(bytes: &[u8], error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let said = text.rfind(" at line ").map_or(&*text, |end| &text[..end]);
    if error.line() == 0 {
        return Error::invalid_file(said.to_owned());
    }
    let line: usize = bytes.split_inclusive(|&byte| byte == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
    Error::invalid_file(format!("at byte {}: {said}", line + error.column().saturating_sub(1)))
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Reads any value and refuses keys that stand twice.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }
    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Strict)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key '{key}' stands twice")));
            }
            let value = map.next_value_seed(Strict)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_they_are_and_errors_name_the_byte() {
        let text = br#"{"a": [1, -2, 2.5, null, true, "x"], "b": {"c": {}}}"#;
        assert_eq!(Value::Object(object(text).unwrap()), serde_json::from_slice::<Value>(text).unwrap());
        let says = |text: &str| object(text.as_bytes()).unwrap_err().message().to_owned();
        assert_eq!(says(r#"[1]"#), "at byte 0: expected an object, found an array");
        assert_eq!(says("{\"a\": 1,\n \"a\": 2}"), "at byte 12: key 'a' stands twice");
        assert_eq!(says(r#"{"a": {"b": 1, "b": 1}}"#), "at byte 17: key 'b' stands twice");
        assert!(says(r#"{"a": 1} x"#).starts_with("at byte 9: "), "{}", says(r#"{"a": 1} x"#));
        assert!(says("").starts_with("at byte 0"), "{}", says(""));
        assert!(says(&"{\"a\":".repeat(1000)).contains("recursion limit"));
        assert!(object(&[b'{', b'"', 0xFF, b'"', b':', b'1', b'}']).is_err());
    }
}
