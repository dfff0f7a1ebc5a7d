//! qwen2moe: Qwen 1.5 and 2 with experts, one of which computes for every token.

use crate::kernels::ops::Routing;

use super::family::{Family, MIXTURE, Mixture, Presence};

/// The family.
pub const FAMILY: Family = Family {
    name: "qwen2moe",
    models: "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
    qkv_bias: Presence::Always,
    experts: Some(Mixture { routing: Routing::OverAll, shared: true, ..MIXTURE }),
    ..Family::LLAMA
};
