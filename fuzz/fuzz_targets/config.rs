//! In a small folder, any bytes as `config.json`. What the reader takes must be sound (`tests/support/folder_oracle.rs`).
//!
//! `cargo fuzz run config fuzz/corpus/config fuzz/seeds/config -- -max_len=4096 -rss_limit_mb=512` (with `-s none` on a stable toolchain).

#![no_main]

use libfuzzer_sys::fuzz_target;
use loquat::base::{MemoryBudget, SharedBytes};
use loquat::format::ModelFile;
use test_support::folder_oracle;

const FILE: &str = "config.json";

fuzz_target!(|bytes: &[u8]| {
    let mut files = folder_oracle::small_folder();
    files.retain(|(name, _)| name != FILE);
    files.push((FILE.to_owned(), bytes.to_vec()));
    let files = files.iter().map(|(name, bytes)| (name.clone(), SharedBytes::copied(bytes))).collect();
    let file = match ModelFile::from_folder(files, "folder", &MemoryBudget::new(64 << 20)) {
        Ok(file) => file,
        Err(error) => return assert!(error.message().starts_with("folder"), "{error}"),
    };
    folder_oracle::examine(&file);
    let config: serde_json::Value = serde_json::from_slice(bytes).expect("what was read is JSON");
    let hidden = config["text_config"]["hidden_size"].as_u64().or(config["hidden_size"].as_u64());
    let architecture = file.metadata.str("general.architecture").unwrap().unwrap();
    assert_eq!(file.metadata.u64(&format!("{architecture}.embedding_length")).unwrap(), hidden);
});
