//! gpt_neox: Pythia and its relatives. Query, key and value rows lie head by head.

use super::super::names::{Grouping, Name, keep, regrouped, unused};
use super::llama::{EPSILON, SIZES};
use super::{Config, Draft, Family, Result, RotaryRows, heads_with_part, number};

const NAMES: &[Name] = &[
    keep("gpt_neox.embed_in.weight", "token_embd.weight"),
    keep("embed_out.weight", "output.weight"),
    keep("gpt_neox.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    keep("gpt_neox.layers.{}.input_layernorm.bias", "blk.{}.attn_norm.bias"),
    keep("gpt_neox.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    keep("gpt_neox.layers.{}.post_attention_layernorm.bias", "blk.{}.ffn_norm.bias"),
    regrouped("gpt_neox.layers.{}.attention.query_key_value.weight", "blk.{}.attn_qkv.weight"),
    regrouped("gpt_neox.layers.{}.attention.query_key_value.bias", "blk.{}.attn_qkv.bias"),
    keep("gpt_neox.layers.{}.attention.dense.weight", "blk.{}.attn_output.weight"),
    keep("gpt_neox.layers.{}.attention.dense.bias", "blk.{}.attn_output.bias"),
    keep("gpt_neox.layers.{}.mlp.dense_h_to_4h.weight", "blk.{}.ffn_up.weight"),
    keep("gpt_neox.layers.{}.mlp.dense_h_to_4h.bias", "blk.{}.ffn_up.bias"),
    keep("gpt_neox.layers.{}.mlp.dense_4h_to_h.weight", "blk.{}.ffn_down.weight"),
    keep("gpt_neox.layers.{}.mlp.dense_4h_to_h.bias", "blk.{}.ffn_down.bias"),
    keep("gpt_neox.final_layer_norm.weight", "output_norm.weight"),
    keep("gpt_neox.final_layer_norm.bias", "output_norm.bias"),
    unused("gpt_neox.layers.{}.attention.bias"),
    unused("gpt_neox.layers.{}.attention.masked_bias"),
    unused("gpt_neox.layers.{}.attention.rotary_emb.inv_freq"),
];

pub(super) const GPT_NEOX: Family = Family {
    model_types: &["gpt_neox"],
    architecture: "gptneox",
    rotary: RotaryRows::AsConverted,
    activations: &["gelu"],
    keys: &[
        SIZES,
        EPSILON,
        // The older name; where there is a newer one, it is read after this.
        &[number("rotary_emb_base", "rope.freq_base")],
    ],
    prefix: "",
    names: &[NAMES],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    draft.bool("use_parallel_residual", config.bool("use_parallel_residual")?.unwrap_or(true));
    let (width, groups) = (config.required("hidden_size")?, config.required("num_attention_heads")?);
    // No heads are shared, whatever the configuration says of key and value heads.
    draft.integer("attention.head_count_kv", groups);
    draft.grouping = Some(Grouping { groups, queries: 1, size: width / groups.max(1) });
    heads_with_part(config, draft)
}
