//! Floor 5: a conversation with a model: KV cache, scratch arena, step cursor.

#![forbid(unsafe_code)]

mod conversation;
mod options;
mod text;

pub use conversation::{CancelHandle, DoneReason, Session, Step};
pub use options::SessionOptions;

pub use crate::kernels::kv::KvType;
