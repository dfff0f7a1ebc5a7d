//! qwen2: Qwen 2 and 2.5 (arXiv 2407.10671): the llama decoder with biases on query, key and value.

use crate::base::Result;
use crate::kernels::ops::{Program, RopeStyle};

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::decoder::{self, Family, Presence};

/// Builds the forward pass.
pub fn build(config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    decoder::build(&Family { rope: RopeStyle::Halves, qkv_bias: Presence::Always, head_norms: false, experts: false }, config, weights)
}
