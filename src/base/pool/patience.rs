//! Waiting for other threads, where it is short as a rule.

use std::time::{Duration, Instant};

/// Waiting that costs little: some spinning, then giving up the processor, at last sleeping, with the elapsed time for the caller to judge.
pub(super) struct Patience {
    rounds: u32,
    since: Instant,
}

/// Rounds of pure spinning (about 10 µs) before the processor is offered to others.
const SPIN_ROUNDS: u32 = 200;
/// Rounds (a millisecond or more) after which a waiting thread sleeps between its looks. The system offers the processor to threads of the same
/// priority only: without the sleep, a thread that the host has given a higher priority could keep those off that it waits for.
const SLEEP_ROUNDS: u32 = 4000;
const SLEEP: Duration = Duration::from_micros(50);
/// How long a worker waits, yielding, for work before it parks.
const PARK_AFTER: Duration = Duration::from_micros(60);

impl Patience {
    pub fn new() -> Self {
        Self { rounds: 0, since: Instant::now() }
    }

    pub fn wait(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds < SPIN_ROUNDS {
            std::hint::spin_loop();
        } else if self.rounds < SLEEP_ROUNDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(SLEEP);
        }
    }

    /// Whether it is time to park. Reads the clock only after the spinning.
    pub fn exhausted(&self) -> bool {
        self.rounds >= SPIN_ROUNDS && self.since.elapsed() >= PARK_AFTER
    }
}
