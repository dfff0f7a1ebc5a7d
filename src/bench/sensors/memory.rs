//! Memory of the process as the system counts it, beside what the library counts itself.

use serde_json::{Map, Value, json};

use crate::base::MemoryCategory;
use crate::base::process::{faults, resident};
use crate::model::Model;

use super::Reading;

/// The state before.
pub(super) struct Begin(Option<(u64, u64)>);

/// What the process held.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryUse {
    /// The most since it was started, in 10⁶ bytes; the model's file is part of it, as far as it was touched.
    pub peak_mb: f64,
    /// Now.
    pub resident_mb: f64,
    /// Page faults of the counted requests that memory answered.
    pub minor_faults: u64,
    /// Those that took the disk.
    pub major_faults: u64,
    /// What the library itself counts of its runtime, bytes by category.
    pub counted_bytes: Vec<(&'static str, u64)>,
}

impl Begin {
    pub fn now() -> Self {
        Self(faults())
    }

    pub fn end(&self, model: &Model) -> Reading<MemoryUse> {
        let (Some((peak, resident)), Some(before), Some(now)) = (resident(), self.0, faults()) else {
            return Reading::Absent(if cfg!(any(target_os = "linux", target_vendor = "apple")) {
                "the system does not tell".to_owned()
            } else {
                format!("read on Linux and Apple's systems alone, this is {}", std::env::consts::OS)
            });
        };
        let budget = model.runtime().budget();
        Reading::Measured(MemoryUse {
            peak_mb: peak as f64 / 1e6,
            resident_mb: resident as f64 / 1e6,
            minor_faults: now.0 - before.0,
            major_faults: now.1 - before.1,
            counted_bytes: MemoryCategory::ALL.map(|category| (category.name(), budget.used(category))).to_vec(),
        })
    }
}

impl MemoryUse {
    pub(super) fn value(&self) -> Value {
        let counted: Map<String, Value> = self.counted_bytes.iter().map(|(name, bytes)| ((*name).into(), (*bytes).into())).collect();
        json!({
            "peak_mb": self.peak_mb,
            "resident_mb": self.resident_mb,
            "minor_faults": self.minor_faults,
            "major_faults": self.major_faults,
            "counted_bytes": counted,
        })
    }
}
