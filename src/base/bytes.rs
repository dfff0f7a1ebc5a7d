//! Immutable bytes with shared ownership: a range of a mapped file, of a host's buffer or of a private copy.
//!
//! Weights are views of this type, so the mapping lives as long as the last view.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The owner of some bytes that stay at one address and never change while it lives.
pub type ByteOwner = dyn AsRef<[u8]> + Send + Sync;

/// Lets go of the memory behind some bytes, which comes back with the same content when it is touched.
pub type Forget = fn(&[u8]);

/// A cheap-to-clone range of bytes that keeps its owner alive. Dereferences to `[u8]`.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<ByteOwner>,
    range: Range<usize>,
    forget: Option<Forget>,
}

impl SharedBytes {
    /// All bytes of `owner`.
    pub fn new(owner: Arc<ByteOwner>) -> Self {
        let range = 0..owner.as_ref().as_ref().len();
        Self { owner, range, forget: None }
    }

    /// All bytes of `owner`, which can be read again from where they came from.
    pub fn rereadable(owner: Arc<ByteOwner>, forget: Forget) -> Self {
        Self { forget: Some(forget), ..Self::new(owner) }
    }

    /// Says that the part `range` is not needed soon: the process then holds no memory for it, where it can be read again. A range that reaches
    /// outside this view is passed over.
    pub fn forget(&self, range: Range<usize>) {
        if let (Some(forget), Some(part)) = (self.forget, self.get(range)) {
            forget(part);
        }
    }

    /// A copy of `bytes` in memory of its own.
    pub fn copied(bytes: &[u8]) -> Self {
        Self::new(Arc::new(bytes.to_vec()))
    }

    /// The sub-range `range` (relative to this view), or `None` where it reaches outside.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Self { owner: Arc::clone(&self.owner), range: start..start + range.len(), forget: self.forget })
    }
}

impl Default for SharedBytes {
    /// No bytes.
    fn default() -> Self {
        Self::new(Arc::new([0u8; 0]))
    }
}

impl Deref for SharedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.owner.as_ref().as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_relative_and_checked() {
        let all = SharedBytes::copied(&[0, 1, 2, 3, 4, 5]);
        let mid = all.slice(2..5).unwrap();
        assert_eq!(&*mid, &[2, 3, 4]);
        assert_eq!(&*mid.slice(1..3).unwrap(), &[3, 4]);
        assert!(mid.slice(1..4).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "the reversed range is the case under test")]
        let reversed = mid.slice(2..1);
        assert!(reversed.is_none());
    }
}
