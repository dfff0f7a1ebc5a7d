//! falcon: Falcon 7B, 40B, 180B. Query, key and value rows lie group by group.

use super::super::names::{Grouping, Name, keep, regrouped};
use super::{Config, Draft, Family, Key, Result, RotaryRows, expect_bool, heads, number, one_of, optional, required_of, size};

const KEYS: &[Key] = &[
    size("hidden_size", "embedding_length"),
    optional("vocab_size", "vocab_size"),
    number("layer_norm_epsilon", "attention.layer_norm_epsilon"),
];

const NAMES: &[Name] = &[
    keep("transformer.word_embeddings.weight", "token_embd.weight"),
    keep("transformer.ln_f.weight", "output_norm.weight"),
    keep("transformer.ln_f.bias", "output_norm.bias"),
    keep("lm_head.weight", "output.weight"),
    keep("transformer.h.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    keep("transformer.h.{}.input_layernorm.bias", "blk.{}.attn_norm.bias"),
    keep("transformer.h.{}.ln_mlp.weight", "blk.{}.attn_norm.weight"),
    keep("transformer.h.{}.ln_mlp.bias", "blk.{}.attn_norm.bias"),
    keep("transformer.h.{}.ln_attn.weight", "blk.{}.attn_norm_2.weight"),
    keep("transformer.h.{}.ln_attn.bias", "blk.{}.attn_norm_2.bias"),
    regrouped("transformer.h.{}.self_attention.query_key_value.weight", "blk.{}.attn_qkv.weight"),
    keep("transformer.h.{}.self_attention.dense.weight", "blk.{}.attn_output.weight"),
    keep("transformer.h.{}.mlp.dense_h_to_4h.weight", "blk.{}.ffn_up.weight"),
    keep("transformer.h.{}.mlp.dense_4h_to_h.weight", "blk.{}.ffn_down.weight"),
];

pub(super) const FALCON: Family = Family {
    model_types: &["falcon", "RefinedWeb", "RefinedWebModel"],
    architecture: "falcon",
    rotary: RotaryRows::AsConverted,
    activations: &["gelu"],
    keys: &[KEYS],
    prefix: "",
    names: &[NAMES],
    further,
};

/// Positions where the configuration is silent, as transformers has it.
const POSITIONS: u64 = 2048;

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    for (key, computed) in [("alibi", false), ("bias", false), ("parallel_attn", true)] {
        expect_bool(config, key, computed)?;
    }
    let width = config.required("hidden_size")?;
    let count = required_of(config, &["num_attention_heads", "n_head"])?;
    let newer = config.bool("new_decoder_architecture")?.unwrap_or(false);
    let groups = match (newer, config.bool("multi_query")?.unwrap_or(true)) {
        (true, _) => one_of(config, &["num_kv_heads", "n_head_kv"])?.unwrap_or(count),
        (false, true) => 1,
        (false, false) => count,
    };
    draft.integer("attention.head_count", count);
    draft.integer("attention.head_count_kv", groups);
    draft.integer("block_count", required_of(config, &["num_hidden_layers", "n_layer"])?);
    draft.integer("context_length", config.integer("max_position_embeddings")?.unwrap_or(POSITIONS));
    draft.integer("feed_forward_length", config.integer("ffn_hidden_size")?.unwrap_or(width.saturating_mul(4)));
    draft.grouping = Some(Grouping { groups, queries: count / groups.max(1), size: width / count.max(1) });
    heads(config, draft)
}
