//! Stream
//!
//! A turn of a session that runs by itself: the library steps, on a thread of its own, and the host takes the events out of a queue when
//! it suits it. No code of the host runs in between but a function that may signal.

use std::borrow::{Borrow, BorrowMut};
use std::ffi::{c_char, c_void};

use crate::session::{Background, CancelHandle, Happening, Session};

use super::buffer::VersionedOut;
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Held, Opaque};
use super::model::LOQUAT_NO_TOKEN;
use super::session::{loquat_event, loquat_session, reason_number};
use super::status::{LOQUAT_CANCELLED, LOQUAT_DONE, LOQUAT_OK, LOQUAT_PENDING, LOQUAT_TOKEN, loquat_status};

/// A turn in progress in the background.
pub struct loquat_stream {
    _opaque: (),
}

/// The session of a stream, which nobody else may use meanwhile.
pub(super) struct Taken(Held<loquat_session>);

impl Borrow<Session> for Taken {
    fn borrow(&self) -> &Session {
        self.0.value()
    }
}

impl BorrowMut<Session> for Taken {
    fn borrow_mut(&mut self) -> &mut Session {
        self.0.value_mut()
    }
}

impl Opaque for loquat_stream {
    type Value = Background<Taken>;
    type Side = CancelHandle;
    const TAG: u32 = u32::from_be_bytes(*b"LqSt");
    const NAME: &'static str = "stream";
}

/// Tells the host that an event is in the queue. It is called on the stream's thread, after every event, and holds that thread up: it should do
/// no more than signal (set a flag, post a semaphore, write to a pipe). It must not call the library.
pub type loquat_wake_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A host's wake function with its data.
struct Wake {
    wake: loquat_wake_fn,
    user_data: *mut c_void,
}

// SAFETY: the header says on which thread the function is called.
unsafe impl Send for Wake {}

impl Wake {
    fn call(&self) {
        if let Some(wake) = self.wake {
            // SAFETY: the host gave the function for these calls, with this data, which lives until the stream is freed.
            unsafe { wake(self.user_data) }
        }
    }
}

fn started(session: Taken, events: u32, wake: Wake) -> Result<Background<Taken>, Failure> {
    let start = move || Ok(Background::start(session, events as usize, move || wake.call())?);
    #[cfg(unix)]
    return super::own_thread::run(start);
    #[cfg(not(unix))]
    start()
}

/// Lets the turn of a session, begun by appending to it, run in the background, with room for `events` events (1 to 65536) that the host
/// has not popped yet. Where the queue is full, the session waits: nothing is dropped. `wake` may be NULL. The queue's memory is counted in the runtime's
/// limit (other).
///
/// The library starts one thread for the stream, which ends with the turn and is joined by loquat_stream_free. It counts as the thread that steps: the
/// threads of the runtime help it.
///
/// Until the stream is freed the session is in use: calls that take it return LOQUAT_BUSY, except those "at any time" (loquat_session_cancel,
/// metrics). It may be freed meanwhile; it then goes with the stream. Lent: `user_data` must live until the stream is freed.
///
/// LOQUAT_IO where the system gives no thread. The session is unchanged where the call fails.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_stream_start(
    session: *mut loquat_session,
    events: u32,
    wake: loquat_wake_fn,
    user_data: *mut c_void,
    stream: *mut *mut loquat_stream,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            handle::make(stream, "stream", || {
                let session = Taken(handle::hold(session)?);
                let background = started(session, events, Wake { wake, user_data })?;
                let cancel = background.cancel_handle();
                Ok((background, cancel))
            })
        })
    }
}

/// Takes the next event out of the queue. Where it is empty, waits for `wait_ns` nanoseconds at most: 0 does not wait, UINT64_MAX waits as long as
/// it takes. `event->text` lives until the next call that takes the stream as `loquat_stream *`.
///
/// LOQUAT_TOKEN: a token was generated. LOQUAT_PENDING: there is no event yet; `event` has the position and the progress of the prompt. LOQUAT_DONE:
/// the turn is over, `event->reason` says why. LOQUAT_CANCELLED: loquat_stream_cancel or loquat_session_cancel was called. An error: a step
/// failed, with the statuses of loquat_session_step. The last three are the end of the stream, and come again where it is popped further.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_stream_pop(
    stream: *mut loquat_stream,
    wait_ns: u64,
    event: *mut loquat_event,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(event, "event")?;
            let mut stream = handle::exclusive(stream)?;
            let popped = stream.pop(wait_ns).is_some();
            let (position, progress) = if popped { (stream.event().position, stream.event().progress) } else { stream.progress() };
            let (status, token, reason, text): (_, _, _, &[u8]) = match (popped, stream.event()) {
                (false, _) => (LOQUAT_PENDING, None, 0, &[]),
                (true, event) => match &event.what {
                    Happening::Token { id } => (LOQUAT_TOKEN, Some(*id), 0, &event.text),
                    Happening::Done { reason, token } => (LOQUAT_DONE, *token, reason_number(*reason), &event.text),
                    Happening::Cancelled => (LOQUAT_CANCELLED, None, 0, &event.text),
                    Happening::Failed(error) => return Err(error.clone().into()),
                },
            };
            out.set(loquat_event {
                struct_size: 0,
                token: token.unwrap_or(LOQUAT_NO_TOKEN),
                text: if text.is_empty() { c"".as_ptr() } else { text.as_ptr().cast::<c_char>() },
                text_length: text.len() as u64,
                reason,
                position,
                progress,
                reserved: 0,
            });
            Ok(status)
        })
    }
}

/// Has the turn stopped within one item of work. The events that are in the queue, then LOQUAT_CANCELLED, can still be popped. At any time, from any
/// thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_stream_cancel(stream: *const loquat_stream, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::side(stream)?.cancel();
            Ok(LOQUAT_OK)
        })
    }
}

/// Stops the turn where it is, within one item of work, ends the thread and waits for that, and gives the session back: it may be stepped on, or
/// appended to. Events that were not popped are gone; their tokens are in the context. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_stream_free(stream: *mut loquat_stream) {
    // SAFETY: as above.
    unsafe { handle::free(stream) }
}
