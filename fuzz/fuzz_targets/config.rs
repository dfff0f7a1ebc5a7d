//! In a small folder, any bytes as `config.json`. What the reader takes must be sound (`tests/support/folder_oracle.rs`).
//!
//! `cargo fuzz run config fuzz/corpus/config fuzz/seeds/config -- -max_len=4096 -rss_limit_mb=512` (with `-s none` on a stable toolchain).

#![no_main]

use libfuzzer_sys::fuzz_target;
use test_support::folder_oracle::{read_or_told, small_folder_with};

fuzz_target!(|bytes: &[u8]| {
    let Some(file) = read_or_told(&small_folder_with("config.json", bytes)) else { return };
    let config: serde_json::Value = serde_json::from_slice(bytes).expect("what was read is JSON");
    let hidden = config["text_config"]["hidden_size"].as_u64().or(config["hidden_size"].as_u64());
    let architecture = file.metadata.str("general.architecture").unwrap().unwrap();
    assert_eq!(file.metadata.u64(&format!("{architecture}.embedding_length")).unwrap(), hidden);
});
