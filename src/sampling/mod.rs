//! Floor 4: logits → token. A chain of stages narrows the candidates and a seeded draw, or the largest logit, picks one.
//!
//! Order and meaning follow llama.cpp's default chain:
//!
//! ```text
//! logit bias → penalties → top-k → top-p → min-p → temperature → draw
//! ```
//!
//! with one difference: temperature 0 means greedy (bias and penalties still apply, the rest can't change the answer), and
//! greedy ties go to the lowest token id. Each stage is one file that implements [`Stage`]; grammar masks and further
//! samplers join by one more file and one more line in [`Sampler::new`].
//!
//! **Same seed, same tokens, everywhere.** All arithmetic runs in a fixed order on `f32`/`f64` additions, multiplications,
//! divisions and comparisons, which IEEE 754 fixes to the bit; the exponential is our own ([`exp`]) for that reason. `ln` of
//! the system's library appears only where it sizes a superset that exact comparisons narrow afterwards.
//!
//! Nothing here knows of tokenizers or text: stop strings and end-of-generation tokens are the session's.
#![forbid(unsafe_code)]

pub mod candidates;
mod chain;
mod config;
pub mod exp;
mod logit_bias;
mod min_p;
mod penalties;
pub mod rng;
mod temperature;
#[cfg(test)]
mod tests;
mod top_k;
mod top_p;

pub use candidates::Candidates;
pub use chain::{Sampler, Stage};
pub use config::{MAX_PENALTY_WINDOW, SamplerConfig};
