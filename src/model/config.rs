//! The configuration of a model, read from the metadata of its file and checked.

#![forbid(unsafe_code)]

use crate::base::{Error, Result};
use crate::format::Metadata;
use crate::kernels::kv::KvShape;

/// Largest value of any size in a configuration: far above real models, small enough that products of three fit in 64 bits.
const MOST: u64 = 1 << 20;

/// Sizes and constants of a decoder model. Names as in the GGUF metadata.
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
    /// Added to the variance in norms.
    pub norm_epsilon: f32,
    /// Rotated elements of a head.
    pub rope_dimension_count: usize,
    /// Base of the rotary frequencies.
    pub rope_freq_base: f64,
    /// Positions are divided by this (linear scaling); 1 for none.
    pub rope_scale: f64,
}

impl ModelConfig {
    /// Reads the keys of `general.architecture`.
    ///
    /// # Errors
    /// `InvalidFile` naming a key that is missing, has a wrong type or a value out of range; `Unsupported` naming an option that
    /// this version does not run.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let architecture = metadata.str("general.architecture")?.ok_or_else(|| missing("general.architecture"))?.to_owned();
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
        keys.refuse_unsupported(context_length)?;
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
            norm_epsilon: keys.norm_epsilon()?,
            rope_dimension_count,
            rope_freq_base: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scale: keys.rope_scale()?,
            architecture,
        })
    }

    /// The KV cache of the model.
    pub fn kv_shape(&self) -> KvShape {
        KvShape { layers: self.block_count, heads: self.head_count_kv, key_dim: self.key_length, value_dim: self.value_length }
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

    fn norm_epsilon(&self) -> Result<f32> {
        for name in ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"] {
            if let Some(eps) = self.positive(name)? {
                return Ok(eps as f32);
            }
        }
        Err(missing(&self.key("attention.layer_norm_rms_epsilon")))
    }

    fn rope_scale(&self) -> Result<f64> {
        let key = self.key("rope.scaling.type");
        let factor = match self.positive("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.positive("rope.scale_linear")?,
        };
        match self.metadata.str(&key)? {
            None | Some("linear") => Ok(factor.unwrap_or(1.0)),
            Some("none") => Ok(1.0),
            Some(other) => Err(Error::unsupported(format!("key '{key}': rope scaling '{other}' (known: none, linear)"))),
        }
    }

    /// Options that would change the result and that the families of this version do not compute.
    fn refuse_unsupported(&self, context_length: usize) -> Result<()> {
        for name in ["attention.max_alibi_bias", "attention.clamp_kqv", "attn_logit_softcapping", "final_logit_softcapping"] {
            let key = self.key(name);
            if self.metadata.f64(&key)?.is_some_and(|x| x != 0.0) {
                return Err(Error::unsupported(format!("key '{key}' in architecture '{}'", self.architecture)));
            }
        }
        let key = self.key("attention.sliding_window");
        match self.metadata.get(&key).map(|_| self.metadata.u64(&key)).transpose()?.flatten() {
            Some(window) if window > 0 && window < context_length as u64 => {
                Err(Error::unsupported(format!("key '{key}': a sliding window of {window} in architecture '{}'", self.architecture)))
            }
            _ => Ok(()),
        }
    }
}
