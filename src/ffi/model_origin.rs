//! Where a model comes from
//!
//! Model files that are not a path or a buffer: a part of an open file (an archive, a content provider), or bytes that only the host can
//! read (a package of a game, an encrypted store, a network).

use std::ffi::c_void;

use crate::base::{Error, Job};
use crate::format::{Origin, ReadAt};
use crate::model::Model;

use super::call::Failure;
use super::error::loquat_error;
use super::handle;
use super::job::{load_later, loquat_job};
use super::model::{load_now, loquat_model, loquat_model_options};
use super::runtime::loquat_runtime;
use super::status::loquat_status;

/// Reads up to `length` bytes of a model file from `offset` on into `buffer` and returns how many: fewer than asked for are fine, 0 is the end,
/// a negative number is an error. It must not call the library.
pub type loquat_read_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, offset: u64, buffer: *mut u8, length: usize) -> i64>;

/// The host's function for reading.
struct HostReader {
    read: unsafe extern "C" fn(*mut c_void, u64, *mut u8, usize) -> i64,
    user_data: *mut c_void,
}

// SAFETY: the header says on which threads the function is called, one at a time; what user_data points to is the host's.
unsafe impl Send for HostReader {}
// SAFETY: as above.
unsafe impl Sync for HostReader {}

impl ReadAt for HostReader {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        // SAFETY: the host gave the function for this argument; the buffer is valid for its length during the call.
        let read = unsafe { (self.read)(self.user_data, offset, buffer.as_mut_ptr(), buffer.len()) };
        match usize::try_from(read) {
            Ok(read) if read <= buffer.len() => Ok(read),
            Ok(read) => Err(std::io::Error::other(format!("the host's function says that it read {read} of {} bytes", buffer.len()))),
            Err(_) => Err(std::io::Error::other(format!("the host's function failed at offset {offset} ({read})"))),
        }
    }
}

/// The origin behind a read function.
fn reader(read: loquat_read_fn, user_data: *mut c_void, length: u64) -> Result<Origin, Failure> {
    let read = read.ok_or_else(|| Failure::argument("read is NULL"))?;
    Ok(Origin::Reader { reader: Box::new(HostReader { read, user_data }), len: length, name: "host's file".to_owned() })
}

/// The origin behind a descriptor: a duplicate of it, so that the host may close its own.
///
/// # Safety
/// The descriptor is open, or no descriptor at all.
#[cfg(unix)]
unsafe fn part(descriptor: i32, offset: u64, length: u64) -> Result<Origin, Failure> {
    use std::os::fd::BorrowedFd;
    if descriptor < 0 {
        return Err(Failure::argument(format!("descriptor is {descriptor}")));
    }
    // SAFETY: not negative; where it is not open, duplicating it fails.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let duplicate = borrowed.try_clone_to_owned().map_err(|error| Error::io(format_args!("duplicate descriptor {descriptor}"), &error))?;
    Ok(Origin::Part { file: duplicate.into(), offset, len: length, name: format!("descriptor {descriptor}") })
}

#[cfg(not(unix))]
unsafe fn part(_: i32, _: u64, _: u64) -> Result<Origin, Failure> {
    Err(Error::unsupported("file descriptors on this system; use loquat_model_load_callback").into())
}

/// The job for an origin.
///
/// # Safety
/// The pointers are NULL or valid.
unsafe fn load(runtime: *const loquat_runtime, origin: Origin, options: *const loquat_model_options) -> Result<Job<Model>, Failure> {
    // SAFETY: as promised by the caller.
    unsafe { Ok(Model::from_origin_job(&*handle::shared(runtime)?, origin, handle::copy_or_default(options)?)) }
}

/// Loads a model from `length` bytes of an open file, from `offset` on, that are one whole model file (GGUF or APR). The descriptor is duplicated:
/// the host may close its own afterwards. Its file position is not used and not changed. `offset` need not be aligned for mapping, but tensors that
/// then lie at odd addresses are read more slowly.
///
/// Statuses as loquat_model_load; LOQUAT_INVALID_ARGUMENT where the file has no such part; LOQUAT_UNSUPPORTED where the system has no
/// descriptors (Windows).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load_descriptor(
    runtime: *const loquat_runtime,
    descriptor: i32,
    offset: u64,
    length: u64,
    options: *const loquat_model_options,
    model: *mut *mut loquat_model,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe { load_now(model, error, || load(runtime, part(descriptor, offset, length)?, options)) }
}

/// Begins to load a model as loquat_model_load_descriptor does it. The descriptor is duplicated at once.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load_descriptor_start(
    runtime: *const loquat_runtime,
    descriptor: i32,
    offset: u64,
    length: u64,
    options: *const loquat_model_options,
    job: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { load_later(job, error, || load(runtime, part(descriptor, offset, length)?, options)) }
}

/// Loads a model from `length` bytes that `read` gives: one whole model file (GGUF or APR), from its first byte to its last, in this order, about
/// 256 KiB at a time. They are kept in private memory, whatever the access of the options. `read` is called on this thread, during this call only.
///
/// Statuses as loquat_model_load; LOQUAT_IO where `read` fails or ends early.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load_callback(
    runtime: *const loquat_runtime,
    read: loquat_read_fn,
    user_data: *mut c_void,
    length: u64,
    options: *const loquat_model_options,
    model: *mut *mut loquat_model,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { load_now(model, error, || load(runtime, reader(read, user_data, length)?, options)) }
}

/// Begins to load a model as loquat_model_load_callback does it. `read` is called by loquat_job_poll, on the thread that polls, until the job
/// has ended or is freed; `user_data` must live as long.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load_callback_start(
    runtime: *const loquat_runtime,
    read: loquat_read_fn,
    user_data: *mut c_void,
    length: u64,
    options: *const loquat_model_options,
    job: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { load_later(job, error, || load(runtime, reader(read, user_data, length)?, options)) }
}
