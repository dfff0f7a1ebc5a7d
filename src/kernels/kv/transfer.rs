//! The filled positions of a cache as bytes that do not depend on how a page is laid out, and back.
//!
//! Page by page ([`PAGE`] positions, the last may have fewer), in a page layer by layer, in a layer KV head by KV head: first the key
//! of each position, then the value of each. A key or value is its elements in order, little-endian, without padding; in q8_0 it is groups
//! of an f32 scale and 32 integers, the last filled up with zeros.

use std::io::{self, Write};

use super::{KEY_BLOCK, KvCache, KvLayout, KvType, PAGE, Q8_KEY_BYTES, Q8_LEN, Q8_VALUE_BYTES};
use crate::base::Result;

impl KvCache {
    /// Bytes that [`write`](Self::write) writes for `len` positions.
    pub fn transfer_bytes(&self, len: usize) -> usize {
        let head = self.layout.ty.row_bytes(self.shape.key_dim) + self.layout.ty.row_bytes(self.shape.value_dim);
        head * self.shape.heads * self.shape.layers * len
    }

    /// Writes the filled positions.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (ty, shape) = (self.layout.ty, self.shape);
        let (mut key, value_bytes) = (vec![0; ty.row_bytes(shape.key_dim)], ty.row_bytes(shape.value_dim));
        for (index, page) in self.pages[..self.len.div_ceil(PAGE)].iter().enumerate() {
            let count = PAGE.min(self.len - index * PAGE);
            for (layer, head) in (0..shape.layers).flat_map(|layer| (0..shape.heads).map(move |head| (layer, head))) {
                for position in 0..count {
                    for (stored, packed, len) in key_runs(&self.layout, shape.key_dim, position) {
                        let from = self.layout.key_block(layer, head, position) + stored;
                        key[packed..packed + len].copy_from_slice(&page[from..from + len]);
                    }
                    out.write_all(&key)?;
                }
                for position in 0..count {
                    let from = self.layout.value(layer, head, position);
                    out.write_all(&page[from..from + value_bytes])?;
                }
            }
        }
        Ok(())
    }

    /// Fills `len` positions with what [`write`](Self::write) wrote for a cache of the same shape and type, in place of all that was there.
    ///
    /// # Errors
    /// `ContextFull` and `OutOfMemory` where there is no room for them; nothing has changed then.
    ///
    /// # Panics
    /// Where `bytes` are not [`transfer_bytes`](Self::transfer_bytes).
    pub fn read(&mut self, bytes: &[u8], len: usize) -> Result<()> {
        assert_eq!(bytes.len(), self.transfer_bytes(len), "the caller has compared them");
        self.check_room(len.saturating_sub(self.len))?;
        self.make_writable(0, len)?;
        let (ty, shape, layout) = (self.layout.ty, self.shape, self.layout);
        let (key_bytes, value_bytes) = (ty.row_bytes(shape.key_dim), ty.row_bytes(shape.value_dim));
        let mut rest = bytes;
        let mut take = |len: usize| {
            let (taken, left) = rest.split_at(len);
            rest = left;
            taken
        };
        for index in 0..len.div_ceil(PAGE) {
            let page = std::sync::Arc::get_mut(&mut self.pages[index]).expect("make_writable() has made it this cache's alone");
            let count = PAGE.min(len - index * PAGE);
            for (layer, head) in (0..shape.layers).flat_map(|layer| (0..shape.heads).map(move |head| (layer, head))) {
                for position in 0..count {
                    let key = take(key_bytes);
                    for (stored, packed, len) in key_runs(&layout, shape.key_dim, position) {
                        let to = layout.key_block(layer, head, position) + stored;
                        page[to..to + len].copy_from_slice(&key[packed..packed + len]);
                    }
                }
                for position in 0..count {
                    let to = layout.value(layer, head, position);
                    page[to..to + value_bytes].copy_from_slice(take(value_bytes));
                }
            }
        }
        self.len = len;
        Ok(())
    }
}

/// The parts of a key: where each lies in its block, where in the key alone, and its bytes.
fn key_runs(layout: &KvLayout, key_dim: usize, position: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let (lane, ty) = (position % KEY_BLOCK, layout.ty);
    let element = ty.row_bytes(1);
    let groups = if ty == KvType::Q8_0 { key_dim.div_ceil(Q8_LEN) } else { 0 };
    let plain = if ty == KvType::Q8_0 { 0 } else { key_dim };
    let scales = (0..groups).map(move |group| (group * Q8_KEY_BYTES + lane * 4, group * Q8_VALUE_BYTES, 4));
    let integers = (0..groups * Q8_LEN).map(move |d| {
        let (group, d) = (d / Q8_LEN, d % Q8_LEN);
        (group * Q8_KEY_BYTES + KEY_BLOCK * 4 + d * KEY_BLOCK + lane, group * Q8_VALUE_BYTES + 4 + d, 1)
    });
    let elements = (0..plain).map(move |d| ((d * KEY_BLOCK + lane) * element, d * element, element));
    scales.chain(integers).chain(elements)
}

#[cfg(test)]
mod tests {
    use super::super::KvShape;
    use super::*;
    use crate::base::MemoryBudget;

    #[test]
    fn what_is_written_comes_back_in_every_type() {
        let shape = KvShape { layers: 2, heads: 3, key_dim: 40, value_dim: 24 };
        let budget = MemoryBudget::new(u64::MAX);
        for ty in KvType::ALL {
            let mut cache = KvCache::new(&budget, shape, ty, 100).unwrap();
            let len = PAGE + 21;
            // Bytes that say where they came from; a second round through a cache that held something else must give the same.
            let bytes: Vec<u8> = (0..cache.transfer_bytes(len)).map(|i| (i * 31 % 251) as u8).collect();
            cache.read(&bytes, len).unwrap();
            let mut written = vec![];
            cache.write(&mut written).unwrap();
            assert!(written == bytes, "{}", ty.name());
            let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x55).collect();
            let mut fork = cache.fork().unwrap();
            fork.read(&other, len).unwrap();
            written.clear();
            cache.write(&mut written).unwrap();
            assert!(written == bytes, "a fork writes into its own pages");
        }
    }
}
