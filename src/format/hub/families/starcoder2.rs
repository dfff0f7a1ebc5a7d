//! starcoder2: the attention of llama with biases, layer norms, a plain feed-forward layer.

use super::super::names::{Name, keep};
use super::llama::{ATTENTION, SIZES};
use super::{Config, Draft, Family, Result, RotaryRows, expect_bool, heads, number, sliding_window};

const NAMES: &[Name] = &[
    keep("model.norm.bias", "output_norm.bias"),
    keep("model.layers.{}.input_layernorm.bias", "blk.{}.attn_norm.bias"),
    keep("model.layers.{}.post_attention_layernorm.bias", "blk.{}.ffn_norm.bias"),
    keep("model.layers.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight"),
    keep("model.layers.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"),
    keep("model.layers.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight"),
    keep("model.layers.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"),
];

pub(super) const STARCODER2: Family = Family {
    model_types: &["starcoder2"],
    architecture: "starcoder2",
    rotary: RotaryRows::AsConverted,
    activations: &["gelu_pytorch_tanh"],
    keys: &[SIZES, &[number("norm_epsilon", "attention.layer_norm_epsilon")]],
    prefix: "",
    names: &[ATTENTION, NAMES],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "use_bias", true)?;
    heads(config, draft)?;
    sliding_window(config, draft)
}
