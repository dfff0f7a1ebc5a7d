//! Runtime
//!
//! Threads, the memory budget, the log. A process may have several runtimes; they share nothing.

use std::ffi::{c_char, c_void};

use crate::base::MemoryCategory;
use crate::kernels::Isa;
use crate::runtime::{LogLevel, LogSink, Runtime, RuntimeOptions, Threads};

use super::buffer::{Buffer, Out, Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::settings;
use super::status::{LOQUAT_OK, loquat_status};

/// How a runtime is to be made. Later changes do not reach runtimes that were made from it.
pub struct loquat_runtime_options {
    _opaque: (),
}

/// Threads, memory and log for models and sessions. Any number of threads may use it at once.
pub struct loquat_runtime {
    _opaque: (),
}

impl Opaque for loquat_runtime_options {
    type Value = RuntimeOptions;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqRO");
    const NAME: &'static str = "runtime options";
}

impl Opaque for loquat_runtime {
    type Value = Runtime;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqRt");
    const NAME: &'static str = "runtime";
}

/// Level of a log message: for people who debug the library.
pub const LOQUAT_LOG_DEBUG: u32 = 0;
/// Level of a log message: what was loaded, with which settings.
pub const LOQUAT_LOG_INFO: u32 = 1;
/// Level of a log message: something that the host may want to change.
pub const LOQUAT_LOG_WARNING: u32 = 2;

/// Receives log messages: `length` bytes of UTF-8 without a NUL at the end, valid during the call only. It may be called on any
/// thread, on several at once; it must not call the library.
pub type loquat_log_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, level: u32, message: *const c_char, length: usize)>;

/// Memory of a runtime in bytes: what its models and sessions hold, by category.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_memory {
    /// Set by the caller to sizeof(loquat_memory).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Model files mapped read-only. Shared with the page cache of the system and not held against the limit.
    pub weights_mapped: u64,
    /// Weights in private memory.
    pub weights_private: u64,
    /// Key/value caches of sessions.
    pub kv_cache: u64,
    /// Working memory of sessions and threads.
    pub scratch: u64,
    /// Tokenizer tables, sampler buffers and the rest.
    pub other: u64,
    /// All but the mapped weights.
    pub private_total: u64,
    /// The largest value that private_total has had.
    pub private_peak: u64,
    /// The limit on private_total; UINT64_MAX for none.
    pub limit: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_memory {
    const FIRST_SIZE: usize = 72;
}

/// New options: one thread for each core, no memory limit, no log.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_new(
    options: *mut *mut loquat_runtime_options,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe { call(error, || handle::make(options, "options", || Ok((RuntimeOptions::default(), ())))) }
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_runtime_options_free(options: *mut loquat_runtime_options) {
    // SAFETY: as above.
    unsafe { handle::free(options) }
}

/// How many threads compute, the one that calls loquat_session_step included: 0 for one per core, 1 for the caller's alone (the
/// library then starts no thread).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_set_threads(
    options: *mut loquat_runtime_options,
    threads: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.threads = threads_of(threads)) }
}

/// The most private memory, in bytes, that models and sessions of the runtime may hold together; UINT64_MAX for no limit. What would pass
/// it fails with LOQUAT_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_set_memory_limit(
    options: *mut loquat_runtime_options,
    bytes: u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.memory_limit = (bytes != u64::MAX).then_some(bytes)) }
}

/// Has messages of `least_level` (a LOQUAT_LOG_ number) and above sent to `log`, with `user_data`; NULL turns the log off. Steps do not log.
///
/// Lent: `user_data` must live until the runtime and everything that was made with it is freed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_set_log(
    options: *mut loquat_runtime_options,
    log: loquat_log_fn,
    user_data: *mut c_void,
    least_level: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.log = log.map(|log| log_sink(log, user_data, least_level)).transpose()?;
            Ok(())
        })
    }
}

/// A runtime whose worker threads leave nothing behind with the thread that calls.
fn started(options: RuntimeOptions) -> Result<Runtime, Failure> {
    #[cfg(unix)]
    if !matches!(options.threads, Threads::CallerOnly) && options.parallel_for.is_none() {
        return super::own_thread::run(move || Ok(Runtime::new(options)?));
    }
    Ok(Runtime::new(options)?)
}

/// A number of threads as C gives it.
fn threads_of(threads: u32) -> Threads {
    match threads {
        0 => Threads::All,
        1 => Threads::CallerOnly,
        n => Threads::Count(n as usize),
    }
}

/// A host's log function with its data.
struct HostLog {
    log: unsafe extern "C" fn(*mut c_void, u32, *const c_char, usize),
    user_data: *mut c_void,
}

// SAFETY: the header says that the function may be called on any thread, on several at once.
unsafe impl Send for HostLog {}
// SAFETY: as above.
unsafe impl Sync for HostLog {}

impl HostLog {
    fn write(&self, level: LogLevel, text: &str) {
        // SAFETY: the host gave the function for this call, with this data, which lives as long as the runtime.
        unsafe { (self.log)(self.user_data, level as u32, text.as_ptr().cast(), text.len()) }
    }
}

/// The sink that calls a host's function.
fn log_sink(
    log: unsafe extern "C" fn(*mut c_void, u32, *const c_char, usize),
    user_data: *mut c_void,
    least_level: u32,
) -> Result<LogSink, Failure> {
    let least = match least_level {
        LOQUAT_LOG_DEBUG => LogLevel::Debug,
        LOQUAT_LOG_INFO => LogLevel::Info,
        LOQUAT_LOG_WARNING => LogLevel::Warning,
        _ => return Err(Failure::argument(format!("least_level is {least_level}, must be a LOQUAT_LOG_ number"))),
    };
    let host = HostLog { log, user_data };
    Ok(LogSink::new(least, move |level, text| host.write(level, text)))
}

/// Sets an option by name, for configuration files and for what has no function of its own.
///
/// "threads" (a number, or "all"), "memory_limit" (bytes), "isa" (instruction set: "portable", "avx2", "avx512",
/// "avx512vnni", "amx", "neon", "dotprod", "i8mm"; one that the machine lacks is an error when the runtime is made), "metrics" (switch, on as a rule:
/// whether sessions record what their steps cost; off, their counts stay 0 and loquat_runtime_metrics_json says "recording": false).
/// LOQUAT_UNKNOWN_OPTION for another key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_set(
    options: *mut loquat_runtime_options,
    key: *const c_char,
    key_length: usize,
    value: *const c_char,
    value_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change_by_name(options, (key, key_length), (value, value_length), error, |options, key, value| {
            match key {
                "threads" if value == "all" => options.threads = Threads::All,
                "threads" => options.threads = threads_of(settings::number(key, value)?),
                "metrics" => options.metrics = settings::switch(key, value)?,
                "memory_limit" => options.memory_limit = Some(settings::number(key, value)?),
                "isa" => options.isa = Some(settings::choice(key, value, &Isa::ALL.map(|isa| (isa.name(), isa)))?),
                _ => return Err(settings::unknown("runtime", key)),
            }
            Ok(())
        })
    }
}

/// Makes a runtime and starts its threads. `options` may be NULL for the defaults; they are not kept.
///
/// LOQUAT_UNSUPPORTED for an instruction set that the machine lacks; LOQUAT_IO where the system gives no thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_new(
    options: *const loquat_runtime_options,
    runtime: *mut *mut loquat_runtime,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::make(runtime, "runtime", || {
                let options = handle::copy_or_default(options)?;
                Ok((started(options)?, ()))
            })
        })
    }
}

/// Frees the host's hold on a runtime. Its threads end when its last model and session are freed too. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_runtime_free(runtime: *mut loquat_runtime) {
    // SAFETY: as above.
    unsafe { handle::free(runtime) }
}

/// Stores how many threads compute, the calling one included.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_threads(
    runtime: *const loquat_runtime,
    threads: *mut u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let threads = Out::new(threads, "threads")?;
            threads.set(u32::try_from(handle::shared(runtime)?.threads()).unwrap_or(u32::MAX));
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `buffer` with the name of the instruction set that the runtime computes with ("avx512", "dotprod", "portable").
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_isa(
    runtime: *const loquat_runtime,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let buffer = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            buffer.fill(handle::shared(runtime)?.isa().name().as_bytes())
        })
    }
}

/// Fills `memory` with what the models and sessions of the runtime hold now.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_get_memory(
    runtime: *const loquat_runtime,
    memory: *mut loquat_memory,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let memory = VersionedOut::new(memory, "memory")?;
            let runtime = handle::shared(runtime)?;
            let budget = runtime.budget();
            memory.set(loquat_memory {
                struct_size: 0,
                reserved: 0,
                weights_mapped: budget.used(MemoryCategory::WeightsMapped),
                weights_private: budget.used(MemoryCategory::WeightsPrivate),
                kv_cache: budget.used(MemoryCategory::KvCache),
                scratch: budget.used(MemoryCategory::Scratch),
                other: budget.used(MemoryCategory::Other),
                private_total: budget.private_used(),
                private_peak: budget.private_peak(),
                limit: budget.limit(),
            });
            Ok(LOQUAT_OK)
        })
    }
}
