//! Memory: buffers of 64-byte alignment, and the budget that every large buffer is asked of.
//!
//! A [`MemoryBudget`] belongs to a runtime. Buffers that scale with the model or the context are taken through it, by
//! category, and come back when they are dropped; small bookkeeping (names, vectors of a few kilobytes) is not counted. The blocks of
//! [`AlignedBuf`] come from the host's allocator where it gave one.

mod filling;
mod remains;

use std::alloc::Layout;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::blocks::{BlockSource, Blocks};
use super::bytes::SharedBytes;
use super::error::{Error, Result};
use super::sync::Mutex;

pub use filling::Filling;
pub use remains::{Leaving, Remains};

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

/// Something that keeps memory which it could do without: a cache.
pub trait Trim: Send + Sync {
    /// Gives back what nobody is using; returns the bytes.
    fn trim(&self) -> u64;
}

/// A limit on private memory with use counted by category. Cheap to share; all methods are thread-safe.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    blocks: Blocks,
    caches: Caches,
    private: AtomicU64,
    peak: AtomicU64,
    by_category: [AtomicU64; MemoryCategory::ALL.len()],
}

impl MemoryBudget {
    /// A budget of `limit` bytes of private memory; `u64::MAX` for no limit.
    pub fn new(limit: u64) -> Arc<Self> {
        Self::with_blocks(limit, None)
    }

    /// The same with the host's allocator for the blocks of [`AlignedBuf`].
    pub fn with_blocks(limit: u64, source: Option<Arc<dyn BlockSource>>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            blocks: Blocks::of(source),
            caches: Caches::default(),
            private: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            by_category: Default::default(),
        })
    }

    /// Has `cache` asked by [`trim`](Self::trim) as long as it lives.
    pub fn add_cache(&self, cache: Weak<dyn Trim>) {
        let mut caches = self.caches.0.lock();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(cache);
    }

    /// Has all caches give back what nobody is using; returns the bytes. No lock of the budget is held meanwhile, so caches may use it.
    pub fn trim(&self) -> u64 {
        let alive: Vec<Arc<dyn Trim>> = self.caches.0.lock().iter().filter_map(Weak::upgrade).collect();
        alive.iter().map(|cache| cache.trim()).sum()
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

/// What [`MemoryBudget::trim`] asks.
#[derive(Default)]
struct Caches(Mutex<Vec<Weak<dyn Trim>>>);

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} caches", self.0.lock().len())
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

    /// Gives `bytes` of them back.
    fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.by_category[self.category as usize].fetch_sub(bytes, Ordering::Relaxed);
        if self.category != MemoryCategory::WeightsMapped {
            self.budget.private.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
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
// SAFETY: as above.
unsafe impl Element for f64 {}

/// A zeroed, 64-byte aligned, fixed-size array whose bytes are taken from a [`MemoryBudget`].
#[derive(Debug)]
pub struct AlignedBuf<T: Element> {
    start: NonNull<T>,
    len: usize,
    reservation: Reservation,
}

impl<T: Element> AlignedBuf<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`OutOfMemory`](super::ErrorKind::OutOfMemory) where the budget, the system or the host's allocator refuses; `InvalidArgument` where
    /// the host's allocator does not keep to the alignment.
    pub fn zeroed(budget: &Arc<MemoryBudget>, category: MemoryCategory, len: usize) -> Result<Self> {
        let layout = Self::layout(len)?;
        let reservation = budget.reserve(category, layout.size() as u64)?;
        if layout.size() == 0 {
            // The type's alignment divides ALIGNMENT, so this dangling address is aligned for T.
            let start = NonNull::without_provenance(std::num::NonZero::new(ALIGNMENT).expect("64 is not zero"));
            return Ok(Self { start, len, reservation });
        }
        let start = budget.blocks.zeroed(layout).map_err(|error| error.at(category.name()))?.cast::<T>();
        Ok(Self { start, len, reservation })
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
            // SAFETY: allocated in zeroed() from the same source with the layout of the same len.
            unsafe { self.reservation.budget.blocks.free(self.start.cast(), layout) }
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

    /// Blocks with a border, filled with something, of which only `left` are given.
    struct Host {
        left: AtomicU64,
        held: AtomicU64,
        zeros: bool,
        off_by: usize,
    }

    // SAFETY: blocks come from the system with room for `off_by` bytes before them.
    unsafe impl BlockSource for Host {
        fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
            self.held.fetch_add(1, Ordering::Relaxed);
            let whole = Layout::from_size_align(layout.size() + self.off_by, layout.align()).unwrap();
            // SAFETY: the size is above zero, and the block has `off_by` bytes more than asked for.
            unsafe {
                let block = if self.zeros { std::alloc::alloc_zeroed(whole) } else { std::alloc::alloc(whole) };
                if !self.zeros {
                    block.write_bytes(0xa5, whole.size());
                }
                NonNull::new(block.add(self.off_by))
            }
        }
        fn gives_zeros(&self) -> bool {
            self.zeros
        }
        unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
            self.held.fetch_sub(1, Ordering::Relaxed);
            let whole = Layout::from_size_align(layout.size() + self.off_by, layout.align()).unwrap();
            // SAFETY: as it was allocated.
            unsafe { std::alloc::dealloc(block.as_ptr().sub(self.off_by), whole) }
        }
    }

    fn host(left: u64, zeros: bool, off_by: usize) -> Arc<Host> {
        Arc::new(Host { left: AtomicU64::new(left), held: AtomicU64::new(0), zeros, off_by })
    }

    #[test]
    fn blocks_of_a_host_are_zeroed_and_go_back_to_it() {
        for zeros in [false, true] {
            let source = host(2, zeros, 0);
            let budget = MemoryBudget::with_blocks(u64::MAX, Some(Arc::clone(&source) as Arc<dyn BlockSource>));
            let buf = AlignedBuf::<f32>::zeroed(&budget, MemoryCategory::KvCache, 1001).unwrap();
            assert!(buf.iter().all(|&x| x == 0.0));
            let empty = AlignedBuf::<f32>::zeroed(&budget, MemoryCategory::KvCache, 0).unwrap();
            let second = AlignedBuf::<u8>::zeroed(&budget, MemoryCategory::KvCache, 5).unwrap();
            let refused = AlignedBuf::<u8>::zeroed(&budget, MemoryCategory::KvCache, 5).unwrap_err();
            assert_eq!(refused.message(), "kv_cache: the host's allocator refused 5 bytes");
            assert_eq!((refused.kind(), budget.private_used()), (ErrorKind::OutOfMemory, 4009));
            assert_eq!(source.held.load(Ordering::Relaxed), 2);
            drop((buf, empty, second));
            assert_eq!((source.held.load(Ordering::Relaxed), budget.private_used()), (0, 0));
        }
    }

    #[test]
    fn a_block_that_is_not_aligned_is_refused_and_given_back() {
        let source = host(1, false, 8);
        let budget = MemoryBudget::with_blocks(u64::MAX, Some(Arc::clone(&source) as Arc<dyn BlockSource>));
        let error = AlignedBuf::<u8>::zeroed(&budget, MemoryCategory::Scratch, 64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!((source.held.load(Ordering::Relaxed), budget.private_used()), (0, 0));
    }

    #[test]
    fn caches_give_back_as_long_as_they_live() {
        struct Cache(Mutex<Vec<AlignedBuf<u8>>>);
        impl Trim for Cache {
            fn trim(&self) -> u64 {
                self.0.lock().drain(..).map(|buf| buf.len() as u64).sum()
            }
        }
        let budget = MemoryBudget::new(u64::MAX);
        let cache = || {
            let buf = AlignedBuf::zeroed(&budget, MemoryCategory::KvCache, 100).unwrap();
            let cache = Arc::new(Cache(Mutex::new(vec![buf])));
            let weak: Weak<dyn Trim> = Arc::downgrade(&(Arc::clone(&cache) as Arc<dyn Trim>));
            budget.add_cache(weak);
            cache
        };
        let (one, _two) = (cache(), cache());
        drop(one);
        assert_eq!(budget.trim(), 100);
        assert_eq!((budget.trim(), budget.private_used()), (0, 0));
    }
}
