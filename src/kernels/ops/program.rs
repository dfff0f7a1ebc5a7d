//! The program of a model: regions and operations, checked as they are added.

use std::borrow::Cow;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::kernels::kv::KvShape;
use crate::kernels::{ActKind, Matrix};

use super::attention::Attention;
use super::embed::Embed;
use super::experts::{ExpertMatrices, ExpertsDown, ExpertsGated, Route, Routing};
use super::ffn::{Activation, Gated};
use super::matmul::{Epilogue, Matmul, Product};
use super::norm::{Norm, NormFloats, NormWeights, Outputs, Quantize, SigmoidScale};
use super::rope::{HeadNorm, Rope, RopeTable, RotateStore};

/// Which columns of a pass an operation works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Every token of the pass.
    All,
    /// Only the tokens whose logits are wanted.
    Outputs,
}

/// `len` floats per column, at `offset` within a region of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloatView {
    pub(super) region: usize,
    pub(super) offset: usize,
    /// Floats per column.
    pub len: usize,
    pub(super) columns: Columns,
}

impl FloatView {
    /// The part `offset .. offset + len` of the view.
    ///
    /// # Panics
    /// Where that is outside: a mistake in the architecture, not in its input.
    pub fn part(self, offset: usize, len: usize) -> Self {
        assert!(offset + len <= self.len, "a part of {offset}+{len} of a view of {}", self.len);
        Self { offset: self.offset + offset, len, ..self }
    }
}

/// Quantised activations: one region for each kind that the products of these activations need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acts {
    /// Elements per column.
    pub(super) k: usize,
    pub(super) columns: Columns,
    pub(super) regions: Vec<(ActKind, usize)>,
}

impl Acts {
    pub(super) fn region(&self, kind: ActKind) -> usize {
        self.regions.iter().find(|(have, _)| *have == kind).expect("the builder checked the kinds of every product").1
    }
}

/// What one region holds per column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RegionSpec {
    pub bytes: usize,
    pub columns: Columns,
}

pub(super) enum Op {
    Embed(Embed),
    RopeTable(RopeTable),
    Norm(Norm),
    NormFloats(NormFloats),
    SigmoidScale(SigmoidScale),
    Quantize(Quantize),
    Matmul(Matmul),
    Gated(Gated),
    Route(Route),
    ExpertsGated(ExpertsGated),
    ExpertsDown(ExpertsDown),
    RotateStore(RotateStore),
    Attention(Attention),
    Outputs(Outputs),
}

/// What a mixture of experts works in.
#[derive(Debug, Clone, Copy)]
pub struct ExpertViews {
    /// The router's output, one per expert; overwritten.
    pub logits: FloatView,
    /// Two floats for each expert that computes: its number and its weight.
    pub routes: FloatView,
    /// The inner activations of each expert that computes.
    pub inner: FloatView,
}

/// A mixture of experts.
pub struct Experts {
    /// (width, k)
    pub gate: ExpertMatrices,
    /// (width, k)
    pub up: ExpertMatrices,
    /// (rows, width)
    pub down: ExpertMatrices,
    /// The function on the gate.
    pub activation: Activation,
    /// How the router's logits become weights.
    pub routing: Routing,
}

/// What stands at the beginning of a program: for each token a row of a table, and what some families do with it.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// (vocabulary, width)
    pub table: Matrix,
    /// Factor on the row.
    pub scale: f32,
    /// (positions, width): learned embeddings of the positions, added.
    pub positions: Option<Matrix>,
    /// `width` floats that are added to every row.
    pub constant: Option<Arc<[f32]>>,
}

/// The forward pass of one model as a flat list of operations. Immutable, shared by all sessions of the model.
pub struct Program {
    pub(super) regions: Vec<RegionSpec>,
    pub(super) ops: Vec<Op>,
    pub(super) kv: KvShape,
    logits: FloatView,
    /// The widest row that a worker may need in its scratch.
    pub(super) widest: usize,
    /// Caches of more positions than this have keys rotated by the frequencies for long contexts (LongRoPE).
    long_beyond: Option<usize>,
}

impl Program {
    /// The shape of the KV cache that the program reads and writes.
    pub fn kv_shape(&self) -> KvShape {
        self.kv
    }

    /// The positions that a query sees at most, its own among them: where every layer has a window.
    pub fn window(&self) -> Option<usize> {
        let windows = self.ops.iter().filter_map(|op| if let Op::Attention(op) = op { Some(op.rules.window) } else { None });
        windows.reduce(|largest, window| Some(largest?.max(window?))).flatten()
    }

    /// Whether keys in a cache of `capacity` positions are rotated by the frequencies for long contexts (LongRoPE).
    pub fn rotates_for_long(&self, capacity: usize) -> bool {
        self.long_beyond.is_some_and(|beyond| capacity > beyond)
    }

    /// The view that holds the logits of the output columns after a pass.
    pub fn logits(&self) -> FloatView {
        self.logits
    }
}

/// Builds a [`Program`]: one call per operation, in order. Every call checks that the sizes of what it joins agree.
pub struct ProgramBuilder {
    regions: Vec<RegionSpec>,
    named: Vec<(Cow<'static, str>, ActKind, usize, usize)>,
    ops: Vec<Op>,
    kv: KvShape,
    widest: usize,
}

impl ProgramBuilder {
    /// An empty program over a KV cache of shape `kv`.
    pub fn new(kv: KvShape) -> Self {
        Self { regions: vec![], named: vec![], ops: vec![], kv, widest: 0 }
    }

    fn region(&mut self, bytes: usize, columns: Columns) -> usize {
        // An odd number of lines, so that the same place of many columns is spread over all sets of a cache.
        let bytes = if bytes == 0 { 0 } else { bytes.next_multiple_of(64) | 64 };
        self.regions.push(RegionSpec { bytes, columns });
        self.regions.len() - 1
    }

    /// A region of `len` floats for every column.
    pub fn floats(&mut self, len: usize) -> FloatView {
        self.floats_for(len, Columns::All)
    }

    fn floats_for(&mut self, len: usize, columns: Columns) -> FloatView {
        self.widest = self.widest.max(len);
        FloatView { region: self.region(len * size_of::<f32>(), columns), offset: 0, len, columns }
    }

    /// Regions for `k` activations in every kind that the products with `weights` need. Calls with the same `slot` share memory, so a
    /// slot's contents live until the slot is next filled.
    fn acts(&mut self, slot: Cow<'static, str>, k: usize, columns: Columns, weights: &[&Matrix]) -> Acts {
        let mut acts = Acts { k, columns, regions: vec![] };
        for weight in weights {
            let kind = ActKind::for_type(weight.ty());
            if acts.regions.iter().any(|(have, _)| *have == kind) {
                continue;
            }
            let known = self.named.iter().find(|(s, have, len, _)| *s == slot && *have == kind && *len == k).map(|n| n.3);
            let region = known.unwrap_or_else(|| {
                let region = self.region(kind.bytes(k), columns);
                self.named.push((slot.clone(), kind, k, region));
                region
            });
            acts.regions.push((kind, region));
        }
        acts
    }

    /// `out = scale · table[token] + positions[position] + constant`: the embedding of each token.
    pub fn embed(&mut self, embedding: Embedding, out: FloatView) -> Result<()> {
        let Embedding { table, scale, positions, constant } = embedding;
        same("embedding width", table.cols(), out.len)?;
        if let Some(positions) = &positions {
            same("width of the position embeddings", positions.cols(), out.len)?;
        }
        if let Some(constant) = &constant {
            same("embedding width", constant.len(), out.len)?;
        }
        self.ops.push(Op::Embed(Embed { table, out, scale, positions, constant }));
        Ok(())
    }

    /// `out = norm(x)`, in f32; `out` may be `x`.
    pub fn norm_floats(&mut self, x: FloatView, norm: &NormWeights, out: FloatView) -> Result<()> {
        self.norm_to(x, norm, out, false)
    }

    /// `out += norm(x)`, in f32.
    pub fn add_norm(&mut self, x: FloatView, norm: &NormWeights, out: FloatView) -> Result<()> {
        self.norm_to(x, norm, out, true)
    }

    fn norm_to(&mut self, x: FloatView, norm: &NormWeights, out: FloatView, add: bool) -> Result<()> {
        check_norm(norm, x.len)?;
        same("norm width", out.len, x.len)?;
        same_columns(x, out)?;
        self.ops.push(Op::NormFloats(NormFloats { x, norm: norm.clone(), out, add }));
        Ok(())
    }

    /// `x *= σ(gate)`, with one gate per column.
    pub fn sigmoid_scale(&mut self, x: FloatView, gate: FloatView) -> Result<()> {
        same("gates of a column", gate.len, 1)?;
        same_columns(x, gate)?;
        self.ops.push(Op::SigmoidScale(SigmoidScale { x, gate }));
        Ok(())
    }

    /// The cosines and sines of every column's position.
    pub fn rope_table(&mut self, rope: &Arc<Rope>) -> FloatView {
        let out = self.floats(2 * rope.pairs());
        self.ops.push(Op::RopeTable(RopeTable { rope: Arc::clone(rope), out }));
        out
    }

    /// Normalises `x` and quantises the result for the products with `weights`.
    pub fn norm(&mut self, slot: &'static str, x: FloatView, norm: &NormWeights, weights: &[&Matrix]) -> Result<Acts> {
        self.norm_for(slot, x, norm, weights, Columns::All)
    }

    /// As [`norm`](Self::norm), of the output columns alone.
    pub fn norm_outputs(&mut self, slot: &'static str, x: FloatView, norm: &NormWeights, weights: &[&Matrix]) -> Result<Acts> {
        self.norm_for(slot, x, norm, weights, Columns::Outputs)
    }

    fn norm_for(&mut self, slot: &'static str, x: FloatView, norm: &NormWeights, weights: &[&Matrix], columns: Columns) -> Result<Acts> {
        check_norm(norm, x.len)?;
        let acts = self.acts(slot.into(), x.len, columns, weights);
        self.ops.push(Op::Norm(Norm { x, norm: norm.clone(), acts: acts.clone() }));
        Ok(acts)
    }

    /// Quantises `x` for the products with `weights`.
    pub fn quantize(&mut self, slot: impl Into<Cow<'static, str>>, x: FloatView, weights: &[&Matrix]) -> Acts {
        let acts = self.acts(slot.into(), x.len, x.columns, weights);
        self.ops.push(Op::Quantize(Quantize { parts: vec![(x, acts.clone())] }));
        acts
    }

    /// Matrix products of the same activations, computed as one operation.
    pub fn matmul(&mut self, acts: &Acts, products: Vec<Product>) -> Result<()> {
        for product in &products {
            if let Epilogue::Activate(activation) = product.epilogue
                && !activation.is_plain()
            {
                return Err(Error::internal(format!("{activation:?} without a gate")));
            }
            self.check_product(acts, &product.weight, product.bias.as_deref(), product.out)?;
        }
        self.ops.push(Op::Matmul(Matmul { acts: acts.clone(), products }));
        Ok(())
    }

    /// `out = activation(gate·x) · (up·x)`, element by element.
    pub fn gated(&mut self, acts: &Acts, gate: &Matrix, up: &Matrix, activation: Activation, out: FloatView) -> Result<()> {
        check_gate(activation)?;
        self.check_product(acts, gate, None, out)?;
        self.check_product(acts, up, None, out)?;
        self.ops.push(Op::Gated(Gated { acts: acts.clone(), gate: gate.clone(), up: up.clone(), activation, out }));
        Ok(())
    }

    /// A mixture of experts: `out += Σ weight · down_e·(activation(gate_e·x) ∘ (up_e·x))` over the `used` experts e that the largest of
    /// `logits` name; products with their biases.
    pub fn experts(&mut self, acts: &Acts, views: ExpertViews, experts: Experts, out: FloatView) -> Result<()> {
        let ExpertViews { logits, routes, inner } = views;
        let (count, used) = (logits.len, routes.len / 2);
        if used == 0 || used > count {
            return Err(Error::invalid_file(format!("{used} of {count} experts")));
        }
        check_gate(experts.activation)?;
        let Experts { gate, up, down, activation, routing } = experts;
        for part in [&gate, &up, &down] {
            same("experts", part.weights.len(), count)?;
            if let Some(biases) = &part.biases {
                same("biases of the experts", biases.len(), count * part.weights[0].rows())?;
            }
        }
        let width = gate.weights[0].rows();
        same("width of the experts", inner.len, used * width)?;
        for weight in gate.weights.iter().chain(&up.weights) {
            self.check_product(acts, weight, None, inner.part(0, width))?;
        }
        self.ops.push(Op::Route(Route { logits, routing, out: routes }));
        // Of the kinds that the slot holds for others, the router among them, those that the experts read.
        let mut own = acts.clone();
        own.regions.retain(|(kind, _)| gate.weights.iter().chain(&up.weights).any(|weight| ActKind::for_type(weight.ty()) == *kind));
        self.ops.push(Op::ExpertsGated(ExpertsGated { acts: own, routes, gate, up, activation, out: inner }));
        let readers: Vec<&Matrix> = down.weights.iter().collect();
        let parts: Vec<(FloatView, Acts)> = (0..used)
            .map(|slot| {
                let part = inner.part(slot * width, width);
                (part, self.acts(format!("expert {slot}").into(), width, part.columns, &readers))
            })
            .collect();
        let slots: Vec<Acts> = parts.iter().map(|(_, acts)| acts.clone()).collect();
        for weight in &down.weights {
            self.check_product(&slots[0], weight, None, out)?;
        }
        self.ops.push(Op::Quantize(Quantize { parts }));
        self.ops.push(Op::ExpertsDown(ExpertsDown { acts: slots, routes, down, out }));
        Ok(())
    }

    fn check_product(&self, acts: &Acts, weight: &Matrix, bias: Option<&[f32]>, out: FloatView) -> Result<()> {
        same("columns of a matrix and the activations", weight.cols(), acts.k)?;
        same("rows of a matrix and its output", weight.rows(), out.len)?;
        if let Some(bias) = bias {
            same("a bias and the rows of its matrix", bias.len(), weight.rows())?;
        }
        let kind = ActKind::for_type(weight.ty());
        if acts.columns != out.columns || !acts.regions.iter().any(|(have, _)| *have == kind) {
            return Err(Error::internal(format!("activations were not prepared for {}", weight.ty().name())));
        }
        Ok(())
    }

    /// Head norms, rotary embedding, and the keys and values into the cache.
    pub fn rotate_store(&mut self, op: RotateStore) -> Result<()> {
        let kv = self.kv;
        same("query heads", op.q.len % (kv.key_dim * kv.heads), 0)?;
        same("key width", op.k.len, kv.heads * kv.key_dim)?;
        same("value width", op.v.len, kv.heads * kv.value_dim)?;
        if let Some(rope) = &op.rope {
            same("rotary table", op.table.map_or(0, |t| t.len), 2 * rope.pairs())?;
            if 2 * rope.pairs() > kv.key_dim {
                return Err(Error::invalid_file(format!("{} rotary dimensions in heads of {}", 2 * rope.pairs(), kv.key_dim)));
            }
        }
        for (norm, all) in [(&op.q_norm, op.q.len), (&op.k_norm, op.k.len)] {
            let Some(HeadNorm { norm, whole }) = norm else { continue };
            check_norm(norm, if *whole || norm.weight.len() != kv.key_dim { all } else { kv.key_dim })?;
        }
        if op.layer >= kv.layers {
            return Err(Error::internal("a layer outside the KV cache"));
        }
        self.ops.push(Op::RotateStore(op));
        Ok(())
    }

    /// Attention over the cache.
    pub fn attention(&mut self, op: Attention) -> Result<()> {
        let heads = op.q.len / self.kv.key_dim;
        same("query heads per KV head", heads % self.kv.heads, 0)?;
        same("query width", op.q.len, heads * self.kv.key_dim)?;
        same("attention output", op.out.len, heads * self.kv.value_dim)?;
        for values in [&op.rules.slopes, &op.rules.sinks].into_iter().flatten() {
            same("values for each query head", values.len(), heads)?;
        }
        if op.layer >= self.kv.layers {
            return Err(Error::internal("a layer outside the KV cache"));
        }
        if op.rules.window.is_some_and(|window| window == 0 || op.rules.both_ways) {
            return Err(Error::internal("a window of no positions, or one of queries that see both ways"));
        }
        self.ops.push(Op::Attention(op));
        Ok(())
    }

    /// Ends the program with the output matrix: the logits of the output columns.
    pub fn finish(mut self, acts: &Acts, output: &Matrix, bias: Option<Arc<[f32]>>, epilogue: Epilogue) -> Result<Program> {
        let logits = self.floats_for(output.rows(), Columns::Outputs);
        self.matmul(acts, vec![Product { weight: output.clone(), bias, out: logits, epilogue }])?;
        Ok(self.ending_in(logits))
    }

    /// Ends the program without an output matrix: what comes out are the output columns of `x`, where a program has its logits otherwise.
    pub fn finish_embeddings(mut self, x: FloatView) -> Result<Program> {
        let out = self.floats_for(x.len, Columns::Outputs);
        self.ops.push(Op::Outputs(Outputs { x, out }));
        Ok(self.ending_in(out))
    }

    fn ending_in(self, logits: FloatView) -> Program {
        let long_beyond = self.ops.iter().find_map(|op| match op {
            Op::RopeTable(table) => table.rope.long.as_ref().map(|long| long.beyond),
            _ => None,
        });
        Program { regions: self.regions, ops: self.ops, kv: self.kv, logits, widest: self.widest, long_beyond }
    }
}

fn check_norm(norm: &NormWeights, width: usize) -> Result<()> {
    same("norm width", norm.weight.len(), width)?;
    norm.bias.as_ref().map_or(Ok(()), |bias| same("norm bias width", bias.len(), width))
}

fn check_gate(activation: Activation) -> Result<()> {
    if activation.is_gate() { Ok(()) } else { Err(Error::internal(format!("{activation:?} as a gate"))) }
}

fn same_columns(a: FloatView, b: FloatView) -> Result<()> {
    if a.columns == b.columns { Ok(()) } else { Err(Error::internal("columns of all positions beside columns of the outputs")) }
}

fn same(what: &str, a: usize, b: usize) -> Result<()> {
    if a == b { Ok(()) } else { Err(Error::invalid_file(format!("{what}: {a} and {b} do not fit together"))) }
}
