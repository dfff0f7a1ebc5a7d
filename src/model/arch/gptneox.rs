//! gptneox: GPT-NeoX (arXiv 2204.06745): rotary positions, attention and feed-forward layer side by side, each with its norm.

use crate::kernels::ops::Activation;

use super::family::{Family, Output, Residual};

/// The family.
pub const FAMILY: Family = Family {
    name: "gptneox",
    models: "Pythia, GPT-NeoX-20B, RedPajama-INCITE, Dolly 2",
    residual: Residual::ByKey,
    activation: Activation::GeluErf,
    output: Output::Own,
    ..Family::GPT
};
