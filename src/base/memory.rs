//! Memory: buffers of 64-byte alignment, and the budget that every large buffer is asked of.
//!
//! A [`MemoryBudget`] belongs to a runtime. Buffers that scale with the model or the context are taken through it, by
//! category, and come back when they are dropped; small bookkeeping (names, vectors of a few kilobytes) is not counted.

mod filling;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{Error, Result};

pub use filling::Filling;

/// Alignment of every [`AlignedBuf`], in bytes: one cache line, one AVX-512 register.
pub const ALIGNMENT: usize = 64;

/// What a block of memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum MemoryCategory {
    /// Model files mapped read-only: shared with the page cache, not held against the limit.
    WeightsMapped = 0,
    /// Weights in private memory: files read instead of mapped, vectors converted at load.
    WeightsPrivate = 1,
    /// Key/value caches of sessions.
    KvCache = 2,
    /// Scratch arenas of sessions and workers.
    Scratch = 3,
    /// Tokenizer tables, sampler buffers and the rest.
    Other = 4,
}

impl MemoryCategory {
    /// All categories, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::WeightsMapped, Self::WeightsPrivate, Self::KvCache, Self::Scratch, Self::Other];

    /// The name used in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::WeightsMapped => "weights_mapped",
            Self::WeightsPrivate => "weights_private",
            Self::KvCache => "kv_cache",
            Self::Scratch => "scratch",
            Self::Other => "other",
        }
    }
}

/// A limit on private memory with use counted by category. Cheap to share; all methods are thread-safe.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    private: AtomicU64,
    peak: AtomicU64,
    by_category: [AtomicU64; MemoryCategory::ALL.len()],
}

impl MemoryBudget {
    /// A budget of `limit` bytes of private memory; `u64::MAX` for no limit.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, private: AtomicU64::new(0), peak: AtomicU64::new(0), by_category: Default::default() })
    }

    /// Takes `bytes` for `category` until the reservation is dropped.
    ///
    /// # Errors
    /// [`OutOfMemory`](super::ErrorKind::OutOfMemory) where the limit would be passed; nothing is taken then.
    pub fn reserve(self: &Arc<Self>, category: MemoryCategory, bytes: u64) -> Result<Reservation> {
        if category != MemoryCategory::WeightsMapped {
            let taken = self
                .private
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(bytes).filter(|&total| total <= self.limit));
            match taken {
                Ok(before) => self.peak.fetch_max(before + bytes, Ordering::Relaxed),
                Err(used) => {
                    return Err(Error::out_of_memory(format!(
                        "{bytes} bytes for {} pass the memory budget of {} bytes ({used} in use)",
                        category.name(),
                        self.limit
                    )));
                }
            };
        }
        self.by_category[category as usize].fetch_add(bytes, Ordering::Relaxed);
        Ok(Reservation { budget: Arc::clone(self), category, bytes })
    }

    /// The limit in bytes, `u64::MAX` for none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use for `category`.
    pub fn used(&self, category: MemoryCategory) -> u64 {
        self.by_category[category as usize].load(Ordering::Relaxed)
    }

    /// Private bytes in use: all categories but the mapped weights.
    pub fn private_used(&self) -> u64 {
        self.private.load(Ordering::Relaxed)
    }

    /// The largest value that [`private_used`](Self::private_used) has had.
    pub fn private_peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// Bytes taken from a [`MemoryBudget`], given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    category: MemoryCategory,
    bytes: u64,
}

impl Reservation {
    /// The number of bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.by_category[self.category as usize].fetch_sub(self.bytes, Ordering::Relaxed);
        if self.category != MemoryCategory::WeightsMapped {
            self.budget.private.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// Element types of [`AlignedBuf`]: plain numbers, for which all-zero bytes are a valid value.
///
/// # Safety
/// Implementors have no padding, no drop glue, no invalid bit patterns, and an alignment of at most [`ALIGNMENT`].
pub unsafe trait Element: Copy + Send + Sync + 'static {}
// SAFETY: primitive numbers have no padding, no drop glue and no invalid bit patterns, and align to 8 bytes or less.
unsafe impl Element for u8 {}
// SAFETY: as above.
unsafe impl Element for i8 {}
// SAFETY: as above.
unsafe impl Element for u16 {}
// SAFETY: as above.
unsafe impl Element for i32 {}
// SAFETY: as above.
unsafe impl Element for u32 {}
// SAFETY: as above.
unsafe impl Element for u64 {}
// SAFETY: as above.
unsafe impl Element for f32 {}

/// A zeroed, 64-byte aligned, fixed-size array whose bytes are taken from a [`MemoryBudget`].
#[derive(Debug)]
pub struct AlignedBuf<T: Element> {
    start: NonNull<T>,
    len: usize,
    _reservation: Reservation,
}

impl<T: Element> AlignedBuf<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`OutOfMemory`](super::ErrorKind::OutOfMemory) where the budget or the system refuses.
    pub fn zeroed(budget: &Arc<MemoryBudget>, category: MemoryCategory, len: usize) -> Result<Self> {
        let layout = Self::layout(len)?;
        let reservation = budget.reserve(category, layout.size() as u64)?;
        if layout.size() == 0 {
            // The type's alignment divides ALIGNMENT, so this dangling address is aligned for T.
            let start = NonNull::without_provenance(std::num::NonZero::new(ALIGNMENT).expect("64 is not zero"));
            return Ok(Self { start, len, _reservation: reservation });
        }
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(memory.cast::<T>())
            .ok_or_else(|| Error::out_of_memory(format!("the system refused {} bytes for {}", layout.size(), category.name())))?;
        Ok(Self { start, len, _reservation: reservation })
    }

    fn layout(len: usize) -> Result<Layout> {
        len.checked_mul(size_of::<T>())
            .and_then(|bytes| Layout::from_size_align(bytes, ALIGNMENT).ok())
            .ok_or_else(|| Error::out_of_memory(format!("{len} elements of {} bytes pass the address space", size_of::<T>())))
    }
}

impl<T: Element> Deref for AlignedBuf<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: start points to len initialised (zeroed, T: Element) elements, or is dangling and aligned with len * size 0.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for AlignedBuf<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in deref, and &mut self is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Element> Drop for AlignedBuf<T> {
    fn drop(&mut self) {
        if let Ok(layout) = Self::layout(self.len)
            && layout.size() > 0
        {
            // SAFETY: allocated in zeroed() with the layout of the same len.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) }
        }
    }
}

// SAFETY: the buffer owns its elements, which are Send.
unsafe impl<T: Element> Send for AlignedBuf<T> {}
// SAFETY: shared access only reads elements, which are Sync.
unsafe impl<T: Element> Sync for AlignedBuf<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    #[test]
    fn buffers_are_aligned_zeroed_and_counted() {
        let budget = MemoryBudget::new(1 << 20);
        let mut buf = AlignedBuf::<f32>::zeroed(&budget, MemoryCategory::Scratch, 1001).unwrap();
        assert_eq!(buf.as_ptr() as usize % ALIGNMENT, 0);
        assert!(buf.iter().all(|&x| x == 0.0));
        buf[1000] = 1.0;
        assert_eq!(budget.used(MemoryCategory::Scratch), 4004);
        drop(buf);
        assert_eq!(budget.private_used(), 0);
        assert_eq!(budget.private_peak(), 4004);
    }

    #[test]
    fn the_limit_refuses_and_takes_nothing() {
        let budget = MemoryBudget::new(100);
        let _held = budget.reserve(MemoryCategory::Other, 60).unwrap();
        let refused = AlignedBuf::<u8>::zeroed(&budget, MemoryCategory::KvCache, 41).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        assert_eq!(budget.private_used(), 60);
        assert!(AlignedBuf::<u8>::zeroed(&budget, MemoryCategory::KvCache, 40).is_ok());
        assert!(AlignedBuf::<u64>::zeroed(&budget, MemoryCategory::KvCache, usize::MAX / 4).is_err());
    }

    #[test]
    fn mapped_weights_do_not_count_against_the_limit() {
        let budget = MemoryBudget::new(10);
        let mapped = budget.reserve(MemoryCategory::WeightsMapped, 1 << 40).unwrap();
        assert_eq!(budget.used(MemoryCategory::WeightsMapped), 1 << 40);
        assert_eq!(budget.private_used(), 0);
        drop(mapped);
        assert_eq!(budget.used(MemoryCategory::WeightsMapped), 0);
    }

    #[test]
    fn an_empty_buffer_is_fine() {
        let budget = MemoryBudget::new(0);
        let empty = AlignedBuf::<f32>::zeroed(&budget, MemoryCategory::Other, 0).unwrap();
        assert!(empty.is_empty());
    }
}
