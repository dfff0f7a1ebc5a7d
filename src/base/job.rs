//! A job: long work that its owner drives in slices, watches, and may give up.
//!
//! No thread is started: the thread that polls does the work. What a job can be made of is any future whose pauses are those of a
//! [`Pace`]; loading a model is the first, and work that uses the runtime's threads within a slice (quantising, measuring) fits as
//! well, since a slice may itself hand the time that is left on ([`Pace::budget_ns`]).
//!
//! Work that is given up ends at once; large memory that it had written is left with the job, which gives it back in the polls that follow, or
//! with its own end.

#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::memory::Remains;
use super::pace::{Pace, Stage, poll_once};

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// There is work left.
    Running,
    /// The result is there.
    Finished,
    /// The work was given up because [`JobWatch::cancel`] was called.
    Cancelled,
    /// The work was given up because the deadline passed.
    Expired,
}

enum Inside<T> {
    Working(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
    Finished(T),
    Taken,
    Failed(Error),
    GivenUp(JobState),
}

/// Long work with a result. Its owner polls it; [`JobWatch`] is for everybody else. Dropping it gives the work up.
pub struct Job<T> {
    inside: Inside<T>,
    pace: Pace,
    /// What the work has left; gone once there is a result, whose memory is its own. After `inside`, which leaves something where it is dropped.
    remains: Option<Arc<Remains>>,
}

/// Watches a job and may end it. Cheap to clone; any thread, at any time, also after the job is gone.
#[derive(Debug, Clone)]
pub struct JobWatch(Pace);

impl JobWatch {
    /// Asks the job to give up. Takes effect within the poll in progress, or at the next one.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Has the job give up where it has not ended in `ns` nanoseconds from now; `u64::MAX` takes such a limit back.
    pub fn set_deadline(&self, ns: u64) {
        self.0.set_deadline(ns);
    }

    /// The share of the work that is done, from 0 to 1, and the name of the stage in hand.
    pub fn progress(&self) -> (f32, &'static CStr) {
        self.0.progress()
    }

    /// The stages in their order, each with the time that polls have spent in it so far, in nanoseconds.
    pub fn stage_times(&self) -> impl Iterator<Item = (&'static CStr, u64)> + '_ {
        self.0.stage_times()
    }
}

impl<T> Job<T> {
    /// A job of the work that `begin` makes, in these stages. Nothing is done yet.
    pub fn new<F: Future<Output = Result<T>> + Send + 'static>(stages: &'static [Stage], begin: impl FnOnce(Pace) -> F) -> Self {
        let remains = Arc::new(Remains::default());
        let pace = Pace::with_remains(stages, Arc::downgrade(&remains));
        Self { inside: Inside::Working(Box::pin(begin(pace.clone()))), pace, remains: Some(remains) }
    }

    /// The same job with its result turned into another one, for owners that keep jobs of several kinds together.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U + Send + 'static) -> Job<U>
    where
        T: 'static,
    {
        let inside = match self.inside {
            Inside::Working(work) => Inside::Working(Box::pin(async move { work.await.map(turn) })),
            Inside::Finished(result) => Inside::Finished(turn(result)),
            Inside::Taken => Inside::Taken,
            Inside::Failed(error) => Inside::Failed(error),
            Inside::GivenUp(state) => Inside::GivenUp(state),
        };
        Job { inside, pace: self.pace, remains: self.remains }
    }

    /// Works for about `budget_ns` nanoseconds on the calling thread: 0 does one piece, `u64::MAX` goes on to the end. Where the job
    /// has ended, this says again how, and uses the time to give back what [`held_bytes`](Self::held_bytes) counts.
    ///
    /// # Errors
    /// What the work failed with.
    pub fn poll(&mut self, budget_ns: u64) -> Result<JobState> {
        if let Some(state) = self.given_up() {
            self.inside = Inside::GivenUp(state);
        } else if matches!(self.inside, Inside::Working(_)) {
            self.work(budget_ns);
        } else {
            self.give_back(budget_ns);
        }
        match &self.inside {
            Inside::Working(_) => Ok(JobState::Running),
            Inside::Finished(_) | Inside::Taken => Ok(JobState::Finished),
            Inside::Failed(error) => Err(error.clone()),
            Inside::GivenUp(state) => Ok(*state),
        }
    }

    /// Goes on with the work in hand. Where it panics, it is gone and the job has failed.
    fn work(&mut self, budget_ns: u64) {
        let failed = Inside::Failed(Error::internal("the work of the job panicked"));
        let Inside::Working(mut work) = std::mem::replace(&mut self.inside, failed) else { return };
        self.pace.begin_slice(budget_ns);
        let polled = poll_once(work.as_mut());
        self.pace.end_slice();
        self.inside = match polled {
            Poll::Ready(Ok(result)) => Inside::Finished(result),
            Poll::Ready(Err(error)) => Inside::Failed(error),
            Poll::Pending => Inside::Working(work),
        };
        match self.given_up() {
            Some(state) => self.inside = Inside::GivenUp(state),
            None if matches!(self.inside, Inside::Finished(_)) => self.remains = None,
            None => {}
        }
    }

    /// Gives back what the work has left, for so long.
    fn give_back(&self, budget_ns: u64) {
        let end = Instant::now().checked_add(Duration::from_nanos(budget_ns));
        let Some(remains) = &self.remains else { return };
        while remains.give_back() && end.is_none_or(|end| Instant::now() < end) {}
    }

    /// Bytes of private memory that a job which was given up or has failed has yet to give back: polls do that, or the drop at once.
    pub fn held_bytes(&self) -> u64 {
        self.remains.as_ref().map_or(0, |remains| remains.bytes())
    }

    /// The result.
    ///
    /// # Errors
    /// `InvalidArgument` where it is not there: the job has not finished, or the result was taken before.
    pub fn take(&mut self) -> Result<T> {
        match std::mem::replace(&mut self.inside, Inside::Taken) {
            Inside::Finished(result) => Ok(result),
            Inside::Taken => Err(Error::invalid_argument("the result of the job was taken before")),
            other => {
                self.inside = other;
                Err(Error::invalid_argument("the job has no result: it has not finished"))
            }
        }
    }

    /// Does what is left of the work and gives the result.
    ///
    /// # Errors
    /// What the work failed with; `InvalidArgument` where it was given up or its result was taken before.
    pub fn finish(mut self) -> Result<T> {
        while self.poll(u64::MAX)? == JobState::Running {}
        self.take()
    }

    /// A watch on the job.
    pub fn watch(&self) -> JobWatch {
        JobWatch(self.pace.clone())
    }

    /// Why work in progress is to be given up.
    fn given_up(&self) -> Option<JobState> {
        match self.inside {
            Inside::Working(_) if self.pace.is_cancelled() => Some(JobState::Cancelled),
            Inside::Working(_) if self.pace.is_late() => Some(JobState::Expired),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::ErrorKind;

    const STAGES: &[Stage] = &[Stage { name: c"counting", share: 1.0 }];

    /// Counts to 100 in costly steps, and holds `held` while it does.
    fn counting(held: Arc<()>) -> Job<Arc<()>> {
        Job::new(STAGES, |pace| async move {
            pace.stage(0);
            pace.expect(100);
            for _ in 0..100 {
                pace.spend(1 << 20).await;
                pace.advance(1);
            }
            Ok(held)
        })
    }

    #[test]
    fn slices_lead_to_the_result_and_it_is_taken_once() {
        let mut job = counting(Arc::new(()));
        let watch = job.watch();
        let mut last = -1.0;
        for _ in 0..100 {
            assert_eq!(job.poll(0).unwrap(), JobState::Running);
            assert!(watch.progress().0 > last, "each slice gets further");
            assert_eq!(watch.progress().1, c"counting");
            last = watch.progress().0;
            assert_eq!(job.take().unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        assert_eq!(job.poll(0).unwrap(), JobState::Finished);
        assert_eq!(watch.progress().0, 1.0);
        watch.cancel();
        assert_eq!(job.poll(0).unwrap(), JobState::Finished, "a result that is there stays");
        job.take().unwrap();
        assert_eq!(job.take().unwrap_err().kind(), ErrorKind::InvalidArgument);
        counting(Arc::new(())).finish().unwrap();
    }

    #[test]
    fn a_mapped_job_is_the_same_work_with_another_result() {
        let job = counting(Arc::new(()));
        let watch = job.watch();
        let mut mapped = job.map(|held| Arc::strong_count(&held));
        while watch.progress().0 == 0.0 {
            assert_eq!(mapped.poll(0).unwrap(), JobState::Running);
        }
        assert_eq!(mapped.poll(u64::MAX).unwrap(), JobState::Finished);
        assert_eq!(mapped.map(|count| count + 1).take().unwrap(), 2);
    }

    #[test]
    fn work_that_is_given_up_lets_go_of_everything() {
        let held = Arc::new(());
        let mut job = counting(Arc::clone(&held));
        assert_eq!(job.poll(0).unwrap(), JobState::Running);
        job.watch().cancel();
        assert_eq!(Arc::strong_count(&held), 2);
        assert_eq!(job.poll(u64::MAX).unwrap(), JobState::Cancelled);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(job.poll(0).unwrap(), JobState::Cancelled);
        assert!(job.finish().is_err());

        let mut late = counting(Arc::clone(&held));
        late.watch().set_deadline(0);
        assert_eq!(late.poll(u64::MAX).unwrap(), JobState::Expired);
        let mut saved = counting(Arc::clone(&held));
        saved.watch().set_deadline(0);
        saved.watch().set_deadline(u64::MAX);
        assert_eq!(saved.poll(u64::MAX).unwrap(), JobState::Finished);
        drop(saved);
        drop(counting(Arc::clone(&held)));
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn stages_are_timed_without_the_pauses_between_polls() {
        const TWO: &[Stage] = &[Stage { name: c"one", share: 0.5 }, Stage { name: c"two", share: 0.5 }];
        let nap = std::time::Duration::from_millis(20);
        let mut job = Job::new(TWO, |pace| async move {
            std::thread::sleep(nap);
            pace.spend(1 << 20).await;
            pace.stage(1);
            std::thread::sleep(2 * nap);
            Ok(())
        });
        assert_eq!(job.poll(0).unwrap(), JobState::Running);
        std::thread::sleep(10 * nap);
        assert_eq!(job.poll(0).unwrap(), JobState::Finished);
        let times: Vec<u128> = job.watch().stage_times().map(|(_, ns)| u128::from(ns)).collect();
        assert!(times[0] >= nap.as_nanos() && times[1] >= 2 * nap.as_nanos(), "{times:?}");
        assert!(times[0] + times[1] < 12 * nap.as_nanos(), "{times:?}");
    }

    #[test]
    fn a_panic_ends_the_work_and_is_a_failure_from_then_on() {
        let held = Arc::new(());
        let theirs = Arc::clone(&held);
        let mut job: Job<()> = Job::new(STAGES, |pace| async move {
            let _held = theirs;
            pace.spend(1 << 20).await;
            std::panic::resume_unwind(Box::new(()));
        });
        assert_eq!(job.poll(0).unwrap(), JobState::Running);
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.poll(u64::MAX)));
        assert!(polled.is_err());
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(job.poll(u64::MAX).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_failure_is_said_as_often_as_it_is_asked_for() {
        let mut job: Job<()> = Job::new(STAGES, |_| async { Err(Error::unsupported("no")) });
        for _ in 0..2 {
            assert_eq!(job.poll(u64::MAX).unwrap_err().message(), "no");
        }
        assert_eq!(job.take().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
