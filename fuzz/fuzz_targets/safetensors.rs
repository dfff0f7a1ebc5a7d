//! In a small folder, any bytes as the only weight file. What the reader takes must be sound (`tests/support/folder_oracle.rs`).
//!
//! `cargo fuzz run safetensors fuzz/corpus/safetensors fuzz/seeds/safetensors -- -max_len=4096 -rss_limit_mb=512` (with `-s none` on a stable toolchain).

#![no_main]

use libfuzzer_sys::fuzz_target;
use test_support::folder_oracle::{read_or_told, small_folder_with};

fuzz_target!(|bytes: &[u8]| {
    let mut files = small_folder_with("model.safetensors", bytes);
    files.retain(|(name, _)| name != "model.safetensors.index.json");
    let Some(file) = read_or_told(&files) else { return };
    // The format has neither gaps nor overlaps: what was not left out on purpose lies behind the header, in order.
    let mut ends: Vec<(usize, usize)> = file.tensors.iter().filter(|t| t.offset > 0).map(|t| (t.offset as usize, t.data.len())).collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + len]).expect("what was read has a header");
    // Eight-bit floats were converted.
    let converted = |offset: u64| {
        let at_offset =
            |entry: &&serde_json::Value| entry["data_offsets"][0].as_u64().is_some_and(|start| start + 8 + len as u64 == offset);
        let entry = header.as_object().unwrap().values().find(at_offset);
        entry.is_some_and(|entry| entry["dtype"].as_str().is_some_and(|dtype| dtype.starts_with("F8")))
    };
    for tensor in file.tensors.iter().filter(|tensor| tensor.offset > 0 && !converted(tensor.offset)) {
        assert_eq!(&bytes[tensor.offset as usize..][..tensor.data.len()], &*tensor.data, "{}", tensor.name);
    }
});
