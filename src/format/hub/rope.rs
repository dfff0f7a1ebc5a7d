//! Rotary settings of config.json as GGUF's metadata and tensors.

#![forbid(unsafe_code)]

use super::Draft;
use super::config::Config;
use crate::base::{Error, Result};

/// Most elements of a head, as in the configuration's own limit.
const MAX_ROTATED: u64 = 1 << 20;

/// Where YaRN's blend begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    /// At whole pairs.
    Whole,
    /// Between pairs too.
    Fractional,
}

/// Writes base and scaling of the embedding of `rotated` elements: from `rope_theta` and `rope_scaling`, or `rope_parameters`, which holds both.
/// The architecture computes YaRN with `bounds`.
pub(super) fn settle(config: &Config<'_>, rotated: u64, bounds: Bounds, draft: &mut Draft) -> Result<()> {
    let parameters = config.object("rope_parameters")?;
    // Where layers with a window rotate otherwise, those without one have their parameters in an object of their own.
    let global = parameters.as_ref().map(|parameters| parameters.object("full_attention")).transpose()?.flatten();
    let parameters = global.as_ref().or(parameters.as_ref());
    let theta = match parameters {
        Some(parameters) => parameters.number("rope_theta")?,
        None => None,
    };
    let theta = match theta {
        Some(theta) => Some(theta),
        None => config.number("rope_theta")?,
    };
    if let Some(theta) = theta {
        draft.float("rope.freq_base", theta);
    }
    let old = if parameters.is_none() { config.object("rope_scaling")? } else { None };
    let Some(scaling) = parameters.or(old.as_ref()) else { return Ok(()) };
    let kind = match scaling.text("rope_type")? {
        Some(kind) => kind,
        None => scaling.text("type")?.unwrap_or("default"),
    };
    let needed = |key: &str| scaling.number(key)?.ok_or_else(|| scaling.error(key, "it is missing"));
    match kind {
        "default" => Ok(()),
        "linear" => {
            draft.text("rope.scaling.type", "linear");
            draft.float("rope.scaling.factor", needed("factor")?);
            Ok(())
        }
        "llama3" => {
            let trained = scaling.integer("original_max_position_embeddings")?;
            let trained = trained.ok_or_else(|| scaling.error("original_max_position_embeddings", "it is missing"))?;
            if rotated > MAX_ROTATED {
                return Err(config.error("head_dim", format!("{rotated} rotated elements")));
            }
            let llama3 = Llama3 {
                factor: needed("factor")?,
                low: needed("low_freq_factor")?,
                high: needed("high_freq_factor")?,
                trained: trained as f64,
            };
            draft.made.push(("rope_freqs.weight", llama3.factors(theta.unwrap_or(10_000.0), rotated)));
            Ok(())
        }
        "yarn" => {
            draft.text("rope.scaling.type", "yarn");
            for key in ["mscale", "mscale_all_dim"] {
                if let Some(value) = scaling.number(key)? {
                    return Err(Error::unsupported(format!("{}: {value}", scaling.place(key))));
                }
            }
            let truncate = scaling.bool("truncate")?.unwrap_or(true);
            if truncate != (bounds == Bounds::Whole) {
                return Err(Error::unsupported(format!("{}: {truncate}", scaling.place("truncate"))));
            }
            let factor = needed("factor")?;
            draft.float("rope.scaling.factor", factor);
            if let Some(trained) = scaling.integer("original_max_position_embeddings")? {
                draft.integer("rope.scaling.original_context_length", trained);
            }
            if let Some(whole) = scaling.number("attention_factor")? {
                // Here it stands for the whole factor, in GGUF for what stands beside the one that follows from the stretching.
                draft.float("rope.scaling.attn_factor", if factor > 1.0 { whole / (1.0 + 0.1 * factor.ln()) } else { whole });
            }
            for (key, canonical) in [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")] {
                scaling.number(key)?.into_iter().for_each(|value| draft.float(canonical, value));
            }
            Ok(())
        }
        "longrope" | "su" => {
            let trained = match scaling.integer("original_max_position_embeddings")? {
                Some(trained) => Some(trained),
                None => config.integer("original_max_position_embeddings")?,
            };
            draft.text("rope.scaling.type", "longrope");
            let whole = match scaling.number("attention_factor")? {
                Some(whole) => whole,
                None => stretched(config.required("max_position_embeddings")?, trained),
            };
            draft.float("rope.scaling.attn_factor", whole);
            trained.into_iter().for_each(|trained| draft.integer("rope.scaling.original_context_length", trained));
            for (key, tensor) in [("long_factor", "rope_factors_long.weight"), ("short_factor", "rope_factors_short.weight")] {
                let factors = scaling.numbers(key)?.ok_or_else(|| scaling.error(key, "it is missing"))?;
                if factors.len() as u64 != rotated / 2 {
                    return Err(scaling.error(key, format!("{} factors for {} pairs", factors.len(), rotated / 2)));
                }
                draft.made.push((tensor, factors.iter().map(|&factor| factor as f32).collect()));
            }
            Ok(())
        }
        other => Err(Error::unsupported(format!(
            "{}: '{}' (known: default, linear, llama3, longrope, yarn)",
            scaling.place("rope_type"),
            other.escape_debug()
        ))),
    }
}

/// What LongRoPE multiplies queries and keys with, where a context is longer than the first training's (arXiv 2402.13753, as transformers has it).
fn stretched(context: u64, trained: Option<u64>) -> f64 {
    let trained = trained.unwrap_or(context) as f64;
    let factor = context as f64 / trained;
    if factor > 1.0 { (1.0 + factor.ln() / trained.ln()).sqrt() } else { 1.0 }
}

/// The scaling of Llama 3.1: long waves are stretched, short ones left, those between blended.
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    /// Positions of the first training.
    trained: f64,
}

impl Llama3 {
    /// What each frequency is divided by.
    fn factors(&self, base: f64, rotated: u64) -> Vec<f32> {
        (0..rotated / 2)
            .map(|pair| {
                let wave = 2.0 * std::f64::consts::PI * base.powf(2.0 * pair as f64 / rotated as f64);
                if wave < self.trained / self.high {
                    1.0
                } else if wave > self.trained / self.low {
                    self.factor as f32
                } else {
                    let blend = (self.trained / wave - self.low) / (self.high - self.low);
                    (1.0 / ((1.0 - blend) / self.factor + blend)) as f32
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With Llama 3.1's settings waves below 2048 positions (the first 29) stay, those above 8192 (from the 36th on) are stretched eightfold.
    #[test]
    fn llama3_factors_are_the_published_ones() {
        let factors = Llama3 { factor: 8.0, low: 1.0, high: 4.0, trained: 8192.0 }.factors(500_000.0, 128);
        assert_eq!(factors.len(), 64);
        assert!(factors[..29].iter().all(|&factor| factor == 1.0) && factors[36..].iter().all(|&factor| factor == 8.0), "{factors:?}");
        assert!(factors[29..36].windows(2).all(|pair| pair[0] < pair[1]) && factors[29] > 1.0 && factors[35] <= 8.0, "{factors:?}");
    }
}
