//! qwen3: Qwen 3 (arXiv 2505.09388): queries and keys are normalised per head.

use super::family::{Family, QkNorm};

/// The family.
pub const FAMILY: Family = Family { name: "qwen3", models: "Qwen 3 (dense)", qk_norm: QkNorm::Heads, ..Family::LLAMA };
