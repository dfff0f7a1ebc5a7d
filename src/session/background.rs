//! A turn that runs by itself: a thread steps the session, the host takes events out of a bounded queue when it likes.
//!
//! One thread for each session in the background, from start to stop, not one that drives all sessions of a runtime: it takes the place that a
//! calling thread has in a step (the runtime's workers help it as they help any caller), a full queue parks it without holding up another
//! session, and stopping is joining it, so that nothing outlives the handle. It is asleep whenever its session has nothing to do. To run
//! many sessions through one pass over the weights is another thing and not this file's.
//!
//! Nothing is dropped: where the queue is full, the session waits for room. The thread ends with the turn.

#![forbid(unsafe_code)]

use std::borrow::BorrowMut;
use std::collections::TryReserveError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::sync::{Condvar, Mutex};
use crate::base::{Error, MemoryCategory, Reservation, Result};

use super::{CancelHandle, DoneReason, Session, Step};

/// Most events that a queue may hold.
const MAX_EVENTS: usize = 1 << 16;
/// Room for the text of an event, in bytes; longer ones make it larger.
const TEXT: usize = 128;
/// How often the progress of a long prompt is looked at, in nanoseconds.
const SLICE: u64 = 20_000_000;

/// What happened in the background.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A token.
    Token {
        /// Its id.
        id: u32,
    },
    /// The turn is over. The last event.
    Done {
        /// Why.
        reason: DoneReason,
        /// The end-of-generation token, where that was the reason.
        token: Option<u32>,
    },
    /// The session was cancelled and is valid. The last event.
    Cancelled,
    /// A step failed. The last event.
    Failed(Error),
}

impl Happening {
    fn is_last(&self) -> bool {
        !matches!(self, Self::Token { .. })
    }
}

/// An event of a session in the background.
#[derive(Debug, Clone, PartialEq)]
pub struct BackgroundEvent {
    /// What happened.
    pub what: Happening,
    /// What it adds to the text: whole UTF-8 characters, perhaps none.
    pub text: Vec<u8>,
    /// Tokens whose keys and values are computed.
    pub position: u32,
    /// The share of the appended tokens that is computed, 0 to 1.
    pub progress: f32,
}

impl BackgroundEvent {
    /// A place for an event, with room for its text.
    fn empty() -> std::result::Result<Self, TryReserveError> {
        let mut text = Vec::new();
        text.try_reserve_exact(TEXT)?;
        Ok(Self { what: Happening::Cancelled, text, position: 0, progress: 0.0 })
    }
}

/// Events in order, in places that are made once.
struct Ring {
    slots: Vec<BackgroundEvent>,
    head: usize,
    len: usize,
}

struct Shared {
    ring: Mutex<Ring>,
    /// Somebody waits for room in the ring, or for an event in it.
    room: Condvar,
    news: Condvar,
    stop: AtomicBool,
    position: AtomicU32,
    /// An f32.
    progress: AtomicU32,
}

/// A session whose turn runs on a thread of its own. `S` is the session, or what holds it. Dropping it stops the thread and waits for
/// its end. One thread at a time.
pub struct Background<S: BorrowMut<Session> + Send + 'static> {
    shared: Arc<Shared>,
    cancel: CancelHandle,
    thread: Option<JoinHandle<S>>,
    /// The event that was popped last.
    current: BackgroundEvent,
    ended: bool,
    _reservation: Reservation,
}

impl<S: BorrowMut<Session> + Send + 'static> Background<S> {
    /// Lets the turn of `session` run, with room for `events` events in the queue. `wake` is called on the session's thread after each
    /// event that was put there; it may tell another thread to pop, and has to be quick, because the session waits for it.
    ///
    /// # Errors
    /// `InvalidArgument` for an impossible number of events, `OutOfMemory`, `Io` where the system gives no thread; the session is dropped
    /// then.
    pub fn start(session: S, events: usize, wake: impl Fn() + Send + 'static) -> Result<Self> {
        if !(1..=MAX_EVENTS).contains(&events) {
            return Err(Error::invalid_argument(format!("a queue of {events} events: expected 1 to {MAX_EVENTS}")));
        }
        let no_memory = |_| Error::out_of_memory(format!("no memory for {events} events"));
        let bytes = events * (size_of::<BackgroundEvent>() + TEXT);
        let reservation = session.borrow().model().runtime().budget().reserve(MemoryCategory::Other, bytes as u64)?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(events).map_err(no_memory)?;
        for _ in 0..events {
            slots.push(BackgroundEvent::empty().map_err(no_memory)?);
        }
        let shared = Arc::new(Shared {
            ring: Mutex::new(Ring { slots, head: 0, len: 0 }),
            room: Condvar::new(),
            news: Condvar::new(),
            stop: AtomicBool::new(false),
            position: AtomicU32::new(session.borrow().position() as u32),
            progress: AtomicU32::new(session.borrow().progress().to_bits()),
        });
        let current = BackgroundEvent::empty().map_err(no_memory)?;
        let cancel = session.borrow().cancel_handle();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("loquat-session".to_owned())
            .spawn(move || run(session, &theirs, &wake))
            .map_err(|error| Error::io("start a thread for a session", &error))?;
        Ok(Self { shared, cancel, thread: Some(thread), current, ended: false, _reservation: reservation })
    }

    /// The next event, which lives until the next call; `None` where there is none after `wait_ns` nanoseconds (0: look only; `u64::MAX`: wait as
    /// long as it takes). When the last event has been popped, it comes again each time, without text.
    pub fn pop(&mut self, wait_ns: u64) -> Option<&BackgroundEvent> {
        if self.ended {
            self.current.text.clear();
            return Some(&self.current);
        }
        let until = if wait_ns == u64::MAX { None } else { Instant::now().checked_add(Duration::from_nanos(wait_ns)) };
        let mut ring = self.shared.ring.lock();
        while ring.len == 0 {
            ring = match until {
                None => self.shared.news.wait(ring),
                Some(until) => match until.saturating_duration_since(Instant::now()) {
                    Duration::ZERO => return None,
                    left => self.shared.news.wait_for(ring, left),
                },
            };
        }
        let head = ring.head;
        std::mem::swap(&mut ring.slots[head], &mut self.current);
        ring.head = (head + 1) % ring.slots.len();
        ring.len -= 1;
        self.shared.room.notify_all();
        drop(ring);
        self.ended = self.current.what.is_last();
        Some(&self.current)
    }

    /// How far the session has come now: as position and progress of an event.
    pub fn progress(&self) -> (u32, f32) {
        self.shared.progress()
    }

    /// The event that was popped last.
    pub fn event(&self) -> &BackgroundEvent {
        &self.current
    }

    /// Ends the turn in the background: the events that are there and [`Happening::Cancelled`] can still be popped.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Stops the thread at its next work item, waits for its end and gives the session back. It may be stepped on from there. Events that were
    /// not popped are gone; their tokens are part of the conversation.
    ///
    /// # Errors
    /// `Internal` where the session panicked: what was left of it is dropped.
    pub fn stop(mut self) -> Result<S> {
        self.join().ok_or_else(panicked)
    }

    fn join(&mut self) -> Option<S> {
        let thread = self.thread.take()?;
        self.shared.stop.store(true, Ordering::Release);
        self.cancel.cancel();
        // Under the lock, so that the thread is not between its look at `stop` and its sleep.
        drop(self.shared.ring.lock());
        self.shared.room.notify_all();
        let session = thread.join().ok();
        // The request may have come too late for any step to see.
        self.cancel.withdraw();
        session
    }
}

impl<S: BorrowMut<Session> + Send + 'static> Drop for Background<S> {
    fn drop(&mut self) {
        drop(self.join());
    }
}

/// Steps `session` to the end of its turn.
fn run<S: BorrowMut<Session>>(mut session: S, shared: &Shared, wake: &dyn Fn()) -> S {
    let _obituary = Obituary { shared, wake };
    while !shared.stop.load(Ordering::Acquire) {
        let what = match session.borrow_mut().step(SLICE) {
            Ok(Step::Pending) => None,
            Ok(Step::Token { id }) => Some(Happening::Token { id }),
            Ok(Step::Done { reason, token }) => Some(Happening::Done { reason, token }),
            Ok(Step::Cancelled) => Some(Happening::Cancelled),
            Err(error) => Some(Happening::Failed(error)),
        };
        let session: &Session = session.borrow();
        shared.position.store(session.position() as u32, Ordering::Relaxed);
        shared.progress.store(session.progress().to_bits(), Ordering::Relaxed);
        if let Some(what) = what {
            let last = what.is_last();
            shared.put(what, session.text());
            wake();
            if last {
                break;
            }
        }
    }
    session
}

fn panicked() -> Error {
    Error::internal("the session panicked in the background")
}

/// Tells of a panic of the thread, which nobody else would: the host waits for events.
struct Obituary<'a> {
    shared: &'a Shared,
    wake: &'a dyn Fn(),
}

impl Drop for Obituary<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.put(Happening::Failed(panicked()), &[]);
            (self.wake)();
        }
    }
}

impl Shared {
    fn progress(&self) -> (u32, f32) {
        (self.position.load(Ordering::Relaxed), f32::from_bits(self.progress.load(Ordering::Relaxed)))
    }

    /// Puts an event behind the others, when there is room.
    fn put(&self, what: Happening, text: &[u8]) {
        let mut ring = self.ring.lock();
        while ring.len == ring.slots.len() {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            ring = self.room.wait(ring);
        }
        let at = (ring.head + ring.len) % ring.slots.len();
        let slot = &mut ring.slots[at];
        slot.text.clear();
        slot.text.extend_from_slice(text);
        (slot.position, slot.progress) = self.progress();
        slot.what = what;
        ring.len += 1;
        self.news.notify_all();
    }
}
