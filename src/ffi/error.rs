//! Errors
//!
//! The error object of a failed call: its status and a message for people.

use std::ffi::{CString, c_char};

use super::call::Failure;
use super::handle::{self, Opaque};
use super::status::{LOQUAT_OK, loquat_status};

/// What a failed call tells: a status and a message. Made by the library, freed by the host with loquat_error_free. Immutable: any
/// number of threads may read it at once.
pub struct loquat_error {
    _opaque: (),
}

/// The value behind a [`loquat_error`].
pub(super) struct ErrorObject {
    status: loquat_status,
    message: CString,
}

impl Opaque for loquat_error {
    type Value = ErrorObject;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqEr");
    const NAME: &'static str = "error";
}

impl loquat_error {
    /// An error object that the host will own.
    pub(super) fn boxed(failure: Failure) -> *mut Self {
        let mut bytes = failure.message.into_bytes();
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        let message = CString::new(bytes).unwrap_or_default();
        handle::boxed(ErrorObject { status: failure.status, message }, ())
    }
}

/// The status of the failed call; LOQUAT_OK for NULL.
///
/// Never fails. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_error_status(error: *const loquat_error) -> loquat_status {
    // SAFETY: the caller promises that `error` is NULL or a live object of this library.
    unsafe { handle::shared(error) }.map_or(LOQUAT_OK, |error| error.status)
}

/// The message: UTF-8, for people, subject to change. It ends with NUL and lives as long as the error object. "" for NULL.
///
/// Never fails. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_error_message(error: *const loquat_error) -> *const c_char {
    // SAFETY: the caller promises that `error` is NULL or a live object of this library.
    unsafe { handle::shared(error) }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Frees an error object. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_error_free(error: *mut loquat_error) {
    // SAFETY: the caller promises that `error` is NULL or a live object of this library that is not used again.
    unsafe { handle::free(error) }
}
