//! The rotary embeddings of a model: frequencies and how they are stretched.

use crate::base::{Error, Result};
use crate::kernels::ops::{LongRope, Rope, RopeStyle};

use super::super::config::{ModelConfig, RopeScaling};
use super::super::weights::Weights;
use super::family::Family;

/// Frequencies `base^(−2i/n)`, stretched as the configuration and the factors in the file say.
pub fn global(family: &Family, style: RopeStyle, config: &ModelConfig, weights: &mut Weights<'_>) -> Result<Rope> {
    let pairs = config.rope_dimension_count / 2;
    let plain = plain(config.rope_freq_base, config.rope_dimension_count);
    if weights.contains("rope_factors_long.weight") || weights.contains("rope_factors_short.weight") {
        if config.rope_scaling != RopeScaling::None {
            return Err(Error::unsupported(format!("rope scaling beside the factors of LongRoPE in architecture '{}'", family.name)));
        }
        return long_rope(style, config, weights, &plain);
    }
    let (mut frequencies, magnitude) = match config.rope_scaling {
        RopeScaling::None => (plain, 1.0),
        RopeScaling::Linear { factor } => (plain.iter().map(|f| f / factor).collect(), 1.0),
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, magnitude } => {
            let n = config.rope_dimension_count as f64;
            // The pair that turns `beta` times over the positions of the first training.
            let pair = |beta: f64| n * (original / (beta * std::f64::consts::TAU)).ln() / (2.0 * config.rope_freq_base.ln());
            let (low, high) = (pair(beta_fast), pair(beta_slow));
            let (low, high) = if family.yarn_whole { (low.floor(), high.ceil()) } else { (low, high) };
            let (low, high) = (low.max(0.0), high.min(n - 1.0));
            let width = if low == high { 0.001 } else { high - low };
            let stretched = plain.iter().enumerate().map(|(i, frequency)| {
                let slow = ((i as f64 - low) / width).clamp(0.0, 1.0);
                frequency * (1.0 - slow) + frequency / factor * slow
            });
            let by_length = if factor > 1.0 { 1.0 + 0.1 * factor.ln() } else { 1.0 };
            (stretched.collect(), magnitude * by_length)
        }
    };
    // Llama 3.1's stretching comes as a tensor.
    if let Some(factors) = weights.optional_vector("rope_freqs.weight", pairs)? {
        divide(&mut frequencies, &factors);
    }
    Ok(Rope { style, frequencies, magnitude: magnitude as f32, long: None })
}

/// The rotary embedding of layers with a window.
pub fn local(style: RopeStyle, config: &ModelConfig, base: f64) -> Rope {
    Rope { style, frequencies: plain(base, config.rope_dimension_count), magnitude: 1.0, long: None }
}

fn plain(base: f64, dimensions: usize) -> Vec<f64> {
    (0..dimensions / 2).map(|i| base.powf(-2.0 * i as f64 / dimensions as f64)).collect()
}

fn divide(frequencies: &mut [f64], factors: &[f32]) {
    frequencies.iter_mut().zip(factors).for_each(|(frequency, &factor)| *frequency /= f64::from(factor));
}

/// LongRoPE (Ding et al. 2024, arXiv 2402.13753): one set of divisors for contexts of the first training's length, one for longer.
fn long_rope(style: RopeStyle, config: &ModelConfig, weights: &mut Weights<'_>, plain: &[f64]) -> Result<Rope> {
    let original = config.rope_original.ok_or_else(|| {
        let key = format!("{}.rope.scaling.original_context_length", config.architecture);
        Error::invalid_file(format!("key '{key}' is missing, but tensor 'rope_factors_long.weight' is there"))
    })?;
    let (mut short, mut long) = (plain.to_vec(), plain.to_vec());
    divide(&mut short, &weights.vector("rope_factors_short.weight", plain.len())?);
    divide(&mut long, &weights.vector("rope_factors_long.weight", plain.len())?);
    let ratio = config.context_length as f64 / original as f64;
    let by_length = if ratio > 1.0 { (1.0 + ratio.ln() / (original as f64).ln()).sqrt() } else { 1.0 };
    let magnitude = config.rope_magnitude.unwrap_or(by_length) as f32;
    Ok(Rope { style, frequencies: short, magnitude, long: Some(LongRope { beyond: original, frequencies: long }) })
}
