//! The configuration of a model, read from the metadata of its file and checked.

#![forbid(unsafe_code)]

use crate::base::{Error, Result};
use crate::format::Metadata;
use crate::kernels::kv::KvShape;

use super::arch;

/// Largest value of any size in a configuration: far above real models, small enough that products of three fit in 64 bits.
const MOST: u64 = 1 << 20;

/// Sizes and constants of a model. Names as in the GGUF metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `general.architecture`
    pub architecture: String,
    /// `general.name`
    pub name: Option<String>,
    /// Positions that the model was trained for.
    pub context_length: usize,
    /// Width of the residual stream.
    pub embedding_length: usize,
    /// Number of layers.
    pub block_count: usize,
    /// Width of the feed-forward layer.
    pub feed_forward_length: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key/value heads.
    pub head_count_kv: usize,
    /// Elements of a query or key head.
    pub key_length: usize,
    /// Elements of a value head.
    pub value_length: usize,
    /// Experts of a feed-forward layer; 0 for a plain one.
    pub expert_count: usize,
    /// Experts that compute for each token.
    pub expert_used_count: usize,
    /// Width of an expert, where it is not that of the feed-forward layer.
    pub expert_feed_forward_length: Option<usize>,
    /// Width of the expert that computes for every token.
    pub expert_shared_feed_forward_length: Option<usize>,
    /// Added to the variance in norms.
    pub norm_epsilon: f32,
    /// Rotated elements of a head.
    pub rope_dimension_count: usize,
    /// Base of the rotary frequencies.
    pub rope_freq_base: f64,
    /// Base of the rotary frequencies in layers with a sliding window, where it is another.
    pub rope_freq_base_swa: Option<f64>,
    /// How positions beyond those of the first training are rotated.
    pub rope_scaling: RopeScaling,
    /// Positions of the first training, where the file says so.
    pub rope_original: Option<usize>,
    /// Factor on the rotated elements, where the file says so.
    pub rope_magnitude: Option<f64>,
    /// Positions that a query sees, its own and those right before it, in the layers that have a window.
    pub sliding_window: Option<usize>,
    /// Every so many layers one has no window; 0 for none.
    pub sliding_window_pattern: Option<usize>,
    /// Factor on attention scores, where it is not 1/√key_length.
    pub attention_scale: Option<f32>,
    /// Bound of the attention scores.
    pub attention_soft_cap: Option<f32>,
    /// Bound of the logits.
    pub final_soft_cap: Option<f32>,
    /// Factor on (or divisor of, the family knows) the logits.
    pub logit_scale: Option<f32>,
    /// Factor on the embeddings.
    pub embedding_scale: Option<f32>,
    /// Factor on what a layer adds to the residual stream.
    pub residual_scale: Option<f32>,
    /// The largest slope of linear position biases (ALiBi).
    pub max_alibi_bias: Option<f32>,
    /// Whether attention and feed-forward layer stand side by side, where a family leaves that to the file.
    pub use_parallel_residual: Option<bool>,
    /// Positions that there are learned embeddings for; filled in by the architecture.
    pub learned_positions: Option<usize>,
    /// The model gives embeddings of its input, not text.
    pub encoder: bool,
    /// What a model that gives embeddings makes of its positions.
    pub pooling: Option<Pooling>,
}

/// What becomes of the embeddings of a text's tokens. Numbers as in GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// One embedding per token.
    None,
    /// The mean over all tokens.
    Mean,
    /// That of the first token.
    Cls,
    /// That of the last token.
    Last,
}

/// How the rotary embedding is stretched over more positions than the model was first trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all, but by the factors of a tensor where the file has them.
    None,
    /// Positions are divided (Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Slow frequencies are divided, fast ones stay (YaRN: Peng et al. 2023, arXiv 2309.00071).
    Yarn {
        /// The divisor.
        factor: f64,
        /// Positions of the first training.
        original: f64,
        /// Turns over those positions above which a frequency stays.
        beta_fast: f64,
        /// Turns below which it is divided.
        beta_slow: f64,
        /// Factor on the rotated elements beside 1 + 0.1·ln(factor).
        magnitude: f64,
    },
}

/// Keys of options that change what is computed. A family lists those that it computes; any other is an error, unless its value says no.
const OPTIONS: [&str; 11] = [
    "attention.sliding_window",
    "attention.scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "logit_scale",
    "embedding_scale",
    "residual_scale",
    "attention.max_alibi_bias",
    "attention.clamp_kqv",
    "expert_weights_scale",
    "expert_group_count",
];

impl ModelConfig {
    /// Reads the keys of `general.architecture`.
    ///
    /// # Errors
    /// `InvalidFile` naming a key that is missing, has a wrong type or a value out of range; `Unsupported` naming an architecture or an
    /// option that this version does not run.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let architecture = metadata.str("general.architecture")?.ok_or_else(|| missing("general.architecture"))?.to_owned();
        let family = arch::family(&architecture)?;
        let keys = Keys { metadata, architecture: &architecture };
        let embedding_length = keys.size("embedding_length")?;
        let head_count = keys.size("attention.head_count")?;
        let head_count_kv = keys.size_or("attention.head_count_kv", head_count)?;
        if head_count % head_count_kv != 0 {
            return Err(Error::invalid_file(format!(
                "key '{architecture}.attention.head_count_kv': {head_count} heads can't share {head_count_kv}"
            )));
        }
        let head_size = || match embedding_length % head_count {
            0 => Ok(embedding_length / head_count),
            _ => Err(Error::invalid_file(format!("{embedding_length} embeddings don't divide into {head_count} heads"))),
        };
        let key_length = match keys.optional("attention.key_length")? {
            Some(n) => n,
            None => head_size()?,
        };
        let value_length = match keys.optional("attention.value_length")? {
            Some(n) => n,
            None => head_size()?,
        };
        let rope_dimension_count = keys.size_or("rope.dimension_count", key_length)?;
        if rope_dimension_count > key_length || rope_dimension_count % 2 != 0 {
            return Err(Error::invalid_file(format!(
                "key '{architecture}.rope.dimension_count': {rope_dimension_count} of heads with {key_length} elements"
            )));
        }
        let context_length = keys.size("context_length")?;
        keys.refuse_options(family.options, context_length)?;
        let causal = metadata.bool(&keys.key("attention.causal"))?;
        if causal.is_some_and(|causal| causal == family.encoder) {
            return Err(Error::unsupported(format!("key '{}' in architecture '{architecture}'", keys.key("attention.causal"))));
        }
        // Of the others, refuse_options() has let pass what changes nothing.
        let computed = |name: &str| family.options.contains(&name);
        let option = |name: &str| match metadata.f64(&keys.key(name))? {
            Some(0.0) => Ok(None),
            _ if !computed(name) => Ok(None),
            _ => keys.positive_f32(name),
        };
        Ok(Self {
            name: metadata.str("general.name")?.map(str::to_owned),
            context_length,
            embedding_length,
            block_count: keys.size("block_count")?,
            feed_forward_length: keys.size("feed_forward_length")?,
            head_count,
            head_count_kv,
            key_length,
            value_length,
            expert_count: keys.count("expert_count")?,
            expert_used_count: keys.count("expert_used_count")?,
            expert_feed_forward_length: keys.optional("expert_feed_forward_length")?,
            expert_shared_feed_forward_length: keys.optional("expert_shared_feed_forward_length")?,
            norm_epsilon: keys.norm_epsilon()?,
            rope_dimension_count,
            rope_freq_base: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
            rope_freq_base_swa: keys.positive("rope.freq_base_swa")?,
            rope_scaling: keys.rope_scaling(context_length)?,
            rope_original: keys.optional("rope.scaling.original_context_length")?,
            rope_magnitude: keys.positive("rope.scaling.attn_factor")?,
            sliding_window: keys.window()?.filter(|_| computed("attention.sliding_window")),
            sliding_window_pattern: keys.window_pattern()?,
            attention_scale: option("attention.scale")?,
            attention_soft_cap: option("attn_logit_softcapping")?,
            final_soft_cap: option("final_logit_softcapping")?,
            logit_scale: option("logit_scale")?,
            embedding_scale: option("embedding_scale")?,
            residual_scale: option("residual_scale")?,
            max_alibi_bias: option("attention.max_alibi_bias")?,
            use_parallel_residual: metadata.bool(&keys.key("use_parallel_residual"))?,
            learned_positions: None,
            encoder: family.encoder,
            pooling: keys.pooling()?,
            architecture,
        })
    }

    /// The KV cache of the model.
    pub fn kv_shape(&self) -> KvShape {
        // An encoder's keys and values are read right after they are written, layer by layer.
        let layers = if self.encoder { 1 } else { self.block_count };
        KvShape { layers, heads: self.head_count_kv, key_dim: self.key_length, value_dim: self.value_length }
    }

    /// Width of all query heads; may differ from the embedding.
    pub fn query_length(&self) -> usize {
        self.head_count * self.key_length
    }
}

fn missing(key: &str) -> Error {
    Error::invalid_file(format!("key '{key}' is missing"))
}

/// Access to the keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn optional(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        match self.metadata.u64(&key)? {
            Some(n) if n == 0 || n > MOST => Err(Error::invalid_file(format!("key '{key}': {n} is outside 1 to {MOST}"))),
            n => Ok(n.map(|n| n as usize)),
        }
    }

    fn size(&self, name: &str) -> Result<usize> {
        self.optional(name)?.ok_or_else(|| missing(&self.key(name)))
    }

    fn size_or(&self, name: &str, default: usize) -> Result<usize> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    /// A number of things that may be missing or 0: then there are none.
    fn count(&self, name: &str) -> Result<usize> {
        let key = self.key(name);
        match self.metadata.u64(&key)? {
            Some(n) if n > MOST => Err(Error::invalid_file(format!("key '{key}': {n} is above {MOST}"))),
            n => Ok(n.unwrap_or(0) as usize),
        }
    }

    fn positive(&self, name: &str) -> Result<Option<f64>> {
        let key = self.key(name);
        match self.metadata.f64(&key)? {
            Some(x) if !(x.is_finite() && x > 0.0) => Err(Error::invalid_file(format!("key '{key}': {x} is not a positive number"))),
            x => Ok(x),
        }
    }

    /// A positive number that is one in f32 too.
    fn positive_f32(&self, name: &str) -> Result<Option<f32>> {
        let Some(x) = self.positive(name)? else { return Ok(None) };
        match x as f32 {
            y if y.is_finite() && y > 0.0 => Ok(Some(y)),
            _ => Err(Error::invalid_file(format!("key '{}': {x} is outside the range of f32", self.key(name)))),
        }
    }

    fn norm_epsilon(&self) -> Result<f32> {
        for name in ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"] {
            if let Some(eps) = self.positive(name)? {
                return Ok(eps as f32);
            }
        }
        Err(missing(&self.key("attention.layer_norm_rms_epsilon")))
    }

    fn rope_scaling(&self, context_length: usize) -> Result<RopeScaling> {
        let key = self.key("rope.scaling.type");
        let factor = match self.positive("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.positive("rope.scale_linear")?,
        };
        let factor = factor.unwrap_or(1.0);
        match self.metadata.str(&key)? {
            // LongRoPE's factors are tensors, and the number of positions that they begin with has its own key.
            Some("none" | "longrope") => Ok(RopeScaling::None),
            None | Some("linear") if factor == 1.0 => Ok(RopeScaling::None),
            None | Some("linear") => Ok(RopeScaling::Linear { factor }),
            Some("yarn") => {
                let or = |name: &str, default: f64| Ok::<_, Error>(self.positive(name)?.unwrap_or(default));
                Ok(RopeScaling::Yarn {
                    factor,
                    original: or("rope.scaling.original_context_length", context_length as f64)?,
                    beta_fast: or("rope.scaling.yarn_beta_fast", 32.0)?,
                    beta_slow: or("rope.scaling.yarn_beta_slow", 1.0)?,
                    magnitude: match self.positive("rope.scaling.yarn_attn_factor")? {
                        Some(magnitude) => magnitude,
                        None => or("rope.scaling.attn_factor", 1.0)?,
                    },
                })
            }
            Some(other) => Err(Error::unsupported(format!("key '{key}': rope scaling '{other}' (known: none, linear, yarn, longrope)"))),
        }
    }

    fn window(&self) -> Result<Option<usize>> {
        let key = self.key("attention.sliding_window");
        match self.metadata.u64(&key)? {
            None | Some(0) => Ok(None),
            Some(window) => Ok(Some(usize::try_from(window).unwrap_or(usize::MAX))),
        }
    }

    fn window_pattern(&self) -> Result<Option<usize>> {
        let key = self.key("attention.sliding_window_pattern");
        match self.metadata.u64(&key)? {
            Some(n) if n > MOST => Err(Error::invalid_file(format!("key '{key}': {n} is above {MOST}"))),
            n => Ok(n.map(|n| n as usize)),
        }
    }

    fn pooling(&self) -> Result<Option<Pooling>> {
        let key = self.key("pooling_type");
        Ok(Some(match self.metadata.u64(&key)? {
            None => return Ok(None),
            Some(0) => Pooling::None,
            Some(1) => Pooling::Mean,
            Some(2) => Pooling::Cls,
            Some(3) => Pooling::Last,
            Some(other) => return Err(Error::unsupported(format!("key '{key}': pooling {other} (known: 0 none, 1 mean, 2 CLS, 3 last)"))),
        }))
    }

    /// Options that would change the result and that the family does not compute.
    fn refuse_options(&self, computed: &[&str], context_length: usize) -> Result<()> {
        for name in OPTIONS.iter().filter(|name| !computed.contains(name)) {
            let key = self.key(name);
            let neutral = |x: f64| match *name {
                "attention.sliding_window" => x >= context_length as f64,
                // Not of the scores: they are scaled where no key says so.
                "attention.scale" => false,
                _ => name.ends_with("scale") && x == 1.0,
            };
            if self.metadata.f64(&key)?.is_some_and(|x| x != 0.0 && !neutral(x)) {
                return Err(Error::unsupported(format!("key '{key}' in architecture '{}'", self.architecture)));
            }
        }
        Ok(())
    }
}
