//! The same lock and condition out of atomics alone, for builds that ThreadSanitizer watches (`--cfg loquat_watched`): the standard library
//! is not built for it, so that it does not see the order that the standard lock makes. Slow; for no other use.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Mutual exclusion around a value.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives the value to one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// An open lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        while self.locked.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        MutexGuard(self)
    }

    /// The value, when nobody else can have the lock.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

/// A lock that is held.
pub struct MutexGuard<'a, T>(&'a Mutex<T>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::Release);
    }
}

/// What threads that hold a [`Mutex`] wait for. Counts the notifications; all wake all.
#[derive(Debug, Default)]
pub struct Condvar(AtomicU64);

impl Condvar {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Opens the lock, waits for a notification, and takes the lock again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_for(guard, Duration::MAX)
    }

    /// As [`wait`](Self::wait), for `time` at most.
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, time: Duration) -> MutexGuard<'a, T> {
        let (mutex, before, begin) = (guard.0, self.0.load(Ordering::Acquire), Instant::now());
        drop(guard);
        // Looks less and less often, so that many that wait for long leave the processor to the others.
        let mut pause = Duration::from_micros(20);
        while self.0.load(Ordering::Acquire) == before && begin.elapsed() < time {
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(1));
        }
        mutex.lock()
    }

    /// Wakes all that wait.
    pub fn notify_one(&self) {
        self.notify_all();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
