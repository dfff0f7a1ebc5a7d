//! qwen2 and qwen3, dense: the tensors of llama, with norms on the heads of query and key in qwen3.

use super::super::names::{Name, keep};
use super::llama::{ATTENTION, FEED_FORWARD, RMS_EPSILON, SIZES};
use super::{Family, RotaryRows, heads_and_window};

pub(super) const HEAD_NORMS: &[Name] = &[
    keep("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"),
    keep("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"),
];

pub(super) const QWEN2: Family = Family {
    model_types: &["qwen2"],
    architecture: "qwen2",
    rotary: RotaryRows::AsConverted,
    activations: &["silu"],
    keys: &[SIZES, RMS_EPSILON],
    prefix: "",
    names: &[ATTENTION, FEED_FORWARD],
    further: heads_and_window,
};

pub(super) const QWEN3: Family =
    Family { model_types: &["qwen3"], architecture: "qwen3", names: &[ATTENTION, FEED_FORWARD, HEAD_NORMS], ..QWEN2 };
