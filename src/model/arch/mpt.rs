//! mpt: MPT (MosaicML 2023): no positions but linear biases of the scores (ALiBi), no biases.

use crate::kernels::ops::Activation;

use super::family::{Family, NormKind};

/// The family.
pub const FAMILY: Family = Family {
    name: "mpt",
    models: "MPT 7B, 30B",
    options: &["attention.max_alibi_bias"],
    norm: NormKind::LayerUnbiased,
    rope: None,
    activation: Activation::GeluErf,
    gated: false,
    ..Family::LLAMA
};
