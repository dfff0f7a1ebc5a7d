//! Any bytes as an APR file, with and without a right checksum of the header. What the reader takes must be sound
//! (`tests/support/folder_oracle.rs`), and its plain tensors are the file's own bytes.
//!
//! `cargo fuzz run apr fuzz/corpus/apr fuzz/seeds/apr -- -max_len=4096 -rss_limit_mb=512` (with `-s none` on a stable toolchain).

#![no_main]

use libfuzzer_sys::fuzz_target;
use loquat::base::{MemoryBudget, SharedBytes};
use loquat::format::{Container, ModelFile};
use test_support::apr_writer;
use test_support::folder_oracle;

fuzz_target!(|bytes: &[u8]| {
    if !bytes.starts_with(b"APR\0") {
        return;
    }
    read(bytes);
    if bytes.len() >= 64 {
        let mut signed = bytes.to_vec();
        apr_writer::sign_header(&mut signed);
        read(&signed);
    }
});

fn read(bytes: &[u8]) {
    let file = match ModelFile::from_bytes(SharedBytes::copied(bytes), "fuzz", &MemoryBudget::new(64 << 20)) {
        Ok(file) => file,
        Err(error) => return assert!(error.message().starts_with("fuzz: "), "{error}"),
    };
    assert_eq!(file.container(), Container::Apr);
    folder_oracle::examine(&file);
    for tensor in &file.tensors {
        let start = tensor.offset as usize;
        assert!(start.is_multiple_of(64) && start < bytes.len());
        // The container's own types were converted.
        let same = bytes.get(start..start + tensor.data.len()) == Some(&*tensor.data);
        assert!(same || ["F32", "Q4_0"].contains(&tensor.ty.name()), "{}", tensor.name);
    }
}
