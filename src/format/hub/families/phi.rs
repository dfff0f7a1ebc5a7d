//! phi: Phi-1, 1.5 and 2. GGUF calls the architecture phi2.

use super::super::names::{Name, keep, unused};
use super::{Config, Draft, Family, Key, Result, RotaryRows, heads, number, optional, rotated_part, size};
use crate::base::Error;

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

const NAMES: &[Name] = &[
    keep("model.embed_tokens.weight", "token_embd.weight"),
    keep("model.final_layernorm.weight", "output_norm.weight"),
    keep("model.final_layernorm.bias", "output_norm.bias"),
    keep("lm_head.weight", "output.weight"),
    keep("lm_head.bias", "output.bias"),
    keep("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    keep("model.layers.{}.input_layernorm.bias", "blk.{}.attn_norm.bias"),
    keep("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    keep("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"),
    keep("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    keep("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"),
    keep("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    keep("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"),
    keep("model.layers.{}.self_attn.dense.weight", "blk.{}.attn_output.weight"),
    keep("model.layers.{}.self_attn.dense.bias", "blk.{}.attn_output.bias"),
    keep("model.layers.{}.mlp.fc1.weight", "blk.{}.ffn_up.weight"),
    keep("model.layers.{}.mlp.fc1.bias", "blk.{}.ffn_up.bias"),
    keep("model.layers.{}.mlp.fc2.weight", "blk.{}.ffn_down.weight"),
    keep("model.layers.{}.mlp.fc2.bias", "blk.{}.ffn_down.bias"),
    unused("model.layers.{}.self_attn.rotary_emb.inv_freq"),
];

pub(super) const PHI: Family = Family {
    model_types: &["phi"],
    architecture: "phi2",
    rotary: RotaryRows::AsConverted,
    activations: &["gelu_new"],
    keys: &[KEYS],
    names: &[NAMES],
    further,
};

/// Old configurations are silent about the rotated part of the heads, and then mean something else than the rest of the table.
fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    if config.bool("qk_layernorm")? == Some(true) {
        return Err(Error::unsupported(format!("{}: norms of queries and keys", config.place("qk_layernorm"))));
    }
    heads(config, draft)?;
    if rotated_part(config)?.is_none() {
        return Err(config.error("partial_rotary_factor", "it is missing"));
    }
    Ok(())
}
