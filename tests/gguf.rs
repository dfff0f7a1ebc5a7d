//! The GGUF reader on real files: every key, value and tensor as gguf-py's reader finds them.
//!
//! `tests/goldens/gguf_files.py` writes the golden. The files lie beside the repository; absent ones are skipped.

use std::fmt::Write;
use std::path::Path;

use loquat::base::{MemoryBudget, MemoryCategory};
use loquat::format::{Access, ModelFile, Value};

#[test]
fn real_files_read_as_by_the_reference() {
    let golden = include_str!("goldens/gguf_files.json");
    let golden: serde_json::Map<String, serde_json::Value> = serde_json::from_str(golden).unwrap();
    for (name, expected) in golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(&name);
        if !path.exists() {
            eprintln!("skipped: no {}", path.display());
            continue;
        }
        let size = path.metadata().unwrap().len();
        for (access, category) in [(Access::Map, MemoryCategory::WeightsMapped), (Access::Read, MemoryCategory::WeightsPrivate)] {
            let budget = MemoryBudget::new(u64::MAX);
            let file = ModelFile::open(&path, access, &budget).unwrap();
            assert_eq!(budget.used(category), size, "{name}");
            assert_eq!(file.len(), size, "{name}");
            let found = serde_json::json!({
                "keys": file.metadata.len(),
                "tensors": file.tensors.len(),
                "crc32": format!("{:08x}", crc32(description(&file).as_bytes())),
            });
            assert_eq!(found, expected, "{name}, {access:?}");
            for tensor in &file.tensors {
                assert_eq!(file.tensor(&tensor.name).unwrap().offset, tensor.offset);
            }
            assert!(file.tensor("no such tensor").is_none());
            drop(file);
            assert_eq!(budget.used(category), 0, "{name}");
        }
    }
}

/// The text that the golden has the checksum of.
fn description(file: &ModelFile) -> String {
    let mut text = String::new();
    for (key, value) in file.metadata.iter() {
        write!(text, "{key} {}", value.ty()).unwrap();
        if let Value::Array(array) = value {
            if !array.is_empty() {
                write!(text, " {}", array.element_type()).unwrap();
            }
            text.push(' ');
            for (index, element) in array.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                scalar(&mut text, element);
            }
        } else {
            text.push(' ');
            scalar(&mut text, value);
        }
        text.push('\n');
    }
    for tensor in &file.tensors {
        let dims: Vec<String> = tensor.dims.iter().map(u64::to_string).collect();
        writeln!(text, "{} {} {} {} {}", tensor.name, dims.join("x"), tensor.ty, tensor.offset, tensor.data.len()).unwrap();
    }
    text
}

fn scalar(text: &mut String, value: Value<'_>) {
    let mut hex = |bytes: &[u8]| bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    match value {
        Value::U8(x) => hex(&x.to_le_bytes()),
        Value::I8(x) => hex(&x.to_le_bytes()),
        Value::U16(x) => hex(&x.to_le_bytes()),
        Value::I16(x) => hex(&x.to_le_bytes()),
        Value::U32(x) => hex(&x.to_le_bytes()),
        Value::I32(x) => hex(&x.to_le_bytes()),
        Value::F32(x) => hex(&x.to_le_bytes()),
        Value::U64(x) => hex(&x.to_le_bytes()),
        Value::I64(x) => hex(&x.to_le_bytes()),
        Value::F64(x) => hex(&x.to_le_bytes()),
        Value::Str(bytes) => hex(bytes),
        Value::Bool(x) => text.push_str(if x { "true" } else { "false" }),
        Value::Array(_) => panic!("no real file has arrays in arrays"),
    }
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }))
}
