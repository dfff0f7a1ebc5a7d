//! cohere: Command R and R+. GGUF calls the architecture command-r; its rows are in pairs as published.

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
    number("logit_scale", "logit_scale"),
];

const HEAD_NORMS: &[Name] = &[
    keep("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"),
    keep("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"),
];

pub(super) const COHERE: Family = Family {
    model_types: &["cohere"],
    architecture: "command-r",
    rotary: RotaryRows::AsConverted,
    activations: &["silu"],
    keys: &[KEYS],
    names: &[ATTENTION, FEED_FORWARD, HEAD_NORMS],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    heads(config, draft)
}
