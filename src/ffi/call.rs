//! The frame of every entry: runs the body, turns its outcome into a status and an error object, and lets no panic through.
//!
//! While a body runs on a thread, and in the library's own worker threads, a panic is recorded instead of printed: the library never
//! writes to stderr. Panics elsewhere in the process (a Rust host that shares this copy of std) go to the hook that was there before.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Once, OnceLock};

use crate::base;
use crate::base::float_mode::FloatMode;

use super::error::loquat_error;
use super::status::{self, LOQUAT_INTERNAL, loquat_status};

/// A failed call: a negative status and a message for people.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: loquat_status,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(status: loquat_status, message: impl Into<String>) -> Self {
        debug_assert!(status < 0);
        Self { status, message: message.into() }
    }

    /// LOQUAT_INVALID_ARGUMENT.
    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new(status::LOQUAT_INVALID_ARGUMENT, message)
    }
}

impl From<base::Error> for Failure {
    fn from(error: base::Error) -> Self {
        Self::new(status::of_kind(error.kind()), error.message())
    }
}

/// What the body of an entry returns: a status that is no error, or a failure.
pub(super) type Outcome = Result<loquat_status, Failure>;

thread_local! {
    // Neither has a destructor: one that is registered would keep the library from being unloaded while the thread lives.
    /// How many bodies run on this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic of a body on this thread happened; taken when it is caught.
    static PLACE: Cell<Option<ManuallyDrop<String>>> = const { Cell::new(None) };
}

/// Runs `body`; on failure stores an error object in `*error`, unless `error` is NULL.
///
/// # Safety
/// `error` is NULL or may be written through.
pub(super) unsafe fn call(error: *mut *mut loquat_error, body: impl FnOnce() -> Outcome) -> loquat_status {
    install_hook();
    let _mode = FloatMode::standard();
    // The body's captures are pointers and numbers of the caller; objects that it was changing are poisoned by their guards.
    let outcome = recorded(AssertUnwindSafe(body));
    match outcome {
        Ok(status) => status,
        Err(failure) => {
            let status = failure.status;
            if !error.is_null() {
                // SAFETY: not NULL, so writable as the caller promises.
                unsafe { error.write(loquat_error::boxed(failure)) }
            }
            status
        }
    }
}

/// Runs `body` and turns a panic into an INTERNAL failure with the panic's message and place.
pub(super) fn recorded<T>(body: AssertUnwindSafe<impl FnOnce() -> Result<T, Failure>>) -> Result<T, Failure> {
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(body);
    DEPTH.set(DEPTH.get() - 1);
    result.unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = match PLACE.take() {
            Some(place) => format!("internal error at {}: {}", ManuallyDrop::into_inner(place), said.unwrap_or("no message")),
            None => format!("internal error: {}", said.unwrap_or("no message")),
        };
        // Dropping a payload can panic in turn, and there is no use for it.
        std::mem::forget(payload);
        Err(Failure::new(LOQUAT_INTERNAL, message))
    })
}

/// The name that every thread of the library starts with (`base` names its workers so).
const THREAD_PREFIX: &str = "loquat";

/// Puts the recording hook before the one in place, once per copy of the library.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    // A thread that is unwinding may not change the hook; the next call will.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        // A static and a closure that captures nothing: neither is memory that an unloaded library would leave behind.
        static BEFORE: OnceLock<Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>> = OnceLock::new();
        let _ = BEFORE.set(panic::take_hook());
        panic::set_hook(Box::new(|info| {
            if DEPTH.get() > 0 {
                PLACE.set(info.location().map(|place| ManuallyDrop::new(format!("{}:{}", place.file(), place.line()))));
            } else if !std::thread::current().name().is_some_and(|name| name.starts_with(THREAD_PREFIX))
                && let Some(before) = BEFORE.get()
            {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::error::{loquat_error_free, loquat_error_message, loquat_error_status};
    use std::ffi::CStr;

    #[test]
    fn failures_and_panics_become_statuses_with_a_message() {
        let mut error = std::ptr::null_mut();
        // SAFETY: `error` is writable; the object is live until it is freed.
        unsafe {
            assert_eq!(call(&mut error, || Ok(status::LOQUAT_TOKEN)), status::LOQUAT_TOKEN);
            assert!(error.is_null());
            assert_eq!(call(&mut error, || Err(Failure::argument("bad\0number"))), status::LOQUAT_INVALID_ARGUMENT);
            assert_eq!(CStr::from_ptr(loquat_error_message(error)).to_str(), Ok("bad number"));
            loquat_error_free(error);
            assert_eq!(call(&mut error, || panic!("boom {}", 7)), LOQUAT_INTERNAL);
            assert_eq!(loquat_error_status(error), LOQUAT_INTERNAL);
            let message = CStr::from_ptr(loquat_error_message(error)).to_str().unwrap();
            assert!(message.contains("boom 7") && message.contains("call.rs"), "{message}");
            loquat_error_free(error);
            assert_eq!(call(std::ptr::null_mut(), || panic!("nobody listens")), LOQUAT_INTERNAL);
        }
    }
}
