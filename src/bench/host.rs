//! What a figure is a figure of: the machine, the model, the build.

use serde_json::{Value, json};

use crate::base::procfs::{field, kilobytes};
use crate::metrics::json::rfc3339;
use crate::model::Model;
use std::time::SystemTime;

/// The machine and the runtime's use of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// The processor's own name; absent where the system does not tell.
    pub processor: Option<String>,
    /// Processors that the process may use.
    pub processors: Option<usize>,
    /// Main memory in bytes; absent where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Operating system ("linux").
    pub system: &'static str,
    /// Instruction set of the machine ("x86_64").
    pub architecture: &'static str,
    /// Instruction set that the kernels use ("avx512-vnni").
    pub isa: &'static str,
    /// Threads that compute.
    pub threads: usize,
}

impl Host {
    /// The machine under `model`'s runtime.
    pub fn of(model: &Model) -> Self {
        let runtime = model.runtime();
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().ok().map(|count| count.get()),
            memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|text| kilobytes(&text)),
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            isa: runtime.isa().name(),
            threads: runtime.threads(),
        }
    }

    fn value(&self) -> Value {
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "memory_bytes": self.memory_bytes,
            "system": self.system,
            "architecture": self.architecture,
            "isa": self.isa,
            "threads": self.threads,
        })
    }
}

/// The model.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// One line for people.
    pub description: String,
    /// By which models that compute the same are told from others.
    pub fingerprint: u128,
    /// The container ("gguf").
    pub format: &'static str,
    /// The tensor type that most weights have.
    pub quantization: Option<&'static str>,
}

impl Subject {
    /// `model` as it is.
    pub fn of(model: &Model) -> Self {
        let mut counts: Vec<(&'static str, u64)> = vec![];
        for tensor in model.tensors() {
            let name = tensor.ty.name();
            match counts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += tensor.elements(),
                None => counts.push((name, tensor.elements())),
            }
        }
        Self {
            description: model.description(),
            fingerprint: model.fingerprint(),
            format: "gguf",
            quantization: counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name),
        }
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "description": self.description,
            "fingerprint": format!("{:032x}", self.fingerprint),
            "format": self.format,
            "quantization": self.quantization,
        })
    }
}

/// All that stands at the head of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The machine.
    pub host: Host,
    /// The model.
    pub subject: Subject,
    /// When the measurement began.
    pub began: SystemTime,
}

impl Context {
    /// Now, with `model`.
    pub fn of(model: &Model) -> Self {
        Self { host: Host::of(model), subject: Subject::of(model), began: SystemTime::now() }
    }

    /// The members of a document that say this.
    pub(super) fn members(&self) -> [(&'static str, Value); 3] {
        [("time", rfc3339(self.began).into()), ("hardware", self.host.value()), ("model", self.subject.value())]
    }
}
