//! Every family of architectures as a Hugging Face folder, against another implementation's outputs: as it is, quantised, written as GGUF.

use std::path::PathBuf;

use loquat::base::ErrorKind;
use loquat::model::{LoadOptions, Mix, Model};
use loquat::quant::{TensorType, decode_row};
use loquat::quantize::Quantize;
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use test_support::micro::{TOLERANCE, file, folder, largest_difference, load, names, outputs, share_of_error};
use test_support::npy;

/// A safetensors file with all bf16 values as f32.
fn widened(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    for (name, tensor) in &mut header {
        if name != "__metadata__" {
            assert_eq!(tensor["dtype"], "BF16", "{name}");
            tensor["dtype"] = "F32".into();
            tensor["data_offsets"] = tensor["data_offsets"].as_array().unwrap().iter().map(|at| 2 * at.as_u64().unwrap()).collect();
        }
    }
    let header = serde_json::to_vec(&header).unwrap();
    let data = data.chunks_exact(2).flat_map(|half| [0, 0, half[0], half[1]]);
    (header.len() as u64).to_le_bytes().into_iter().chain(header).chain(data).collect()
}

/// The weights are kept in bf16, and computed with in f32 as the golden was.
#[test]
fn folders_give_the_outputs_of_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    let scratch = std::env::temp_dir().join(format!("loquat-folders-{}", std::process::id()));
    let mut count = 0;
    for (name, folder) in names().into_iter().filter_map(|name| folder(&name).map(|folder| (name, folder))) {
        let wide = scratch.join(&name);
        std::fs::create_dir_all(&wide).unwrap();
        std::fs::copy(folder.join("config.json"), wide.join("config.json")).unwrap();
        std::fs::write(wide.join("model.safetensors"), widened(&std::fs::read(folder.join("model.safetensors")).unwrap())).unwrap();
        let model = Model::load(&runtime, &wide, LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let difference = largest_difference(&outputs(&model, &name), &npy(&file(&format!("{name}.npy"))));
        assert!(difference <= TOLERANCE, "{name}: {difference:.2e}");
        drop(model);
        // As published, in bf16.
        Model::load(&runtime, &folder, LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        count += 1;
    }
    std::fs::remove_dir_all(scratch).unwrap();
    assert!(count >= 32, "{count} folders");
}

/// Stacked experts, rows of queries and keys in GGUF's order, vectors in f32.
#[test]
fn folders_written_as_gguf_give_the_outputs_of_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    // LOQUAT_KEEP: the files stay there, for other programs to read them.
    let kept = std::env::var_os("LOQUAT_KEEP").map(PathBuf::from);
    let scratch = kept.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("loquat-written-{}", std::process::id())));
    std::fs::create_dir_all(&scratch).unwrap();
    for (name, folder) in names().into_iter().filter_map(|name| folder(&name).map(|folder| (name, folder))) {
        let path = scratch.join(format!("{name}.gguf"));
        let done = Quantize::to(Mix::F32).start(&runtime, &folder, &path).finish().unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = Model::load(&runtime, &path, LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(done.tensors, written.tensors().len() as u64);
        let difference = largest_difference(&outputs(&written, &name), &npy(&file(&format!("{name}.npy"))));
        assert!(difference <= TOLERANCE, "{name}: {difference:.2e}");
        // The same tensors as in the file that was made of the model itself.
        let expected = load(&name, 1, None);
        assert_eq!(written.tensors().len(), expected.tensors().len(), "{name}");
        for tensor in expected.tensors() {
            let found = written.tensors().iter().find(|found| found.name == tensor.name).unwrap();
            assert!(found.ty == TensorType::F32 && found.data[..] == tensor.data[..], "{name}: {}", tensor.name);
            // A matrix of one row may be a vector.
            assert!(found.dims.starts_with(&tensor.dims) && found.elements() == tensor.elements(), "{name}: {}", tensor.name);
        }
    }
    if kept.is_none() {
        std::fs::remove_dir_all(scratch).unwrap();
    }
}

/// Quantised while they are loaded, whatever the tensors are called and however experts are stored.
#[test]
fn folders_quantised_at_load_are_near_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    for (name, folder) in names().into_iter().filter_map(|name| folder(&name).map(|folder| (name, folder))) {
        let options = LoadOptions { quantize: Some(Mix::Q8_0), ..LoadOptions::default() };
        let model = Model::load(&runtime, &folder, options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let changed = model.tensors().iter().filter(|tensor| tensor.ty == TensorType::Q8_0).count();
        assert!(changed >= model.config().unwrap().block_count, "{name}: {changed} tensors");
        let share = share_of_error(&outputs(&model, &name), &npy(&file(&format!("{name}.npy"))));
        assert!(share > 1e-4 && share < 0.1, "{name}: {share:.2e}");
    }
    // Experts alone: each a matrix of its own here.
    let options = LoadOptions { quantize: Some(Mix::MXFP4_MOE), ..LoadOptions::default() };
    let model = Model::load(&runtime, &folder("qwen3moe").unwrap(), options).unwrap();
    let ty = |name: &str| model.tensors().iter().find(|tensor| tensor.name == name).unwrap().ty;
    assert_eq!((ty("blk.0.ffn_up.3.weight"), ty("blk.0.attn_q.weight")), (TensorType::MXFP4, TensorType::Q8_0));
}

/// A folder has codes and scales apart, and the rows of two matrices in turn; the GGUF file was made by another library.
#[test]
fn experts_in_mxfp4_are_those_of_the_reference() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    let load = |name: &str| Model::load(&runtime, &file("mxfp4").join(name), LoadOptions::default()).unwrap();
    let (folder, gguf) = (load("folder"), load("model.gguf"));
    let mut compared = 0;
    for expected in gguf.tensors().iter().filter(|tensor| tensor.name.ends_with("exps.weight")) {
        let found = folder.tensors().iter().find(|tensor| tensor.name == expected.name).unwrap();
        assert_eq!((found.ty, &found.dims), (TensorType::MXFP4, &expected.dims), "{}", expected.name);
        let values = |data: &[u8]| -> Vec<f32> {
            let mut values = vec![0.0; expected.dims.iter().product::<u64>() as usize];
            decode_row(TensorType::MXFP4, data, &mut values).unwrap();
            values
        };
        // Equal, not the same bits: a negative zero may have become a positive one, and an exponent another one with other codes.
        assert_eq!(values(&found.data), values(&expected.data), "{}", expected.name);
        compared += 1;
    }
    assert_eq!(compared, 6);
    for model in [folder, gguf] {
        let share = share_of_error(&outputs(&model, "gpt-oss"), &npy(&file("mxfp4/logits.npy")));
        assert!(share > 1e-4 && share < 0.1, "{share:.2e}");
    }
}

#[test]
fn codes_without_fitting_scales_are_refused_by_name() {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(1), ..Default::default() }).unwrap();
    let scratch = std::env::temp_dir().join(format!("loquat-codes-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::copy(file("mxfp4/folder/config.json"), scratch.join("config.json")).unwrap();
    let bytes = std::fs::read(file("mxfp4/folder/model.safetensors")).unwrap();
    for (from, to, says) in [
        ("0.mlp.experts.down_proj_scales\"", "9.mlp.experts.down_proj_scales\"", "model.layers.0.mlp.experts.down_proj_scales"),
        ("\"shape\":[4,192,2]", "\"shape\":[4,96,4]", "gate_up_proj_scales"),
        ("\"shape\":[4,192,2,16]", "\"shape\":[4,192,4,8]", "expected matrices of blocks of 16 bytes"),
        ("\"shape\":[4,192,2,16]", "\"shape\":[768,2,16]", "gate_up_proj_scales"),
    ] {
        let changed = replaced(&bytes, from, to);
        std::fs::write(scratch.join("model.safetensors"), changed).unwrap();
        let error = Model::load(&runtime, &scratch, LoadOptions::default()).err().unwrap_or_else(|| panic!("{to} was taken"));
        assert_eq!(error.kind(), ErrorKind::InvalidFile, "{error}");
        assert!(error.message().contains(says) && error.message().contains("model.safetensors"), "{error}");
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

/// A safetensors file with every `from` of its header replaced.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header = std::str::from_utf8(header).unwrap();
    assert!(header.contains(from), "'{from}' is not in {header}");
    let header = header.replace(from, to);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}
