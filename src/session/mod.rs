//! Floor 5: conversations with a model: KV cache, scratch arena, step cursor; many of them in one pass; texts to vectors.

#![forbid(unsafe_code)]

mod background;
mod batch;
mod context;
mod conversation;
mod embedder;
mod estimate;
mod options;
mod state;
mod text;
mod work;

pub use background::{Background, BackgroundEvent, Happening};
pub use batch::{Batch, BatchEvent, BatchOptions, BatchStep};
pub use conversation::{CancelHandle, DoneReason, Session, Step};
pub use embedder::{EmbedStep, Embedder, EmbedderOptions};
pub use estimate::SessionMemory;
pub use options::{ContextPolicy, SessionOptions};

pub use crate::kernels::kv::KvType;
