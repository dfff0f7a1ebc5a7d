//! Architectures: what each family computes, as a program of operations. One small file per family states what it differs in;
//! `decoder` builds the forward pass from that.

#![forbid(unsafe_code)]

mod bert;
mod command_r;
mod decoder;
mod falcon;
mod family;
mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod layer;
mod llama;
mod mpt;
mod nomic_bert;
mod olmo2;
mod phi2;
mod phi3;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen3moe;
mod rope;
mod smollm3;
mod stablelm;
mod starcoder2;

use crate::base::{Error, Result};
use crate::kernels::ops::Program;

use super::config::ModelConfig;
use super::weights::Weights;

pub use family::Family;

/// The families, in the order of the README's table.
const FAMILIES: [&Family; 23] = [
    &llama::FAMILY,
    &qwen2::FAMILY,
    &qwen2moe::FAMILY,
    &qwen3::FAMILY,
    &qwen3moe::FAMILY,
    &phi2::FAMILY,
    &phi3::FAMILY,
    &gemma::FAMILY,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
    &gpt2::FAMILY,
    &gptneox::FAMILY,
    &gpt_oss::FAMILY,
    &starcoder2::FAMILY,
    &falcon::FAMILY,
    &stablelm::FAMILY,
    &olmo2::FAMILY,
    &granite::FAMILY,
    &smollm3::FAMILY,
    &command_r::FAMILY,
    &mpt::FAMILY,
    &bert::FAMILY,
    &nomic_bert::FAMILY,
];

/// The families that this version runs.
pub fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.into_iter()
}

/// The family that `general.architecture` names.
///
/// # Errors
/// `Unsupported` naming an unknown one.
pub fn family(name: &str) -> Result<&'static Family> {
    families().find(|family| family.name == name).ok_or_else(|| {
        let known: Vec<&str> = families().map(|family| family.name).collect();
        Error::unsupported(format!("architecture '{name}' (known: {})", known.join(", ")))
    })
}

/// Builds the forward pass of a model, with a pause after each layer (see [`Weights::pause`]).
///
/// # Errors
/// `Unsupported` naming an unknown architecture, and whatever the family finds wrong with the file.
pub async fn build(config: &mut ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    decoder::build(family(&config.architecture)?, config, weights).await
}
