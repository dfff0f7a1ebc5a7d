//! The three ways to a token's logits: with the cache, by computing everything before it again at once, or again token by token.

use crate::base::{Error, Result};
use crate::session::{Session, Step};

use super::clock::Clock;
use super::request::step;

/// The time of one decode step of a session that [computed](at_once) `length` tokens: the last one is computed again, with the cache of those
/// before it.
pub(super) async fn with_cache(session: &mut Session, length: usize, clock: &mut Clock) -> Result<f64> {
    session.truncate(length)?;
    let begin = clock.now_ms();
    expect_token(session, clock).await?;
    Ok(clock.now_ms() - begin)
}

/// The time to compute `tokens` as one prompt, and as many tokens more as `generate` says: 0 or 1.
pub(super) async fn at_once(session: &mut Session, tokens: &[u32], generate: u32, clock: &mut Clock) -> Result<f64> {
    session.reset()?;
    session.set_max_tokens(Some(generate));
    let begin = clock.now_ms();
    session.append(tokens)?;
    end(session, generate, clock).await?;
    Ok(clock.now_ms() - begin)
}

/// The time to compute `tokens` one by one; else as [`at_once`].
pub(super) async fn one_by_one(session: &mut Session, tokens: &[u32], generate: u32, clock: &mut Clock) -> Result<f64> {
    session.reset()?;
    session.set_max_tokens(Some(0));
    let begin = clock.now_ms();
    let (last, before) = tokens.split_last().ok_or_else(|| Error::invalid_argument("no tokens to compute"))?;
    for &token in before {
        session.append(&[token])?;
        end(session, 0, clock).await?;
    }
    session.set_max_tokens(Some(generate));
    session.append(&[*last])?;
    end(session, generate, clock).await?;
    Ok(clock.now_ms() - begin)
}

pub(super) async fn end(session: &mut Session, generate: u32, clock: &mut Clock) -> Result<()> {
    if generate > 0 {
        return expect_token(session, clock).await;
    }
    match step(session, clock).await? {
        Step::Done { .. } => Ok(()),
        other => Err(Error::internal(format!("a turn of no tokens brought {other:?}"))),
    }
}

async fn expect_token(session: &mut Session, clock: &mut Clock) -> Result<()> {
    match step(session, clock).await? {
        Step::Token { .. } => Ok(()),
        other => Err(Error::internal(format!("a step brought {other:?} instead of a token"))),
    }
}

/// The bits of a session's newest logits.
pub(super) fn logit_bits(session: &Session) -> Option<Vec<u32>> {
    session.logits().map(|logits| logits.iter().map(|logit| logit.to_bits()).collect())
}
