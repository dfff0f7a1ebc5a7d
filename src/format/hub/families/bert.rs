//! bert: BERT and sentence encoders of its shape; published with and without a prefix, older ones with older names of the norms' parts.

use super::super::names::{Name, keep, unused};
use super::llama::{EPSILON, SIZES};
use super::{Config, Draft, Family, Result, RotaryRows, expect_bool, unsupported};

const NAMES: &[Name] = &[
    keep("embeddings.word_embeddings.weight", "token_embd.weight"),
    keep("embeddings.position_embeddings.weight", "position_embd.weight"),
    keep("embeddings.token_type_embeddings.weight", "token_types.weight"),
    keep("embeddings.LayerNorm.weight", "token_embd_norm.weight"),
    keep("embeddings.LayerNorm.gamma", "token_embd_norm.weight"),
    keep("embeddings.LayerNorm.bias", "token_embd_norm.bias"),
    keep("embeddings.LayerNorm.beta", "token_embd_norm.bias"),
    keep("encoder.layer.{}.attention.output.LayerNorm.weight", "blk.{}.attn_output_norm.weight"),
    keep("encoder.layer.{}.attention.output.LayerNorm.gamma", "blk.{}.attn_output_norm.weight"),
    keep("encoder.layer.{}.attention.output.LayerNorm.bias", "blk.{}.attn_output_norm.bias"),
    keep("encoder.layer.{}.attention.output.LayerNorm.beta", "blk.{}.attn_output_norm.bias"),
    keep("encoder.layer.{}.output.LayerNorm.weight", "blk.{}.layer_output_norm.weight"),
    keep("encoder.layer.{}.output.LayerNorm.gamma", "blk.{}.layer_output_norm.weight"),
    keep("encoder.layer.{}.output.LayerNorm.bias", "blk.{}.layer_output_norm.bias"),
    keep("encoder.layer.{}.output.LayerNorm.beta", "blk.{}.layer_output_norm.bias"),
    keep("encoder.layer.{}.attention.self.query.weight", "blk.{}.attn_q.weight"),
    keep("encoder.layer.{}.attention.self.query.bias", "blk.{}.attn_q.bias"),
    keep("encoder.layer.{}.attention.self.key.weight", "blk.{}.attn_k.weight"),
    keep("encoder.layer.{}.attention.self.key.bias", "blk.{}.attn_k.bias"),
    keep("encoder.layer.{}.attention.self.value.weight", "blk.{}.attn_v.weight"),
    keep("encoder.layer.{}.attention.self.value.bias", "blk.{}.attn_v.bias"),
    keep("encoder.layer.{}.attention.output.dense.weight", "blk.{}.attn_output.weight"),
    keep("encoder.layer.{}.attention.output.dense.bias", "blk.{}.attn_output.bias"),
    keep("encoder.layer.{}.intermediate.dense.weight", "blk.{}.ffn_up.weight"),
    keep("encoder.layer.{}.intermediate.dense.bias", "blk.{}.ffn_up.bias"),
    keep("encoder.layer.{}.output.dense.weight", "blk.{}.ffn_down.weight"),
    keep("encoder.layer.{}.output.dense.bias", "blk.{}.ffn_down.bias"),
    unused("embeddings.position_ids"),
    unused("pooler.dense.weight"),
    unused("pooler.dense.bias"),
];

pub(super) const BERT: Family = Family {
    model_types: &["bert"],
    architecture: "bert",
    rotary: RotaryRows::AsConverted,
    activations: &["gelu"],
    keys: &[SIZES, EPSILON],
    prefix: "bert.",
    names: &[NAMES],
    further,
};

/// The kinds of tokens that the embedding has rows for.
pub(super) fn token_types(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    config.integer("type_vocab_size")?.into_iter().for_each(|count| draft.entries.integer("tokenizer.ggml.token_type_count", count));
    Ok(())
}

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "is_decoder", false)?;
    match config.text("position_embedding_type")? {
        None | Some("absolute") => {}
        Some(other) => return Err(unsupported(config, "position_embedding_type", other.escape_debug())),
    }
    // No heads are shared, whatever the configuration says of key and value heads.
    draft.integer("attention.head_count_kv", config.required("num_attention_heads")?);
    draft.bool("attention.causal", false);
    token_types(config, draft)
}
