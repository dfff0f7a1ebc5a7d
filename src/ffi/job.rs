//! Job
//!
//! Long work that the host drives: it polls with a time budget, watches the progress, may cancel. The thread that polls does the work; no
//! thread is started. Loading a model is such work, benchmarking one, and quantising a file; the calls that block are the same work without a pause.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::base::{Error, Job, JobState, JobWatch};
use crate::bench::Finding;
use crate::model::Model;
use crate::quantize::Quantized;

use super::buffer::{self, Out, Versioned, VersionedOut};
use super::call::{Failure, Outcome, call};
use super::error::loquat_error;
use super::estimate::EstimateJob;
use super::handle::{self, Opaque};
use super::model::{lent, loquat_model, loquat_model_options, loquat_release_fn};
use super::runtime::loquat_runtime;
use super::status::{LOQUAT_CANCELLED, LOQUAT_DONE, LOQUAT_OK, LOQUAT_PENDING, loquat_status};

/// Long work in progress, or its result.
pub struct loquat_job {
    _opaque: (),
}

/// The work of a job, by what it makes.
pub(super) enum Work {
    Model(Job<Model>),
    Estimate(Box<EstimateJob>),
    Bench(Job<Box<dyn Finding>>),
    Quantize(Job<Quantized>),
}

impl Work {
    fn poll(&mut self, budget_ns: u64) -> Result<JobState, Error> {
        match self {
            Self::Model(job) => job.poll(budget_ns),
            Self::Estimate(estimate) => estimate.job.poll(budget_ns),
            Self::Bench(job) => job.poll(budget_ns),
            Self::Quantize(job) => job.poll(budget_ns),
        }
    }

    fn held_bytes(&self) -> u64 {
        match self {
            Self::Model(job) => job.held_bytes(),
            Self::Estimate(estimate) => estimate.job.held_bytes(),
            Self::Bench(job) => job.held_bytes(),
            Self::Quantize(job) => job.held_bytes(),
        }
    }

    fn watch(&self) -> JobWatch {
        match self {
            Self::Model(job) => job.watch(),
            Self::Estimate(estimate) => estimate.job.watch(),
            Self::Bench(job) => job.watch(),
            Self::Quantize(job) => job.watch(),
        }
    }
}

/// The failure where a result of another kind is asked for.
pub(super) fn makes_no(what: &str) -> Failure {
    Failure::argument(format!("the job makes no {what}"))
}

/// What may be used while a poll runs.
pub(super) struct Watched {
    watch: JobWatch,
    state: AtomicU32,
    held_bytes: AtomicU64,
}

impl Opaque for loquat_job {
    type Value = Work;
    type Side = Watched;
    const TAG: u32 = u32::from_be_bytes(*b"LqJo");
    const NAME: &'static str = "job";
}

/// State of a job: there is work left.
pub const LOQUAT_JOB_RUNNING: u32 = 0;
/// State of a job: the result is there, or was taken.
pub const LOQUAT_JOB_FINISHED: u32 = 1;
/// State of a job: the work failed; each poll says how.
pub const LOQUAT_JOB_FAILED: u32 = 2;
/// State of a job: it was given up because loquat_job_cancel was called.
pub const LOQUAT_JOB_CANCELLED: u32 = 3;
/// State of a job: it was given up because its deadline passed.
pub const LOQUAT_JOB_EXPIRED: u32 = 4;

/// How far a job has come.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_job_progress {
    /// Set by the caller to sizeof(loquat_job_progress).
    pub struct_size: u32,
    /// A LOQUAT_JOB_ number: how the job stood when it was last polled.
    pub state: u32,
    /// The share of the work that is done, from 0 to 1, weighed by the times that the stages usually take. It never falls, and is 1 when the job
    /// has finished.
    pub progress: f32,
    /// Zero.
    pub reserved: u32,
    /// What is being done, in one word of English: for a model "file", "metadata", "tokenizer", "weights"; for other work see loquat_bench_start and
    /// loquat_quantize_start. Static, ends with NUL.
    pub stage: *const c_char,
    /// Where the job was given up or has failed: bytes of private memory that it had written and has not given back yet, as of the last poll. Polls
    /// give them back, each for its budget; loquat_job_free gives back at once what is left, which takes the system some tens of milliseconds for
    /// each gigabyte. Else 0.
    pub held_bytes: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_job_progress {
    const FIRST_SIZE: usize = std::mem::offset_of!(loquat_job_progress, stage) + size_of::<*const c_char>();
}

/// What stands behind a new job.
pub(super) fn started(work: Work) -> (Work, Watched) {
    let watched = Watched { watch: work.watch(), state: AtomicU32::new(LOQUAT_JOB_RUNNING), held_bytes: AtomicU64::new(0) };
    (work, watched)
}

/// Begins the load that `job` makes.
///
/// # Safety
/// The pointers are NULL or valid.
pub(super) unsafe fn load_later(
    out: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
    job: impl FnOnce() -> Result<Job<Model>, Failure>,
) -> loquat_status {
    // SAFETY: as promised by the caller.
    unsafe { call(error, || handle::make(out, "job", || Ok(started(Work::Model(job()?))))) }
}

/// Begins to load a model file, as loquat_model_load does it. Nothing is done yet, not even looked for: that is the polls' work. The result is
/// taken with loquat_job_take_model. The job keeps its runtime.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load_start(
    runtime: *const loquat_runtime,
    path: *const c_char,
    path_length: usize,
    options: *const loquat_model_options,
    job: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        load_later(job, error, || {
            let runtime = handle::shared(runtime)?;
            let path = buffer::text(path, path_length, "path")?;
            Ok(Model::load_job(&runtime, Path::new(path), handle::copy_or_default(options)?))
        })
    }
}

/// Begins to load a model from memory that the host lends, as loquat_model_load_buffer does it.
///
/// Lent: `data` must stay as it is until `release` is called with `user_data`. That happens exactly once: when the job is given up, fails or is
/// freed before its result was taken; else when the model and its sessions are gone; or before this call returns where it fails. Where `data`
/// or `job` is NULL the call fails and `release` is not called.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load_buffer_start(
    runtime: *const loquat_runtime,
    data: *const u8,
    length: usize,
    release: loquat_release_fn,
    user_data: *mut c_void,
    options: *const loquat_model_options,
    job: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        // NULL for `job` is an error before anything is taken over.
        load_later(job, error, || {
            let lent = lent(data, length, release, user_data)?;
            let runtime = handle::shared(runtime)?;
            Ok(Model::from_bytes_job(&runtime, lent, "lent buffer", handle::copy_or_default(options)?))
        })
    }
}

/// Works on the job for about `budget_ns` nanoseconds, on the calling thread. 0 does one piece of work (some microseconds), UINT64_MAX goes on to
/// the end. It may take longer where the system has to bring a page of a file from the disk.
///
/// LOQUAT_PENDING: there is work left, poll again. LOQUAT_DONE: the result is there. LOQUAT_CANCELLED: the job was given up, because it was
/// cancelled or its deadline has passed (loquat_job_get_progress tells). An error: the work failed, with the statuses of the call that does the same
/// at once. Where the job has ended, a poll says again how.
///
/// What a job that was given up held is given back, but for a file that it had read into private memory: giving back a gigabyte takes the
/// system tens of milliseconds. That is the work of further polls, as long as loquat_job_progress has held_bytes above 0, or of loquat_job_free.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_poll(job: *mut loquat_job, budget_ns: u64, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let side = handle::side(job)?;
            let mut work = handle::exclusive(job)?;
            let polled = work.poll(budget_ns);
            let (number, outcome): (u32, Outcome) = match polled {
                Ok(JobState::Running) => (LOQUAT_JOB_RUNNING, Ok(LOQUAT_PENDING)),
                Ok(JobState::Finished) => (LOQUAT_JOB_FINISHED, Ok(LOQUAT_DONE)),
                Ok(JobState::Cancelled) => (LOQUAT_JOB_CANCELLED, Ok(LOQUAT_CANCELLED)),
                Ok(JobState::Expired) => (LOQUAT_JOB_EXPIRED, Ok(LOQUAT_CANCELLED)),
                Err(error) => (LOQUAT_JOB_FAILED, Err(Failure::from(error))),
            };
            side.state.store(number, Ordering::Relaxed);
            side.held_bytes.store(work.held_bytes(), Ordering::Relaxed);
            outcome
        })
    }
}

/// Fills `progress` with how far the job has come. At any time, from any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_get_progress(
    job: *const loquat_job,
    progress: *mut loquat_job_progress,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(progress, "progress")?;
            let watched = handle::side(job)?;
            let state = watched.state.load(Ordering::Relaxed);
            let (progress, stage) = watched.watch.progress();
            let progress = if state == LOQUAT_JOB_FINISHED { 1.0 } else { progress };
            let held_bytes = watched.held_bytes.load(Ordering::Relaxed);
            out.set(loquat_job_progress { struct_size: 0, state, progress, reserved: 0, stage: stage.as_ptr(), held_bytes });
            Ok(LOQUAT_OK)
        })
    }
}

/// Has the job given up: the poll that runs now, or the next one, returns LOQUAT_CANCELLED. Without effect on a job that has ended. At any time,
/// from any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_cancel(job: *const loquat_job, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::side(job)?.watch.cancel();
            Ok(LOQUAT_OK)
        })
    }
}

/// Has the job given up where it has not ended in `ns` nanoseconds from now, whether it is polled or not; UINT64_MAX takes the deadline back. At
/// any time, from any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_set_deadline(job: *const loquat_job, ns: u64, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::side(job)?.watch.set_deadline(ns);
            Ok(LOQUAT_OK)
        })
    }
}

/// Takes the model out of a finished job that loads one. It is then yours, to be freed with loquat_model_free, and does not need the job any more.
///
/// LOQUAT_INVALID_ARGUMENT where the job has not finished, its result was taken before, or it makes something else.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_take_model(
    job: *mut loquat_job,
    model: *mut *mut loquat_model,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Out::new(model, "model")?;
            let model = match &mut *handle::exclusive(job)? {
                Work::Model(job) => job.take()?,
                _ => return Err(makes_no("model")),
            };
            out.set(handle::boxed(model, ()));
            Ok(LOQUAT_OK)
        })
    }
}

/// Frees a job: the work in progress is given up, a result that was not taken is dropped, and all that is left of them is given back at once
/// (see loquat_job_poll for what that may take). NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_job_free(job: *mut loquat_job) {
    // SAFETY: as above.
    unsafe { handle::free(job) }
}
