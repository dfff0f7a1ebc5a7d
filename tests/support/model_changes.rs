//! Small models with changed configurations and tensors, for tests and the fuzz target. Either the loader refuses the file, naming what is
//! wrong with it, or the model computes: no panic, and equal bits whether the tokens come at once or one by one.

use loquat::base::{ErrorKind, MemoryBudget, SharedBytes};
use loquat::format::ModelFile;
use loquat::model::{LoadOptions, Model};
use loquat::runtime::Runtime;
use loquat::session::{EmbedStep, Embedder, EmbedderOptions, Session, SessionOptions, Step};

use crate::gguf_writer::{File, Tensor, Val};

/// Makes the changes (six bytes each, see [`change`]) and checks what becomes of the model.
pub fn check(runtime: &Runtime, mut file: File, changes: &[u8]) {
    changes.chunks_exact(6).for_each(|bytes| change(&mut file, bytes));
    let model = match Model::from_bytes(runtime, SharedBytes::copied(&file.write()), "changed", LoadOptions::default()) {
        Ok(model) => model,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::InvalidFile | ErrorKind::Unsupported | ErrorKind::OutOfMemory), "{error}");
            assert!(!error.message().is_empty());
            return;
        }
    };
    let (Some(at_once), Some(one_by_one)) = (outputs(&model, u64::MAX, 6), outputs(&model, 0, 1)) else { return };
    assert!(at_once == one_by_one, "other bits token by token");
}

/// The bits of what comes out for six tokens; none where there is no memory or no room for them.
fn outputs(model: &Model, budget: u64, chunk: usize) -> Option<Vec<u32>> {
    let tokens: Vec<u32> = (0..6).map(|token| token % model.vocab_size().unwrap() as u32).collect();
    let mut bits = vec![];
    if model.config().unwrap().encoder {
        let mut embedder = Embedder::new(model, &EmbedderOptions { tokens: 6, ..Default::default() }).ok()?;
        embedder.begin(&tokens).unwrap();
        while embedder.step(budget).unwrap() != EmbedStep::Done {}
        bits.extend(embedder.row(0).unwrap().iter().map(canonical));
        return Some(bits);
    }
    let options = SessionOptions { context: 8, batch: 6, all_logits: true, max_tokens: Some(0), prefix_reuse: false, ..Default::default() };
    let mut session = Session::new(model, &options).ok()?;
    for part in tokens.chunks(chunk) {
        session.append(part).unwrap();
        while session.step(budget).unwrap() == Step::Pending {}
        for position in session.logits_range() {
            bits.extend(session.logits_at(position).unwrap().iter().map(canonical));
        }
    }
    Some(bits)
}

/// A NaN has many bit patterns, and which one comes out is nobody's promise.
fn canonical(x: &f32) -> u32 {
    if x.is_nan() { u32::MAX } else { x.to_bits() }
}

/// `[what, where, number (u32)]`: a key set to a number or removed, a dimension of a tensor set, a tensor removed or renamed to another's name.
fn change(file: &mut File, bytes: &[u8]) {
    let (what, place) = (bytes[0], usize::from(bytes[1]));
    let number = u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
    let (keys, tensors) = (file.keys.len(), file.tensors.len());
    if keys == 0 || tensors == 0 {
        return;
    }
    match what % 7 {
        0 => {
            let value = &mut file.keys[place % keys].1;
            *value = match &*value {
                Val::U32(_) => Val::U32(number),
                Val::F32(_) => Val::F32(f32::from_bits(number)),
                Val::Bool(_) => Val::Bool(number % 2 == 1),
                other => other.clone(),
            };
        }
        // Small numbers come up more often than they would by chance.
        1 => file.keys[place % keys].1 = Val::U32(number % 100),
        2 => file.keys[place % keys].1 = Val::F32((number % 1000) as f32 / 100.0),
        3 => drop(file.keys.remove(place % keys)),
        4 => {
            let tensor = &mut file.tensors[place % tensors];
            let dims = tensor.dims.len();
            tensor.dims[number as usize % dims] = u64::from(number / 16 % 100);
            let elements: u64 = tensor.dims.iter().product();
            tensor.data.resize(elements as usize * 4, 0);
        }
        5 => drop(file.tensors.remove(place % tensors)),
        _ => file.tensors[place % tensors].name = file.tensors[number as usize % tensors].name.clone(),
    }
}

/// A sound file, to be changed and written again.
pub fn read(bytes: &[u8]) -> File {
    let read = ModelFile::from_bytes(SharedBytes::copied(bytes), "seed", &MemoryBudget::new(u64::MAX)).expect("a sound seed");
    let mut file = File::new();
    file.keys = read.metadata.iter().map(|(key, value)| (key.into(), value.into())).collect();
    file.tensors = read.tensors.iter().map(|t| Tensor::new(&t.name, &t.dims, t.ty, t.data.to_vec())).collect();
    file
}
