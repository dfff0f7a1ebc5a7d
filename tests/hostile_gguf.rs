//! Hostile GGUF files: truncated, mutated and handmade ones give an error that names the place, or a sound file; never a panic, a hang,
//! or more than 256 MiB. And the other way round: what is well-formed reads back as it was written.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loquat::base::{ErrorKind, MemoryBudget, Result, SharedBytes};
use loquat::format::ModelFile;
use loquat::quant::{TensorType, row_bytes};
use proptest::prelude::*;

use test_support::gguf_oracle::{alignment_of, assert_same, examine, version_of};
use test_support::gguf_writer::{File, Tensor, Val};

/// Counts the bytes of this process that are allocated, now and at most.
struct Counting;
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the caller's arguments; only numbers are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is System's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn assert_memory_stayed_bounded() {
    let peak = PEAK.load(Ordering::Relaxed);
    assert!(peak < 256 << 20, "{peak} bytes were allocated at once");
}

fn parse(bytes: SharedBytes) -> Result<ModelFile> {
    ModelFile::from_bytes(bytes, "test.gguf", &MemoryBudget::new(u64::MAX))
}

/// The demo model's bytes, from the repository or from beside it.
fn demo_model() -> Option<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let candidates = ["models/emberfield-3m-q4_k_m.gguf", "../shared/demo-model/emberfield-3m-q4_k_m.gguf"].map(|path| root.join(path));
    let found = candidates.iter().find_map(|path| std::fs::read(path).ok());
    if found.is_none() {
        eprintln!("skipped: no {}", candidates[0].display());
    }
    found
}

/// A walk over a well-formed header that shares no code with the reader: the places and sizes of all its numbers, and its end.
fn landmarks(bytes: &[u8]) -> (Vec<(usize, usize)>, usize) {
    struct Walk<'a> {
        bytes: &'a [u8],
        at: usize,
        seen: Vec<(usize, usize)>,
    }
    impl Walk<'_> {
        fn number(&mut self, size: usize) -> usize {
            let mut le = [0; 8];
            le[..size].copy_from_slice(&self.bytes[self.at..self.at + size]);
            self.seen.push((self.at, size));
            self.at += size;
            u64::from_le_bytes(le) as usize
        }
        fn string(&mut self) {
            self.at += self.number(8);
        }
        fn value(&mut self, ty: usize) {
            match ty {
                8 => self.string(),
                9 => {
                    let (element, len) = (self.number(4), self.number(8));
                    (0..len).for_each(|_| self.value(element));
                }
                0 | 1 | 7 => _ = self.number(1),
                2 | 3 => _ = self.number(2),
                4..=6 => _ = self.number(4),
                _ => _ = self.number(8),
            }
        }
    }
    let mut walk = Walk { bytes, at: 4, seen: vec![] };
    walk.number(4);
    let (tensors, keys) = (walk.number(8), walk.number(8));
    for _ in 0..keys {
        walk.string();
        let ty = walk.number(4);
        walk.value(ty);
    }
    for _ in 0..tensors {
        walk.string();
        let dims = walk.number(4);
        (0..dims).for_each(|_| _ = walk.number(8));
        walk.number(4);
        walk.number(8);
    }
    (walk.seen, walk.at)
}

/// splitmix64: a seeded stream of numbers.
struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn the_demo_model_cut_off_anywhere_is_an_error_that_says_where() {
    let Some(bytes) = demo_model() else { return };
    let (_, header) = landmarks(&bytes);
    let whole = SharedBytes::copied(&bytes);
    let file = parse(whole.clone()).unwrap();
    examine(&file, &bytes);
    let data_end = file.tensors.iter().map(|tensor| tensor.offset as usize + tensor.data.len()).max().unwrap();
    let lengths = (0..1000).map(|i| i * header / 1000).chain((0..1000).map(|i| i * data_end / 1000));
    for len in lengths {
        let error = parse(whole.slice(0..len).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFile, "{len}: {error}");
        assert!(error.message().starts_with("test.gguf: ") && error.message().contains("byte"), "{len}: {error}");
    }
    parse(whole.slice(0..data_end).unwrap()).unwrap();
    assert_memory_stayed_bounded();
}

#[test]
fn mutated_headers_are_errors_or_sound_files() {
    let Some(bytes) = demo_model() else { return };
    let (landmarks, header) = landmarks(&bytes);
    // Most numbers are the lengths and types in the vocabulary, and most mutations there are alike: half of the aims go elsewhere.
    let sparse: Vec<_> = landmarks.iter().copied().filter(|&(at, _)| at < 2000 || at > header - 4000).collect();
    let mut random = Random(42);
    let mut owner = Arc::new(bytes.clone());
    let (mut failed, mut sound) = (0, 0);
    for round in 0..20_000 {
        let mutated = Arc::get_mut(&mut owner).expect("the file of the last round is gone");
        let mut touched = Vec::new();
        for _ in 0..1 + random.below(3) {
            let aims = if random.below(2) == 0 { &sparse } else { &landmarks };
            let (at, size) = aims[random.below(aims.len())];
            let old = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let value = match random.below(8) {
                0 => u64::MAX >> random.below(64),
                1 => 1 << random.below(64),
                2 => old.wrapping_add(1),
                3 => old.wrapping_sub(1),
                4 => random.below(16) as u64,
                5 => bytes.len() as u64 - random.below(64) as u64,
                6 => u64::from_le_bytes(mutated[header / 2..header / 2 + 8].try_into().unwrap()),
                _ => random.next(),
            };
            let (at, size) = if random.below(8) == 0 { (random.below(header), 1) } else { (at, size) };
            mutated[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
            touched.push((at, size));
        }
        let start = Instant::now();
        let view = SharedBytes::new(owner.clone() as Arc<_>);
        match parse(view) {
            Ok(file) => {
                sound += 1;
                // Every parse is judged; a tenth of the sound files is walked through.
                if sound % 10 == 0 {
                    examine(&file, &owner);
                }
            }
            Err(error) => {
                failed += 1;
                assert!(matches!(error.kind(), ErrorKind::InvalidFile | ErrorKind::Unsupported), "round {round}: {error}");
                assert!(error.message().starts_with("test.gguf: "), "round {round}: {error}");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(5), "round {round} took {:?}", start.elapsed());
        let mutated = Arc::get_mut(&mut owner).expect("the file is gone");
        for (at, size) in touched {
            mutated[at..at + size].copy_from_slice(&bytes[at..at + size]);
        }
    }
    // The mutations must reach both ways out.
    assert!(failed > 5_000 && sound > 500, "{failed} failed, {sound} sound");
    assert_memory_stayed_bounded();
}

/// A small file with all that the format has.
fn small() -> File {
    let strings = Val::Array(8, vec![Val::str("one"), Val::str(""), Val::Str(vec![0xFF, 0x00])]);
    let nested = Val::Array(9, vec![Val::Array(5, vec![Val::I32(-1), Val::I32(2)]), Val::Array(8, vec![Val::str("x")])]);
    File::new()
        .key("general.architecture", Val::str("llama"))
        .key("number", Val::U32(7))
        .key("strings", strings)
        .key("nested", nested)
        .key("bools", Val::Array(7, vec![Val::Bool(true), Val::Bool(false)]))
        .tensor(Tensor::new("first", &[32, 2], TensorType::Q8_0, vec![1; 68]))
        .tensor(Tensor::new("second", &[3], TensorType::F32, vec![2; 12]))
}

#[test]
fn a_small_file_cut_off_at_any_byte_is_an_error() {
    let bytes = small().write();
    let whole = SharedBytes::copied(&bytes);
    examine(&parse(whole.clone()).unwrap(), &bytes);
    for len in 0..bytes.len() {
        let error = parse(whole.slice(0..len).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFile, "{len}: {error}");
        assert!(error.message().contains("byte"), "{len}: {error}");
    }
}

/// Asserts that `file` is refused with `kind` and a message that has each of `says`.
#[track_caller]
fn refused(file: &File, kind: ErrorKind, says: &[&str]) {
    refused_bytes(&file.write(), kind, says);
}

#[track_caller]
fn refused_bytes(bytes: &[u8], kind: ErrorKind, says: &[&str]) {
    let error = parse(SharedBytes::copied(bytes)).expect_err("the file was taken");
    for part in says {
        assert!(error.message().contains(part), "'{part}' is not in: {error}");
    }
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().starts_with("test.gguf: "), "{error}");
    assert_memory_stayed_bounded();
}

use ErrorKind::{InvalidFile, Unsupported};

#[test]
fn other_files_and_versions_are_refused_by_name() {
    refused_bytes(b"", InvalidFile, &["the magic number of a GGUF file takes 4 bytes"]);
    refused_bytes(b"GG", InvalidFile, &["the file ends 2 bytes further"]);
    refused_bytes(b"PK\x03\x04....", InvalidFile, &["at byte 0", "not a GGUF file", r#""PK\x03\x04""#]);
    refused_bytes(b"tjgg\x03\0\0\0", Unsupported, &["before GGUF"]);
    let version = |version| File { version, ..small() };
    refused(&version(0), InvalidFile, &["at byte 4", "version 0"]);
    refused(&version(1), Unsupported, &["at byte 4", "version 1"]);
    refused(&version(4), Unsupported, &["at byte 4", "version 4"]);
    refused(&version(3u32.swap_bytes()), Unsupported, &["big-endian", "version 3"]);
    refused(&version(1u32.swap_bytes()), Unsupported, &["big-endian", "version 1"]);
    refused(&version(u32::MAX), Unsupported, &["version 4294967295"]);
    refused(&File { magic: *b"FUGG", version: 3u32.swap_bytes(), ..small() }, Unsupported, &["big-endian"]);
    for version in [2, 3] {
        let bytes = File { version, ..small() }.write();
        assert_eq!(version_of(&parse(SharedBytes::copied(&bytes)).unwrap()), version);
    }
}

#[test]
fn absurd_counts_are_refused_before_they_are_allocated_for() {
    for count in [100, 1 << 20, 1 << 40, 1 << 61, u64::MAX] {
        refused(&File { key_count: Some(count), ..small() }, InvalidFile, &["at byte 16: the number of metadata keys is"]);
        refused(&File { tensor_count: Some(count), ..small() }, InvalidFile, &["at byte 8: the number of tensors is"]);
    }
    let files = [0u32, 5, 7, 8, 9, 12].into_iter().flat_map(|ty| [100, 1 << 40, 1 << 60, 1 << 61, u64::MAX].map(|len| (ty, len)));
    for (element, len) in files {
        refused(
            &File::new().raw_array(element, len, &[0; 20]),
            InvalidFile,
            &["metadata key 'a' (1 of 1): at byte 41: the array's length is", "only 20 bytes follow"],
        );
    }
    // Counts that the file could hold, but that no model has.
    let many = vec![0; 13 * 70_000];
    let mut file = File { key_count: Some(65_537), ..File::new() }.write();
    file.extend(&many);
    refused_bytes(&file, InvalidFile, &["the number of metadata keys is 65537; at most 65536"]);
    refused(&File::new().raw_array(9, 65_537, &many), InvalidFile, &["key 'a'", "65537", "arrays in arrays"]);
}

#[test]
fn memory_is_bounded_for_the_worst_headers_of_some_megabytes() {
    const SIZE: usize = 4 << 20;
    // Empty strings, least pairs, least tensors, arrays in arrays: whatever takes most memory per byte of file.
    let strings = File::new().raw_array(8, (SIZE / 8) as u64, &vec![0; SIZE]);
    let file = parse(SharedBytes::copied(&strings.write())).unwrap();
    assert_eq!(file.metadata.strings("a").unwrap().unwrap().len(), SIZE / 8);
    drop(file);

    let mut pairs = File::new();
    pairs.keys.extend((0..65_536u32).map(|i| (format!("{i:x}").into_bytes(), Val::Array(8, vec![]))));
    assert_eq!(parse(SharedBytes::copied(&pairs.write())).unwrap().metadata.len(), 65_536);

    let mut tensors = File { alignment: 1, ..File::new() }.key("general.alignment", Val::U8(1));
    tensors.tensors.extend((0..80_000).map(|i| Tensor::new(&format!("{i:x}"), &[1, 1, 1, 1], TensorType::I8, vec![0])));
    assert_eq!(parse(SharedBytes::copied(&tensors.write())).unwrap().tensors.len(), 80_000);

    let mut inner = Vec::new();
    (0..65_536).for_each(|_| inner.extend([8u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    let nested = File::new().raw_array(9, 65_536, &inner);
    assert_eq!(parse(SharedBytes::copied(&nested.write())).unwrap().metadata.array("a").unwrap().unwrap().len(), 65_536);

    // All names alike but for the last byte: sorting must stay fast.
    let mut long = File::new();
    long.keys.extend((0..64u8).map(|i| ([vec![b'k'; 65_534], vec![i + 32]].concat(), Val::Bool(true))));
    assert_eq!(parse(SharedBytes::copied(&long.write())).unwrap().metadata.len(), 64);
    assert_memory_stayed_bounded();
}

#[test]
fn faults_in_metadata_name_the_key() {
    let key = |key: &str, value: Val| File::new().key("x", Val::U8(0)).key(key, value);
    refused(&key("x", Val::U8(1)), InvalidFile, &["metadata key 'x' stands twice", "number 1 and 2"]);
    refused(&key("odd", Val::Raw(13, vec![0; 9])), InvalidFile, &["metadata key 'odd' (2 of 2): at byte 49: the value's type is 13"]);
    refused(&key("b", Val::Raw(7, vec![2])), InvalidFile, &["metadata key 'b' (2 of 2): at byte 51: a bool is 0 or 1, not 2"]);
    refused(&key("b", Val::Array(7, vec![Val::Bool(true), Val::U8(9)])), InvalidFile, &["'b'", "element 1: at byte 64: a bool", "not 9"]);
    refused(&key("bad", Val::Array(77, vec![])), InvalidFile, &["'bad'", "the array's element type is 77"]);
    let mut file = File::new();
    file.keys.push((vec![b'k', 0xFF], Val::U8(1)));
    refused(&file, InvalidFile, &["metadata key 1 of 1: at byte 33: the key is not UTF-8"]);
    file.keys[0].0 = vec![b'k'; 65_536];
    refused(&file, InvalidFile, &["metadata key 1 of 1: at byte 24: the key is 65536 bytes long; at most 65535"]);
    // A string that claims more than there is, alone and in an array.
    let long = |len: u64| Val::Raw(8, [len.to_le_bytes().as_slice(), b"abc"].concat());
    for len in [4, 1 << 32, u64::MAX] {
        refused(
            &File::new().key("s", long(len)),
            InvalidFile,
            &["metadata key 's' (1 of 1): at byte 45: the string takes", "ends 3 bytes further"],
        );
        let strings = Val::Array(8, vec![Val::str("fine"), long(len)]);
        refused(&File::new().key("s", strings), InvalidFile, &["metadata key 's' (1 of 1): element 1: at byte 69: the string takes"]);
    }
}

#[test]
fn arrays_in_arrays_are_bounded_in_depth() {
    let deep = |depth: usize| (1..depth).fold(Val::Array(4, vec![Val::U32(1)]), |inner, _| Val::Array(9, vec![inner]));
    parse(SharedBytes::copied(&File::new().key("deep", deep(4)).write())).unwrap();
    refused(&File::new().key("deep", deep(5)), InvalidFile, &["metadata key 'deep'", "element 0: element 0", "more than 4 deep"]);
    let one_array = [9u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    refused(&File::new().key("deep", Val::Raw(9, one_array.repeat(300_000))), InvalidFile, &["more than 4 deep"]);
}

#[test]
fn alignment_is_a_power_of_two_and_any_of_them_works() {
    for alignment in [1u32, 8, 64, 4096, 1 << 20] {
        let mut file = small().key("general.alignment", Val::U32(alignment));
        file.alignment = alignment.into();
        let bytes = file.write();
        let file = parse(SharedBytes::copied(&bytes)).unwrap();
        assert_eq!(alignment_of(&file), alignment);
        assert_eq!(&*file.tensor("second").unwrap().data, &[2; 12]);
        examine(&file, &bytes);
    }
    for value in [Val::U32(0), Val::U32(24), Val::U32(u32::MAX), Val::I32(-32), Val::U64(1 << 33), Val::F32(32.0), Val::str("32")] {
        refused(&small().key("general.alignment", value), InvalidFile, &["metadata key 'general.alignment'"]);
    }
    // The data section would start far behind the file's end.
    refused(
        &small().key("general.alignment", Val::U32(1 << 31)),
        InvalidFile,
        &["'second'", "not a multiple of the alignment, 2147483648"],
    );
}

#[test]
fn faults_in_the_tensor_table_name_the_tensor() {
    let second = |change: &dyn Fn(&mut Tensor)| {
        let mut file = small();
        change(&mut file.tensors[1]);
        file
    };
    let place = "tensor 'second' (2 of 2): ";
    refused(&second(&|t| t.name = b"first".into()), InvalidFile, &["tensor 'first' stands twice: as number 1 and 2"]);
    refused(&second(&|t| t.name = vec![0xC0]), InvalidFile, &["tensor 2 of 2: at byte", "the name is not UTF-8"]);
    refused(&second(&|t| t.dims = vec![]), InvalidFile, &[place, "0 dimensions; a tensor has one to 4"]);
    refused(&second(&|t| t.dims = vec![1; 5]), InvalidFile, &[place, "5 dimensions"]);
    refused(&second(&|t| t.dims = vec![1; 1000]), InvalidFile, &[place, "1000 dimensions"]);
    refused(&second(&|t| t.dims = vec![3, 0]), InvalidFile, &[place, "dimension 2 is zero"]);
    refused(&second(&|t| t.type_id = 1000), Unsupported, &[place, "tensor type 1000 is unknown"]);
    refused(&second(&|t| t.type_id = 31), Unsupported, &[place, "Q4_0_4_4 (31)", "given up"]);
    refused(
        &second(&|t| t.type_id = TensorType::Q4_K.ggml_id()),
        InvalidFile,
        &[place, "3 columns are not a whole number of Q4_K blocks of 256"],
    );
    refused(&second(&|t| t.offset = Some(33)), InvalidFile, &[place, "offset 33 is not a multiple of the alignment, 32"]);
    refused(&second(&|t| t.offset = Some(64)), InvalidFile, &["tensors 'first' and 'second' overlap", "the second starts at"]);
    refused(&second(&|t| t.offset = Some(0)), InvalidFile, &["'first'", "'second'", "overlap"]);
    for dims in [vec![4], vec![1 << 40], vec![u64::MAX], vec![1 << 32, 1 << 32], vec![3, u64::MAX], vec![1 << 16; 4], vec![1 << 62, 4]] {
        let file = second(&|t| t.dims = dims.clone());
        let error = parse(SharedBytes::copied(&file.write())).unwrap_err();
        assert!(error.message().starts_with("test.gguf: tensor 'second' (2 of 2): "), "{error}");
        assert!(error.message().contains("passes all limits") || error.message().contains("pass the end of the file"), "{error}");
    }
    for offset in [128, 1 << 40, u64::MAX - 31, 1 << 63] {
        refused(&second(&|t| t.offset = Some(offset)), InvalidFile, &[place, "pass the end of the file", "truncated?"]);
    }
    // Types that are known but not decoded are for those who use the tensor to refuse.
    let bytes = second(&|t| (t.dims, t.type_id, t.data) = (vec![256], TensorType::Q8_K.ggml_id(), vec![0; 292])).write();
    assert_eq!(parse(SharedBytes::copied(&bytes)).unwrap().tensor("second").unwrap().ty, TensorType::Q8_K);
    // In any order and with gaps is fine.
    let bytes = second(&|t| (t.offset, t.data) = (Some(160), vec![7; 12 + 64])).write();
    assert_eq!(&*parse(SharedBytes::copied(&bytes)).unwrap().tensor("second").unwrap().data, &[7; 12]);
}

#[test]
fn typed_access_says_what_is_wrong() {
    let file = small()
        .key("negative", Val::I64(-1))
        .key("big", Val::U64(u64::MAX))
        .key("float", Val::F32(0.5))
        .key("raw", Val::Str(vec![b'a', 0xFF]))
        .key("empty", Val::Array(4, vec![]))
        .key("u16s", Val::Array(2, vec![Val::U16(1), Val::U16(65_535)]))
        .key("i8s", Val::Array(1, vec![Val::I8(1), Val::I8(-128)]));
    let file = parse(SharedBytes::copied(&file.write())).unwrap();
    let m = &file.metadata;
    assert_eq!(m.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(m.u32("number").unwrap(), Some(7));
    assert_eq!(m.f32("number").unwrap(), Some(7.0));
    assert_eq!(m.f64("float").unwrap(), Some(0.5));
    assert_eq!(m.i64("negative").unwrap(), Some(-1));
    assert_eq!(m.u64("big").unwrap(), Some(u64::MAX));
    assert_eq!(m.bytes("raw").unwrap(), Some(b"a\xFF".as_slice()));
    assert_eq!(m.bools("bools").unwrap(), Some(vec![true, false]));
    assert_eq!(m.i32s("u16s").unwrap(), Some(vec![1, 65_535]));
    assert_eq!(m.f32s("i8s").unwrap(), Some(vec![1.0, -128.0]));
    let strings = m.strings("strings").unwrap().unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), [b"one".as_slice(), b"", &[0xFF, 0x00]]);
    assert_eq!((strings.get(2), strings.get(3)), (Some([0xFF, 0x00].as_slice()), None));
    assert!(m.strings("empty").unwrap().unwrap().is_empty());
    assert!(m.str("absent").unwrap().is_none() && m.f32s("absent").unwrap().is_none() && m.strings("absent").unwrap().is_none());

    let says = |result: Result<()>| result.unwrap_err().message().to_owned();
    assert_eq!(says(m.str("number").map(drop)), "metadata key 'number': expected string, found u32");
    assert_eq!(says(m.str("raw").map(drop)), "metadata key 'raw': not UTF-8 at byte 1 of the string");
    assert_eq!(says(m.u32("float").map(drop)), "metadata key 'float': expected u32, found f32");
    assert_eq!(says(m.u32("negative").map(drop)), "metadata key 'negative': -1 does not fit u32");
    assert_eq!(says(m.i64("big").map(drop)), "metadata key 'big': 18446744073709551615 does not fit i64");
    assert_eq!(says(m.bool("number").map(drop)), "metadata key 'number': expected bool, found u32");
    assert_eq!(says(m.f32("strings").map(drop)), "metadata key 'strings': expected number, found array");
    assert_eq!(says(m.strings("number").map(drop)), "metadata key 'number': expected array, found u32");
    assert_eq!(says(m.strings("bools").map(drop)), "metadata key 'bools': expected an array of strings, found one of bool");
    assert_eq!(says(m.u32s("i8s").map(drop)), "metadata key 'i8s': expected integers that fit u32, element 1 is -128");
    assert_eq!(says(m.i32s("nested").map(drop)), "metadata key 'nested': expected an array of integers that fit i32, found one of array");
}

#[test]
fn the_budget_holds_the_indexes_of_string_arrays() {
    let bytes = SharedBytes::copied(&small().write());
    let budget = MemoryBudget::new(15);
    let error = ModelFile::from_bytes(bytes.clone(), "test.gguf", &budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert_eq!(budget.private_used(), 0);
    let budget = MemoryBudget::new(16);
    let file = ModelFile::from_bytes(bytes, "test.gguf", &budget).unwrap();
    assert_eq!(budget.private_used(), 16);
    drop(file);
    assert_eq!(budget.private_used(), 0);
}

fn scalar() -> impl Strategy<Value = Val> {
    prop_oneof![
        any::<u8>().prop_map(Val::U8),
        any::<i8>().prop_map(Val::I8),
        any::<u16>().prop_map(Val::U16),
        any::<i16>().prop_map(Val::I16),
        any::<u32>().prop_map(Val::U32),
        any::<i32>().prop_map(Val::I32),
        any::<u32>().prop_map(|bits| Val::F32(f32::from_bits(bits))),
        any::<bool>().prop_map(Val::Bool),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Val::Str),
        any::<u64>().prop_map(Val::U64),
        any::<i64>().prop_map(Val::I64),
        any::<u64>().prop_map(|bits| Val::F64(f64::from_bits(bits))),
    ]
}

/// Arrays of one scalar type: the first element's.
fn array() -> impl Strategy<Value = Val> {
    let same = |items: Vec<Val>| {
        let ty = items.first().map_or(4, Val::type_id);
        Val::Array(ty, items.into_iter().filter(|item| item.type_id() == ty).collect())
    };
    let flat = prop_oneof![
        prop::collection::vec(scalar(), 0..8).prop_map(same),
        prop::collection::vec(any::<u32>().prop_map(Val::U32), 0..8).prop_map(same),
        prop::collection::vec(any::<bool>().prop_map(Val::Bool), 0..8).prop_map(same),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20).prop_map(Val::Str), 0..8).prop_map(same),
    ];
    flat.prop_recursive(3, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(|items| Val::Array(9, items)))
}

fn tensor() -> impl Strategy<Value = (usize, Vec<u64>, u8)> {
    (0..TensorType::ALL.len(), prop::collection::vec(1u64..4, 1..=4), any::<u8>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(
        keys in prop::collection::btree_map("[a-z.é]{0,12}", prop_oneof![scalar(), array()], 0..12),
        tensors in prop::collection::vec(tensor(), 0..6),
        log_alignment in 0u32..9,
        version in 2u32..=3,
    ) {
        let alignment = 1u32 << log_alignment;
        let mut file = File { version, alignment: alignment.into(), ..File::new() }.key("general.alignment", Val::U32(alignment));
        file.keys.extend(keys.into_iter().map(|(key, value)| (key.into_bytes(), value)));
        for (index, (ty, dims, fill)) in tensors.into_iter().enumerate() {
            let ty = TensorType::ALL[ty];
            let mut dims = dims;
            dims[0] *= ty.block_len() as u64;
            let bytes = row_bytes(ty, dims.iter().product::<u64>() as usize).unwrap();
            file.tensors.push(Tensor::new(&format!("tensor.{index}"), &dims, ty, vec![fill; bytes]));
        }
        let bytes = file.write();
        let read = parse(SharedBytes::copied(&bytes)).unwrap();
        examine(&read, &bytes);
        prop_assert_eq!(version_of(&read), version);
        prop_assert_eq!(read.metadata.len(), file.keys.len());
        for (index, (key, value)) in file.keys.iter().enumerate() {
            let (found_key, found) = read.metadata.at(index).unwrap();
            prop_assert_eq!(found_key.as_bytes(), key);
            assert_same(found, value);
        }
        prop_assert_eq!(read.tensors.len(), file.tensors.len());
        for (found, written) in read.tensors.iter().zip(&file.tensors) {
            prop_assert_eq!(found.name.as_bytes(), &written.name);
            prop_assert_eq!((&found.dims, found.ty.ggml_id()), (&written.dims, written.type_id));
            prop_assert_eq!(&*found.data, &written.data);
        }
    }

    #[test]
    fn noise_behind_a_header_is_an_error_or_a_sound_file(
        keys in 0u64..4, tensors in 0u64..4, noise in prop::collection::vec(prop_oneof![4 => Just(0u8), 2 => 0u8..13, 1 => any::<u8>()], 0..300),
    ) {
        let mut bytes = File { key_count: Some(keys), tensor_count: Some(tensors), ..File::new() }.write();
        bytes.extend(noise);
        if let Ok(file) = parse(SharedBytes::copied(&bytes)) {
            examine(&file, &bytes);
        }
    }
}
