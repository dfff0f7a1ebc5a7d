//! The places of a run for threads of the host: a number for each thread that is in, so that no two share a slot of scratch memory, and a
//! door that is shut before the next run.
//!
//! The host decides when its threads come, and some come late. Whoever comes while no run is in progress, or when all places are given
//! out, is turned away.

use std::sync::atomic::{AtomicU64, Ordering};

use super::patience::Patience;

// One word: seats (16 bits) | given out (16 bits) | threads that are in (16 bits) | OPEN.
const OPEN: u64 = 1;
const IN: u64 = 1 << 1;
const GIVEN: u64 = 1 << 17;
const SEATS: u64 = 1 << 33;

fn field(word: u64, unit: u64) -> usize {
    (word / unit) as usize & 0xffff
}

pub(super) struct Seats(AtomicU64);

impl Seats {
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Opens the door for `seats` threads.
    pub fn open(&self, seats: usize) {
        self.0.store((seats as u64 * SEATS) | OPEN, Ordering::Release);
    }

    /// A place, if there is one.
    pub fn take(&self) -> Option<Seat<'_>> {
        let entered = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            (word & OPEN != 0 && field(word, GIVEN) < field(word, SEATS)).then(|| word + GIVEN + IN)
        });
        entered.ok().map(|word| Seat { seats: self, number: field(word, GIVEN), of: field(word, SEATS) })
    }

    /// Shuts the door and waits until nobody is in.
    pub fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::AcqRel);
        let mut patience = Patience::new();
        while field(self.0.load(Ordering::Acquire), IN) > 0 {
            patience.wait();
        }
    }
}

/// A place, until it is dropped.
pub(super) struct Seat<'a> {
    seats: &'a Seats,
    number: usize,
    of: usize,
}

impl Seat<'_> {
    /// Its number, below the number of all.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many there are.
    pub fn of(&self) -> usize {
        self.of
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.seats.0.fetch_sub(IN, Ordering::AcqRel);
    }
}
