//! The measurement suite on the demo model: small runs of every measurement, whose figures must be those of the runs.

use std::time::{Duration, Instant};

use loquat::base::{ErrorKind, Job, JobState};
use loquat::bench::{
    Claim, Comparison, ConvoyLimits, ConvoyOptions, Finding, Fusion, Kind, KvCacheOptions, PageCache, Plan, PrefillOptions, QualityLimits,
    QualityOptions, RegressionLimits, RequestsOptions, RooflineOptions, SaturationLimits, SaturationOptions, Settings, StopReason,
    StopRule, Verdict, Way, Workload, convoy, json, kv_cache, prefill, quality, report, requests, roofline, saturation, text,
};
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use serde_json::Value;

fn model() -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    Model::load(&runtime, &test_support::demo("emberfield-3m-q8_0.gguf"), LoadOptions::default()).unwrap()
}

/// A finding's document, which must parse, and its text, which must be there.
fn document(finding: &dyn Finding) -> Value {
    let document: Value = serde_json::from_str(&json(finding)).unwrap();
    assert_eq!(document["schema"], format!("loquat.bench.{}", finding.kind().name()));
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["hardware"]["threads"], 2);
    assert_eq!(document["model"]["quantization"], "Q8_0");
    assert_eq!(document["time"].as_str().unwrap().len(), 20);
    assert!(document["hardware"]["isa"].is_string() && document["model"]["fingerprint"].as_str().unwrap().len() == 32);
    assert!(text(finding).contains("loquat ") && text(finding).ends_with('\n'));
    document
}

fn quick() -> RequestsOptions {
    RequestsOptions {
        workload: Workload::custom(20, 10).unwrap(),
        stop: StopRule { min_samples: 10, max_samples: 20, warmup_samples: 2, warmup_ms: 0.0, ..StopRule::default() },
        model_path: Some(test_support::demo("emberfield-3m-q8_0.gguf")),
        ..Default::default()
    }
}

#[test]
fn requests_are_counted_token_by_token() {
    let model = model();
    let before = model.runtime().snapshot().sessions;
    let result = requests::measure(&model, quick()).unwrap().finish().unwrap();
    let n = result.iterations();
    assert!((10..=20).contains(&n) && result.config.warmup_samples == 2);
    assert_eq!((result.ttft_ms.len(), result.generation_tok_s.len(), result.prefill_tok_s.len()), (n, n, n));
    assert!(result.itl_ms.len() == n && result.itl_ms.iter().all(|gaps| gaps.len() == 9 && gaps.iter().all(|&gap| gap > 0.0)));
    assert_eq!(result.tokens_generated, 10 * n as u64);
    // What the runtime counts of itself is the same work: the warm-up and the counted requests.
    let after = model.runtime().snapshot().sessions;
    assert_eq!(after.generated_tokens - before.generated_tokens, 10 * (n as u64 + 2));
    // Of 32 positions that are reserved for 30 tokens, the cache holds 20 to 29 while tokens come out.
    assert!((result.kv.mean_waste_pct().unwrap() - 100.0 * (32.0 - 24.5) / 32.0).abs() < 1e-9, "{:?}", result.kv.mean_waste_pct());
    assert!(result.kv.points.iter().all(|point| point.external_bytes == Some(0)), "no other session has a cache");
    let load = result.load.as_ref().unwrap();
    assert_eq!(load.stages.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["file", "metadata", "tokenizer", "weights"]);
    assert!(load.load_ms > 0.0 && load.first_pass_ms > 0.0 && load.session_ms > 0.0);

    let document = document(&result);
    assert_eq!(document["summary"]["ttft_ms"]["n"], n);
    assert_eq!(document["summary"]["ttft_ms"]["p99"]["resolved"], false);
    assert_eq!(document["actual_iterations"], n);
    for absent in ["cold_start_ms", "verdict"] {
        assert_eq!(document.get(absent), Some(&Value::Null), "{absent}");
    }
    // What is absent says why; what is there is a number.
    let sensors = &document["sensors"];
    assert_eq!(document["peak_memory_mb"].is_number(), cfg!(target_os = "linux"));
    assert_eq!(document["energy_joules"].is_number(), sensors["energy"]["absent"].is_null());
    assert_eq!(document["summary"]["token_joules"].is_number(), sensors["energy"]["absent"].is_null());
    for sensor in ["energy", "thermal", "memory"] {
        let absent = &sensors[sensor]["absent"];
        assert!(absent.as_str().is_none_or(|reason| reason.len() > 20) && sensors[sensor].is_object(), "{sensors}");
    }
    if cfg!(target_os = "linux") {
        assert!(document["peak_memory_mb"].as_f64().unwrap() > 1.0 && sensors["model_file_in_memory_share"].as_f64().unwrap() > 0.9);
    }
    assert!(document["summary"]["throughput_tok_s"]["median_ci_95"]["low"].as_f64().unwrap() > 0.0);

    // A run is no regression of itself, and one that is made a hundred times as slow is (less might be noise beside other tests).
    let stored = json(&result);
    let same = Comparison::of(&stored, &stored, RegressionLimits::default(), 0).unwrap();
    assert_eq!((same.verdict(), same.changes.len()), (Some(Verdict::Passed), 4));
    let mut slower = result.clone();
    slower.ttft_ms.iter_mut().for_each(|ms| *ms *= 100.0);
    let regression = Comparison::of(&stored, &json(&slower), RegressionLimits::default(), 0).unwrap();
    assert_eq!(regression.verdict(), Some(Verdict::Failed));
    let other = requests::measure(&model, RequestsOptions { settings: seeded(1), ..quick() }).unwrap().finish().unwrap();
    assert!(Comparison::of(&stored, &json(&other), RegressionLimits::default(), 0).is_err(), "other prompts, other tokens");
}

fn seeded(seed: u64) -> Settings {
    let mut settings = Settings::default();
    settings.sampler.seed = seed;
    settings
}

#[test]
fn settings_out_of_range_are_refused_before_anything_runs() {
    let model = model();
    let refused = |plan: Plan, kind: Kind, named: &str| {
        let error = plan.start(kind, &model).err().unwrap_or_else(|| panic!("{named} was accepted"));
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains(named), "{error}");
    };
    let sampler = |temperature, top_k| Plan {
        settings: Settings { sampler: SamplerConfig { temperature, top_k, ..SamplerConfig::greedy() }, ..Settings::default() },
        ..Plan::default()
    };
    refused(sampler(0.5, 1), Kind::Requests, "temperature");
    refused(sampler(0.0, 40), Kind::Convoy, "top_k");
    refused(Plan { stop: StopRule { max_samples: 1, ..StopRule::default() }, ..Plan::default() }, Kind::Requests, "stop rule");
    refused(Plan { repeats: Some(2), ..Plan::default() }, Kind::Convoy, "3 repeats");
    refused(Plan { repeats: Some(9), ..Plan::default() }, Kind::KvCache, "at least 10");
    refused(Plan { threshold: Some(f64::NAN), ..Plan::default() }, Kind::Prefill, "threshold");
    refused(Plan { settings: Settings { batch: 0, ..Settings::default() }, ..Plan::default() }, Kind::Prefill, "batch");
    let no_limits = ConvoyLimits { kv_fragmentation_pct: f64::NAN, ..ConvoyLimits::default() };
    refused(Plan { convoy_limits: no_limits, ..Plan::default() }, Kind::Convoy, "each a number");
    let no_limits = SaturationLimits { starvation_factor: f64::NAN, ..SaturationLimits::default() };
    refused(Plan { saturation_limits: no_limits, ..Plan::default() }, Kind::Saturation, "each a number");
    refused(Plan { load_pct: Some(0.0), ..Plan::default() }, Kind::Saturation, "load");
    refused(Plan { requests: Some(0), ..Plan::default() }, Kind::Saturation, "a request");
    refused(Plan::default(), Kind::Comparison, "stored results");
    refused(Plan { slots: Some(513), ..Plan::default() }, Kind::Roofline, "512");
    refused(Plan::default(), Kind::Quality, "give both");
    let both = |limits| Plan { reference: Some(model.clone()), text: Some(vec![b'a'; 9]), quality_limits: limits, ..Plan::default() };
    refused(both(QualityLimits { mean_kl: Some(f64::NAN), p99_kl: None }), Kind::Quality, "each a number");
    let narrow = Settings { context: 3, ..Settings::default() };
    refused(Plan { settings: narrow, ..both(QualityLimits::default()) }, Kind::Quality, "windows of 3");
    if cfg!(unix) {
        refused(Plan::default(), Kind::ColdStart, "command");
        refused(Plan { command: vec!["true".into()], repeats: Some(9), ..Plan::default() }, Kind::ColdStart, "at least 10");
        let evicted = Plan { command: vec!["true".into()], page_cache: PageCache::Evicted, ..Plan::default() };
        refused(evicted, Kind::ColdStart, "path");
    }
    refused(Plan { max_length: 7, ..Plan::default() }, Kind::KvCache, "at least 8");
}

fn small_convoy(limits: ConvoyLimits) -> ConvoyOptions {
    ConvoyOptions {
        long: Workload::custom(200, 20).unwrap(),
        long_requests: 2,
        short: Workload { name: "short", prompt_tokens: 10, output_tokens: 6 },
        short_requests: 10,
        slots: 4,
        limits,
        ..ConvoyOptions::default()
    }
}

#[test]
fn a_convoy_serves_everybody_and_its_gate_opens_and_shuts() {
    let model = model();
    let wide = ConvoyLimits { p99_increase_pct: 1e9, head_of_line_blocking_ms: 1e9, kv_fragmentation_pct: 100.0 };
    let result = convoy::measure(&model, small_convoy(wide)).unwrap().finish().unwrap();
    assert_eq!((result.verdict(), &result.figures.failure_reasons), (Some(Verdict::Passed), &vec![]));
    assert_eq!(result.repeats.len(), 3);
    for run in &result.repeats {
        assert_eq!((run.baseline.requests.len(), run.convoy.requests.len()), (10, 12));
        for request in run.baseline.requests.iter().chain(&run.convoy.requests) {
            let tokens = if request.workload_type == "short" { 6 } else { 20 };
            assert_eq!((request.tokens(), &request.error), (tokens, &None));
            let (queued, first, all) = (request.queue_time_ms.unwrap(), request.ttft_ms.unwrap(), request.total_latency_ms.unwrap());
            assert!(queued < first && first < all, "{queued} < {first} < {all}");
            assert!((first + request.itl_ms.iter().sum::<f64>() - all).abs() < 1e-6);
        }
        // The first four have a slot at once; the last one has to wait for one.
        assert!(run.baseline.requests[9].queue_time_ms > run.baseline.requests[0].ttft_ms);
    }
    assert!(result.p99_ratio_ci.is_some() && result.long_fared.ttft_p50_ms.is_some());
    assert_eq!(document(&result)["repeats"][0]["convoy"]["requests"].as_array().unwrap().len(), 12);

    let shut = ConvoyLimits { head_of_line_blocking_ms: 0.0, ..wide };
    let failed = convoy::measure(&model, small_convoy(shut)).unwrap().finish().unwrap();
    assert_eq!(failed.verdict(), Some(Verdict::Failed), "long requests hold short ones up by some time: {:?}", failed.figures);
    assert!(text(&failed).contains("head-of-line blocking"));
}

#[test]
fn a_saturated_run_is_compared_with_an_undisturbed_one() {
    let model = model();
    let options =
        |limits| SaturationOptions { requests: 8, slots: 4, workload: Workload::custom(8, 8).unwrap(), limits, ..Default::default() };
    let wide = SaturationLimits { throughput_loss_pct: 100.0, p99_increase_pct: 1e9, starvation_factor: 1e9 };
    let result = saturation::measure(&model, options(wide)).unwrap().finish().unwrap();
    assert_eq!((result.verdict(), &result.figures.failure_reasons), (Some(Verdict::Passed), &vec![]));
    assert!(result.burning_threads >= 1 && result.figures.alone_tok_s.unwrap() > 0.0);
    let shut = SaturationLimits { throughput_loss_pct: -1e9, ..wide };
    let failed = saturation::measure(&model, options(shut)).unwrap().finish().unwrap();
    assert_eq!(failed.verdict(), Some(Verdict::Failed));
    assert_eq!(document(&failed)["starved"], 0);
}

#[test]
fn the_cache_is_judged_after_the_logits_agree() {
    let model = model();
    let options = |threshold| KvCacheOptions { max_length: 40, threshold, ..KvCacheOptions::default() };
    let result = kv_cache::measure(&model, options(1e-6)).unwrap().finish().unwrap();
    assert_eq!(result.claim, Claim::Verified, "any ratio is above nothing");
    assert_eq!(result.rows.iter().map(|row| row.length).collect::<Vec<_>>(), [8, 16, 32, 40]);
    let shape = model.config().unwrap().kv_shape();
    for row in &result.rows {
        assert!(row.logits_equal && [&row.cached_ms, &row.batched_ms, &row.serial_ms].iter().all(|times| times.len() == 10));
        let position = shape.layers * shape.heads * (shape.key_dim + shape.value_dim) * 2;
        assert_eq!(row.kv_bytes, (position * (row.length as usize + 1)) as u64);
        assert!(row.serial_ratio.median.unwrap() > 1.0, "40 steps take longer than one");
    }
    assert!(!result.map.is_empty());
    assert!(result.map.iter().all(|row| row.map_ns.len() == 10 && row.map_ns.iter().chain(&row.block_ns).all(|&ns| ns > 0.0)));
    assert_eq!(result.map.iter().filter(|row| row.operation == "set").count() * 2, result.map.len());
    assert_eq!(document(&result)["claim"], "VERIFIED");
    let falsified = kv_cache::measure(&model, options(1e9)).unwrap().finish().unwrap();
    assert_eq!((falsified.claim, falsified.verdict()), (Claim::Falsified, Some(Verdict::Failed)));
}

#[test]
fn prompts_at_once_and_token_by_token_leave_the_same_state() {
    let model = model();
    let options = |threshold| PrefillOptions { max_length: 100, threshold, ..PrefillOptions::default() };
    let result = prefill::measure(&model, options(1e-6)).unwrap().finish().unwrap();
    assert_eq!((result.claim, result.judged_length), (Claim::Verified, 91));
    assert_eq!(result.rows.iter().map(|row| row.length).collect::<Vec<_>>(), [16, 32, 64, 91, 100]);
    assert!(result.rows.iter().all(|row| row.equal && row.serial_ms.len() == 10 && row.batched_ms.len() == 10));
    assert_eq!(document(&result)["lengths"][0]["logits_and_kv_equal"], true);
    let falsified = prefill::measure(&model, options(1e9)).unwrap().finish().unwrap();
    assert_eq!(falsified.verdict(), Some(Verdict::Failed));
}

#[test]
fn points_lie_under_roofs_that_were_measured() {
    let model = model();
    let options = RooflineOptions { most_sequences: 4, repeats: 2, settings: Settings::default() };
    let result = roofline::measure(&model, options).unwrap().finish().unwrap();
    assert_eq!(result.roof.threads.iter().map(|roof| roof.threads).collect::<Vec<_>>(), [1, 2]);
    for roof in &result.roof.threads {
        let rates = [&roof.memory_gb_s, &roof.weights_gb_s].into_iter().chain(&roof.gop_s);
        assert!(rates.clone().all(|rate| rate.samples.len() == 5 && rate.samples.iter().all(|&sample| sample > 0.0)), "{roof:?}");
    }
    // The table of embeddings is the output matrix too, so that a token reads all tensors.
    let bytes: usize = model.tensors().iter().map(|tensor| tensor.data.len()).sum();
    assert_eq!(result.demand.token_bytes(), bytes as f64);
    let decode: Vec<u32> = result.points.iter().filter(|point| point.way == Way::Decode).map(|point| point.tokens).collect();
    assert_eq!(decode, [1, 2, 4]);
    let intensities: Vec<f64> = result.points.iter().map(|point| point.work.intensity()).collect();
    assert!(intensities[0] > 1.5 && intensities[..3].is_sorted(), "{intensities:?}");
    assert!(result.points.iter().all(|point| point.pass_ms.len() == 2 && point.share() > 0.0), "{:?}", result.points);
    let Fusion::Measured { layers, rows } = &result.fusion else { panic!("the demo model has gates") };
    assert!(*layers == 4 && rows.iter().all(|row| row.equal && row.fused_ms.len() == 10 && row.dispatches == [4, 12]), "{rows:?}");
    let document = document(&result);
    assert_eq!((document["curve"].as_array().unwrap().len(), &document["verdict"]), (10, &Value::Null));

    let page = report::html(&[&result]);
    assert!(page.matches("<svg").count() == 3 && page.contains("Roofline") && !page.contains("http"), "{page}");
}

#[test]
fn quality_agrees_with_the_figures_of_the_demo_model() {
    let reference = model();
    let runtime = reference.runtime().clone();
    let load = |file: &str| Model::load(&runtime, &test_support::demo(file), LoadOptions::default()).unwrap();
    let goldens: Value = serde_json::from_slice(&std::fs::read(test_support::demo("goldens.json")).unwrap()).unwrap();
    let whole = std::fs::read(test_support::demo("heldout.txt")).unwrap();
    let options = |reference: &Model, text: &[u8], mean_kl: Option<f64>| QualityOptions {
        reference: reference.clone(),
        text: text.to_vec(),
        limits: QualityLimits { mean_kl, p99_kl: None },
        settings: Settings::default(),
    };
    // An emulator would take long for all of the text.
    let text = if test_support::emulated() { &whole[..whole.len() / 8] } else { &whole[..] };
    let small = load("emberfield-3m-q4_k_m.gguf");
    let result = quality::measure(&small, options(&reference, text, None)).unwrap().finish().unwrap();
    assert_eq!((result.limits, result.verdict()), (Some((0.05, 0.5)), Some(Verdict::Passed)), "{:?}", result.failure_reasons);
    assert_eq!(result.kl.len(), 255 * result.windows);
    if !test_support::emulated() {
        let figures = &goldens["perplexity"];
        for (got, expected) in [
            (result.perplexity.reference, &figures["llama_cpp"]["q8_0"]["ppl"]),
            (result.perplexity.subject, &figures["llama_cpp"]["q4_k_m"]["ppl"]),
        ] {
            let expected = expected.as_f64().unwrap();
            assert!((got / expected - 1.0).abs() < 0.005, "{got} for {expected}");
        }
        assert_eq!(result.kl.len() as u64, figures["heldout.txt"]["scored"].as_u64().unwrap());
    }
    assert!(result.kl_mean > 1e-5 && result.top_1 > 0.9 && result.top_1 < 1.0 && result.top_5 <= 1.0, "{result:?}");
    assert!(result.perplexity.ratio_ci.is_some_and(|ci| ci.low < ci.high) && result.greedy_agreement.len() == 8);
    let part = &whole[..whole.len() / 10];
    let shut = quality::measure(&small, options(&reference, part, Some(1e-9))).unwrap().finish().unwrap();
    assert_eq!(shut.verdict(), Some(Verdict::Failed));
    let same = quality::measure(&reference, options(&reference, part, None)).unwrap().finish().unwrap();
    assert!(same.kl.iter().all(|&kl| kl == 0.0) && same.top_1 == 1.0 && same.greedy_agreement.iter().all(|&tokens| tokens == 64));
    let short = quality::measure(&reference, options(&reference, &whole[..2_000], None)).unwrap().finish().unwrap_err();
    assert!(short.message().contains("at least 512"), "{short}");
}

#[test]
#[cfg(unix)]
fn cold_starts_are_those_of_the_program() {
    use loquat::bench::{ColdStartOptions, cold_start};
    let model = model();
    let options = |command: &[&str]| ColdStartOptions {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        model_path: Some(test_support::demo("emberfield-3m-q8_0.gguf")),
        ..Default::default()
    };
    let result = cold_start::measure(&model, options(&["sh", "-c", "sleep 0.03; echo x; sleep 0.01"])).unwrap().finish().unwrap();
    assert!(result.starts.len() == 10 && result.starts.iter().all(|begun| begun.first_token_ms >= 30.0), "{:?}", result.starts);
    assert_eq!(result.page_cache_held(), cfg!(target_os = "linux").then_some(true));
    assert_eq!(document(&result)["first_token_ms"].as_array().unwrap().len(), 10);
    let refused: [(&[&str], &str); 3] = [
        (&["sh", "-c", "exit 0"], "without a word"),
        (&["sh", "-c", "echo x; exit 3"], "exit status: 3"),
        (&["/no/such/program"], "/no/such/program"),
    ];
    for (command, named) in refused {
        let error = cold_start::measure(&model, options(command)).unwrap().finish().unwrap_err();
        assert!(error.message().contains(named), "{error}");
    }
    // A process that says nothing is ended with the job.
    let mut job = cold_start::measure(&model, options(&["sleep", "60"])).unwrap();
    assert_eq!(job.poll(50_000_000).unwrap(), JobState::Running);
    job.watch().cancel();
    let asked = Instant::now();
    assert_eq!(job.poll(u64::MAX).unwrap(), JobState::Cancelled);
    assert!(asked.elapsed() < Duration::from_millis(100));
    let with =
        requests::measure(&model, RequestsOptions { cold_start: Some(options(&["echo", "x"])), ..quick() }).unwrap().finish().unwrap();
    assert!(with.cold_start_ms.is_some_and(|ms| ms > 0.0));
}

#[test]
fn every_measurement_can_be_given_up_at_once_and_leaves_nothing() {
    let model = model();
    let held = |model: &Model| model.runtime().budget().private_used();
    let before = held(&model);
    for kind in [Kind::Requests, Kind::Convoy, Kind::Saturation, Kind::KvCache, Kind::Prefill, Kind::Roofline] {
        let mut job: Job<Box<dyn Finding>> = Plan::default().start(kind, &model).unwrap();
        let watch = job.watch();
        let (mut last, begin) = (0.0, Instant::now());
        while begin.elapsed() < Duration::from_millis(150) {
            assert_eq!(job.poll(5_000_000).unwrap(), JobState::Running, "{kind:?}");
            let (progress, stage) = watch.progress();
            assert!(progress >= last && !stage.is_empty(), "{kind:?}: {progress} after {last}");
            last = progress;
        }
        watch.cancel();
        let asked = Instant::now();
        assert_eq!(job.poll(u64::MAX).unwrap(), JobState::Cancelled, "{kind:?}");
        assert!(asked.elapsed() < Duration::from_millis(100), "{kind:?}: {:?}", asked.elapsed());
        drop(job);
        assert_eq!(held(&model), before, "{kind:?}");
    }
    // A cancellation from another thread reaches a poll without an end.
    let mut job = Plan::default().start(Kind::Convoy, &model).unwrap();
    let watch = job.watch();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        watch.cancel();
        Instant::now()
    });
    assert_eq!(job.poll(u64::MAX).unwrap(), JobState::Cancelled);
    let ended = Instant::now();
    assert!(ended - canceller.join().unwrap() < Duration::from_millis(100));
}

#[test]
fn a_time_budget_ends_the_requests() {
    let mut options = quick();
    options.stop = StopRule { min_samples: 1_000, time_budget_ms: Some(50.0), ..options.stop };
    options.stop.max_samples = 1_000;
    let result = requests::measure(&model(), options).unwrap().finish().unwrap();
    assert_eq!((result.stop.reason, result.stop.converged), (StopReason::TimeBudget, false));
    assert!(result.iterations() < 1_000);
}
