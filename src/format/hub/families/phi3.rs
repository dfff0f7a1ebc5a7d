//! phi3: Phi-3 and Phi-4, with fused projections.

use super::super::names::{Name, keep, unused};
use super::llama::{RMS_EPSILON, SIZES};
use super::{Family, RotaryRows, heads_and_window};

const NAMES: &[Name] = &[
    keep("model.embed_tokens.weight", "token_embd.weight"),
    keep("model.norm.weight", "output_norm.weight"),
    keep("lm_head.weight", "output.weight"),
    keep("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    keep("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    keep("model.layers.{}.self_attn.qkv_proj.weight", "blk.{}.attn_qkv.weight"),
    keep("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    keep("model.layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight"),
    keep("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
    unused("model.layers.{}.self_attn.rotary_emb.inv_freq"),
];

pub(super) const PHI3: Family = Family {
    model_types: &["phi3"],
    architecture: "phi3",
    rotary: RotaryRows::AsConverted,
    activations: &["silu"],
    keys: &[SIZES, RMS_EPSILON],
    prefix: "",
    names: &[NAMES],
    further: heads_and_window,
};
