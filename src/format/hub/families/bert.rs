//! bert: BERT and sentence encoders of its shape; published with and without a prefix, older ones with older names of the norms' parts.

use super::super::names::{Name, keep, unused};
use super::{Config, Draft, Family, Key, Result, RotaryRows, expect_bool, number, optional, size, unsupported};

const KEYS: &[Key] = &[
    size("hidden_size", "embedding_length"),
    size("intermediate_size", "feed_forward_length"),
    size("num_hidden_layers", "block_count"),
    size("num_attention_heads", "attention.head_count"),
    size("max_position_embeddings", "context_length"),
    optional("vocab_size", "vocab_size"),
    number("layer_norm_eps", "attention.layer_norm_epsilon"),
];

const BARE: &[Name] = &[
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

const PREFIXED: &[Name] = &[
    keep("bert.embeddings.word_embeddings.weight", "token_embd.weight"),
    keep("bert.embeddings.position_embeddings.weight", "position_embd.weight"),
    keep("bert.embeddings.token_type_embeddings.weight", "token_types.weight"),
    keep("bert.embeddings.LayerNorm.weight", "token_embd_norm.weight"),
    keep("bert.embeddings.LayerNorm.gamma", "token_embd_norm.weight"),
    keep("bert.embeddings.LayerNorm.bias", "token_embd_norm.bias"),
    keep("bert.embeddings.LayerNorm.beta", "token_embd_norm.bias"),
    keep("bert.encoder.layer.{}.attention.output.LayerNorm.weight", "blk.{}.attn_output_norm.weight"),
    keep("bert.encoder.layer.{}.attention.output.LayerNorm.gamma", "blk.{}.attn_output_norm.weight"),
    keep("bert.encoder.layer.{}.attention.output.LayerNorm.bias", "blk.{}.attn_output_norm.bias"),
    keep("bert.encoder.layer.{}.attention.output.LayerNorm.beta", "blk.{}.attn_output_norm.bias"),
    keep("bert.encoder.layer.{}.output.LayerNorm.weight", "blk.{}.layer_output_norm.weight"),
    keep("bert.encoder.layer.{}.output.LayerNorm.gamma", "blk.{}.layer_output_norm.weight"),
    keep("bert.encoder.layer.{}.output.LayerNorm.bias", "blk.{}.layer_output_norm.bias"),
    keep("bert.encoder.layer.{}.output.LayerNorm.beta", "blk.{}.layer_output_norm.bias"),
    keep("bert.encoder.layer.{}.attention.self.query.weight", "blk.{}.attn_q.weight"),
    keep("bert.encoder.layer.{}.attention.self.query.bias", "blk.{}.attn_q.bias"),
    keep("bert.encoder.layer.{}.attention.self.key.weight", "blk.{}.attn_k.weight"),
    keep("bert.encoder.layer.{}.attention.self.key.bias", "blk.{}.attn_k.bias"),
    keep("bert.encoder.layer.{}.attention.self.value.weight", "blk.{}.attn_v.weight"),
    keep("bert.encoder.layer.{}.attention.self.value.bias", "blk.{}.attn_v.bias"),
    keep("bert.encoder.layer.{}.attention.output.dense.weight", "blk.{}.attn_output.weight"),
    keep("bert.encoder.layer.{}.attention.output.dense.bias", "blk.{}.attn_output.bias"),
    keep("bert.encoder.layer.{}.intermediate.dense.weight", "blk.{}.ffn_up.weight"),
    keep("bert.encoder.layer.{}.intermediate.dense.bias", "blk.{}.ffn_up.bias"),
    keep("bert.encoder.layer.{}.output.dense.weight", "blk.{}.ffn_down.weight"),
    keep("bert.encoder.layer.{}.output.dense.bias", "blk.{}.ffn_down.bias"),
    unused("bert.embeddings.position_ids"),
    unused("bert.pooler.dense.weight"),
    unused("bert.pooler.dense.bias"),
];

pub(super) const BERT: Family = Family {
    model_types: &["bert"],
    architecture: "bert",
    rotary: RotaryRows::AsConverted,
    activations: &["gelu"],
    keys: &[KEYS],
    names: &[BARE, PREFIXED],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "is_decoder", false)?;
    match config.text("position_embedding_type")? {
        None | Some("absolute") => {}
        Some(other) => return Err(unsupported(config, "position_embedding_type", other.escape_debug())),
    }
    draft.bool("attention.causal", false);
    Ok(())
}
