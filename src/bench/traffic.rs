//! Many requests at once on the library's own batch of sessions, as a server would run them.
//!
//! All requests are there from the beginning, in their order. Each takes a slot (a session) when one is free, and gives it back with its last
//! token.

use serde_json::{Value, json};

use crate::base::{Error, Result};
use crate::model::Model;
use crate::session::{Batch, BatchOptions, BatchStep, Session, Step};

use super::clock::Clock;
use super::kv_use::{External, KvTimeline, KvUse};
use super::settings::Settings;
use super::workload::Workload;

/// A request that waits to be served.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it asks for.
    pub workload: Workload,
    /// By which its prompt is told from others of the workload.
    pub number: u64,
}

/// What became of a request. Times are absent where it did not come so far.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestResult {
    /// The name of its workload.
    pub workload_type: &'static str,
    /// Until it had a slot.
    pub queue_time_ms: Option<f64>,
    /// Until its first token, the time in the queue included.
    pub ttft_ms: Option<f64>,
    /// From each token to the next.
    pub itl_ms: Vec<f64>,
    /// Until its last token.
    pub total_latency_ms: Option<f64>,
    /// What went wrong with it.
    pub error: Option<String>,
}

impl RequestResult {
    /// Tokens that came out.
    pub fn tokens(&self) -> usize {
        self.itl_ms.len() + usize::from(self.ttft_ms.is_some())
    }

    /// The longest time without a token since it had its slot; `None` where none came.
    pub fn longest_wait_ms(&self) -> Option<f64> {
        let first = self.ttft_ms? - self.queue_time_ms?;
        Some(self.itl_ms.iter().copied().fold(first, f64::max))
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "workload_type": self.workload_type,
            "queue_time_ms": self.queue_time_ms,
            "ttft_ms": self.ttft_ms,
            "total_latency_ms": self.total_latency_ms,
            "tokens": self.tokens(),
            "longest_wait_ms": self.longest_wait_ms(),
            "itl_ms": self.itl_ms,
            "error": self.error,
        })
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Served {
    /// What became of the requests, in their order.
    pub requests: Vec<RequestResult>,
    /// From the first request to the last token.
    pub elapsed_ms: f64,
    /// The use of the cache.
    pub kv: KvTimeline,
}

impl Served {
    /// The requests of one workload.
    pub fn of<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a RequestResult> {
        self.requests.iter().filter(|request| request.workload_type == workload.name)
    }

    /// Tokens per second of the whole run; `None` where it took no time.
    pub fn tok_s(&self) -> Option<f64> {
        let tokens: usize = self.requests.iter().map(RequestResult::tokens).sum();
        (self.elapsed_ms > 0.0).then(|| tokens as f64 / self.elapsed_ms * 1e3)
    }

    pub(super) fn value(&self) -> Value {
        let requests: Vec<Value> = self.requests.iter().map(RequestResult::value).collect();
        json!({ "elapsed_ms": self.elapsed_ms, "tok_s": self.tok_s(), "kv_cache": self.kv.value(), "requests": requests })
    }
}

/// A batch with `slots` sessions, or one for each of `requests` where that is 0.
pub(super) fn batch_options(slots: u32, requests: u32) -> Result<BatchOptions> {
    let sessions = if slots == 0 { requests } else { slots.min(requests) };
    if !(1..=1_024).contains(&sessions) {
        return Err(Error::invalid_argument(format!("{sessions} requests at once: from 1 to 1024")));
    }
    let usual = BatchOptions::default();
    Ok(BatchOptions { sessions, columns: usual.columns.max(sessions), ..usual })
}

/// A session that serves one request after the other. A batch takes pointers to sessions.
type Slot = Box<Session>;

/// A request that has a slot.
struct Running {
    /// Its place among the requests.
    request: usize,
    last_ms: f64,
}

/// A batch with its slots.
pub(super) struct Server {
    model: Model,
    batch: Batch,
    idle: Vec<Slot>,
    seed: u64,
    external: External,
}

impl Server {
    /// A server with `slots` sessions, each with room for the longest of `workloads`.
    ///
    /// # Errors
    /// As [`Session::new`] and [`Batch::new`].
    pub fn new(model: &Model, settings: &Settings, batch: BatchOptions, workloads: &[Workload]) -> Result<Self> {
        let positions = workloads.iter().map(Workload::positions).max().unwrap_or(1);
        let slot = |_| settings.session(model, positions, 1, false).map(Box::new);
        Ok(Self {
            model: model.clone(),
            batch: Batch::new(model, batch)?,
            idle: (0..batch.sessions).map(slot).collect::<Result<_>>()?,
            seed: settings.seed(),
            external: External::of(model, settings.kv_type)?,
        })
    }

    /// Serves `requests` to the last token. Each one counts as a unit of the stage's progress.
    ///
    /// # Errors
    /// Faults of the batch; what goes wrong with one request is told in its result.
    pub async fn serve(&mut self, requests: &[Request], clock: &mut Clock) -> Result<Served> {
        let vocab_size = self.model.vocab_size()?;
        let prompts: Vec<Vec<u32>> =
            requests.iter().map(|request| request.workload.prompt(vocab_size, self.seed, request.number)).collect();
        let unserved = |request: &Request| RequestResult {
            workload_type: request.workload.name,
            queue_time_ms: None,
            ttft_ms: None,
            itl_ms: vec![],
            total_latency_ms: None,
            error: None,
        };
        let mut served = Served { requests: requests.iter().map(unserved).collect(), ..Served::default() };
        let (mut active, mut running): (Vec<Slot>, Vec<Running>) = (vec![], vec![]);
        let (begin, mut next) = (clock.now_ms(), 0);
        while next < requests.len() || !active.is_empty() {
            while next < requests.len()
                && let Some(mut session) = self.idle.pop()
            {
                session.set_max_tokens(Some(requests[next].workload.output_tokens));
                session.append(&prompts[next])?;
                served.requests[next].queue_time_ms = Some(clock.now_ms() - begin);
                active.push(session);
                running.push(Running { request: next, last_ms: begin });
                next += 1;
            }
            let stepped = self.batch.step(&mut active, clock.slice_ns())?;
            let now = clock.now_ms();
            if stepped == BatchStep::Events {
                let point = KvUse::of_growing(active.iter().map(Box::as_ref), now - begin);
                served.kv.note(self.external.add_to(point));
                self.take_events(&mut active, &mut running, requests, &mut served, (begin, now), clock)?;
            }
            clock.pause().await;
        }
        served.elapsed_ms = clock.now_ms() - begin;
        Ok(served)
    }

    /// Notes what the last step brought, and frees the slots of requests that have ended.
    fn take_events(
        &mut self,
        active: &mut Vec<Slot>,
        running: &mut Vec<Running>,
        requests: &[Request],
        served: &mut Served,
        (begin, now): (f64, f64),
        clock: &Clock,
    ) -> Result<()> {
        let mut ended = vec![];
        for event in self.batch.events() {
            let Running { request, last_ms } = &mut running[event.session];
            let result = &mut served.requests[*request];
            match &event.result {
                Ok(Step::Token { .. }) => {
                    match result.ttft_ms {
                        None => result.ttft_ms = Some(now - begin),
                        Some(_) => result.itl_ms.push(now - *last_ms),
                    }
                    *last_ms = now;
                    if result.tokens() == requests[*request].workload.output_tokens as usize {
                        result.total_latency_ms = Some(now - begin);
                        ended.push(event.session);
                    }
                }
                // Nobody cancels these sessions, and the batch keeps pending to itself.
                Ok(Step::Cancelled | Step::Pending) => {}
                Ok(Step::Done { reason, .. }) => {
                    result.error = Some(format!("the turn ended after {} tokens: {reason:?}", result.tokens()));
                    ended.push(event.session);
                }
                Err(error) => {
                    result.error = Some(error.to_string());
                    ended.push(event.session);
                }
            }
        }
        ended.sort_unstable();
        for place in ended.into_iter().rev() {
            running.swap_remove(place);
            let mut session = active.swap_remove(place);
            session.reset()?;
            self.idle.push(session);
            clock.pace().advance(1);
        }
        Ok(())
    }
}
