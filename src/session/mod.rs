//! Floor 5: a conversation with a model: KV cache, scratch arena, step cursor.

#![forbid(unsafe_code)]

mod background;
mod conversation;
mod estimate;
mod options;
mod text;

pub use background::{Background, BackgroundEvent, Happening};
pub use conversation::{CancelHandle, DoneReason, Session, Step};
pub use estimate::SessionMemory;
pub use options::SessionOptions;

pub use crate::kernels::kv::KvType;
