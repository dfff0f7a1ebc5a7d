//! A GGUF writer for tests: well-formed files from plain values, and ill-formed ones by overriding single fields.

use loquat::format::Value;
use loquat::quant::TensorType;

/// A metadata value to write.
#[derive(Debug, Clone)]
pub enum Val {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(Vec<u8>),
    U64(u64),
    I64(i64),
    F64(f64),
    /// Element type, elements.
    Array(u32, Vec<Val>),
    /// Type and bytes as they are given.
    Raw(u32, Vec<u8>),
}

/// The value that was read, to be written again.
impl From<Value<'_>> for Val {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::U8(x) => Self::U8(x),
            Value::I8(x) => Self::I8(x),
            Value::U16(x) => Self::U16(x),
            Value::I16(x) => Self::I16(x),
            Value::U32(x) => Self::U32(x),
            Value::I32(x) => Self::I32(x),
            Value::F32(x) => Self::F32(x),
            Value::Bool(x) => Self::Bool(x),
            Value::Str(x) => Self::Str(x.into()),
            Value::U64(x) => Self::U64(x),
            Value::I64(x) => Self::I64(x),
            Value::F64(x) => Self::F64(x),
            Value::Array(x) => Self::Array(x.element_type().id(), x.iter().map(Self::from).collect()),
        }
    }
}

impl Val {
    pub fn str(text: &str) -> Self {
        Self::Str(text.as_bytes().to_vec())
    }

    pub fn type_id(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Str(_) => 8,
            Self::Array(..) => 9,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
            Self::Raw(ty, _) => *ty,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(x) => out.push(*x),
            Self::I8(x) => out.push(*x as u8),
            Self::U16(x) => out.extend(x.to_le_bytes()),
            Self::I16(x) => out.extend(x.to_le_bytes()),
            Self::U32(x) => out.extend(x.to_le_bytes()),
            Self::I32(x) => out.extend(x.to_le_bytes()),
            Self::F32(x) => out.extend(x.to_le_bytes()),
            Self::U64(x) => out.extend(x.to_le_bytes()),
            Self::I64(x) => out.extend(x.to_le_bytes()),
            Self::F64(x) => out.extend(x.to_le_bytes()),
            Self::Bool(x) => out.push(u8::from(*x)),
            Self::Str(bytes) => string(out, bytes),
            Self::Array(element, items) => {
                out.extend(element.to_le_bytes());
                out.extend((items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.write(out));
            }
            Self::Raw(_, bytes) => out.extend(bytes),
        }
    }
}

/// A tensor to write. `offset` counts from the start of the data section; `None` puts it behind the one before.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub dims: Vec<u64>,
    pub type_id: u32,
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

impl Tensor {
    pub fn new(name: &str, dims: &[u64], ty: TensorType, data: Vec<u8>) -> Self {
        Self { name: name.into(), dims: dims.to_vec(), type_id: ty.ggml_id(), offset: None, data }
    }
}

/// A file to write.
#[derive(Debug, Clone)]
pub struct File {
    pub magic: [u8; 4],
    pub version: u32,
    pub keys: Vec<(Vec<u8>, Val)>,
    pub tensors: Vec<Tensor>,
    pub alignment: u64,
    /// Written in place of the true counts.
    pub key_count: Option<u64>,
    pub tensor_count: Option<u64>,
}

impl Default for File {
    fn default() -> Self {
        Self { magic: *b"GGUF", version: 3, keys: vec![], tensors: vec![], alignment: 32, key_count: None, tensor_count: None }
    }
}

impl File {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn key(mut self, key: &str, value: Val) -> Self {
        self.keys.push((key.into(), value));
        self
    }

    /// A key "a" with an array of `element` whose claimed length is `len`, followed by `bytes`.
    pub fn raw_array(self, element: u32, len: u64, bytes: &[u8]) -> Self {
        let mut raw = element.to_le_bytes().to_vec();
        raw.extend(len.to_le_bytes());
        raw.extend(bytes);
        self.key("a", Val::Raw(9, raw))
    }

    pub fn tensor(mut self, tensor: Tensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    /// The bytes of the file. The last tensor is not padded.
    pub fn write(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            string(&mut out, key);
            out.extend(value.type_id().to_le_bytes());
            value.write(&mut out);
        }
        let mut data: Vec<u8> = Vec::new();
        for tensor in &self.tensors {
            string(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.type_id.to_le_bytes());
            data.resize(data.len().next_multiple_of(self.alignment as usize), 0);
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
        }
        if !data.is_empty() {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        }
        out.extend(data);
        out
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}
