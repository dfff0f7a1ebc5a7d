//! smollm3: the tensors of llama; every fourth layer does not rotate.

use super::llama::{ATTENTION, FEED_FORWARD, RMS_EPSILON, SIZES};
use super::{Config, Draft, Family, Result, RotaryRows, expect_integer, heads, unsupported};

const INTERVAL: u64 = 4;

pub(super) const SMOLLM3: Family = Family {
    model_types: &["smollm3"],
    architecture: "smollm3",
    rotary: RotaryRows::Halves,
    activations: &["silu"],
    keys: &[SIZES, RMS_EPSILON],
    prefix: "",
    names: &[ATTENTION, FEED_FORWARD],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_integer(config, "no_rope_layer_interval", INTERVAL)?;
    for (layer, rotates) in config.integers("no_rope_layers")?.into_iter().flatten().enumerate() {
        if (rotates == 0) != (layer as u64 + 1).is_multiple_of(INTERVAL) {
            return Err(unsupported(config, "no_rope_layers", format_args!("{rotates} for layer {layer}")));
        }
    }
    heads(config, draft)
}
