//! Architectures: what each family computes, as a program of operations. One small file per family.

#![forbid(unsafe_code)]

mod decoder;
mod llama;
mod phi2;
mod qwen2;
mod qwen3;

use std::future::Future;
use std::pin::Pin;

use crate::base::{Error, Result};
use crate::kernels::ops::Program;

use super::config::ModelConfig;
use super::weights::Weights;

/// A forward pass that is being built, layer by layer.
type Building<'a> = Pin<Box<dyn Future<Output = Result<Program>> + Send + 'a>>;

type Build = for<'a> fn(&'a ModelConfig, &'a mut Weights<'_>) -> Building<'a>;

/// The families by the name in `general.architecture`.
const FAMILIES: [(&str, Build); 4] = [("llama", llama::build), ("qwen2", qwen2::build), ("qwen3", qwen3::build), ("phi2", phi2::build)];

/// Names of the architectures that this version runs.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// Builds the forward pass of a model, with a pause after each layer (see [`Weights::pause`]).
///
/// # Errors
/// `Unsupported` naming an unknown architecture, and whatever the family finds wrong with the file.
pub async fn build(config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    let family = FAMILIES.iter().find(|(name, _)| *name == config.architecture);
    let (_, build) = family.ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        Error::unsupported(format!("architecture '{}' (known: {})", config.architecture, known.join(", ")))
    })?;
    build(config, weights).await
}
