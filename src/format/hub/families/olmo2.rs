//! olmo2: norms after attention and feed-forward layer, and of queries and keys.

use super::super::names::{Name, keep};
use super::llama::{FEED_FORWARD, RMS_EPSILON, SIZES};
use super::{Family, RotaryRows, heads};

const NAMES: &[Name] = &[
    keep("model.embed_tokens.weight", "token_embd.weight"),
    keep("model.norm.weight", "output_norm.weight"),
    keep("lm_head.weight", "output.weight"),
    keep("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"),
    keep("model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"),
    keep("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    keep("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    keep("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    keep("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    keep("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"),
    keep("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"),
];

pub(super) const OLMO2: Family = Family {
    model_types: &["olmo2"],
    architecture: "olmo2",
    rotary: RotaryRows::AsConverted,
    activations: &["silu"],
    keys: &[SIZES, RMS_EPSILON],
    prefix: "",
    names: &[NAMES, FEED_FORWARD],
    further: heads,
};
