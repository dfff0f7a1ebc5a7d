//! One request to one session, timed token by token.

use crate::base::{Error, Result};
use crate::session::{Session, Step};

use super::clock::Clock;
use super::kv_use::KvUse;

/// The times of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestTimes {
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// From the request to its first token.
    pub ttft_ms: f64,
    /// From each token to the next: one fewer than tokens came out.
    pub itl_ms: Vec<f64>,
    /// The tokens.
    pub tokens: Vec<u32>,
}

impl RequestTimes {
    /// Prompt tokens per second of the time to the first token.
    pub fn prefill_tok_s(&self) -> f64 {
        f64::from(self.prompt_tokens) / self.ttft_ms * 1e3
    }

    /// Tokens per second, the first one and the time to it excluded; `None` where only one came out.
    pub fn generation_tok_s(&self) -> Option<f64> {
        let spent_ms: f64 = self.itl_ms.iter().sum();
        (spent_ms > 0.0).then(|| self.itl_ms.len() as f64 / spent_ms * 1e3)
    }
}

/// Takes one step of `session` until something comes of it; `Cancelled` counts as nothing, since only the job is cancelled here.
pub(super) async fn step(session: &mut Session, clock: &mut Clock) -> Result<Step> {
    loop {
        match session.step(clock.slice_ns())? {
            Step::Pending | Step::Cancelled => clock.pause().await,
            step => return Ok(step),
        }
    }
}

/// Answers `prompt` with exactly `output_tokens` tokens on an empty `session`. `note` is told after each token how the session's cache is
/// used, and whether it was the first; the time that it takes is not counted.
pub(super) async fn answer(
    session: &mut Session,
    prompt: &[u32],
    output_tokens: u32,
    clock: &mut Clock,
    mut note: impl FnMut(KvUse, bool),
) -> Result<RequestTimes> {
    session.reset()?;
    session.set_max_tokens(Some(output_tokens));
    let begin = clock.now_ms();
    session.append(prompt)?;
    let mut times = RequestTimes { prompt_tokens: prompt.len() as u32, ttft_ms: 0.0, itl_ms: vec![], tokens: vec![] };
    let mut last = begin;
    for number in 0..output_tokens {
        let Step::Token { id } = step(session, clock).await? else {
            return Err(Error::internal(format!("a request for {output_tokens} tokens ended after {number}")));
        };
        let now = clock.now_ms();
        if number == 0 {
            times.ttft_ms = now - begin;
        } else {
            times.itl_ms.push(now - last);
        }
        times.tokens.push(id);
        clock.aside(|| note(KvUse::of(session, now), number == 0));
        last = now;
        clock.pause().await;
    }
    Ok(times)
}
