//! How long a model takes from its file to its first forward pass, stage by stage.
//!
//! The times are those of the loader's own stages. The pages of the file are in the system's cache as they happen to be; a start of a
//! fresh process is another measurement.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base::{JobState, Result};
use crate::model::{LoadOptions, Model};
use crate::runtime::Runtime;

use super::clock::Clock;
use super::recompute::at_once;
use super::settings::Settings;
use super::workload::prompt;

/// The times of one load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadTimes {
    /// The loader's stages in their order, each with its milliseconds: the file opened and mapped, metadata, tokenizer, tensors.
    pub stages: Vec<(&'static str, f64)>,
    /// All of them.
    pub load_ms: f64,
    /// A session made.
    pub session_ms: f64,
    /// The first forward pass, of one token.
    pub first_pass_ms: f64,
}

impl LoadTimes {
    /// Loads the file at `path` once more beside whatever is loaded, computes one token, and lets go of it.
    ///
    /// # Errors
    /// As [`Model::load`] and [`Session::step`](crate::session::Session::step).
    pub(super) async fn measure(runtime: &Runtime, path: &Path, settings: &Settings, clock: &mut Clock) -> Result<Self> {
        let mut job = Model::load_job(runtime, path, LoadOptions::default());
        let watch = job.watch();
        while job.poll(clock.slice_ns())? == JobState::Running {
            clock.pause().await;
        }
        let model = job.take()?;
        let stages: Vec<(&'static str, f64)> =
            watch.stage_times().map(|(name, ns)| (name.to_str().unwrap_or(""), ns as f64 / 1e6)).collect();
        let begin = clock.now_ms();
        let mut session = settings.session(&model, 2, 1, true)?;
        let session_ms = clock.now_ms() - begin;
        let first_pass_ms = at_once(&mut session, &prompt(1, model.vocab_size()?, settings.seed(), 0), 0, clock).await?;
        let load_ms = stages.iter().map(|(_, ms)| ms).sum();
        Ok(Self { stages, load_ms, session_ms, first_pass_ms })
    }

    pub(super) fn value(&self) -> Value {
        let stages: Map<String, Value> = self.stages.iter().map(|(name, ms)| (format!("{name}_ms"), (*ms).into())).collect();
        json!({ "stages": stages, "load_ms": self.load_ms, "session_ms": self.session_ms, "first_pass_ms": self.first_pass_ms })
    }
}
