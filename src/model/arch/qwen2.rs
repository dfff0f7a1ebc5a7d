//! qwen2: Qwen 2 and 2.5 (arXiv 2407.10671): the llama decoder with biases on query, key and value.

use crate::kernels::ops::RopeStyle;

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::Building;
use super::decoder::{self, Family, Presence};

const FAMILY: Family = Family { rope: RopeStyle::Halves, qkv_bias: Presence::Always, head_norms: false, experts: false };

/// Builds the forward pass.
pub fn build<'a>(config: &'a ModelConfig, weights: &'a mut Weights<'_>) -> Building<'a> {
    Box::pin(decoder::build(&FAMILY, config, weights))
}
