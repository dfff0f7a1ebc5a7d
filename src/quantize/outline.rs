//! What a GGUF file of a model will hold, whichever container the model came in: names, shapes and types of the tensors, of which tensors of the
//! source each is made, and the metadata.
//!
//! A GGUF file's own tensors stay what they are. A folder may have a matrix for each expert where GGUF has them stacked, rows of queries and keys in
//! the order that families publish, vectors in 16 bits, and its vocabulary in a file of another kind.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Error, MemoryBudget, Pace, Result, SharedBytes};
use crate::format::{Container, Entries, Metadata, ModelFile, RotaryRows, TensorInfo, Value};
use crate::model::{Mix, mix, stacks, vocabulary};
use crate::quant::TensorType;
use crate::tokenizer::Tokenizer;

/// GGUF's own alignment, for files that were none.
const ALIGNMENT: u32 = 32;

/// Keys that say which part of a model in several files a file is.
const SPLIT: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];

/// The file to be written.
pub(super) struct Outline {
    pub targets: Vec<Target>,
    pub alignment: u32,
    /// What the source's metadata does not say.
    added: Metadata,
}

/// A tensor to be written.
pub(super) struct Target {
    /// Name and shape. The type is that of its parts, and there is no data.
    pub info: TensorInfo,
    /// The type that it will have.
    pub ty: TensorType,
    /// Numbers of the tensors that it is made of, one behind the other; all alike.
    pub parts: Vec<usize>,
    /// How its rows are put into another order.
    pub order: Option<RowOrder>,
}

/// From rows that are rotated in halves to rows that are rotated in pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowOrder {
    /// Rows of a head.
    pub head: u64,
    /// How many of them are rotated, from the first on.
    pub rotated: u64,
}

impl RowOrder {
    /// The place of the row that was at `row`.
    pub(super) fn place(self, row: u64) -> u64 {
        let (start, within) = (row / self.head * self.head, row % self.head);
        let half = self.rotated / 2;
        start
            + match within {
                _ if within < half => 2 * within,
                _ if within < 2 * half => 2 * (within - half) + 1,
                _ => within,
            }
    }
}

impl Outline {
    /// What `file` is to be written as in `mix`; refuses what can't be written, before any work goes into it.
    ///
    /// # Errors
    /// `Unsupported` for a part of a model and for types that can't be decoded, `InvalidFile` where the source contradicts itself.
    pub(super) fn new(file: &ModelFile, mix: Mix, has_importance: bool, added: Metadata) -> Result<Self> {
        if let Some(all) = file.metadata.u64("split.tensors.count")?.filter(|&all| all != file.tensors.len() as u64) {
            return Err(Error::unsupported(format!("{} of the {all} tensors of a split model", file.tensors.len())));
        }
        let mut targets = stacked(file)?;
        let infos: Vec<TensorInfo> = targets.iter().map(|target| target.info.clone()).collect();
        let types = mix::types(&file.metadata, &infos, mix, has_importance)?;
        for (target, ty) in targets.iter_mut().zip(types) {
            target.ty = ty;
        }
        let Container::Gguf { alignment, .. } = file.container() else {
            let order = row_order(file)?;
            for target in &mut targets {
                let name = &target.info.name;
                if !mix::is_converted(&target.info) && is_float(target.info.ty) {
                    target.ty = TensorType::F32;
                }
                if name.contains(".attn_q.") || name.contains(".attn_k.") {
                    target.order = order;
                }
            }
            return Ok(Self { targets, alignment: ALIGNMENT, added });
        };
        Ok(Self { targets, alignment, added })
    }

    /// All pairs of the metadata.
    pub(super) fn metadata<'a>(&'a self, file: &'a ModelFile, mix: Mix) -> Vec<(&'a str, Value<'a>)> {
        let changes = [("general.quantization_version", Value::U32(2)), ("general.file_type", Value::U32(mix.file_type()))];
        let is_new = |key: &str| self.added.get(key).is_some() || SPLIT.contains(&key);
        let changed = |key: &str| changes.iter().find(|(changed, _)| *changed == key).map(|(_, value)| *value);
        let kept = file.metadata.iter().filter(|(key, _)| !is_new(key)).map(|(key, value)| (key, changed(key).unwrap_or(value)));
        let missing = changes.into_iter().filter(|(key, _)| file.metadata.get(key).is_none());
        kept.chain(missing).chain(self.added.iter()).collect()
    }
}

fn is_float(ty: TensorType) -> bool {
    matches!(ty, TensorType::F64 | TensorType::F32 | TensorType::F16 | TensorType::BF16)
}

/// The tensors as they are, but those that GGUF stacks. GGUF files keep what they have.
fn stacked(file: &ModelFile) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::with_capacity(file.tensors.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    let is_gguf = matches!(file.container(), Container::Gguf { .. });
    for (number, tensor) in file.tensors.iter().enumerate() {
        let whole = if is_gguf { None } else { stacks::stack(&tensor.name) };
        let Some((name, index)) = whole else {
            targets.push(Target { info: outlined(tensor, tensor.name.clone()), ty: tensor.ty, parts: vec![number], order: None });
            continue;
        };
        let place = *places.entry(name.clone()).or_insert_with(|| {
            targets.push(Target { info: outlined(tensor, name), ty: tensor.ty, parts: vec![], order: None });
            targets.len() - 1
        });
        let target = &mut targets[place];
        if (&target.info.dims, target.info.ty) != (&tensor.dims, tensor.ty) {
            let first = &file.tensors[target.parts[0]].name;
            return Err(Error::invalid_file(format!("tensor '{}' has another shape or type than '{first}'", tensor.name)));
        }
        target.parts.resize(target.parts.len().max(index + 1), usize::MAX);
        target.parts[index] = number;
    }
    for target in targets.iter_mut().filter(|target| places.contains_key(&target.info.name)) {
        if let Some(missing) = target.parts.iter().position(|&part| part == usize::MAX) {
            return Err(Error::invalid_file(format!("tensor '{}': there is no part {missing}", target.info.name)));
        }
        target.info.dims.push(target.parts.len() as u64);
    }
    Ok(targets)
}

/// The tensor without its data, under another name.
fn outlined(tensor: &TensorInfo, name: String) -> TensorInfo {
    TensorInfo { name, data: SharedBytes::default(), ..tensor.clone() }
}

/// The order that GGUF's rows of queries and keys have, where it is another.
fn row_order(file: &ModelFile) -> Result<Option<RowOrder>> {
    if file.rotary == RotaryRows::AsConverted {
        return Ok(None);
    }
    let architecture = file.metadata.str("general.architecture")?.unwrap_or_default();
    let number = |key: &str| file.metadata.u64(&format!("{architecture}.{key}"));
    let whole = || -> Result<Option<u64>> {
        Ok(number("embedding_length")?.zip(number("attention.head_count")?).and_then(|(width, heads)| width.checked_div(heads)))
    };
    let head = match number("attention.key_length")? {
        Some(head) => head,
        None => whole()?.unwrap_or(0),
    };
    let rotated = number("rope.dimension_count")?.unwrap_or(head);
    if head == 0 || rotated > head || !rotated.is_multiple_of(2) {
        return Err(Error::invalid_file(format!("heads of {head} rows, {rotated} of them rotated")));
    }
    Ok(Some(RowOrder { head, rotated }))
}

/// The metadata that GGUF has and `file` has not: its vocabulary, where that is a `tokenizer.json`.
///
/// # Errors
/// As for the loading of the vocabulary.
pub(super) async fn added(file: &ModelFile, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Metadata> {
    let mut entries = Entries::default();
    let silent = file.metadata.get("tokenizer.ggml.model").is_none() && !matches!(file.container(), Container::Gguf { .. });
    if silent && file.tokenizer.is_none() {
        vocabulary::write_none(&mut entries);
    }
    if let Some(json) = &file.tokenizer {
        let at = |error: Error| error.at(&json.name);
        let definition = vocabulary::of_json(json, &file.metadata)?;
        let (own, translation) = Tokenizer::translated(definition, pace).await.map_err(at)?;
        match &translation {
            Some(translation) => vocabulary::write(&translation.definition, &mut entries, budget)?,
            None => vocabulary::write_none(&mut entries),
        }
        // The file itself is what counts here, where it says more than GGUF can.
        if translation.is_none_or(|translation| !translation.is_exact) {
            vocabulary::write_json(&json.json, own.roles(), &mut entries);
        }
    }
    entries.finish(pace).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_pairs_within_each_head() {
        let order = RowOrder { head: 6, rotated: 4 };
        let places: Vec<u64> = (0..12).map(|row| order.place(row)).collect();
        assert_eq!(places, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
    }
}
