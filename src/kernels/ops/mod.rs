//! The operations of a forward pass over regions of a session's arena, each cut into work items.
//!
//! A [`Program`] is a flat list of operations that an architecture builds once per model; it holds weights and region numbers, no
//! memory. [`Arena`] is the memory that a pass works in. [`Execution`] binds the two with a [`Pass`] (which tokens, at which
//! positions) and its KV caches, and is what the worker pool runs. Sizes are checked when the program is built, so that running it needs no checks.

mod arena;
mod attention;
mod embed;
mod execution;
mod experts;
mod ffn;
pub mod fusion;
mod matmul;
mod norm;
mod observe;
mod pass;
mod program;
mod rope;
mod shift;

pub use arena::Arena;
pub use attention::{Attention, AttentionRules, CHUNK};
pub use execution::Execution;
pub use experts::{ExpertMatrices, Routing};
pub use ffn::Activation;
pub use matmul::{Epilogue, Product};
pub use norm::NormWeights;
pub use observe::{Observer, UpTo};
pub use pass::Pass;
pub use program::{Acts, Columns, Embedding, ExpertViews, Experts, FloatView, Program, ProgramBuilder};
pub use rope::{HeadNorm, LongRope, Rope, RopeStyle, RotateStore};
pub use shift::{Shift, ShiftExecution};
