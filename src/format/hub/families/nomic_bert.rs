//! nomic_bert: Nomic Embed, with the settings under the names of its own code or those of transformers.

use super::super::names::{Name, keep};
use super::bert::token_types;
use super::{Config, Draft, Family, Key, Result, RotaryRows, expect_bool, heads, optional, required_of, unsupported};

const KEYS: &[Key] = &[optional("vocab_size", "vocab_size")];

const NAMES: &[Name] = &[
    keep("embeddings.word_embeddings.weight", "token_embd.weight"),
    keep("embeddings.token_type_embeddings.weight", "token_types.weight"),
    keep("emb_ln.weight", "token_embd_norm.weight"),
    keep("emb_ln.bias", "token_embd_norm.bias"),
    keep("encoder.layers.{}.attn.Wqkv.weight", "blk.{}.attn_qkv.weight"),
    keep("encoder.layers.{}.attn.out_proj.weight", "blk.{}.attn_output.weight"),
    keep("encoder.layers.{}.norm1.weight", "blk.{}.attn_output_norm.weight"),
    keep("encoder.layers.{}.norm1.bias", "blk.{}.attn_output_norm.bias"),
    keep("encoder.layers.{}.norm2.weight", "blk.{}.layer_output_norm.weight"),
    keep("encoder.layers.{}.norm2.bias", "blk.{}.layer_output_norm.bias"),
    keep("encoder.layers.{}.mlp.fc11.weight", "blk.{}.ffn_up.weight"),
    keep("encoder.layers.{}.mlp.fc12.weight", "blk.{}.ffn_gate.weight"),
    keep("encoder.layers.{}.mlp.fc2.weight", "blk.{}.ffn_down.weight"),
];

pub(super) const NOMIC_BERT: Family = Family {
    model_types: &["nomic_bert"],
    architecture: "nomic-bert",
    rotary: RotaryRows::AsConverted,
    activations: &["silu", "swiglu"],
    keys: &[KEYS],
    prefix: "",
    names: &[NAMES],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    for (key, computed) in
        [("qkv_proj_bias", false), ("mlp_fc1_bias", false), ("mlp_fc2_bias", false), ("prenorm", false), ("causal", false)]
    {
        expect_bool(config, key, computed)?;
    }
    for (names, canonical) in [
        (["hidden_size", "n_embd"], "embedding_length"),
        (["intermediate_size", "n_inner"], "feed_forward_length"),
        (["num_hidden_layers", "n_layer"], "block_count"),
        (["num_attention_heads", "n_head"], "attention.head_count"),
        (["max_position_embeddings", "n_positions"], "context_length"),
    ] {
        draft.integer(canonical, required_of(config, &names)?);
    }
    for key in ["layer_norm_epsilon", "layer_norm_eps"] {
        config.number(key)?.into_iter().for_each(|epsilon| draft.float("attention.layer_norm_epsilon", epsilon));
    }
    draft.bool("attention.causal", false);
    config.number("rotary_emb_base")?.into_iter().for_each(|base| draft.float("rope.freq_base", base));
    expect_bool(config, "rotary_emb_interleaved", false)?;
    if let Some(factor) = config.number("rotary_scaling_factor")? {
        return Err(unsupported(config, "rotary_scaling_factor", factor));
    }
    token_types(config, draft)?;
    heads(config, draft)
}
