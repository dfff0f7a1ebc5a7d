//! llama: Llama 2, 3, 3.1, 3.2, TinyLlama, Mistral, SmolLM2, Yi and others of that shape; with experts, Mixtral.

use crate::kernels::ops::RopeStyle;

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::Building;
use super::decoder::{self, Family, Presence};

const FAMILY: Family = Family { rope: RopeStyle::Interleaved, qkv_bias: Presence::Sometimes, head_norms: false, experts: true };

/// The converter permutes query and key rows to interleaved pairs.
pub fn build<'a>(config: &'a ModelConfig, weights: &'a mut Weights<'_>) -> Building<'a> {
    Box::pin(decoder::build(&FAMILY, config, weights))
}
