//! The stages of the job.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::{Error, Pace, Result, Stage};
use crate::format::{Access, Conversion, Files, GgufTensor, GgufWriter, Metadata, ModelFile, Origin, TensorInfo};
use crate::kernels::encode::{Recoded, Recoding};
use crate::model::{LoadOptions, Mix, Model, recode, recoded};
use crate::runtime::{Runner, Runtime};

use super::importance::{self, Importance};
use super::outline::{self, Outline, RowOrder};
use super::{Quantize, Quantized};

/// Stages without a text.
pub(super) const PLAIN: &[Stage] =
    &[Stage { name: c"file", share: 0.0 }, Stage { name: c"metadata", share: 0.02 }, Stage { name: c"tensors", share: 0.98 }];
/// Stages with one: those of a load come first.
pub(super) const WITH_IMPORTANCE: &[Stage] = &[
    Stage { name: c"file", share: 0.0 },
    Stage { name: c"metadata", share: 0.01 },
    Stage { name: c"tokenizer", share: 0.03 },
    Stage { name: c"weights", share: 0.01 },
    Stage { name: c"importance", share: 0.45 },
    Stage { name: c"tensors", share: 0.5 },
];

pub(super) async fn quantize(runtime: &Runtime, input: &Path, output: &Path, options: Quantize, pace: &Pace) -> Result<Quantized> {
    let work = Work { runtime, output, mix: options.mix, threads: options.threads, pace };
    let outline = |file: &ModelFile, added: Metadata| {
        Outline::new(file, options.mix, options.importance.is_some(), added).map_err(|error| error.at(file.name()))
    };
    pace.stage(0);
    let files = Files::open(Origin::Path(input.to_owned()), Access::Map, runtime.budget(), pace).await?;
    match &options.importance {
        None => {
            pace.stage(1);
            let file = ModelFile::read(files, Conversion::Later, runtime.budget(), pace).await?;
            let outline = outline(&file, outline::added(&file, runtime.budget(), pace).await?)?;
            pace.stage(2);
            work.write(&file, &outline, BTreeMap::new()).await
        }
        Some(text) => {
            // A loaded model has its tokenizer, no longer the file that this was made of.
            let file = ModelFile::read(files, Conversion::Leave, runtime.budget(), pace).await?;
            let added = outline::added(&file, runtime.budget(), pace).await?;
            drop(file);
            let loading = LoadOptions { prefix_cache: 0, ..LoadOptions::default() };
            let model = Model::load_paced(runtime, input, loading, pace).await?;
            let outline = outline(model.file(), added)?;
            pace.stage(4);
            let Importance { columns, tokens } = importance::measure(&model, text, options.threads, pace).await?;
            pace.stage(5);
            let done = work.write(model.file(), &outline, columns).await?;
            Ok(Quantized { importance_tokens: tokens, ..done })
        }
    }
}

/// Where and how a file is written.
struct Work<'a> {
    runtime: &'a Runtime,
    output: &'a Path,
    mix: Mix,
    threads: usize,
    pace: &'a Pace,
}

/// A tensor of the source that is written.
struct Part {
    recoded: Recoded,
    /// Its number in the source.
    source: usize,
    place: Place,
}

/// Where a tensor of the source goes.
struct Place {
    /// The number of the tensor that it is a part of.
    target: usize,
    /// Where it begins in that.
    start: u64,
    /// Where rows of so many bytes come in another order.
    order: Option<(RowOrder, u64)>,
}

impl Work<'_> {
    /// Writes `file` as `outline` says. `importance`: the weights of columns, by tensor of the source.
    async fn write(&self, file: &ModelFile, outline: &Outline, importance: BTreeMap<String, Vec<f32>>) -> Result<Quantized> {
        let Self { runtime, pace, .. } = *self;
        let at = |error: Error| error.at(file.name());
        let parts = parts(file, outline, importance).map_err(at)?;
        let changed = outline.targets.iter().filter(|target| target.info.ty != target.ty).count() as u64;
        pace.expect(file.tensors.iter().map(TensorInfo::elements).sum());

        let tensors = outline.targets.iter().map(|target| GgufTensor { name: &target.info.name, dims: &target.info.dims, ty: target.ty });
        let (metadata, tensors) = (outline.metadata(file, self.mix), tensors.collect::<Vec<_>>());
        let writer = GgufWriter::create(self.output, &metadata, &tensors, outline.alignment, pace).await?;
        let (there, to_be_made): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| file.tensors[part.source].recipe.is_none());
        let mut done = self.write_parts(&writer, there, 0).await.map_err(at)?;
        // One by one, so that no more than one is in memory.
        for mut part in to_be_made {
            part.recoded.data = file.tensors[part.source].bytes(runtime.budget(), pace).await.map_err(at)?;
            done = self.write_parts(&writer, vec![part], done).await.map_err(at)?;
            pace.give_back().await;
        }
        let bytes_after = writer.len();
        writer.finish()?;
        Ok(Quantized { tensors: tensors.len() as u64, changed, bytes_before: file.len(), bytes_after, importance_tokens: 0 })
    }

    /// Writes `parts`, whose bytes are there; `done` elements were written before them. Elements written then.
    async fn write_parts(&self, writer: &GgufWriter, parts: Vec<Part>, done: u64) -> Result<u64> {
        let Self { runtime, pace, .. } = *self;
        let (tensors, places): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.recoded, part.place)).unzip();
        let sink = |number: usize, at: u64, bytes: &[u8]| places[number].write(writer, at, bytes);
        let stop = || pace.is_cancelled();
        let recoding = Recoding::new(tensors, runtime.kernels(), runtime.budget(), runtime.threads(), &sink, &stop)?;
        recode(&recoding, Runner::new(runtime, self.threads), done, pace).await?;
        Ok(done + recoding.elements_done())
    }
}

impl Place {
    /// Writes `bytes` of the part from its byte `at` on.
    fn write(&self, writer: &GgufWriter, mut at: u64, mut bytes: &[u8]) -> Result<()> {
        let Some((order, row_bytes)) = self.order else { return writer.write(self.target, self.start + at, bytes) };
        while !bytes.is_empty() {
            let (row, within) = (at / row_bytes, at % row_bytes);
            let (part, rest) = bytes.split_at(bytes.len().min((row_bytes - within) as usize));
            writer.write(self.target, self.start + order.place(row) * row_bytes + within, part)?;
            (at, bytes) = (at + part.len() as u64, rest);
        }
        Ok(())
    }
}

/// The tensors of `file` to be written, and where to.
fn parts(file: &ModelFile, outline: &Outline, mut importance: BTreeMap<String, Vec<f32>>) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (number, target) in outline.targets.iter().enumerate() {
        let mut start = 0;
        for &source in &target.parts {
            let tensor = &file.tensors[source];
            let mut recoded = recoded(tensor, target.ty)?;
            recoded.importance = importance.remove(&tensor.name).unwrap_or_default();
            if target.order.is_some() && tensor.dims.len() == 1 {
                // Each element of a vector whose order changes is a row.
                (recoded.cols, recoded.rows) = (1, recoded.cols);
            }
            let too_long = || Error::out_of_memory(format!("tensor '{}' passes the address space", tensor.name));
            let bytes = if tensor.ty == target.ty { tensor.byte_len() } else { recoded.bytes().ok_or_else(too_long)? };
            let order = target.order.map(|order| (order, (bytes / recoded.rows) as u64));
            parts.push(Part { recoded, source, place: Place { target: number, start, order } });
            start += bytes as u64;
        }
    }
    Ok(parts)
}
