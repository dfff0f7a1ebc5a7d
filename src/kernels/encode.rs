//! Tensors written anew in another type: rows decoded and encoded in pieces, as items of a pool's run.
//!
//! The encoders are those of `quant`, compiled here once for each level of vector instructions; all levels give the same bits. What becomes
//! of the bytes is the caller's business ([`Sink`]): they come in pieces, in no order, from several threads. What was read of a mapped file is
//! let go piece by piece, so that the process does not grow by the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Isa;
use crate::base::pool::Sequence;
use crate::base::sync::Mutex;
use crate::base::{AlignedBuf, Error, MemoryBudget, MemoryCategory, Result, SharedBytes};
use crate::quant::{self, TensorType, row_bytes};

/// A tensor to be written.
pub struct Recoded {
    /// The name, for messages.
    pub name: String,
    /// How its elements are stored, and how they are to be. The same: its bytes are passed on as they are.
    pub from: TensorType,
    /// See `from`.
    pub to: TensorType,
    /// Elements of a row, a whole number of blocks of both types.
    pub cols: usize,
    /// Rows over all matrices.
    pub rows: usize,
    /// The bytes of all rows.
    pub data: SharedBytes,
    /// A weight for each column of each matrix, all matrices having as many rows; empty for none.
    pub importance: Vec<f32>,
}

impl Recoded {
    /// Bytes that it will have; `None` where they pass the address space or a row is no whole number of blocks.
    pub fn bytes(&self) -> Option<usize> {
        if self.from == self.to { Some(self.data.len()) } else { row_bytes(self.to, self.cols)?.checked_mul(self.rows) }
    }

    fn is_copied(&self) -> bool {
        self.from == self.to
    }
}

/// Takes bytes of a tensor: its number, the offset of the first, the bytes. Called from several threads at once.
pub type Sink<'a> = dyn Fn(usize, u64, &[u8]) -> Result<()> + Sync + 'a;

/// Most elements of a row that are taken at a time, a multiple of all blocks and of what encoders search at a time; and about as many elements
/// of short rows. An item of them takes some hundred microseconds.
const PIECE: usize = 1 << 15;
/// Bytes that are passed on at a time.
const COPIED: usize = 1 << 18;

/// What one worker works in.
struct Scratch {
    floats: AlignedBuf<f32>,
    bytes: AlignedBuf<u8>,
}

/// Tensors being written, as a sequence of which each is an operation.
pub struct Recoding<'a> {
    tensors: Vec<Recoded>,
    isa: Isa,
    sink: &'a Sink<'a>,
    /// Whether the run was given up: items that begin afterwards do nothing.
    stop: &'a (dyn Fn() -> bool + Sync),
    scratch: Vec<Mutex<Scratch>>,
    done: AtomicU64,
    ended: AtomicBool,
    failure: Mutex<Option<(usize, u32, Error)>>,
}

impl<'a> Recoding<'a> {
    /// `tensors` to be written to `sink` by up to `workers` threads of a level that the processor has.
    ///
    /// # Errors
    /// `Unsupported` for a type that can't be decoded or encoded, `InvalidFile` where a tensor's parts contradict each other, both with its name;
    /// `OutOfMemory`.
    pub fn new(
        tensors: Vec<Recoded>,
        kernels: super::Kernels,
        budget: &Arc<MemoryBudget>,
        workers: usize,
        sink: &'a Sink<'a>,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Result<Self> {
        let mut piece = 0;
        for tensor in tensors.iter().filter(|tensor| !tensor.is_copied()) {
            check(tensor).map_err(|error| error.at(format_args!("tensor '{}'", tensor.name)))?;
            piece = PIECE;
        }
        let mut scratch = Vec::new();
        for _ in 0..workers {
            let floats = AlignedBuf::zeroed(budget, MemoryCategory::Scratch, piece)?;
            // No type takes more than four bytes for an element.
            let bytes = AlignedBuf::zeroed(budget, MemoryCategory::Scratch, 4 * piece)?;
            scratch.push(Mutex::new(Scratch { floats, bytes }));
        }
        let isa = kernels.isa();
        Ok(Self { tensors, isa, sink, stop, scratch, done: AtomicU64::new(0), ended: AtomicBool::new(false), failure: Mutex::new(None) })
    }

    /// Elements written so far; elements of tensors that are passed on count like others.
    pub fn elements_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The first failure in the order of tensors and their pieces, among those that were met.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> Result<()> {
        match &*self.failure.lock() {
            Some((_, _, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn piece(&self, tensor: &Recoded, item: usize) -> Piece {
        if tensor.cols > PIECE {
            let parts = tensor.cols.div_ceil(PIECE);
            let (row, start) = (item / parts, item % parts * PIECE);
            return Piece { row, rows: 1, start, end: tensor.cols.min(start + PIECE) };
        }
        let rows = PIECE / tensor.cols;
        let row = item * rows;
        Piece { row, rows: rows.min(tensor.rows - row), start: 0, end: tensor.cols }
    }

    fn recode(&self, number: usize, item: u32, worker: usize) -> Result<()> {
        let (tensor, item) = (&self.tensors[number], item as usize);
        if tensor.is_copied() {
            let start = item * COPIED;
            let end = tensor.data.len().min(start + COPIED);
            (self.sink)(number, start as u64, &tensor.data[start..end])?;
            tensor.data.forget(start..end);
            self.done.fetch_add(((end - start) / tensor.from.block_bytes() * tensor.from.block_len()) as u64, Ordering::Relaxed);
            return Ok(());
        }
        let piece = self.piece(tensor, item);
        let bytes_of = |ty: TensorType, elements: usize| elements / ty.block_len() * ty.block_bytes();
        let (from_row, to_row) = (bytes_of(tensor.from, tensor.cols), bytes_of(tensor.to, tensor.cols));
        let (from_start, to_start) = (bytes_of(tensor.from, piece.start), bytes_of(tensor.to, piece.start));
        let cols = piece.end - piece.start;
        let (from_len, to_len) = (bytes_of(tensor.from, cols), bytes_of(tensor.to, cols));
        let matrices = (tensor.importance.len() / tensor.cols).max(1);
        let rows_each = tensor.rows / matrices;
        let mut scratch = self.scratch[worker].lock();
        let Scratch { floats, bytes } = &mut *scratch;
        let floats = &mut floats[..cols];
        for index in 0..piece.rows {
            let row = piece.row + index;
            let data = &tensor.data[row * from_row + from_start..][..from_len];
            quant::decode_row(tensor.from, data, floats)?;
            let importance = (!tensor.importance.is_empty()).then(|| {
                let matrix = row / rows_each;
                &tensor.importance[matrix * tensor.cols + piece.start..matrix * tensor.cols + piece.end]
            });
            let out = &mut bytes[index * to_len..(index + 1) * to_len];
            encode(self.isa, tensor.to, floats, importance, out).map_err(|error| {
                let place = if piece.start == 0 { format!("row {row}") } else { format!("row {row}, from column {} on", piece.start) };
                Error::invalid_file(format!("tensor '{}': {place}: {error}", tensor.name))
            })?;
        }
        let start = piece.row * from_row + from_start;
        tensor.data.forget(start..start + (piece.rows - 1) * from_row + from_len);
        (self.sink)(number, (piece.row * to_row + to_start) as u64, &bytes[..piece.rows * to_len])?;
        self.done.fetch_add((piece.rows * cols) as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Rows of a tensor, or columns of one row.
struct Piece {
    row: usize,
    rows: usize,
    start: usize,
    end: usize,
}

fn check(tensor: &Recoded) -> Result<()> {
    for (ty, known, verb) in
        [(tensor.from, quant::is_decodable(tensor.from), "decoded"), (tensor.to, quant::is_encodable(tensor.to), "encoded")]
    {
        if !known {
            return Err(Error::unsupported(format!("tensor type {ty} can't be {verb} by this version")));
        }
    }
    let whole = row_bytes(tensor.from, tensor.cols).and_then(|bytes| bytes.checked_mul(tensor.rows)) == Some(tensor.data.len());
    let weighed = tensor.cols > 0 && tensor.importance.len().is_multiple_of(tensor.cols);
    let matrices = tensor.importance.len().checked_div(tensor.cols).unwrap_or(0).max(1);
    let items = tensor.rows.checked_mul(tensor.cols.div_ceil(PIECE));
    if !whole || !weighed || !tensor.rows.is_multiple_of(matrices) || tensor.bytes().is_none() || items.is_none_or(|items| items >= 1 << 24)
    {
        return Err(Error::invalid_file(format!(
            "{} rows of {} elements of {} can't be written as {}",
            tensor.rows, tensor.cols, tensor.from, tensor.to
        )));
    }
    Ok(())
}

impl Sequence for Recoding<'_> {
    fn len(&self) -> usize {
        self.tensors.len()
    }

    fn items(&self, op: usize) -> u32 {
        let tensor = &self.tensors[op];
        let items = match tensor.is_copied() {
            true => tensor.data.len().div_ceil(COPIED),
            false if tensor.cols > PIECE => tensor.rows * tensor.cols.div_ceil(PIECE),
            false => tensor.rows.div_ceil(PIECE / tensor.cols),
        };
        items as u32
    }

    unsafe fn run(&self, op: usize, item: u32, _next: Option<u32>, worker: usize) {
        if self.ended.load(Ordering::Relaxed) || (self.stop)() {
            return;
        }
        let Err(error) = self.recode(op, item, worker) else { return };
        let mut failure = self.failure.lock();
        if failure.as_ref().is_none_or(|(at, before, _)| (op, item) < (*at, *before)) {
            *failure = Some((op, item, error));
        }
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// [`quant::encode_row`] with the instructions of `isa`, which the processor has.
fn encode(isa: Isa, ty: TensorType, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level comes from kernels that the processor has.
        Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx => unsafe { avx512(ty, values, importance, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2(ty, values, importance, out) },
        _ => quant::encode_row(ty, values, importance, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2(ty: TensorType, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    quant::encode::encode_row_inline(ty, values, importance, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(ty: TensorType, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    quant::encode::encode_row_inline(ty, values, importance, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_levels_give_the_same_bits() {
        let values: Vec<f32> = (0..1024u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect();
        let importance: Vec<f32> = (0..1024).map(|i| 0.25 + (i % 7) as f32).collect();
        for ty in TensorType::ALL.into_iter().filter(|&ty| quant::is_encodable(ty)) {
            for importance in [None, Some(&importance[..])] {
                let mut expected = vec![0; row_bytes(ty, 1024).unwrap()];
                quant::encode_row(ty, &values, importance, &mut expected).unwrap();
                for isa in Isa::available() {
                    let mut got = vec![0; expected.len()];
                    encode(isa, ty, &values, importance, &mut got).unwrap();
                    assert!(got == expected, "{ty} on {}", isa.name());
                }
            }
        }
    }
}
