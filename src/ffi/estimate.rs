//! Memory estimate
//!
//! What a model and a session of it will hold, before either is made.

use std::ffi::c_char;
use std::path::Path;

use crate::base::Job;
use crate::model::ModelEstimate;
use crate::runtime::Runtime;
use crate::session::{SessionMemory, SessionOptions};

use super::buffer::{self, Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle;
use super::job::{Work, loquat_job, makes_no, started};
use super::model::{lent, loquat_model_options};
use super::runtime::loquat_runtime;
use super::session_options::loquat_session_options;
use super::status::{LOQUAT_OK, loquat_status};

/// Memory that a model and one session of it take, in bytes, in the categories of loquat_memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_estimate {
    /// Set by the caller to sizeof(loquat_estimate).
    pub struct_size: u32,
    /// 1 if the model and one session would fit in what the runtime's memory limit leaves now, else 0. For a vocabulary alone: the model.
    pub fits: u32,
    /// The model file, where it is mapped. Not held against the limit.
    pub weights_mapped: u64,
    /// Weights in private memory.
    pub weights_private: u64,
    /// Tokenizer tables and indexes of the metadata (in loquat_memory: other).
    pub tables: u64,
    /// The key/value cache of one session for its whole context; UINT64_MAX for a vocabulary alone, which has no sessions.
    pub session_kv_cache: u64,
    /// The working memory of one session; UINT64_MAX as above.
    pub session_scratch: u64,
    /// The sampler of one session (in loquat_memory: other); UINT64_MAX as above.
    pub session_other: u64,
    /// All private memory of the model and one session.
    pub private_total: u64,
    /// What the runtime's limit leaves now; UINT64_MAX without a limit.
    pub available: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_estimate {
    const FIRST_SIZE: usize = 72;
}

/// The figures for C, by what the limit of `runtime` leaves now.
fn figures(model: &ModelEstimate, options: &SessionOptions, runtime: &Runtime) -> Result<loquat_estimate, Failure> {
    let session = model.config().ok().map(|_| SessionMemory::estimate(model, options, runtime)).transpose()?;
    let budget = runtime.budget();
    let available = if budget.limit() == u64::MAX { u64::MAX } else { budget.limit().saturating_sub(budget.private_used()) };
    let private_total = model.private() + session.map_or(0, |session| session.total());
    Ok(loquat_estimate {
        struct_size: 0,
        fits: u32::from(private_total <= available),
        weights_mapped: model.weights_mapped,
        weights_private: model.weights_private,
        tables: model.tables,
        session_kv_cache: session.map_or(u64::MAX, |session| session.kv_cache),
        session_scratch: session.map_or(u64::MAX, |session| session.scratch),
        session_other: session.map_or(u64::MAX, |session| session.other),
        private_total,
        available,
    })
}

/// An estimate in progress.
pub(super) struct EstimateJob {
    pub(super) job: Job<ModelEstimate>,
    options: SessionOptions,
    runtime: Runtime,
}

impl EstimateJob {
    /// The figures of the finished job.
    pub(super) fn take(&mut self) -> Result<loquat_estimate, Failure> {
        figures(&self.job.take()?, &self.options, &self.runtime)
    }
}

/// Fills `estimate` with the memory that loquat_model_load with these arguments and one session with `session_options` will hold on this runtime.
/// Either options may be NULL for the defaults. The numbers are those that will be accounted, not a guess.
///
/// It reads the metadata and the table of tensors, not the weights, and takes about as long as loading a mapped file does:
/// loquat_model_estimate_start does the same in slices. While it runs it needs as much memory as the tables, outside the limit. (So does a load
/// need, besides what it keeps and outside the limit, a copy of the vocabulary while it builds the tokenizer.)
///
/// Statuses as loquat_model_load and loquat_session_new, but for a model that does not fit: that is what `fits` says.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_estimate(
    runtime: *const loquat_runtime,
    path: *const c_char,
    path_length: usize,
    options: *const loquat_model_options,
    session_options: *const loquat_session_options,
    estimate: *mut loquat_estimate,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(estimate, "estimate")?;
            let path = buffer::text(path, path_length, "path")?;
            let options = handle::copy_or_default(options)?;
            let (session_options, runtime) = (handle::copy_or_default(session_options)?, handle::shared(runtime)?);
            out.set(figures(&ModelEstimate::of_file(Path::new(path), options)?, &session_options, &runtime)?);
            Ok(LOQUAT_OK)
        })
    }
}

/// Begins an estimate as loquat_model_estimate makes it. Nothing is done yet: that is the polls' work, in the stages of a load. The result is taken with
/// loquat_job_take_estimate. The job keeps its runtime.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_estimate_start(
    runtime: *const loquat_runtime,
    path: *const c_char,
    path_length: usize,
    options: *const loquat_model_options,
    session_options: *const loquat_session_options,
    job: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::make(job, "job", || {
                let path = buffer::text(path, path_length, "path")?;
                let job = ModelEstimate::of_file_job(Path::new(path), handle::copy_or_default(options)?);
                let (options, runtime) = (handle::copy_or_default(session_options)?, handle::shared(runtime)?.clone());
                Ok(started(Work::Estimate(Box::new(EstimateJob { job, options, runtime }))))
            })
        })
    }
}

/// Fills `estimate` with the result of a finished job that loquat_model_estimate_start began, by what the runtime's limit leaves now. Once.
///
/// LOQUAT_INVALID_ARGUMENT where the job has not finished, or makes something else.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_take_estimate(
    job: *mut loquat_job,
    estimate: *mut loquat_estimate,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(estimate, "estimate")?;
            match &mut *handle::exclusive(job)? {
                Work::Estimate(estimate) => out.set(estimate.take()?),
                _ => return Err(makes_no("estimate")),
            }
            Ok(LOQUAT_OK)
        })
    }
}

/// As loquat_model_estimate, for a model that is loaded from memory with loquat_model_load_buffer. `data` is read during the call only; it is the
/// host's own and not part of the numbers.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_estimate_buffer(
    runtime: *const loquat_runtime,
    data: *const u8,
    length: usize,
    options: *const loquat_model_options,
    session_options: *const loquat_session_options,
    estimate: *mut loquat_estimate,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above. The estimate lets go of the bytes before the call returns.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(estimate, "estimate")?;
            let bytes = lent(data, length, None, std::ptr::null_mut())?;
            let options = handle::copy_or_default(options)?;
            let (session_options, runtime) = (handle::copy_or_default(session_options)?, handle::shared(runtime)?);
            out.set(figures(&ModelEstimate::of_bytes(bytes, "lent buffer", options)?, &session_options, &runtime)?);
            Ok(LOQUAT_OK)
        })
    }
}
