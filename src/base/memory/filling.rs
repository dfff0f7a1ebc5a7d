//! A buffer that is filled from its start to its end, in parts. Its memory is touched part by part, where [`AlignedBuf::zeroed`] may write all
//! of it at once: seconds, for a file of gigabytes.

use super::*;

/// An [`AlignedBuf`] of bytes in the making. Only what is filled can be reached.
pub struct Filling {
    /// Its first `filled` bytes are initialised. No reference to the others is made.
    buf: Leaving,
    filled: usize,
}

impl Filling {
    /// Memory for `len` bytes, none of them filled. When nobody needs it any more it is left to `remains`.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) where the budget or the system refuses.
    pub fn new(budget: &Arc<MemoryBudget>, category: MemoryCategory, len: usize, remains: &Weak<Remains>) -> Result<Self> {
        if len == 0 {
            return Ok(Self { buf: Leaving::new(AlignedBuf::zeroed(budget, category, 0)?, remains), filled: 0 });
        }
        let layout = AlignedBuf::<u8>::layout(len)?;
        let reservation = budget.reserve(category, len as u64)?;
        let start = budget.blocks.unfilled(layout).map_err(|error| error.at(category.name()))?;
        Ok(Self { buf: Leaving::new(AlignedBuf { start, len, reservation }, remains), filled: 0 })
    }

    /// The next `most` bytes, or those that are left, as zeros to be overwritten; they count as filled. Empty at the end.
    pub fn next(&mut self, most: usize) -> &mut [u8] {
        let buf = self.buf.buf();
        let len = most.min(buf.len - self.filled);
        // SAFETY: filled + len is at most the length of the buffer, whose memory nobody else reaches.
        let part = unsafe {
            let start = buf.start.as_ptr().add(self.filled);
            start.write_bytes(0, len);
            std::slice::from_raw_parts_mut(start, len)
        };
        self.filled += len;
        part
    }

    /// The buffer, what was not filled as zeros.
    pub fn finish(mut self) -> Leaving {
        self.next(usize::MAX);
        self.buf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    #[test]
    fn parts_follow_each_other_and_the_rest_is_zeros() {
        let budget = MemoryBudget::new(1000);
        let mut filling = Filling::new(&budget, MemoryCategory::WeightsPrivate, 1000, &Weak::new()).unwrap();
        filling.next(300).fill(1);
        filling.next(300).fill(2);
        let buf = filling.finish();
        assert_eq!(buf.as_ptr() as usize % ALIGNMENT, 0);
        assert!(buf[..300] == [1; 300] && buf[300..600] == [2; 300] && buf[600..] == [0; 400]);
        assert_eq!(budget.used(MemoryCategory::WeightsPrivate), 1000);
        assert_eq!(Filling::new(&budget, MemoryCategory::Other, 1, &Weak::new()).err().unwrap().kind(), ErrorKind::OutOfMemory);
        drop(buf);
        let mut left = Filling::new(&budget, MemoryCategory::Other, 7, &Weak::new()).unwrap();
        assert_eq!((left.next(5).len(), left.next(5).len(), left.next(5).len()), (5, 2, 0));
        drop(left);
        assert!(Filling::new(&budget, MemoryCategory::Other, 0, &Weak::new()).unwrap().finish().is_empty());
        assert_eq!(budget.private_used(), 0);
    }
}
