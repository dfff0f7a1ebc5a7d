//! The same model in every container: safetensors (whole, in shards, as eight-bit floats), GGUF in one file and several, APR; from paths, parts of
//! files, memory and callbacks. Equal weights give equal logits.

use std::path::{Path, PathBuf};

use loquat::base::{ErrorKind, MemoryBudget, MemoryCategory, SharedBytes};
use loquat::format::{Access, Container, ModelFile, Origin, ReadAt, TensorInfo};
use loquat::model::{LoadOptions, Mix, Model, ModelEstimate};
use loquat::quantize::Quantize;
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{KvType, Session, SessionOptions, Step};
use loquat::tokenizer::EncodeOptions;
use test_support::as_apr::as_apr;
use test_support::gguf_writer::{File, Tensor, Val};

fn runtime() -> Runtime {
    Runtime::new(RuntimeOptions { threads: Threads::CallerOnly, ..Default::default() }).unwrap()
}

fn load(path: &Path) -> Model {
    Model::load(&runtime(), path, LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The logits behind `ids`.
fn logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    let options = SessionOptions { kv_type: KvType::F32, ignore_eog: true, ..Default::default() };
    let mut session = Session::new(model, &options).unwrap();
    session.append(ids).unwrap();
    let Step::Token { .. } = session.step(u64::MAX).unwrap() else { panic!("no token") };
    session.logits().unwrap().to_vec()
}

fn ids(model: &Model, text: &str) -> Vec<u32> {
    let mut ids = vec![];
    model.tokenizer().unwrap().encode(text, EncodeOptions { add_special: true, parse_special: true }, &mut ids).unwrap();
    ids
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A file or folder of the data beside the repository.
fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loquat-formats-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const TEXT: &str = "One misty morning, Mira walked to the mill and";

#[test]
fn the_demo_folder_says_what_the_goldens_say() {
    let model = load(&test_support::demo("hf"));
    let config = model.config().unwrap();
    assert_eq!((config.architecture.as_str(), config.block_count, config.context_length), ("llama", 4, 1024));
    assert_eq!(model.tokenizer().unwrap().end_of_generation(), [0, 2]);
    assert!(model.chat_template().unwrap().contains("<|im_start|>"));
    let gguf = load(&test_support::demo("emberfield-3m-f32.gguf"));
    assert_eq!(model.tokenizer().unwrap().roles().bos, gguf.tokenizer().unwrap().roles().bos);
    assert_eq!(model.tokenizer().unwrap().eos(), gguf.tokenizer().unwrap().eos());
    let (mut followed, mut worst) = (0, 0.0f32);
    for golden in test_support::goldens() {
        assert_eq!(ids(&model, &golden.text), golden.ids, "{}", golden.name);
        let options = SessionOptions { kv_type: KvType::F32, ignore_eog: true, ..Default::default() };
        let mut session = Session::new(&model, &options).unwrap();
        session.append(&golden.ids).unwrap();
        for (step, (&expected, &gap)) in golden.greedy.iter().zip(&golden.gaps).enumerate() {
            let Step::Token { id } = session.step(u64::MAX).unwrap() else { panic!("{}: the turn ended", golden.name) };
            if step == 0
                && let Some(path) = &golden.logits
            {
                worst = worst.max(far(session.logits().unwrap(), &test_support::npy(path)));
            }
            if id != expected {
                // The goldens are of the weights in F32, the folder has them in F16.
                assert!(gap < 0.05, "{}: token {step} is {id}, expected {expected} by {gap}", golden.name);
                break;
            }
            followed += 1;
        }
    }
    println!("largest logit difference {worst}, {followed} tokens followed");
    assert!(worst < 0.1, "{worst}");
    assert!(followed > 600, "{followed}");
}

#[test]
fn every_form_of_the_demo_model_gives_the_same_logits() {
    let gguf = load(&test_support::demo("emberfield-3m-f32.gguf"));
    let prompt = ids(&gguf, TEXT);
    let expected = logits(&gguf, &prompt);
    // The same weights in the same order give the same bits.
    let folder = Folder::new("apr");
    let file = ModelFile::open(&test_support::demo("emberfield-3m-f32.gguf"), Access::Map, &MemoryBudget::new(u64::MAX)).unwrap();
    let apr = load(&folder.write("model.apr", &as_apr(&file)));
    assert_eq!(ids(&apr, TEXT), prompt);
    assert_eq!(logits(&apr, &prompt), expected);
    // The folder has the rows of queries and keys in another order, so that sums of products differ in their last bits.
    if let Some(path) = shared("demo-model/hf") {
        let hf = load(&path);
        assert_eq!(ids(&hf, TEXT), prompt);
        let difference = far(&logits(&hf, &prompt), &expected);
        println!("F32 folder: {difference}");
        assert!(difference < 1e-4, "{difference}");
    }
    // Queries and keys in halves in APR too: the bits of the folder.
    let hf = load(&test_support::demo("hf"));
    let file = ModelFile::open(&test_support::demo("hf"), Access::Map, &MemoryBudget::new(u64::MAX)).unwrap();
    assert_eq!(file.container(), Container::Safetensors);
    let apr = Model::from_bytes(&runtime(), SharedBytes::copied(&as_apr(&file)), "halves", LoadOptions::default()).unwrap();
    assert_eq!(logits(&apr, &prompt), logits(&hf, &prompt));
    let difference = far(&logits(&hf, &prompt), &expected);
    assert!(difference < 0.1, "{difference}");
}

#[test]
fn every_form_of_stories260k_gives_the_same_logits() {
    let Some(folder) = shared("data/stories260k") else { return };
    let gguf = load(&folder.join("stories260K-f32.gguf"));
    let prompt = ids(&gguf, "Once upon a time, there was");
    let expected = logits(&gguf, &prompt);
    let file = ModelFile::open(&folder.join("stories260K-f32.gguf"), Access::Map, &MemoryBudget::new(u64::MAX)).unwrap();
    let apr = Model::from_bytes(&runtime(), SharedBytes::copied(&as_apr(&file)), "stories.apr", LoadOptions::default()).unwrap();
    assert_eq!(ids(&apr, "Once upon a time, there was"), prompt);
    assert_eq!(logits(&apr, &prompt), expected);
    for (name, pair) in [("hf", None), ("hf-qwen2", Some("stories260K-qwen2-f32.gguf")), ("hf-moe", None)] {
        let hf = load(&folder.join(name));
        assert_eq!(ids(&hf, "Once upon a time, there was"), prompt, "{name}");
        let found = logits(&hf, &prompt);
        let difference = far(&found, &expected);
        println!("{name}: {difference}");
        assert!(difference < 1e-3, "{name}: {difference}");
        if let Some(pair) = pair {
            assert_eq!(found, logits(&load(&folder.join(pair)), &prompt), "{name}");
        }
    }
}

/// One safetensors file: name, dtype, shape, bytes.
fn safetensors(tensors: &[(&str, &str, Vec<u64>, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert((*name).to_owned(), serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
        data.extend(bytes);
    }
    let header = serde_json::Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// The tensors of the demo folder as they lie in its file.
fn demo_tensors() -> Vec<(String, String, Vec<u64>, Vec<u8>)> {
    let bytes = std::fs::read(test_support::demo("hf/model.safetensors")).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let mut tensors: Vec<_> = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
        .map(|(name, entry)| {
            let numbers = |key: &str| entry[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect::<Vec<u64>>();
            let offsets = numbers("data_offsets");
            let data = bytes[8 + len..][offsets[0] as usize..offsets[1] as usize].to_vec();
            (name, entry["dtype"].as_str().unwrap().to_owned(), numbers("shape"), data)
        })
        .collect();
    tensors.sort();
    tensors
}

fn borrowed(tensors: &[(String, String, Vec<u64>, Vec<u8>)]) -> Vec<(&str, &str, Vec<u64>, Vec<u8>)> {
    tensors.iter().map(|(name, dtype, shape, data)| (&**name, &**dtype, shape.clone(), data.clone())).collect()
}

fn with_demo_json(folder: &Folder) {
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        folder.write(name, &std::fs::read(test_support::demo("hf").join(name)).unwrap());
    }
}

#[test]
fn shards_are_one_model_and_the_index_is_held_against_them() {
    let tensors = demo_tensors();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let folder = Folder::new("shards");
    with_demo_json(&folder);
    folder.write(names[0], &safetensors(&borrowed(first)));
    folder.write(names[1], &safetensors(&borrowed(second)));
    let index = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let part = |tensors: &[(String, String, Vec<u64>, Vec<u8>)], file: &str| {
            tensors.iter().map(|(name, ..)| (name.clone(), serde_json::json!(file))).collect::<Vec<_>>()
        };
        let mut map: serde_json::Map<_, _> = part(first, names[0]).into_iter().chain(part(second, names[1])).collect();
        change(&mut map);
        folder.write("model.safetensors.index.json", serde_json::json!({ "metadata": {}, "weight_map": map }).to_string().as_bytes());
    };
    index(&|_| {});
    let whole = load(&test_support::demo("hf"));
    let prompt = ids(&whole, TEXT);
    for path in [folder.0.clone(), folder.0.join(names[1])] {
        for access in [Access::Map, Access::Read] {
            let model = Model::load(&runtime(), &path, LoadOptions { access, ..LoadOptions::default() }).unwrap();
            assert_eq!(logits(&model, &prompt), logits(&whole, &prompt));
            assert!(model.tensors().iter().any(|tensor| tensor.file == 1));
        }
    }
    type Change = fn(&mut serde_json::Map<String, serde_json::Value>);
    let faults: [(Change, &str); 3] = [
        (|map| _ = map.insert("extra".into(), "model-00001-of-00002.safetensors".into()), "tensor 'extra' is not in"),
        (|map| _ = map.remove("model.norm.weight"), "'model.norm.weight'"),
        (|map| _ = map.insert("model.norm.weight".into(), "model-00001-of-00002.safetensors".into()), "is said to lie in"),
    ];
    for (change, says) in faults {
        index(&change);
        let error = Model::load(&runtime(), &folder.0, LoadOptions::default()).err().unwrap();
        assert!(error.kind() == ErrorKind::InvalidFile && error.message().contains(says), "{error}");
    }
}

#[test]
fn eight_bit_floats_are_converted_with_their_scales() {
    // Weights that eight bits hold exactly, so that the folder with scales computes what the folder in F32 computes.
    let e4m3 = |byte: u8| {
        let (sign, exponent, mantissa) = (if byte & 0x80 == 0 { 1.0 } else { -1.0 }, i32::from(byte >> 3 & 15), f32::from(byte & 7));
        sign * if exponent == 0 { mantissa * 2f32.powi(-9) } else { (8.0 + mantissa) * 2f32.powi(exponent - 10) }
    };
    let bytes = |count: usize, seed: usize| -> Vec<u8> {
        (0..count).map(|i| ((i * 31 + seed * 7) % 0x58 + 0x10) as u8 | ((i * 5 % 2) as u8) << 7).collect()
    };
    let layouts: [(&str, &str, Option<u64>); 4] =
        [("tensor", "weight_scale", None), ("row", "weight_scale", None), ("block", "weight_scale_inv", Some(48)), ("none", "", None)];
    for (layout, suffix, block) in layouts {
        let (mut eight, mut wide) = (Vec::new(), Vec::new());
        for (number, (name, dtype, shape, data)) in demo_tensors().into_iter().enumerate() {
            if !name.contains("proj.weight") {
                eight.push((name.clone(), dtype.clone(), shape.clone(), data.clone()));
                wide.push((name, dtype, shape, data));
                continue;
            }
            let (rows, cols) = (shape[0] as usize, shape[1] as usize);
            let values = bytes(rows * cols, number);
            let edge = block.unwrap_or(1) as usize;
            let (scales, scale_shape): (Vec<f32>, Vec<u64>) = match layout {
                "tensor" => (vec![0.0625], vec![]),
                "row" => ((0..rows).map(|row| 0.03125 * (1 + row % 3) as f32).collect(), vec![rows as u64, 1]),
                "block" => {
                    let (down, across) = (rows.div_ceil(edge), cols.div_ceil(edge));
                    ((0..down * across).map(|i| 0.03125 * (1 + i % 5) as f32).collect(), vec![down as u64, across as u64])
                }
                _ => (vec![], vec![]),
            };
            let scale = |row: usize, col: usize| match layout {
                "tensor" => scales[0],
                "row" => scales[row],
                "block" => scales[row / edge * cols.div_ceil(edge) + col / edge],
                _ => 1.0,
            };
            let floats = (0..rows * cols).flat_map(|i| (e4m3(values[i]) * scale(i / cols, i % cols)).to_le_bytes());
            wide.push((name.clone(), "F32".to_owned(), shape.clone(), floats.collect()));
            if !scales.is_empty() {
                let scales = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                eight.push((name.replace("weight", suffix), "F32".to_owned(), scale_shape, scales));
            }
            eight.push((name, "F8_E4M3".to_owned(), shape, values));
        }
        let folders = [Folder::new(&format!("f8-{layout}")), Folder::new(&format!("f32-{layout}"))];
        for (folder, tensors) in folders.iter().zip([&eight, &wide]) {
            with_demo_json(folder);
            folder.write("model.safetensors", &safetensors(&borrowed(tensors)));
        }
        if let Some(edge) = block {
            let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(folders[0].0.join("config.json")).unwrap()).unwrap();
            config["quantization_config"] = serde_json::json!({ "quant_method": "fp8", "weight_block_size": [edge, edge] });
            folders[0].write("config.json", config.to_string().as_bytes());
        }
        let (eight, wide) = (load(&folders[0].0), load(&folders[1].0));
        let prompt: Vec<u32> = (100..110).collect();
        assert_eq!(logits(&eight, &prompt), logits(&wide, &prompt), "{layout}");
        let estimate = ModelEstimate::of_file(&folders[0].0, LoadOptions::default()).unwrap();
        assert_eq!(estimate.weights_private, eight.runtime().budget().used(MemoryCategory::WeightsPrivate), "{layout}");
        assert!(estimate.weights_private > 4_000_000, "{layout}");
        let vocabulary = Model::load(&runtime(), &folders[0].0, LoadOptions { vocab_only: true, ..LoadOptions::default() }).unwrap();
        assert_eq!(vocabulary.runtime().budget().used(MemoryCategory::WeightsPrivate), 0);
        quantised_alike(&folders[0], &folders[1], estimate.weights_private);
    }
}

/// Both folders become the same tensors, at load and as files; and the first, of which `converted` bytes have to be made before, with no room for
/// more than a part of them at a time.
fn quantised_alike(eight: &Folder, wide: &Folder, converted: u64) {
    let limited =
        |limit| Runtime::new(RuntimeOptions { threads: Threads::Count(1), memory_limit: Some(limit), ..Default::default() }).unwrap();
    let same = |ours: &[TensorInfo], other: &[TensorInfo]| {
        assert_eq!(ours.len(), other.len());
        for (tensor, expected) in ours.iter().zip(other) {
            assert_eq!((&tensor.name, tensor.ty, &tensor.dims), (&expected.name, expected.ty, &expected.dims));
            assert!(tensor.data[..] == expected.data[..] && !tensor.data.is_empty(), "{}", tensor.name);
        }
    };
    let options = LoadOptions { quantize: Some(Mix::Q4_0), ..LoadOptions::default() };
    let room = ModelEstimate::of_file(&eight.0, options).unwrap().private() + converted / 4;
    let (narrow, at_ease) = (limited(room), runtime());
    let (ours, other) = (Model::load(&narrow, &eight.0, options).unwrap(), Model::load(&at_ease, &wide.0, options).unwrap());
    same(ours.tensors(), other.tensors());

    let narrow = limited(converted / 2);
    let files = [eight, wide].map(|folder| folder.0.join("quantised.gguf"));
    Quantize::to(Mix::Q8_0).start(&narrow, &eight.0, &files[0]).finish().unwrap();
    assert_eq!(narrow.budget().private_used(), 0);
    Quantize::to(Mix::Q8_0).start(&at_ease, &wide.0, &files[1]).finish().unwrap();
    let written = files.map(|path| ModelFile::open(&path, Access::Map, &MemoryBudget::new(u64::MAX)).unwrap());
    same(&written[0].tensors, &written[1].tensors);
}

/// A GGUF file as `count` files, tensors dealt out in turn.
fn split(file: &ModelFile, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let mut part = File::new();
            if number == 0 {
                let own = file.metadata.iter().filter(|(key, _)| !key.starts_with("split."));
                part.keys = own.map(|(key, value)| (key.into(), value.into())).collect();
            }
            let mut part = part
                .key("split.no", Val::U16(number as u16))
                .key("split.count", Val::U16(count as u16))
                .key("split.tensors.count", Val::I32(file.tensors.len() as i32));
            let own = file.tensors.iter().enumerate().filter(|(index, _)| index % count == number);
            part.tensors = own.map(|(_, tensor)| Tensor::new(&tensor.name, &tensor.dims, tensor.ty, tensor.data.to_vec())).collect();
            part.write()
        })
        .collect()
}

#[test]
fn gguf_in_several_files_is_one_model() {
    let path = test_support::demo("emberfield-3m-q4_k_m.gguf");
    let whole = load(&path);
    let file = ModelFile::open(&path, Access::Map, &MemoryBudget::new(u64::MAX)).unwrap();
    let folder = Folder::new("split");
    let parts = split(&file, 3);
    let name = |number: usize| format!("demo-{number:05}-of-00003.gguf");
    let paths: Vec<PathBuf> = parts.iter().enumerate().map(|(index, part)| folder.write(&name(index + 1), part)).collect();
    let prompt = ids(&whole, TEXT);
    for path in &paths {
        let model = load(path);
        assert_eq!(ids(&model, TEXT), prompt);
        assert_eq!(logits(&model, &prompt), logits(&whole, &prompt));
        assert_eq!(model.tensors().len(), whole.tensors().len());
    }
    let refused = |kind: ErrorKind, says: &str| {
        let error = Model::load(&runtime(), &paths[0], LoadOptions::default()).err().unwrap();
        assert!(error.kind() == kind && error.message().contains(says), "{error}");
    };
    folder.write(&name(2), &parts[2]);
    refused(ErrorKind::InvalidFile, "'split.no': 2, expected 1");
    folder.write(&name(2), &split(&file, 2)[1]);
    refused(ErrorKind::InvalidFile, "'split.count': 2, expected 3");
    std::fs::remove_file(&paths[1]).unwrap();
    refused(ErrorKind::Io, &name(2));
    let error = Model::from_bytes(&runtime(), SharedBytes::copied(&parts[0]), "lent", LoadOptions::default()).err().unwrap();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("one of 3 files"), "{error}");
}

/// A reader that gives few bytes at a time and may fail.
struct Slow(Vec<u8>, Option<u64>);

impl ReadAt for Slow {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        if self.1.is_some_and(|end| offset >= end) {
            return Err(std::io::Error::other("the wire is cut"));
        }
        let rest = &self.0[(offset as usize).min(self.0.len())..];
        let len = rest.len().min(buffer.len()).min(10_007);
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

#[test]
fn parts_of_files_and_readers_give_the_same_model() {
    let path = test_support::demo("emberfield-3m-q4_k_m.gguf");
    let (whole, bytes) = (load(&path), std::fs::read(&path).unwrap());
    let prompt = ids(&whole, TEXT);
    let len = bytes.len() as u64;
    let folder = Folder::new("parts");
    for offset in [0u64, 1, 64, 4096, 70_001] {
        let archive = folder.write("archive", &[&vec![7; offset as usize][..], &bytes, b"tail"].concat());
        for access in [Access::Map, Access::Read] {
            let file = std::fs::File::open(&archive).unwrap();
            let origin = Origin::Part { file, offset, len, name: "archive".to_owned() };
            let options = LoadOptions { access, ..LoadOptions::default() };
            let model = Model::from_origin_job(&runtime(), origin, options).finish().unwrap();
            assert_eq!(logits(&model, &prompt), logits(&whole, &prompt), "{offset} {access:?}");
        }
        let file = std::fs::File::open(&archive).unwrap();
        let origin = Origin::Part { file, offset, len: len + 5, name: "archive".to_owned() };
        let error = Model::from_origin_job(&runtime(), origin, LoadOptions::default()).finish().err().unwrap();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("the file has"), "{error}");
    }
    let read = |reader: Slow, len: u64| {
        let origin = Origin::Reader { reader: Box::new(reader), len, name: "wire".to_owned() };
        Model::from_origin_job(&runtime(), origin, LoadOptions::default()).finish()
    };
    let model = read(Slow(bytes.clone(), None), len).unwrap();
    assert_eq!(logits(&model, &prompt), logits(&whole, &prompt));
    assert_eq!(model.runtime().budget().used(MemoryCategory::WeightsMapped), 0);
    for (reader, len, says) in [(Slow(bytes.clone(), Some(500_000)), len, "the wire is cut"), (Slow(bytes, None), len + 1, "it ends at")] {
        let error = read(reader, len).err().unwrap();
        assert!(error.kind() == ErrorKind::Io && error.message().contains(says), "{error}");
    }
}

#[test]
fn a_vocabulary_alone_tokenizes_and_has_no_sessions() {
    let file = ModelFile::open(&test_support::demo("emberfield-3m-q8_0.gguf"), Access::Map, &MemoryBudget::new(u64::MAX)).unwrap();
    let mut parts = split(&file, 1);
    let whole = load(&test_support::demo("emberfield-3m-q8_0.gguf"));
    let mut vocabulary = ModelFile::from_bytes(SharedBytes::copied(&parts.remove(0)), "v", &MemoryBudget::new(u64::MAX)).unwrap();
    vocabulary.tensors.clear();
    let bytes = split(&vocabulary, 1).remove(0);
    let folder = Folder::new("vocabulary");
    with_demo_json(&folder);
    let models =
        [Model::from_bytes(&runtime(), SharedBytes::copied(&bytes), "vocabulary.gguf", LoadOptions::default()).unwrap(), load(&folder.0)];
    for model in models {
        assert_eq!(ids(&model, TEXT), ids(&whole, TEXT));
        let error = Session::new(&model, &SessionOptions::default()).err().unwrap();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("holds a vocabulary alone"), "{error}");
    }
}

#[test]
fn folders_that_are_no_models_say_what_is_missing() {
    let folder = Folder::new("faults");
    let refused = |kind: ErrorKind, says: &str| {
        let error = Model::load(&runtime(), &folder.0, LoadOptions::default()).err().unwrap();
        assert!(error.message().contains(says), "'{says}' is not in: {error}");
        assert_eq!(error.kind(), kind, "{error}");
    };
    let config = std::fs::read_to_string(test_support::demo("hf/config.json")).unwrap();
    refused(ErrorKind::InvalidFile, "there is no config.json");
    folder.write("config.json", config.as_bytes());
    refused(ErrorKind::InvalidFile, "there is neither model.safetensors nor");
    folder.write("pytorch_model.bin", b"");
    refused(ErrorKind::Unsupported, "pytorch_model.bin");
    let tensors = demo_tensors();
    folder.write("model.safetensors", &safetensors(&borrowed(&tensors)));
    let edits = [
        ("\"llama\"", "\"oracle\"", ErrorKind::Unsupported, "key 'model_type': 'oracle'"),
        (
            "\"hidden_size\": 256",
            "\"hidden_size\": \"x\"",
            ErrorKind::InvalidFile,
            "key 'hidden_size': expected an integer from 0 on, found a string",
        ),
        ("\"hidden_size\": 256,", "", ErrorKind::InvalidFile, "key 'hidden_size': it is missing"),
        ("\"hidden_size\": 256", "\"hidden_size\": 512", ErrorKind::InvalidFile, "expected [512, "),
        ("\"silu\"", "\"relu\"", ErrorKind::Unsupported, "activation 'relu'"),
        ("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"spiral\"}", ErrorKind::Unsupported, "'spiral'"),
        ("\"use_cache\": true", "\"quantization_config\": {\"quant_method\": \"gptq\"}", ErrorKind::Unsupported, "quantised by 'gptq'"),
        ("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", ErrorKind::InvalidFile, "there is no tensor 'lm_head.weight'"),
        ("\"use_cache\": true", "\"use_cache\": true, \"use_cache\": true", ErrorKind::InvalidFile, "key 'use_cache' stands twice"),
    ];
    for (from, to, kind, says) in edits {
        assert!(config.contains(from), "{from}");
        folder.write("config.json", config.replace(from, to).as_bytes());
        refused(kind, says);
    }
    folder.write("config.json", config.as_bytes());
    let mut odd = tensors.clone();
    odd.push(("model.layers.0.oracle.weight".to_owned(), "F32".to_owned(), vec![1], vec![0; 4]));
    folder.write("model.safetensors", &safetensors(&borrowed(&odd)));
    refused(ErrorKind::Unsupported, "tensor 'model.layers.0.oracle.weight': it has no place in architecture 'llama'");
    folder.write("model.safetensors", &safetensors(&borrowed(&tensors[1..])));
    refused(ErrorKind::InvalidFile, "is missing");
}
