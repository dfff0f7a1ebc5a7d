//! command-r: Command R and R+ (Cohere 2024): layer norms without biases, attention and feed-forward layer side by side.

use crate::kernels::ops::RopeStyle;

use super::family::{Family, NormKind, Output, QkNorm, Residual};

/// The family.
pub const FAMILY: Family = Family {
    name: "command-r",
    models: "Command R, Command R+, Aya 23",
    options: &["logit_scale"],
    norm: NormKind::LayerUnbiased,
    residual: Residual::Parallel,
    qk_norm: QkNorm::LayerSometimes,
    rope: Some(RopeStyle::Interleaved),
    output: Output::Tied,
    ..Family::LLAMA
};
