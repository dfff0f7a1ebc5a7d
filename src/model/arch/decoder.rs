//! The decoder that llama and its descendants share: pre-norm blocks of grouped-query attention and a gated feed-forward layer
//! around a residual stream (Touvron et al. 2023, arXiv 2302.13971; GQA: arXiv 2305.13245).

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::kernels::Matrix;
use crate::kernels::ops::{
    Activation, Attention, Epilogue, ExpertViews, Experts, FloatView, HeadNorm, NormWeights, Product, Program, ProgramBuilder, Rope,
    RopeStyle, RotateStore,
};

use super::super::config::ModelConfig;
use super::super::weights::Weights;

/// What differs between the families.
pub struct Family {
    /// Pairing of the rotary embedding.
    pub rope: RopeStyle,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: Presence,
    /// Whether queries and keys are normalised per head.
    pub head_norms: bool,
    /// Whether a model of the family may have a mixture of experts.
    pub experts: bool,
}

/// Whether a part is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In every model of the family.
    Always,
    /// In some: the file decides.
    Sometimes,
    /// In none.
    Never,
}

/// One block.
struct Layer {
    attn_norm: NormWeights,
    q: (Matrix, Option<Arc<[f32]>>),
    k: (Matrix, Option<Arc<[f32]>>),
    v: (Matrix, Option<Arc<[f32]>>),
    q_norm: Option<HeadNorm>,
    k_norm: Option<HeadNorm>,
    attn_output: (Matrix, Option<Arc<[f32]>>),
    ffn_norm: NormWeights,
    ffn: FeedForward,
}

/// The feed-forward layer of a block.
enum FeedForward {
    Plain {
        gate: Matrix,
        up: Matrix,
        down: Matrix,
    },
    /// A router and its experts.
    Mixture {
        router: Matrix,
        experts: Experts,
    },
}

impl FeedForward {
    fn load(family: &Family, config: &ModelConfig, weights: &mut Weights<'_>, layer: usize) -> Result<Self> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (width, ffn, count) = (config.embedding_length, config.feed_forward_length, config.expert_count);
        if count == 0 {
            return Ok(Self::Plain {
                gate: weights.matrix(&name("ffn_gate"), ffn, width)?,
                up: weights.matrix(&name("ffn_up"), ffn, width)?,
                down: weights.matrix(&name("ffn_down"), width, ffn)?,
            });
        }
        if !family.experts {
            return Err(Error::unsupported(format!("experts in architecture '{}'", config.architecture)));
        }
        Ok(Self::Mixture {
            router: weights.matrix(&name("ffn_gate_inp"), count, width)?,
            experts: Experts {
                gate: weights.matrices(&name("ffn_gate_exps"), count, ffn, width)?,
                up: weights.matrices(&name("ffn_up_exps"), count, ffn, width)?,
                down: weights.matrices(&name("ffn_down_exps"), count, width, ffn)?,
                activation: Activation::Silu,
            },
        })
    }
}

impl Layer {
    fn load(family: &Family, config: &ModelConfig, weights: &mut Weights<'_>, layer: usize) -> Result<Self> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (width, q) = (config.embedding_length, config.query_length());
        let (k, v) = (config.head_count_kv * config.key_length, config.head_count_kv * config.value_length);
        let bias = |weights: &mut Weights<'_>, part: &str, len: usize| match family.qkv_bias {
            Presence::Always => weights.vector(&name(part), len).map(Some),
            Presence::Sometimes => weights.optional_vector(&name(part), len),
            Presence::Never => Ok(None),
        };
        let head_norm = |weights: &mut Weights<'_>, part: &str| -> Result<Option<HeadNorm>> {
            if !family.head_norms {
                return Ok(None);
            }
            Ok(Some(HeadNorm { weight: weights.vector(&name(part), config.key_length)?, eps: config.norm_epsilon }))
        };
        Ok(Self {
            attn_norm: rms_norm(config, weights, &name("attn_norm.weight"))?,
            q: (weights.matrix(&name("attn_q.weight"), q, width)?, bias(weights, "attn_q.bias", q)?),
            k: (weights.matrix(&name("attn_k.weight"), k, width)?, bias(weights, "attn_k.bias", k)?),
            v: (weights.matrix(&name("attn_v.weight"), v, width)?, bias(weights, "attn_v.bias", v)?),
            q_norm: head_norm(weights, "attn_q_norm.weight")?,
            k_norm: head_norm(weights, "attn_k_norm.weight")?,
            attn_output: (
                weights.matrix(&name("attn_output.weight"), width, config.head_count * config.value_length)?,
                if family.qkv_bias == Presence::Sometimes { weights.optional_vector(&name("attn_output.bias"), width)? } else { None },
            ),
            ffn_norm: rms_norm(config, weights, &name("ffn_norm.weight"))?,
            ffn: FeedForward::load(family, config, weights, layer)?,
        })
    }
}

/// Builds the forward pass, with a pause before each layer.
pub async fn build(family: &Family, config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    let (width, heads) = (config.embedding_length, config.head_count);
    let vocabulary = weights.rows("token_embd.weight")?;
    let embedding = weights.matrix("token_embd.weight", vocabulary, width)?;
    let output_norm = rms_norm(config, weights, "output_norm.weight")?;
    let output = weights.optional_matrix("output.weight", vocabulary, width)?.unwrap_or_else(|| embedding.clone());
    let rope = Arc::new(rope(family.rope, config, weights)?);

    let mut b = ProgramBuilder::new(config.kv_shape());
    let x = b.floats(width); // the residual stream
    let q = b.floats(config.query_length());
    let k = b.floats(config.head_count_kv * config.key_length);
    let v = b.floats(config.head_count_kv * config.value_length);
    let attended = b.floats(heads * config.value_length);
    let inner = b.floats(config.feed_forward_length * config.expert_used_count.max(1));
    let routing = ExpertViews { logits: b.floats(config.expert_count), routes: b.floats(2 * config.expert_used_count), inner };
    let scale = 1.0 / (config.key_length as f32).sqrt();

    b.embed(&embedding, x)?;
    let table = b.rope_table(&rope);
    for index in 0..config.block_count {
        weights.pause().await;
        let layer = Layer::load(family, config, weights, index)?;
        // x += Wo · attention(norm(x))
        let normed = b.norm("norm", x, &layer.attn_norm, &[&layer.q.0, &layer.k.0, &layer.v.0])?;
        b.matmul(&normed, vec![store(layer.q, q), store(layer.k, k), store(layer.v, v)])?;
        let (q_norm, k_norm) = (layer.q_norm, layer.k_norm);
        b.rotate_store(RotateStore { layer: index, q, k, v, q_norm, k_norm, rope: Some(Arc::clone(&rope)), table: Some(table) })?;
        b.attention(Attention { layer: index, q, out: attended, scale })?;
        let acts = b.quantize("attention", attended, &[&layer.attn_output.0]);
        b.matmul(&acts, vec![add(layer.attn_output, x)])?;
        // x += Wdown · (silu(Wgate · norm(x)) ∘ (Wup · norm(x)))
        match layer.ffn {
            FeedForward::Plain { gate, up, down } => {
                let normed = b.norm("norm", x, &layer.ffn_norm, &[&gate, &up])?;
                b.gated(&normed, &gate, &up, Activation::Silu, inner)?;
                let acts = b.quantize("ffn", inner, &[&down]);
                b.matmul(&acts, vec![add((down, None), x)])?;
            }
            FeedForward::Mixture { router, experts } => {
                let readers: Vec<&Matrix> = [&router].into_iter().chain(&experts.gate).chain(&experts.up).collect();
                let normed = b.norm("norm", x, &layer.ffn_norm, &readers)?;
                b.matmul(&normed, vec![store((router, None), routing.logits)])?;
                b.experts(&normed, routing, experts, x)?;
            }
        }
    }
    let normed = b.norm_outputs("output", x, &output_norm, &[&output])?;
    b.finish(&normed, &output, None)
}

fn rms_norm(config: &ModelConfig, weights: &mut Weights<'_>, name: &str) -> Result<NormWeights> {
    Ok(NormWeights { weight: weights.vector(name, config.embedding_length)?, bias: None, eps: config.norm_epsilon })
}

/// `out = W·x + b`
pub fn store((weight, bias): (Matrix, Option<Arc<[f32]>>), out: FloatView) -> Product {
    Product { weight, bias, out, epilogue: Epilogue::Store }
}

/// `out += W·x + b`
pub fn add((weight, bias): (Matrix, Option<Arc<[f32]>>), out: FloatView) -> Product {
    Product { weight, bias, out, epilogue: Epilogue::Add }
}

/// The rotary embedding; `style` is how the family's GGUF files pair the rows.
///
/// Frequencies `base^(−2i/n) / scale`, divided by the factors of `rope_freqs.weight` where the file has them (Llama 3.1 and later).
pub fn rope(style: RopeStyle, config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Rope> {
    let pairs = config.rope_dimension_count / 2;
    let factors = weights.optional_vector("rope_freqs.weight", pairs)?;
    let frequencies = (0..pairs)
        .map(|i| {
            let frequency = config.rope_freq_base.powf(-2.0 * i as f64 / config.rope_dimension_count as f64) / config.rope_scale;
            frequency / factors.as_ref().map_or(1.0, |f| f64::from(f[i]))
        })
        .collect();
    Ok(Rope { style: weights.rope_style(style), frequencies, magnitude: 1.0 })
}
