//! The clock of a measurement: monotonic, and standing still while the job that measures is not polled.
//!
//! A job may be polled in slices with anything in between, so that a plain clock would count the host's own doings to the engine. All times of
//! the suite come from here.

use std::time::{Duration, Instant};

use crate::base::pool::{Budget, Cursor, Outcome};
use crate::base::{Pace, Result};

use super::statistics::{Bootstrap, Interval, RESAMPLES};

/// Longest stretch between two looks at the cancel flag: a step of a session is given no more at once.
const SLICE: Duration = Duration::from_millis(20);

/// The clock and the pace of one measurement.
#[derive(Debug)]
pub struct Clock {
    pace: Pace,
    epoch: Instant,
    paused: Duration,
}

impl Clock {
    /// Begins at 0.
    pub fn new(pace: Pace) -> Self {
        Self { pace, epoch: Instant::now(), paused: Duration::ZERO }
    }

    /// Milliseconds since the beginning, without the pauses.
    pub fn now_ms(&self) -> f64 {
        (self.epoch.elapsed() - self.paused).as_secs_f64() * 1e3
    }

    /// The budget of a step that begins now, nanoseconds.
    pub fn slice_ns(&self) -> u64 {
        self.pace.budget_ns().min(SLICE.as_nanos() as u64)
    }

    /// Pauses here where the slice of the job is used up; the time until it goes on is not counted.
    pub async fn pause(&mut self) {
        let before = Instant::now();
        self.pace.spend(usize::MAX).await;
        self.paused += before.elapsed();
    }

    /// Runs work of the pool to its end, in slices with pauses; the milliseconds that it took.
    ///
    /// # Errors
    /// Those of `run`.
    pub async fn in_slices(&mut self, mut run: impl FnMut(&mut Cursor, Budget) -> Result<Outcome>) -> Result<f64> {
        let (mut cursor, begin) = (Cursor::default(), self.now_ms());
        loop {
            let end = Instant::now() + Duration::from_nanos(self.slice_ns());
            let outcome = run(&mut cursor, Budget::Until(end))?;
            let spent_ms = self.now_ms() - begin;
            self.pause().await;
            if outcome == Outcome::Finished {
                return Ok(spent_ms);
            }
        }
    }

    /// Does something that is not to be measured.
    pub fn aside<R>(&mut self, what: impl FnOnce() -> R) -> R {
        let before = Instant::now();
        let result = what();
        self.paused += before.elapsed();
        result
    }

    /// The progress of the measurement.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The interval that is printed, by a bootstrap run with pauses; `None` in, `None` out.
    pub async fn interval(&mut self, bootstrap: Option<Bootstrap>) -> Option<Interval> {
        self.interval_of(bootstrap, RESAMPLES).await
    }

    /// The same by fewer resamples.
    pub async fn interval_of(&mut self, bootstrap: Option<Bootstrap>, resamples: usize) -> Option<Interval> {
        let mut bootstrap = bootstrap?;
        for _ in 0..resamples {
            bootstrap.resample();
            self.pause().await;
        }
        bootstrap.interval()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Job, JobState, Stage};

    #[test]
    fn the_time_between_polls_does_not_count() {
        const STAGES: &[Stage] = &[Stage { name: c"waiting", share: 1.0 }];
        let mut job = Job::new(STAGES, |pace| async move {
            let mut clock = Clock::new(pace);
            let begin = clock.now_ms();
            clock.pause().await;
            Ok(clock.now_ms() - begin)
        });
        assert_eq!(job.poll(0).unwrap(), JobState::Running);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(job.poll(0).unwrap(), JobState::Finished);
        let counted = job.take().unwrap();
        assert!((0.0..50.0).contains(&counted), "{counted} ms");
    }
}
