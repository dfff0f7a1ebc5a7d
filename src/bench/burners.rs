//! Threads that do nothing but use up processors, as the rest of a busy host would.
//!
//! They are started when a measurement is made and joined when it is dropped; until they are lit they sleep.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::base::sync::{Condvar, Mutex};
use crate::base::{Error, Result};

/// Additions between two looks at whether to go on: some microseconds.
const ROUND: u64 = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Sleep,
    Burn,
    End,
}

struct Shared {
    order: Mutex<Order>,
    changed: Condvar,
    burning: AtomicBool,
    /// Additions of all threads together.
    #[cfg(test)]
    burnt: AtomicU64,
}

impl Shared {
    fn give(&self, order: Order) {
        self.burning.store(order == Order::Burn, Ordering::Relaxed);
        *self.order.lock() = order;
        self.changed.notify_all();
    }

    fn burn(&self) {
        let mut sum = 0u64;
        while self.burning.load(Ordering::Relaxed) {
            for number in 0..ROUND {
                sum = black_box(sum.wrapping_add(number));
            }
            #[cfg(test)]
            self.burnt.fetch_add(ROUND, Ordering::Relaxed);
            spin_loop();
        }
    }

    fn run(&self) {
        loop {
            let mut order = self.order.lock();
            while *order == Order::Sleep {
                order = self.changed.wait(order);
            }
            if *order == Order::End {
                return;
            }
            drop(order);
            self.burn();
        }
    }
}

/// The threads.
pub(super) struct Burners {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Burners {
    /// Starts `count` sleeping threads.
    ///
    /// # Errors
    /// `Io` where the system refuses one.
    pub fn start(count: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            order: Mutex::new(Order::Sleep),
            changed: Condvar::new(),
            burning: AtomicBool::new(false),
            #[cfg(test)]
            burnt: AtomicU64::new(0),
        });
        let mut burners = Self { shared, threads: vec![] };
        for number in 0..count {
            let shared = Arc::clone(&burners.shared);
            let thread = std::thread::Builder::new()
                .name(format!("loquat-burn-{number}"))
                .spawn(move || shared.run())
                .map_err(|error| Error::io("start a thread that burns", &error))?;
            burners.threads.push(thread);
        }
        Ok(burners)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Lets them burn while the result lives.
    pub fn lit(&self) -> Lit<'_> {
        self.shared.give(Order::Burn);
        Lit(self)
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.shared.give(Order::End);
        for thread in self.threads.drain(..) {
            // A thread that only adds does not panic.
            let _ = thread.join();
        }
    }
}

/// Burning threads; dropping it puts them to sleep.
pub(super) struct Lit<'a>(&'a Burners);

impl Drop for Lit<'_> {
    fn drop(&mut self) {
        self.0.shared.give(Order::Sleep);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn they_sleep_burn_and_end() {
        let burners = Burners::start(2).unwrap();
        assert_eq!((burners.count(), *burners.shared.order.lock()), (2, Order::Sleep));
        let burnt = || burners.shared.burnt.load(Ordering::Relaxed);
        for _ in 0..3 {
            let before = burnt();
            let lit = burners.lit();
            while burnt() == before {
                std::thread::yield_now();
            }
            drop(lit);
            // Rounds that were begun may still be counted; then they sleep.
            while {
                let seen = burnt();
                std::thread::sleep(Duration::from_millis(20));
                burnt() != seen
            } {}
        }
        let _lit = burners.lit();
        assert_eq!(burners.count(), 2);
    }
}
