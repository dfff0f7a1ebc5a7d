//! How a model is loaded: file, metadata, tokenizer, weights, in pieces; and what of that is done to know its size beforehand.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::base::{Error, Job, MemoryBudget, Pace, Reservation, Result, Stage};
use crate::format::{Conversion, Files, ModelFile, Origin};
use crate::kernels::ops::Program;
use crate::runtime::Runtime;
use crate::tokenizer::Tokenizer;

use super::arch;
use super::config::ModelConfig;
use super::loaded::{LoadOptions, Model};
use super::recode;
use super::vocabulary;
use super::weights::{Vectors, Weights};

const FILE: usize = 0;
const METADATA: usize = 1;
const TOKENIZER: usize = 2;
/// Where tensors get other types; [`WEIGHTS`] comes one later then.
const QUANTISING: usize = 3;
const WEIGHTS: usize = 3;

/// Stages of a file that is mapped or lent: nearly all time goes to the vocabulary, where no tensor has to be converted (which happens with the
/// metadata).
const IN_PLACE: &[Stage] = &[
    Stage { name: c"file", share: 0.0 },
    Stage { name: c"metadata", share: 0.1 },
    Stage { name: c"tokenizer", share: 0.85 },
    Stage { name: c"weights", share: 0.05 },
];
/// Stages of a file that is read into memory: nearly all time goes to that.
const READ: &[Stage] = &[
    Stage { name: c"file", share: 0.9 },
    Stage { name: c"metadata", share: 0.01 },
    Stage { name: c"tokenizer", share: 0.08 },
    Stage { name: c"weights", share: 0.01 },
];

/// Stages where tensors get other types: most time goes to that.
const IN_PLACE_QUANTISED: &[Stage] = &[
    Stage { name: c"file", share: 0.0 },
    Stage { name: c"metadata", share: 0.02 },
    Stage { name: c"tokenizer", share: 0.07 },
    Stage { name: c"quantising", share: 0.9 },
    Stage { name: c"weights", share: 0.01 },
];
/// Both.
const READ_QUANTISED: &[Stage] = &[
    Stage { name: c"file", share: 0.4 },
    Stage { name: c"metadata", share: 0.01 },
    Stage { name: c"tokenizer", share: 0.04 },
    Stage { name: c"quantising", share: 0.54 },
    Stage { name: c"weights", share: 0.01 },
];

/// What a model is made of.
pub(super) struct Parts {
    pub file: ModelFile,
    pub tokenizer: Option<Tokenizer>,
    /// None where only the vocabulary is wanted.
    pub network: Option<Network>,
}

/// What is needed to compute.
pub(super) struct Network {
    pub config: ModelConfig,
    pub program: Program,
    pub vocab_size: usize,
    _vectors: Vec<Reservation>,
}

/// What is loaded for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// To compute with, on this runtime.
    Use(&'a Runtime),
    /// To know the size: no tensor's data is touched.
    Estimate,
}

/// The stages of a load.
pub(super) fn stages(origin: &Origin, options: &LoadOptions) -> &'static [Stage] {
    match (origin.is_copied(options.access), options.quantize.is_some()) {
        (false, false) => IN_PLACE,
        (false, true) => IN_PLACE_QUANTISED,
        (true, false) => READ,
        (true, true) => READ_QUANTISED,
    }
}

/// A load as a job.
pub(super) fn job(runtime: &Runtime, origin: Origin, options: LoadOptions) -> Job<Model> {
    let runtime = runtime.clone();
    Job::new(stages(&origin, &options), |pace| async move { load(&runtime, origin, options, &pace).await })
}

/// A load, in the first [`stages`] of `pace`.
pub(super) async fn load(runtime: &Runtime, origin: Origin, options: LoadOptions, pace: &Pace) -> Result<Model> {
    let parts = Parts::load(runtime.budget(), origin, options, Purpose::Use(runtime), pace).await?;
    Model::of_parts(runtime, parts, options.prefix_cache)
}

impl Parts {
    /// Loads them. `budget` is asked for all memory that stays but the tokenizer's, which is known only afterwards.
    pub async fn load(budget: &Arc<MemoryBudget>, origin: Origin, options: LoadOptions, purpose: Purpose<'_>, pace: &Pace) -> Result<Self> {
        let (vectors, conversion, runtime) = match purpose {
            Purpose::Use(runtime) => (Vectors::Decoded, Conversion::Done, Some(runtime)),
            Purpose::Estimate => (Vectors::Blank, Conversion::Blank, None),
        };
        pace.stage(FILE);
        let files = Files::open(origin, options.access, budget, pace).await?;
        pace.stage(METADATA);
        let conversion = match options.quantize {
            _ if options.vocab_only => Conversion::Leave,
            Some(_) => Conversion::Later,
            None => conversion,
        };
        let mut file = ModelFile::read(files, conversion, budget, pace).await?;
        pace.stage(TOKENIZER);
        let tokenizer = tokenizer(&mut file, pace).await.map_err(|error| error.at(file.name()))?;
        if let Some(mix) = options.quantize {
            pace.stage(QUANTISING);
            if !options.vocab_only {
                recode::requantise(&mut file, mix, budget, runtime, pace).await.map_err(|error| error.at(file.name()))?;
            }
        }
        pace.stage(WEIGHTS + usize::from(options.quantize.is_some()));
        // A file without tensors is a vocabulary.
        let network = match options.vocab_only || file.tensors.is_empty() && tokenizer.is_some() {
            true => None,
            false => {
                let network = Network::new(budget, &file, tokenizer.as_ref(), vectors, pace).await;
                Some(network.map_err(|error| error.at(file.name()))?)
            }
        };
        Ok(Self { file, tokenizer, network })
    }
}

/// The tokenizer of a file, `None` where it has none.
async fn tokenizer(file: &mut ModelFile, pace: &Pace) -> Result<Option<Tokenizer>> {
    let json = match file.tokenizer.take() {
        None => vocabulary::embedded(&file.metadata)?,
        json => json,
    };
    if let Some(json) = json {
        return Tokenizer::from_json(vocabulary::of_json(&json, &file.metadata)?, pace)
            .await
            .map(Some)
            .map_err(|error| error.at(&json.name));
    }
    let metadata = &file.metadata;
    match metadata.str("tokenizer.ggml.model")? {
        None | Some("none" | vocabulary::NONE) => Ok(None),
        Some(_) => Tokenizer::new_paced(vocabulary::definition_paced(metadata, pace).await?, pace).await.map(Some),
    }
}

impl Network {
    async fn new(
        budget: &Arc<MemoryBudget>,
        file: &ModelFile,
        tokenizer: Option<&Tokenizer>,
        vectors: Vectors,
        pace: &Pace,
    ) -> Result<Self> {
        let mut config = ModelConfig::from_metadata(&file.metadata)?;
        let mut weights = Weights::new(file, budget, vectors, pace);
        let program = arch::build(&mut config, &mut weights).await?;
        let vocab_size = weights.rows("token_embd.weight")?;
        let vectors = weights.finish().await?;
        if let Some(tokens) = tokenizer.map(|tokenizer| tokenizer.vocab_size() as usize)
            && tokens != vocab_size
        {
            return Err(Error::invalid_file(format!("{tokens} tokens, but tensor 'token_embd.weight' has {vocab_size} rows")));
        }
        Ok(Self { config, vocab_size, program, _vectors: vectors })
    }
}
