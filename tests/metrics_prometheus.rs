//! The Prometheus text, read back by a strict parser of the exposition format: what a scraper would refuse fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use loquat::metrics::{Device, Outcome, RuntimeFacts, RuntimeMetrics, StepRecord, TokenTiming, prometheus};
use loquat::{base::MemoryBudget, base::MemoryCategory, metrics::MemorySnapshot};

/// Name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

struct Family {
    kind: String,
    samples: Vec<Sample>,
}

fn valid_name(name: &str, colon: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// `name{a="b",…} value`
fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a name ends with a brace or a space");
    let (name, mut rest) = line.split_at(end);
    assert!(valid_name(name, true), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("label=\"");
            assert!(valid_name(label, false), "{line}");
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let stop = loop {
                match chars.next().expect("a closing quote") {
                    (i, '"') => break i,
                    (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        c => panic!("escape \\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_string(), value).is_none(), "label twice: {line}");
            rest = &after[stop + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("a closing brace");
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    (name.to_string(), labels, value.parse().expect("a number and nothing after it"))
}

/// All families of a page, after the checks that hold for any page.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n') && !text.contains("\n\n"));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut current, mut helped, mut series) = (String::new(), BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(helped.insert(name.to_string()), "HELP twice: {name}");
            assert!(words.ends_with('.'), "{line}");
            current = name.to_string();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows its HELP");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "counters and only they end in _total: {name}");
            families.insert(current.clone(), Family { kind: kind.to_string(), samples: Vec::new() });
        } else {
            let sample = parse_sample(line);
            let family = families.get_mut(&current).expect("TYPE before the first sample");
            let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| sample.0 == format!("{current}{suffix}")), "{} in {current}", sample.0);
            assert!(series.insert((sample.0.clone(), sample.1.clone())), "series twice: {line}");
            assert!(family.kind == "gauge" || sample.2 >= 0.0);
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        assert!(!family.samples.is_empty(), "{name} has no sample");
        let scaled = |part| matches!(part, "ns" | "us" | "ms" | "kb" | "mb" | "pct");
        assert!(!name.split('_').any(scaled), "{name}: base units only");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

fn check_histogram(name: &str, family: &Family) {
    let mut by_labels: BTreeMap<BTreeMap<String, String>, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.1.clone();
        labels.remove("le");
        by_labels.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in by_labels {
        let value = |suffix: &str| samples.iter().find(|s| s.0 == format!("{name}{suffix}")).map(|s| s.2);
        let (mut last_bound, mut last_count) = (f64::NEG_INFINITY, 0.0);
        for (_, labels, count) in samples.iter().filter(|s| s.0.ends_with("_bucket")) {
            let bound: f64 = labels["le"].parse().unwrap();
            assert!(bound > last_bound && *count >= last_count, "{name} {labels:?}: bounds and counts ascend");
            (last_bound, last_count) = (bound, *count);
        }
        assert_eq!(last_bound, f64::INFINITY, "{name} {labels:?} ends with +Inf");
        assert_eq!(Some(last_count), value("_count"));
        assert!(value("_sum").is_some());
    }
}

fn value(families: &BTreeMap<String, Family>, family: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted = |s: &&Sample| s.0 == name && labels.iter().all(|(k, v)| s.1.get(*k).map(String::as_str) == Some(v));
    families.get(family)?.samples.iter().find(wanted).map(|s| s.2)
}

#[test]
fn a_used_runtime() {
    let metrics = RuntimeMetrics::new();
    let budget = MemoryBudget::new(1 << 30);
    let _kv = budget.reserve(MemoryCategory::KvCache, 4_096).unwrap();
    let mut session = metrics.session(4_096, 512);
    let first = TokenTiming::First { since_request_ns: 250_000_000 };
    session.step(&StepRecord { prompt_tokens: 7, prefill_ns: 200_000_000, token: Some(first), ..Default::default() });
    for ns in [1_000, 1_001, 2_000, 4_000_000, 900_000_000_000] {
        let token = Some(TokenTiming::Next { since_previous_ns: ns });
        session.step(&StepRecord { decode_ns: 1_000_000, token, overshoot_ns: Some(10), ..Default::default() });
    }
    session.step(&StepRecord { outcome: Outcome::Pending, ..Default::default() });
    session.dispatch(3_000_000);
    let mut gpu = metrics.dispatch().recorder(Device::Gpu);
    gpu.record(1_000_000);
    let facts = RuntimeFacts { threads: 2, isa: "generic", memory: MemorySnapshot::of(&budget) };
    let nasty = "C:\\models\n\"tiny\" 茶";
    let labels = [("model", nasty), ("le", "taken"), ("9x", "refused"), ("model", "twice")];
    let text = prometheus::runtime(&metrics.snapshot(facts), &labels);
    let page = parse(&text);
    let get = |family: &str, labels: &[(&str, &str)]| value(&page, family, family, labels);
    assert_eq!(get("loquat_generated_tokens_total", &[("model", nasty)]), Some(6.0));
    assert_eq!(get("loquat_prefill_seconds_total", &[]), Some(0.2));
    assert_eq!(get("loquat_pending_steps_total", &[]), Some(1.0));
    assert_eq!(get("loquat_memory_bytes", &[("category", "kv_cache")]), Some(4_096.0));
    assert_eq!(get("loquat_memory_limit_bytes", &[]), Some(1073741824.0));
    assert_eq!(get("loquat_dispatch_gpu_speedup_ratio", &[]), Some(3.0));
    let itl = "loquat_inter_token_latency_seconds";
    let bucket = |le: &str| value(&page, itl, &format!("{itl}_bucket"), &[("le", le)]);
    assert_eq!(bucket("0.000001"), Some(1.0), "a value equal to a bound counts there");
    assert_eq!(bucket("0.000002"), Some(3.0));
    assert_eq!(bucket("0.004096"), Some(4.0));
    assert_eq!(bucket("600"), Some(4.0));
    assert_eq!(bucket("+Inf"), Some(5.0));
    let sample = &page[itl].samples[0];
    assert_eq!(sample.1.keys().map(String::as_str).collect::<Vec<_>>(), ["le", "model"]);
}

#[test]
fn an_unused_runtime_and_a_session_beside_it() {
    let metrics = RuntimeMetrics::new();
    let session = metrics.session(0, 0);
    let runtime = prometheus::runtime(&metrics.snapshot(RuntimeFacts::default()), &[]);
    let page = parse(&format!("{runtime}{}", prometheus::session(&session.metrics().snapshot(), &[("session", "1")])));
    assert!(!page.contains_key("loquat_dispatch_latency_min_seconds"), "what could not be measured has no sample");
    assert!(!page.contains_key("loquat_memory_limit_bytes"));
    assert_eq!(page["loquat_session_steps_total"].samples[0].1["session"], "1");
    parse(&prometheus::dispatch(&metrics.dispatch().snapshot(), &[]));
}

/// Prometheus's own checker reads a page without a complaint.
#[test]
fn promtool_accepts_a_page() {
    let metrics = RuntimeMetrics::new();
    let mut session = metrics.session(4_096, 512);
    session.dispatch(1_500_000);
    session.dispatch(2_500_000);
    let facts = RuntimeFacts { threads: 2, isa: "generic", memory: MemorySnapshot::of(&MemoryBudget::new(1 << 30)) };
    let page = prometheus::runtime(&metrics.snapshot(facts), &[("model", "demo \"x\"")])
        + &prometheus::session(&session.metrics().snapshot(), &[("session", "1")]);
    let check = |page: &str| {
        let mut promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
        promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let Some(verdict) = check(&page) else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    assert_eq!(verdict, (true, String::new()), "{page}");
    assert!(!check("# TYPE loquat_x counter\nloquat_x one\n").unwrap().0, "promtool refuses what is no number");
}
