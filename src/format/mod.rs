//! Floor 2: model files → metadata, a table of tensors, a vocabulary.
//!
//! [`ModelFile`] is what the floors above see: typed metadata ([`Metadata`]), named, shaped views of bytes ([`TensorInfo`]) and the
//! vocabulary, in the words of GGUF whichever container they came in. [`Files`] brings the bytes into reach without copying them where it
//! can; `gguf`, `apr` and `hub` (a folder with `safetensors` files) read the containers.
//!
//! A file is hostile until proven otherwise. Every count, length and offset is checked against the length of the file before it is
//! believed or allocated for, and an error names the file, the key or tensor, and the byte. What the tensors *mean* is not known
//! here: whether a model is complete, or its shapes fit together, is for `model` to say.

#![deny(unsafe_code)]

mod apr;
mod cursor;
mod entries;
mod files;
mod gguf;
mod hub;
mod json;
mod metadata;
mod model_file;
mod recipe;
mod safetensors;
mod source;
mod split;
mod tensor;
mod value;
mod writer;

pub use entries::Entries;
pub use files::{Files, Origin};
pub use metadata::Metadata;
pub use model_file::{Container, Conversion, ModelFile, RotaryRows, TokenizerJson};
pub use recipe::Recipe;
pub use source::{Access, ReadAt, Source};
pub use tensor::TensorInfo;
pub use value::{Array, StringArray, Value, ValueType};
pub use writer::{GgufTensor, GgufWriter};
