//! qwen3: Qwen 3, dense (arXiv 2505.09388): the llama decoder with RMS norms on the heads of query and key.

use crate::kernels::ops::RopeStyle;

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::Building;
use super::decoder::{self, Family, Presence};

const FAMILY: Family = Family { rope: RopeStyle::Halves, qkv_bias: Presence::Never, head_norms: true, experts: false };

/// Builds the forward pass.
pub fn build<'a>(config: &'a ModelConfig, weights: &'a mut Weights<'_>) -> Building<'a> {
    Box::pin(decoder::build(&FAMILY, config, weights))
}
