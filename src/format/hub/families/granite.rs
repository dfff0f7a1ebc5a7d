//! granite: Granite 3, the tensors of llama and four factors.

use super::llama::{ATTENTION, FEED_FORWARD, RMS_EPSILON, SIZES};
use super::{Family, Key, RotaryRows, heads, number};

const FACTORS: &[Key] = &[
    number("embedding_multiplier", "embedding_scale"),
    number("residual_multiplier", "residual_scale"),
    number("attention_multiplier", "attention.scale"),
    number("logits_scaling", "logit_scale"),
];

pub(super) const GRANITE: Family = Family {
    model_types: &["granite"],
    architecture: "granite",
    rotary: RotaryRows::Halves,
    activations: &["silu"],
    keys: &[SIZES, RMS_EPSILON, FACTORS],
    prefix: "",
    names: &[ATTENTION, FEED_FORWARD],
    further: heads,
};
