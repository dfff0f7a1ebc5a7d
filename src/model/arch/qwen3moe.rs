//! qwen3moe: Qwen 3 with experts.

use super::family::{Family, MIXTURE, QkNorm};

/// The family.
pub const FAMILY: Family = Family {
    name: "qwen3moe",
    models: "Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder",
    qk_norm: QkNorm::Heads,
    experts: Some(MIXTURE),
    ..Family::LLAMA
};
