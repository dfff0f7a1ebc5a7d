//! Batch
//!
//! Many sessions of one model in one pass: the weights are read once for all of them. Each session says what it would say alone, to the
//! bit. Sessions that generate have a token in every pass; prompts are processed beside them in pieces, so that nobody waits for another's
//! long prompt.

use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::ops::Range;

use crate::session::{Batch, BatchOptions, BatchStep, Step};

use super::buffer::{Versioned, VersionedOut};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Kept, Opaque};
use super::model::{LOQUAT_NO_TOKEN, loquat_model};
use super::session::{loquat_session, reason_number};
use super::settings;
use super::status::{
    LOQUAT_BUSY, LOQUAT_CANCELLED, LOQUAT_DONE, LOQUAT_IDLE, LOQUAT_INVALID_HANDLE, LOQUAT_NOT_FOUND, LOQUAT_OK, LOQUAT_PENDING,
    LOQUAT_TOKEN, loquat_status, of_kind,
};

/// How a batch is to be made. Later changes do not reach batches that were made from it.
pub struct loquat_batch_options {
    _opaque: (),
}

impl Opaque for loquat_batch_options {
    type Value = BatchOptions;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqBO");
    const NAME: &'static str = "batch options";
}

/// Sessions that are computed together, and the scratch memory for that.
pub struct loquat_batch {
    _opaque: (),
}

/// A session in a batch, with what the host wants back with its events.
struct Member {
    session: Kept<loquat_session>,
    user_data: usize,
}

/// An event that the host has not taken yet.
struct Waiting {
    event: loquat_batch_event,
    text: Range<usize>,
    message: Range<usize>,
}

// SAFETY: the pointers in an event are set when it is given out; until then they are null, or the handle and user data as they came.
unsafe impl Send for Waiting {}

pub(super) struct Members {
    batch: Batch,
    members: Vec<Member>,
    waiting: VecDeque<Waiting>,
    /// The texts of the events of the last pass.
    texts: Vec<u8>,
}

impl Opaque for loquat_batch {
    type Value = Members;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqBa");
    const NAME: &'static str = "batch";
}

/// What a step brought for one session of a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_batch_event {
    /// Set by the caller to sizeof(loquat_batch_event).
    pub struct_size: u32,
    /// What loquat_session_step would have returned for the session: LOQUAT_TOKEN, LOQUAT_DONE, LOQUAT_CANCELLED, or an error.
    pub status: loquat_status,
    /// The session.
    pub session: *mut loquat_session,
    /// What was given with it to loquat_batch_add.
    pub user_data: *mut c_void,
    /// What this event adds to the text of the session: whole UTF-8 characters, perhaps none. Never NULL, not NUL-terminated. Lives until the
    /// next call with the batch.
    pub text: *const c_char,
    /// The length of `text` in bytes.
    pub text_length: u64,
    /// With an error: what is wrong, for people. Never NULL, not NUL-terminated. Lives as long as `text`.
    pub message: *const c_char,
    /// The length of `message` in bytes.
    pub message_length: u64,
    /// The token, as in loquat_event.
    pub token: u32,
    /// With LOQUAT_DONE: a LOQUAT_REASON_ number. Else 0.
    pub reason: u32,
    /// How many tokens of the context have been processed, as in loquat_event.
    pub position: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_batch_event {
    const FIRST_SIZE: usize = std::mem::offset_of!(loquat_batch_event, reserved) + 4;
}

/// New options: up to 16 sessions in a pass of up to 512 tokens, of which 64 may be prompt tokens while another session generates.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_options_new(options: *mut *mut loquat_batch_options, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe { call(error, || handle::make(options, "options", || Ok((BatchOptions::default(), ())))) }
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_batch_options_free(options: *mut loquat_batch_options) {
    // SAFETY: as above.
    unsafe { handle::free(options) }
}

/// The number of sessions that are computed in one pass, 1 to 1024. A batch may have more; they take turns.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_options_set_sessions(
    options: *mut loquat_batch_options,
    sessions: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.sessions = sessions) }
}

/// The number of tokens that are computed in one pass, at least one for each session. It changes speed on long prompts and scratch memory,
/// not results.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_options_set_columns(
    options: *mut loquat_batch_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.columns = tokens) }
}

/// The number of prompt tokens in a pass in which another session generates, at least 1: fewer let its token come earlier, more end the
/// prompt earlier.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_options_set_prompt_share(
    options: *mut loquat_batch_options,
    tokens: u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe { settings::set(options, error, |options| options.prompt_share = tokens) }
}

/// Sets an option by name: "sessions", "columns", "prompt_share". LOQUAT_UNKNOWN_OPTION for another key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_options_set(
    options: *mut loquat_batch_options,
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
                "sessions" => options.sessions = settings::number(key, value)?,
                "columns" => options.columns = settings::number(key, value)?,
                "prompt_share" => options.prompt_share = settings::number(key, value)?,
                _ => return Err(settings::unknown("batch", key)),
            }
            Ok(())
        })
    }
}

/// Makes a batch for sessions of `model`, without sessions yet. `options` may be NULL for the defaults; they are not kept.
///
/// LOQUAT_OUT_OF_MEMORY; LOQUAT_INVALID_ARGUMENT for options out of range.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_new(
    model: *const loquat_model,
    options: *const loquat_batch_options,
    batch: *mut *mut loquat_batch,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::make(batch, "batch", || {
                let model = handle::shared(model)?;
                let options = handle::copy_or_default(options)?;
                let batch = Batch::new(&model, options)?;
                Ok((Members { batch, members: vec![], waiting: VecDeque::new(), texts: vec![] }, ()))
            })
        })
    }
}

/// Frees a batch, not its sessions: they go on alone where they are. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_batch_free(batch: *mut loquat_batch) {
    // SAFETY: as above.
    unsafe { handle::free(batch) }
}

/// Adds a session, between any two steps. `user_data` comes back with the session's events. The session stays the host's: to append to it,
/// to look at it, to step it alone, or to free it, which also takes it out of the batch. During a step of the batch it is BUSY.
///
/// For many sessions make each with a small loquat_session_options_set_batch: the scratch memory of its own steps is then small too.
///
/// LOQUAT_INVALID_ARGUMENT for a session of another model, one that keeps all logits, or one that is in the batch already.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_add(
    batch: *mut loquat_batch,
    session: *mut loquat_session,
    user_data: *mut c_void,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let mut batch = handle::exclusive(batch)?;
            batch.batch.check(&*handle::exclusive(session)?)?;
            let session = handle::kept(session)?;
            if batch.members.iter().any(|member| member.session.is(&session)) {
                return Err(Failure::argument("the session is in the batch already"));
            }
            batch.members.push(Member { session, user_data: user_data as usize });
            Ok(LOQUAT_OK)
        })
    }
}

/// Takes a session out of a batch, between any two steps. Its events that were not taken yet are dropped; the tokens are in the session.
///
/// LOQUAT_NOT_FOUND where it is not in it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_remove(
    batch: *mut loquat_batch,
    session: *mut loquat_session,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let batch = &mut *handle::exclusive(batch)?;
            let Some(index) = batch.members.iter().position(|member| member.session.pointer() == session) else {
                return Ok(LOQUAT_NOT_FOUND);
            };
            batch.members.remove(index);
            batch.waiting.retain(|waiting| waiting.event.session != session);
            Ok(LOQUAT_OK)
        })
    }
}

/// Works on the sessions of a batch for about `budget_ns` nanoseconds (0: one item of work, UINT64_MAX: until there is an event), and gives
/// out one event. Where a pass has brought several, the next calls give them out at once. The calling thread works; the threads of the
/// runtime help.
///
/// LOQUAT_OK: `event` says what happened in which session. LOQUAT_PENDING: the budget is used up, step again; or the only sessions that may have
/// something to do are in use by another thread, then at once, whatever the budget: step again later. LOQUAT_IDLE: no session
/// has anything to do; append something to one. Of a session whose turn is over, or that has failed, there is one event, and no other until
/// something is appended to it (appending nothing lets a failed one try again); it hurts no other session. One that was cancelled has its
/// event and then goes on; remove it to stop it. A session that is in use by another thread is left out of the step.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_batch_step(
    batch: *mut loquat_batch,
    budget_ns: u64,
    event: *mut loquat_batch_event,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(event, "event")?;
            let batch = &mut *handle::exclusive(batch)?;
            batch.forget_freed();
            if batch.waiting.is_empty() {
                match batch.run(budget_ns)? {
                    BatchStep::Events => {}
                    BatchStep::Pending => return Ok(LOQUAT_PENDING),
                    BatchStep::Idle => return Ok(LOQUAT_IDLE),
                }
            }
            let Some(Waiting { mut event, text, message }) = batch.waiting.pop_front() else { return Ok(LOQUAT_PENDING) };
            event.text = start(&batch.texts[text]);
            event.message = start(&batch.texts[message]);
            out.set(event);
            Ok(LOQUAT_OK)
        })
    }
}

/// The address of a text for C.
fn start(text: &[u8]) -> *const c_char {
    if text.is_empty() { c"".as_ptr() } else { text.as_ptr().cast() }
}

impl Members {
    /// Takes out the sessions that the host has freed, with their events.
    fn forget_freed(&mut self) {
        let Self { members, waiting, .. } = self;
        members.retain(|member| {
            let live = member.session.is_live();
            if !live {
                waiting.retain(|waiting| waiting.event.session != member.session.pointer());
            }
            live
        });
    }

    /// Steps all sessions that are not in use elsewhere, and queues the events.
    fn run(&mut self, budget_ns: u64) -> Result<BatchStep, Failure> {
        let Self { batch, members, waiting, texts } = self;
        texts.clear();
        let (mut taken, mut sessions, mut broken, mut any_busy) = (vec![], vec![], vec![], false);
        for member in &*members {
            match member.session.exclusive() {
                Ok(session) => {
                    taken.push(member);
                    sessions.push(session);
                }
                Err(failure) if failure.status == LOQUAT_BUSY => any_busy = true,
                Err(failure) if failure.status == LOQUAT_INVALID_HANDLE => {}
                Err(failure) => {
                    broken.push((member.session.pointer(), queued(member, failure.status, texts, b"", failure.message.as_bytes())))
                }
            }
        }
        let step = batch.step(&mut sessions, budget_ns)?;
        for event in batch.events() {
            let (member, session) = (taken[event.session], &sessions[event.session]);
            let (status, token, reason, message) = match &event.result {
                Ok(Step::Token { id }) => (LOQUAT_TOKEN, Some(*id), 0, ""),
                Ok(Step::Done { reason, token }) => (LOQUAT_DONE, *token, reason_number(*reason), ""),
                Ok(Step::Cancelled) => (LOQUAT_CANCELLED, None, 0, ""),
                Ok(Step::Pending) => (LOQUAT_PENDING, None, 0, ""),
                Err(error) => (of_kind(error.kind()), None, 0, error.message()),
            };
            let mut queued = queued(member, status, texts, session.text(), message.as_bytes());
            queued.event.token = token.unwrap_or(LOQUAT_NO_TOKEN);
            queued.event.reason = reason;
            queued.event.position = session.position() as u32;
            waiting.push_back(queued);
        }
        drop(sessions);
        let any_broken = !broken.is_empty();
        for (pointer, event) in broken {
            members.retain(|member| member.session.pointer() != pointer);
            waiting.push_back(event);
        }
        Ok(match step {
            _ if any_broken => BatchStep::Events,
            // What the ones in use have to do is not known here.
            BatchStep::Idle if any_busy => BatchStep::Pending,
            step => step,
        })
    }
}

/// An event of `member` with its texts put away.
fn queued(member: &Member, status: loquat_status, texts: &mut Vec<u8>, text: &[u8], message: &[u8]) -> Waiting {
    let mut put = |text: &[u8]| {
        let start = texts.len();
        texts.extend_from_slice(text);
        start..texts.len()
    };
    let (text, message) = (put(text), put(message));
    let event = loquat_batch_event {
        struct_size: 0,
        status,
        session: member.session.pointer(),
        user_data: member.user_data as *mut c_void,
        text: std::ptr::null(),
        text_length: text.len() as u64,
        message: std::ptr::null(),
        message_length: message.len() as u64,
        token: LOQUAT_NO_TOKEN,
        reason: 0,
        position: 0,
        reserved: 0,
    };
    Waiting { event, text, message }
}
