//! Work on a short-lived thread that the standard library did not start.
//!
//! `std::thread` leaves a destructor with each thread that starts others. The system keeps a shared library loaded until such threads of
//! the host end, so `dlclose` would not unload it. A thread of our own, gone when the work is done, takes the destructor along.

use std::ffi::c_void;
use std::panic::AssertUnwindSafe;

use super::call::{Failure, recorded};
use super::status::LOQUAT_IO;

/// The work and its result, in the stack frame of the thread that waits.
struct Task<F, R> {
    work: Option<F>,
    result: Option<Result<R, Failure>>,
}

extern "C" fn enter<F: FnOnce() -> Result<R, Failure>, R>(task: *mut c_void) -> *mut c_void {
    // SAFETY: `run` passes its own task and does not touch it before this thread has ended.
    let task = unsafe { &mut *task.cast::<Task<F, R>>() };
    task.result = task.work.take().map(|work| recorded(AssertUnwindSafe(work)));
    std::ptr::null_mut()
}

/// Runs `work` on a thread of its own and waits for it.
///
/// # Errors
/// What `work` says; IO where the system gives no thread.
pub(super) fn run<R: Send, F: FnOnce() -> Result<R, Failure> + Send>(work: F) -> Result<R, Failure> {
    let mut task = Task { work: Some(work), result: None };
    // SAFETY: all-zero bytes are a valid pthread_t to be written over.
    let mut thread: libc::pthread_t = unsafe { std::mem::zeroed() };
    // SAFETY: default attributes; the task outlives the thread, which is joined below.
    let refused = unsafe { libc::pthread_create(&mut thread, std::ptr::null(), enter::<F, R>, (&raw mut task).cast()) };
    if refused != 0 {
        let reason = std::io::Error::from_raw_os_error(refused);
        return Err(Failure::new(LOQUAT_IO, format!("start a thread: {reason}")));
    }
    // SAFETY: the thread was created above and is joined once.
    unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
    task.result.unwrap_or_else(|| Err(Failure::new(super::status::LOQUAT_INTERNAL, "a thread ended before its work")))
}
