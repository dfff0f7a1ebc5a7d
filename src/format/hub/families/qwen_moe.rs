//! qwen2_moe and qwen3_moe: qwen2 and qwen3 with experts in every layer.

use super::super::names::{Name, keep};
use super::llama::{ATTENTION, RMS_EPSILON, SIZES};
use super::qwen::{HEAD_NORMS, QWEN2};
use super::{
    Config, Draft, Family, Key, Result, expect_bool, expect_integer, heads, optional, required_of, size, sliding_window, unsupported,
};

const EXPERT_SIZES: &[Key] = &[
    size("num_experts_per_tok", "expert_used_count"),
    size("moe_intermediate_size", "expert_feed_forward_length"),
    optional("shared_expert_intermediate_size", "expert_shared_feed_forward_length"),
];

/// A matrix each.
const EXPERTS: &[Name] = &[
    keep("model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight"),
    keep("model.layers.{}.mlp.experts.{}.gate_proj.weight", "blk.{}.ffn_gate.{}.weight"),
    keep("model.layers.{}.mlp.experts.{}.up_proj.weight", "blk.{}.ffn_up.{}.weight"),
    keep("model.layers.{}.mlp.experts.{}.down_proj.weight", "blk.{}.ffn_down.{}.weight"),
];

/// The expert that computes for every token.
const SHARED: &[Name] = &[
    keep("model.layers.{}.mlp.shared_expert.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight"),
    keep("model.layers.{}.mlp.shared_expert.up_proj.weight", "blk.{}.ffn_up_shexp.weight"),
    keep("model.layers.{}.mlp.shared_expert.down_proj.weight", "blk.{}.ffn_down_shexp.weight"),
    keep("model.layers.{}.mlp.shared_expert_gate.weight", "blk.{}.ffn_gate_inp_shexp.weight"),
];

pub(super) const QWEN2_MOE: Family = Family {
    model_types: &["qwen2_moe"],
    architecture: "qwen2moe",
    keys: &[SIZES, RMS_EPSILON, EXPERT_SIZES],
    names: &[ATTENTION, EXPERTS, SHARED],
    further: further2,
    ..QWEN2
};

pub(super) const QWEN3_MOE: Family = Family {
    model_types: &["qwen3_moe"],
    architecture: "qwen3moe",
    names: &[ATTENTION, HEAD_NORMS, EXPERTS],
    further: further3,
    ..QWEN2_MOE
};

fn further2(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "norm_topk_prob", false)?;
    common(config, draft)
}

fn further3(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "norm_topk_prob", true)?;
    common(config, draft)
}

fn common(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_integer(config, "decoder_sparse_step", 1)?;
    if config.integers("mlp_only_layers")?.is_some_and(|layers| !layers.is_empty()) {
        return Err(unsupported(config, "mlp_only_layers", "layers without experts"));
    }
    draft.integer("expert_count", required_of(config, &["num_experts", "num_local_experts"])?);
    heads(config, draft)?;
    sliding_window(config, draft)
}
