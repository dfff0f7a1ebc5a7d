//! Statuses
//!
//! Every call that can fail returns one of these numbers. Zero and the positive ones are outcomes; the negative ones are errors. A
//! number never changes its meaning and is never given away again.

use std::ffi::c_char;

use crate::base::ErrorKind;

/// The outcome of a call: one of the constants above. Negative means that the call failed.
pub type loquat_status = i32;

/// Done as asked.
pub const LOQUAT_OK: i32 = 0;
/// A step produced a token; the event describes it.
pub const LOQUAT_TOKEN: i32 = 1;
/// The budget of the step or poll is used up; the next one goes on from there. Nothing is lost. Of a stream: there is no event yet.
pub const LOQUAT_PENDING: i32 = 2;
/// The turn is over, or there is nothing to do; the event says why. Of a job: the result is there.
pub const LOQUAT_DONE: i32 = 3;
/// A cancel function was called. The session is valid and the next step goes on. Of a job: it was given up, also by its deadline.
pub const LOQUAT_CANCELLED: i32 = 4;
/// The buffer holds fewer elements than the result has. The length that is needed was returned, the buffer was not touched.
pub const LOQUAT_BUFFER_TOO_SMALL: i32 = 5;
/// There is nothing of that name or at that index. Outputs were not touched.
pub const LOQUAT_NOT_FOUND: i32 = 6;
/// Nothing is left to do: no session of the batch has work.
pub const LOQUAT_IDLE: i32 = 7;

/// An argument is outside its range, NULL where that is not allowed, not UTF-8 where text is asked, or the call makes no sense in
/// the present state.
pub const LOQUAT_INVALID_ARGUMENT: i32 = -1;
/// The handle is NULL, or points to something that is not a live object of the right kind.
pub const LOQUAT_INVALID_HANDLE: i32 = -2;
/// The operating system refused: file not found, permission, read failure.
pub const LOQUAT_IO: i32 = -3;
/// A file (model, tokenizer, template) contradicts its own format. The message names the place.
pub const LOQUAT_INVALID_FILE: i32 = -4;
/// A well-formed thing that this version can't run. The message names it.
pub const LOQUAT_UNSUPPORTED: i32 = -5;
/// The memory budget of the runtime, or the system, has no room for it. Nothing was changed.
pub const LOQUAT_OUT_OF_MEMORY: i32 = -6;
/// The context of the session has no room for more tokens. Nothing was changed.
pub const LOQUAT_CONTEXT_FULL: i32 = -7;
/// Another thread is using the handle in a way that excludes this call. Nothing was done.
pub const LOQUAT_BUSY: i32 = -8;
/// An earlier internal error left the handle in an unknown state; only freeing it is allowed.
pub const LOQUAT_POISONED: i32 = -9;
/// The model computed logits that are NaN or infinite: a broken file or a numeric overflow.
pub const LOQUAT_NON_FINITE: i32 = -10;
/// The chat template can't be parsed, or it raised an exception.
pub const LOQUAT_TEMPLATE: i32 = -11;
/// A fault of this library. Please report it with the message.
pub const LOQUAT_INTERNAL: i32 = -12;
/// An option of that name does not exist.
pub const LOQUAT_UNKNOWN_OPTION: i32 = -13;

/// The status of an error of the engine.
pub(super) fn of_kind(kind: ErrorKind) -> loquat_status {
    match kind {
        ErrorKind::InvalidArgument => LOQUAT_INVALID_ARGUMENT,
        ErrorKind::Io => LOQUAT_IO,
        ErrorKind::InvalidFile => LOQUAT_INVALID_FILE,
        ErrorKind::Unsupported => LOQUAT_UNSUPPORTED,
        ErrorKind::OutOfMemory => LOQUAT_OUT_OF_MEMORY,
        ErrorKind::ContextFull => LOQUAT_CONTEXT_FULL,
        ErrorKind::Busy => LOQUAT_BUSY,
        ErrorKind::Poisoned => LOQUAT_POISONED,
        ErrorKind::NonFinite => LOQUAT_NON_FINITE,
        ErrorKind::Template => LOQUAT_TEMPLATE,
        ErrorKind::Internal => LOQUAT_INTERNAL,
    }
}

/// The name of a status, "LOQUAT_OK" for 0; "unknown status" for a number that this version does not have.
///
/// Never fails. The string is static and ends with NUL. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn loquat_status_name(status: loquat_status) -> *const c_char {
    let name = match status {
        LOQUAT_OK => c"LOQUAT_OK",
        LOQUAT_TOKEN => c"LOQUAT_TOKEN",
        LOQUAT_PENDING => c"LOQUAT_PENDING",
        LOQUAT_DONE => c"LOQUAT_DONE",
        LOQUAT_CANCELLED => c"LOQUAT_CANCELLED",
        LOQUAT_BUFFER_TOO_SMALL => c"LOQUAT_BUFFER_TOO_SMALL",
        LOQUAT_NOT_FOUND => c"LOQUAT_NOT_FOUND",
        LOQUAT_IDLE => c"LOQUAT_IDLE",
        LOQUAT_INVALID_ARGUMENT => c"LOQUAT_INVALID_ARGUMENT",
        LOQUAT_INVALID_HANDLE => c"LOQUAT_INVALID_HANDLE",
        LOQUAT_IO => c"LOQUAT_IO",
        LOQUAT_INVALID_FILE => c"LOQUAT_INVALID_FILE",
        LOQUAT_UNSUPPORTED => c"LOQUAT_UNSUPPORTED",
        LOQUAT_OUT_OF_MEMORY => c"LOQUAT_OUT_OF_MEMORY",
        LOQUAT_CONTEXT_FULL => c"LOQUAT_CONTEXT_FULL",
        LOQUAT_BUSY => c"LOQUAT_BUSY",
        LOQUAT_POISONED => c"LOQUAT_POISONED",
        LOQUAT_NON_FINITE => c"LOQUAT_NON_FINITE",
        LOQUAT_TEMPLATE => c"LOQUAT_TEMPLATE",
        LOQUAT_INTERNAL => c"LOQUAT_INTERNAL",
        LOQUAT_UNKNOWN_OPTION => c"LOQUAT_UNKNOWN_OPTION",
        _ => c"unknown status",
    };
    name.as_ptr()
}
