//! Loading as a job: in slices, watched, given up anywhere; and the memory of models and sessions, known before they are made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use loquat::base::{ErrorKind, Job, JobState, MemoryCategory, SharedBytes};
use loquat::format::Access;
use loquat::model::{LoadOptions, Mix, Model, ModelEstimate};
use loquat::quant::TensorType;
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use loquat::session::{KvType, Session, SessionMemory, SessionOptions, Step};
use test_support::gguf_writer::{File, Tensor, Val};
use test_support::{demo, goldens};

fn runtime(threads: usize, memory_limit: Option<u64>) -> Runtime {
    Runtime::new(RuntimeOptions { threads: Threads::Count(threads), memory_limit, ..Default::default() }).unwrap()
}

fn used(runtime: &Runtime) -> Vec<u64> {
    MemoryCategory::ALL.iter().map(|&category| runtime.budget().used(category)).collect()
}

/// Polls `job` piece by piece; the model, and the number of pieces of each stage.
fn by_pieces(mut job: Job<Model>) -> (Model, BTreeMap<String, usize>) {
    let watch = job.watch();
    let (mut pieces, mut last) = (BTreeMap::new(), 0.0);
    loop {
        let (progress, stage) = watch.progress();
        assert!((last..=1.0).contains(&progress), "{progress} after {last} in {stage:?}");
        last = progress;
        *pieces.entry(stage.to_str().unwrap().to_owned()).or_insert(0) += 1;
        match job.poll(0).unwrap() {
            JobState::Running => {}
            JobState::Finished => return (job.take().unwrap(), pieces),
            other => panic!("{other:?} though nobody asked for it"),
        }
    }
}

fn greedy(model: &Model) -> Vec<u32> {
    let mut session = Session::new(model, &SessionOptions { context: 256, ignore_eog: true, ..Default::default() }).unwrap();
    session.append(&goldens()[0].ids).unwrap();
    (0..24)
        .map(|_| match session.step(u64::MAX).unwrap() {
            Step::Token { id } => id,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// A byte-level vocabulary of `count` tokens with a merge for each pair of a letter and a shorter token, and `tensors` small tensors.
fn large(count: usize, tensors: usize) -> Vec<u8> {
    let name = |mut number: usize| {
        let mut text = String::new();
        while number > 0 {
            number -= 1;
            text.insert(0, char::from(b'a' + (number % 26) as u8));
            number /= 26;
        }
        text
    };
    let tokens: Vec<String> = (1..=count).map(name).collect();
    let merges = tokens.iter().filter(|token| token.len() > 1).map(|token| Val::str(&format!("{} {}", &token[..1], &token[1..]))).collect();
    let mut file = File::new()
        .key("general.architecture", Val::str("llama"))
        .key("tokenizer.ggml.model", Val::str("gpt2"))
        .key("tokenizer.ggml.pre", Val::str("gpt-2"))
        .key("tokenizer.ggml.tokens", Val::Array(8, tokens.iter().map(|token| Val::str(token)).collect()))
        .key("tokenizer.ggml.token_type", Val::Array(5, vec![Val::I32(1); count]))
        .key("tokenizer.ggml.merges", Val::Array(8, merges));
    for number in 0..tensors {
        file = file.tensor(Tensor::new(&format!("t{number}"), &[8], TensorType::F32, vec![0; 32]));
    }
    file.write()
}

#[test]
fn a_model_loaded_in_slices_is_the_model_loaded_at_once() {
    let runtime = runtime(2, None);
    for file in ["emberfield-3m-q8_0.gguf", "emberfield-3m-f32.gguf"] {
        for access in [Access::Map, Access::Read] {
            let options = LoadOptions { access, ..Default::default() };
            let whole = Model::load(&runtime, &demo(file), options).unwrap();
            let memory = used(&runtime);
            let wanted = greedy(&whole);
            drop(whole);
            let (model, pieces) = by_pieces(Model::load_job(&runtime, &demo(file), options));
            let stages: Vec<&str> = pieces.keys().map(String::as_str).collect();
            assert_eq!(stages, ["file", "metadata", "tokenizer", "weights"]);
            assert!(pieces["tokenizer"] > 50 && pieces["weights"] >= 4, "{pieces:?}");
            assert_eq!(pieces["file"] > 5, access == Access::Read, "{pieces:?}");
            assert_eq!((used(&runtime), greedy(&model)), (memory, wanted));
        }
    }
    let bytes = SharedBytes::copied(&std::fs::read(demo("emberfield-3m-q8_0.gguf")).unwrap());
    let (model, _) = by_pieces(Model::from_bytes_job(&runtime, bytes, "memory", LoadOptions::default()));
    assert_eq!(greedy(&model).len(), 24);
}

#[test]
fn large_vocabularies_and_many_tensors_are_cut_into_small_pieces() {
    let runtime = runtime(1, None);
    let options = LoadOptions { vocab_only: true, ..Default::default() };
    let bytes = SharedBytes::copied(&large(130_000, 20_000));
    let (model, pieces) = by_pieces(Model::from_bytes_job(&runtime, bytes.clone(), "large", options));
    assert_eq!(model.tokenizer().unwrap().vocab_size(), 130_000);
    // At ten microseconds for each piece and less than a second for all: far more pieces than slices of a frame need.
    assert!(pieces["metadata"] > 1000 && pieces["tokenizer"] > 5000, "{pieces:?}");
    drop(model);
    // A slice that is a millisecond long is left within a multiple of it, even where the machine is busy.
    let mut job = Model::from_bytes_job(&runtime, bytes, "large", options);
    let mut slices = 0;
    while job.poll(1_000_000).unwrap() == JobState::Running {
        slices += 1;
    }
    assert!(slices > 10, "{slices} slices of a millisecond");
}

#[cfg(target_os = "linux")]
fn is_mapped(file: &str) -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(file)
}

#[test]
fn a_load_given_up_anywhere_leaves_nothing() {
    let runtime = runtime(1, None);
    let before = used(&runtime);
    // A copy under a name of its own, so that the mappings of tests beside this one don't count.
    let path = std::env::temp_dir().join(format!("loquat-given-up-{}.gguf", std::process::id()));
    std::fs::copy(demo("emberfield-3m-q4_k_m.gguf"), &path).unwrap();
    for access in [Access::Map, Access::Read] {
        let options = LoadOptions { access, ..Default::default() };
        let (model, pieces) = by_pieces(Model::load_job(&runtime, &path, options));
        drop(model);
        let total: usize = pieces.values().sum();
        for way in ["cancel", "deadline", "drop"] {
            let (mut held, mut kept) = (0, 0);
            for place in (0..total - 1).step_by(7) {
                let mut job = Model::load_job(&runtime, &path, options);
                for _ in 0..place {
                    assert_eq!(job.poll(0).unwrap(), JobState::Running, "piece {place} of {total}");
                }
                held = held.max(used(&runtime).iter().sum());
                match way {
                    "cancel" => {
                        job.watch().cancel();
                        assert_eq!(job.poll(u64::MAX).unwrap(), JobState::Cancelled);
                        assert_eq!(job.take().err().unwrap().kind(), ErrorKind::InvalidArgument);
                        // What it has read goes back in the polls that follow, and is counted until then.
                        let mut left = job.held_bytes();
                        assert_eq!(used(&runtime).iter().sum::<u64>(), left);
                        kept = kept.max(left);
                        while left > 0 {
                            assert_eq!(job.poll(0).unwrap(), JobState::Cancelled);
                            assert!(job.held_bytes() < left);
                            left = job.held_bytes();
                            assert_eq!(used(&runtime).iter().sum::<u64>(), left);
                        }
                    }
                    "deadline" => {
                        job.watch().set_deadline(0);
                        assert_eq!(job.poll(u64::MAX).unwrap(), JobState::Expired);
                        drop(job);
                    }
                    _ => drop(job),
                }
                assert_eq!(used(&runtime), before, "{way} at piece {place} of {total}");
                #[cfg(target_os = "linux")]
                assert!(!is_mapped(path.file_name().unwrap().to_str().unwrap()), "{way} at piece {place}");
            }
            assert!(held > std::fs::metadata(&path).unwrap().len(), "the job held the file while it ran");
            let reads = access == Access::Read && way == "cancel" && cfg!(target_os = "linux");
            assert_eq!(kept > 0, reads, "{kept} bytes after {way}");
        }
    }
    assert_eq!(runtime.snapshot().models_alive, 0);
    Model::load(&runtime, &path, LoadOptions::default()).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn another_thread_ends_a_poll_that_has_no_limit() {
    let runtime = runtime(1, None);
    let bytes = SharedBytes::copied(&large(400_000, 0));
    let mut job = Model::from_bytes_job(&runtime, bytes, "large", LoadOptions { vocab_only: true, ..Default::default() });
    let watch = job.watch();
    let state = std::thread::scope(|scope| {
        scope.spawn(|| {
            while watch.progress().0 < 0.2 {
                std::thread::yield_now();
            }
            watch.cancel();
        });
        job.poll(u64::MAX).unwrap()
    });
    assert_eq!(state, JobState::Cancelled);
    assert!(watch.progress().0 < 0.9, "given up at {:?}", watch.progress());
    assert_eq!(used(&runtime).iter().sum::<u64>(), 0);
}

#[test]
fn errors_come_out_of_polls_as_out_of_a_load() {
    let runtime = runtime(1, Some(1000));
    for path in [PathBuf::from("no-such-file"), demo("goldens.json"), demo("emberfield-3m-q8_0.gguf")] {
        let options = LoadOptions { access: Access::Read, ..Default::default() };
        let at_once = Model::load(&runtime, &path, options).err().unwrap();
        let mut job = Model::load_job(&runtime, &path, options);
        let error = loop {
            match job.poll(0) {
                Ok(state) => assert_eq!(state, JobState::Running),
                Err(error) => break error,
            }
        };
        assert_eq!(error, at_once);
        assert_eq!(job.poll(0).unwrap_err(), at_once);
        assert_eq!(used(&runtime).iter().sum::<u64>(), 0);
    }
}

/// Every model file at hand.
fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["f32", "q8_0", "q4_k_m"].iter().map(|ty| demo(&format!("emberfield-3m-{ty}.gguf"))).collect();
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/stories260k"));
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "gguf")))
        }
        Err(_) => eprintln!("skipped: {} is absent", folder.display()),
    }
    files
}

#[test]
fn estimates_are_what_is_accounted_to_the_byte() {
    let drawing = SamplerConfig { temperature: 0.7, top_k: 40, repetition_penalty: 1.2, ..Default::default() };
    let session_options = [
        SessionOptions::default(),
        SessionOptions { context: 777, batch: 33, kv_type: KvType::F32, ..Default::default() },
        SessionOptions { context: 100, batch: 64, kv_type: KvType::Q8_0, all_logits: true, sampler: drawing, ..Default::default() },
    ];
    let mut compared = 0;
    for threads in [1, 3] {
        for path in files() {
            for (access, quantize) in
                [(Access::Map, None), (Access::Read, None), (Access::Map, Some(Mix::Q4_K_M)), (Access::Read, Some(Mix::Q8_0))]
            {
                let runtime = runtime(threads, None);
                let options = LoadOptions { access, quantize, ..Default::default() };
                let estimate = ModelEstimate::of_file(&path, options);
                let model = Model::load(&runtime, &path, options);
                let (Ok(estimate), Ok(model)) = (&estimate, &model) else {
                    assert_eq!(estimate.as_ref().err(), model.as_ref().err(), "{}", path.display());
                    continue;
                };
                let wanted = vec![estimate.weights_mapped, estimate.weights_private, 0, 0, estimate.tables];
                assert_eq!(wanted, used(&runtime), "{} {access:?} {quantize:?}", path.display());
                assert_eq!(estimate.private(), runtime.budget().private_used());
                for options in &session_options {
                    let memory = SessionMemory::estimate(estimate, options, &runtime).unwrap();
                    let session = Session::new(model, options).unwrap();
                    let got: Vec<u64> = used(&runtime).iter().zip(&wanted).map(|(now, model)| now - model).collect();
                    assert_eq!(got, [0, 0, memory.kv_cache, memory.scratch, memory.other], "{}", path.display());
                    assert_eq!(memory.total(), got.iter().sum::<u64>());
                    drop(session);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= 72, "only {compared} comparisons");
    let bytes = SharedBytes::copied(&std::fs::read(demo("emberfield-3m-q8_0.gguf")).unwrap());
    let lent = ModelEstimate::of_bytes(bytes, "lent", LoadOptions::default()).unwrap();
    let file = ModelEstimate::of_file(&demo("emberfield-3m-q8_0.gguf"), LoadOptions::default()).unwrap();
    assert_eq!((lent.weights_mapped, lent.private()), (0, file.private()));
    let vocabulary = LoadOptions { vocab_only: true, ..Default::default() };
    let vocabulary = ModelEstimate::of_file(&demo("emberfield-3m-q8_0.gguf"), vocabulary).unwrap();
    assert_eq!((vocabulary.tables, vocabulary.weights_private), (file.tables, 0));
    assert_eq!(vocabulary.config().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn an_estimate_is_the_least_limit_that_will_do() {
    let path = demo("emberfield-3m-q4_k_m.gguf");
    for access in [Access::Map, Access::Read] {
        let options = LoadOptions { access, ..Default::default() };
        let estimate = ModelEstimate::of_file(&path, options).unwrap();
        let session = SessionMemory::estimate(&estimate, &SessionOptions::default(), &runtime(2, None)).unwrap();
        let least = estimate.private() + session.total();
        let fits = |limit| {
            let runtime = runtime(2, Some(limit));
            Model::load(&runtime, &path, options).and_then(|model| Session::new(&model, &SessionOptions::default())).map(drop)
        };
        fits(least).unwrap();
        assert_eq!(fits(least - 1).unwrap_err().kind(), ErrorKind::OutOfMemory);
    }
}
