//! Where large blocks of memory come from: the process's allocator, or the host's.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
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

    /// Whether blocks are those of the process's allocator.
    pub fn are_the_systems(&self) -> bool {
        self.0.is_none()
    }

    /// A block of zeros. The layout's size is above 0.
    ///
    /// # Errors
    /// `OutOfMemory` where there is no room, `InvalidArgument` where the host's block does not have the alignment.
    pub fn zeroed(&self, layout: Layout) -> Result<NonNull<u8>> {
        let block = self.block(layout, true)?;
        if self.0.as_ref().is_some_and(|source| !source.gives_zeros()) {
            // SAFETY: the block has the layout's size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        Ok(block)
    }

    /// A block that is about to be filled as a whole: its contents are not initialised, and where the system has large pages and gives
    /// them on request it is asked for them. Else as [`zeroed`](Self::zeroed).
    ///
    /// # Errors
    /// As for [`zeroed`](Self::zeroed).
    pub fn unfilled(&self, layout: Layout) -> Result<NonNull<u8>> {
        let block = self.block(layout, false)?;
        if self.are_the_systems() {
            ask_for_large_pages(block, layout.size());
        }
        Ok(block)
    }

    fn block(&self, layout: Layout, zeroed: bool) -> Result<NonNull<u8>> {
        debug_assert!(layout.size() > 0);
        let Some(source) = &self.0 else { return system_block(layout, zeroed) };
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
        Ok(block)
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// It came from this source with this layout, and is not used any more.
    pub unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        match &self.0 {
            // SAFETY: as the caller promises.
            Some(source) => unsafe { source.free(block, layout) },
            // SAFETY: as the caller promises.
            None => unsafe { free_system_block(block, layout) },
        }
    }
}

/// The alignment that is asked of the system, and the room for the address of its block before an aligned one. For zeros of a larger
/// alignment the system's allocator is not asked for zeros but writes them, and so touches all of the memory: that of a KV cache of
/// thousands of positions of which a few are used. Zeros of this alignment come from it untouched where the block is large.
const SYSTEM_ALIGN: usize = align_of::<*mut u8>();

/// The layout to ask the system for.
fn around(layout: Layout) -> Result<Layout> {
    let size = layout.size().checked_add(layout.align() + size_of::<*mut u8>());
    size.and_then(|size| Layout::from_size_align(size, SYSTEM_ALIGN).ok())
        .ok_or_else(|| Error::out_of_memory(format!("{} bytes pass the address space", layout.size())))
}

fn system_block(layout: Layout, zeroed: bool) -> Result<NonNull<u8>> {
    let around = around(layout)?;
    // SAFETY: the layout has a size above zero.
    let start = unsafe { if zeroed { alloc_zeroed(around) } else { alloc(around) } };
    if start.is_null() {
        return Err(Error::out_of_memory(format!("the system refused {} bytes", layout.size())));
    }
    // SAFETY: `around` has room for the pointer, for as much as the alignment can take, and for the block behind both.
    unsafe {
        let earliest = start.add(size_of::<*mut u8>());
        let block = earliest.add(earliest.align_offset(layout.align()));
        block.cast::<*mut u8>().sub(1).write(start);
        Ok(NonNull::new_unchecked(block))
    }
}

/// Asks for large pages in a block that nothing was written to. A wish: where it is not granted nothing else changes.
///
/// Weights that were read into 4 KiB pages cost a translation every 4 KiB of a stream, a fifth of the time of a decoding thread (Zen 4, in a
/// virtual machine); in large pages one thread reads Q4_K at 29 to 31 GB/s instead of 24 to 26.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(block: NonNull<u8>, len: usize) {
    const LARGE: usize = 2 << 20;
    let skipped = block.as_ptr().align_offset(LARGE);
    let whole = len.saturating_sub(skipped) / LARGE * LARGE;
    if whole > 0 {
        // SAFETY: the pages are inside the block, which nobody else uses; the advice leaves what is in them as it is.
        unsafe { libc::madvise(block.as_ptr().add(skipped).cast(), whole, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_block: NonNull<u8>, _len: usize) {}

/// # Safety
/// `block` came from [`system_block`] with this layout, and is not used any more.
unsafe fn free_system_block(block: NonNull<u8>, layout: Layout) {
    // The size was accepted when the block was made.
    let Ok(around) = around(layout) else { return };
    // SAFETY: system_block() has written the start before the block, and asked for that layout.
    unsafe {
        let start = block.as_ptr().cast::<*mut u8>().sub(1).read();
        dealloc(start, around);
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "the host's" } else { "the system's" })
    }
}
