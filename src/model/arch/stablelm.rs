//! stablelm: StableLM (arXiv 2402.17834): layer norms with biases; its largest has one norm for attention and feed-forward layer.

use super::family::{Family, NormKind, Output, Presence, QkNorm, Residual};

/// The family.
pub const FAMILY: Family = Family {
    name: "stablelm",
    models: "StableLM 3B, StableLM 2 1.6B and 12B",
    norm: NormKind::Layer,
    residual: Residual::ByNorm,
    qkv_bias: Presence::Sometimes,
    qk_norm: QkNorm::LayerSometimes,
    output: Output::Own,
    ..Family::LLAMA
};
