//! Quantising
//!
//! A model written as a GGUF file in other tensor types: a job that reads it and writes the file, tensor by tensor, in bounded memory.

use std::ffi::c_char;
use std::path::Path;

use crate::base::Job;
use crate::model::Mix;
use crate::quantize::{ImportanceText, Quantize, Quantized};

use super::buffer::{self, Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::job::{Work, loquat_job, makes_no, started};
use super::runtime::loquat_runtime;
use super::settings;
use super::status::{LOQUAT_OK, loquat_status};

/// How a model is to be quantised. Later changes do not reach jobs that were started with it.
pub struct loquat_quantize_options {
    _opaque: (),
}

impl Opaque for loquat_quantize_options {
    type Value = Quantize;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqQO");
    const NAME: &'static str = "quantising options";
}

/// What was done.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_quantized {
    /// Set by the caller to sizeof(loquat_quantized).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Tensors in the file.
    pub tensors: u64,
    /// Tensors whose type has changed.
    pub changed: u64,
    /// Bytes of the file that was read.
    pub bytes_before: u64,
    /// Bytes of the file that was written.
    pub bytes_after: u64,
    /// Tokens of the text that importance was measured with; 0 without.
    pub importance_tokens: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_quantized {
    const FIRST_SIZE: usize = 48;
}

impl From<Quantized> for loquat_quantized {
    fn from(done: Quantized) -> Self {
        let Quantized { tensors, changed, bytes_before, bytes_after, importance_tokens } = done;
        Self { struct_size: 0, reserved: 0, tensors, changed, bytes_before, bytes_after, importance_tokens }
    }
}

/// New options: Q4_K_M, all threads of the runtime, no importance.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_quantize_options_new(
    options: *mut *mut loquat_quantize_options,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe { call(error, || handle::make(options, "options", || Ok((Quantize::default(), ())))) }
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_quantize_options_free(options: *mut loquat_quantize_options) {
    // SAFETY: as above.
    unsafe { handle::free(options) }
}

/// What the file is written in, by name, in letters of either case: "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q2_K_S", "Q3_K_S",
/// "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M" (the default), "Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "MXFP4_MOE" (experts alone); "Q3_K", "Q4_K" and
/// "Q5_K" are the medium ones.
///
/// Most matrices get the type that the name begins with, some more bits: which ones, llama.cpp's rules say. Vectors, norms and routers keep their
/// types. Where rows are no whole number of blocks, another type of about as many bits takes its place.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_quantize_options_set_type(
    options: *mut loquat_quantize_options,
    name: *const c_char,
    name_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.mix = mix(buffer::text(name, name_length, "name")?)?;
            Ok(())
        })
    }
}

/// The mix of that name.
pub(super) fn mix(name: &str) -> Result<Mix, Failure> {
    Mix::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Mix::ALL.iter().map(|mix| mix.name()).collect();
        Failure::argument(format!("type \"{name}\" is not one of {}", names.join(", ")))
    })
}

/// Most threads that work at a time, the polling one included; 0 (default) for all of the runtime's.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_quantize_options_set_threads(
    options: *mut loquat_quantize_options,
    threads: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.threads = threads as usize) }
}

/// A text like those that the model is for (UTF-8, copied; some thousand words). The model reads it first, `context` tokens at a time (at least 1; 512 is
/// usual), and the columns of its matrices that larger values enter are then stored more exactly: an importance matrix. An empty text takes it back.
///
/// The file must be one that this library can run; it takes the memory of a session and the time of a prompt of that length.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_quantize_options_set_importance_text(
    options: *mut loquat_quantize_options,
    text: *const c_char,
    text_length: usize,
    context: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            let text = buffer::text(text, text_length, "text")?;
            if context == 0 {
                return Err(Failure::argument("context is 0, must be at least 1"));
            }
            options.importance = (!text.is_empty()).then(|| ImportanceText { text: text.to_owned(), context: context as usize });
            Ok(())
        })
    }
}

/// The job that two functions below begin.
///
/// # Safety
/// The pointers are NULL or valid.
unsafe fn job_of(
    runtime: *const loquat_runtime,
    (input, input_length): (*const c_char, usize),
    (output, output_length): (*const c_char, usize),
    options: *const loquat_quantize_options,
) -> Result<Job<Quantized>, Failure> {
    // SAFETY: as promised by the caller.
    unsafe {
        let runtime = handle::shared(runtime)?;
        let input = buffer::text(input, input_length, "input")?;
        let output = buffer::text(output, output_length, "output")?;
        let options = handle::copy_or_default(options)?;
        Ok(options.start(&runtime, Path::new(input), Path::new(output)))
    }
}

/// Writes the model at `input` (what loquat_model_load() takes, of any types that the library can decode) to `output`, a GGUF file, as `options` (NULL
/// for the defaults) say, on the calling thread and the runtime's, and fills `done` (NULL where it does not matter).
///
/// The metadata of a GGUF file is passed on as it is, but for general.file_type and general.quantization_version; that of a folder is made of its
/// configuration and tokenizer.json, which comes along whole where GGUF has no exact words for it. While it is written the new file lies beside
/// `output` under a longer name; it takes the place of a file at `output` when it is whole, and is removed where the call fails.
/// `input` is mapped and must not be changed meanwhile. The same file always gives the same bytes, whatever the number of threads.
///
/// LOQUAT_IO where the system refuses (the message names the path: the disk is full, for one); LOQUAT_INVALID_FILE where the file is broken or a value is
/// NaN, infinite or beyond the range of its new type (the message names tensor, row and column); LOQUAT_UNSUPPORTED for types that can't be decoded and,
/// with a text for importance, models that can't be run.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_quantize(
    runtime: *const loquat_runtime,
    input: *const c_char,
    input_length: usize,
    output: *const c_char,
    output_length: usize,
    options: *const loquat_quantize_options,
    done: *mut loquat_quantized,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = if done.is_null() { None } else { Some(VersionedOut::new(done, "done")?) };
            let quantized = job_of(runtime, (input, input_length), (output, output_length), options)?.finish()?;
            if let Some(out) = out {
                out.set(quantized.into());
            }
            Ok(LOQUAT_OK)
        })
    }
}

/// Begins what loquat_quantize does. Nothing is done yet: that is the polls' work, on the calling thread and the runtime's. A poll may last some
/// hundred microseconds longer than its budget. The job keeps its runtime; where it is given up, nothing of the new file is left.
///
/// Stages: "file", "metadata", with a text "tokenizer", "weights" and "importance", then "tensors".
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_quantize_start(
    runtime: *const loquat_runtime,
    input: *const c_char,
    input_length: usize,
    output: *const c_char,
    output_length: usize,
    options: *const loquat_quantize_options,
    job: *mut *mut loquat_job,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::make(job, "job", || {
                Ok(started(Work::Quantize(job_of(runtime, (input, input_length), (output, output_length), options)?)))
            })
        })
    }
}

/// Fills `done` with what a finished job that loquat_quantize_start began has done. Once.
///
/// LOQUAT_INVALID_ARGUMENT where the job has not finished, or makes something else.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_job_take_quantized(
    job: *mut loquat_job,
    done: *mut loquat_quantized,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(done, "done")?;
            match &mut *handle::exclusive(job)? {
                Work::Quantize(job) => out.set(job.take()?.into()),
                _ => return Err(makes_no("quantised file")),
            }
            Ok(LOQUAT_OK)
        })
    }
}
