//! Where large blocks of memory come from: the process's allocator, or the host's.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use super::error::{Error, Result};

/// A host's allocator for large blocks. Called from any thread, from several at once.
///
/// # Safety
/// A block that [`allocate`](Self::allocate) gives is memory of the layout's size that nobody else uses until it is freed; filled with zeros
/// where [`gives_zeros`](Self::gives_zeros) says so.
pub unsafe trait BlockSource: Send + Sync {
    /// A block, `None` where there is no room. The layout's size is above 0. Must not call the library.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Whether blocks are filled with zeros; where not, the library fills them.
    fn gives_zeros(&self) -> bool {
        false
    }

    /// Takes a block back. Must neither panic nor call the library.
    ///
    /// # Safety
    /// `block` came from [`allocate`](Self::allocate) with this `layout` and is not used any more.
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout);
}

/// The source of a budget's blocks.
#[derive(Clone, Default)]
pub(super) struct Blocks(Option<Arc<dyn BlockSource>>);

impl Blocks {
    pub fn of(source: Option<Arc<dyn BlockSource>>) -> Self {
        Self(source)
    }

    /// A block of zeros. The layout's size is above 0.
    ///
    /// # Errors
    /// `OutOfMemory` where there is no room, `InvalidArgument` where the host's block does not have the alignment.
    pub fn zeroed(&self, layout: Layout) -> Result<NonNull<u8>> {
        debug_assert!(layout.size() > 0);
        let Some(source) = &self.0 else {
            // SAFETY: the layout has a size above zero.
            let block = unsafe { alloc_zeroed(layout) };
            return NonNull::new(block).ok_or_else(|| Error::out_of_memory(format!("the system refused {} bytes", layout.size())));
        };
        let block =
            source.allocate(layout).ok_or_else(|| Error::out_of_memory(format!("the host's allocator refused {} bytes", layout.size())))?;
        if !(block.as_ptr() as usize).is_multiple_of(layout.align()) {
            // SAFETY: the block came from the call above.
            unsafe { source.free(block, layout) };
            return Err(Error::invalid_argument(format!(
                "the host's allocator gave a block that is not aligned to {} bytes",
                layout.align()
            )));
        }
        if !source.gives_zeros() {
            // SAFETY: the block has the layout's size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        Ok(block)
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// It came from [`zeroed`](Self::zeroed) of this source with this layout, and is not used any more.
    pub unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        match &self.0 {
            // SAFETY: as the caller promises.
            Some(source) => unsafe { source.free(block, layout) },
            // SAFETY: as the caller promises.
            None => unsafe { dealloc(block.as_ptr(), layout) },
        }
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "the host's" } else { "the system's" })
    }
}
