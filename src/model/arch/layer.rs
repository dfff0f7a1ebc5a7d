//! The weights of one block, by the names of GGUF.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::kernels::Matrix;
use crate::kernels::ops::{ExpertMatrices, Experts, HeadNorm, NormWeights};

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::family::{Family, Mixture, NormKind, Norms, Presence, QkNorm, Residual};

/// A projection: `W·x + b`.
pub type Linear = (Matrix, Option<Arc<[f32]>>);

/// Query, key and value projections.
pub enum Qkv {
    /// One matrix: all query heads, then all key heads, then all value heads.
    Fused(Linear),
    /// Three.
    Split([Linear; 3]),
}

/// One block.
pub struct Layer {
    pub attn_norm: Option<NormWeights>,
    pub qkv: Qkv,
    pub q_norm: Option<HeadNorm>,
    pub k_norm: Option<HeadNorm>,
    pub sinks: Option<Arc<[f32]>>,
    pub attn_output: Linear,
    pub attn_post_norm: Option<NormWeights>,
    /// None where the feed-forward layer reads what the attention reads, or the stream itself.
    pub ffn_norm: Option<NormWeights>,
    pub ffn: FeedForward,
    pub ffn_post_norm: Option<NormWeights>,
    /// Attention and feed-forward layer stand side by side.
    pub parallel: bool,
}

/// The feed-forward layer of a block.
pub enum FeedForward {
    /// `Wdown·activation(Wup·x)`
    Plain { up: Linear, down: Linear },
    /// `Wdown·(activation(Wgate·x) ∘ Wup·x)`
    Gated { gate: Matrix, up: Matrix, down: Linear },
    /// A router and its experts, and one that computes for every token.
    Mixture { router: Linear, experts: Box<Experts>, shared: Option<Shared> },
}

/// An expert that computes for every token, weighted by `σ(switch·x)`.
pub struct Shared {
    pub switch: Matrix,
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
}

/// Loads the parts of one block.
pub struct Loader<'l, 'w> {
    pub family: &'l Family,
    pub config: &'l ModelConfig,
    pub weights: &'l mut Weights<'w>,
}

impl Loader<'_, '_> {
    /// The norm `name`.
    pub fn norm(&mut self, name: &str) -> Result<NormWeights> {
        let n = self.config.embedding_length;
        let weight = self.weights.vector(&format!("{name}.weight"), n)?;
        let bias = match self.family.norm {
            NormKind::Rms => None,
            NormKind::Layer => Some(self.weights.vector(&format!("{name}.bias"), n)?),
            NormKind::LayerUnbiased => Some(self.weights.zeros(n)?),
        };
        Ok(NormWeights { weight, bias, eps: self.config.norm_epsilon })
    }

    fn linear(&mut self, name: &str, rows: usize, cols: usize, bias: Presence) -> Result<Linear> {
        let weight = self.weights.matrix(&format!("{name}.weight"), rows, cols)?;
        Ok((weight, self.bias(name, rows, bias)?))
    }

    /// The bias of `name`.
    pub fn bias(&mut self, name: &str, len: usize, presence: Presence) -> Result<Option<Arc<[f32]>>> {
        let name = format!("{name}.bias");
        match presence {
            Presence::Always => self.weights.vector(&name, len).map(Some),
            Presence::Sometimes => self.weights.optional_vector(&name, len),
            Presence::Never => Ok(None),
        }
    }

    /// Block `index`.
    pub fn layer(mut self, index: usize) -> Result<Layer> {
        let (family, config) = (self.family, self.config);
        let name = |part: &str| format!("blk.{index}.{part}");
        let norms = family.norms;
        let before = matches!(norms, Norms::Before | Norms::BeforeAndAfter);
        // Falcon with two norms has one for the attention beside the one that all Falcons have.
        let second = self.weights.contains(&name("attn_norm_2.weight"));
        let first_norm = if before { Some(self.norm(&name("attn_norm"))?) } else { None };
        let parallel = match family.residual {
            Residual::Sequential => false,
            Residual::Parallel => true,
            Residual::ByKey => config
                .use_parallel_residual
                .ok_or_else(|| Error::invalid_file(format!("key '{}.use_parallel_residual' is missing", config.architecture)))?,
            Residual::ByNorm => !self.weights.contains(&name(&format!("{}.weight", family.ffn_norm))),
        };
        let (attn_norm, ffn_norm) = match (before, second, family.residual) {
            (false, ..) => (None, None),
            (true, true, Residual::Parallel) => (Some(self.norm(&name("attn_norm_2"))?), first_norm),
            (true, _, Residual::Parallel) => (first_norm, None),
            (true, _, Residual::ByNorm) if parallel => (first_norm, None),
            _ => (first_norm, Some(self.norm(&name(family.ffn_norm))?)),
        };
        let (attn_post, ffn_post) = match norms {
            Norms::Before => (None, None),
            Norms::BeforeAndAfter | Norms::After => (Some("post_attention_norm"), Some("post_ffw_norm")),
            Norms::OfStream => (Some("attn_output_norm"), Some("layer_output_norm")),
        };
        let mut post = |part: Option<&str>| part.map(|part| self.norm(&name(part))).transpose();
        let (attn_post_norm, ffn_post_norm) = (post(attn_post)?, post(ffn_post)?);
        let (q, k) = (config.query_length(), config.head_count_kv * config.key_length);
        let values = config.head_count * config.value_length;
        Ok(Layer {
            attn_norm,
            qkv: self.qkv(index)?,
            q_norm: self.head_norm(&name("attn_q_norm"), config.head_count, q)?,
            k_norm: self.head_norm(&name("attn_k_norm"), config.head_count_kv, k)?,
            sinks: if family.sinks { Some(self.weights.vector(&name("attn_sinks.weight"), config.head_count)?) } else { None },
            attn_output: self.linear(&name("attn_output"), config.embedding_length, values, family.attn_output_bias)?,
            attn_post_norm,
            ffn_norm,
            ffn: self.feed_forward(index)?,
            ffn_post_norm,
            parallel,
        })
    }

    fn qkv(&mut self, index: usize) -> Result<Qkv> {
        let (config, bias) = (self.config, self.family.qkv_bias);
        let width = config.embedding_length;
        let (q, k, v) = (config.query_length(), config.head_count_kv * config.key_length, config.head_count_kv * config.value_length);
        if self.weights.contains(&format!("blk.{index}.attn_qkv.weight")) {
            return self.linear(&format!("blk.{index}.attn_qkv"), q + k + v, width, bias).map(Qkv::Fused);
        }
        let mut part = |part: &str, rows: usize| self.linear(&format!("blk.{index}.{part}"), rows, width, bias);
        Ok(Qkv::Split([part("attn_q", q)?, part("attn_k", k)?, part("attn_v", v)?]))
    }

    fn head_norm(&mut self, name: &str, heads: usize, all: usize) -> Result<Option<HeadNorm>> {
        let (eps, dim) = (self.config.norm_epsilon, self.config.key_length);
        let name = format!("{name}.weight");
        let (weight, bias) = match self.family.qk_norm {
            QkNorm::Never => return Ok(None),
            QkNorm::Heads => (self.weights.vector(&name, dim)?, None),
            QkNorm::Whole => (self.weights.vector(&name, all)?, None),
            QkNorm::LayerSometimes if !self.weights.contains_stacked(&name) => return Ok(None),
            QkNorm::LayerSometimes => (self.weights.vectors(&name, heads, dim)?, Some(self.weights.zeros(all)?)),
        };
        Ok(Some(HeadNorm { norm: NormWeights { weight, bias, eps }, whole: self.family.qk_norm == QkNorm::Whole }))
    }

    fn feed_forward(&mut self, index: usize) -> Result<FeedForward> {
        let (family, config) = (self.family, self.config);
        let name = |part: &str| format!("blk.{index}.{part}");
        let (width, ffn) = (config.embedding_length, config.feed_forward_length);
        if config.expert_count > 0 {
            let Some(mixture) = family.experts else {
                return Err(Error::unsupported(format!("experts in architecture '{}'", config.architecture)));
            };
            return self.mixture(index, mixture);
        }
        if !family.gated {
            let up = self.linear(&name("ffn_up"), ffn, width, family.ffn_bias)?;
            return Ok(FeedForward::Plain { up, down: self.linear(&name("ffn_down"), width, ffn, family.ffn_bias)? });
        }
        let (gate, up) = match family.fused_gate {
            true => self.weights.halves(&name("ffn_up.weight"), ffn, width)?,
            false => (self.weights.matrix(&name("ffn_gate.weight"), ffn, width)?, self.weights.matrix(&name("ffn_up.weight"), ffn, width)?),
        };
        Ok(FeedForward::Gated { gate, up, down: self.linear(&name("ffn_down"), width, ffn, family.ffn_bias)? })
    }

    fn mixture(&mut self, index: usize, mixture: Mixture) -> Result<FeedForward> {
        let config = self.config;
        let name = |part: &str| format!("blk.{index}.{part}");
        let (width, count) = (config.embedding_length, config.expert_count);
        let ffn = config.expert_feed_forward_length.unwrap_or(config.feed_forward_length);
        let bias = if mixture.biases { Presence::Always } else { Presence::Never };
        let mut matrices = |part: &str, rows: usize, cols: usize| -> Result<ExpertMatrices> {
            let weights = self.weights.matrices(&name(&format!("{part}.weight")), count, rows, cols)?;
            let biases = if mixture.biases { Some(self.weights.vectors(&name(&format!("{part}.bias")), count, rows)?) } else { None };
            Ok(ExpertMatrices { weights, biases })
        };
        let experts = Box::new(Experts {
            gate: matrices("ffn_gate_exps", ffn, width)?,
            up: matrices("ffn_up_exps", ffn, width)?,
            down: matrices("ffn_down_exps", width, ffn)?,
            activation: self.family.activation,
            routing: mixture.routing,
        });
        let router = self.linear(&name("ffn_gate_inp"), count, width, bias)?;
        let shared = match mixture.shared {
            false => None,
            true => {
                let ffn = config.expert_shared_feed_forward_length.unwrap_or(config.feed_forward_length);
                let mut matrix = |part: &str, rows, cols| self.weights.matrix(&name(&format!("{part}.weight")), rows, cols);
                Some(Shared {
                    switch: matrix("ffn_gate_inp_shexp", 1, width)?,
                    gate: matrix("ffn_gate_shexp", ffn, width)?,
                    up: matrix("ffn_up_shexp", ffn, width)?,
                    down: matrix("ffn_down_shexp", width, ffn)?,
                })
            }
        };
        Ok(FeedForward::Mixture { router, experts, shared })
    }
}
