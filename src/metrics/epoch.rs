//! Cells with one writer and many readers, by double-buffered epochs: the writer never waits, a reader never sees half a record.
//!
//! ```text
//! writer   ticket += 1 → which side is hot │ change the hot side's cells │ done(hot) += 1
//! reader   flip the hot side │ wait for done(cold) = tickets drawn on it │ move the cold cells into the total │ clear them
//! ```
//! A ticket is one atomic addition that draws a number and reads the hot side together, so each record belongs to exactly one
//! side, and after the flip the cold side is complete as soon as the record in hand (a few nanoseconds) is finished. All figures
//! of one record enter the total together, and clearing the total (a reset) neither loses nor doubles a record.
//!
//! The writer's updates of its cells are plain loads and stores, for it is alone: [`Recorder`] is not `Clone` and records through
//! `&mut self`. Readers exclude each other by a lock that the writer never touches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::sync::Mutex;

/// What a writer adds to. All fields are atomics, written by one thread at a time.
pub(super) trait Cells: Default {
    /// The sum of what was drained, in plain numbers.
    type Total: Default;

    /// Adds the cells to `total` and clears them. No writer is at these cells meanwhile.
    fn drain(&self, total: &mut Self::Total);
}

/// Adds to a cell that has one writer: no read-modify-write needed.
pub(super) fn add(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).saturating_add(by), Ordering::Relaxed);
}

/// Empties a cell and returns what was in it; for the reader, when no writer is at it.
pub(super) fn take(cell: &AtomicU64) -> u64 {
    let value = cell.load(Ordering::Relaxed);
    cell.store(0, Ordering::Relaxed);
    value
}

/// The top bit of the ticket counter: which side is hot. The other 63 bits count records (292 years at one per nanosecond).
const HOT: u64 = 1 << 63;

#[repr(align(64))]
#[derive(Default)]
struct Side<C> {
    /// Records finished on this side since it was last cleared.
    done: AtomicU64,
    cells: C,
}

#[repr(align(64))]
struct Shared<C: Cells> {
    ticket: AtomicU64,
    sides: [Side<C>; 2],
    collected: Mutex<Collected<C::Total>>,
}

struct Collected<T> {
    /// Tickets drawn when the sides were last flipped.
    tickets: u64,
    total: T,
}

/// The writing end. One per set of cells.
pub(super) struct Recorder<C: Cells> {
    shared: Arc<Shared<C>>,
}

/// The reading end.
pub(super) struct Reader<C: Cells> {
    shared: Arc<Shared<C>>,
}

impl<C: Cells> Clone for Reader<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// Marks the record as finished, also when the change panicked: a reader must not wait for ever.
struct Finish<'a>(&'a AtomicU64);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        // Release: whoever reads this count (with Acquire) sees the cells as they were left.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

impl<C: Cells> Recorder<C> {
    /// Cells of zero.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                ticket: AtomicU64::new(0),
                sides: Default::default(),
                collected: Mutex::new(Collected { tickets: 0, total: C::Total::default() }),
            }),
        }
    }

    /// Applies one record. Wait-free; `change` adds to the cells with relaxed loads and stores ([`add`]).
    pub fn update(&mut self, change: impl FnOnce(&C)) {
        // Acquire: the flip that made this side hot published its cleared cells; the additions to the ticket since then
        // continue that release sequence.
        let ticket = self.shared.ticket.fetch_add(1, Ordering::Acquire);
        let side = &self.shared.sides[usize::from(ticket & HOT != 0)];
        let finish = Finish(&side.done);
        change(&side.cells);
        drop(finish);
    }

    /// A reading end of these cells.
    pub fn reader(&self) -> Reader<C> {
        Reader { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Cells> Reader<C> {
    /// Gathers every finished record into the total and hands it to `look`, which may also clear it. Waits for the record in hand,
    /// if the writer is just in the middle of one, and for other readers.
    pub fn collect<R>(&self, look: impl FnOnce(&mut C::Total) -> R) -> R {
        let mut collected = self.shared.collected.lock();
        // Release: the side that becomes hot was cleared by an earlier collect. Acquire: see its successor's effects in order.
        let before = self.shared.ticket.fetch_xor(HOT, Ordering::AcqRel);
        let (started, cold) = (before & !HOT, &self.shared.sides[usize::from(before & HOT != 0)]);
        let expected = started - collected.tickets;
        let mut spins = 0u32;
        while cold.done.load(Ordering::Acquire) != expected {
            spins += 1;
            if spins < 128 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        cold.cells.drain(&mut collected.total);
        cold.done.store(0, Ordering::Relaxed);
        collected.tickets = started;
        look(&mut collected.total)
    }

    /// Whether both ends belong to the same cells.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two cells that every record must move together.
    #[derive(Default)]
    struct Pair(AtomicU64, AtomicU64);

    impl Cells for Pair {
        type Total = (u64, u64);

        fn drain(&self, total: &mut (u64, u64)) {
            total.0 += take(&self.0);
            total.1 += take(&self.1);
        }
    }

    fn record(recorder: &mut Recorder<Pair>, value: u64) {
        recorder.update(|cells| {
            add(&cells.0, value);
            add(&cells.1, 3 * value);
        });
    }

    #[test]
    fn readers_see_whole_records_and_lose_none() {
        const RECORDS: u64 = 200_000;
        let mut recorder = Recorder::<Pair>::new();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = recorder.reader();
                std::thread::spawn(move || {
                    let mut last = 0;
                    while last < RECORDS {
                        let (one, three) = reader.collect(|total| *total);
                        assert_eq!(three, 3 * one, "a record was seen in half");
                        assert!(one >= last, "a total went backwards");
                        last = one;
                    }
                })
            })
            .collect();
        for _ in 0..RECORDS {
            record(&mut recorder, 1);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(recorder.reader().collect(|total| *total), (RECORDS, 3 * RECORDS));
    }

    #[test]
    fn each_record_falls_into_one_epoch() {
        const RECORDS: u64 = 200_000;
        let mut recorder = Recorder::<Pair>::new();
        let reader = recorder.reader();
        let resetter = std::thread::spawn(move || {
            let mut seen = (0, 0);
            while seen.0 < RECORDS {
                let (one, three) = reader.collect(std::mem::take);
                seen = (seen.0 + one, seen.1 + three);
            }
            seen
        });
        for _ in 0..RECORDS {
            record(&mut recorder, 1);
        }
        assert_eq!(resetter.join().unwrap(), (RECORDS, 3 * RECORDS));
    }

    #[test]
    fn a_panicking_change_does_not_hold_up_readers() {
        let mut recorder = Recorder::<Pair>::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| recorder.update(|_| panic!("on purpose"))));
        assert!(panicked.is_err());
        record(&mut recorder, 5);
        assert_eq!(recorder.reader().collect(|total| *total), (5, 15));
    }
}
