//! Hash tables of the tokenizer: byte string → id, and pair of pieces → merge. Built once, then only read.
//!
//! Open addressing, at most 3/4 full, hashed with a seed that differs from process to process, so that no vocabulary can
//! be made to collide. Ids never depend on the seed.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use crate::base::{Pace, Result};

use super::TOKEN_COST;
use super::definition::{ByteStrings, out_of_memory};

/// No entry.
const EMPTY: u32 = u32::MAX;

/// `len` copies of `value`.
pub(super) fn filled<T: Clone>(value: T, len: usize) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(out_of_memory)?;
    vec.resize(len, value);
    Ok(vec)
}

/// Elements that are filled at a time.
const FILLED: usize = 1 << 13;

/// As [`filled`], in pieces.
pub(super) async fn filled_paced<T: Clone>(pace: &Pace, value: T, len: usize) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(out_of_memory)?;
    while vec.len() < len {
        vec.resize(len.min(vec.len() + FILLED), value.clone());
        pace.spend(FILLED * size_of::<T>()).await;
    }
    Ok(vec)
}

fn slots_for(entries: usize) -> usize {
    (entries + entries / 3 + 1).next_power_of_two()
}

/// 64×64 → 128 bit product, folded: the mixing step of the wyhash family.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn read(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0 => 0,
        1..4 => u64::from(bytes[0]) | u64::from(bytes[bytes.len() / 2]) << 8 | u64::from(bytes[bytes.len() - 1]) << 16,
        4..8 => {
            let low = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let tail = &bytes[bytes.len() - 4..];
            u64::from(low) | u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]])) << 32
        }
        _ => u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

#[inline]
fn hash(seed: u64, mut key: &[u8]) -> u64 {
    let mut state = seed ^ (key.len() as u64).wrapping_mul(MIX);
    while key.len() > 16 {
        state = fold(read(&key[..8]) ^ state, read(&key[8..16]) ^ MIX);
        key = &key[16..];
    }
    let (low, high) = if key.len() > 8 { (read(&key[..8]), read(&key[key.len() - 8..])) } else { (read(key), 0) };
    fold(low ^ state, high ^ seed.rotate_left(23) ^ MIX)
}

/// Finds the id of a byte string.
#[derive(Debug)]
pub(super) struct IdTable {
    seed: u64,
    strings: ByteStrings,
    /// High half of the hash, id.
    slots: Vec<(u32, u32)>,
    longest: usize,
}

impl IdTable {
    /// A table of `strings`, in which ids are indices. `skip` names those that can't be found. Of equal strings the first
    /// counts; the second is `Err(its index)`.
    pub async fn new(pace: &Pace, strings: ByteStrings, skip: impl Fn(usize) -> bool) -> Result<std::result::Result<Self, (usize, usize)>> {
        let seed = RandomState::new().hash_one(0u64) | 1;
        let slots = filled_paced(pace, (0, EMPTY), slots_for(strings.len())).await?;
        let mut table = Self { seed, slots, longest: 0, strings: ByteStrings::new() };
        for id in 0..strings.len() {
            let string = strings.get(id).unwrap_or_default();
            pace.work(TOKEN_COST + string.len()).await;
            if skip(id) {
                continue;
            }
            let hash = hash(seed, string);
            let mut at = hash as usize & (table.slots.len() - 1);
            while table.slots[at].1 != EMPTY {
                let (tag, other) = table.slots[at];
                if tag == (hash >> 32) as u32 && strings.get(other as usize) == Some(string) {
                    return Ok(Err((other as usize, id)));
                }
                at = (at + 1) & (table.slots.len() - 1);
            }
            table.slots[at] = ((hash >> 32) as u32, id as u32);
            table.longest = table.longest.max(string.len());
        }
        table.strings = strings;
        Ok(Ok(table))
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.strings.memory() + size_of_val(&*self.slots)
    }

    /// The id of `key`.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<u32> {
        if key.len() > self.longest {
            return None;
        }
        let hash = hash(self.seed, key);
        let mut at = hash as usize & (self.slots.len() - 1);
        loop {
            let (tag, id) = self.slots[at];
            if id == EMPTY {
                return None;
            }
            if tag == (hash >> 32) as u32 && self.strings.get(id as usize) == Some(key) {
                return Some(id);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// A merge: its place in the list, and the piece it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merge {
    pub rank: u32,
    pub piece: u32,
}

/// Finds the merge of two neighbouring pieces.
#[derive(Debug)]
pub(super) struct MergeTable {
    seed: u64,
    slots: Vec<(u64, Merge)>,
}

/// The key of no pair: pieces are below `u32::MAX`.
const NO_PAIR: u64 = u64::MAX;

impl MergeTable {
    /// An empty table with room for `entries`.
    pub async fn with_room_for(pace: &Pace, entries: usize) -> Result<Self> {
        let seed = RandomState::new().hash_one(1u64) | 1;
        Ok(Self { seed, slots: filled_paced(pace, (NO_PAIR, Merge { rank: 0, piece: 0 }), slots_for(entries)).await? })
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        size_of_val(&*self.slots)
    }

    #[inline]
    fn slot(&self, key: u64) -> usize {
        let mut at = fold(key ^ self.seed, MIX) as usize & (self.slots.len() - 1);
        while self.slots[at].0 != key && self.slots[at].0 != NO_PAIR {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    /// Adds the merge of `left` and `right`, both below `u32::MAX`, unless there is one. At most as often as there is room.
    pub fn insert(&mut self, left: u32, right: u32, merge: Merge) {
        let key = u64::from(left) << 32 | u64::from(right);
        let at = self.slot(key);
        if self.slots[at].0 == NO_PAIR {
            self.slots[at] = (key, merge);
        }
    }

    /// The merge of `left` and `right`.
    #[inline]
    pub fn get(&self, left: u32, right: u32) -> Option<Merge> {
        let key = u64::from(left) << 32 | u64::from(right);
        let (found, merge) = self.slots[self.slot(key)];
        (found == key && key != NO_PAIR).then_some(merge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::at_once;

    fn id_table(strings: ByteStrings, skip: impl Fn(usize) -> bool) -> std::result::Result<IdTable, (usize, usize)> {
        at_once(IdTable::new(&Pace::unhurried(), strings, skip)).unwrap()
    }

    #[test]
    fn finds_each_string_and_nothing_else() {
        let strings: Vec<String> = (0..5000).map(|i| format!("{}{i}", "x".repeat(i % 40))).collect();
        let table = id_table(strings.iter().collect(), |id| id == 77).unwrap();
        for (id, string) in strings.iter().enumerate() {
            assert_eq!(table.get(string.as_bytes()), (id != 77).then_some(id as u32));
        }
        assert_eq!(table.get(b""), None);
        assert_eq!(table.get(b"5000"), None);
        assert_eq!(table.get(&[b'x'; 1000]), None);
    }

    #[test]
    fn names_the_pair_of_equal_strings() {
        let equal = id_table(["a", "b", "c", "b"].iter().collect(), |_| false);
        assert_eq!(equal.err(), Some((1, 3)));
        assert!(id_table(ByteStrings::new(), |_| false).unwrap().get(b"").is_none());
    }

    #[test]
    fn the_first_merge_of_a_pair_counts() {
        let mut table = at_once(MergeTable::with_room_for(&Pace::unhurried(), 3)).unwrap();
        table.insert(1, 2, Merge { rank: 5, piece: 9 });
        table.insert(1, 2, Merge { rank: 6, piece: 8 });
        table.insert(2, 1, Merge { rank: 7, piece: 7 });
        assert_eq!(table.get(1, 2), Some(Merge { rank: 5, piece: 9 }));
        assert_eq!(table.get(2, 1), Some(Merge { rank: 7, piece: 7 }));
        assert_eq!(table.get(0, 0), None);
        assert_eq!(table.get(u32::MAX, u32::MAX), None);
    }
}
