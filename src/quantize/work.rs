//! The stages of the job.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::{Error, Pace, Result, Stage};
use crate::format::{Access, Container, Conversion, Files, GgufWriter, ModelFile, Origin, TensorInfo, Value};
use crate::kernels::encode::{Recoded, Recoding};
use crate::model::{LoadOptions, Mix, Model, mix, recode};
use crate::quant::TensorType;
use crate::runtime::{Runner, Runtime};

use super::importance::{self, Importance};
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
    let threads = options.threads;
    match &options.importance {
        None => {
            pace.stage(0);
            let files = Files::open(Origin::Path(input.to_owned()), Access::Map, runtime.budget(), pace).await?;
            pace.stage(1);
            // Of GGUF files nothing is converted, and others are refused.
            let file = ModelFile::read(files, Conversion::Leave, runtime.budget(), pace).await?;
            let types = types(&file, options.mix, false)?;
            pace.stage(2);
            write(runtime, &file, &types, None, output, options.mix, threads, pace).await
        }
        Some(text) => {
            let loading = LoadOptions { prefix_cache: 0, ..LoadOptions::default() };
            let model = Model::load_paced(runtime, input, loading, pace).await?;
            let types = types(model.file(), options.mix, true)?;
            pace.stage(4);
            let Importance { columns, tokens } = importance::measure(&model, text, threads, pace).await?;
            pace.stage(5);
            let done = write(runtime, model.file(), &types, Some(columns), output, options.mix, threads, pace).await?;
            Ok(Quantized { importance_tokens: tokens, ..done })
        }
    }
}

/// The types that the tensors of `file` get in `mix`; refuses what can't be written, before any work goes into it.
fn types(file: &ModelFile, mix: Mix, has_importance: bool) -> Result<Vec<TensorType>> {
    if let Some(all) = file.metadata.u64("split.tensors.count")?.filter(|&all| all != file.tensors.len() as u64) {
        return Err(Error::unsupported(format!("{}: {} of the {all} tensors of a split model", file.name(), file.tensors.len())));
    }
    if !matches!(file.container(), Container::Gguf { .. }) {
        return Err(Error::unsupported(format!("{}: quantising anything but GGUF files", file.name())));
    }
    mix::types(&file.metadata, &file.tensors, mix, has_importance).map_err(|error| error.at(file.name()))
}

/// Writes `file` to `output` in `types`, which are those of `mix`.
#[expect(clippy::too_many_arguments, reason = "each is another thing, and there is one caller for each way")]
async fn write(
    runtime: &Runtime,
    file: &ModelFile,
    types: &[TensorType],
    importance: Option<BTreeMap<String, Vec<f32>>>,
    output: &Path,
    mix: Mix,
    threads: usize,
    pace: &Pace,
) -> Result<Quantized> {
    let tensors = recoded(file, types, importance.unwrap_or_default()).map_err(|error| error.at(file.name()))?;
    let changed = tensors.iter().filter(|tensor| tensor.from != tensor.to).count() as u64;
    pace.expect(file.tensors.iter().map(TensorInfo::elements).sum());

    let changes = [("general.quantization_version", Value::U32(2)), ("general.file_type", Value::U32(mix.file_type()))];
    let dropped = ["split.no", "split.count", "split.tensors.count"];
    let writer = GgufWriter::create(output, file, &changes, &dropped, types, pace).await?;
    let sink = |number: usize, at: u64, bytes: &[u8]| writer.write(number, at, bytes);
    let stop = || pace.is_cancelled();
    let recoding = Recoding::new(tensors, runtime.kernels(), runtime.budget(), runtime.threads(), &sink, &stop);
    let recoding = recoding.map_err(|error| error.at(file.name()))?;
    recode(&recoding, Runner::new(runtime, threads), 0, pace).await.map_err(|error| error.at(file.name()))?;
    drop(recoding);
    let bytes_after = writer.len();
    writer.finish()?;
    Ok(Quantized { tensors: types.len() as u64, changed, bytes_before: file.len(), bytes_after, importance_tokens: 0 })
}

/// The tensors of `file` to be written as `types`.
fn recoded(file: &ModelFile, types: &[TensorType], mut importance: BTreeMap<String, Vec<f32>>) -> Result<Vec<Recoded>> {
    let tensor = |(tensor, &to): (&TensorInfo, &TensorType)| {
        let number = |count: u64| {
            usize::try_from(count).map_err(|_| Error::out_of_memory(format!("tensor '{}' passes the address space", tensor.name)))
        };
        Ok(Recoded {
            name: tensor.name.clone(),
            from: tensor.ty,
            to,
            cols: number(tensor.cols())?,
            rows: number(tensor.rows())?,
            data: tensor.data.clone(),
            importance: importance.remove(&tensor.name).unwrap_or_default(),
        })
    };
    file.tensors.iter().zip(types).map(tensor).collect()
}
