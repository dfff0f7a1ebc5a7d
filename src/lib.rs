//! Loquat: a language-model runtime that lives inside other people's programs.
//!
//! The modules are floors; each imports only from floors below it (`docs/architecture.md` draws them). Hosts in C use
//! `include/loquat.h`; hosts in Rust use these modules directly.

pub mod base;
pub mod bench;
pub mod chat;
#[doc(hidden)]
pub mod ffi;
pub mod format;
pub mod kernels;
pub mod metrics;
pub mod model;
pub mod quant;
pub mod quantize;
pub mod runtime;
pub mod sampling;
pub mod session;
pub mod tokenizer;
