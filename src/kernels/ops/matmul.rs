//! Matrix products: weights times the quantised activations of every column.

use std::ops::Range;
use std::sync::Arc;

use crate::kernels::{self, ActKind, Matrix};

use super::execution::Bound;
use super::ffn::Activation;
use super::program::{Acts, FloatView};

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epilogue {
    /// `out = W·x + b`
    Store,
    /// `out = activation(W·x + b)`
    Activate(Activation),
    /// `out += W·x + b`
    Add,
    /// `out += s · (W·x + b)`
    AddScaled(f32),
    /// `out = s · (W·x + b)`
    Scale(f32),
    /// `out = cap · tanh((W·x + b) / cap)`
    SoftCap(f32),
}

impl Epilogue {
    fn adds(self) -> bool {
        matches!(self, Self::Add | Self::AddScaled(_))
    }
}

/// One product of an operation.
#[derive(Clone)]
pub struct Product {
    /// (rows, k)
    pub weight: Matrix,
    /// One value per row.
    pub bias: Option<Arc<[f32]>>,
    /// `rows` floats per column.
    pub out: FloatView,
    /// What becomes of the result.
    pub epilogue: Epilogue,
}

pub(in crate::kernels) struct Matmul {
    pub acts: Acts,
    pub products: Vec<Product>,
}

/// Bytes of weights per item, at most: long enough to amortise the claim and the beginning of the stream. With 2 threads Q4_K was read
/// at 8 % more tokens a second than with 128 KiB, and 16 columns of it are 1.4 times as fast as with items of 32 rows.
const ITEM_BYTES: usize = 512 << 10;
/// And at least these, where a small matrix is shared out so that each thread has [`SHARES`] items.
const LEAST_ITEM_BYTES: usize = 64 << 10;
const SHARES: usize = 2;
/// Items per thread with [`MANY_COLUMNS`] or more, where they take longer.
const MANY_SHARES: usize = 8;
const MANY_COLUMNS: usize = 16;
/// Rows per item are multiples of this (two panels of 16), but for the last.
const ROW_STEP: usize = 32;
/// Most products of weights and activations in one item: 0.38 ms at the 350 GOPS that one thread
/// reaches with AVX-512 VNNI. More would amortise
/// the taking apart of the weights over more columns; fewer would let a step with a budget stop earlier.
pub(super) const ITEM_PRODUCTS: usize = 64 << 20;
/// Most columns of one item.
pub(super) const MAX_COLUMNS: usize = 512;
/// Most results of one item: bounds the scratch for them. 64 rows, which tiles take apart together, with up to 256 columns: a prompt of 128
/// is 2 to 5 % faster so than with 32, of 256 1.5 %; with 512 columns a shared cache loses 2 % by it (Q4_K_M and Q8_0, Zen 4).
const TILE_FLOATS: usize = ROW_STEP * MAX_COLUMNS;

/// How a product with `columns` columns is cut into items.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl Cut {
    /// For up to `workers` threads.
    pub fn new(weight: &Matrix, columns: usize, workers: usize) -> Self {
        let most = (ITEM_PRODUCTS / ROW_STEP / weight.cols().max(1)).clamp(32, MAX_COLUMNS);
        // Equal tiles rather than full ones and a remainder.
        let tiles = columns.div_ceil(most).max(1);
        let column_step = columns.div_ceil(tiles).max(1);
        let workers = workers.max(1);
        let share = weight.rows() * weight.row_bytes() / (SHARES * workers);
        let bytes = share.clamp(LEAST_ITEM_BYTES, ITEM_BYTES);
        let mut row_step = (bytes / weight.row_bytes().max(1)).next_multiple_of(ROW_STEP);
        if column_step >= MANY_COLUMNS {
            let products = ITEM_PRODUCTS / (column_step * weight.cols()).max(1);
            let share = (weight.rows() * tiles / (MANY_SHARES * workers)).next_multiple_of(ROW_STEP);
            row_step = row_step.min(products).min(TILE_FLOATS / column_step).min(share).max(ROW_STEP) / ROW_STEP * ROW_STEP;
        }
        Self { rows: weight.rows(), columns, row_step, column_step }
    }

    pub fn items(&self) -> usize {
        self.rows.div_ceil(self.row_step) * self.columns.div_ceil(self.column_step)
    }

    /// Rows and columns of item `item`; column tiles are outermost so that activations stay in the cache.
    pub fn item(&self, item: usize) -> (Range<usize>, Range<usize>) {
        let panels = self.rows.div_ceil(self.row_step);
        let (row, column) = (item % panels * self.row_step, item / panels * self.column_step);
        (row..self.rows.min(row + self.row_step), column..self.columns.min(column + self.column_step))
    }

    /// Floats of the largest item's result.
    pub fn tile_floats(&self) -> usize {
        self.row_step.min(self.rows.next_multiple_of(ROW_STEP)) * self.column_step
    }
}

/// Where the result of a product goes: `ld` floats from one column to the next.
#[derive(Clone, Copy)]
pub(super) struct OutTile {
    pub start: *mut f32,
    pub ld: usize,
}

/// `out[c][r] = W[rows]·x[columns]`; `next` is what this worker will probably read afterwards.
///
/// # Safety
/// `out` has room for the tile; `scratch` is this worker's.
pub(super) unsafe fn product(
    bound: &Bound<'_>,
    acts: &Acts,
    weight: &Matrix,
    (rows, columns): (Range<usize>, Range<usize>),
    next: &[u8],
    out: OutTile,
    scratch: &mut [u8],
) {
    let kind = ActKind::for_type(weight.ty());
    let region = acts.region(kind);
    let stride = bound.arena.byte_stride(region);
    // SAFETY: the region holds the columns of the pass and is not written during this operation.
    let data = unsafe { std::slice::from_raw_parts(bound.arena.column(region, columns.start), stride * columns.len()) };
    let view = kernels::Acts { kind, data, stride, cols: columns.len() };
    // SAFETY: the caller's promise about out; weights and activations have matching sizes (checked by the builder).
    unsafe { bound.kernels.matmul(weight, rows, next, view, out.start, out.ld, scratch) };
}

impl Matmul {
    pub fn items(&self, bound: &Bound<'_>) -> usize {
        let columns = bound.count(self.acts.columns);
        if columns == 0 { 0 } else { self.products.iter().map(|p| Cut::new(&p.weight, columns, bound.workers).items()).sum() }
    }

    /// The weights that item `item` reads first.
    pub fn weights(&self, bound: &Bound<'_>, mut item: usize) -> &[u8] {
        let count = bound.count(self.acts.columns);
        for part in &self.products {
            let cut = Cut::new(&part.weight, count, bound.workers);
            if item < cut.items() {
                return part.weight.rows_bytes(cut.item(item).0);
            }
            item -= cut.items();
        }
        &[]
    }

    /// # Safety
    /// As for [`Sequence::run`](crate::base::pool::Sequence::run): the item is claimed, earlier operations are complete.
    pub unsafe fn run(&self, bound: &Bound<'_>, mut item: usize, next: &[u8], worker: usize) {
        let count = bound.count(self.acts.columns);
        for part in &self.products {
            let cut = Cut::new(&part.weight, count, bound.workers);
            if item >= cut.items() {
                item -= cut.items();
                continue;
            }
            let (rows, columns) = cut.item(item);
            // SAFETY: the item's rows and columns of `out` belong to it alone; the worker's slot has room for the tile and the kernel.
            unsafe {
                let stride = bound.arena.stride(part.out);
                let target = bound.arena.floats(part.out, columns.start).add(rows.start);
                let (tile, scratch) = bound.tile_and_scratch(worker, cut.tile_floats());
                let (from, ld) = if part.epilogue.adds() { (tile, rows.len()) } else { (target, stride) };
                product(bound, &self.acts, &part.weight, (rows.clone(), columns.clone()), next, OutTile { start: from, ld }, scratch);
                for column in 0..columns.len() {
                    let result = from.add(column * ld);
                    if let Some(bias) = &part.bias {
                        (bound.vector.add)(result, bias[rows.clone()].as_ptr(), rows.len());
                    }
                    match part.epilogue {
                        Epilogue::Store => {}
                        Epilogue::Activate(activation) => activation.apply(bound.vector, result, rows.len()),
                        Epilogue::Scale(factor) => (bound.vector.scale)(result, factor, rows.len()),
                        Epilogue::SoftCap(cap) => (bound.vector.soft_cap)(result, cap, rows.len()),
                        Epilogue::AddScaled(factor) => {
                            (bound.vector.scale)(result, factor, rows.len());
                            (bound.vector.add)(target.add(column * stride), result, rows.len());
                        }
                        Epilogue::Add => (bound.vector.add)(target.add(column * stride), result, rows.len()),
                    }
                }
            }
            return;
        }
    }
}
