//! cohere: Command R and R+. GGUF calls the architecture command-r; its rows are in pairs as published.

use super::llama::{ATTENTION, EPSILON, FEED_FORWARD, SIZES};
use super::qwen::HEAD_NORMS;
use super::{Family, RotaryRows, heads, number};

pub(super) const COHERE: Family = Family {
    model_types: &["cohere"],
    architecture: "command-r",
    rotary: RotaryRows::AsConverted,
    activations: &["silu"],
    keys: &[SIZES, EPSILON, &[number("logit_scale", "logit_scale")]],
    prefix: "",
    names: &[ATTENTION, FEED_FORWARD, HEAD_NORMS],
    further: heads,
};
