//! gpt-oss: gpt-oss (OpenAI 2025, arXiv 2508.10925): experts with biases, attention sinks, a window in every other layer, YaRN.

use crate::kernels::ops::Activation;

use super::family::{Family, MIXTURE, Mixture, Output, Presence};

/// The family.
pub const FAMILY: Family = Family {
    name: "gpt-oss",
    models: "gpt-oss-20b, gpt-oss-120b",
    options: &["attention.sliding_window"],
    ffn_norm: "post_attention_norm",
    qkv_bias: Presence::Always,
    attn_output_bias: Presence::Always,
    yarn_whole: false,
    global_every: 2,
    sinks: true,
    activation: Activation::ClampedSwiglu,
    experts: Some(Mixture { biases: true, ..MIXTURE }),
    output: Output::Own,
    ..Family::LLAMA
};
