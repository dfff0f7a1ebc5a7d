//! gpt2: matrices are stored inputs first; published with and without a prefix.

use super::super::names::{Name, keep, transposed, unused};
use super::{Config, Draft, Family, Key, Result, RotaryRows, expect_bool, number, optional, size};

const KEYS: &[Key] = &[
    size("n_embd", "embedding_length"),
    size("n_layer", "block_count"),
    size("n_head", "attention.head_count"),
    size("n_positions", "context_length"),
    optional("vocab_size", "vocab_size"),
    number("layer_norm_epsilon", "attention.layer_norm_epsilon"),
];

const NAMES: &[Name] = &[
    keep("lm_head.weight", "output.weight"),
    keep("wte.weight", "token_embd.weight"),
    keep("wpe.weight", "position_embd.weight"),
    keep("ln_f.weight", "output_norm.weight"),
    keep("ln_f.bias", "output_norm.bias"),
    keep("h.{}.ln_1.weight", "blk.{}.attn_norm.weight"),
    keep("h.{}.ln_1.bias", "blk.{}.attn_norm.bias"),
    keep("h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"),
    keep("h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"),
    transposed("h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight"),
    keep("h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias"),
    transposed("h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight"),
    keep("h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"),
    transposed("h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight"),
    keep("h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"),
    transposed("h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight"),
    keep("h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"),
    unused("h.{}.attn.bias"),
    unused("h.{}.attn.masked_bias"),
];

pub(super) const GPT2: Family = Family {
    model_types: &["gpt2"],
    architecture: "gpt2",
    rotary: RotaryRows::AsConverted,
    activations: &["gelu_new", "gelu_pytorch_tanh"],
    keys: &[KEYS],
    prefix: "transformer.",
    names: &[NAMES],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "scale_attn_weights", true)?;
    expect_bool(config, "scale_attn_by_inverse_layer_idx", false)?;
    let inner = match config.integer("n_inner")? {
        Some(inner) => inner,
        None => config.required("n_embd")?.saturating_mul(4),
    };
    draft.integer("feed_forward_length", inner);
    Ok(())
}
