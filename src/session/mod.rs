//! Floor 5: a conversation with a model: KV cache, scratch arena, step cursor.

#![forbid(unsafe_code)]

mod conversation;
mod options;

pub use conversation::{CancelHandle, DoneReason, Session, Step};
pub use options::SessionOptions;

pub use crate::kernels::kv::KvType;
