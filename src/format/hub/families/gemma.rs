//! gemma, gemma2 and gemma3 (text): the tensors of llama; norms are stored as the difference from one.

use super::super::names::{Name, keep, plus_one};
use super::llama::{FEED_FORWARD, RMS_EPSILON, SIZES};
use super::{Config, Draft, Family, Result, RotaryRows, expect_bool, expect_window_every, heads, sliding_window};

const ATTENTION: &[Name] = &[
    keep("model.embed_tokens.weight", "token_embd.weight"),
    keep("lm_head.weight", "output.weight"),
    plus_one("model.norm.weight", "output_norm.weight"),
    plus_one("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    keep("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    keep("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    keep("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    keep("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
];

/// Norms before attention and feed-forward layer.
const BEFORE: &[Name] = &[plus_one("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight")];

/// Norms before and after both.
const BEFORE_AND_AFTER: &[Name] = &[
    plus_one("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"),
    plus_one("model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight"),
    plus_one("model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"),
];

const HEAD_NORMS: &[Name] = &[
    plus_one("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"),
    plus_one("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"),
];

pub(super) const GEMMA: Family = Family {
    model_types: &["gemma"],
    architecture: "gemma",
    rotary: RotaryRows::AsConverted,
    // The first configurations say "gelu" and mean the approximation by tanh.
    activations: &["gelu_pytorch_tanh", "gelu"],
    keys: &[SIZES, RMS_EPSILON],
    prefix: "",
    names: &[ATTENTION, BEFORE, FEED_FORWARD],
    further: heads,
};

pub(super) const GEMMA2: Family = Family {
    model_types: &["gemma2"],
    architecture: "gemma2",
    activations: &["gelu_pytorch_tanh"],
    names: &[ATTENTION, BEFORE_AND_AFTER, FEED_FORWARD],
    further: further2,
    ..GEMMA
};

pub(super) const GEMMA3: Family = Family {
    model_types: &["gemma3_text"],
    architecture: "gemma3",
    names: &[ATTENTION, HEAD_NORMS, BEFORE_AND_AFTER, FEED_FORWARD],
    further: further3,
    ..GEMMA2
};

fn further2(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_window_every(config, 2)?;
    common(config, draft)
}

fn further3(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    expect_window_every(config, 6)?;
    expect_bool(config, "use_bidirectional_attention", false)?;
    common(config, draft)?;
    let local =
        config.object("rope_parameters")?.map(|all| all.object("sliding_attention").map(|own| own.map(|own| own.number("rope_theta"))));
    let base = match local.transpose()?.flatten().transpose()?.flatten() {
        Some(base) => Some(base),
        None => config.number("rope_local_base_freq")?,
    };
    base.into_iter().for_each(|base| draft.float("rope.freq_base_swa", base));
    Ok(())
}

fn common(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    heads(config, draft)?;
    sliding_window(config, draft)?;
    if let Some(scalar) = config.number("query_pre_attn_scalar")? {
        draft.float("attention.scale", 1.0 / scalar.sqrt());
    }
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        config.number(key)?.into_iter().for_each(|cap| draft.float(key, cap));
    }
    Ok(())
}
