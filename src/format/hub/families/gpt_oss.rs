//! gpt_oss: a stack of matrices for all experts, the rows of gate and up in turn; published in MXFP4, and by libraries that write it anew in plain
//! floats, inputs first.

use super::super::names::{Change, Lot, Name, changed, keep, unused};
use super::llama::{ATTENTION, RMS_EPSILON, SIZES};
use super::rope::{self, Bounds};
use super::{Config, Draft, Family, Result, RotaryRows, expect_bool, expect_number, expect_window_every, head_sizes, size, sliding_window};

const NAMES: &[Name] = &[
    keep("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"),
    keep("model.layers.{}.self_attn.sinks", "blk.{}.attn_sinks.weight"),
    keep("model.layers.{}.mlp.router.weight", "blk.{}.ffn_gate_inp.weight"),
    keep("model.layers.{}.mlp.router.bias", "blk.{}.ffn_gate_inp.bias"),
    changed("model.layers.{}.mlp.experts.gate_up_proj_bias", "blk.{}.ffn_gate_exps.bias", Change::Pick(Lot::Even)),
    changed("model.layers.{}.mlp.experts.gate_up_proj_bias", "blk.{}.ffn_up_exps.bias", Change::Pick(Lot::Odd)),
    keep("model.layers.{}.mlp.experts.down_proj_bias", "blk.{}.ffn_down_exps.bias"),
];

const QUANTISED: &[Name] = &[
    changed("model.layers.{}.mlp.experts.gate_up_proj_blocks", "blk.{}.ffn_gate_exps.weight", Change::Mxfp4(Lot::Even)),
    changed("model.layers.{}.mlp.experts.gate_up_proj_blocks", "blk.{}.ffn_up_exps.weight", Change::Mxfp4(Lot::Odd)),
    changed("model.layers.{}.mlp.experts.down_proj_blocks", "blk.{}.ffn_down_exps.weight", Change::Mxfp4(Lot::All)),
    unused("model.layers.{}.mlp.experts.gate_up_proj_scales"),
    unused("model.layers.{}.mlp.experts.down_proj_scales"),
];

const PLAIN: &[Name] = &[
    changed("model.layers.{}.mlp.experts.gate_up_proj", "blk.{}.ffn_gate_exps.weight", Change::Transpose(Lot::Even)),
    changed("model.layers.{}.mlp.experts.gate_up_proj", "blk.{}.ffn_up_exps.weight", Change::Transpose(Lot::Odd)),
    changed("model.layers.{}.mlp.experts.down_proj", "blk.{}.ffn_down_exps.weight", Change::Transpose(Lot::All)),
];

pub(super) const GPT_OSS: Family = Family {
    model_types: &["gpt_oss"],
    architecture: "gpt-oss",
    rotary: RotaryRows::AsConverted,
    activations: &["silu"],
    keys: &[SIZES, RMS_EPSILON, &[size("num_local_experts", "expert_count"), size("num_experts_per_tok", "expert_used_count")]],
    prefix: "",
    names: &[NAMES, QUANTISED, PLAIN, ATTENTION],
    further,
};

fn further(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_bool(config, "attention_bias", true)?;
    expect_number(config, "swiglu_alpha", 1.702)?;
    expect_number(config, "swiglu_limit", 7.0)?;
    expect_window_every(config, 2)?;
    draft.integer("expert_feed_forward_length", config.required("intermediate_size")?);
    let rotated = head_sizes(config, draft)?;
    rope::settle(config, rotated, Bounds::Fractional, draft)?;
    sliding_window(config, draft)
}
