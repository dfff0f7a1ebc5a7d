//! Floor 4: a model file written anew in other tensor types.
//!
//! Which tensor gets which type is decided by a [`Mix`](crate::model::Mix), how values become blocks by `quant`. Here is the work around
//! them: what a GGUF file of the model is to hold, whichever container it came in (`outline`); a [job](crate::base::Job) that reads one file and writes the other tensor by tensor on the runtime's threads ([`Quantize::start`]), and, where a text is
//! given, lets the model read it first to see which columns of its matrices matter (`importance`).

#![forbid(unsafe_code)]

mod importance;
mod outline;
mod work;

use std::path::{Path, PathBuf};

use crate::base::Job;
use crate::model::Mix;
use crate::runtime::Runtime;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantize {
    /// What the new file is written in.
    pub mix: Mix,
    /// Most threads that work on it, the polling one included; 0 for all of the runtime's.
    pub threads: usize,
    /// A text like those that the model is for, from which the importance of columns is measured; `None` to treat all alike.
    pub importance: Option<ImportanceText>,
}

/// A text to measure with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportanceText {
    /// The text.
    pub text: String,
    /// Tokens that the model reads at a time, each time from an empty context: at least 1. More than the model was trained for are cut to that.
    pub context: usize,
}

impl ImportanceText {
    /// The usual length of a context.
    pub const CONTEXT: usize = 512;
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantized {
    /// Tensors in the file.
    pub tensors: u64,
    /// Tensors whose type has changed.
    pub changed: u64,
    /// Bytes of the file that was read.
    pub bytes_before: u64,
    /// Bytes of the file that was written.
    pub bytes_after: u64,
    /// Tokens of the text that importance was measured with; 0 without.
    pub importance_tokens: u64,
}

impl Default for Quantize {
    fn default() -> Self {
        Self::to(Mix::Q4_K_M)
    }
}

impl Quantize {
    /// In `mix`, with all threads and no text.
    pub fn to(mix: Mix) -> Self {
        Self { mix, threads: 0, importance: None }
    }

    /// A job that reads the model at `input` (a GGUF or APR file, a Hugging Face folder) and writes it to `output`, a GGUF file, in the mix. Nothing is
    /// done yet.
    ///
    /// It works in pieces of some hundred microseconds on the polling thread and the runtime's. The new file is beside its place under another name
    /// until it is whole; a job that fails or is given up removes it, and a file that is at `output` already stays as it is until then.
    /// Memory: some hundred KiB for each thread, and the tables of the file; the largest of the tensors that have to be converted first (eight-bit
    /// floats: four bytes for each of its weights); with a text, what the loaded model and a session need.
    ///
    /// The work fails with `Io` where the system refuses (the disk is full), `InvalidFile` naming the tensor, row and column of a value that is NaN,
    /// infinite or beyond the range of its new type, `Unsupported` for what can't be decoded or, with a text, can't be run.
    pub fn start(self, runtime: &Runtime, input: &Path, output: &Path) -> Job<Quantized> {
        let stages = if self.importance.is_some() { work::WITH_IMPORTANCE } else { work::PLAIN };
        let (runtime, paths): (Runtime, (PathBuf, PathBuf)) = (runtime.clone(), (input.to_owned(), output.to_owned()));
        Job::new(stages, |pace| async move { work::quantize(&runtime, &paths.0, &paths.1, self, &pace).await })
    }
}
