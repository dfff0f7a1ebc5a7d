//! llama: Llama 2, 3, 3.1, 3.2, TinyLlama, Mistral, SmolLM2, Yi and others of that shape; with experts, Mixtral.

use crate::base::Result;
use crate::kernels::ops::{Program, RopeStyle};

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::decoder::{self, Family, Presence};

/// The converter permutes query and key rows to interleaved pairs.
pub fn build(config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    decoder::build(
        &Family { rope: RopeStyle::Interleaved, qkv_bias: Presence::Sometimes, head_norms: false, experts: true },
        config,
        weights,
    )
}
