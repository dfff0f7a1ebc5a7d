//! What a measurement hands back: figures, a verdict where there is a limit to hold, JSON for programs and a text for people.

use std::any::Any;
use std::fmt::Write as _;

use serde_json::Value;

use crate::base::{Error, Result};
use crate::metrics::json::head;

use super::host::Context;

/// Version of the JSON of the suite; goes up when a member changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// What was measured, or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One request after the other.
    Requests,
    /// Short requests behind long ones.
    Convoy,
    /// Requests while others use the processors.
    Saturation,
    /// A decode step with the cache and without.
    KvCache,
    /// A prompt at once and token by token.
    Prefill,
    /// What the machine allows, and what is reached of it.
    Roofline,
    /// The predictions of a model beside those of a reference.
    Quality,
    /// Fresh processes, from their start to their first token.
    ColdStart,
    /// Two stored results beside each other.
    Comparison,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Requests,
        Self::Convoy,
        Self::Saturation,
        Self::KvCache,
        Self::Prefill,
        Self::Roofline,
        Self::Quality,
        Self::ColdStart,
        Self::Comparison,
    ];

    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Convoy => "convoy",
            Self::Saturation => "saturation",
            Self::KvCache => "kv_cache",
            Self::Prefill => "prefill",
            Self::Roofline => "roofline",
            Self::Quality => "quality",
            Self::ColdStart => "cold_start",
            Self::Comparison => "comparison",
        }
    }
}

/// How a measurement stands against limits that were given before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Within all limits; a claim that holds.
    Passed,
    /// Worse than is good, within what is borne.
    Warned,
    /// What was measured allows no judgement.
    Inconclusive,
    /// Beyond a limit; a claim that does not hold.
    Failed,
}

impl Verdict {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
        }
    }
}

/// Why a figure does not pass: it is beyond its limit, or no number (a figure that was not measured is none).
pub(super) fn beyond(name: &str, value: Option<f64>, limit: f64, unit: &str) -> Option<String> {
    match value {
        Some(value) if value > limit => Some(format!("{name} {value:.1}{unit} is above {limit}{unit}")),
        Some(value) if value.is_finite() => None,
        _ => Some(format!("{name} was not measured")),
    }
}

/// Whether limits are numbers.
///
/// # Errors
/// `InvalidArgument` where one is NaN: nothing would be beyond it.
pub(super) fn check_limits(limits: &[f64]) -> Result<()> {
    if limits.iter().any(|limit| limit.is_nan()) {
        return Err(Error::invalid_argument(format!("limits {limits:?}: each a number")));
    }
    Ok(())
}

/// The result of a measurement.
pub trait Finding: Any + Send + Sync {
    /// What was measured.
    fn kind(&self) -> Kind;
    /// The machine and the model; `None` where there is neither, as in a comparison of documents.
    fn context(&self) -> Option<&Context>;
    /// The members of the JSON document behind its head: an object.
    fn members(&self) -> Value;
    /// A table for people, without the machine and the model.
    fn table(&self) -> String;
    /// How it stands against its limits; `None` where it has none.
    fn verdict(&self) -> Option<Verdict> {
        None
    }
}

/// The whole JSON document of a finding, on one line.
pub fn json(finding: &dyn Finding) -> String {
    let mut document = head(&format!("loquat.bench.{}", finding.kind().name()), SCHEMA_VERSION);
    if let Some(context) = finding.context() {
        document.extend(context.members().map(|(name, value)| (name.to_owned(), value)));
    }
    document.insert("verdict".into(), finding.verdict().map(Verdict::name).into());
    if let Value::Object(members) = finding.members() {
        document.extend(members);
    }
    Value::Object(document).to_string()
}

/// The text of a finding for people: machine, model, table, verdict. Ends with a line break.
pub fn text(finding: &dyn Finding) -> String {
    let mut text = String::new();
    if let Some(Context { host, subject, .. }) = finding.context() {
        let processor = host.processor.as_deref().unwrap_or(host.architecture);
        let threads = if host.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", host.threads) };
        let _ = writeln!(text, "{}", subject.description);
        let _ = writeln!(text, "loquat {}, {threads}, {}, {processor}\n", env!("CARGO_PKG_VERSION"), host.isa);
    }
    text.push_str(&finding.table());
    if let Some(verdict) = finding.verdict() {
        let _ = writeln!(text, "\nverdict: {}", verdict.name());
    }
    text
}
