//! falcon: Falcon (arXiv 2311.16867): attention and feed-forward layer side by side, no biases but in the norms.

use crate::kernels::ops::Activation;

use super::family::{Family, Presence, Residual};

/// The family.
pub const FAMILY: Family = Family {
    name: "falcon",
    models: "Falcon 7B, 40B, 180B",
    residual: Residual::Parallel,
    qkv_bias: Presence::Never,
    attn_output_bias: Presence::Never,
    ffn_bias: Presence::Never,
    activation: Activation::GeluErf,
    ..Family::GPT
};
