//! smollm3: SmolLM 3 (Hugging Face 2025): every fourth layer does not rotate (NoPE: arXiv 2501.18795).

use crate::kernels::ops::RopeStyle;

use super::family::Family;

/// The family.
pub const FAMILY: Family =
    Family { name: "smollm3", models: "SmolLM 3", rope: Some(RopeStyle::Interleaved), permuted: true, unrotated_every: 4, ..Family::LLAMA };
