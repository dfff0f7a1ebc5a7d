//! What each family calls its settings and tensors in a Hugging Face folder. One small file per family; a new one is added to [`FAMILIES`].
//!
//! The canonical words are those of GGUF's metadata and tensor names, so that `model` builds a family from either container by one
//! description.

#![forbid(unsafe_code)]

mod bert;
mod cohere;
mod falcon;
mod gemma;
mod gpt2;
mod gpt_neox;
mod gpt_oss;
mod granite;
mod llama;
mod mpt;
mod nomic_bert;
mod olmo2;
mod phi;
mod phi3;
mod qwen;
mod qwen_moe;
mod smollm3;
mod stablelm;
mod starcoder2;

use super::super::model_file::RotaryRows;
use super::config::Config;
use super::names::{self, Name, Place};
use super::{Draft, rope};
use crate::base::{Error, Result};

/// A family of models, by its `model_type`.
pub(super) struct Family {
    /// The values of `model_type` in config.json.
    model_types: &'static [&'static str],
    /// `general.architecture`
    pub architecture: &'static str,
    /// How query and key rows are paired. Published weights are in halves almost always; [`RotaryRows::AsConverted`] says that the family's GGUF
    /// converter leaves them as they are.
    pub rotary: RotaryRows,
    /// Activations that the architecture computes.
    activations: &'static [&'static str],
    /// The settings.
    keys: &'static [&'static [Key]],
    /// What some files put in front of all names of tensors.
    prefix: &'static str,
    /// The tensors.
    names: &'static [&'static [Name]],
    /// What the tables can't say.
    further: fn(&Config<'_>, &mut Draft) -> Result<()>,
}

/// A setting: its key in config.json, the canonical one without the architecture, and what it is.
#[derive(Clone, Copy)]
struct Key {
    hub: &'static str,
    canonical: &'static str,
    kind: Kind,
}

/// What a setting is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An integer that must be there.
    Size,
    /// An integer that may be missing.
    Optional,
    /// A number that may be missing.
    Number,
}

const fn size(hub: &'static str, canonical: &'static str) -> Key {
    Key { hub, canonical, kind: Kind::Size }
}

const fn optional(hub: &'static str, canonical: &'static str) -> Key {
    Key { hub, canonical, kind: Kind::Optional }
}

const fn number(hub: &'static str, canonical: &'static str) -> Key {
    Key { hub, canonical, kind: Kind::Number }
}

/// The keys that name the activation.
const ACTIVATIONS: [&str; 4] = ["hidden_act", "hidden_activation", "activation_function", "activation"];

/// All families.
const FAMILIES: &[Family] = &[
    llama::LLAMA,
    llama::MIXTRAL,
    qwen::QWEN2,
    qwen_moe::QWEN2_MOE,
    qwen::QWEN3,
    qwen_moe::QWEN3_MOE,
    phi::PHI,
    phi3::PHI3,
    gemma::GEMMA,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gpt2::GPT2,
    gpt_neox::GPT_NEOX,
    gpt_oss::GPT_OSS,
    starcoder2::STARCODER2,
    falcon::FALCON,
    stablelm::STABLELM,
    olmo2::OLMO2,
    granite::GRANITE,
    smollm3::SMOLLM3,
    cohere::COHERE,
    mpt::MPT,
    bert::BERT,
    nomic_bert::NOMIC_BERT,
];

impl Family {
    /// The family of a configuration.
    ///
    /// # Errors
    /// `Unsupported` naming a `model_type` that is not known.
    pub(super) fn of(config: &Config<'_>) -> Result<&'static Self> {
        let model_type = config.text("model_type")?.ok_or_else(|| config.error("model_type", "it is missing"))?;
        FAMILIES.iter().find(|family| family.model_types.contains(&model_type)).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
            Error::unsupported(format!("{}: '{}' (known: {})", config.place("model_type"), model_type.escape_debug(), known.join(", ")))
        })
    }

    /// The families that compute as this architecture.
    pub(super) fn of_architecture(architecture: &str) -> impl Iterator<Item = &'static Self> {
        FAMILIES.iter().filter(move |family| family.architecture == architecture)
    }

    /// The family with this `model_type` or architecture.
    pub(super) fn called(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.model_types.contains(&name) || family.architecture == name)
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// `InvalidFile` for one that is missing or of the wrong type, `Unsupported` for one that is not computed here; both name it.
    pub(super) fn settle(&self, config: &Config<'_>, draft: &mut Draft) -> Result<()> {
        for key in self.keys.iter().copied().flatten() {
            match key.kind {
                Kind::Size => draft.integer(key.canonical, config.required(key.hub)?),
                Kind::Optional => config.integer(key.hub)?.into_iter().for_each(|value| draft.integer(key.canonical, value)),
                Kind::Number => config.number(key.hub)?.into_iter().for_each(|value| draft.float(key.canonical, value)),
            }
        }
        for key in ACTIVATIONS {
            if let Some(name) = config.text(key)?
                && !self.activations.contains(&name)
            {
                let known = self.activations.join(", ");
                return Err(Error::unsupported(format!("{}: activation '{}' (known: {known})", config.place(key), name.escape_debug())));
            }
        }
        (self.further)(config, draft)
    }

    /// The place of a tensor.
    pub(super) fn place(&self, name: &str) -> Place {
        names::place(self.names, name.strip_prefix(self.prefix).unwrap_or(name))
    }

    /// What the output matrix is called, where the family publishes one.
    pub(super) fn output_name(&self) -> Option<&'static str> {
        self.names.iter().copied().flatten().find_map(|name| name.published("output.weight"))
    }
}

/// The window of attention, where the model uses one: `use_sliding_window` may switch it off.
fn sliding_window(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    let used = config.bool("use_sliding_window")?.unwrap_or(true);
    if let Some(window) = config.integer("sliding_window")?.filter(|_| used) {
        draft.integer("attention.sliding_window", window);
    }
    Ok(())
}

/// [`heads`], and the window.
fn heads_and_window(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    heads(config, draft)?;
    sliding_window(config, draft)
}

/// [`heads`], where a configuration that is silent about the rotated part of the heads means something else than all of it.
fn heads_with_part(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    heads(config, draft)?;
    match rotated_part(config)? {
        Some(_) => Ok(()),
        None => Err(config.error("partial_rotary_factor", "it is missing")),
    }
}

/// The size of heads where it is not implied, and their rotary embedding.
fn heads(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    let rotated = head_sizes(config, draft)?;
    rope::settle(config, rotated, rope::Bounds::Whole, draft)
}

/// The size of heads where it is not implied; how many of their elements are rotated.
fn head_sizes(config: &Config<'_>, draft: &mut Draft) -> Result<u64> {
    let size = match config.integer("head_dim")? {
        Some(size) => {
            draft.integer("attention.key_length", size);
            draft.integer("attention.value_length", size);
            size
        }
        // A wrong division is found where the configuration is checked.
        None => required_of(config, &["hidden_size", "n_embd"])? / required_of(config, &["num_attention_heads", "n_head"])?.max(1),
    };
    let rotated = match rotated_part(config)? {
        Some((_, factor)) if factor > 0.0 && factor <= 1.0 => (size as f64 * factor) as u64,
        Some((key, factor)) => return Err(config.error(key, format!("{factor} is outside 0 to 1"))),
        None => size,
    };
    draft.integer("rope.dimension_count", rotated);
    Ok(rotated)
}

/// The part of each head that is rotated, where the configuration says so, with the key that does.
fn rotated_part(config: &Config<'_>) -> Result<Option<(&'static str, f64)>> {
    for key in ["partial_rotary_factor", "rotary_pct", "rotary_emb_fraction"] {
        let within = config.object("rope_parameters")?.map(|parameters| parameters.number(key)).transpose()?.flatten();
        let part = match within {
            Some(part) => Some(part),
            None => config.number(key)?,
        };
        if let Some(part) = part {
            return Ok(Some((key, part)));
        }
    }
    Ok(None)
}

/// `Unsupported` where the bool `key` is not as the architecture computes; one that is missing is.
fn expect_bool(config: &Config<'_>, key: &str, expected: bool) -> Result<()> {
    match config.bool(key)? {
        Some(value) if value != expected => Err(unsupported(config, key, value)),
        _ => Ok(()),
    }
}

/// `Unsupported` where the integer `key` is not as the architecture computes; one that is missing is.
fn expect_integer(config: &Config<'_>, key: &str, expected: u64) -> Result<()> {
    match config.integer(key)? {
        Some(value) if value != expected => Err(unsupported(config, key, value)),
        _ => Ok(()),
    }
}

/// `Unsupported` where the layers that have no window are others than every `every`th.
fn expect_window_every(config: &Config<'_>, every: usize) -> Result<()> {
    for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
        expect_integer(config, key, every as u64)?;
    }
    let Some(kinds) = config.get("layer_types") else { return Ok(()) };
    let kinds = kinds.as_array().ok_or_else(|| config.error("layer_types", "expected an array"))?;
    for (layer, kind) in kinds.iter().enumerate() {
        let expected = if (layer + 1) % every == 0 { "full_attention" } else { "sliding_attention" };
        if kind.as_str() != Some(expected) {
            return Err(unsupported(config, "layer_types", format_args!("{kind} for layer {layer}, computed is {expected}")));
        }
    }
    Ok(())
}

/// `Unsupported` where the number `key` is not as the architecture computes; one that is missing is.
fn expect_number(config: &Config<'_>, key: &str, expected: f64) -> Result<()> {
    match config.number(key)? {
        Some(value) if value != expected => Err(unsupported(config, key, value)),
        _ => Ok(()),
    }
}

fn unsupported(config: &Config<'_>, key: &str, value: impl std::fmt::Display) -> Error {
    Error::unsupported(format!("{}: {value}", config.place(key)))
}

/// The first of the integers under these keys: a setting that has had several names.
fn one_of(config: &Config<'_>, keys: &[&str]) -> Result<Option<u64>> {
    for key in keys {
        if let Some(value) = config.integer(key)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// As [`one_of`], for one that must be there.
fn required_of(config: &Config<'_>, keys: &[&str]) -> Result<u64> {
    one_of(config, keys)?.ok_or_else(|| config.error(keys[0], "it is missing"))
}
