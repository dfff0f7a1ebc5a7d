//! gemma: Gemma (arXiv 2403.08295): scaled embeddings, a gate through GELU.

use crate::kernels::ops::Activation;

use super::family::{Family, Output};

/// The family.
pub const FAMILY: Family = Family {
    name: "gemma",
    models: "Gemma 1, CodeGemma",
    activation: Activation::Gelu,
    root_scale: true,
    output: Output::Tied,
    ..Family::LLAMA
};
