//! What a session will hold in memory, before it or its model is there.

#![forbid(unsafe_code)]

use crate::base::{Error, MemoryBudget, MemoryCategory, Result};
use crate::kernels::kv::{KvLayout, PAGE};
use crate::kernels::ops::Arena;
use crate::model::ModelEstimate;
use crate::runtime::Runtime;
use crate::sampling::Sampler;

use super::SessionOptions;

/// Bytes that a session takes of its runtime's budget, by category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionMemory {
    /// The KV cache, for the whole context; 0 where it is to grow with the conversation.
    pub kv_cache: u64,
    /// The scratch arena, for the batch and the threads of the runtime.
    pub scratch: u64,
    /// The sampler and its copy of the logits.
    pub other: u64,
}

impl SessionMemory {
    /// What [`Session::new`](super::Session::new) with `options` will take for a model with this estimate on `runtime`. Nothing is allocated
    /// but the sampler's lists, for a moment, and no budget is asked.
    ///
    /// # Errors
    /// `InvalidArgument` as `Session::new` says it, `OutOfMemory` for sizes that pass the address space.
    pub fn estimate(model: &ModelEstimate, options: &SessionOptions, runtime: &Runtime) -> Result<Self> {
        let (program, vocab_size) = (model.program()?, model.vocab_size()?);
        let (context, batch) = options.sizes(model.config()?)?;
        let shape = program.kv_shape();
        let pages = if options.reserve { context.div_ceil(PAGE) } else { 0 };
        let page = KvLayout::new(shape, options.kv_type).and_then(|layout| layout.page_bytes(shape.layers));
        let kv_cache = page.and_then(|page| page.checked_mul(pages));
        let kv_cache =
            kv_cache.ok_or_else(|| Error::out_of_memory(format!("a KV cache of {context} positions passes the address space")))?;
        let outputs = if options.all_logits { batch } else { 1 };
        let scratch = Arena::bytes_for(program, runtime.kernels(), batch, outputs, runtime.threads())?;
        let own = MemoryBudget::new(u64::MAX);
        let sampler = Sampler::new(&options.sampler, vocab_size, &own)?;
        let copy = if sampler.changes_logits() { vocab_size * size_of::<f32>() } else { 0 };
        Ok(Self { kv_cache: kv_cache as u64, scratch, other: own.used(MemoryCategory::Other) + copy as u64 })
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.kv_cache + self.scratch + self.other
    }
}
