//! Floor 7: the C ABI. The only `extern "C"` of the crate.
//!
//! `include/loquat.h` is generated from these files by `build.rs`, one section per file, in the order of the list in
//! `build.rs`; the doc comments here are the documentation of the header and speak to a C programmer. Below the sections lie three
//! plain layers: [`call`] (panic guard, statuses), [`handle`] (pointers to objects: liveness, exclusive and shared use) and
//! [`buffer`] (slices in, filled buffers and versioned structs out). No engine logic lives here.
#![expect(non_camel_case_types, reason = "the types carry their C names")]

pub mod batch;
pub mod bench;
pub mod bench_figures;
mod bench_keys;
pub mod bench_options;
mod buffer;
mod call;
pub mod chat;
pub mod error;
pub mod estimate;
mod handle;
pub mod host;
pub mod job;
pub mod metadata;
pub mod metrics;
pub mod model;
#[cfg(unix)]
mod own_thread;
pub mod runtime;
pub mod session;
pub mod session_options;
mod settings;
pub mod status;
pub mod stream;
pub mod tensors;
pub mod tokenizer;
pub mod version;
