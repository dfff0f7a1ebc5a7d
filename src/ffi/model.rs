//! Model
//!
//! A model file in memory: weights, tokenizer, metadata. Immutable, and shared by any number of sessions.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use crate::base::{Job, SharedBytes};
use crate::format::{Access, TensorInfo};
use crate::model::{LoadOptions, Mix, Model, ModelConfig};
use crate::tokenizer::Tokenizer;

use super::buffer::{self, Buffer, Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::quantize::mix;
use super::runtime::loquat_runtime;
use super::settings;
use super::status::{LOQUAT_OK, loquat_status};

/// How a model is to be loaded. Later changes do not reach models that were loaded with it.
pub struct loquat_model_options {
    _opaque: (),
}

/// A loaded model. Any number of threads and sessions may use it at once.
pub struct loquat_model {
    _opaque: (),
}

impl Opaque for loquat_model_options {
    type Value = LoadOptions;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqMO");
    const NAME: &'static str = "model options";
}

impl Opaque for loquat_model {
    type Value = Model;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqMo");
    const NAME: &'static str = "model";
}

/// Map the file: nothing is copied, pages are read when they are needed and shared with other processes. The file must not be
/// truncated or overwritten while the model lives; the system may end the process then (SIGBUS).
pub const LOQUAT_ACCESS_MAP: u32 = 0;
/// Read the file into private memory: slower to load, counted in the memory limit, independent of the file afterwards. Where the system
/// gives large pages on request (Linux), tokens come faster with few threads.
pub const LOQUAT_ACCESS_READ: u32 = 1;

/// Stands where there is no such token.
pub const LOQUAT_NO_TOKEN: u32 = u32::MAX;

/// Tells the host that the bytes it lent are no longer used. May be called from any thread; it must not call the library.
pub type loquat_release_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The shape of a model. What only the weights tell is UINT32_MAX where they are not loaded.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_model_info {
    /// Set by the caller to sizeof(loquat_model_info).
    pub struct_size: u32,
    /// Number of tokens in the vocabulary; also the number of logits.
    pub vocab_size: u32,
    /// Tokens of context that the model was trained for.
    pub context_length: u32,
    /// Number of layers.
    pub layers: u32,
    /// Width of the hidden state.
    pub embedding_length: u32,
    /// Number of attention heads.
    pub heads: u32,
    /// Number of key/value heads.
    pub kv_heads: u32,
    /// Token that begins a text, or LOQUAT_NO_TOKEN.
    pub bos_token: u32,
    /// Token that ends a text, or LOQUAT_NO_TOKEN. Others may end generation too: see loquat_model_token_attributes.
    pub eos_token: u32,
    /// 1 if the weights are loaded, 0 if only the vocabulary is.
    pub has_weights: u32,
    /// Number of parameters: elements of all tensors.
    pub parameters: u64,
    /// Bytes of all tensors in the file.
    pub tensor_bytes: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_model_info {
    const FIRST_SIZE: usize = 56;
}

/// New options: map the file, load everything.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_options_new(options: *mut *mut loquat_model_options, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe { call(error, || handle::make(options, "options", || Ok((LoadOptions::default(), ())))) }
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_model_options_free(options: *mut loquat_model_options) {
    // SAFETY: as above.
    unsafe { handle::free(options) }
}

/// How the file is read: LOQUAT_ACCESS_MAP (default) or LOQUAT_ACCESS_READ.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_options_set_access(
    options: *mut loquat_model_options,
    access: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.access = match access {
                LOQUAT_ACCESS_MAP => Access::Map,
                LOQUAT_ACCESS_READ => Access::Read,
                _ => return Err(Failure::argument(format!("access is {access}, must be a LOQUAT_ACCESS_ number"))),
            };
            Ok(())
        })
    }
}

/// 1 to load the tokenizer and metadata only: such a model can't have sessions. Default 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_options_set_vocab_only(
    options: *mut loquat_model_options,
    vocab_only: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.vocab_only = settings::flag("vocab_only", vocab_only)?;
            Ok(())
        })
    }
}

/// The most bytes of key/value cache that the model keeps for sessions that begin like earlier ones (a common system prompt), 0 for none;
/// default 64 MiB. What live sessions share is counted too. It is let go where the runtime's memory is short.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_options_set_prefix_cache(
    options: *mut loquat_model_options,
    bytes: u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.prefix_cache = bytes) }
}

/// The types that the tensors are put into while the model is loaded, by a name that loquat_quantize_options_set_type() takes, such as "Q4_K_M"
/// or "Q8_0"; "none" (the default) to compute with them as they are. A model whose files hold 16-bit floats then takes
/// half of the memory or less and generates faster, with the loss of quality of that type.
///
/// The tensors are read from the file, quantised on the runtime's threads (a stage "quantising" of the job) and kept in private memory, which
/// the runtime's limit holds and loquat_model_estimate() knows. To quantise once and load often, write a file with loquat_quantize_start().
/// With LOQUAT_ACCESS_READ the bytes of a GGUF file stay in memory beside them: map it. Tensors of 8-bit floats are converted one by one: each
/// needs 4 bytes for each of its weights until it is quantised, which the estimate leaves out.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_options_set_quantize(
    options: *mut loquat_model_options,
    name: *const c_char,
    name_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.quantize = quantize(buffer::text(name, name_length, "name")?)?;
            Ok(())
        })
    }
}

/// The mix of that name; `None` for "none".
fn quantize(name: &str) -> Result<Option<Mix>, Failure> {
    if name == "none" { Ok(None) } else { mix(name).map(Some) }
}

/// Sets an option by name: "access" ("map", "read"), "vocab_only", "prefix_cache" (bytes), "quantize" (a type or "none"). LOQUAT_UNKNOWN_OPTION for
/// another key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_options_set(
    options: *mut loquat_model_options,
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
                "access" => options.access = settings::choice(key, value, &[("map", Access::Map), ("read", Access::Read)])?,
                "prefix_cache" => options.prefix_cache = settings::number(key, value)?,
                "quantize" => options.quantize = quantize(value)?,
                "vocab_only" => options.vocab_only = settings::switch(key, value)?,
                _ => return Err(settings::unknown("model", key)),
            }
            Ok(())
        })
    }
}

/// Runs the load that `job` makes to its end.
///
/// # Safety
/// The pointers are NULL or valid.
pub(super) unsafe fn load_now(
    model: *mut *mut loquat_model,
    error: *mut *mut loquat_error,
    job: impl FnOnce() -> Result<Job<Model>, Failure>,
) -> loquat_status {
    // SAFETY: as promised by the caller.
    unsafe { call(error, || handle::make(model, "model", || Ok((job()?.finish()?, ())))) }
}

/// Loads a model: a GGUF file (or any of those of a model in several files, NAME-00001-of-00003.gguf, beside each other), an APR file (version 2), a
/// folder as Hugging Face's libraries write it (config.json, safetensors, tokenizer.json), or a safetensors file in such a folder. `path` is UTF-8
/// on every system. `options` may be NULL for the defaults; they are not kept. Blocks until
/// the model is there; loquat_model_load_start does the same in slices.
///
/// LOQUAT_IO, LOQUAT_INVALID_FILE, LOQUAT_UNSUPPORTED (an architecture, tensor type or tokenizer that this version lacks; the message names
/// it), LOQUAT_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load(
    runtime: *const loquat_runtime,
    path: *const c_char,
    path_length: usize,
    options: *const loquat_model_options,
    model: *mut *mut loquat_model,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        load_now(model, error, || {
            let runtime = handle::shared(runtime)?;
            let path = buffer::text(path, path_length, "path")?;
            Ok(Model::load_job(&runtime, Path::new(path), handle::copy_or_default(options)?))
        })
    }
}

/// Loads a model from memory that the host lends. Nothing is copied where the alignment of the data allows it.
///
/// Lent: `data` must stay as it is until `release` is called with `user_data`. That happens exactly once, when the last object that uses the
/// bytes is gone: after the model and its sessions are freed, or before this call returns where it fails. `release` may be NULL. Where `data` or `model` is
/// NULL the call fails and `release` is not called.
///
/// Statuses as loquat_model_load.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_load_buffer(
    runtime: *const loquat_runtime,
    data: *const u8,
    length: usize,
    release: loquat_release_fn,
    user_data: *mut c_void,
    options: *const loquat_model_options,
    model: *mut *mut loquat_model,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        load_now(model, error, || {
            let lent = lent(data, length, release, user_data)?;
            let runtime = handle::shared(runtime)?;
            Ok(Model::from_bytes_job(&runtime, lent, "lent buffer", handle::copy_or_default(options)?))
        })
    }
}

/// Memory that the host lends, as shared bytes.
///
/// # Safety
/// `data` is NULL or addresses `length` bytes that nobody changes before `release` is called.
pub(super) unsafe fn lent(
    data: *const u8,
    length: usize,
    release: loquat_release_fn,
    user_data: *mut c_void,
) -> Result<SharedBytes, Failure> {
    // SAFETY: as promised by the caller.
    let bytes = unsafe { buffer::slice(data, length, "data") }?;
    Ok(SharedBytes::new(Arc::new(Lent { bytes, release, user_data })))
}

/// Bytes of the host, given back when the last view of them is dropped.
struct Lent {
    bytes: &'static [u8],
    release: loquat_release_fn,
    user_data: *mut c_void,
}

// SAFETY: the bytes are only read; the header says that `release` may be called from any thread.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the host gave the function for this call, with this argument, once.
            unsafe { release(self.user_data) }
        }
    }
}

/// Frees the host's hold on a model. The weights go when its last session is freed too. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_model_free(model: *mut loquat_model) {
    // SAFETY: as above.
    unsafe { handle::free(model) }
}

/// Fills `info` with the shape of the model.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_get_info(
    model: *const loquat_model,
    info: *mut loquat_model_info,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(info, "info")?;
            let model = handle::shared(model)?;
            let tensors = model.tensors();
            let config = model.config().ok();
            let size = |get: fn(&ModelConfig) -> usize| config.map_or(u32::MAX, |config| get(config) as u32);
            let token = |get: fn(&Tokenizer) -> Option<u32>| model.tokenizer().ok().and_then(get).unwrap_or(LOQUAT_NO_TOKEN);
            out.set(loquat_model_info {
                struct_size: 0,
                vocab_size: model.vocab_size().map_or_else(|_| model.tokenizer().map_or(u32::MAX, Tokenizer::vocab_size), |n| n as u32),
                context_length: size(|config| config.context_length),
                layers: size(|config| config.block_count),
                embedding_length: size(|config| config.embedding_length),
                heads: size(|config| config.head_count),
                kv_heads: size(|config| config.head_count_kv),
                bos_token: token(Tokenizer::bos),
                eos_token: token(Tokenizer::eos),
                has_weights: u32::from(config.is_some()),
                parameters: tensors.iter().map(TensorInfo::elements).sum(),
                tensor_bytes: tensors.iter().map(|tensor| tensor.data.len() as u64).sum(),
            });
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `buffer` with a line about the model for people: architecture, size, type of the weights.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_description(
    model: *const loquat_model,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            out.fill(handle::shared(model)?.description().as_bytes())
        })
    }
}

/// What a model keeps for sessions that begin alike, and has done with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_prefix_cache {
    /// Set by the caller to sizeof(loquat_prefix_cache).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes of key/value cache that are kept; live sessions may share them.
    pub bytes: u64,
    /// The most bytes that may be kept.
    pub limit: u64,
    /// Tokens that sessions took from it instead of computing them.
    pub reused_tokens: u64,
    /// Pages (of 32 tokens) that are kept.
    pub pages: u64,
    /// Pages that were let go for others.
    pub evicted_pages: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_prefix_cache {
    const FIRST_SIZE: usize = std::mem::offset_of!(loquat_prefix_cache, evicted_pages) + 8;
}

/// Fills `cache` with what the model keeps for sessions that begin alike. At any time, from any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_get_prefix_cache(
    model: *const loquat_model,
    cache: *mut loquat_prefix_cache,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(cache, "cache")?;
            let stats = handle::shared(model)?.prefixes().stats();
            out.set(loquat_prefix_cache {
                struct_size: 0,
                reserved: 0,
                bytes: stats.bytes,
                limit: stats.limit,
                reused_tokens: stats.reused_positions,
                pages: stats.pages,
                evicted_pages: stats.evicted_pages,
            });
            Ok(LOQUAT_OK)
        })
    }
}

/// Lets go of all that the model keeps for sessions that begin alike. Sessions keep what they share. At any time, from any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_clear_prefix_cache(model: *const loquat_model, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::shared(model)?.prefixes().clear();
            Ok(LOQUAT_OK)
        })
    }
}
