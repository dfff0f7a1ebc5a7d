//! Metadata
//!
//! What a model file says about itself: keys with typed values, in the order of the file. Values of arrays are read one by one, by index;
//! for a value that is no array the index is 0.

use std::ffi::c_char;

use crate::format::{Metadata, Value};

use super::buffer::{self, Buffer, Out};
use super::call::{Failure, Outcome, call};
use super::error::loquat_error;
use super::handle;
use super::model::loquat_model;
use super::status::{LOQUAT_NOT_FOUND, LOQUAT_OK, loquat_status};

/// Type of a metadata value: 8-bit unsigned integer.
pub const LOQUAT_VALUE_U8: u32 = 0;
/// Type of a metadata value: 8-bit signed integer.
pub const LOQUAT_VALUE_I8: u32 = 1;
/// Type of a metadata value: 16-bit unsigned integer.
pub const LOQUAT_VALUE_U16: u32 = 2;
/// Type of a metadata value: 16-bit signed integer.
pub const LOQUAT_VALUE_I16: u32 = 3;
/// Type of a metadata value: 32-bit unsigned integer.
pub const LOQUAT_VALUE_U32: u32 = 4;
/// Type of a metadata value: 32-bit signed integer.
pub const LOQUAT_VALUE_I32: u32 = 5;
/// Type of a metadata value: 32-bit float.
pub const LOQUAT_VALUE_F32: u32 = 6;
/// Type of a metadata value: truth value.
pub const LOQUAT_VALUE_BOOL: u32 = 7;
/// Type of a metadata value: text.
pub const LOQUAT_VALUE_STRING: u32 = 8;
/// Type of a metadata value: array.
pub const LOQUAT_VALUE_ARRAY: u32 = 9;
/// Type of a metadata value: 64-bit unsigned integer.
pub const LOQUAT_VALUE_U64: u32 = 10;
/// Type of a metadata value: 64-bit signed integer.
pub const LOQUAT_VALUE_I64: u32 = 11;
/// Type of a metadata value: 64-bit float.
pub const LOQUAT_VALUE_F64: u32 = 12;

/// Gives element `index` of the value of `key` to `read`; NOT_FOUND where there is none.
fn element(metadata: &Metadata, key: &str, index: u64, read: impl FnOnce(Value<'_>) -> Outcome) -> Outcome {
    let value = match metadata.get(key) {
        Some(Value::Array(array)) => usize::try_from(index).ok().and_then(|index| array.get(index)),
        Some(value) => (index == 0).then_some(value),
        None => None,
    };
    value.map_or(Ok(LOQUAT_NOT_FOUND), read)
}

fn mismatch(key: &str, value: Value<'_>, wanted: &str) -> Failure {
    Failure::argument(format!("the value of \"{key}\" is of type {}, which is no {wanted}", value.ty()))
}

/// Stores the number of keys.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_count(
    model: *const loquat_model,
    count: *mut u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let count = Out::new(count, "count")?;
            count.set(handle::shared(model)?.metadata().len() as u64);
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `buffer` with the key at `index`.
///
/// LOQUAT_NOT_FOUND past the last key; LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_key(
    model: *const loquat_model,
    index: u64,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            let model = handle::shared(model)?;
            let entry = usize::try_from(index).ok().and_then(|index| model.metadata().at(index));
            entry.map_or(Ok(LOQUAT_NOT_FOUND), |(key, _)| out.fill(key.as_bytes()))
        })
    }
}

/// Stores the type of a value and its number of elements. For an array the type is that of its elements (LOQUAT_VALUE_ARRAY: arrays in an
/// array, whose elements can't be read) and `*is_array` is 1; for other values the number is 1 and `*is_array` 0.
///
/// LOQUAT_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_type(
    model: *const loquat_model,
    key: *const c_char,
    key_length: usize,
    value_type: *mut u32,
    is_array: *mut u32,
    count: *mut u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let value_type = Out::new(value_type, "value_type")?;
            let is_array = Out::new(is_array, "is_array")?;
            let count = Out::new(count, "count")?;
            let key = buffer::text(key, key_length, "key")?;
            let model = handle::shared(model)?;
            let (ty, array, elements) = match model.metadata().get(key) {
                Some(Value::Array(array)) => (array.element_type(), 1, array.len() as u64),
                Some(value) => (value.ty(), 0, 1),
                None => return Ok(LOQUAT_NOT_FOUND),
            };
            value_type.set(ty.id());
            is_array.set(array);
            count.set(elements);
            Ok(LOQUAT_OK)
        })
    }
}

/// Stores an integer of any type that is not negative.
///
/// LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind or range.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_u64(
    model: *const loquat_model,
    key: *const c_char,
    key_length: usize,
    index: u64,
    value: *mut u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Out::new(value, "value")?;
            let key = buffer::text(key, key_length, "key")?;
            element(handle::shared(model)?.metadata(), key, index, |value| {
                let number = value.integer().and_then(|number| u64::try_from(number).ok());
                out.set(number.ok_or_else(|| mismatch(key, value, "integer that fits 64 unsigned bits"))?);
                Ok(LOQUAT_OK)
            })
        })
    }
}

/// Stores an integer of any type.
///
/// LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind or range.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_i64(
    model: *const loquat_model,
    key: *const c_char,
    key_length: usize,
    index: u64,
    value: *mut i64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Out::new(value, "value")?;
            let key = buffer::text(key, key_length, "key")?;
            element(handle::shared(model)?.metadata(), key, index, |value| {
                let number = value.integer().and_then(|number| i64::try_from(number).ok());
                out.set(number.ok_or_else(|| mismatch(key, value, "integer that fits 64 signed bits"))?);
                Ok(LOQUAT_OK)
            })
        })
    }
}

/// Stores a number of any type, rounded to the nearest double.
///
/// LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_f64(
    model: *const loquat_model,
    key: *const c_char,
    key_length: usize,
    index: u64,
    value: *mut f64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Out::new(value, "value")?;
            let key = buffer::text(key, key_length, "key")?;
            element(handle::shared(model)?.metadata(), key, index, |value| {
                let number = value.number();
                out.set(number.ok_or_else(|| mismatch(key, value, "number"))?);
                Ok(LOQUAT_OK)
            })
        })
    }
}

/// Stores a truth value as 0 or 1.
///
/// LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_bool(
    model: *const loquat_model,
    key: *const c_char,
    key_length: usize,
    index: u64,
    value: *mut u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Out::new(value, "value")?;
            let key = buffer::text(key, key_length, "key")?;
            element(handle::shared(model)?.metadata(), key, index, |value| {
                let number = if let Value::Bool(truth) = value { Some(u32::from(truth)) } else { None };
                out.set(number.ok_or_else(|| mismatch(key, value, "truth value"))?);
                Ok(LOQUAT_OK)
            })
        })
    }
}

/// Fills `buffer` with a text as the file has it: usually UTF-8, but that is the file's affair.
///
/// LOQUAT_NOT_FOUND; LOQUAT_BUFFER_TOO_SMALL; LOQUAT_INVALID_ARGUMENT for a value of another kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_metadata_string(
    model: *const loquat_model,
    key: *const c_char,
    key_length: usize,
    index: u64,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            let key = buffer::text(key, key_length, "key")?;
            element(handle::shared(model)?.metadata(), key, index, |value| match value {
                Value::Str(bytes) => out.fill(bytes),
                _ => Err(mismatch(key, value, "text")),
            })
        })
    }
}
