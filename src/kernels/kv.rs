//! The key/value cache: what attention reads, laid out as it reads it.
//!
//! A cache is a list of pages of [`PAGE`] positions, each with all layers. Pages are taken from the budget as a conversation grows, and
//! shared between caches that begin alike (forks, a common system prompt) until one of them writes.
//!
//! In a page, per layer and KV head, keys are stored in blocks of 16 positions with the positions innermost, `[block][dim][16]`, so that a
//! score needs no horizontal sum; values are stored `[position][dim]` with `dim` padded to 16. The parts of a head begin at multiples of 64
//! bytes. Elements are f16 (the default), bf16, f32, or 8-bit integers with one f32 scale for each [`Q8_LEN`] elements of a position
//! (q8_0). The cache is sized by the KV heads, never by the hidden size.
//!
//! In q8_0 a block of keys is, for each group of 32 dimensions, the 16 scales and then `[32][16]` integers; a value is, for each group,
//! its scale and then 32 integers.

pub mod prefix;
pub(super) mod store;
mod transfer;

use std::sync::Arc;

use crate::base::{AlignedBuf, Error, ErrorKind, MemoryBudget, MemoryCategory, Result};

/// Positions in one block of keys.
pub const KEY_BLOCK: usize = 16;

/// Positions of a page: few, so that little is lost where conversations part; enough that the streams of a head's keys and values in a
/// page are kilobytes long.
pub const PAGE: usize = 32;

/// Elements that share a scale in q8_0.
pub const Q8_LEN: usize = 32;
/// Bytes of a group of [`Q8_LEN`] value elements: a scale and the integers.
pub const Q8_VALUE_BYTES: usize = 4 + Q8_LEN;
/// Bytes of a group of [`Q8_LEN`] dimensions in a block of keys.
pub const Q8_KEY_BYTES: usize = Q8_VALUE_BYTES * KEY_BLOCK;

/// The element type of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvType {
    /// IEEE half precision.
    #[default]
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE single precision.
    F32,
    /// 8-bit integers with a scale per 32 elements.
    Q8_0,
}

impl KvType {
    /// All types.
    pub const ALL: [Self; 4] = [Self::F16, Self::Bf16, Self::F32, Self::Q8_0];

    /// Bytes of `dim` elements of one position.
    pub fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::F16 | Self::Bf16 => dim * 2,
            Self::F32 => dim * 4,
            Self::Q8_0 => dim.div_ceil(Q8_LEN) * Q8_VALUE_BYTES,
        }
    }

    /// The name used in options and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::Q8_0 => "q8_0",
        }
    }
}

/// The shape of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers of the model.
    pub layers: usize,
    /// KV heads of a layer.
    pub heads: usize,
    /// Elements of a key head.
    pub key_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
}

impl KvShape {
    /// Bytes of the elements of one position in a cache of `ty`, no padding counted.
    pub fn position_bytes(&self, ty: KvType) -> usize {
        self.layers * self.heads * (ty.row_bytes(self.key_dim) + ty.row_bytes(self.value_dim))
    }
}

/// Byte offsets within a page of one shape and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// The element type.
    pub ty: KvType,
    heads: usize,
    key_head_bytes: usize,
    value_head_bytes: usize,
    /// Bytes of the keys of 16 positions.
    pub key_block_bytes: usize,
    /// Bytes of the value of a position.
    pub value_bytes: usize,
    /// Elements of a value with its padding.
    pub value_stride: usize,
}

impl KvLayout {
    /// The layout, or `None` where its size passes the address space.
    pub fn new(shape: KvShape, ty: KvType) -> Option<Self> {
        let value_stride = shape.value_dim.checked_next_multiple_of(if ty == KvType::Q8_0 { Q8_LEN } else { KEY_BLOCK })?;
        let (key_block_bytes, value_bytes) = (ty.row_bytes(shape.key_dim).checked_mul(KEY_BLOCK)?, ty.row_bytes(value_stride));
        let lines = |bytes: usize| bytes.checked_next_multiple_of(64);
        let layout = Self {
            ty,
            heads: shape.heads,
            key_head_bytes: lines(key_block_bytes.checked_mul(PAGE / KEY_BLOCK)?)?,
            value_head_bytes: lines(value_bytes.checked_mul(PAGE)?)?,
            key_block_bytes,
            value_bytes,
            value_stride,
        };
        layout.page_bytes(shape.layers)?;
        Some(layout)
    }

    /// Bytes of a page of `layers` layers.
    pub fn page_bytes(&self, layers: usize) -> Option<usize> {
        let layer = self.key_head_bytes.checked_add(self.value_head_bytes)?.checked_mul(self.heads)?;
        layer.checked_mul(layers)
    }

    /// Offset in a page of the keys of a head, in bytes.
    pub fn keys(&self, layer: usize, head: usize) -> usize {
        let per_layer = (self.key_head_bytes + self.value_head_bytes) * self.heads;
        layer * per_layer + head * self.key_head_bytes
    }

    /// Offset in a page of the values of a head, in bytes.
    pub fn values(&self, layer: usize, head: usize) -> usize {
        self.keys(layer, self.heads) + head * self.value_head_bytes
    }

    /// Offset in its page of the block of keys that holds `position`.
    pub fn key_block(&self, layer: usize, head: usize, position: usize) -> usize {
        self.keys(layer, head) + position % PAGE / KEY_BLOCK * self.key_block_bytes
    }

    /// Offset in its page of the value of `position`.
    pub fn value(&self, layer: usize, head: usize, position: usize) -> usize {
        self.values(layer, head) + position % PAGE * self.value_bytes
    }
}

/// The memory of [`PAGE`] positions in all layers. Caches whose positions up to the end of a page are equal may share it; a page that is
/// shared is not written.
pub type KvPage = Arc<AlignedBuf<u8>>;

/// The address of a page.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
struct Address(*mut u8);
// SAFETY: an address alone reaches nothing; whoever dereferences it says why that is sound (kernels::ops).
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

/// Where the pages of a cache lie, for kernels. Valid until the cache is next changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvView {
    pages: *const Address,
    pub layout: KvLayout,
}

impl KvView {
    /// The addresses of the pages in order.
    pub fn pages(&self) -> *const *mut u8 {
        self.pages.cast()
    }

    /// The page of `position`.
    ///
    /// # Safety
    /// The cache that the view is of has a page for it and has not been changed since.
    pub unsafe fn page(&self, position: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { (*self.pages.add(position / PAGE)).0 }
    }
}

/// A cache of a largest length with the number of positions that are filled. Pages are taken as positions need them, or all at once by
/// [`reserve`](Self::reserve).
pub struct KvCache {
    budget: Arc<MemoryBudget>,
    pages: Vec<KvPage>,
    /// Of `pages`, each.
    addresses: Vec<Address>,
    /// Own pages whose place a shared one has taken: a cache that has reserved its memory can't run out of it later.
    spare: Vec<KvPage>,
    reserved: bool,
    layout: KvLayout,
    shape: KvShape,
    capacity: usize,
    len: usize,
}

impl KvCache {
    /// A cache for up to `capacity` positions, without memory yet.
    ///
    /// # Errors
    /// `OutOfMemory` where its size passes the address space.
    pub fn new(budget: &Arc<MemoryBudget>, shape: KvShape, ty: KvType, capacity: usize) -> Result<Self> {
        let too_large = || Error::out_of_memory(format!("a KV cache of {capacity} positions passes the address space"));
        let layout = KvLayout::new(shape, ty).ok_or_else(too_large)?;
        let count = capacity.div_ceil(PAGE);
        layout.page_bytes(shape.layers).and_then(|bytes| bytes.checked_mul(count)).ok_or_else(too_large)?;
        let (mut pages, mut addresses) = (Vec::new(), Vec::new());
        pages.try_reserve_exact(count).map_err(|_| too_large())?;
        addresses.try_reserve_exact(count).map_err(|_| too_large())?;
        let budget = Arc::clone(budget);
        Ok(Self { budget, pages, addresses, spare: vec![], reserved: false, layout, shape, capacity, len: 0 })
    }

    /// Takes the memory of the whole capacity at once, and keeps it while the cache lives.
    ///
    /// # Errors
    /// `OutOfMemory` where the budget or the system has no room for it; the cache has no more memory than before then.
    pub fn reserve(&mut self) -> Result<()> {
        let (before, count) = (self.pages.len(), self.capacity.div_ceil(PAGE));
        self.spare.try_reserve_exact(count).map_err(|_| Error::out_of_memory(format!("a list of {count} pages")))?;
        self.grow(count).inspect_err(|_| {
            self.pages.truncate(before);
            self.addresses.truncate(before);
        })?;
        self.reserved = true;
        Ok(())
    }

    fn grow(&mut self, count: usize) -> Result<()> {
        while self.pages.len() < count {
            let mut page = self.fresh()?;
            self.addresses.push(address(&mut page));
            self.pages.push(page);
        }
        Ok(())
    }

    fn fresh(&mut self) -> Result<KvPage> {
        if let Some(page) = self.spare.pop() {
            return Ok(page);
        }
        let bytes = self.page_bytes();
        AlignedBuf::zeroed(&self.budget, MemoryCategory::KvCache, bytes).map(Arc::new)
    }

    /// Makes the pages of the next `count` positions there, and this cache's alone: what is shared with another is copied.
    ///
    /// # Errors
    /// `ContextFull` where they do not fit, `OutOfMemory` where there is no memory for them; the positions that are filled stay as they
    /// are.
    pub fn prepare(&mut self, count: usize) -> Result<()> {
        self.check_room(count)?;
        self.make_writable(self.len, self.len + count)
    }

    /// As [`prepare`](Self::prepare), for positions of which some may be filled.
    pub(crate) fn make_writable(&mut self, from: usize, to: usize) -> Result<()> {
        self.grow(to.div_ceil(PAGE))?;
        for index in from / PAGE..to.div_ceil(PAGE) {
            if Arc::get_mut(&mut self.pages[index]).is_none() {
                let mut own = self.fresh()?;
                if index * PAGE < self.len {
                    let bytes = Arc::get_mut(&mut own).expect("nobody else knows a new page");
                    bytes.copy_from_slice(&self.pages[index]);
                }
                self.pages[index] = own;
            }
            self.addresses[index] = address(&mut self.pages[index]);
        }
        Ok(())
    }

    /// A cache with the same contents and its own future: the pages are shared until one of the two writes into them.
    ///
    /// # Errors
    /// `OutOfMemory` where this cache has reserved its memory and there is none for the other.
    pub fn fork(&self) -> Result<Self> {
        let mut fork = Self::new(&self.budget, self.shape, self.layout.ty, self.capacity)?;
        if !self.reserved {
            fork.adopt(0, &self.pages[..self.len.div_ceil(PAGE)], self.len);
            return Ok(fork);
        }
        // What both will write into is copied at once, so that neither has to ask for memory later.
        fork.reserve()?;
        fork.adopt(0, self.full_pages(), self.len);
        if let Some(page) = self.pages[self.len / PAGE..self.len.div_ceil(PAGE)].first() {
            Arc::get_mut(&mut fork.pages[self.len / PAGE]).expect("a new page").copy_from_slice(page);
        }
        Ok(fork)
    }

    /// Takes `pages` in place of those from number `from` on; `len` positions are filled then.
    pub(crate) fn adopt(&mut self, from: usize, pages: &[KvPage], len: usize) {
        for (index, page) in (from..).zip(pages) {
            // The address is only read through until make_writable() has made the page this cache's own.
            let address = Address(page.as_ptr().cast_mut());
            if index < self.pages.len() {
                let own = std::mem::replace(&mut self.pages[index], Arc::clone(page));
                self.addresses[index] = address;
                if self.reserved && Arc::strong_count(&own) == 1 {
                    self.spare.push(own);
                }
            } else {
                self.pages.push(Arc::clone(page));
                self.addresses.push(address);
            }
        }
        self.len = len;
    }

    /// The pages that are filled to their end.
    pub(crate) fn full_pages(&self) -> &[KvPage] {
        &self.pages[..self.len / PAGE]
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Positions that are filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> usize {
        self.layout.page_bytes(self.shape.layers).expect("new() has checked it")
    }

    /// Bytes that the pages of the whole capacity take, whether they are there yet or not.
    pub fn capacity_bytes(&self) -> u64 {
        (self.capacity.div_ceil(PAGE) * self.page_bytes()) as u64
    }

    /// Bytes that the filled positions take, by the elements of the model (no padding counted).
    pub fn live_bytes(&self) -> u64 {
        (self.shape.position_bytes(self.layout.ty) * self.len) as u64
    }

    /// The byte layout of a page.
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// The shape.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Declares `count` more positions filled, after a pass has written them.
    ///
    /// # Errors
    /// `ContextFull` where they do not fit.
    pub fn advance(&mut self, count: usize) -> Result<()> {
        self.check_room(count)?;
        self.len += count;
        Ok(())
    }

    /// Whether `count` more positions fit.
    ///
    /// # Errors
    /// `ContextFull` with the capacity and the length where they do not.
    pub fn check_room(&self, count: usize) -> Result<()> {
        if count > self.capacity - self.len {
            return Err(Error::new(
                ErrorKind::ContextFull,
                format!("{count} more tokens do not fit: the context holds {} and has {}", self.capacity, self.len),
            ));
        }
        Ok(())
    }

    /// Forgets the first `count` positions, a whole number of pages that are filled; those behind them are counted from 0 on then. Their pages go back,
    /// unless the memory was reserved.
    pub fn forget_first(&mut self, count: usize) {
        let pages = (count.min(self.len) / PAGE).min(self.pages.len());
        if self.reserved {
            self.pages.rotate_left(pages);
            self.addresses.rotate_left(pages);
        } else {
            self.pages.drain(..pages);
            self.addresses.drain(..pages);
        }
        self.len -= pages * PAGE;
    }

    /// Forgets all positions from `len` on. Their pages go back, unless the memory was reserved.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if !self.reserved {
            self.pages.truncate(self.len.div_ceil(PAGE));
            self.addresses.truncate(self.pages.len());
        }
    }

    /// The pages, for kernels.
    pub(crate) fn view(&self) -> KvView {
        KvView { pages: self.addresses.as_ptr(), layout: self.layout }
    }
}

/// The address of a page that nobody shares.
fn address(page: &mut KvPage) -> Address {
    Address(Arc::get_mut(page).expect("the page is this cache's alone").as_mut_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sized_by_kv_heads_and_aligned() {
        let shape = KvShape { layers: 2, heads: 3, key_dim: 8, value_dim: 8 };
        let budget = MemoryBudget::new(u64::MAX);
        let mut cache = KvCache::new(&budget, shape, KvType::F16, 40).unwrap();
        assert_eq!(budget.used(MemoryCategory::KvCache), 0);
        cache.reserve().unwrap();
        // 64 positions (rounded to the page of 32); keys 8 wide, values padded to 16.
        assert_eq!(cache.capacity_bytes(), 2 * 2 * 3 * 32 * (8 + 16) * 2);
        for layer in 0..2 {
            for head in 0..3 {
                assert_eq!(cache.layout().keys(layer, head) % 64, 0);
                assert_eq!(cache.layout().values(layer, head) % 64, 0);
            }
        }
        assert_eq!(cache.layout().values(1, 2) + 32 * 16 * 2, cache.page_bytes());
        assert_eq!(budget.used(MemoryCategory::KvCache), cache.capacity_bytes());
    }

    #[test]
    fn full_is_an_error_that_names_the_numbers() {
        let shape = KvShape { layers: 1, heads: 1, key_dim: 4, value_dim: 4 };
        let mut cache = KvCache::new(&MemoryBudget::new(u64::MAX), shape, KvType::F32, 5).unwrap();
        cache.advance(4).unwrap();
        let full = cache.advance(2).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::ContextFull);
        assert_eq!(full.message(), "2 more tokens do not fit: the context holds 5 and has 4");
        assert_eq!(cache.len(), 4);
        cache.truncate(1);
        assert_eq!(cache.len(), 1);
        assert!(KvCache::new(&MemoryBudget::new(u64::MAX), shape, KvType::F32, usize::MAX / 8).is_err());
    }

    const SMALL: KvShape = KvShape { layers: 1, heads: 1, key_dim: 4, value_dim: 4 };

    #[test]
    fn pages_come_as_they_are_needed_and_go_back() {
        let budget = MemoryBudget::new(u64::MAX);
        let mut cache = KvCache::new(&budget, SMALL, KvType::F32, 100).unwrap();
        let page = cache.page_bytes() as u64;
        cache.prepare(PAGE + 1).unwrap();
        assert_eq!(budget.used(MemoryCategory::KvCache), 2 * page);
        cache.advance(PAGE + 1).unwrap();
        cache.truncate(PAGE);
        assert_eq!(budget.used(MemoryCategory::KvCache), page);
        // No room for a third: a status, and what was there stays.
        let tight = MemoryBudget::new(2 * page);
        let mut cache = KvCache::new(&tight, SMALL, KvType::F32, 100).unwrap();
        cache.prepare(2 * PAGE).unwrap();
        cache.advance(2 * PAGE).unwrap();
        assert_eq!(cache.prepare(1).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert_eq!((cache.len(), tight.used(MemoryCategory::KvCache)), (2 * PAGE, 2 * page));
        assert_eq!(KvCache::new(&tight, SMALL, KvType::F32, 100).unwrap().reserve().unwrap_err().kind(), ErrorKind::OutOfMemory);
    }

    #[test]
    fn the_first_pages_are_forgotten_and_go_back_or_are_kept_for_later() {
        for reserved in [false, true] {
            let budget = MemoryBudget::new(u64::MAX);
            let mut cache = KvCache::new(&budget, SMALL, KvType::F32, 4 * PAGE).unwrap();
            let page = cache.page_bytes() as u64;
            if reserved {
                cache.reserve().unwrap();
            }
            cache.prepare(3 * PAGE + 5).unwrap();
            for index in 0..4 {
                Arc::get_mut(&mut cache.pages[index]).unwrap().fill(index as u8);
            }
            cache.advance(3 * PAGE + 5).unwrap();
            let fork = cache.fork().unwrap();
            cache.forget_first(2 * PAGE);
            assert_eq!((cache.len(), cache.pages[0][0], cache.pages[1][0]), (PAGE + 5, 2, 3));
            assert_eq!((fork.len(), fork.pages[0][0]), (3 * PAGE + 5, 0));
            drop(fork);
            assert_eq!(budget.used(MemoryCategory::KvCache), if reserved { 4 } else { 2 } * page);
            // What comes next has its pages, and what was there stays.
            cache.prepare(3 * PAGE - 5).unwrap();
            cache.advance(3 * PAGE - 5).unwrap();
            assert_eq!((cache.len(), cache.pages[1][0]), (4 * PAGE, 3));
            assert_eq!(budget.used(MemoryCategory::KvCache), 4 * page);
        }
    }

    #[test]
    fn forks_share_pages_until_one_writes() {
        let budget = MemoryBudget::new(u64::MAX);
        let mut cache = KvCache::new(&budget, SMALL, KvType::F32, 100).unwrap();
        let page = cache.page_bytes() as u64;
        let write = |cache: &mut KvCache, index: usize, byte: u8| Arc::get_mut(&mut cache.pages[index]).unwrap().fill(byte);
        cache.prepare(PAGE + 5).unwrap();
        write(&mut cache, 0, 1);
        write(&mut cache, 1, 2);
        cache.advance(PAGE + 5).unwrap();
        let mut fork = cache.fork().unwrap();
        assert_eq!(budget.used(MemoryCategory::KvCache), 2 * page);
        fork.prepare(1).unwrap();
        assert_eq!(budget.used(MemoryCategory::KvCache), 3 * page);
        write(&mut fork, 1, 3);
        assert_eq!((cache.pages[1][0], fork.pages[1][0], fork.pages[0][0]), (2, 3, 1));
        // The other is alone with its page now and copies nothing.
        cache.prepare(1).unwrap();
        assert_eq!(budget.used(MemoryCategory::KvCache), 3 * page);
        drop(cache);
        assert_eq!(budget.used(MemoryCategory::KvCache), 2 * page);
        assert_eq!(fork.pages[0][0], 1);
    }
}
