//! What a measurement hands back: figures, a verdict where there is a limit to hold, JSON for programs and a text for people.

use std::any::Any;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::host::Context;

/// Version of the JSON of the suite; goes up when a member changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

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

/// The result of a measurement.
pub trait Finding: Any + Send + Sync {
    /// What was measured: "requests".
    fn kind(&self) -> &'static str;
    /// The machine and the model; `None` where there is neither, as in a comparison of documents.
    fn context(&self) -> Option<&Context>;
    /// The members of the JSON document behind its head.
    fn members(&self) -> Map<String, Value>;
    /// A table for people, without the machine and the model.
    fn table(&self) -> String;
    /// How it stands against its limits; `None` where it has none.
    fn verdict(&self) -> Option<Verdict> {
        None
    }
}

/// The whole JSON document of a finding, on one line.
pub fn json(finding: &dyn Finding) -> String {
    let mut document = Map::new();
    document.insert("schema".into(), format!("loquat.bench.{}", finding.kind()).into());
    document.insert("schema_version".into(), SCHEMA_VERSION.into());
    document.insert("library_version".into(), env!("CARGO_PKG_VERSION").into());
    if let Some(context) = finding.context() {
        document.extend(context.members().map(|(name, value)| (name.to_owned(), value)));
    }
    document.insert("verdict".into(), finding.verdict().map(Verdict::name).into());
    document.extend(finding.members());
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
