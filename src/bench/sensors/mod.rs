//! What the machine says of itself while a benchmark runs: energy, temperatures, memory, the cache of the model's file.
//!
//! Each is measured or absent with the reason; nothing is estimated.

mod energy;
mod memory;
mod thermal;

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::base::page_cache;
use crate::model::Model;

use super::clock::Clock;

pub use energy::{Energy, EnergyUse};
pub use memory::MemoryUse;
pub use thermal::{Thermal, Validity};

/// A value, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading<T> {
    /// It was measured.
    Measured(T),
    /// It could not be: why.
    Absent(String),
}

impl<T> Reading<T> {
    /// The value, where there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Measured(value) => Some(value),
            Self::Absent(_) => None,
        }
    }

    fn json(&self, of: impl Fn(&T) -> Value) -> Value {
        match self {
            Self::Measured(value) => of(value),
            Self::Absent(reason) => json!({ "absent": reason }),
        }
    }
}

/// The meters of one benchmark.
pub struct Sensors {
    energy: Reading<Energy>,
    thermal: Thermal,
    memory: memory::Begin,
    page_cache: Reading<f64>,
}

/// What they read.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorsResult {
    /// Of the counted requests.
    pub energy: Reading<EnergyUse>,
    /// Before each of them, and behind the last.
    pub thermal: Reading<Thermal>,
    /// Of the process.
    pub memory: Reading<MemoryUse>,
    /// The share of the model's file that was in memory before the requests.
    pub page_cache: Reading<f64>,
}

impl Sensors {
    /// Begins, with a measurement of the idle machine where its energy can be read. `file` is the model's.
    pub(super) async fn begin(file: Option<&Path>, clock: &mut Clock) -> Self {
        let page_cache = match file {
            None => Reading::Absent("the model's file was not named".to_owned()),
            Some(file) => match page_cache::resident_share(file) {
                Ok(share) => Reading::Measured(share),
                Err(error) => Reading::Absent(error.to_string()),
            },
        };
        let mut energy = Energy::open(Path::new(energy::ROOT));
        if let Reading::Measured(energy) = &mut energy {
            energy.idle(clock).await;
        }
        Self { energy, thermal: Thermal::open(Path::new(thermal::ROOT)), memory: memory::Begin::now(), page_cache }
    }

    /// Before a request: waits for a machine that is too hot.
    pub(super) async fn before_request(&mut self, clock: &mut Clock) {
        self.thermal.wait_until_cool(clock).await;
        self.thermal.sample(clock.now_ms());
        if let Reading::Measured(energy) = &mut self.energy {
            energy.begin(Instant::now());
        }
    }

    /// With the first token of the request.
    pub(super) fn first_token(&mut self) {
        if let Reading::Measured(energy) = &mut self.energy {
            energy.end_prefill(Instant::now());
        }
    }

    /// With its last one.
    pub(super) fn after_request(&mut self) {
        if let Reading::Measured(energy) = &mut self.energy {
            energy.end_decode(Instant::now());
        }
    }

    /// What was read in all.
    pub(super) fn end(mut self, model: &Model, now_ms: f64) -> SensorsResult {
        self.thermal.sample(now_ms);
        SensorsResult {
            energy: match self.energy {
                Reading::Measured(energy) => Reading::Measured(energy.used()),
                Reading::Absent(reason) => Reading::Absent(reason),
            },
            thermal: self.thermal.read(),
            memory: self.memory.end(model),
            page_cache: self.page_cache,
        }
    }
}

impl SensorsResult {
    pub(super) fn value(&self) -> Value {
        json!({
            "energy": self.energy.json(EnergyUse::value),
            "thermal": self.thermal.json(Thermal::value),
            "memory": self.memory.json(MemoryUse::value),
            "model_file_in_memory_share": self.page_cache.json(|share| (*share).into()),
        })
    }

    /// Lines for people: what there is, and why the rest is not.
    pub(super) fn rows(&self) -> Vec<(String, Option<f64>)> {
        let mut rows = vec![];
        match &self.memory {
            Reading::Measured(memory) => {
                rows.push(("memory of the process, most, MB".to_owned(), Some(memory.peak_mb)));
                rows.push(("page faults: minor".to_owned(), Some(memory.minor_faults as f64)));
                rows.push(("page faults: major".to_owned(), Some(memory.major_faults as f64)));
            }
            Reading::Absent(reason) => rows.push((format!("memory of the process ({reason})"), None)),
        }
        match &self.page_cache {
            Reading::Measured(share) => rows.push(("model's file in memory before, %".to_owned(), Some(100.0 * share))),
            Reading::Absent(reason) => rows.push((format!("model's file in memory before ({reason})"), None)),
        }
        match &self.energy {
            Reading::Measured(energy) => {
                rows.push(("energy of the requests, J".to_owned(), Some(energy.gross_joules())));
                rows.push(("the same less the idle machine's, J".to_owned(), energy.net_joules()));
            }
            Reading::Absent(reason) => rows.push((format!("energy ({reason})"), None)),
        }
        match &self.thermal {
            Reading::Measured(thermal) => {
                rows.push((format!("temperature, most, °C ({})", thermal.validity().name()), thermal.max_c()));
            }
            Reading::Absent(reason) => rows.push((format!("temperature ({reason})"), None)),
        }
        rows
    }
}
