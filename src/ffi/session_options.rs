//! Session options
//!
//! What can be chosen when a session is made: context, cache, sampling, and where a turn ends.

use std::ffi::c_char;

use crate::sampling::SamplerConfig;
use crate::session::{ContextPolicy, KvType, SessionOptions};

use super::buffer;
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::settings;
use super::status::loquat_status;

/// How a session is to be made. Later changes do not reach sessions that were made from it.
pub struct loquat_session_options {
    _opaque: (),
}

impl Opaque for loquat_session_options {
    type Value = SessionOptions;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqSO");
    const NAME: &'static str = "session options";
}

/// Element type of the key/value cache: 32-bit floats. (The numbers are those of tensor types in GGUF files.)
pub const LOQUAT_KV_F32: u32 = 0;
/// Element type of the key/value cache: 16-bit floats, the default.
pub const LOQUAT_KV_F16: u32 = 1;
/// Element type of the key/value cache: 8-bit integers with a scale for each 32, a little more than half the size of 16-bit floats, less exact.
pub const LOQUAT_KV_Q8_0: u32 = 8;
/// Element type of the key/value cache: bfloat16.
pub const LOQUAT_KV_BF16: u32 = 30;

/// New options: the model's context length, a 16-bit cache, always the most probable token, no limit on tokens.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_new(
    options: *mut *mut loquat_session_options,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe { call(error, || handle::make(options, "options", || Ok((SessionOptions::default(), ())))) }
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_session_options_free(options: *mut loquat_session_options) {
    // SAFETY: as above.
    unsafe { handle::free(options) }
}

/// The number of tokens that the context holds; 0 for the model's own context length.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_context(
    options: *mut loquat_session_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.context = tokens) }
}

/// 1 (the default) to take the memory of the whole context when the session is made; 0 to take it as the conversation grows: a step may
/// say LOQUAT_OUT_OF_MEMORY then, and changes nothing. With 1 that is left to one case: a session rewound into tokens that it computed
/// and that other sessions share by now writes into a copy.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_reserve(
    options: *mut loquat_session_options,
    reserve: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.reserve = settings::flag("reserve", reserve)?;
            Ok(())
        })
    }
}

/// What happens when the context is full: the turn ends with LOQUAT_REASON_CONTEXT. The default.
pub const LOQUAT_CONTEXT_STOP: u32 = 0;
/// What happens when the context is full: the oldest quarter of the tokens behind those that are kept is dropped, the others move forward,
/// and the turn goes on. An approximation: what remains was computed with the dropped tokens in sight.
pub const LOQUAT_CONTEXT_SHIFT: u32 = 1;
/// What happens when the context is full: what no later token sees is dropped, and the turn goes on as in a context without an end, with the same
/// tokens to the bit. For models all of whose layers have a window (Mistral 7B v0.1, Phi-3-mini, StarCoder 2); others make no such session
/// (LOQUAT_UNSUPPORTED). The context must hold the window and 255 positions more.
pub const LOQUAT_CONTEXT_SLIDE: u32 = 2;

/// What happens when the context is full: a LOQUAT_CONTEXT_ number. `keep`: with LOQUAT_CONTEXT_SHIFT, how many tokens at the front are never
/// dropped (a system prompt), at most half of the context; else 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_context_policy(
    options: *mut loquat_session_options,
    policy: u32,
    keep: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.context_policy = match (policy, keep) {
                (LOQUAT_CONTEXT_STOP, 0) => ContextPolicy::Stop,
                (LOQUAT_CONTEXT_STOP, _) => return Err(Failure::argument(format!("keep is {keep}, must be 0 with LOQUAT_CONTEXT_STOP"))),
                (LOQUAT_CONTEXT_SHIFT, keep) => ContextPolicy::Shift { keep },
                (LOQUAT_CONTEXT_SLIDE, 0) => ContextPolicy::Slide,
                (LOQUAT_CONTEXT_SLIDE, _) => return Err(Failure::argument(format!("keep is {keep}, must be 0 with LOQUAT_CONTEXT_SLIDE"))),
                _ => return Err(Failure::argument(format!("policy is {policy}, must be a LOQUAT_CONTEXT_ number"))),
            };
            Ok(())
        })
    }
}

/// 1 (the default) to begin with what other sessions of the model have computed of the same prompt, and to let them begin with this
/// session's; it changes no result. 0 to compute everything, as benchmarks do. The memory is limited by
/// loquat_model_options_set_prefix_cache.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_prefix_reuse(
    options: *mut loquat_session_options,
    reuse: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.prefix_reuse = settings::flag("reuse", reuse)?;
            Ok(())
        })
    }
}

/// The number of prompt tokens that are processed together; default 512. It changes speed and scratch memory, not results.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_batch(
    options: *mut loquat_session_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.batch = tokens) }
}

/// The element type of the key/value cache: a LOQUAT_KV_ number.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_kv_type(
    options: *mut loquat_session_options,
    kv_type: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.kv_type = kv_type_of(kv_type)?;
            Ok(())
        })
    }
}

/// The most threads of the runtime that work on a step of the session, the one that calls loquat_session_step included; 0 (the default) for all.
/// Leaves the others to other sessions. It changes speed, not results.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_threads(
    options: *mut loquat_session_options,
    threads: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.threads = threads) }
}

/// Divides the logits before the draw: below 1 sharper, above 1 flatter, 0 (the default) always the most probable token, whatever the
/// three settings below. Finite, at least 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_temperature(
    options: *mut loquat_session_options,
    temperature: f32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.sampler.temperature = temperature) }
}

/// Draws among the `top_k` most probable tokens only; 0 for all. Default 40.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_top_k(
    options: *mut loquat_session_options,
    top_k: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.sampler.top_k = top_k) }
}

/// Draws among the fewest tokens whose probabilities reach `top_p`, above 0 and at most 1; 1 for all. Default 0.95.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_top_p(
    options: *mut loquat_session_options,
    top_p: f32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.sampler.top_p = top_p) }
}

/// Draws among tokens that are at least `min_p` times as probable as the most probable one, from 0 to 1; 0 for all. Default 0.05.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_min_p(
    options: *mut loquat_session_options,
    min_p: f32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.sampler.min_p = min_p) }
}

/// Penalties on the last `window` tokens (0 for none): `repetition` divides positive logits and multiplies negative ones (1 is off),
/// `presence` is taken once from the logit of each token there, `frequency` once for each time it is there (0 is off).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_penalties(
    options: *mut loquat_session_options,
    repetition: f32,
    presence: f32,
    frequency: f32,
    window: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            let sampler = &mut options.sampler;
            (sampler.repetition_penalty, sampler.presence_penalty) = (repetition, presence);
            (sampler.frequency_penalty, sampler.penalty_window) = (frequency, window);
            Ok(())
        })
    }
}

/// The seed of the draws: the same seed, prompt and options give the same text, whatever the number of threads. Default 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_seed(
    options: *mut loquat_session_options,
    seed: u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.sampler.seed = seed) }
}

/// Adds `bias` to the logit of `token` in every draw: finite, or -INFINITY to forbid it. Each token at most once.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_add_logit_bias(
    options: *mut loquat_session_options,
    token: u32,
    bias: f32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.sampler.logit_bias.push((token, bias))) }
}

/// Ends a turn where the text comes to `stop`, which is left out. May be called several times. Not empty.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_add_stop(
    options: *mut loquat_session_options,
    stop: *const c_char,
    stop_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            let stop = buffer::text(stop, stop_length, "stop")?;
            options.stop.push(stop.as_bytes().to_vec());
            Ok(())
        })
    }
}

/// The most tokens that a turn generates; UINT32_MAX for no limit but the context. Default: no limit.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_max_tokens(
    options: *mut loquat_session_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.max_tokens = (tokens != u32::MAX).then_some(tokens)) }
}

/// 1 to go on past end-of-generation tokens, as benchmarks do; default 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_ignore_end(
    options: *mut loquat_session_options,
    ignore: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.ignore_eog = settings::flag("ignore", ignore)?;
            Ok(())
        })
    }
}

/// 1 to have special tokens appear in the text as they are written ("<|im_end|>"); default 0, they are left out.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_show_special(
    options: *mut loquat_session_options,
    show: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.show_special = settings::flag("show", show)?;
            Ok(())
        })
    }
}

/// 1 to keep the logits of every position of the last batch that was processed (see loquat_session_logits_at), not only of the last
/// position; default 0. Costs 4 bytes of memory for each token of the vocabulary and of a batch.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set_all_logits(
    options: *mut loquat_session_options,
    all: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            options.all_logits = settings::flag("all", all)?;
            Ok(())
        })
    }
}

/// Sets an option by name, for configuration files and for what has no function of its own.
///
/// "context", "reserve", "context_policy" ("stop", "shift", "slide"), "keep" (with "shift"), "prefix_reuse", "batch", "threads", "kv_type" ("f16",
/// "bf16", "f32", "q8_0"), "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
/// "frequency_penalty", "penalty_window", "seed", "max_tokens", "stop" (adds one), "ignore_end", "show_special", "all_logits".
/// LOQUAT_UNKNOWN_OPTION for another key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_options_set(
    options: *mut loquat_session_options,
    key: *const c_char,
    key_length: usize,
    value: *const c_char,
    value_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::change_by_name(options, (key, key_length), (value, value_length), error, set_by_name) }
}

fn set_by_name(options: &mut SessionOptions, key: &str, value: &str) -> Result<(), Failure> {
    let sampler: &mut SamplerConfig = &mut options.sampler;
    match key {
        "context" => options.context = settings::number(key, value)?,
        "reserve" => options.reserve = settings::switch(key, value)?,
        "context_policy" => {
            let policies = [("stop", ContextPolicy::Stop), ("shift", ContextPolicy::Shift { keep: 0 }), ("slide", ContextPolicy::Slide)];
            options.context_policy = settings::choice(key, value, &policies)?;
        }
        "keep" => match &mut options.context_policy {
            ContextPolicy::Shift { keep } => *keep = settings::number(key, value)?,
            ContextPolicy::Stop | ContextPolicy::Slide => return Err(Failure::argument("option keep: set context_policy to shift first")),
        },
        "prefix_reuse" => options.prefix_reuse = settings::switch(key, value)?,
        "batch" => options.batch = settings::number(key, value)?,
        "kv_type" => options.kv_type = settings::choice(key, value, &KvType::ALL.map(|ty| (ty.name(), ty)))?,
        "threads" => options.threads = settings::number(key, value)?,
        "temperature" => sampler.temperature = settings::number(key, value)?,
        "top_k" => sampler.top_k = settings::number(key, value)?,
        "top_p" => sampler.top_p = settings::number(key, value)?,
        "min_p" => sampler.min_p = settings::number(key, value)?,
        "repetition_penalty" => sampler.repetition_penalty = settings::number(key, value)?,
        "presence_penalty" => sampler.presence_penalty = settings::number(key, value)?,
        "frequency_penalty" => sampler.frequency_penalty = settings::number(key, value)?,
        "penalty_window" => sampler.penalty_window = settings::number(key, value)?,
        "seed" => sampler.seed = settings::number(key, value)?,
        "max_tokens" => options.max_tokens = Some(settings::number(key, value)?),
        "stop" => options.stop.push(value.as_bytes().to_vec()),
        "ignore_end" => options.ignore_eog = settings::switch(key, value)?,
        "show_special" => options.show_special = settings::switch(key, value)?,
        "all_logits" => options.all_logits = settings::switch(key, value)?,
        _ => return Err(settings::unknown("session", key)),
    }
    Ok(())
}

/// The element type that a LOQUAT_KV_ number says.
pub(super) fn kv_type_of(number: u32) -> Result<KvType, Failure> {
    match number {
        LOQUAT_KV_F32 => Ok(KvType::F32),
        LOQUAT_KV_F16 => Ok(KvType::F16),
        LOQUAT_KV_BF16 => Ok(KvType::Bf16),
        LOQUAT_KV_Q8_0 => Ok(KvType::Q8_0),
        _ => Err(Failure::argument(format!("kv_type is {number}, must be a LOQUAT_KV_ number"))),
    }
}
