//! stablelm: the tensors of llama, with biases in the norms; the heads of the largest have norms of their own.

use super::super::names::{Name, keep};
use super::llama::{ATTENTION, FEED_FORWARD};
use super::{Config, Draft, Family, Key, Result, RotaryRows, heads, number, optional, size};

const KEYS: &[Key] = &[
    size("hidden_size", "embedding_length"),
    size("intermediate_size", "feed_forward_length"),
    size("num_hidden_layers", "block_count"),
    size("num_attention_heads", "attention.head_count"),
    optional("num_key_value_heads", "attention.head_count_kv"),
    size("max_position_embeddings", "context_length"),
    optional("vocab_size", "vocab_size"),
    number("layer_norm_eps", "attention.layer_norm_epsilon"),
];

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
    keys: &[KEYS],
    names: &[ATTENTION, NORM_BIASES, HEAD_NORMS, FEED_FORWARD],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    heads(config, draft)
}
