//! Energy by the counters of the processor (RAPL), which Linux shows under powercap: packages and their memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::super::clock::Clock;
use super::Reading;

/// Where Linux shows the counters.
pub(super) const ROOT: &str = "/sys/class/powercap";
/// How long the idle machine is measured.
const IDLE: Duration = Duration::from_millis(500);

/// A counter in microjoules that begins anew at the end of its range.
#[derive(Debug)]
struct Zone {
    name: String,
    path: PathBuf,
    range_uj: u64,
    last_uj: u64,
}

fn number(path: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.trim().parse().map_err(|error| format!("{}: {error}", path.display()))
}

impl Zone {
    fn open(path: &Path) -> Result<Option<Self>, String> {
        let Ok(name) = std::fs::read_to_string(path.join("name")) else { return Ok(None) };
        let name = name.trim();
        // Cores and graphics are part of their package.
        if !(name.starts_with("package") || name == "dram") {
            return Ok(None);
        }
        let counter = path.join("energy_uj");
        let (range_uj, last_uj) = (number(&path.join("max_energy_range_uj"))?, number(&counter)?);
        let zone = path.file_name().map_or_else(String::new, |zone| zone.to_string_lossy().into_owned());
        Ok(Some(Self { name: format!("{name} ({zone})"), path: counter, range_uj, last_uj }))
    }

    /// Joules since the last look; none where the counter can't be read any more.
    fn spent(&mut self) -> Option<f64> {
        let now = number(&self.path).ok()?;
        let spent = if now >= self.last_uj { now - self.last_uj } else { (self.range_uj - self.last_uj.min(self.range_uj)) + now };
        self.last_uj = now;
        Some(spent as f64 / 1e6)
    }
}

/// The meter. Its times are the wall's: the counters go on while the host does something else between two polls.
#[derive(Debug)]
pub struct Energy {
    zones: Vec<Zone>,
    used: EnergyUse,
    since: Instant,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EnergyUse {
    /// Counters by name, each with the joules of prompts and of generation.
    pub zones: Vec<(String, f64, f64)>,
    /// Time of prompts and of generation, seconds.
    pub seconds: [f64; 2],
    /// Watts of the idle machine, measured first.
    pub idle_watts: Option<f64>,
}

impl EnergyUse {
    /// Joules of prompts and of generation.
    pub fn joules(&self) -> [f64; 2] {
        self.zones.iter().fold([0.0; 2], |sum, (_, prefill, decode)| [sum[0] + prefill, sum[1] + decode])
    }

    /// All joules of the requests.
    pub fn gross_joules(&self) -> f64 {
        self.joules().iter().sum()
    }

    /// Those beyond what the idle machine would have used.
    pub fn net_joules(&self) -> Option<f64> {
        Some(self.gross_joules() - self.idle_watts? * self.seconds.iter().sum::<f64>())
    }

    pub(super) fn value(&self) -> Value {
        let [prefill, decode] = self.joules();
        let zones: Map<String, Value> = self
            .zones
            .iter()
            .map(|(name, prefill, decode)| (name.clone(), json!({ "prefill_joules": prefill, "decode_joules": decode })))
            .collect();
        json!({
            "gross_joules": self.gross_joules(),
            "net_joules": self.net_joules(),
            "prefill_joules": prefill,
            "decode_joules": decode,
            "idle_watts": self.idle_watts,
            "zones": zones,
        })
    }
}

impl Energy {
    /// The counters under `root`.
    pub(super) fn open(root: &Path) -> Reading<Self> {
        let Ok(entries) = std::fs::read_dir(root) else {
            return Reading::Absent(format!("the system shows no energy counters ({} is not there)", root.display()));
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let mut zones = vec![];
        for path in paths {
            match Zone::open(&path) {
                Ok(zone) => zones.extend(zone),
                Err(reason) => return Reading::Absent(reason),
            }
        }
        if zones.is_empty() {
            return Reading::Absent(format!("no counter of a package under {}", root.display()));
        }
        let used = EnergyUse { zones: zones.iter().map(|zone| (zone.name.clone(), 0.0, 0.0)).collect(), ..EnergyUse::default() };
        Reading::Measured(Self { zones, used, since: Instant::now() })
    }

    /// Measures the machine while this process does nothing.
    pub(super) async fn idle(&mut self, clock: &mut Clock) {
        let begin = Instant::now();
        self.look();
        while begin.elapsed() < IDLE {
            std::thread::sleep(Duration::from_nanos(clock.slice_ns()).min(Duration::from_millis(5)));
            clock.pause().await;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let joules: Option<f64> = self.zones.iter_mut().map(Zone::spent).sum();
        self.used.idle_watts = joules.map(|joules| joules / seconds);
    }

    fn look(&mut self) -> Vec<Option<f64>> {
        self.zones.iter_mut().map(Zone::spent).collect()
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.look();
        self.since = now;
    }

    pub(super) fn end_prefill(&mut self, now: Instant) {
        self.add(0, now);
    }

    pub(super) fn end_decode(&mut self, now: Instant) {
        self.add(1, now);
    }

    fn add(&mut self, part: usize, now: Instant) {
        let spent = self.look();
        for ((_, prefill, decode), spent) in self.used.zones.iter_mut().zip(spent) {
            *[prefill, decode][part] += spent.unwrap_or(f64::NAN);
        }
        self.used.seconds[part] += now.duration_since(self.since).as_secs_f64();
        self.since = now;
    }

    pub(super) fn used(self) -> EnergyUse {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_begin_anew() {
        let root = std::env::temp_dir().join(format!("loquat-rapl-{}", std::process::id()));
        let zone = |name: &str, kind: &str, uj: u64| {
            let path = root.join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("name"), format!("{kind}\n")).unwrap();
            std::fs::write(path.join("max_energy_range_uj"), "10000000\n").unwrap();
            std::fs::write(path.join("energy_uj"), format!("{uj}\n")).unwrap();
        };
        zone("intel-rapl:0", "package-0", 9_000_000);
        zone("intel-rapl:0:0", "dram", 1_000_000);
        zone("intel-rapl:0:1", "core", 5);
        let Reading::Measured(mut energy) = Energy::open(&root) else { panic!("the counters are there") };
        let begin = Instant::now();
        energy.begin(begin);
        zone("intel-rapl:0", "package-0", 1_000_000);
        zone("intel-rapl:0:0", "dram", 1_500_000);
        energy.end_prefill(begin + Duration::from_secs(1));
        zone("intel-rapl:0", "package-0", 4_000_000);
        energy.end_decode(begin + Duration::from_secs(3));
        let mut used = energy.used();
        assert_eq!(used.joules(), [2.0 + 0.5, 3.0]);
        assert_eq!((used.gross_joules(), used.seconds, used.net_joules()), (5.5, [1.0, 2.0], None));
        used.idle_watts = Some(1.0);
        assert_eq!(used.net_joules(), Some(2.5));
        std::fs::remove_dir_all(&root).unwrap();
        let Reading::Absent(reason) = Energy::open(&root) else { panic!("the counters are gone") };
        assert!(reason.contains("not there"), "{reason}");
    }
}
