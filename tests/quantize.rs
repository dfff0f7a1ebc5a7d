//! Quantising: the files that come out, whatever came in, however the work is cut, and what is left where it is given up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use loquat::base::{ErrorKind, Job, JobState, MemoryBudget, MemoryCategory, SharedBytes};
use loquat::format::{Access, Container, ModelFile};
use loquat::kernels::Isa;
use loquat::model::{LoadOptions, Mix, Model, ModelEstimate, mix};
use loquat::quant::{TensorType, decode_row, encode_row, is_decodable};
use loquat::quantize::{ImportanceText, Quantize, Quantized};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{Session, SessionOptions, Step};
use loquat::tokenizer::EncodeOptions;
use test_support::gguf_writer::{File, Tensor, Val};
use test_support::{demo, goldens};

fn runtime(threads: usize, isa: Option<Isa>) -> Runtime {
    Runtime::new(RuntimeOptions { threads: Threads::Count(threads), isa, ..Default::default() }).unwrap()
}

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loquat-quantize-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> ModelFile {
    ModelFile::open(path, Access::Map, &MemoryBudget::new(u64::MAX)).unwrap()
}

fn decoded(tensor: &loquat::format::TensorInfo) -> Vec<f32> {
    let mut values = vec![0.0; tensor.elements() as usize];
    decode_row(tensor.ty, &tensor.data, &mut values).unwrap();
    values
}

fn run(job: Job<Quantized>) -> Quantized {
    job.finish().unwrap()
}

#[test]
fn types_of_tensors_are_those_that_llama_cpp_gives() {
    let path = format!("{}/tests/goldens/mixes.json", env!("CARGO_MANIFEST_DIR"));
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut compared = 0;
    for shape in golden["shapes"].as_array().unwrap() {
        let arch = shape["arch"].as_str().unwrap();
        let mut file = File::new().key("general.architecture", Val::str(arch));
        for (key, value) in shape["keys"].as_object().unwrap() {
            file = file.key(key, Val::U32(value.as_u64().unwrap() as u32));
        }
        let dims = |value: &serde_json::Value| -> Vec<u64> { value.as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap()).collect() };
        let layers = shape["keys"][format!("{arch}.block_count")].as_u64().unwrap();
        let outer = shape["outer"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), dims(value)));
        let inner = (0..layers).flat_map(|layer| {
            let layer_tensors = shape["layer"].as_object().unwrap().iter();
            layer_tensors.map(move |(name, value)| (format!("blk.{layer}.{name}"), dims(value)))
        });
        for (name, dims) in outer.chain(inner) {
            let (ty, elements) = (if dims.len() == 1 { TensorType::F32 } else { TensorType::F16 }, dims.iter().product::<u64>() as usize);
            file = file.tensor(Tensor::new(&name, &dims, ty, vec![0; elements * ty.block_bytes()]));
        }
        let file = ModelFile::from_bytes(SharedBytes::copied(&file.write()), "shape", &MemoryBudget::new(u64::MAX)).unwrap();
        for (name, expected) in shape["mixes"].as_object().unwrap() {
            let types = mix::types(&file.metadata, &file.tensors, Mix::from_name(name).unwrap(), false).unwrap();
            for (tensor, ty) in file.tensors.iter().zip(types) {
                let (layer, part) = match tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
                    Some((layer, part)) => (layer.parse::<u64>().ok(), part),
                    None => (None, tensor.name.as_str()),
                };
                let other = expected["others"].as_object().unwrap().iter().find(|(_, parts)| {
                    let layers = parts.get(part).and_then(|layers| layers.as_array());
                    layers.is_some_and(|layers| layer.is_none_or(|layer| layers.iter().any(|other| other.as_u64() == Some(layer))))
                });
                let wanted = match other {
                    _ if tensor.dims.len() == 1 => "F32",
                    Some((ty, _)) => ty,
                    None => expected["most"].as_str().unwrap(),
                };
                assert_eq!(ty.name(), wanted, "{name} of {}: {}", shape["name"], tensor.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 20_000, "only {compared} tensors");
}

#[test]
fn every_mix_is_written_and_runs() {
    let folder = Folder::new("mixes");
    let runtime = runtime(2, None);
    let source = open(&demo("emberfield-3m-f32.gguf"));
    for mix in Mix::ALL {
        let path = folder.file(&format!("{}.gguf", mix.name()));
        let done = run(Quantize::to(mix).start(&runtime, &demo("emberfield-3m-f32.gguf"), &path));
        let file = open(&path);
        assert_eq!(done.bytes_after, file.len(), "{}", mix.name());
        assert_eq!(done.tensors as usize, file.tensors.len());
        assert_eq!(done.changed, file.tensors.iter().zip(&source.tensors).filter(|(a, b)| a.ty != b.ty).count() as u64);
        let types = mix::types(&source.metadata, &source.tensors, mix, false).unwrap();
        for ((tensor, before), ty) in file.tensors.iter().zip(&source.tensors).zip(types) {
            assert_eq!((&tensor.name, &tensor.dims, tensor.ty), (&before.name, &before.dims, ty));
            let (got, wanted) = (decoded(tensor), decoded(before));
            let error: f64 = got.iter().zip(&wanted).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let size: f64 = wanted.iter().map(|b| f64::from(*b).powi(2)).sum();
            assert!(error.sqrt() <= 0.35 * size.sqrt(), "{}: {}", mix.name(), tensor.name);
        }
        Model::load(&runtime, &path, LoadOptions::default()).unwrap();
    }
    assert_eq!(folder.names().len(), Mix::ALL.len());
    assert_eq!(runtime.budget().used(MemoryCategory::Scratch), 0);
}

#[test]
fn metadata_comes_through_byte_for_byte() {
    let folder = Folder::new("metadata");
    let strings = Val::Array(8, vec![Val::str("one"), Val::Str(vec![0xFF, 0, 0xC3]), Val::str("")]);
    let nested = Val::Array(9, vec![Val::Array(4, vec![Val::U32(7)]), Val::Array(8, vec![Val::str("deep")])]);
    let long = Val::Array(8, (0..30_000).map(|i| Val::str(&format!("token {i}"))).collect());
    let file = File { alignment: 64, ..File::new() }
        .key("general.alignment", Val::U32(64))
        .key("general.architecture", Val::str("none"))
        .key("a.strings", strings)
        .key("a.nested", nested)
        .key("a.long", long)
        .key("general.file_type", Val::U32(0))
        .key("a.float", Val::F32(f32::from_bits(0x7fc1_2345)))
        .key("a.double", Val::F64(-0.0))
        .key("split.no", Val::U16(0))
        .key("a.bool", Val::Bool(true))
        .key("a.small", Val::I8(-1));
    let tensor = |name: &str, dims: &[u64]| Tensor::new(name, dims, TensorType::F32, vec![0; dims.iter().product::<u64>() as usize * 4]);
    let file = file.tensor(tensor("x.weight", &[32, 3])).tensor(tensor("odd", &[5])).tensor(tensor("y.weight", &[64, 2]));
    std::fs::write(folder.file("in.gguf"), file.write()).unwrap();
    run(Quantize::to(Mix::Q8_0).start(&runtime(1, None), &folder.file("in.gguf"), &folder.file("out.gguf")));

    // What the writer of the tests would make of it, the changes made by hand.
    let mut expected = file;
    expected.keys.retain(|(key, _)| key != b"split.no");
    expected.keys.iter_mut().find(|(key, _)| key == b"general.file_type").unwrap().1 = Val::U32(7);
    expected.keys.push((b"general.quantization_version".to_vec(), Val::U32(2)));
    for (tensor, rows) in expected.tensors.iter_mut().zip([3, 0, 4]).filter(|(_, rows)| *rows > 0) {
        (tensor.type_id, tensor.data) = (TensorType::Q8_0.ggml_id(), vec![0; rows * 34]);
    }
    let mut expected = expected.write();
    expected.resize(expected.len().next_multiple_of(64), 0);
    assert!(std::fs::read(folder.file("out.gguf")).unwrap() == expected);
}

#[test]
fn the_bytes_do_not_depend_on_threads_slices_or_instructions() {
    let folder = Folder::new("same");
    let input = demo("emberfield-3m-f32.gguf");
    let text = "Once upon a time there was a smith who had a rope, a lantern and a very old dog. ".repeat(20);
    for mix in [Mix::Q4_K_M, Mix::IQ4_XS] {
        for importance in [None, Some(ImportanceText { text: text.clone(), context: 128 })] {
            let mut expected: Option<Vec<u8>> = None;
            for (threads, budget, isa) in [(1, u64::MAX, Some(Isa::Portable)), (2, u64::MAX, None), (2, 300_000, None), (2, 0, None)] {
                // Activations are exact on all levels, but slow on the portable one.
                let runtime = runtime(threads, isa);
                let path = folder.file("out.gguf");
                let options = Quantize { importance: importance.clone(), ..Quantize::to(mix) };
                let mut job = options.start(&runtime, &input, &path);
                while job.poll(budget).unwrap() == JobState::Running {}
                let done = job.take().unwrap();
                assert_eq!(done.importance_tokens > 0, importance.is_some());
                let bytes = std::fs::read(&path).unwrap();
                match &expected {
                    None => expected = Some(bytes),
                    Some(expected) => assert!(*expected == bytes, "{} with {threads} threads, budget {budget}", mix.name()),
                }
            }
        }
    }
}

#[test]
fn every_decodable_type_is_read_and_long_rows_are_cut_alike() {
    let folder = Folder::new("types");
    // A row of more elements than are taken at a time, which ends inside a tile of the encoders.
    let (cols, rows) = (32 * 1024 + 256 + 512, 2);
    let values: Vec<f32> = (0..cols * rows).map(|i| ((i * 7919 % 1009) as f32 / 500.0 - 1.0) * 0.1).collect();
    for from in TensorType::ALL.into_iter().filter(|&ty| is_decodable(ty)) {
        let data = match loquat::quant::is_encodable(from) {
            true => {
                let mut data = vec![0; cols * rows / from.block_len() * from.block_bytes()];
                encode_row(from, &values, None, &mut data).unwrap();
                data
            }
            // Any small bits are some finite values.
            false => vec![1; cols * rows / from.block_len() * from.block_bytes()],
        };
        let file = File::new().key("general.architecture", Val::str("none")).tensor(Tensor::new(
            "x.weight",
            &[cols as u64, rows as u64],
            from,
            data.clone(),
        ));
        std::fs::write(folder.file("in.gguf"), file.write()).unwrap();
        let to = if from == TensorType::Q5_0 { Mix::Q5_1 } else { Mix::Q5_0 };
        run(Quantize::to(to).start(&runtime(2, None), &folder.file("in.gguf"), &folder.file("out.gguf")));
        let mut floats = vec![0.0; cols * rows];
        decode_row(from, &data, &mut floats).unwrap();
        let mut expected = Vec::new();
        for row in floats.chunks(cols) {
            let mut bytes = vec![0; cols / 32 * to.base().block_bytes()];
            encode_row(to.base(), row, None, &mut bytes).unwrap();
            expected.extend(bytes);
        }
        assert!(open(&folder.file("out.gguf")).tensors[0].data[..] == expected[..], "from {from}");
    }
}

#[test]
fn values_that_no_type_holds_are_an_error_that_names_them() {
    let folder = Folder::new("nan");
    let mut values = vec![0.5f32; 512 * 8];
    values[512 * 6 + 77] = f32::NAN;
    let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = File::new().key("general.architecture", Val::str("none"));
    let file = file.tensor(Tensor::new("blk.3.ffn_up.weight", &[512, 8], TensorType::F32, data));
    std::fs::write(folder.file("in.gguf"), file.write()).unwrap();
    std::fs::write(folder.file("out.gguf"), b"as it was").unwrap();
    for mix in [Mix::Q4_K_M, Mix::F16] {
        let error = Quantize::to(mix).start(&runtime(2, None), &folder.file("in.gguf"), &folder.file("out.gguf")).finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFile);
        for part in ["in.gguf", "blk.3.ffn_up.weight", "row 6", "column 77", "NaN"] {
            assert!(error.message().contains(part), "{error} has no {part}");
        }
        assert_eq!(std::fs::read(folder.file("out.gguf")).unwrap(), b"as it was");
        assert_eq!(folder.names(), ["in.gguf", "out.gguf"]);
    }
    // What is only passed on is not looked at.
    run(Quantize::to(Mix::F32).start(&runtime(2, None), &folder.file("in.gguf"), &folder.file("out.gguf")));
}

#[test]
fn a_job_that_is_given_up_leaves_nothing_and_ends_soon() {
    let folder = Folder::new("cancel");
    let runtime = runtime(2, None);
    let (cols, rows) = (4096u64, 2048u64);
    let data: Vec<u8> = (0..cols * rows).flat_map(|i| half_bits((i % 1000) as u16)).collect();
    let file = File::new().key("general.architecture", Val::str("none"));
    let file = file.tensor(Tensor::new("x.weight", &[cols, rows], TensorType::F16, data));
    std::fs::write(folder.file("in.gguf"), file.write()).unwrap();
    let begin = Instant::now();
    run(Quantize::to(Mix::Q4_K_M).start(&runtime, &folder.file("in.gguf"), &folder.file("whole.gguf")));
    let whole = begin.elapsed();
    std::fs::remove_file(folder.file("whole.gguf")).unwrap();
    let mut longest = Duration::ZERO;
    for part in [0.02, 0.3, 0.6] {
        let mut job = Quantize::to(Mix::Q4_K_M).start(&runtime, &folder.file("in.gguf"), &folder.file("out.gguf"));
        let watch = job.watch();
        let canceller = std::thread::spawn(move || {
            while watch.progress().0 < part {
                std::thread::sleep(Duration::from_micros(100));
            }
            watch.cancel();
            Instant::now()
        });
        assert_eq!(job.poll(u64::MAX).unwrap(), JobState::Cancelled, "at {part}");
        longest = longest.max(canceller.join().unwrap().elapsed());
        assert_eq!(folder.names(), ["in.gguf"], "at {part}");
    }
    println!("the poll ended {longest:?} after the cancellation at the latest, the whole job {whole:?}");
    // The aim is 5 ms; other programs may have the processors for some time. Emulated, all takes longer in proportion.
    assert!(longest < Duration::from_millis(100).max(whole / 10), "{longest:?} of {whole:?}");
    let mut late = Quantize::to(Mix::Q4_K_M).start(&runtime, &folder.file("in.gguf"), &folder.file("out.gguf"));
    late.watch().set_deadline(2_000_000);
    assert_eq!(late.poll(u64::MAX).unwrap(), JobState::Expired);
    assert_eq!(folder.names(), ["in.gguf"]);
    assert_eq!(runtime.budget().private_used(), 0);
}

/// What the folder says of its tokens stands in the file, and the rows of queries and keys lie as they do in GGUF.
#[test]
fn a_folder_becomes_a_file_that_says_the_same() {
    let folder = Folder::new("folder");
    let path = folder.file("out.gguf");
    let source = Model::load(&runtime(2, None), &demo("hf"), LoadOptions::default()).unwrap();
    let text = "One misty morning, Mira walked to the mill and".repeat(20);
    for importance in [None, Some(ImportanceText { text, context: 128 })] {
        let options = Quantize { importance: importance.clone(), ..Quantize::to(Mix::F16) };
        let done = run(options.start(&runtime(2, None), &demo("hf"), &path));
        assert_eq!(done.tensors, source.tensors().len() as u64);
        assert_eq!(done.importance_tokens > 0, importance.is_some());
        let written = Model::load(&runtime(2, None), &path, LoadOptions::default()).unwrap();
        assert!(matches!(written.file().container(), Container::Gguf { version: 3, .. }));
        assert_eq!(written.chat_template().unwrap(), source.chat_template().unwrap());
        let (own, other) = (source.tokenizer().unwrap(), written.tokenizer().unwrap());
        assert_eq!((other.vocab_size(), other.bos(), other.eos()), (own.vocab_size(), own.bos(), own.eos()));
        assert_eq!(other.end_of_generation(), own.end_of_generation());
        for golden in goldens() {
            let mut ids = vec![];
            other.encode(&golden.text, EncodeOptions { add_special: true, parse_special: true }, &mut ids).unwrap();
            assert_eq!(ids, golden.ids, "{}", golden.name);
        }
        let named = |model: &Model, name: &str| model.tensors().iter().find(|tensor| tensor.name == name).unwrap().clone();
        for tensor in source.tensors() {
            let found = named(&written, &tensor.name);
            let (mut expected, mut values) = (decoded(tensor), decoded(&found));
            if tensor.name.contains("attn_q.") || tensor.name.contains("attn_k.") {
                assert_ne!(values, expected, "{}", tensor.name);
                expected.sort_by(f32::total_cmp);
                values.sort_by(f32::total_cmp);
            }
            assert_eq!(values, expected, "{}", tensor.name);
            assert_eq!(found.ty, if tensor.dims.len() == 1 { TensorType::F32 } else { TensorType::F16 }, "{}", tensor.name);
        }
        assert_eq!(next_token(&written), next_token(&source));
    }
    let far = divergence(&predictions(&runtime(2, None), &demo("hf"), 1), &predictions(&runtime(2, None), &path, 1));
    assert!(far < 1e-5, "{far}");
}

/// A tokenizer that GGUF has no words for comes along whole.
#[test]
fn a_tokenizer_without_a_translation_is_kept() {
    let folder = Folder::new("unigram");
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(demo("hf").join(name), folder.file(name)).unwrap();
    }
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/hub_tokenizers");
    std::fs::copy(goldens.join("unigram.json"), folder.file("tokenizer.json")).unwrap();
    let out = Folder::new("unigram-out");
    run(Quantize::to(Mix::Q8_0).start(&runtime(2, None), &folder.0, &out.file("out.gguf")));
    let (own, written) =
        [&folder.0, &out.file("out.gguf")].map(|path| Model::load(&runtime(1, None), path, LoadOptions::default()).unwrap()).into();
    assert_eq!(written.metadata().str("tokenizer.ggml.model").unwrap(), Some("no_vocab"));
    let ids = |model: &Model, text: &str| {
        let mut ids = vec![];
        model.tokenizer().unwrap().encode(text, EncodeOptions { add_special: true, parse_special: true }, &mut ids).unwrap();
        ids
    };
    for text in ["", "Hello, world!", "  two  spaces", "Größe 1234 <unk> </s> \u{1f680}"] {
        assert_eq!(ids(&written, text), ids(&own, text), "{text:?}");
    }
    assert_eq!(written.tokenizer().unwrap().roles(), own.tokenizer().unwrap().roles());
}

#[test]
fn a_model_quantised_at_load_is_the_one_that_a_file_holds() {
    let folder = Folder::new("load");
    let input = demo("emberfield-3m-f32.gguf");
    for mix in [Mix::Q4_K_M, Mix::IQ4_XS, Mix::F16] {
        run(Quantize::to(mix).start(&runtime(2, None), &input, &folder.file("out.gguf")));
        let options = LoadOptions { quantize: Some(mix), ..LoadOptions::default() };
        let file = Model::load(&runtime(2, None), &folder.file("out.gguf"), LoadOptions::default()).unwrap();
        for (threads, budget, isa) in [(1, u64::MAX, Some(Isa::Portable)), (2, 300_000, None), (3, 0, None)] {
            let runtime = runtime(threads, isa);
            let mut job = Model::load_job(&runtime, &input, options);
            let mut last = 0.0;
            while job.poll(budget).unwrap() == JobState::Running {
                let (part, _) = job.watch().progress();
                assert!(part >= last && part <= 1.0, "{part} after {last}");
                last = part;
            }
            let model = job.take().unwrap();
            assert_eq!(model.tensors().len(), file.tensors().len());
            for tensor in model.tensors() {
                let expected = file.tensors().iter().find(|other| other.name == tensor.name).unwrap();
                assert_eq!((tensor.ty, &tensor.dims), (expected.ty, &expected.dims), "{}", tensor.name);
                assert!(tensor.data[..] == expected.data[..], "{} in {}", tensor.name, mix.name());
            }
            assert_eq!(next_token(&model), next_token(&file));
        }
    }
}

/// The token that the model finds likeliest behind a text.
fn next_token(model: &Model) -> u32 {
    let mut session = Session::new(model, &SessionOptions { context: 64, ..Default::default() }).unwrap();
    let mut ids = vec![];
    model.tokenizer().unwrap().encode("Once upon a time there was a", EncodeOptions::default(), &mut ids).unwrap();
    session.append(&ids).unwrap();
    loop {
        if let Step::Token { id } = session.step(u64::MAX).unwrap() {
            return id;
        }
    }
}

#[test]
fn a_load_that_quantises_keeps_to_the_limit_and_leaves_nothing_where_it_is_given_up() {
    let input = demo("emberfield-3m-f32.gguf");
    let options = LoadOptions { quantize: Some(Mix::Q8_0), ..LoadOptions::default() };
    let needed = ModelEstimate::of_file(&input, options).unwrap().private();
    let limited =
        |limit| Runtime::new(RuntimeOptions { threads: Threads::Count(2), memory_limit: Some(limit), ..Default::default() }).unwrap();
    let small = limited(needed - 1);
    assert_eq!(Model::load(&small, &input, options).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(small.budget().private_used(), 0);
    // Two threads work in some hundred kilobytes each besides.
    let enough = limited(needed + (1 << 20));
    let model = Model::load(&enough, &input, options).unwrap();
    assert_eq!(enough.budget().private_used(), needed);
    drop(model);
    let mut job = Model::load_job(&enough, &input, options);
    let state = loop {
        match job.poll(0).unwrap() {
            JobState::Running if enough.budget().used(MemoryCategory::WeightsPrivate) > needed / 2 => job.watch().cancel(),
            JobState::Running => {}
            state => break state,
        }
    };
    assert_eq!((state, job.watch().progress().1), (JobState::Cancelled, c"quantising"));
    drop(job);
    assert_eq!(enough.budget().private_used(), 0);
}

/// An f16 between 1 and 2.
fn half_bits(i: u16) -> [u8; 2] {
    (0x3c00 | i & 0x3ff).to_le_bytes()
}

/// The logarithms of all probabilities in the second half of the last windows of a text.
fn predictions(runtime: &Runtime, path: &Path, windows: usize) -> Vec<Vec<f64>> {
    let model = Model::load(runtime, path, LoadOptions::default()).unwrap();
    let text = std::fs::read(demo("heldout.txt")).unwrap();
    let mut ids = vec![];
    model.tokenizer().unwrap().encode(&text, EncodeOptions { add_special: false, parse_special: true }, &mut ids).unwrap();
    let options = SessionOptions { context: 512, all_logits: true, max_tokens: Some(0), ..Default::default() };
    let mut session = Session::new(&model, &options).unwrap();
    let mut predictions = vec![];
    for window in ids.chunks_exact(512).rev().take(windows) {
        session.reset().unwrap();
        session.append(window).unwrap();
        assert!(matches!(session.step(u64::MAX).unwrap(), Step::Done { .. }));
        for position in 256..511 {
            let logits: Vec<f64> = session.logits_at(position).unwrap().iter().map(|&logit| f64::from(logit)).collect();
            let top = logits.iter().copied().fold(f64::MIN, f64::max);
            let total = top + logits.iter().map(|logit| (logit - top).exp()).sum::<f64>().ln();
            predictions.push(logits.iter().map(|logit| logit - total).collect());
        }
    }
    predictions
}

/// The mean KL divergence.
fn divergence(exact: &[Vec<f64>], other: &[Vec<f64>]) -> f64 {
    let of = |(exact, other): (&Vec<f64>, &Vec<f64>)| -> f64 { exact.iter().zip(other).map(|(p, q)| p.exp() * (p - q)).sum() };
    exact.iter().zip(other).map(of).sum::<f64>() / exact.len() as f64
}

#[test]
fn importance_brings_a_small_file_nearer_to_the_model() {
    let folder = Folder::new("importance");
    let (runtime, source) = (runtime(2, None), demo("emberfield-3m-f32.gguf"));
    // The first part of the text, of which the last windows are judged.
    let text = std::fs::read_to_string(demo("heldout.txt")).unwrap();
    let importance = Some(ImportanceText { text: text.chars().take(40_000).collect(), context: 512 });
    let exact = predictions(&runtime, &source, 8);
    let of = |importance: Option<ImportanceText>| {
        let path = folder.file("out.gguf");
        run(Quantize { importance, ..Quantize::to(Mix::IQ4_XS) }.start(&runtime, &source, &path));
        divergence(&exact, &predictions(&runtime, &path, 8))
    };
    let (without, with) = (of(None), of(importance));
    println!("IQ4_XS: KL divergence {with:.6} with importance, {without:.6} without");
    assert!(with < without);
}
