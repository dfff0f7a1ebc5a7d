//! Two stored results beside each other: is the second slower than the first?
//!
//! Two runs are compared only where they did the same work and the same tokens came out of their first requests. Each figure's ratio comes with its
//! interval, by resampling the requests of both runs; a change counts only where the whole interval lies on its side of 1.

use serde_json::{Value, json};

use crate::base::{Error, Result};

use super::finding::{Finding, Kind, SCHEMA_VERSION, Verdict};
use super::host::Context;
use super::statistics::{Interval, Statistic, increase_pct, median, ratio_interval};
use super::summary::{interval_value, range};
use super::table::{Table, figure};

/// How much worse a figure may become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegressionLimits {
    /// Above this it is a warning, percent.
    pub warn_pct: f64,
    /// Above this it fails, percent.
    pub fail_pct: f64,
}

impl Default for RegressionLimits {
    fn default() -> Self {
        Self { warn_pct: 2.0, fail_pct: 5.0 }
    }
}

impl RegressionLimits {
    /// Whether they can be held.
    ///
    /// # Errors
    /// `InvalidArgument` where they are negative or no numbers, or a warning comes only after the failure.
    pub fn validate(&self) -> Result<()> {
        let Self { warn_pct, fail_pct } = *self;
        if warn_pct >= 0.0 && fail_pct >= warn_pct && fail_pct.is_finite() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("a warning at {warn_pct} % and a failure at {fail_pct} %: from 0 up, in this order")))
    }
}

/// A figure in both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which: "ttft_ms".
    pub name: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Median of the first run; absent where it has no such samples.
    pub baseline: Option<f64>,
    /// Median of the second.
    pub current: Option<f64>,
    /// Second over first.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio; absent where either run has fewer than 8 requests.
    pub ci: Option<Interval>,
    /// By how much the second is worse, percent; negative where it is better.
    pub worse_pct: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

impl Change {
    /// Compares two samples of a figure.
    pub fn of(name: &'static str, higher_is_better: bool, samples: [&[f64]; 2], limits: &RegressionLimits, seed: u64) -> Self {
        let [baseline, current] = samples.map(median);
        let ratio = baseline.filter(|&before| before > 0.0).zip(current).map(|(before, now)| now / before);
        let ci = ratio_interval(samples[1], samples[0], Statistic::MEDIAN, seed);
        let worse_pct = increase_pct(baseline, current).map(|increase| if higher_is_better { -increase } else { increase });
        let verdict = match (worse_pct, &ci) {
            (Some(worse), Some(ci)) if !ci.contains(1.0) => match worse {
                worse if worse > limits.fail_pct => Verdict::Failed,
                worse if worse > limits.warn_pct => Verdict::Warned,
                _ => Verdict::Passed,
            },
            (Some(_), Some(_)) => Verdict::Passed,
            _ => Verdict::Inconclusive,
        };
        Self { name, higher_is_better, baseline, current, ratio, ci, worse_pct, verdict }
    }
}

/// Two stored results beside each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    limits: RegressionLimits,
    /// When each was measured.
    pub times: [String; 2],
    /// Whether both say that they are from the same machine, with the same threads and instruction set.
    pub same_hardware: bool,
    /// One for each figure that either has.
    pub changes: Vec<Change>,
}

/// What is read of a stored result.
struct Stored {
    time: String,
    work: Value,
    outputs: String,
    hardware: Value,
    series: [Vec<f64>; 4],
}

/// The figures that are compared, and whether more is better.
const FIGURES: [(&str, bool); 4] = [("ttft_ms", false), ("prefill_tok_s", true), ("generation_tok_s", true), ("itl_ms", false)];

impl Stored {
    fn read(text: &str, which: &str) -> Result<Self> {
        let bad = |what: String| Error::invalid_file(format!("{which}: {what}"));
        let document: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let schema = document["schema"].as_str();
        if schema != Some("loquat.bench.requests") {
            return Err(bad(format!("schema {schema:?}: only results of requests are compared")));
        }
        if document["schema_version"] != SCHEMA_VERSION {
            return Err(bad(format!("schema version {}, this library reads {SCHEMA_VERSION}", document["schema_version"])));
        }
        let text_of = |name: &str| document[name].as_str().map(str::to_owned).ok_or_else(|| bad(format!("no text '{name}'")));
        let config = document["config"].as_object().ok_or_else(|| bad("no object 'config'".to_owned()))?;
        let hardware = ["processor", "processors", "isa", "threads"].map(|name| document["hardware"][name].clone());
        let mut series: [Vec<f64>; 4] = Default::default();
        for (place, (name, _)) in FIGURES.iter().enumerate() {
            let samples = document[*name].as_array().ok_or_else(|| bad(format!("no list '{name}'")))?;
            // Of the gaps between tokens each request gives its median.
            let values = samples.iter().map(|sample| match sample.as_array() {
                Some(gaps) => numbers(gaps).map(|gaps| median(&gaps)),
                None => positive(sample).map(Some),
            });
            let values: Option<Vec<Option<f64>>> = values.collect();
            series[place] = values.ok_or_else(|| bad(format!("'{name}': not a list of positive numbers")))?.into_iter().flatten().collect();
        }
        Ok(Self {
            time: text_of("time")?,
            work: ["prompt_tokens", "output_tokens"].map(|name| config.get(name).cloned().unwrap_or_default()).into_iter().collect(),
            outputs: text_of("output_fingerprint")?,
            hardware: hardware.into_iter().collect(),
            series,
        })
    }
}

fn positive(value: &Value) -> Option<f64> {
    value.as_f64().filter(|value| value.is_finite() && *value > 0.0)
}

fn numbers(values: &[Value]) -> Option<Vec<f64>> {
    values.iter().map(positive).collect()
}

impl Comparison {
    /// Compares the JSON documents of two benchmarks of requests.
    ///
    /// # Errors
    /// `InvalidFile` naming what is wrong with a document, `InvalidArgument` for limits out of range, and for runs that did different work or
    /// brought different tokens.
    pub fn of(baseline: &str, current: &str, limits: RegressionLimits, seed: u64) -> Result<Self> {
        limits.validate()?;
        let (first, second) = (Stored::read(baseline, "baseline")?, Stored::read(current, "current result")?);
        if first.work != second.work {
            let message = format!("different work: {} and {} prompt and generated tokens", first.work, second.work);
            return Err(Error::invalid_argument(message));
        }
        if first.outputs != second.outputs {
            return Err(Error::invalid_argument("different tokens came out: the two runs did not compute the same"));
        }
        let present = |place: &usize| !(first.series[*place].is_empty() && second.series[*place].is_empty());
        let changes = (0..FIGURES.len()).filter(present).map(|place| {
            let (name, higher_is_better) = FIGURES[place];
            Change::of(name, higher_is_better, [&first.series[place], &second.series[place]], &limits, seed)
        });
        Ok(Self { limits, changes: changes.collect(), same_hardware: first.hardware == second.hardware, times: [first.time, second.time] })
    }
}

impl Finding for Comparison {
    fn kind(&self) -> Kind {
        Kind::Comparison
    }

    fn context(&self) -> Option<&Context> {
        None
    }

    fn verdict(&self) -> Option<Verdict> {
        self.changes.iter().map(|change| change.verdict).max().or(Some(Verdict::Inconclusive))
    }

    fn members(&self) -> Value {
        let changes = self.changes.iter().map(|change| {
            json!({
                "name": change.name,
                "higher_is_better": change.higher_is_better,
                "baseline": change.baseline,
                "current": change.current,
                "ratio": change.ratio,
                "ratio_ci_95": change.ci.as_ref().map(interval_value),
                "worse_pct": change.worse_pct,
                "verdict": change.verdict.name(),
            })
        });
        json!({
            "config": { "warn_pct": self.limits.warn_pct, "fail_pct": self.limits.fail_pct },
            "baseline_time": self.times[0],
            "current_time": self.times[1],
            "same_hardware": self.same_hardware,
            "changes": changes.collect::<Vec<_>>(),
        })
    }

    fn table(&self) -> String {
        let mut table = Table::new(["", "baseline", "current", "ratio", "95 %", "worse, %", ""]);
        for change in &self.changes {
            table.row([
                change.name.to_owned(),
                figure(change.baseline),
                figure(change.current),
                figure(change.ratio),
                range(change.ci.as_ref()),
                figure(change.worse_pct),
                change.verdict.name().to_owned(),
            ]);
        }
        let hardware = if self.same_hardware { "the same hardware" } else { "DIFFERENT hardware, threads or instruction set" };
        format!(
            "{} against {}, {hardware}\nwarning above {} %, failure above {} %, where the interval excludes 1\n\n{}",
            self.times[1],
            self.times[0],
            self.limits.warn_pct,
            self.limits.fail_pct,
            table.text(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    /// A stored result whose times are those of 20 requests around `scale`.
    fn stored(scale: f64, output: &str) -> String {
        let around = |centre: f64| -> Vec<f64> { (0..20).map(|i| centre * (1.0 + 0.001 * f64::from(i % 5))).collect() };
        let gaps: Vec<Vec<f64>> = around(scale).iter().map(|&gap| vec![gap; 3]).collect();
        json!({
            "schema": "loquat.bench.requests", "schema_version": 1, "time": "2026-01-31T12:00:00Z",
            "hardware": { "processor": "x", "processors": 2, "isa": "avx2", "threads": 2 },
            "config": { "prompt_tokens": 32, "output_tokens": 64 },
            "output_fingerprint": output,
            "ttft_ms": around(10.0 * scale), "prefill_tok_s": around(100.0 / scale), "generation_tok_s": around(50.0 / scale), "itl_ms": gaps,
        })
        .to_string()
    }

    fn verdict(scale: f64) -> Verdict {
        let comparison = Comparison::of(&stored(1.0, "a"), &stored(scale, "a"), RegressionLimits::default(), 0).unwrap();
        assert_eq!(comparison.changes.len(), 4);
        assert!(comparison.same_hardware);
        comparison.verdict().unwrap()
    }

    #[test]
    fn the_gate_passes_warns_and_fails() {
        assert_eq!(verdict(1.0), Verdict::Passed);
        assert_eq!(verdict(0.5), Verdict::Passed, "faster is no regression");
        assert_eq!(verdict(1.01), Verdict::Passed);
        assert_eq!(verdict(1.04), Verdict::Warned);
        assert_eq!(verdict(1.10), Verdict::Failed);
    }

    #[test]
    fn noise_is_no_regression_and_few_requests_allow_no_judgement() {
        let limits = RegressionLimits::default();
        let noisy: Vec<f64> = (0..10).map(|i| f64::from(i) + 1.0).collect();
        let noisier: Vec<f64> = noisy.iter().map(|value| value * 1.1).collect();
        let change = Change::of("x", false, [&noisy, &noisier], &limits, 0);
        assert!(change.worse_pct.unwrap() > 5.0 && change.verdict == Verdict::Passed, "{change:?}");
        let few = Change::of("x", false, [&noisy[..7], &noisier], &limits, 0);
        assert_eq!((few.verdict, few.ci), (Verdict::Inconclusive, None));
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let limits = RegressionLimits::default();
        let fails = |a: &str, b: &str, kind, named: &str| {
            let error = Comparison::of(a, b, limits, 0).unwrap_err();
            assert!(error.kind() == kind && error.message().contains(named), "{error}");
        };
        let good = stored(1.0, "a");
        fails(&good, &stored(1.0, "b"), ErrorKind::InvalidArgument, "tokens came out");
        fails(&good, &good.replace("\"output_tokens\":64", "\"output_tokens\":65"), ErrorKind::InvalidArgument, "different work");
        fails("{", &good, ErrorKind::InvalidFile, "baseline");
        fails(&good, "{\"schema\":\"loquat.bench.convoy\"}", ErrorKind::InvalidFile, "convoy");
        fails(&good, &good.replace("\"schema_version\":1", "\"schema_version\":2"), ErrorKind::InvalidFile, "version 2");
        fails(&good, &good.replace("\"ttft_ms\":[10.0", "\"ttft_ms\":[-1"), ErrorKind::InvalidFile, "ttft_ms");
        let other = Comparison::of(&good, &good.replace("avx2", "portable"), limits, 0).unwrap();
        assert!(!other.same_hardware && other.table().contains("DIFFERENT"));
    }
}
