//! llama: everything of Llama's shape; with experts, Mixtral (arXiv 2401.04088). The converter permutes query and key rows to interleaved
//! pairs.

use crate::kernels::ops::RopeStyle;

use super::family::{Family, MIXTURE, Presence};

/// The family.
pub const FAMILY: Family = Family {
    name: "llama",
    models: "Llama 2, 3, 3.1, 3.2, 3.3; TinyLlama; Mistral; Mixtral; SmolLM2; Yi",
    options: &["attention.sliding_window"],
    qkv_bias: Presence::Sometimes,
    attn_output_bias: Presence::Sometimes,
    rope: Some(RopeStyle::Interleaved),
    permuted: true,
    experts: Some(MIXTURE),
    ..Family::LLAMA
};
