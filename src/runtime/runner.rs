//! A long run as a part of a job: in slices that fit what the job's polls may take.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::Runtime;
use crate::base::pool::{Budget, Cursor, Lane, Outcome, Sequence};
use crate::base::{Pace, Result};

/// Runs sequences in the slices of a job.
pub(crate) struct Runner {
    runtime: Runtime,
    lane: Lane,
    cursor: Cursor,
}

impl Runner {
    /// On the threads of `runtime`, at most `threads` of them; 0 for all.
    pub(crate) fn new(runtime: &Runtime, threads: usize) -> Self {
        let lane = Lane::new(Arc::new(AtomicBool::new(false))).with_threads(threads);
        Self { runtime: runtime.clone(), lane, cursor: Cursor::default() }
    }

    /// Goes on with `sequence` for the rest of the slice, `most` at the longest.
    ///
    /// # Errors
    /// Those of the pool.
    pub(crate) fn run(&mut self, sequence: &dyn Sequence, pace: &Pace, most: Duration) -> Result<Outcome> {
        let budget = match pace.budget_ns() {
            0 => Budget::OneItem,
            ns => Budget::Until(Instant::now() + most.min(Duration::from_nanos(ns))),
        };
        self.runtime.pool().run(&mut self.lane, sequence, &mut self.cursor, budget)
    }
}
