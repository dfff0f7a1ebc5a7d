//! A model folder as Hugging Face's libraries write it: `config.json`, `model.safetensors` (or several with `model.safetensors.index.json`),
//! `tokenizer.json` and their companions, put into the words of GGUF.
//!
//! `folder` finds the files, `config` reads JSON, `families` says what each `model_type` calls its parts, `rope` and `float8` do the arithmetic
//! that GGUF's converters would have done, `vocabulary` reads what is said about the tokens. Matrices stay where they are mapped; only
//! eight-bit floats, blocks of `mxfp4`, and the few tensors that a family stores otherwise than GGUF, are converted into private memory.

#![forbid(unsafe_code)]

mod config;
mod convert;
mod families;
mod float8;
mod folder;
mod index;
mod mxfp4;
mod names;
mod rope;
mod vocabulary;

use std::collections::HashMap;
use std::sync::Arc;

pub(super) use folder::{Folder, Place};

use super::entries::Entries;
use super::model_file::{Container, Contents, Conversion, RotaryRows};
use super::safetensors::{self, Dtype, RawTensor};
use super::tensor::TensorInfo;
use crate::base::vectors::with_capacity;
use crate::base::{Error, MemoryBudget, Pace, Result, SharedBytes};
use crate::quant::TensorType;
use config::Config;
pub(super) use convert::Steps;
use convert::{Converted, Converter};
use families::Family;
use names::{Change, Grouping, Part, Place as NamePlace};

/// Where a tensor of a family belongs, for containers that call tensors as families publish them.
pub(super) enum NamedPlace {
    /// Under this canonical name.
    Tensor(String),
    /// It is known and not needed.
    Nowhere,
    Unknown,
}

/// The place of the tensor that the family of `architecture` publishes as `name`.
pub(super) fn canonical(architecture: &str, name: &str) -> NamedPlace {
    for family in Family::of_architecture(architecture) {
        match family.place(name) {
            NamePlace::Tensors(mut parts) => {
                // What has to be changed is changed for folders only.
                if let Some(part) = parts.pop_if(|part| part.change == Change::Keep) {
                    return NamedPlace::Tensor(part.name);
                }
            }
            NamePlace::Nowhere => return NamedPlace::Nowhere,
            NamePlace::Unknown => {}
        }
    }
    NamedPlace::Unknown
}

/// Architecture and pairing of rows of a family, by the `model_type` or the architecture.
pub(super) fn published(name: &str) -> Option<(&'static str, RotaryRows)> {
    Family::called(name).map(|family| (family.architecture, family.rotary))
}

/// The matrix that makes logits.
const OUTPUT: &str = "output.weight";

/// What a tensor costs beside its data (see [`Pace::spend`]).
const TENSOR_COST: usize = 512;

/// What a family's settings write to: metadata of the architecture, and tensors that GGUF's converters compute.
struct Draft {
    architecture: &'static str,
    entries: Entries,
    /// Vectors by canonical name.
    made: Vec<(&'static str, Vec<f32>)>,
    /// Of the fused projections that lie group by group.
    grouping: Option<Grouping>,
}

impl Draft {
    fn integer(&mut self, key: &str, value: u64) {
        self.entries.integer(format!("{}.{key}", self.architecture), value);
    }
    fn float(&mut self, key: &str, value: f64) {
        self.entries.float(format!("{}.{key}", self.architecture), value);
    }
    fn bool(&mut self, key: &str, value: bool) {
        self.entries.bool(format!("{}.{key}", self.architecture), value);
    }
    fn text(&mut self, key: &str, value: &str) {
        self.entries.text(format!("{}.{key}", self.architecture), value);
    }
}

/// A tensor of one of the files.
struct Found {
    raw: RawTensor,
    file: u32,
}

/// Reads the files of `folder`. Errors name the file and the place in it.
pub(super) async fn read(folder: Folder, conversion: Conversion, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Contents> {
    let config = Config::read(&folder.config)?;
    let family = Family::of(&config)?;
    let mut draft = Draft { architecture: family.architecture, entries: Entries::default(), made: vec![], grouping: None };
    draft.entries.text("general.architecture", family.architecture);
    draft.entries.text("general.name", &folder.title);
    family.settle(&config, &mut draft)?;
    let tokenizer = vocabulary::read(&folder, &config, &mut draft.entries)?;

    let found = tables(&folder, pace).await?;
    let is_output =
        |raw: &RawTensor| matches!(family.place(&raw.name), NamePlace::Tensors(parts) if parts.iter().any(|part| part.name == OUTPUT));
    let has_output = found.iter().any(|found| is_output(&found.raw));
    let tied = config.bool("tie_word_embeddings")?;
    if tied == Some(false)
        && !has_output
        && !found.is_empty()
        && let Some(output) = family.output_name()
    {
        return Err(config.error("tie_word_embeddings", format!("false, but there is no tensor '{output}'")));
    }
    let converter = Converter { block: block(&config)?, grouping: draft.grouping };
    let assembly = Assembly { folder: &folder, family, tied: tied == Some(true), converter, conversion };
    let mut tensors = assembly.tensors(&found, budget, pace).await?;
    for (name, values) in draft.made.iter().filter(|(_, values)| !found.is_empty() && !values.is_empty()) {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (dims, data) = (vec![values.len() as u64], SharedBytes::copied(&data));
        tensors.push(TensorInfo { name: (*name).to_owned(), dims, ty: TensorType::F32, data, recipe: None, file: 0, offset: 0 });
    }
    let metadata = draft.entries.finish(pace).await?;
    Ok(Contents { metadata, tensors, rotary: family.rotary, tokenizer, container: Container::Safetensors })
}

/// The tables of all weight files, held against the index.
async fn tables(folder: &Folder, pace: &Pace) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (number, source) in folder.weights.iter().enumerate() {
        let table = safetensors::read(source.bytes(), pace).await.map_err(|error| error.at(source.name()))?;
        found.extend(table.into_iter().map(|raw| Found { raw, file: number as u32 }));
    }
    if let Some(index) = &folder.index {
        index.check(&folder.weights, found.iter().map(|found| (&*found.raw.name, found.file)), pace).await?;
    }
    Ok(found)
}

/// What tensors of a folder become a model's by.
struct Assembly<'a> {
    folder: &'a Folder,
    family: &'a Family,
    /// Whether the embedding makes the logits too.
    tied: bool,
    converter: Converter,
    conversion: Conversion,
}

impl Assembly<'_> {
    /// The tensors under their canonical names.
    async fn tensors(&self, found: &[Found], budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Vec<TensorInfo>> {
        let by_name: HashMap<&str, &RawTensor> = found.iter().map(|found| (&*found.raw.name, &found.raw)).collect();
        let mut tensors = with_capacity(found.len(), "tensors")?;
        for Found { raw, file } in found {
            pace.spend(TENSOR_COST).await;
            let at = |error: Error| error.at(format_args!("tensor '{}'", raw.name)).at(self.folder.weights[*file as usize].name());
            let parts = match self.family.place(&raw.name) {
                NamePlace::Tensors(parts) => parts,
                NamePlace::Nowhere => continue,
                NamePlace::Unknown if is_scale(&raw.name, &by_name) => continue,
                NamePlace::Unknown => {
                    return Err(at(Error::unsupported(format!("it has no place in architecture '{}'", self.family.architecture))));
                }
            };
            for Part { name, change } in parts {
                if self.tied && name == OUTPUT {
                    continue;
                }
                let Converted { ty, dims, found } = self.converter.converted(raw, &by_name, change).map_err(at)?;
                let Some((data, recipe)) = found.settled(self.conversion, budget, pace).await.map_err(at)? else { continue };
                tensors.push(TensorInfo { name, dims, ty, data, recipe, file: *file, offset: raw.offset });
            }
        }
        Ok(tensors)
    }
}

/// Whether a tensor only says how another one, or an activation, was made eight bits wide.
fn is_scale(name: &str, by_name: &HashMap<&str, &RawTensor>) -> bool {
    let of = |suffix: &str, weight: &str| {
        let weight = name.strip_suffix(suffix).map(|stem| format!("{stem}{weight}"));
        weight.and_then(|weight| by_name.get(&*weight).copied()).is_some_and(|raw| matches!(raw.dtype, Dtype::F8E4M3 | Dtype::F8E5M2))
    };
    of("weight_scale_inv", "weight") || of("weight_scale", "weight") || of("input_scale", "weight")
}

/// Rows and columns that share a scale, where the configuration names them; weights that are stored in ways unknown here are refused by name.
fn block(config: &Config<'_>) -> Result<Option<(u64, u64)>> {
    let Some(quantization) = config.object("quantization_config")? else { return Ok(None) };
    let method = quantization.text("quant_method")?.unwrap_or("without a name");
    if !matches!(method, "fp8" | "compressed-tensors" | "fbgemm_fp8" | "mxfp4") {
        return Err(Error::unsupported(format!("weights quantised by '{method}'")).at(config.place("quantization_config")));
    }
    match quantization.integers("weight_block_size")?.as_deref() {
        None => Ok(None),
        Some(&[rows, cols]) if rows > 0 && cols > 0 => Ok(Some((rows, cols))),
        Some(other) => Err(quantization.error("weight_block_size", format!("{other:?}, expected two sizes above 0"))),
    }
}
