//! The key/value cache: what attention reads, laid out as it reads it.
//!
//! Per layer and KV head, keys are stored in blocks of 16 positions with the positions innermost, `[block][dim][16]`, so that a
//! score needs no horizontal sum; values are stored `[position][dim]` with `dim` padded to 16. The parts of a head begin at multiples of 64
//! bytes. Elements are f16 (the default), bf16, f32, or 8-bit integers with one f32 scale for each [`Q8_LEN`] elements of a position
//! (q8_0). The cache is sized by the KV heads, never by the hidden size.
//!
//! In q8_0 a block of keys is, for each group of 32 dimensions, the 16 scales and then `[32][16]` integers; a value is, for each group,
//! its scale and then 32 integers.

pub(super) mod store;

use std::sync::Arc;

use crate::base::{AlignedBuf, Error, ErrorKind, MemoryBudget, MemoryCategory, Result};

/// Positions in one block of keys.
pub const KEY_BLOCK: usize = 16;

/// Elements that share a scale in q8_0.
pub const Q8_LEN: usize = 32;
/// Bytes of a group of [`Q8_LEN`] value elements: a scale and the integers.
pub const Q8_VALUE_BYTES: usize = 4 + Q8_LEN;
/// Bytes of a group of [`Q8_LEN`] dimensions in a block of keys.
pub const Q8_KEY_BYTES: usize = Q8_VALUE_BYTES * KEY_BLOCK;

/// The element type of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    const ALL: [Self; 4] = [Self::F16, Self::Bf16, Self::F32, Self::Q8_0];

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

    /// The type of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name() == name)
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

/// Byte offsets within a cache of one shape, type and capacity.
#[derive(Debug, Clone, Copy)]
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
    pub fn new(shape: KvShape, ty: KvType, capacity: usize) -> Option<Self> {
        let blocks = capacity.div_ceil(KEY_BLOCK);
        let value_stride = shape.value_dim.checked_next_multiple_of(if ty == KvType::Q8_0 { Q8_LEN } else { KEY_BLOCK })?;
        let (key_block_bytes, value_bytes) = (ty.row_bytes(shape.key_dim).checked_mul(KEY_BLOCK)?, ty.row_bytes(value_stride));
        let lines = |bytes: usize| bytes.checked_next_multiple_of(64);
        let layout = Self {
            ty,
            heads: shape.heads,
            key_head_bytes: lines(key_block_bytes.checked_mul(blocks)?)?,
            value_head_bytes: lines(value_bytes.checked_mul(blocks.checked_mul(KEY_BLOCK)?)?)?,
            key_block_bytes,
            value_bytes,
            value_stride,
        };
        layout.bytes(shape.layers)?;
        Some(layout)
    }

    /// Bytes of `layers` layers.
    pub fn bytes(&self, layers: usize) -> Option<usize> {
        let layer = self.key_head_bytes.checked_add(self.value_head_bytes)?.checked_mul(self.heads)?;
        layer.checked_mul(layers)
    }

    /// Offset of the keys of a head, in bytes.
    pub fn keys(&self, layer: usize, head: usize) -> usize {
        let per_layer = (self.key_head_bytes + self.value_head_bytes) * self.heads;
        layer * per_layer + head * self.key_head_bytes
    }

    /// Offset of the values of a head, in bytes.
    pub fn values(&self, layer: usize, head: usize) -> usize {
        self.keys(layer, self.heads) + head * self.value_head_bytes
    }
}

/// A cache of fixed capacity with the number of positions that are filled.
pub struct KvCache {
    memory: AlignedBuf<u8>,
    layout: KvLayout,
    shape: KvShape,
    capacity: usize,
    len: usize,
}

impl KvCache {
    /// A zeroed cache for `capacity` positions.
    ///
    /// # Errors
    /// `OutOfMemory` where the budget or the system has no room for it.
    pub fn new(budget: &Arc<MemoryBudget>, shape: KvShape, ty: KvType, capacity: usize) -> Result<Self> {
        let too_large = || Error::out_of_memory(format!("a KV cache of {capacity} positions passes the address space"));
        let layout = KvLayout::new(shape, ty, capacity).ok_or_else(too_large)?;
        let bytes = layout.bytes(shape.layers).ok_or_else(too_large)?;
        let memory = AlignedBuf::zeroed(budget, MemoryCategory::KvCache, bytes)?;
        Ok(Self { memory, layout, shape, capacity, len: 0 })
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

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    /// Bytes that the filled positions take, by the elements of the model (no padding counted).
    pub fn live_bytes(&self) -> u64 {
        let head = self.layout.ty.row_bytes(self.shape.key_dim) + self.layout.ty.row_bytes(self.shape.value_dim);
        let per_position = self.shape.layers * self.shape.heads * head;
        (per_position * self.len) as u64
    }

    /// The byte layout.
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

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Overwrites everything with zeros and forgets all positions.
    pub fn wipe(&mut self) {
        self.memory.fill(0);
        self.len = 0;
    }

    /// The start of the memory, for kernels.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sized_by_kv_heads_and_aligned() {
        let shape = KvShape { layers: 2, heads: 3, key_dim: 8, value_dim: 8 };
        let budget = MemoryBudget::new(u64::MAX);
        let cache = KvCache::new(&budget, shape, KvType::F16, 20).unwrap();
        // 32 positions (rounded to the block of 16); keys 8 wide, values padded to 16.
        assert_eq!(cache.memory_bytes(), 2 * 3 * 32 * (8 + 16) * 2);
        for layer in 0..2 {
            for head in 0..3 {
                assert_eq!(cache.layout().keys(layer, head) % 64, 0);
                assert_eq!(cache.layout().values(layer, head) % 64, 0);
            }
        }
        assert_eq!(cache.layout().values(1, 2) + 32 * 16 * 2, cache.memory_bytes() as usize);
        assert_eq!(budget.used(MemoryCategory::KvCache), cache.memory_bytes());
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
}
