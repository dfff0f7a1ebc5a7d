//! `bench_stats`: what it measures, what it compares, how it ends.

use serde_json::Value;

use super::cc;
#[cfg(unix)]
use super::examples::interrupted;
use super::examples::{output_of, programs, run};

#[test]
fn bench_stats_counts_what_it_measures() {
    let Some(text) = output_of("bench_stats", &["-p", "16", "-n", "8", "-r", "3", "-d", "5", "--json", "-t", "2"]) else { return };
    let json: Value = serde_json::from_str(&text).unwrap();
    for (name, n) in [("prefill_tok_s", 3), ("decode_tok_s", 3), ("ttft_ms", 3), ("itl_ms", 21)] {
        let series = &json[name];
        let figure = |key: &str| series[key].as_f64().unwrap_or_else(|| panic!("{name}.{key}: {series}"));
        assert_eq!(series["n"], n, "{name}");
        assert!(0.0 < figure("min") && figure("min") <= figure("median") && figure("median") <= figure("max"), "{series}");
        assert_eq!(figure("p50"), figure("median"));
        assert_eq!(series["resolved"]["p99"], false);
    }
    assert_eq!((json["threads"].as_u64(), json["version"].as_str()), (Some(2), Some(env!("CARGO_PKG_VERSION"))));
    assert!(json["model"].as_str().unwrap().contains("emberfield"));
    let prompt_only: Value =
        serde_json::from_str(&output_of("bench_stats", &["-p", "4", "-n", "0", "-r", "1", "--json"]).unwrap()).unwrap();
    assert_eq!((prompt_only["decode_tok_s"]["n"].as_u64(), &prompt_only["decode_tok_s"]["median"]), (Some(0), &Value::Null));
    assert!(output_of("bench_stats", &["-p", "0", "-n", "3", "-r", "2"]).unwrap().contains("decode tok/s"));
}

#[test]
fn bench_stats_measures_a_batch() {
    let Some(text) = output_of("bench_stats", &["--sequences", "3", "-n", "5", "-r", "2", "-d", "4", "--json"]) else { return };
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["sequences"].as_u64(), json["batch_decode_tok_s"]["n"].as_u64()), (Some(3), Some(2)));
    assert!(json["batch_decode_tok_s"]["median"].as_f64().unwrap() > 0.0);
}

#[test]
fn bench_stats_runs_the_librarys_benchmarks() {
    let small = ["--set", "requests=4", "--set", "slots=2", "--set", "max_length=20", "--set", "threshold=0.000001"];
    let wide = ["--set", "throughput_loss_pct=100", "--set", "saturated_p99_increase_pct=1e9", "--set", "starvation_factor=1e9"];
    for (option, kind) in [("--saturation", "saturation"), ("--kv-falsify", "kv_cache"), ("--prefill", "prefill")] {
        let Some(text) = output_of("bench_stats", &[&[option, "--json", "-t", "2"], &small[..], &wide[..]].concat()) else { return };
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["schema"], format!("loquat.bench.{kind}"));
        assert_eq!((&json["verdict"], json["hardware"]["threads"].as_u64()), (&Value::from("passed"), Some(2)), "{option}");
    }
    // A gate that can't be kept ends with 3, and its result is there all the same.
    let impossible = [&["--saturation"], &small[..], &["--set", "throughput_loss_pct=-1e9"]].concat();
    let failed = run("bench_stats", &impossible).unwrap();
    assert_eq!(failed.status.code(), Some(3));
    assert!(String::from_utf8(failed.stdout).unwrap().ends_with("verdict: failed\n"));
}

#[test]
fn bench_stats_compares_stored_results() {
    if programs().is_none() {
        return;
    }
    let folder = cc::scratch("bench-results");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let quick = ["--workload", "short_qa", "--stop", "reproducible", "--set", "warmup_ms=0"];
    let stored = path("base.json");
    let table = output_of("bench_stats", &[&quick[..], &["-o", &stored]].concat()).unwrap();
    assert!(table.contains("generation tok/s") && table.contains("load, tokenizer"), "{table}");
    let mut result: Value = serde_json::from_slice(&std::fs::read(&stored).unwrap()).unwrap();
    assert_eq!(result["schema"], "loquat.bench.requests");
    // The same result against itself passes; against one that was a hundred times as fast it fails.
    let same = output_of("bench_stats", &["--compare", &stored, &stored]).unwrap();
    assert!(same.ends_with("verdict: passed\n"), "{same}");
    for ms in result["ttft_ms"].as_array_mut().unwrap() {
        *ms = (ms.as_f64().unwrap() / 100.0).into();
    }
    let faster = path("faster.json");
    std::fs::write(&faster, result.to_string()).unwrap();
    assert_eq!(run("bench_stats", &["--compare", &faster, &stored]).unwrap().status.code(), Some(3));
    let checked = run("bench_stats", &[&quick[..], &["--check", &faster]].concat()).unwrap();
    assert_eq!(checked.status.code(), Some(3), "{checked:?}");
    assert!(!folder.join("base.json.part").exists());
}

#[test]
#[cfg(unix)]
fn control_c_ends_a_benchmark_and_leaves_no_file() {
    if programs().is_none() {
        return;
    }
    let file = cc::scratch("bench-interrupted").join("result.json");
    let _ = std::fs::remove_file(&file);
    let output = interrupted("bench_stats", &["--convoy", "--set", "repeats=1000", "-o", file.to_str().unwrap()]).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0));
    assert!(!file.exists() && !file.with_extension("json.part").exists());
    let folder = file.with_file_name("page");
    let output = interrupted("bench_stats", &["--report", folder.to_str().unwrap()]).unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), folder.exists()), (Some(130), 0, false));
}

#[test]
fn bench_stats_writes_a_report_that_loads_nothing() {
    if programs().is_none() {
        return;
    }
    let folder = cc::scratch("bench-report").join("page");
    let _ = std::fs::remove_dir_all(&folder);
    let small = [
        "output_tokens=8",
        "prompt_tokens=8",
        "min_samples=8",
        "max_samples=8",
        "warmup_ms=0",
        "max_length=24",
        "slots=4",
        "requests=4",
        "long_requests=1",
        "kv_fragmentation_pct=100",
    ];
    let settings: Vec<&str> = small.iter().flat_map(|setting| ["--set", setting]).collect();
    let said = output_of("bench_stats", &[&["--report", folder.to_str().unwrap()], &settings[..]].concat()).unwrap();
    assert!(said.trim_end().ends_with("report.html"), "{said}");
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(
        page.matches("<svg").count() == 10 && !page.contains("http") && !page.contains("NaN"),
        "{} plots",
        page.matches("<svg").count()
    );
    for kind in ["requests", "roofline", "prefill", "kv_cache", "convoy"] {
        let json: Value = serde_json::from_slice(&std::fs::read(folder.join(format!("{kind}.json"))).unwrap()).unwrap();
        assert_eq!(json["schema"], format!("loquat.bench.{kind}"));
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 6);
}

#[test]
fn bench_stats_compares_with_a_reference_and_starts_itself() {
    let heldout =
        ["-m", "models/emberfield-3m-q4_k_m.gguf", "--quality", "models/emberfield-3m-q8_0.gguf", "-f", "models/heldout.txt", "--json"];
    let Some(text) = output_of("bench_stats", &[&heldout[..], &["--set", "context=64"]].concat()) else { return };
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["schema"], &json["verdict"]), (&Value::from("loquat.bench.quality"), &Value::from("passed")));
    let failed = run("bench_stats", &[&heldout[..], &["--set", "context=64", "--set", "mean_kl=1e-9"]].concat()).unwrap();
    assert_eq!(failed.status.code(), Some(3));
    assert!(output_of("bench_stats", &["--first-token"]).unwrap().trim_end().parse::<u32>().is_ok());
    if cfg!(unix) {
        let text = output_of("bench_stats", &["--cold-start", "--json", "-t", "1"]).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["first_token_ms"].as_array().unwrap().len(), 10);
        assert_eq!(json["config"]["command"].as_array().unwrap().len(), 6);
    }
}
