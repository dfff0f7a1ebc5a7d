//! Any bytes as a GGUF file. What the reader takes must be sound (`tests/support/gguf_oracle.rs`) and, written anew by a writer that
//! shares no code with the reader, read the same.
//!
//! `cargo fuzz run gguf fuzz/corpus/gguf fuzz/seeds/gguf -- -max_len=4096 -rss_limit_mb=512`
//! (with `-s none` it runs on a stable toolchain, without AddressSanitizer, which a parser in safe Rust can spare).

#![no_main]

use libfuzzer_sys::fuzz_target;
use loquat::base::{MemoryBudget, Result, SharedBytes};
use loquat::format::ModelFile;
use test_support::gguf_oracle::{alignment_of, assert_same, examine, version_of};
use test_support::gguf_writer::{File, Tensor};

/// Larger alignments are fine for the reader, but the writer would pad with gigabytes.
const MAX_WRITTEN_ALIGNMENT: u32 = 4096;

fuzz_target!(|bytes: &[u8]| {
    let Ok(first) = parse(bytes) else { return };
    examine(&first, bytes);
    if alignment_of(&first) > MAX_WRITTEN_ALIGNMENT {
        return;
    }
    let mut file = File { version: version_of(&first), alignment: alignment_of(&first).into(), ..File::new() };
    file.keys = first.metadata.iter().map(|(key, value)| (key.into(), value.into())).collect();
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
