//! Hostile folders and APR files: truncated and mutated ones give an error that names the place, or a sound model; never a panic, a hang, or memory
//! without bound. (`tests/hostile_gguf.rs` has GGUF, `tests/hub_tokenizers.rs` `tokenizer.json`.)

use std::time::{Duration, Instant};

use loquat::base::{Error, ErrorKind, MemoryBudget, Result, SharedBytes};
use loquat::format::{Access, ModelFile};
use test_support::apr_writer;
use test_support::as_apr::as_apr;
use test_support::folder_oracle::{examine, small_folder};

/// xorshift: a seeded stream of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn budget() -> std::sync::Arc<MemoryBudget> {
    MemoryBudget::new(256 << 20)
}

/// An error that is the file's fault, told by its name.
fn told(error: &Error, name: &str) {
    assert!(matches!(error.kind(), ErrorKind::InvalidFile | ErrorKind::Unsupported | ErrorKind::Io | ErrorKind::OutOfMemory), "{error}");
    assert!(error.message().starts_with(name), "{error}");
}

fn read(files: &[(String, Vec<u8>)]) -> Result<ModelFile> {
    let files = files.iter().map(|(name, bytes)| (name.clone(), SharedBytes::copied(bytes))).collect();
    ModelFile::from_folder(files, "folder", &budget())
}

#[test]
fn folders_cut_off_anywhere_are_errors() {
    let files = small_folder();
    examine(&read(&files).unwrap());
    for (index, (name, bytes)) in files.iter().enumerate() {
        for len in 0..bytes.len() {
            let mut cut = files.clone();
            cut[index].1.truncate(len);
            let error = read(&cut).err().unwrap_or_else(|| panic!("{name} cut at {len} was taken"));
            told(&error, "folder");
            assert!(error.message().contains(&**name), "{name} at {len}: {error}");
        }
    }
    for index in 0..files.len() {
        let mut less = files.clone();
        let (name, _) = less.remove(index);
        match read(&less) {
            Ok(file) => assert!(["generation_config.json", "tokenizer_config.json"].contains(&&*name), "{name}: {}", file.name()),
            Err(error) => told(&error, "folder"),
        }
    }
}

#[test]
fn mutated_folders_are_errors_or_sound() {
    let files = small_folder();
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let (mut failed, mut sound) = (0, 0);
    for round in 0..20_000 {
        let mut mutated = files.clone();
        for _ in 0..1 + random.below(2) {
            let index = random.below(files.len());
            let bytes = &mut mutated[index].1;
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] = b"0123456789"[random.below(10)],
                2 => bytes[at] = b"\"{}[],:.-e "[random.below(11)],
                3 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"0123456789\"{}[],:.-e"[random.below(20)]),
            }
        }
        let start = Instant::now();
        match read(&mutated) {
            Ok(file) => {
                sound += 1;
                examine(&file);
            }
            Err(error) => {
                failed += 1;
                told(&error, "folder");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(5), "round {round}");
    }
    assert!(failed > 5000 && sound > 500, "{failed} failed, {sound} sound");
}

/// The demo model as APR, without its largest tensors.
fn small_apr() -> Vec<u8> {
    let mut file = ModelFile::open(&test_support::demo("emberfield-3m-f32.gguf"), Access::Map, &budget()).unwrap();
    file.tensors.retain(|tensor| tensor.elements() < 1 << 10);
    as_apr(&file)
}

fn read_apr(bytes: &[u8]) -> Result<ModelFile> {
    ModelFile::from_bytes(SharedBytes::copied(bytes), "test.apr", &budget())
}

#[test]
fn apr_files_cut_off_anywhere_are_errors() {
    let bytes = small_apr();
    examine(&read_apr(&bytes).unwrap());
    let data = bytes.len() - 4 - 256 * 4;
    for len in (0..300).chain((300..data).step_by(211)) {
        let error = read_apr(&bytes[..len]).err().unwrap_or_else(|| panic!("cut at {len}"));
        told(&error, "test.apr");
    }
}

#[test]
fn mutated_apr_files_are_errors_or_sound() {
    let bytes = small_apr();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let (index, data) = (number(24), number(32));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut failed, mut sound) = (0, 0);
    for round in 0..2_000 {
        let mut mutated = bytes.clone();
        for _ in 0..1 + random.below(2) {
            // The header is small and matters most; of the metadata most is the vocabulary.
            let at = match random.below(4) {
                0 => random.below(64),
                1 => 64 + random.below(400),
                2 => 64 + random.below(index - 64),
                _ => index + random.below(data - index),
            };
            mutated[at] = match random.below(3) {
                0 => random.below(256) as u8,
                1 => b"0123456789\"{}[],:"[random.below(17)],
                _ => mutated[at].wrapping_add(1),
            };
        }
        apr_writer::sign_header(&mut mutated);
        let start = Instant::now();
        match read_apr(&mutated) {
            Ok(file) => {
                sound += 1;
                if sound % 8 == 0 {
                    examine(&file);
                }
            }
            Err(error) => {
                failed += 1;
                told(&error, "test.apr");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(5), "round {round}");
    }
    assert!(failed > 400 && sound > 80, "{failed} failed, {sound} sound");
}

#[test]
fn faults_in_apr_files_name_the_place() {
    let tensor = |name: &str, dtype: u8, dims: &[u64], bytes: usize| apr_writer::Tensor {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
        data: vec![1; bytes],
    };
    let settings = r#"{"architecture":"llama","hidden_size":8,"num_layers":1,"num_heads":2,"intermediate_size":8,"context_length":8,"rms_norm_eps":1e-5}"#;
    let plain =
        || apr_writer::write(settings, 0x400, vec![tensor("output_norm.weight", 0, &[8], 32), tensor("token_embd.weight", 0, &[3, 8], 96)]);
    let file = read_apr(&plain()).unwrap();
    assert_eq!(file.tensor("token_embd.weight").unwrap().dims, [8, 3]);
    let refused = |bytes: &[u8], kind: ErrorKind, says: &str| {
        let error = read_apr(bytes).expect_err("the file was taken");
        assert!(error.message().contains(says), "'{says}' is not in: {error}");
        assert_eq!(error.kind(), kind, "{error}");
    };
    use ErrorKind::{InvalidFile, Unsupported};
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = plain();
        bytes[at..at + with.len()].copy_from_slice(with);
        apr_writer::sign_header(&mut bytes);
        bytes
    };
    for magic in [b"APRN", b"APR1"] {
        refused(&changed(0, magic), Unsupported, "an APR file of version 1");
    }
    refused(&changed(0, b"APNR"), Unsupported, "another format");
    refused(&changed(4, &[3, 0]), Unsupported, "APR version 3.0");
    for (flag, says) in [(0x1u16, "LZ4"), (0x2, "ZSTD"), (0x4, "encrypted"), (0x10, "shards"), (0x800, "columns")] {
        refused(&changed(6, &flag.to_le_bytes()), Unsupported, says);
    }
    let mut unsigned = plain();
    unsigned[50] = 1;
    refused(&unsigned, InvalidFile, "at byte 40: the checksum of the header");
    refused(&changed(8, &u32::MAX.to_le_bytes()), InvalidFile, "at byte 8");
    refused(&changed(12, &65u64.to_le_bytes()), InvalidFile, "at byte 12: the offset of the metadata is 65");
    refused(&changed(20, &u32::MAX.to_le_bytes()), InvalidFile, "at byte 20: the metadata has 4294967295 bytes");
    refused(&changed(32, &u64::MAX.to_le_bytes()), InvalidFile, "at byte 32");
    refused(
        &apr_writer::write(settings, 0, vec![tensor("oracle.weight", 0, &[1], 4)]),
        Unsupported,
        "tensor 'oracle.weight': it has no place",
    );
    refused(&apr_writer::write(settings, 0, vec![tensor("output.weight", 77, &[1], 4)]), Unsupported, "tensor type 77 is unknown");
    refused(&apr_writer::write(settings, 0, vec![tensor("output.weight", 0, &[2], 4)]), InvalidFile, "4 bytes for F32 of shape [2]");
    refused(&apr_writer::write(settings, 0, vec![tensor("output.weight", 7, &[4], 4)]), Unsupported, "unsigned bytes");
    refused(&apr_writer::write("{", 0, vec![]), InvalidFile, "the metadata (bytes from 64 on): at byte");
    refused(&apr_writer::write("{}", 0, vec![]), InvalidFile, "'architecture' is missing");
    refused(
        &apr_writer::write(&settings.replace("\"num_heads\":2", "\"num_heads\":[]"), 0, vec![]),
        InvalidFile,
        "key 'num_heads': expected an integer",
    );
    refused(&apr_writer::write(&settings.replace("\"num_heads\":2,", ""), 0, vec![]), InvalidFile, "'num_heads' is missing");
    let published = apr_writer::write(settings, 0x400, vec![tensor("model.norm.weight", 0, &[8], 32)]);
    assert!(read_apr(&published).unwrap().tensor("output_norm.weight").is_some());

    // A file that is read, not mapped, has its last checksum held against it.
    let path = std::env::temp_dir().join(format!("loquat-checksum-{}.apr", std::process::id()));
    let mut broken = plain();
    let at = broken.len() - 8;
    broken[at] ^= 1;
    std::fs::write(&path, &broken).unwrap();
    assert!(ModelFile::open(&path, Access::Map, &budget()).is_ok());
    let error = ModelFile::open(&path, Access::Read, &budget()).err().unwrap();
    assert!(error.message().contains("the checksum of the file"), "{error}");
    std::fs::write(&path, plain()).unwrap();
    assert!(ModelFile::open(&path, Access::Read, &budget()).is_ok());
    std::fs::remove_file(path).unwrap();
}
