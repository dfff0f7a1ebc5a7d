//! What each family calls its settings and tensors in a Hugging Face folder. One small file per family; a new one is added to [`FAMILIES`].
//!
//! The canonical words are those of GGUF's metadata and tensor names, so that `model` builds a family from either container by one
//! description.

#![forbid(unsafe_code)]

mod llama;
mod phi;
mod qwen;

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
    /// Activations (`hidden_act`, `hidden_activation`) that the architecture computes.
    activations: &'static [&'static str],
    /// The settings.
    keys: &'static [&'static [Key]],
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

/// All families.
const FAMILIES: &[Family] = &[llama::LLAMA, llama::MIXTRAL, qwen::QWEN2, qwen::QWEN3, phi::PHI];

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
        for key in ["hidden_act", "hidden_activation"] {
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
        names::place(self.names, name)
    }

    /// Whether the family has a tensor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        matches!(self.place(name), Place::Tensor { .. })
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

/// The size of heads where it is not implied, and the rotary embedding of `rotated` of their elements.
fn heads(config: &Config<'_>, draft: &mut Draft) -> Result<()> {
    let size = match config.integer("head_dim")? {
        Some(size) => {
            draft.integer("attention.key_length", size);
            draft.integer("attention.value_length", size);
            size
        }
        // A wrong division is found where the configuration is checked.
        None => config.required("hidden_size")? / config.required("num_attention_heads")?.max(1),
    };
    let rotated = match config.number("partial_rotary_factor")? {
        Some(factor) if factor > 0.0 && factor <= 1.0 => (size as f64 * factor) as u64,
        Some(factor) => return Err(config.error("partial_rotary_factor", format!("{factor} is outside 0 to 1"))),
        None => size,
    };
    draft.integer("rope.dimension_count", rotated);
    rope::settle(config, rotated, draft)
}
