//! qwen3: Qwen 3, dense (arXiv 2505.09388): the llama decoder with RMS norms on the heads of query and key.

use crate::base::Result;
use crate::kernels::ops::{Program, RopeStyle};

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::decoder::{self, Family, Presence};

/// Builds the forward pass.
pub fn build(config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    decoder::build(&Family { rope: RopeStyle::Halves, qkv_bias: Presence::Never, head_norms: true, experts: false }, config, weights)
}
