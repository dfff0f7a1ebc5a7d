//! What a model asks of the processor for a token: bytes to read and operations to do, from its table of tensors.
//!
//! Counted are the weights, and the keys and values that the attention reads. Not counted is what goes through the caches of the processor
//! alone (activations), and what does not grow with the model (norms, sampling).

use serde_json::{Value, json};

use crate::base::Result;
use crate::format::TensorInfo;
use crate::kernels::ActKind;
use crate::kernels::peak::Arithmetic;
use crate::model::Model;
use crate::session::KvType;

/// The bytes and operations of a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Bytes that are read.
    pub bytes: f64,
    /// Operations (a multiplication and an addition are two), in the order of [`Arithmetic::ALL`].
    pub operations: [f64; 3],
}

impl Work {
    /// Operations of all kinds.
    pub fn all_operations(&self) -> f64 {
        self.operations.iter().sum()
    }

    /// Operations for each byte.
    pub fn intensity(&self) -> f64 {
        self.all_operations() / self.bytes
    }
}

/// What a model asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Bytes of the weights that every pass reads.
    weight_bytes: f64,
    /// Operations with them for a token, and with the output matrix for one whose logits are wanted.
    operations: [f64; 3],
    output_operations: [f64; 3],
    /// Bytes of all experts, and the share of them that computes for a token.
    expert_bytes: f64,
    expert_share: f64,
    /// Bytes of the cache for a position, and operations of the attention with it.
    kv_bytes: f64,
    attention_operations: f64,
}

/// The place of the arithmetic that products with weights of a tensor are made of.
fn arithmetic(tensor: &TensorInfo) -> Arithmetic {
    match ActKind::for_type(tensor.ty) {
        ActKind::F32 => Arithmetic::F32,
        ActKind::Bf16 => Arithmetic::Bf16,
        ActKind::Q8x32 | ActKind::Q8x256 => Arithmetic::Int8,
    }
}

impl Demand {
    /// Of `model` with a cache of `kv_type`.
    ///
    /// # Errors
    /// `InvalidArgument` for a model without weights.
    pub fn of(model: &Model, kv_type: KvType) -> Result<Self> {
        let config = model.config()?;
        let shape = config.kv_shape();
        let share = if config.expert_count > 0 { config.expert_used_count as f64 / config.expert_count as f64 } else { 1.0 };
        let mut demand = Self {
            weight_bytes: 0.0,
            operations: [0.0; 3],
            output_operations: [0.0; 3],
            expert_bytes: 0.0,
            expert_share: share,
            kv_bytes: shape.position_bytes(kv_type) as f64,
            attention_operations: (2 * shape.layers * config.head_count * (shape.key_dim + shape.value_dim)) as f64,
        };
        // Where the file has no output matrix, the table of embeddings is it; else a token reads one row of that table.
        let tied = !model.tensors().iter().any(|tensor| tensor.name == "output.weight");
        for tensor in model.tensors() {
            let (bytes, name) = (tensor.data.len() as f64, tensor.name.as_str());
            let (kind, products) = (arithmetic(tensor) as usize, 2.0 * tensor.elements() as f64);
            match name {
                "token_embd.weight" if !tied => {}
                // A row of these for each token.
                "position_embd.weight" | "token_types.weight" => {}
                "token_embd.weight" | "output.weight" => {
                    demand.weight_bytes += bytes;
                    demand.output_operations[kind] += products;
                }
                _ if name.contains("_exps.") => {
                    demand.expert_bytes += bytes;
                    if name.ends_with(".weight") {
                        demand.operations[kind] += products * share;
                    }
                }
                _ => {
                    demand.weight_bytes += bytes;
                    if tensor.dims.len() > 1 && name.ends_with(".weight") {
                        demand.operations[kind] += products;
                    }
                }
            }
        }
        Ok(demand)
    }

    /// Bytes of weights that a pass over one token reads.
    pub fn token_bytes(&self) -> f64 {
        self.weight_bytes + self.expert_bytes * self.expert_share
    }

    /// A pass over `columns` tokens, the logits of `outputs` of them wanted, with `read` positions of caches read and `seen` by all tokens
    /// together. Of experts, those that at least one token is expected to choose where all are as likely.
    fn pass(&self, columns: f64, outputs: f64, read: f64, seen: f64) -> Work {
        let experts = self.expert_bytes * (1.0 - (1.0 - self.expert_share).powf(columns));
        let mut operations: [f64; 3] = std::array::from_fn(|kind| columns * self.operations[kind] + outputs * self.output_operations[kind]);
        operations[Arithmetic::F32 as usize] += self.attention_operations * seen;
        Work { bytes: self.weight_bytes + experts + self.kv_bytes * read, operations }
    }

    /// One token for each of `sequences` conversations of `position` tokens.
    pub fn decode(&self, sequences: u32, position: f64) -> Work {
        let sequences = f64::from(sequences);
        self.pass(sequences, sequences, sequences * position, sequences * position)
    }

    /// A prompt of `length` tokens at once, with the logits of its last one.
    pub fn prefill(&self, length: u32) -> Work {
        let length = f64::from(length);
        self.pass(length, 1.0, length, length * (length + 1.0) / 2.0)
    }

    /// For JSON.
    pub(super) fn value(&self) -> Value {
        let one = self.decode(1, 0.0);
        let kinds: serde_json::Map<String, Value> =
            Arithmetic::ALL.iter().zip(one.operations).map(|(kind, count)| (kind.name().into(), count.into())).collect();
        json!({
            "weight_bytes": self.token_bytes(),
            "operations": kinds,
            "kv_bytes_per_position": self.kv_bytes,
            "attention_operations_per_position": self.attention_operations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_by_hand() {
        let demand = Demand {
            weight_bytes: 100.0,
            operations: [160.0, 0.0, 0.0],
            output_operations: [0.0, 40.0, 0.0],
            expert_bytes: 80.0,
            expert_share: 0.25,
            kv_bytes: 2.0,
            attention_operations: 3.0,
        };
        let one = demand.decode(1, 10.0);
        assert_eq!((one.bytes, one.operations), (100.0 + 20.0 + 20.0, [160.0, 40.0 + 30.0, 0.0]));
        assert_eq!(demand.token_bytes(), 120.0);
        // Two tokens: 1 − 0.75² of the experts.
        assert_eq!(demand.decode(2, 0.0).bytes, 100.0 + 80.0 * 0.4375);
        let prompt = demand.prefill(4);
        assert_eq!(prompt.operations, [640.0, 40.0 + 3.0 * 10.0, 0.0]);
        assert!((demand.decode(1, 0.0).intensity() - 200.0 / 120.0).abs() < 1e-12);
    }
}
