//! granite: Granite 3 (IBM 2024): Llama with four factors of its own.

use crate::kernels::ops::RopeStyle;

use super::family::{Family, LogitScale};

/// The family.
pub const FAMILY: Family = Family {
    name: "granite",
    models: "Granite 3.0 to 3.3 (dense)",
    options: &["attention.scale", "embedding_scale", "residual_scale", "logit_scale"],
    logit_scale: LogitScale::Divisor,
    rope: Some(RopeStyle::Interleaved),
    permuted: true,
    ..Family::LLAMA
};
