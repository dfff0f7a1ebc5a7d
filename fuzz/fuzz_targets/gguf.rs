//! Any bytes as a GGUF file. What the reader takes must be sound (`tests/support/gguf_oracle.rs`) and, written anew by a writer that
//! shares no code with the reader, read the same.
//!
//! `cargo fuzz run gguf fuzz/corpus/gguf fuzz/seeds/gguf -- -max_len=4096 -rss_limit_mb=512`
//! (with `-s none` it runs on a stable toolchain, without AddressSanitizer, which a parser in safe Rust can spare).

#![no_main]

use libfuzzer_sys::fuzz_target;
use loquat::base::{MemoryBudget, Result, SharedBytes};
use loquat::format::{ModelFile, Value};

#[allow(dead_code, reason = "shared with tests that use all of it")]
#[path = "../../tests/support/gguf_oracle.rs"]
mod gguf_oracle;
#[allow(dead_code, reason = "shared with tests that use all of it")]
#[path = "../../tests/support/gguf_writer.rs"]
mod gguf_writer;
use gguf_oracle::{alignment_of, assert_same, examine, version_of};
use gguf_writer::{File, Tensor, Val};

/// Larger alignments are fine for the reader, but the writer would pad with gigabytes.
const MAX_WRITTEN_ALIGNMENT: u32 = 4096;

fuzz_target!(|bytes: &[u8]| {
    let Ok(first) = parse(bytes) else { return };
    examine(&first, bytes);
    if alignment_of(&first) > MAX_WRITTEN_ALIGNMENT {
        return;
    }
    let mut file = File { version: version_of(&first), alignment: alignment_of(&first).into(), ..File::new() };
    file.keys = first.metadata.iter().map(|(key, value)| (key.into(), to_write(value))).collect();
    file.tensors = first.tensors.iter().map(|t| Tensor::new(&t.name, &t.dims, t.ty, t.data.to_vec())).collect();
    let written = file.write();
    let second = parse(&written).expect("a file that was read and written is read again");
    examine(&second, &written);
    assert_eq!(first.metadata.len(), second.metadata.len());
    for ((key, value), (expected_key, expected)) in second.metadata.iter().zip(&file.keys) {
        assert_eq!(key.as_bytes(), expected_key);
        assert_same(value, expected);
    }
    assert_eq!(first.tensors.len(), second.tensors.len());
    for (a, b) in first.tensors.iter().zip(&second.tensors) {
        assert_eq!((&a.name, &a.dims, a.ty, &*a.data), (&b.name, &b.dims, b.ty, &*b.data));
    }
});

fn parse(bytes: &[u8]) -> Result<ModelFile> {
    ModelFile::from_bytes(SharedBytes::copied(bytes), "fuzz", &MemoryBudget::new(u64::MAX))
}

fn to_write(value: Value<'_>) -> Val {
    match value {
        Value::U8(x) => Val::U8(x),
        Value::I8(x) => Val::I8(x),
        Value::U16(x) => Val::U16(x),
        Value::I16(x) => Val::I16(x),
        Value::U32(x) => Val::U32(x),
        Value::I32(x) => Val::I32(x),
        Value::F32(x) => Val::F32(x),
        Value::Bool(x) => Val::Bool(x),
        Value::Str(x) => Val::Str(x.into()),
        Value::U64(x) => Val::U64(x),
        Value::I64(x) => Val::I64(x),
        Value::F64(x) => Val::F64(x),
        Value::Array(x) => Val::Array(x.element_type().id(), x.iter().map(to_write).collect()),
    }
}
