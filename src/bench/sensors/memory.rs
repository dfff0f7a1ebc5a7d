//! Memory of the process as the system counts it, beside what the library counts itself.

use serde_json::{Map, Value, json};

use crate::base::MemoryCategory;
use crate::model::Model;

use super::super::system::{field, kilobytes};
use super::Reading;

/// Page faults of the process so far: those that memory answered, and those that took the disk. The tenth and twelfth field of the line, of
/// which the second is a name in brackets that may hold anything.
fn faults(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let minor = fields.nth(7)?.parse().ok()?;
    Some((minor, fields.nth(1)?.parse().ok()?))
}

fn faults_now() -> Option<(u64, u64)> {
    faults(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

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
        Self(faults_now())
    }

    pub fn end(&self, model: &Model) -> Reading<MemoryUse> {
        let status = |name| field("/proc/self/status", name).and_then(|text| kilobytes(&text)).map(|bytes| bytes as f64 / 1e6);
        let (Some(peak_mb), Some(resident_mb), Some(before), Some(now)) = (status("VmHWM"), status("VmRSS"), self.0, faults_now()) else {
            return Reading::Absent(if cfg!(target_os = "linux") {
                "/proc/self does not tell".to_owned()
            } else {
                format!("read on Linux alone, this is {}", std::env::consts::OS)
            });
        };
        let budget = model.runtime().budget();
        Reading::Measured(MemoryUse {
            peak_mb,
            resident_mb,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_process_with_a_name() {
        let stat = "4242 (a) b (c)) S 1 2 3 4 5 6 101 7 13 8 9 10";
        assert_eq!(faults(stat), Some((101, 13)));
        assert_eq!((faults("4242 (a) S 1"), faults("")), (None, None));
    }
}
