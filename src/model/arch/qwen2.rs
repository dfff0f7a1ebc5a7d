//! qwen2: Qwen 2 and 2.5 (arXiv 2407.10671): biases on query, key and value projections.

use super::family::{Family, Presence};

/// The family.
pub const FAMILY: Family =
    Family { name: "qwen2", models: "Qwen 2, 2.5; DeepSeek-R1-Distill-Qwen", qkv_bias: Presence::Always, ..Family::LLAMA };
