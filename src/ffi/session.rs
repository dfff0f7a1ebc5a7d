//! Session
//!
//! One conversation with a model: its context, its key/value cache, its sampler. Append a prompt, then step until the turn is over.

use std::ffi::c_char;
use std::path::Path;

use crate::metrics::SessionMetrics;
use crate::session::{CancelHandle, DoneReason, Session, Step};

use super::buffer::{self, Buffer, Out, Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::model::{LOQUAT_NO_TOKEN, loquat_model};
use super::session_options::loquat_session_options;
use super::status::{LOQUAT_CANCELLED, LOQUAT_DONE, LOQUAT_NOT_FOUND, LOQUAT_OK, LOQUAT_PENDING, LOQUAT_TOKEN, loquat_status};
use super::tokenizer::encode_options;

/// One conversation. It keeps its model, and all memory that a step touches, from its creation on.
pub struct loquat_session {
    _opaque: (),
}

/// What may be used while a step runs.
pub(super) struct Anytime {
    pub(super) cancel: CancelHandle,
    pub(super) metrics: SessionMetrics,
}

impl Opaque for loquat_session {
    type Value = Session;
    type Side = Anytime;
    const TAG: u32 = u32::from_be_bytes(*b"LqSe");
    const NAME: &'static str = "session";
}

/// Why a turn is over: the model said an end-of-generation token.
pub const LOQUAT_REASON_END: u32 = 1;
/// Why a turn is over: the text came to a stop string, which is not part of it.
pub const LOQUAT_REASON_STOP: u32 = 2;
/// Why a turn is over: as many tokens were generated as the options allow.
pub const LOQUAT_REASON_LIMIT: u32 = 3;
/// Why a turn is over: the context is full.
pub const LOQUAT_REASON_CONTEXT: u32 = 4;

/// What a step did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_event {
    /// Set by the caller to sizeof(loquat_event).
    pub struct_size: u32,
    /// The token that was generated: with LOQUAT_TOKEN, and with LOQUAT_DONE where a token ended the turn. Else LOQUAT_NO_TOKEN.
    pub token: u32,
    /// What this step adds to the text: whole UTF-8 characters, perhaps none. Text that may be the beginning of a stop string is held back until
    /// that is decided. Never NULL, not NUL-terminated. Lives until the next call that takes the session as `loquat_session *`.
    pub text: *const c_char,
    /// The length of `text` in bytes.
    pub text_length: u64,
    /// With LOQUAT_DONE: a LOQUAT_REASON_ number. Else 0.
    pub reason: u32,
    /// How many tokens of the context have been processed. The one that was generated last is processed by the next step.
    pub position: u32,
    /// How much of the appended prompt has been processed, from 0 to 1.
    pub progress: f32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_event {
    const FIRST_SIZE: usize = std::mem::offset_of!(loquat_event, reserved) + 4;
}

/// Opens a session: takes its memory and checks its options. `options` may be NULL for the defaults; they are not kept.
///
/// LOQUAT_UNSUPPORTED for a model that was loaded without its weights.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_new(
    model: *const loquat_model,
    options: *const loquat_session_options,
    session: *mut *mut loquat_session,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            handle::make(session, "session", || {
                let model = handle::shared(model)?;
                let options = handle::copy_or_default(options)?;
                let session = Session::new(&model, &options)?;
                let anytime = Anytime { cancel: session.cancel_handle(), metrics: session.metrics() };
                Ok((session, anytime))
            })
        })
    }
}

/// Frees a session and its memory. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_session_free(session: *mut loquat_session) {
    // SAFETY: as above.
    unsafe { handle::free(session) }
}

/// Appends the tokens of a text to the prompt. `flags`: LOQUAT_ADD_SPECIAL (right for the first text of a conversation that no chat
/// template made), LOQUAT_PARSE_SPECIAL. Nothing is computed yet: that is the steps' work. Begins a new turn.
///
/// LOQUAT_CONTEXT_FULL where the tokens do not fit; none is appended then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_append_text(
    session: *mut loquat_session,
    text: *const c_char,
    text_length: usize,
    flags: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let options = encode_options(flags)?;
            let text = buffer::text(text, text_length, "text")?;
            let mut session = handle::exclusive(session)?;
            let mut tokens = Vec::new();
            session.model().tokenizer()?.encode(text, options, &mut tokens)?;
            session.append(&tokens)?;
            Ok(LOQUAT_OK)
        })
    }
}

/// Appends tokens to the prompt. Nothing is computed yet: that is the steps' work. Begins a new turn.
///
/// LOQUAT_CONTEXT_FULL where they do not fit; none is appended then. LOQUAT_INVALID_ARGUMENT for an id outside the vocabulary.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_append_tokens(
    session: *mut loquat_session,
    tokens: *const u32,
    count: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let tokens = buffer::slice(tokens, count, "tokens")?;
            handle::exclusive(session)?.append(tokens)?;
            Ok(LOQUAT_OK)
        })
    }
}

/// Changes how many tokens a turn generates at most, from the turn in progress on; UINT32_MAX for no limit but the context, 0 to process the
/// prompt and generate nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_set_max_tokens(
    session: *mut loquat_session,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::exclusive(session)?.set_max_tokens((tokens != u32::MAX).then_some(tokens));
            Ok(LOQUAT_OK)
        })
    }
}

/// Works on the session for about `budget_ns` nanoseconds: first on what is left of the prompt, then on the next token. 0 does one item of
/// work, UINT64_MAX goes on until there is a token. The calling thread works; the threads of the runtime help.
///
/// LOQUAT_TOKEN: a token was generated and is in the context; step again for the next. LOQUAT_PENDING: the budget is used up, step again.
/// LOQUAT_DONE: the turn is over, `event->reason` says why; append something before stepping again. LOQUAT_CANCELLED: loquat_session_cancel was
/// called; step again to go on. LOQUAT_NON_FINITE: the logits are no numbers. LOQUAT_INVALID_ARGUMENT: nothing was appended yet.
///
/// The text and what is sampled do not depend on the budget or on the number of threads.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_step(
    session: *mut loquat_session,
    budget_ns: u64,
    event: *mut loquat_event,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(event, "event")?;
            let mut session = handle::exclusive(session)?;
            let (status, token, reason) = match session.step(budget_ns)? {
                Step::Pending => (LOQUAT_PENDING, None, 0),
                Step::Token { id } => (LOQUAT_TOKEN, Some(id), 0),
                Step::Done { reason, token } => (LOQUAT_DONE, token, reason_number(reason)),
                Step::Cancelled => (LOQUAT_CANCELLED, None, 0),
            };
            let text = session.text();
            out.set(loquat_event {
                struct_size: 0,
                token: token.unwrap_or(LOQUAT_NO_TOKEN),
                text: if text.is_empty() { c"".as_ptr() } else { text.as_ptr().cast() },
                text_length: text.len() as u64,
                reason,
                position: session.position() as u32,
                progress: session.progress(),
                reserved: 0,
            });
            Ok(status)
        })
    }
}

/// Makes the step that runs now, or the next one, return LOQUAT_CANCELLED within one item of work. At any time, from any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_cancel(session: *const loquat_session, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::side(session)?.cancel.cancel();
            Ok(LOQUAT_OK)
        })
    }
}

/// Copies the logits of the last position that was processed: `*count` floats, one for each token of the vocabulary, as the model computed
/// them (no penalties, no bias).
///
/// LOQUAT_NOT_FOUND before the prompt is processed; LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_logits(
    session: *const loquat_session,
    logits: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(logits, capacity, count, "logits")?;
            match handle::shared(session)?.logits() {
                Some(logits) => out.fill(logits),
                None => Ok(LOQUAT_NOT_FOUND),
            }
        })
    }
}

/// Copies the logits after the token at `position` (counted from 0), as loquat_session_logits those after the last.
///
/// LOQUAT_NOT_FOUND where they were not kept: without loquat_session_options_set_all_logits only those of the last position are, with it
/// those of the last batch. LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_logits_at(
    session: *const loquat_session,
    position: u32,
    logits: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(logits, capacity, count, "logits")?;
            match handle::shared(session)?.logits_at(position as usize) {
                Some(logits) => out.fill(logits),
                None => Ok(LOQUAT_NOT_FOUND),
            }
        })
    }
}

/// Fills `tokens` with the tokens of the context: prompt and generated ones, in order.
///
/// LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_tokens(
    session: *const loquat_session,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(tokens, capacity, count, "tokens")?;
            out.fill(handle::shared(session)?.tokens())
        })
    }
}

/// Stores how many tokens of the context have been processed (one that was just generated is not yet), and how many it can hold. Either
/// pointer may be NULL. loquat_session_tokens gives all that it holds.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_position(
    session: *const loquat_session,
    position: *mut u32,
    capacity: *mut u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let session = handle::shared(session)?;
            for (out, value) in [(position, session.position()), (capacity, session.capacity())] {
                if !out.is_null() {
                    Out::new(out, "position or capacity")?.set(value as u32);
                }
            }
            Ok(LOQUAT_OK)
        })
    }
}

/// Makes a second session that has come as far as `session` and goes on by itself, with the same options and random numbers. What is in
/// the key/value cache is shared until one of the two writes into it, so that a fork costs little. A step in progress is not taken over.
///
/// LOQUAT_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_fork(
    session: *mut loquat_session,
    fork: *mut *mut loquat_session,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::make(fork, "fork", || {
                let fork = handle::exclusive(session)?.fork()?;
                let anytime = Anytime { cancel: fork.cancel_handle(), metrics: fork.metrics() };
                Ok((fork, anytime))
            })
        })
    }
}

/// Writes into `buffer` all that another session of the same model needs to go on as this one would, to the bit: tokens, key/value cache,
/// random numbers, the text in flight; with a checksum. The options are not part of it.
///
/// LOQUAT_BUFFER_TOO_SMALL with the length that is needed (ask with (NULL, 0); it stays right until the next call that changes the session).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_save(
    session: *mut loquat_session,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer, capacity, length, "buffer")?;
            let mut session = handle::exclusive(session)?;
            let needed = usize::try_from(session.state_bytes()?).map_err(|_| Failure::argument("the state passes the address space"))?;
            out.fill_with(needed, |mut buffer| Ok(session.save(&mut buffer)?))
        })
    }
}

/// As loquat_session_save, into the file at `path` (UTF-8). The file is there in whole afterwards, or as it was before.
///
/// LOQUAT_IO.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_save_file(
    session: *mut loquat_session,
    path: *const c_char,
    path_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let path = buffer::text(path, path_length, "path")?;
            handle::exclusive(session)?.save_file(Path::new(path))?;
            Ok(LOQUAT_OK)
        })
    }
}

/// Takes up a state that loquat_session_save wrote, in place of all that is in the session. The session is one of the same model, made with
/// the same sampler settings and type of cache, and with room for the tokens; threads, batch and the rest may differ. The bytes may
/// come from anyone: what is damaged or does not fit is refused, and nothing changes.
///
/// LOQUAT_INVALID_FILE (damaged, of another model, another type of cache, another sampler), LOQUAT_UNSUPPORTED (of a newer version),
/// LOQUAT_CONTEXT_FULL (more tokens than fit), LOQUAT_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_restore(
    session: *mut loquat_session,
    state: *const u8,
    length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let state = buffer::slice(state, length, "state")?;
            handle::exclusive(session)?.restore(state)?;
            Ok(LOQUAT_OK)
        })
    }
}

/// As loquat_session_restore, from the file at `path` (UTF-8).
///
/// LOQUAT_IO too.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_restore_file(
    session: *mut loquat_session,
    path: *const c_char,
    path_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let path = buffer::text(path, path_length, "path")?;
            handle::exclusive(session)?.restore_file(Path::new(path))?;
            Ok(LOQUAT_OK)
        })
    }
}

/// Forgets all tokens, and puts the sampler back to its seed. The session is then as new.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_reset(session: *mut loquat_session, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::exclusive(session)?.reset()?;
            Ok(LOQUAT_OK)
        })
    }
}

/// Forgets all tokens from position `tokens` on, so that the context holds that many.
///
/// LOQUAT_INVALID_ARGUMENT where it holds fewer.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_session_truncate(
    session: *mut loquat_session,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let mut session = handle::exclusive(session)?;
            let held = session.tokens().len();
            if tokens as usize > held {
                return Err(Failure::argument(format!("truncate to {tokens} tokens: the context holds {held}")));
            }
            session.truncate(tokens as usize)?;
            Ok(LOQUAT_OK)
        })
    }
}

pub(super) fn reason_number(reason: DoneReason) -> u32 {
    match reason {
        DoneReason::EndOfGeneration => LOQUAT_REASON_END,
        DoneReason::StopString => LOQUAT_REASON_STOP,
        DoneReason::TokenLimit => LOQUAT_REASON_LIMIT,
        DoneReason::ContextFull => LOQUAT_REASON_CONTEXT,
    }
}
