//! llama: Llama 2 and 3, TinyLlama, SmolLM2, Yi; Mistral; with experts, Mixtral.

use super::super::names::{Name, keep, unused};
use super::{Family, Key, RotaryRows, heads_and_window, number, optional, size};

/// The sizes, as llama and most families after it name them.
pub(super) const SIZES: &[Key] = &[
    size("hidden_size", "embedding_length"),
    size("intermediate_size", "feed_forward_length"),
    size("num_hidden_layers", "block_count"),
    size("num_attention_heads", "attention.head_count"),
    optional("num_key_value_heads", "attention.head_count_kv"),
    size("max_position_embeddings", "context_length"),
    optional("vocab_size", "vocab_size"),
];

/// What is added to the mean square in norms.
pub(super) const RMS_EPSILON: &[Key] = &[number("rms_norm_eps", "attention.layer_norm_rms_epsilon")];

/// What is added to the variance in norms.
pub(super) const EPSILON: &[Key] = &[number("layer_norm_eps", "attention.layer_norm_epsilon")];

/// The tensors outside the feed-forward layer.
pub(super) const ATTENTION: &[Name] = &[
    keep("model.embed_tokens.weight", "token_embd.weight"),
    keep("model.norm.weight", "output_norm.weight"),
    keep("lm_head.weight", "output.weight"),
    keep("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    keep("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    keep("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    keep("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    keep("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    keep("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    keep("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"),
    keep("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"),
    keep("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"),
    keep("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"),
    unused("model.layers.{}.self_attn.rotary_emb.inv_freq"),
    unused("model.rotary_emb.inv_freq"),
];

/// The gated feed-forward layer.
pub(super) const FEED_FORWARD: &[Name] = &[
    keep("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"),
    keep("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"),
    keep("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
];

/// Mixtral's experts, a matrix each.
const EXPERTS: &[Name] = &[
    keep("model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"),
    keep("model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "blk.{}.ffn_gate.{}.weight"),
    keep("model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "blk.{}.ffn_down.{}.weight"),
    keep("model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "blk.{}.ffn_up.{}.weight"),
];

/// The converter for GGUF permutes query and key rows, so that published weights differ.
pub(super) const LLAMA: Family = Family {
    model_types: &["llama", "mistral"],
    architecture: "llama",
    rotary: RotaryRows::Halves,
    activations: &["silu"],
    keys: &[SIZES, RMS_EPSILON],
    prefix: "",
    names: &[ATTENTION, FEED_FORWARD],
    further: heads_and_window,
};

pub(super) const MIXTRAL: Family = Family {
    model_types: &["mixtral"],
    keys: &[SIZES, RMS_EPSILON, &[size("num_local_experts", "expert_count"), size("num_experts_per_tok", "expert_used_count")]],
    names: &[ATTENTION, EXPERTS],
    ..LLAMA
};
