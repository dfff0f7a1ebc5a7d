//! gpt2: GPT-2 (Radford et al. 2019): learned positions.

use super::family::Family;

/// The family.
pub const FAMILY: Family =
    Family { name: "gpt2", models: "GPT-2, DistilGPT-2, Cerebras-GPT", rope: None, learned_positions: true, ..Family::GPT };
