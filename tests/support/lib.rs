//! What the integration tests and the fuzz targets share: the demo model with its goldens, writers of files, and what must hold for files that
//! are read.

pub mod apr_writer;
pub mod as_apr;
mod demo;
pub mod folder_oracle;
pub mod gguf_oracle;
pub mod gguf_writer;
pub mod micro;
pub mod model_changes;
pub mod panics;

pub use demo::{Golden, demo, emulated, goldens, npy, tokens};
