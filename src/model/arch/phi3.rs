//! phi3: Phi-3 and 4 (arXiv 2404.14219): fused projections, LongRoPE.

use super::family::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "phi3",
    models: "Phi-3-mini, Phi-3-medium, Phi-3.5-mini, Phi-4, Phi-4-mini",
    options: &["attention.sliding_window"],
    fused_gate: true,
    ..Family::LLAMA
};
