//! Mixes: which tensor type each tensor of a model gets where a file is written in "Q4_K_M" or the like.
//!
//! A mix is a type for most matrices and rules that give some of them more bits. The rules and names are llama.cpp's, so that a file
//! holds what its name says wherever it was made.

#![forbid(unsafe_code)]

use crate::base::{Error, Result};
use crate::format::{Metadata, TensorInfo};
use crate::quant::{TensorType, is_decodable};

use super::stacks::{EXPERTS, stack};
use TensorType as T;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are the field's own names")]
#[allow(non_camel_case_types, reason = "the field writes them so")]
pub enum Mix {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2_K,
    Q2_K_S,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    /// All matrices, the output as in the other mixes.
    MXFP4,
    /// Experts alone, all other matrices Q8_0.
    MXFP4_MOE,
}

impl Mix {
    /// All mixes.
    pub const ALL: [Self; 22] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2_K,
        Self::Q2_K_S,
        Self::Q3_K_S,
        Self::Q3_K_M,
        Self::Q3_K_L,
        Self::Q4_K_S,
        Self::Q4_K_M,
        Self::Q5_K_S,
        Self::Q5_K_M,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
        Self::MXFP4_MOE,
    ];

    /// Name, number in `general.file_type`, and the type of most matrices.
    fn facts(self) -> (&'static str, u32, TensorType) {
        match self {
            Self::F32 => ("F32", 0, T::F32),
            Self::F16 => ("F16", 1, T::F16),
            Self::Q4_0 => ("Q4_0", 2, T::Q4_0),
            Self::Q4_1 => ("Q4_1", 3, T::Q4_1),
            Self::Q8_0 => ("Q8_0", 7, T::Q8_0),
            Self::Q5_0 => ("Q5_0", 8, T::Q5_0),
            Self::Q5_1 => ("Q5_1", 9, T::Q5_1),
            Self::Q2_K => ("Q2_K", 10, T::Q2_K),
            Self::Q3_K_S => ("Q3_K_S", 11, T::Q3_K),
            Self::Q3_K_M => ("Q3_K_M", 12, T::Q3_K),
            Self::Q3_K_L => ("Q3_K_L", 13, T::Q3_K),
            Self::Q4_K_S => ("Q4_K_S", 14, T::Q4_K),
            Self::Q4_K_M => ("Q4_K_M", 15, T::Q4_K),
            Self::Q5_K_S => ("Q5_K_S", 16, T::Q5_K),
            Self::Q5_K_M => ("Q5_K_M", 17, T::Q5_K),
            Self::Q6_K => ("Q6_K", 18, T::Q6_K),
            Self::Q2_K_S => ("Q2_K_S", 21, T::Q2_K),
            Self::IQ4_NL => ("IQ4_NL", 25, T::IQ4_NL),
            Self::IQ4_XS => ("IQ4_XS", 30, T::IQ4_XS),
            Self::BF16 => ("BF16", 32, T::BF16),
            Self::MXFP4 => ("MXFP4", 38, T::MXFP4),
            Self::MXFP4_MOE => ("MXFP4_MOE", 38, T::MXFP4),
        }
    }

    /// The name: "Q4_K_M".
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// The number in the metadata key `general.file_type`.
    pub fn file_type(self) -> u32 {
        self.facts().1
    }

    /// The type of most matrices.
    pub fn base(self) -> TensorType {
        self.facts().2
    }

    /// The mix of that name, in letters of either case; "Q3_K", "Q4_K" and "Q5_K" stand for the medium ones.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_uppercase();
        match name.as_str() {
            "Q3_K" => Some(Self::Q3_K_M),
            "Q4_K" => Some(Self::Q4_K_M),
            "Q5_K" => Some(Self::Q5_K_M),
            name => Self::ALL.into_iter().find(|mix| mix.name() == name),
        }
    }
}

/// What the rules look at beside the tensors.
struct Shape {
    falcon: bool,
    /// Query heads for each key and value head.
    group: u64,
    experts: u64,
    layers: usize,
    /// Whether it is a Llama of 70 billion parameters, or shaped as one.
    seventy: bool,
    /// Whether the embedding is the output matrix too.
    tied: bool,
    importance: bool,
}

impl Shape {
    fn of(metadata: &Metadata, tensors: &[TensorInfo], importance: bool) -> Result<Self> {
        let arch = metadata.str("general.architecture")?.unwrap_or_default();
        let number = |key: &str| -> Result<Option<u64>> {
            let key = format!("{arch}.{key}");
            // Some families give one number for each layer; llama.cpp looks at the first.
            match metadata.get(&key).and_then(|value| value.array()) {
                Some(array) => Ok(array.get(0).and_then(|value| u64::try_from(value.integer()?).ok())),
                None => metadata.u64(&key),
            }
        };
        let heads = number("attention.head_count")?.unwrap_or(0);
        let kv = number("attention.head_count_kv")?.unwrap_or(heads);
        let layers = usize::try_from(number("block_count")?.unwrap_or(0)).unwrap_or(usize::MAX);
        Ok(Self {
            falcon: arch == "falcon",
            group: heads.checked_div(kv).unwrap_or(0),
            experts: number("expert_count")?.unwrap_or(0),
            layers,
            seventy: layers == 80 && (arch == "qwen2" || (arch == "llama" && heads != kv)),
            tied: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
            importance,
        })
    }
}

/// What a tensor is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Output,
    Embedding,
    /// Values, alone or fused with queries and keys.
    Values,
    Keys,
    AttentionOutput,
    Down,
    Other,
}

impl Role {
    fn of(name: &str) -> Self {
        let has = |part: &str| name.contains(part);
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::Embedding,
            _ if has("attn_qkv.weight") || has("attn_kv_b.weight") || has("attn_v.weight") => Self::Values,
            _ if has("attn_k.weight") => Self::Keys,
            _ if has("attn_q.weight") => Self::Other,
            _ if has("attn_output.weight") => Self::AttentionOutput,
            _ if has("ffn_up") || has("ffn_gate") => Self::Other,
            _ if has("ffn_down") => Self::Down,
            _ => Self::Other,
        }
    }
}

/// Parts of names of matrices that stay as they are: small, or nothing that a product is made with.
const KEPT: [&str; 37] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
    "position_embd.weight",
    "token_types.weight",
];

/// Whether a mix touches the tensor: a matrix that products are made with.
pub fn is_converted(tensor: &TensorInfo) -> bool {
    let dimensions = tensor.dims.iter().rposition(|&dim| dim != 1).map_or(1, |last| last + 1);
    dimensions >= 2 && tensor.name.ends_with("weight") && !KEPT.iter().any(|part| tensor.name.contains(part))
}

/// The type of each tensor of a model in `mix`, in the order of `tensors`. `importance` says whether an importance matrix is used.
///
/// Vectors, norms, routers and the like keep their types. Where a row is no whole number of blocks, a type of smaller blocks with at least as
/// many bits takes the place of the one that the mix asks for, F16 where none fits.
///
/// # Errors
/// `InvalidFile` where the metadata that the rules look at is of the wrong kind, or a tensor's name has a layer that the model does not;
/// `Unsupported` where a tensor would change whose type can't be decoded, naming it.
pub fn types(metadata: &Metadata, tensors: &[TensorInfo], mix: Mix, importance: bool) -> Result<Vec<TensorType>> {
    let shape = Shape::of(metadata, tensors, importance)?;
    let mut counts = Counts { values_in_all: 0, values: 0, down: 0 };
    counts.values_in_all = tensors.iter().filter(|tensor| Role::of(&tensor.name) == Role::Values).count();
    // The rules count tensors of a kind by layers, whatever their order in the file.
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&index| (layer_of(&tensors[index].name), tensors[index].name.as_str()));
    let mut types: Vec<TensorType> = tensors.iter().map(|tensor| tensor.ty).collect();
    for index in order {
        let tensor = &tensors[index];
        if is_converted(tensor) {
            types[index] = match mix {
                Mix::F32 | Mix::F16 | Mix::BF16 => mix.base(),
                _ => fallback(tensor, of_role(mix, &shape, tensor, &mut counts)?),
            };
            if types[index] != tensor.ty && !is_decodable(tensor.ty) {
                return Err(Error::unsupported(format!("tensor '{}': type {} can't be decoded by this version", tensor.name, tensor.ty)));
            }
        }
    }
    Ok(types)
}

/// Whether a matrix is that of an expert, or those of all: "blk.7.ffn_up.3.weight", as folders have it, or stacked.
fn is_expert(tensor: &TensorInfo) -> bool {
    let single = || stack(&tensor.name).is_some_and(|(whole, _)| whole.ends_with(EXPERTS));
    tensor.dims.get(2).is_some_and(|&count| count > 1) || single()
}

/// The layer in a name "blk.7.…"; −1 for tensors outside of layers.
fn layer_of(name: &str) -> i64 {
    let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// Tensors of a kind: how many there are, and how many came before.
struct Counts {
    values_in_all: usize,
    values: usize,
    down: usize,
}

/// The layers that the medium mixes give more bits: the first and last eighth, and every third between.
fn has_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= layers - layers.div_ceil(8) || (layer - eighth) % 3 == 2
}

/// What the mix asks for, whatever the length of rows.
fn of_role(mix: Mix, shape: &Shape, tensor: &TensorInfo, counts: &mut Counts) -> Result<TensorType> {
    let base = mix.base();
    let role = Role::of(&tensor.name);
    if role == Role::Output || (role == Role::Embedding && shape.tied) {
        let whole = tensor.cols().is_multiple_of(base.block_len() as u64);
        return Ok(if mix == Mix::MXFP4_MOE || base == T::Q8_0 || shape.falcon || !whole { T::Q8_0 } else { T::Q6_K });
    }
    if mix == Mix::MXFP4_MOE {
        return Ok(if is_expert(tensor) { T::MXFP4 } else { T::Q8_0 });
    }
    Ok(match role {
        Role::Values => {
            let layer = counts.values;
            counts.values += 1;
            values(mix, shape, layer, counts.values_in_all)
        }
        Role::Keys if shape.experts == 8 => T::Q8_0,
        Role::Down => {
            let layer = if shape.experts > 1 { layer_among(&tensor.name, shape.layers)? } else { counts.down };
            counts.down += 1;
            down(mix, shape, layer)
        }
        Role::AttentionOutput => attention_output(mix, shape),
        _ => base,
    })
}

fn values(mix: Mix, shape: &Shape, layer: usize, layers: usize) -> TensorType {
    let grouped = shape.group >= 4;
    let ty = match mix {
        Mix::Q2_K if grouped => T::Q4_K,
        Mix::Q2_K => T::Q3_K,
        Mix::Q2_K_S if grouped => T::Q4_K,
        Mix::Q3_K_M if layer < 2 => T::Q5_K,
        Mix::Q3_K_M => T::Q4_K,
        Mix::Q3_K_L => T::Q5_K,
        Mix::IQ4_NL | Mix::IQ4_XS if grouped => T::Q5_K,
        Mix::Q4_K_M | Mix::Q5_K_M if has_more_bits(layer, layers) => T::Q6_K,
        Mix::Q4_K_S if layer < 4 => T::Q5_K,
        _ => mix.base(),
    };
    match ty {
        _ if shape.experts == 8 => T::Q8_0,
        T::Q3_K | T::Q4_K if shape.seventy => T::Q5_K,
        _ => ty,
    }
}

fn down(mix: Mix, shape: &Shape, layer: usize) -> TensorType {
    let layers = shape.layers;
    match mix {
        Mix::Q2_K => T::Q3_K,
        Mix::Q2_K_S if layer < layers / 8 => T::Q4_K,
        Mix::Q3_K_M if layer < layers / 16 => T::Q5_K,
        Mix::Q3_K_M if !shape.falcon || has_more_bits(layer, layers) => T::Q4_K,
        Mix::Q3_K_L if shape.falcon => T::Q4_K,
        Mix::Q3_K_L => T::Q5_K,
        Mix::Q4_K_M if shape.falcon && layer < layers / 16 => T::Q6_K,
        Mix::Q4_K_M if has_more_bits(layer, layers) => {
            if shape.falcon {
                T::Q5_K
            } else {
                T::Q6_K
            }
        }
        Mix::IQ4_NL | Mix::IQ4_XS if layer < layers / 8 && !shape.importance => T::Q5_K,
        Mix::Q5_K_M if has_more_bits(layer, layers) => T::Q6_K,
        Mix::Q4_K_S if !shape.falcon && layer < layers / 8 => T::Q5_K,
        Mix::Q4_0 if shape.importance && layer < layers / 8 => T::Q4_1,
        Mix::Q5_0 if shape.importance && layer < layers / 8 => T::Q5_1,
        _ => mix.base(),
    }
}

fn attention_output(mix: Mix, shape: &Shape) -> TensorType {
    let small = matches!(mix, Mix::Q2_K | Mix::Q3_K_S | Mix::Q3_K_M | Mix::Q4_K_S | Mix::Q4_K_M | Mix::IQ4_NL | Mix::IQ4_XS);
    match mix {
        Mix::Q3_K_L if shape.falcon => T::Q4_K,
        _ if shape.falcon => mix.base(),
        _ if shape.experts == 8 && small => T::Q5_K,
        _ if shape.experts == 8 => mix.base(),
        Mix::Q2_K => T::Q3_K,
        Mix::Q3_K_M => T::Q4_K,
        Mix::Q3_K_L => T::Q5_K,
        _ => mix.base(),
    }
}

fn layer_among(name: &str, layers: usize) -> Result<usize> {
    let layer = layer_of(name);
    usize::try_from(layer)
        .ok()
        .filter(|&layer| layer < layers)
        .ok_or_else(|| Error::invalid_file(format!("tensor '{name}': no layer of the model's {layers} in its name")))
}

/// The type that takes the place of one whose blocks do not fit the rows.
fn fallback(tensor: &TensorInfo, wanted: TensorType) -> TensorType {
    let fits = |ty: TensorType| tensor.cols().is_multiple_of(ty.block_len() as u64);
    if fits(wanted) {
        return wanted;
    }
    let other = match wanted {
        T::IQ4_XS => T::IQ4_NL,
        T::Q2_K | T::Q3_K => T::Q4_0,
        T::Q4_K => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        _ => T::F16,
    };
    if fits(other) { other } else { T::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_in_any_case() {
        for mix in Mix::ALL {
            assert_eq!(Mix::from_name(mix.name()), Some(mix));
            assert_eq!(Mix::from_name(&mix.name().to_lowercase()), Some(mix));
        }
        assert_eq!(Mix::from_name("q4_k"), Some(Mix::Q4_K_M));
        assert_eq!(Mix::from_name("Q7"), None);
    }
}
