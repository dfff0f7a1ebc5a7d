//! What must hold for every GGUF file that the reader takes, for tests and the fuzz target.

use loquat::format::{Array, Container, ModelFile, Value};
use loquat::quant::row_bytes;

use crate::gguf_writer::Val;

/// The version of a GGUF file.
pub fn version_of(file: &ModelFile) -> u32 {
    match file.container() {
        Container::Gguf { version, .. } => version,
        other => panic!("{} is not GGUF", other.name()),
    }
}

/// The alignment of a GGUF file.
pub fn alignment_of(file: &ModelFile) -> u32 {
    match file.container() {
        Container::Gguf { alignment, .. } => alignment,
        other => panic!("{} is not GGUF", other.name()),
    }
}

/// Touches everything that a parsed file offers; a sound file can't fail here.
pub fn examine(file: &ModelFile, bytes: &[u8]) {
    fn walk(array: &Array) -> usize {
        let mut count = 0;
        for element in array.iter() {
            assert_eq!(element.ty(), array.element_type());
            count += element.array().map_or(1, walk);
        }
        assert_eq!(array.iter().count(), array.len());
        assert!(array.get(array.len()).is_none());
        count
    }
    for (index, (key, value)) in file.metadata.iter().enumerate() {
        assert_eq!(file.metadata.index_of(key), Some(index));
        value.array().map(walk);
        let _ = (file.metadata.str(key), file.metadata.bool(key), file.metadata.u32(key), file.metadata.f32(key));
        let _ = (file.metadata.strings(key), file.metadata.i32s(key), file.metadata.f32s(key), file.metadata.bools(key));
    }
    let mut ranges = Vec::new();
    for (index, tensor) in file.tensors.iter().enumerate() {
        assert_eq!(file.tensor(&tensor.name).unwrap() as *const _, &file.tensors[index] as *const _);
        let start = tensor.offset as usize;
        assert_eq!(&*tensor.data, &bytes[start..start + tensor.data.len()]);
        assert_eq!(Some(tensor.data.len()), row_bytes(tensor.ty, tensor.elements() as usize));
        assert!(tensor.offset.is_multiple_of(alignment_of(file).into()));
        ranges.push((start, start + tensor.data.len()));
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
}

/// Asserts that a value reads as it was written, floats by their bits.
#[track_caller]
pub fn assert_same(found: Value<'_>, written: &Val) {
    match (found, written) {
        (Value::U8(a), Val::U8(b)) => assert_eq!(a, *b),
        (Value::I8(a), Val::I8(b)) => assert_eq!(a, *b),
        (Value::U16(a), Val::U16(b)) => assert_eq!(a, *b),
        (Value::I16(a), Val::I16(b)) => assert_eq!(a, *b),
        (Value::U32(a), Val::U32(b)) => assert_eq!(a, *b),
        (Value::I32(a), Val::I32(b)) => assert_eq!(a, *b),
        (Value::F32(a), Val::F32(b)) => assert_eq!(a.to_bits(), b.to_bits()),
        (Value::Bool(a), Val::Bool(b)) => assert_eq!(a, *b),
        (Value::Str(a), Val::Str(b)) => assert_eq!(a, b),
        (Value::U64(a), Val::U64(b)) => assert_eq!(a, *b),
        (Value::I64(a), Val::I64(b)) => assert_eq!(a, *b),
        (Value::F64(a), Val::F64(b)) => assert_eq!(a.to_bits(), b.to_bits()),
        (Value::Array(a), Val::Array(ty, b)) => {
            assert_eq!((a.element_type().id(), a.len()), (*ty, b.len()));
            a.iter().zip(b).for_each(|(a, b)| assert_same(a, b));
        }
        (found, written) => panic!("{written:?} was read as {found:?}"),
    }
}
