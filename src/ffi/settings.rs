//! Options by name: the text forms of values for the `_options_set` functions, and checked numbers for the typed setters.

use std::ffi::c_char;
use std::fmt::Display;
use std::str::FromStr;

use super::buffer;
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::status::{LOQUAT_OK, LOQUAT_UNKNOWN_OPTION, loquat_status};

/// A number, as Rust writes it.
pub(super) fn number<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, Failure> {
    value.trim().parse().map_err(|error| Failure::argument(format!("option {key}: \"{value}\": {error}")))
}

/// A switch: "true", "1", "false" or "0".
pub(super) fn switch(key: &str, value: &str) -> Result<bool, Failure> {
    match value.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::argument(format!("option {key}: \"{value}\" is not true, false, 1 or 0"))),
    }
}

/// One of several names.
pub(super) fn choice<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T, Failure> {
    let found = choices.iter().find(|(name, _)| *name == value.trim());
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Failure::argument(format!("option {key}: \"{value}\" is not one of {}", names.join(", ")))
    })
}

/// A switch that C passes as a number: 0 or 1.
pub(super) fn flag(name: &str, value: u32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::argument(format!("{name} is {value}, must be 0 or 1"))),
    }
}

/// The failure for a key that does not exist.
pub(super) fn unknown(kind: &str, key: &str) -> Failure {
    Failure::new(LOQUAT_UNKNOWN_OPTION, format!("there is no {kind} option \"{key}\""))
}

/// The body of every setter: `change` on the options object with exclusive use of it.
///
/// # Safety
/// `options` and `error` are NULL or valid, as the conventions of the header ask.
pub(super) unsafe fn change<H: Opaque>(
    options: *mut H,
    error: *mut *mut loquat_error,
    change: impl FnOnce(&mut H::Value) -> Result<(), Failure>,
) -> loquat_status {
    // SAFETY: as promised by the caller.
    unsafe {
        call(error, || {
            change(&mut *handle::exclusive(options)?)?;
            Ok(LOQUAT_OK)
        })
    }
}

/// As [`change`], where no value of the right type is wrong.
///
/// # Safety
/// As [`change`].
pub(super) unsafe fn set<H: Opaque>(options: *mut H, error: *mut *mut loquat_error, set: impl FnOnce(&mut H::Value)) -> loquat_status {
    // SAFETY: as promised by the caller.
    unsafe {
        change(options, error, |object| {
            set(object);
            Ok(())
        })
    }
}

/// The body of every `_options_set`: key and value are texts.
///
/// # Safety
/// As [`change`]; and `key` and `value` are NULL or texts of their lengths.
pub(super) unsafe fn change_by_name<H: Opaque>(
    options: *mut H,
    (key, key_length): (*const c_char, usize),
    (value, value_length): (*const c_char, usize),
    error: *mut *mut loquat_error,
    set: impl FnOnce(&mut H::Value, &str, &str) -> Result<(), Failure>,
) -> loquat_status {
    // SAFETY: as promised by the caller.
    unsafe {
        change(options, error, |object| {
            let key = buffer::text(key, key_length, "key")?;
            let value = buffer::text(value, value_length, "value")?;
            set(object, key, value)
        })
    }
}
