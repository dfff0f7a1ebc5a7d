//! What it is worth that gate and up projections and the activation between them are one operation: the same products on the model's own
//! weights, fused and in three operations, in turns. Both must give the same bits before their times mean anything.

use serde_json::{Value, json};

use crate::base::Result;
use crate::format::TensorInfo;
use crate::kernels::Matrix;
use crate::kernels::ops::fusion::{GatedProducts, Pair};
use crate::model::Model;
use crate::runtime::Runtime;

use super::claim::PairRatio;
use super::clock::Clock;
use super::statistics::median;
use super::summary::range;
use super::table::{Table, figure};

/// Tokens at once: decoding, and a prompt.
const COLUMNS: [usize; 2] = [1, 64];
/// Layers that take part at most: they differ in nothing but their weights.
const MOST_LAYERS: usize = 4;

/// The times with so many tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct FusionRow {
    /// Tokens at once.
    pub columns: usize,
    /// Whether both ways gave the same bits. Nothing was timed where not.
    pub equal: bool,
    /// Operations that wait for each other, fused and not.
    pub dispatches: [usize; 2],
    /// Work items that threads took, fused and not.
    pub items: [u64; 2],
    /// Times of all layers, fused.
    pub fused_ms: Vec<f64>,
    /// The same unfused.
    pub unfused_ms: Vec<f64>,
    /// Unfused over fused.
    pub ratio: PairRatio,
}

/// What the fusion is worth.
#[derive(Debug, Clone, PartialEq)]
pub enum Fusion {
    /// On the gated layers of a model.
    Measured {
        /// Layers that took part.
        layers: usize,
        /// One for each number of tokens.
        rows: Vec<FusionRow>,
    },
    /// The model has nothing to fuse: why.
    Absent(&'static str),
}

/// The matrix of a tensor.
fn matrix(tensor: &TensorInfo) -> Result<Matrix> {
    Matrix::new(tensor.ty, tensor.rows() as usize, tensor.cols() as usize, tensor.data.clone())
}

/// Gate and up of the first layers; none where the model has no plain gated layers.
fn pairs(model: &Model) -> Result<Vec<Pair>> {
    let tensor = |layer: usize, part: &str| {
        let name = format!("blk.{layer}.{part}.weight");
        model.tensors().iter().find(|tensor| tensor.name == name && tensor.dims.len() == 2)
    };
    let mut pairs = vec![];
    for layer in 0..MOST_LAYERS {
        let (Some(gate), Some(up)) = (tensor(layer, "ffn_gate"), tensor(layer, "ffn_up")) else { break };
        pairs.push((matrix(gate)?, matrix(up)?));
    }
    Ok(pairs)
}

impl Fusion {
    /// Measures the layers of `model` in `repeats` pairs.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) async fn measure(model: &Model, repeats: u32, seed: u64, clock: &mut Clock) -> Result<Self> {
        let pairs = pairs(model)?;
        if pairs.is_empty() {
            return Ok(Self::Absent("the model has no plain layers with a gate"));
        }
        let mut rows = vec![];
        for columns in COLUMNS {
            rows.push(row(model, &pairs, columns, repeats, seed, clock).await?);
        }
        Ok(Self::Measured { layers: pairs.len(), rows })
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Absent(why) => json!({ "absent": why }),
            Self::Measured { layers, rows } => json!({
                "layers": layers,
                "rows": rows.iter().map(|row| json!({
                    "tokens": row.columns,
                    "bits_equal": row.equal,
                    "dispatches": { "fused": row.dispatches[0], "unfused": row.dispatches[1] },
                    "work_items": { "fused": row.items[0], "unfused": row.items[1] },
                    "fused_ms": row.fused_ms,
                    "unfused_ms": row.unfused_ms,
                    "unfused_over_fused": row.ratio.value(),
                })).collect::<Vec<_>>(),
            }),
        }
    }

    pub(super) fn table(&self) -> String {
        let (layers, rows) = match self {
            Self::Absent(why) => return format!("fusion of gate and up: not measured, {why}\n"),
            Self::Measured { layers, rows } => (layers, rows),
        };
        let mut table = Table::new(["tokens", "fused ms", "unfused ms", "unfused/fused", "95 %", "operations", "items", "bits"]);
        for row in rows {
            table.row([
                row.columns.to_string(),
                figure(median(&row.fused_ms)),
                figure(median(&row.unfused_ms)),
                figure(row.ratio.median),
                range(row.ratio.ci.as_ref()),
                format!("{} / {}", row.dispatches[0], row.dispatches[1]),
                format!("{} / {}", row.items[0], row.items[1]),
                if row.equal { "equal" } else { "DIFFER" }.to_owned(),
            ]);
        }
        format!("fusion of gate and up, {layers} layers (operations and items: fused / unfused):\n{}", table.text())
    }
}

/// Computes all products once; the milliseconds that it took.
async fn compute(way: &mut GatedProducts, runtime: &Runtime, clock: &mut Clock) -> Result<f64> {
    clock.in_slices(|cursor, budget| way.run(runtime.pool(), cursor, budget)).await
}

async fn row(model: &Model, pairs: &[Pair], columns: usize, repeats: u32, seed: u64, clock: &mut Clock) -> Result<FusionRow> {
    let runtime = model.runtime();
    let make = |fused| GatedProducts::new(pairs, fused, columns, runtime.kernels(), runtime.budget(), runtime.threads());
    let mut ways = [make(true)?, make(false)?];
    let mut items = [0; 2];
    for (way, items) in ways.iter_mut().zip(&mut items) {
        compute(way, runtime, clock).await?;
        *items = way.items_done();
    }
    let bits = |way: usize| ways[way].outputs().flatten().map(|value| value.to_bits());
    let mut row = FusionRow {
        columns,
        equal: bits(0).eq(bits(1)),
        dispatches: [ways[0].dispatches(), ways[1].dispatches()],
        items,
        fused_ms: vec![],
        unfused_ms: vec![],
        ratio: PairRatio::default(),
    };
    // So often that a sample takes a millisecond at least.
    let times = (1.0 / compute(&mut ways[0], runtime, clock).await?.max(1e-3)).clamp(1.0, 100.0).ceil() as u32;
    for _ in 0..if row.equal { repeats } else { 0 } {
        for (way, times_ms) in ways.iter_mut().zip([&mut row.fused_ms, &mut row.unfused_ms]) {
            let mut spent_ms = 0.0;
            for _ in 0..times {
                spent_ms += compute(way, runtime, clock).await?;
            }
            times_ms.push(spent_ms / f64::from(times));
        }
    }
    row.ratio = PairRatio::of(&row.unfused_ms, &row.fused_ms, seed, clock).await;
    Ok(row)
}
