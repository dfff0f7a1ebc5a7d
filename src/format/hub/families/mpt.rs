//! mpt: no positions but linear biases of the scores.

use super::super::names::{Name, keep};
use super::{Config, Draft, Family, Key, Result, RotaryRows, expect_bool, optional, size, unsupported};

const KEYS: &[Key] = &[
    size("d_model", "embedding_length"),
    size("n_layers", "block_count"),
    size("n_heads", "attention.head_count"),
    size("max_seq_len", "context_length"),
    optional("vocab_size", "vocab_size"),
];

const NAMES: &[Name] = &[
    keep("transformer.wte.weight", "token_embd.weight"),
    keep("transformer.norm_f.weight", "output_norm.weight"),
    keep("lm_head.weight", "output.weight"),
    keep("transformer.blocks.{}.norm_1.weight", "blk.{}.attn_norm.weight"),
    keep("transformer.blocks.{}.norm_2.weight", "blk.{}.ffn_norm.weight"),
    keep("transformer.blocks.{}.attn.Wqkv.weight", "blk.{}.attn_qkv.weight"),
    keep("transformer.blocks.{}.attn.out_proj.weight", "blk.{}.attn_output.weight"),
    keep("transformer.blocks.{}.ffn.up_proj.weight", "blk.{}.ffn_up.weight"),
    keep("transformer.blocks.{}.ffn.down_proj.weight", "blk.{}.ffn_down.weight"),
];

pub(super) const MPT: Family = Family {
    model_types: &["mpt"],
    architecture: "mpt",
    rotary: RotaryRows::AsConverted,
    activations: &[],
    keys: &[KEYS],
    prefix: "",
    names: &[NAMES],
    further,
};

/// What is added to the variance where the configuration is silent.
const EPSILON: f64 = 1e-5;
/// The largest slope where the configuration is silent.
const SLOPE: f64 = 8.0;

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "no_bias", true)?;
    let ratio = config.integer("expansion_ratio")?.unwrap_or(4);
    draft.integer("feed_forward_length", config.required("d_model")?.saturating_mul(ratio));
    draft.float("attention.layer_norm_epsilon", config.number("layer_norm_epsilon")?.unwrap_or(EPSILON));
    let attention = config.object("attn_config")?.ok_or_else(|| config.error("attn_config", "it is missing"))?;
    if attention.bool("alibi")? != Some(true) {
        return Err(unsupported(&attention, "alibi", "learned positions"));
    }
    for (key, computed) in [("qk_ln", false), ("prefix_lm", false)] {
        expect_bool(&attention, key, computed)?;
    }
    for key in ["clip_qkv", "softmax_scale"] {
        if let Some(value) = attention.number(key)? {
            return Err(unsupported(&attention, key, value));
        }
    }
    draft.float("attention.max_alibi_bias", attention.number("alibi_bias_max")?.unwrap_or(SLOPE));
    Ok(())
}
