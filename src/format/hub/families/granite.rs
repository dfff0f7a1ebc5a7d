//! granite: Granite 3, the tensors of llama and four factors.

use super::llama::{ATTENTION, FEED_FORWARD, KEYS};
use super::{Config, Draft, Family, Key, Result, RotaryRows, heads, number};

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
    keys: &[KEYS, FACTORS],
    names: &[ATTENTION, FEED_FORWARD],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    heads(config, draft)
}
