//! What may be asked for, in one place: the settings of all measurements, and the measurement by its kind.
//!
//! For callers that learn at run time what to measure. Options that a measurement has no use for are not looked at.

use std::path::PathBuf;

use crate::base::{Error, Job, Result};
use crate::model::Model;

use super::cold_start::{self, ColdStartOptions, PageCache};
use super::compare::RegressionLimits;
use super::convoy::{self, ConvoyLimits, ConvoyOptions};
use super::finding::{Finding, Kind};
use super::kv_cache::{self, KvCacheOptions};
use super::prefill::{self, PrefillOptions};
use super::quality::{self, QualityLimits, QualityOptions};
use super::requests::{self, RequestsOptions};
use super::roofline::{self, RooflineOptions};
use super::saturation::{self, SaturationLimits, SaturationOptions};
use super::settings::Settings;
use super::stop::StopRule;
use super::workload::Workload;

/// The settings of all measurements. What is `None` is the measurement's own default.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// How sessions are made.
    pub settings: Settings,
    /// The requests of `Requests` and `Saturation`; short ones without.
    pub workload: Option<Workload>,
    /// When requests are enough.
    pub stop: StopRule,
    /// The model's file, to be loaded again and timed.
    pub model_path: Option<PathBuf>,
    /// Long requests of a convoy.
    pub long_requests: Option<u32>,
    /// Short requests of a convoy, or requests of a saturated run.
    pub requests: Option<u32>,
    /// Requests that are computed at once; of a roofline, the most.
    pub slots: Option<u32>,
    /// Most prompt tokens of a pass of a convoy in which another request generates.
    pub prompt_share: Option<u32>,
    /// Repeats: pairs of runs, or of measurements at each length; samples of each point.
    pub repeats: Option<u32>,
    /// Limits of the convoy.
    pub convoy_limits: ConvoyLimits,
    /// Share of the processors that others use, percent.
    pub load_pct: Option<f64>,
    /// Limits of the saturation.
    pub saturation_limits: SaturationLimits,
    /// The greatest length that is measured; 0 for what the model's context has room for, of prefill 2,048 at most.
    pub max_length: u32,
    /// How many times faster a claim says that something is.
    pub threshold: Option<f64>,
    /// Measured read bandwidth.
    pub read_bandwidth_gb_s: Option<f64>,
    /// The model that a quantised one is compared with.
    pub reference: Option<Model>,
    /// The text that both read.
    pub text: Option<Vec<u8>>,
    /// Limits of their divergence.
    pub quality_limits: QualityLimits,
    /// The program with its arguments that is started anew to be timed.
    pub command: Vec<String>,
    /// In what state the model's file is before each start.
    pub page_cache: PageCache,
    /// Limits of a comparison.
    pub regression_limits: RegressionLimits,
}

impl Plan {
    /// Begins a measurement of `model`. Threads that it needs besides the runtime's are started here.
    ///
    /// # Errors
    /// As the measurement's own `measure` function; `InvalidArgument` for a comparison.
    pub fn start(&self, kind: Kind, model: &Model) -> Result<Job<Box<dyn Finding>>> {
        match kind {
            Kind::Requests => requests::measure(model, self.requests()).map(finding),
            Kind::Convoy => convoy::measure(model, self.convoy()).map(finding),
            Kind::Saturation => saturation::measure(model, self.saturation()).map(finding),
            Kind::KvCache => kv_cache::measure(model, self.kv_cache()).map(finding),
            Kind::Prefill => prefill::measure(model, self.prefill()).map(finding),
            Kind::Roofline => roofline::measure(model, self.roofline()).map(finding),
            Kind::Quality => quality::measure(model, self.quality()?).map(finding),
            Kind::ColdStart => cold_start::measure(model, self.cold_start()).map(finding),
            Kind::Comparison => Err(Error::invalid_argument("a comparison is of stored results and measures no model")),
        }
    }

    fn requests(&self) -> RequestsOptions {
        RequestsOptions {
            workload: self.workload.unwrap_or(Workload::SHORT_QA),
            stop: self.stop,
            settings: self.settings.clone(),
            model_path: self.model_path.clone(),
            cold_start: (!self.command.is_empty()).then(|| self.cold_start()),
        }
    }

    fn convoy(&self) -> ConvoyOptions {
        let usual = ConvoyOptions::default();
        ConvoyOptions {
            long_requests: self.long_requests.unwrap_or(usual.long_requests),
            short_requests: self.requests.unwrap_or(usual.short_requests),
            slots: self.slots.unwrap_or(usual.slots),
            prompt_share: self.prompt_share,
            repeats: self.repeats.unwrap_or(usual.repeats),
            limits: self.convoy_limits,
            settings: self.settings.clone(),
            ..usual
        }
    }

    fn saturation(&self) -> SaturationOptions {
        let usual = SaturationOptions::default();
        SaturationOptions {
            workload: self.workload.unwrap_or(usual.workload),
            requests: self.requests.unwrap_or(usual.requests),
            slots: self.slots.unwrap_or(usual.slots),
            load_pct: self.load_pct.unwrap_or(usual.load_pct),
            repeats: self.repeats.unwrap_or(usual.repeats),
            limits: self.saturation_limits,
            settings: self.settings.clone(),
        }
    }

    fn kv_cache(&self) -> KvCacheOptions {
        let usual = KvCacheOptions::default();
        KvCacheOptions {
            max_length: self.max_length,
            repeats: self.repeats.unwrap_or(usual.repeats),
            threshold: self.threshold.unwrap_or(usual.threshold),
            read_bandwidth_gb_s: self.read_bandwidth_gb_s,
            settings: self.settings.clone(),
        }
    }

    fn roofline(&self) -> RooflineOptions {
        let usual = RooflineOptions::default();
        RooflineOptions {
            most_sequences: self.slots.unwrap_or(usual.most_sequences),
            repeats: self.repeats.unwrap_or(usual.repeats),
            settings: self.settings.clone(),
        }
    }

    fn quality(&self) -> Result<QualityOptions> {
        let (Some(reference), Some(text)) = (self.reference.clone(), self.text.clone()) else {
            return Err(Error::invalid_argument("quality is measured against a reference, on a text: give both"));
        };
        Ok(QualityOptions { reference, text, limits: self.quality_limits, settings: self.settings.clone() })
    }

    fn cold_start(&self) -> ColdStartOptions {
        let usual = ColdStartOptions::default();
        ColdStartOptions {
            command: self.command.clone(),
            model_path: self.model_path.clone(),
            page_cache: self.page_cache,
            repeats: self.repeats.unwrap_or(usual.repeats),
        }
    }

    fn prefill(&self) -> PrefillOptions {
        let usual = PrefillOptions::default();
        PrefillOptions {
            max_length: self.max_length,
            repeats: self.repeats.unwrap_or(usual.repeats),
            threshold: self.threshold.unwrap_or(usual.threshold),
            settings: self.settings.clone(),
        }
    }
}

fn finding<F: Finding>(job: Job<F>) -> Job<Box<dyn Finding>> {
    job.map(|found| Box::new(found) as Box<dyn Finding>)
}
