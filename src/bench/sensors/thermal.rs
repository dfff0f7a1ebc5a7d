//! Temperatures, as Linux shows them: thermal zones and the sensors of hwmon.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::clock::Clock;
use super::Reading;

/// Where Linux shows them.
pub(super) const ROOT: &str = "/sys/class";
/// Above this nothing is begun, until the machine is down to [`COOL_C`].
const HOT_C: f64 = 80.0;
const COOL_C: f64 = 70.0;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How far temperatures may lie apart in a run that counts.
const MOST_SPREAD_C: f64 = 2.0;
/// Between two looks.
const EVERY_MS: f64 = 200.0;

/// Whether a run counts, by its temperatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// They stayed within their limits.
    Valid,
    /// They did not.
    Invalid,
    /// There are none.
    Unmeasured,
}

impl Validity {
    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// The temperatures of a run: at each look the highest of all sensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Thermal {
    sensors: Vec<PathBuf>,
    root: PathBuf,
    /// When, in milliseconds of the measurement's clock, and degrees Celsius.
    pub samples: Vec<(f64, f64)>,
    /// Seconds that were waited for the machine to cool down.
    pub waited_s: f64,
}

/// The sensors under `root`: files of millidegrees.
fn sensors(root: &Path) -> Vec<PathBuf> {
    let under = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let zones =
        under(&root.join("thermal")).into_iter().filter(|path| named(path).starts_with("thermal_zone")).map(|path| path.join("temp"));
    let inputs = under(&root.join("hwmon")).into_iter().flat_map(|path| under(&path));
    let inputs = inputs.filter(|path| named(path).starts_with("temp") && named(path).ends_with("_input"));
    let mut all: Vec<PathBuf> = zones.chain(inputs).filter(|path| degrees(path).is_some()).collect();
    all.sort();
    all
}

fn degrees(path: &Path) -> Option<f64> {
    let milli: i64 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // What no part of a machine can be is no reading.
    (-40_000..200_000).contains(&milli).then(|| milli as f64 / 1e3)
}

impl Thermal {
    pub(super) fn open(root: &Path) -> Self {
        Self { sensors: sensors(root), root: root.to_owned(), samples: vec![], waited_s: 0.0 }
    }

    fn now_c(&self) -> Option<f64> {
        self.sensors.iter().filter_map(|path| degrees(path)).reduce(f64::max)
    }

    /// Looks, where the last look is long enough ago.
    pub(super) fn sample(&mut self, now_ms: f64) {
        if self.samples.last().is_none_or(|(at, _)| now_ms - at >= EVERY_MS)
            && let Some(degrees) = self.now_c()
        {
            self.samples.push((now_ms, degrees));
        }
    }

    /// Waits while the machine is too hot.
    pub(super) async fn wait_until_cool(&mut self, clock: &mut Clock) {
        if self.sensors.is_empty() || self.now_c().is_none_or(|degrees| degrees <= HOT_C) {
            return;
        }
        let begin = Instant::now();
        while self.now_c().is_some_and(|degrees| degrees > COOL_C) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_nanos(clock.slice_ns()).min(Duration::from_millis(10)));
            clock.pause().await;
        }
        self.waited_s += begin.elapsed().as_secs_f64();
    }

    /// What was seen.
    pub(super) fn read(self) -> Reading<Self> {
        if self.samples.is_empty() {
            return Reading::Absent(format!("the system shows no temperatures under {}", self.root.display()));
        }
        Reading::Measured(self)
    }

    /// The highest.
    pub fn max_c(&self) -> Option<f64> {
        self.samples.iter().map(|(_, degrees)| *degrees).reduce(f64::max)
    }

    /// The highest less the lowest.
    pub fn spread_c(&self) -> Option<f64> {
        Some(self.max_c()? - self.samples.iter().map(|(_, degrees)| *degrees).reduce(f64::min)?)
    }

    /// How fast they rose, degrees a minute, by least squares; absent for looks at one moment.
    pub fn slope_c_min(&self) -> Option<f64> {
        let n = self.samples.len() as f64;
        let (at, c) = self.samples.iter().fold((0.0, 0.0), |(at, c), (t, degrees)| (at + t / n, c + degrees / n));
        let (over, under) = self
            .samples
            .iter()
            .fold((0.0, 0.0), |(over, under), (t, degrees)| (over + (t - at) * (degrees - c), under + (t - at) * (t - at)));
        (under > 0.0).then(|| over / under * 60e3)
    }

    /// Whether the run counts.
    pub fn validity(&self) -> Validity {
        match (self.max_c(), self.spread_c()) {
            (Some(max), Some(spread)) if max <= HOT_C && spread <= MOST_SPREAD_C => Validity::Valid,
            (Some(_), Some(_)) => Validity::Invalid,
            _ => Validity::Unmeasured,
        }
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "sensors": self.sensors.len(),
            "max_c": self.max_c(),
            "spread_c": self.spread_c(),
            "slope_c_per_minute": self.slope_c_min(),
            "waited_s": self.waited_s,
            "validity": self.validity().name(),
            "samples_columns": ["at_ms", "celsius"],
            "samples": self.samples,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thermal(samples: &[(f64, f64)]) -> Thermal {
        Thermal { sensors: vec![], root: PathBuf::new(), samples: samples.to_vec(), waited_s: 0.0 }
    }

    #[test]
    fn a_run_counts_within_its_limits() {
        let steady = thermal(&[(0.0, 60.0), (30_000.0, 61.0), (60_000.0, 62.0)]);
        assert_eq!((steady.max_c(), steady.spread_c(), steady.validity()), (Some(62.0), Some(2.0), Validity::Valid));
        assert!((steady.slope_c_min().unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(thermal(&[(0.0, 60.0), (1.0, 62.1)]).validity(), Validity::Invalid);
        assert_eq!(thermal(&[(0.0, 80.1)]).validity(), Validity::Invalid);
        assert_eq!(thermal(&[]).validity(), Validity::Unmeasured);
        assert!(matches!(thermal(&[]).read(), Reading::Absent(_)));
    }

    #[test]
    fn sensors_of_both_kinds_are_found() {
        let root = std::env::temp_dir().join(format!("loquat-thermal-{}", std::process::id()));
        for (path, text) in [
            ("thermal/thermal_zone0/temp", "51000\n"),
            ("thermal/cooling_device0/temp", "99000\n"),
            ("hwmon/hwmon3/temp1_input", "64500\n"),
            ("hwmon/hwmon3/temp1_crit", "100000\n"),
            ("hwmon/hwmon3/temp2_input", "nothing\n"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut thermal = Thermal::open(&root);
        assert_eq!(thermal.sensors.len(), 2);
        thermal.sample(0.0);
        thermal.sample(1.0);
        assert_eq!(thermal.samples, [(0.0, 64.5)], "the second look comes too early");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
