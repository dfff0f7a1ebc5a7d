//! A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538; Mixtral: arXiv 2401.04088): a router chooses a few experts for each
//! column, each a gated feed-forward layer, and their outputs are summed with the router's weights.
//!
//! The columns that chose an expert are gathered and computed together, so that its weights are read once for all of them. A column's
//! outputs are summed in ascending order of the experts' numbers, so that its bits do not depend on what other columns chose.

use std::ops::Range;
use std::sync::Arc;

use crate::kernels::{self, ActKind, Kernels, Matrix};

use super::execution::Bound;
use super::ffn::Activation;
use super::matmul::ITEM_PRODUCTS;
use super::program::{Acts, FloatView};

/// Columns per routing item.
const COLUMNS: usize = 16;
/// Rows per item of the products; rows are a multiple of this, but for the last.
const ROWS: usize = 32;
/// Most rows per item, where there are so few columns that reading the weights is the work.
const MOST_ROWS: usize = 128;
/// Items of such a product for each thread, at least.
const SHARES: usize = 4;
/// Gathered columns of one product.
const GATHERED: usize = 32;

/// How the logits of a router become weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// The softmax over the chosen experts, which is that over all of them, divided by its sum over the chosen.
    OverChosen,
    /// The softmax over all experts; the weights of the chosen sum to less than 1.
    OverAll,
}

/// Chooses the experts with the largest router logits.
pub(in crate::kernels) struct Route {
    /// One logit per expert.
    pub logits: FloatView,
    pub routing: Routing,
    /// `[slot][expert number, weight]`
    pub out: FloatView,
}

impl Route {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        bound.columns().div_ceil(COLUMNS)
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize) {
        for column in item * COLUMNS..bound.columns().min((item + 1) * COLUMNS) {
            // SAFETY: the column belongs to this item alone.
            let (logits, out) = unsafe {
                (
                    std::slice::from_raw_parts_mut(bound.arena.floats(self.logits, column), self.logits.len),
                    std::slice::from_raw_parts_mut(bound.arena.floats(self.out, column), self.out.len),
                )
            };
            route(self.routing, logits, out);
        }
    }
}

/// Fills `out` with (expert, weight) pairs by descending logit; the lower number first among equals. Overwrites `logits`.
fn route(routing: Routing, logits: &mut [f32], out: &mut [f32]) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let over_all: f32 = if routing == Routing::OverAll { logits.iter().map(|&logit| exp(logit - top)).sum() } else { 0.0 };
    for slot in out.chunks_exact_mut(2) {
        let mut best = 0;
        for (expert, &logit) in logits.iter().enumerate() {
            if logit > logits[best] {
                best = expert;
            }
        }
        slot[0] = best as f32; // exact: far fewer than 2²⁴ experts
        slot[1] = logits[best];
        logits[best] = f32::NEG_INFINITY;
    }
    out.chunks_exact_mut(2).for_each(|slot| slot[1] = exp(slot[1] - top));
    let total = match routing {
        Routing::OverAll => over_all,
        Routing::OverChosen => out.chunks_exact(2).map(|slot| slot[1]).sum(),
    };
    out.chunks_exact_mut(2).for_each(|slot| slot[1] /= total);
}

/// e^x by the double-precision function, whose rounding to f32 is the same on every system but for one case in a billion.
fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

/// The matrices of all experts, and their biases.
pub struct ExpertMatrices {
    /// One (rows, k) per expert.
    pub weights: Vec<Matrix>,
    /// `[expert][rows]`
    pub biases: Option<Arc<[f32]>>,
}

impl ExpertMatrices {
    /// # Safety
    /// `tile` has `count` rows of `rows.len()` floats.
    unsafe fn add_bias(&self, bound: &Bound<'_>, expert: usize, rows: &Range<usize>, tile: *mut f32, count: usize) {
        if let Some(biases) = &self.biases {
            let bias = &biases[expert * self.weights[0].rows()..][rows.clone()];
            for column in 0..count {
                // SAFETY: the caller's promise.
                unsafe { (bound.vector.add)(tile.add(column * rows.len()), bias.as_ptr(), rows.len()) };
            }
        }
    }
}

/// `out[slot] = activation(gate_e·x) ∘ (up_e·x)` for the expert e of each slot; products with their biases.
pub(in crate::kernels) struct ExpertsGated {
    pub acts: Acts,
    pub routes: FloatView,
    /// (width, k)
    pub gate: ExpertMatrices,
    pub up: ExpertMatrices,
    pub activation: Activation,
    /// `[slot][width]`
    pub out: FloatView,
}

/// `out += Σ_slot weight · down_e·inner[slot]`; products with their biases.
pub(in crate::kernels) struct ExpertsDown {
    /// One per slot.
    pub acts: Vec<Acts>,
    pub routes: FloatView,
    /// (rows, width)
    pub down: ExpertMatrices,
    pub out: FloatView,
}

/// Rows that a product of `all` rows has per item.
fn panel_rows(bound: &Bound<'_>, all: usize) -> usize {
    if bound.columns() > GATHERED {
        return ROWS;
    }
    (all / (SHARES * bound.workers.max(1)) / ROWS * ROWS).clamp(ROWS, MOST_ROWS)
}

/// Panels of a product of `all` rows.
fn panels(bound: &Bound<'_>, all: usize) -> usize {
    all.div_ceil(panel_rows(bound, all))
}

/// Rows of panel `panel`.
fn rows(bound: &Bound<'_>, panel: usize, all: usize) -> Range<usize> {
    let each = panel_rows(bound, all);
    panel * each..all.min((panel + 1) * each)
}

/// The (expert, weight) pairs of a column.
///
/// # Safety
/// The operation that routes is complete.
unsafe fn routes<'a>(bound: &Bound<'a>, view: FloatView, column: usize) -> &'a [[f32; 2]] {
    // SAFETY: the view has a pair per slot, written by an earlier operation.
    unsafe { std::slice::from_raw_parts(bound.arena.floats(view, column).cast(), view.len / 2) }
}

/// The memory of an item, all of it in its worker's slot.
struct Workspace<'a> {
    /// `[GATHERED][rows]`, twice.
    tiles: [*mut f32; 2],
    /// Where the choices of each expert begin among `chosen`, and where the last ends.
    offsets: &'a mut [u32],
    /// Column (counted from the first of the item) and slot of each choice, ordered by expert, then column.
    chosen: &'a mut [[u32; 2]],
    /// Activations of [`GATHERED`] columns.
    gathered: &'a mut [u8],
    kernel: &'a mut [u8],
}

/// Byte lengths of the parts of a workspace but the kernel's, each rounded to lines.
fn workspace_lens(experts: usize, choices: usize, act_bytes: usize) -> [usize; 5] {
    let tile = GATHERED * MOST_ROWS * size_of::<f32>();
    [tile, tile, (experts + 1) * size_of::<u32>(), choices * 2 * size_of::<u32>(), GATHERED * act_bytes].map(|n| n.next_multiple_of(64))
}

/// Bytes that a kernel may need beside a workspace, for any of `matrices`.
fn kernel_bytes<'m>(kernels: Kernels, matrices: impl Iterator<Item = &'m Matrix>) -> usize {
    let (mut most, mut seen) = (0, vec![]);
    for matrix in matrices {
        if !seen.contains(&matrix.ty()) {
            seen.push(matrix.ty());
            most = (1..=GATHERED).map(|n| kernels.scratch_bytes(matrix.ty(), matrix.cols(), n)).fold(most, usize::max);
        }
    }
    most
}

/// Bytes of one column of the activations, in the kind that takes most.
fn act_bytes(acts: &Acts) -> usize {
    acts.regions.iter().map(|(kind, _)| kind.bytes(acts.k)).max().unwrap_or(0)
}

impl<'a> Workspace<'a> {
    /// Lays out the worker's slot and sorts the choices of `columns` by expert.
    ///
    /// # Safety
    /// Called by that worker alone, for an operation whose workspace the slot was made for; the operation that routes is complete.
    unsafe fn new(bound: &Bound<'a>, worker: usize, view: FloatView, columns: Range<usize>, experts: usize, act_bytes: usize) -> Self {
        let choices = columns.len() * (view.len / 2);
        let [tile, second, offsets_len, chosen_len, gathered_len] = workspace_lens(experts, choices, act_bytes);
        // SAFETY: scratch_bytes() of the operations made the slot large enough for these parts and the kernel; each begins at a line.
        unsafe {
            let (start, bytes) = bound.arena.worker(worker);
            let mut at = 0;
            let mut part = |len: usize| {
                at += len;
                start.add(at - len)
            };
            let tiles = [part(tile).cast::<f32>(), part(second).cast()];
            let offsets = std::slice::from_raw_parts_mut(part(offsets_len).cast::<u32>(), experts + 1);
            let chosen = std::slice::from_raw_parts_mut(part(chosen_len).cast::<[u32; 2]>(), choices);
            let gathered = std::slice::from_raw_parts_mut(part(gathered_len), gathered_len);
            assert!(at <= bytes, "a worker's slot of {bytes} bytes for a workspace of {at}");
            let kernel = std::slice::from_raw_parts_mut(start.add(at), bytes - at);
            offsets.fill(0);
            for column in columns.clone() {
                routes(bound, view, column).iter().for_each(|[expert, _]| offsets[*expert as usize] += 1);
            }
            let mut end = 0;
            for offset in offsets.iter_mut() {
                end += *offset;
                *offset = end;
            }
            // From the last to the first, each offset goes from the end of its expert's choices to their beginning.
            for column in columns.clone().rev() {
                for (slot, [expert, _]) in routes(bound, view, column).iter().enumerate() {
                    let offset = &mut offsets[*expert as usize];
                    *offset -= 1;
                    chosen[*offset as usize] = [(column - columns.start) as u32, slot as u32];
                }
            }
            Self { tiles, offsets, chosen, gathered, kernel }
        }
    }

    fn choices(&self, expert: usize) -> Range<usize> {
        self.offsets[expert] as usize..self.offsets[expert + 1] as usize
    }

    /// `tile[i] = W[rows]·x_i` for the choices i in `choices`, at most [`GATHERED`]; `acts` are those of each slot, or of all.
    ///
    /// # Safety
    /// `tile` is one of the workspace's.
    unsafe fn product(
        &mut self,
        bound: &Bound<'_>,
        weight: &Matrix,
        acts: &[Acts],
        (first, rows, choices): (usize, &Range<usize>, Range<usize>),
        tile: *mut f32,
    ) {
        let kind = ActKind::for_type(weight.ty());
        let stride = kind.bytes(weight.cols());
        let column = |[column, slot]: [u32; 2]| {
            let acts = if acts.len() == 1 { &acts[0] } else { &acts[slot as usize] };
            // SAFETY: the region holds the columns of the pass and is not written during this operation.
            unsafe { std::slice::from_raw_parts(bound.arena.column(acts.region(kind), first + column as usize).cast_const(), stride) }
        };
        let chosen = &self.chosen[choices];
        let data = if let [one] = chosen {
            column(*one)
        } else {
            for (to, from) in self.gathered.chunks_exact_mut(stride).zip(chosen) {
                to.copy_from_slice(column(*from));
            }
            &self.gathered[..chosen.len() * stride]
        };
        let view = kernels::Acts { kind, data, stride, cols: chosen.len() };
        // SAFETY: the tile holds GATHERED columns of MOST_ROWS rows; weights and activations have matching sizes (checked by the builder).
        unsafe { bound.kernels.matmul(weight, rows.clone(), &[], view, tile, rows.len(), self.kernel) };
    }
}

/// `choices`, in pieces that are computed together.
fn pieces(choices: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    choices.clone().step_by(GATHERED).map(move |start| start..choices.end.min(start + GATHERED))
}

impl ExpertsGated {
    fn experts(&self) -> usize {
        self.gate.weights.len()
    }

    fn used(&self) -> usize {
        self.routes.len / 2
    }

    /// Groups that the experts are shared out to, so that no item is long.
    fn groups(&self, columns: usize) -> usize {
        let products = columns * self.used() * ROWS * self.acts.k * 2;
        (products / ITEM_PRODUCTS).clamp(1, self.experts())
    }

    /// Bytes of a worker's slot for up to `columns` columns.
    pub fn scratch_bytes(&self, kernels: Kernels, columns: usize) -> usize {
        let lens = workspace_lens(self.experts(), columns * self.used(), act_bytes(&self.acts));
        lens.iter().sum::<usize>() + kernel_bytes(kernels, self.gate.weights.iter().chain(&self.up.weights))
    }

    /// One per group of experts and panel of rows.
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        if bound.columns() == 0 { 0 } else { panels(bound, self.gate.weights[0].rows()) * self.groups(bound.columns()) }
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        let width = self.gate.weights[0].rows();
        let (panels, groups) = (panels(bound, width), self.groups(bound.columns()));
        let rows = rows(bound, item % panels, width);
        // SAFETY: these rows of the slots that chose an expert of the group belong to the item alone; the worker's slot has room.
        unsafe {
            let mut space = Workspace::new(bound, worker, self.routes, 0..bound.columns(), self.experts(), act_bytes(&self.acts));
            let [gate, up] = space.tiles;
            for expert in (item / panels..self.experts()).step_by(groups) {
                for piece in pieces(space.choices(expert)) {
                    let acts = std::slice::from_ref(&self.acts);
                    space.product(bound, &self.gate.weights[expert], acts, (0, &rows, piece.clone()), gate);
                    space.product(bound, &self.up.weights[expert], acts, (0, &rows, piece.clone()), up);
                    self.gate.add_bias(bound, expert, &rows, gate, piece.len());
                    self.up.add_bias(bound, expert, &rows, up, piece.len());
                    self.activation.gate(bound.vector, gate, up, piece.len() * rows.len());
                    for (i, [column, slot]) in space.chosen[piece].iter().enumerate() {
                        let target = bound.arena.floats(self.out, *column as usize).add(*slot as usize * width + rows.start);
                        std::ptr::copy_nonoverlapping(gate.add(i * rows.len()), target, rows.len());
                    }
                }
            }
        }
    }
}

impl ExpertsDown {
    fn experts(&self) -> usize {
        self.down.weights.len()
    }

    /// Columns of an item.
    fn tile(&self) -> usize {
        (ITEM_PRODUCTS / (ROWS * self.acts[0].k * self.acts.len()).max(1)).clamp(8, 512)
    }

    /// Bytes of a worker's slot for up to `columns` columns.
    pub fn scratch_bytes(&self, kernels: Kernels, columns: usize) -> usize {
        let choices = columns.min(self.tile()) * self.acts.len();
        let lens = workspace_lens(self.experts(), choices, act_bytes(&self.acts[0]));
        lens.iter().sum::<usize>() + kernel_bytes(kernels, self.down.weights.iter())
    }

    /// One per tile of columns and panel of rows.
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        panels(bound, self.down.weights[0].rows()) * bound.columns().div_ceil(self.tile())
    }

    /// # Safety
    /// As for [`ExpertsGated::run`].
    pub unsafe fn run(&self, bound: &Bound<'_>, item: usize, worker: usize) {
        let all = self.down.weights[0].rows();
        let panels = panels(bound, all);
        let rows = rows(bound, item % panels, all);
        let first = item / panels * self.tile();
        let columns = first..bound.columns().min(first + self.tile());
        // SAFETY: these rows of these columns belong to the item alone; the worker's slot has room.
        unsafe {
            let mut space = Workspace::new(bound, worker, self.routes, columns, self.experts(), act_bytes(&self.acts[0]));
            let tile = space.tiles[0];
            for expert in 0..self.experts() {
                for piece in pieces(space.choices(expert)) {
                    space.product(bound, &self.down.weights[expert], &self.acts, (first, &rows, piece.clone()), tile);
                    self.down.add_bias(bound, expert, &rows, tile, piece.len());
                    for (i, [column, slot]) in space.chosen[piece].iter().enumerate() {
                        let column = first + *column as usize;
                        let weight = routes(bound, self.routes, column)[*slot as usize][1];
                        let target = bound.arena.floats(self.out, column).add(rows.start);
                        (bound.vector.add_scaled)(target, tile.add(i * rows.len()), weight, rows.len());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Routing, route};

    #[test]
    fn the_largest_logits_share_the_weight() {
        let mut out = [0.0; 4];
        route(Routing::OverChosen, &mut [1.0, 3.0, 2.0, 3.0], &mut out);
        assert_eq!(out, [1.0, 0.5, 3.0, 0.5]);
        route(Routing::OverChosen, &mut [0.0, f32::NEG_INFINITY, -1.0], &mut out);
        assert_eq!((out[0], out[2]), (0.0, 2.0));
        assert!((out[1] - 0.7310586).abs() < 1e-6 && (out[1] + out[3] - 1.0).abs() < 1e-6);
        route(Routing::OverAll, &mut [0.0, 0.0, 0.0, 0.0], &mut out);
        assert_eq!(out, [0.0, 0.25, 1.0, 0.25]);
    }
}
