//! In a small folder, any bytes as the only weight file. What the reader takes must be sound (`tests/support/folder_oracle.rs`).
//!
//! `cargo fuzz run safetensors fuzz/corpus/safetensors fuzz/seeds/safetensors -- -max_len=4096 -rss_limit_mb=512` (with `-s none` on a stable toolchain).

#![no_main]

use libfuzzer_sys::fuzz_target;
use loquat::base::{MemoryBudget, SharedBytes};
use loquat::format::ModelFile;
use test_support::folder_oracle;

const FILE: &str = "model.safetensors";

fuzz_target!(|bytes: &[u8]| {
    let mut files = folder_oracle::small_folder();
    files.retain(|(name, _)| name != "model.safetensors.index.json");
    files.retain(|(name, _)| name != FILE);
    files.push((FILE.to_owned(), bytes.to_vec()));
    let files = files.iter().map(|(name, bytes)| (name.clone(), SharedBytes::copied(bytes))).collect();
    let file = match ModelFile::from_folder(files, "folder", &MemoryBudget::new(64 << 20)) {
        Ok(file) => file,
        Err(error) => return assert!(error.message().starts_with("folder"), "{error}"),
    };
    folder_oracle::examine(&file);
    // The format has neither gaps nor overlaps: what was not left out on purpose lies behind the header, in order.
    let mut ends: Vec<(usize, usize)> = file.tensors.iter().filter(|t| t.offset > 0).map(|t| (t.offset as usize, t.data.len())).collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for tensor in file.tensors.iter().filter(|tensor| tensor.offset > 0) {
        let start = tensor.offset as usize;
        // Eight-bit floats were converted.
        if bytes.get(start..start + tensor.data.len()).is_some_and(|there| there != &*tensor.data) {
            assert_eq!(tensor.ty.name(), "F32");
        }
    }
});
