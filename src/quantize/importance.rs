//! The importance matrix: how large the activations are that enter each column of each matrix, measured while the model reads a text.
//!
//! An error in column c of a weight matrix counts as much as the square of what it is multiplied with; so a column's weight is the mean square
//! of its activations, over all tokens of the text that reached the matrix (for an expert: that chose it). Each token counts alike: its
//! activations are taken in terms of their own mean square, since the few tokens with activations a thousand times as large as the others' (the
//! first of a text) would decide alone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::pool::{Outcome, Sequence};
use crate::base::{Error, ErrorKind, Pace, Result};
use crate::format::TensorInfo;
use crate::kernels::Matrix;
use crate::kernels::kv::{KvCache, KvType};
use crate::kernels::ops::{Arena, Execution, Observer, Pass};
use crate::model::Model;
use crate::runtime::Runner;
use crate::tokenizer::EncodeOptions;

use super::ImportanceText;

/// How long a run goes on before it is looked whether the job was cancelled.
const SLICE: Duration = Duration::from_millis(4);
/// What a column counts at least, in terms of the mean of all: no column is given up, whatever the text.
const LEAST: f64 = 1e-3;

/// Weights of columns, by tensor.
#[derive(Debug)]
pub(super) struct Importance {
    /// Of each matrix of a tensor one after the other, the mean of each 1.
    pub columns: BTreeMap<String, Vec<f32>>,
    /// Tokens that were read.
    pub tokens: u64,
}

/// Has `model` read `text`.
pub(super) async fn measure(model: &Model, text: &ImportanceText, threads: usize, pace: &Pace) -> Result<Importance> {
    let (runtime, program) = (model.runtime(), model.program()?);
    let context = text.context.min(model.config()?.context_length);
    if context == 0 {
        return Err(Error::invalid_argument("a context of 0 tokens to measure importance with"));
    }
    let tokens = contexts(model, &text.text, context)?;
    let columns = context.min(tokens.iter().map(Vec::len).max().unwrap_or(0));
    let workers = runtime.threads();
    let mut arena = Arena::new(program, runtime.kernels(), runtime.budget(), columns, 0, workers)?;
    let mut pass = Pass::with_capacity(columns, 0, 1)?;
    let mut cache = KvCache::new(runtime.budget(), program.kv_shape(), KvType::F16, columns)?;
    let mut sums = Sums::new(model.tensors());
    pace.expect(tokens.iter().map(|tokens| tokens.len() as u64).sum());
    let mut read = 0;
    for tokens in &tokens {
        cache.truncate(0);
        pass.clear();
        pass.push(tokens, 0, 0, 0..0);
        let mut execution = Execution::bind(program, runtime.kernels(), &mut arena, &mut pass, std::iter::once((0, &mut cache)))?;
        let mut runner = Runner::new(runtime, threads);
        for op in 0..execution.len() {
            while runner.run(&execution.up_to(op + 1), pace, SLICE)? == Outcome::Stopped {
                pace.spend(usize::MAX).await;
            }
            execution.observe(op, &mut sums);
            pace.reach(read + (tokens.len() * (op + 1) / execution.len()) as u64);
            pace.spend(1 << 16).await;
        }
        read += tokens.len() as u64;
    }
    Ok(Importance { columns: sums.means()?, tokens: read })
}

/// The tokens of a text, cut into contexts, each of which begins with the BOS token where the model's texts do.
fn contexts(model: &Model, text: &str, context: usize) -> Result<Vec<Vec<u32>>> {
    let tokenizer = model.tokenizer()?;
    let mut tokens = Vec::new();
    tokenizer.encode(text, EncodeOptions { add_special: false, ..EncodeOptions::default() }, &mut tokens)?;
    if tokens.is_empty() {
        return Err(Error::invalid_argument("the text to measure importance with is empty"));
    }
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let room = (context - usize::from(bos.is_some())).max(1);
    Ok(tokens.chunks(room).map(|part| bos.into_iter().chain(part.iter().copied()).take(context).collect()).collect())
}

/// Sums of squares, by tensor.
struct Sums<'a> {
    tensors: Vec<Sum<'a>>,
    /// Where the data of each tensor begins in memory, ascending, and its number.
    places: Vec<(usize, usize)>,
}

/// Of one tensor: for each of its matrices one after the other, of each column the sum of squares in terms of their token's mean, and how many
/// tokens reached it.
struct Sum<'a> {
    tensor: &'a TensorInfo,
    squares: Vec<f64>,
    counts: Vec<u64>,
}

impl<'a> Sums<'a> {
    fn new(tensors: &'a [TensorInfo]) -> Self {
        let mut places: Vec<(usize, usize)> =
            tensors.iter().enumerate().map(|(number, tensor)| (tensor.data.as_ptr() as usize, number)).collect();
        places.sort_unstable();
        let tensors = tensors.iter().map(|tensor| Sum { tensor, squares: vec![], counts: vec![] }).collect();
        Self { tensors, places }
    }

    /// The tensor that a weight of the program is, or is a part of, and the number of the matrix in it that the weight's first row belongs to.
    fn find(&mut self, weight: &Matrix) -> Option<(&mut Sum<'a>, usize)> {
        let start = weight.rows_bytes(0..0).as_ptr() as usize;
        let before = self.places.partition_point(|&(place, _)| place <= start).checked_sub(1)?;
        let (place, number) = self.places[before];
        let sum = &mut self.tensors[number];
        let bytes = sum.tensor.data.len() / matrices_of(sum.tensor);
        let is_part = start - place < sum.tensor.data.len() && weight.cols() as u64 == sum.tensor.cols();
        is_part.then(|| (sum, (start - place) / bytes))
    }

    /// The weights of columns.
    ///
    /// # Errors
    /// `NonFinite` naming a tensor that activations reached which are NaN or infinite.
    fn means(self) -> Result<BTreeMap<String, Vec<f32>>> {
        let mut means = BTreeMap::new();
        for sum in self.tensors.into_iter().filter(|sum| !sum.counts.is_empty()) {
            let cols = sum.squares.len() / sum.counts.len();
            let mut columns = Vec::with_capacity(sum.squares.len());
            for (squares, &count) in sum.squares.chunks(cols).zip(&sum.counts) {
                let mean = squares.iter().sum::<f64>() / cols as f64;
                if !mean.is_finite() {
                    let message = format!("tensor '{}': its activations are NaN or infinite", sum.tensor.name);
                    return Err(Error::new(ErrorKind::NonFinite, message));
                }
                // An expert that no token chose has nothing to go by.
                let even = count == 0 || mean == 0.0;
                columns.extend(squares.iter().map(|square| if even { 1.0 } else { ((square / mean + LEAST) / (1.0 + LEAST)) as f32 }));
            }
            means.insert(sum.tensor.name.clone(), columns);
        }
        Ok(means)
    }
}

/// The matrices of a tensor: one, or one for each expert. Never 0, as no dimension is.
fn matrices_of(tensor: &TensorInfo) -> usize {
    tensor.dims.iter().skip(2).product::<u64>() as usize
}

impl Observer for Sums<'_> {
    fn saw(&mut self, weight: &Matrix, activations: &[f32]) {
        let Some((sum, matrix)) = self.find(weight) else { return };
        let cols = activations.len();
        if sum.counts.is_empty() {
            let matrices = matrices_of(sum.tensor);
            sum.counts = vec![0; matrices];
            sum.squares = vec![0.0; matrices * cols];
        }
        sum.counts[matrix] += 1;
        let size: f64 = activations.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let per_mean = if size == 0.0 { 0.0 } else { cols as f64 / size };
        for (square, x) in sum.squares[matrix * cols..(matrix + 1) * cols].iter_mut().zip(activations) {
            *square += f64::from(*x) * f64::from(*x) * per_mean;
        }
    }
}
