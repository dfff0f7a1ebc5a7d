//! phi: Phi-1, 1.5 and 2. GGUF calls the architecture phi2.

use super::super::names::{Name, keep, unused};
use super::llama::{EPSILON, SIZES};
use super::{Config, Draft, Family, Result, RotaryRows, heads_with_part};
use crate::base::Error;

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
    keys: &[SIZES, EPSILON],
    prefix: "",
    names: &[NAMES],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    if config.bool("qk_layernorm")? == Some(true) {
        return Err(Error::unsupported(format!("{}: norms of queries and keys", config.place("qk_layernorm"))));
    }
    heads_with_part(config, draft)
}
