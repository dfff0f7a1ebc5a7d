//! In a small folder, any bytes as `model.safetensors.index.json`. What the reader takes must be sound (`tests/support/folder_oracle.rs`).
//!
//! `cargo fuzz run index fuzz/corpus/index fuzz/seeds/index -- -max_len=4096 -rss_limit_mb=512` (with `-s none` on a stable toolchain).

#![no_main]

use libfuzzer_sys::fuzz_target;
use test_support::folder_oracle::{read_or_told, small_folder_with};

fuzz_target!(|bytes: &[u8]| {
    let files = small_folder_with("model.safetensors.index.json", bytes);
    let Some(file) = read_or_told(&files) else { return };
    // Every tensor lies in the file that a lenient reader of the index finds it in.
    let index: serde_json::Value = serde_json::from_slice(bytes).expect("what was read is JSON");
    let map = index["weight_map"].as_object().expect("what was read is an index");
    let names: std::collections::BTreeSet<&str> = map.values().map(|name| name.as_str().expect("a file")).collect();
    let names: Vec<&str> = names.into_iter().collect();
    for tensor in &file.tensors {
        // Eight-bit floats and what is made of the configuration are not in a file as they are.
        if tensor.offset > 0 && tensor.name != "blk.0.attn_q.weight" {
            let (_, bytes) = files.iter().find(|(name, _)| name == names[tensor.file as usize]).expect("a file of the folder");
            assert_eq!(&bytes[tensor.offset as usize..][..tensor.data.len()], &*tensor.data, "{}", tensor.name);
        }
    }
});
