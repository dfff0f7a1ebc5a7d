//! stablelm: the tensors of llama, with biases in the norms; the heads of the largest have norms of their own.

use super::super::names::{Name, keep};
use super::llama::{ATTENTION, EPSILON, FEED_FORWARD, SIZES};
use super::{Family, RotaryRows, heads_with_part};

const NORM_BIASES: &[Name] = &[
    keep("model.norm.bias", "output_norm.bias"),
    keep("model.layers.{}.input_layernorm.bias", "blk.{}.attn_norm.bias"),
    keep("model.layers.{}.post_attention_layernorm.bias", "blk.{}.ffn_norm.bias"),
];

const HEAD_NORMS: &[Name] = &[
    keep("model.layers.{}.self_attn.q_layernorm.norms.{}.weight", "blk.{}.attn_q_norm.{}.weight"),
    keep("model.layers.{}.self_attn.k_layernorm.norms.{}.weight", "blk.{}.attn_k_norm.{}.weight"),
];

pub(super) const STABLELM: Family = Family {
    model_types: &["stablelm"],
    architecture: "stablelm",
    rotary: RotaryRows::AsConverted,
    activations: &["silu"],
    keys: &[SIZES, EPSILON],
    prefix: "",
    names: &[ATTENTION, NORM_BIASES, HEAD_NORMS, FEED_FORWARD],
    further: heads_with_part,
};
