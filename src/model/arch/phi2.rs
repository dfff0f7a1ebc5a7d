//! phi2: Phi-2 (Microsoft 2023): attention and feed-forward layer in parallel on one layer norm, biases everywhere, partial rotary.

use std::sync::Arc;

use crate::base::Result;
use crate::kernels::ops::{Attention, Epilogue, NormWeights, Product, Program, ProgramBuilder, RopeStyle, RotateStore};

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::Building;
use super::decoder::{add, rope, store};

/// Builds the forward pass: `x += Wo·attention(norm(x)) + Wdown·gelu(Wup·norm(x))`.
pub fn build<'a>(config: &'a ModelConfig, weights: &'a mut Weights<'_>) -> Building<'a> {
    Box::pin(by_layers(config, weights))
}

async fn by_layers(config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    let (width, ffn, kv) = (config.embedding_length, config.feed_forward_length, config.head_count_kv);
    let (q_len, k_len, v_len) = (config.query_length(), kv * config.key_length, kv * config.value_length);
    let vocabulary = weights.rows("token_embd.weight")?;
    let embedding = weights.matrix("token_embd.weight", vocabulary, width)?;
    let output_norm = layer_norm(config, weights, "output_norm")?;
    let output = weights.matrix("output.weight", vocabulary, width)?;
    let output_bias = weights.vector("output.bias", vocabulary)?;
    let rope = Arc::new(rope(RopeStyle::Halves, config, weights)?);

    let mut b = ProgramBuilder::new(config.kv_shape());
    let x = b.floats(width); // the residual stream
    let qkv = b.floats(q_len + k_len + v_len);
    let (q, k, v) = (qkv.part(0, q_len), qkv.part(q_len, k_len), qkv.part(q_len + k_len, v_len));
    let attended = b.floats(config.head_count * config.value_length);
    let inner = b.floats(ffn);
    let scale = 1.0 / (config.key_length as f32).sqrt();

    b.embed(&embedding, x)?;
    let table = b.rope_table(&rope);
    for layer in 0..config.block_count {
        weights.pause().await;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let fused = weights.contains(&name("attn_qkv.weight"));
        let mut linear = |part: &str, rows: usize, cols: usize| -> Result<_> {
            let weight = weights.matrix(&name(&format!("{part}.weight")), rows, cols)?;
            Ok((weight, Some(weights.vector(&name(&format!("{part}.bias")), rows)?)))
        };
        let attn_output = linear("attn_output", width, config.head_count * config.value_length)?;
        let (up, down) = (linear("ffn_up", ffn, width)?, linear("ffn_down", width, ffn)?);
        let projections = if fused {
            vec![store(linear("attn_qkv", q_len + k_len + v_len, width)?, qkv)]
        } else {
            let parts = [("attn_q", q), ("attn_k", k), ("attn_v", v)];
            parts.into_iter().map(|(part, out)| Ok(store(linear(part, out.len, width)?, out))).collect::<Result<_>>()?
        };
        let norm = layer_norm(config, weights, &name("attn_norm"))?;

        let mut readers: Vec<_> = projections.iter().map(|p| &p.weight).collect();
        readers.push(&up.0);
        let normed = b.norm("norm", x, &norm, &readers)?;
        let (weight, bias) = up;
        let mut products = projections;
        products.push(Product { weight, bias, out: inner, epilogue: Epilogue::Gelu });
        b.matmul(&normed, products)?;
        b.rotate_store(RotateStore { layer, q, k, v, q_norm: None, k_norm: None, rope: Some(Arc::clone(&rope)), table: Some(table) })?;
        b.attention(Attention { layer, q, out: attended, scale })?;
        let acts = b.quantize("attention", attended, &[&attn_output.0]);
        b.matmul(&acts, vec![add(attn_output, x)])?;
        let acts = b.quantize("ffn", inner, &[&down.0]);
        b.matmul(&acts, vec![add(down, x)])?;
    }
    let normed = b.norm_outputs("output", x, &output_norm, &[&output])?;
    b.finish(&normed, &output, Some(output_bias))
}

fn layer_norm(config: &ModelConfig, weights: &mut Weights<'_>, name: &str) -> Result<NormWeights> {
    let n = config.embedding_length;
    let (weight, bias) = (weights.vector(&format!("{name}.weight"), n)?, weights.vector(&format!("{name}.bias"), n)?);
    Ok(NormWeights { weight, bias: Some(bias), eps: config.norm_epsilon })
}
