//! Large memory that nobody needs any more, on its way back to the system.
//!
//! Giving back at once what was written takes the system some tens of milliseconds for each gigabyte. Who can't wait that long leaves the
//! buffer here and gives it back in pieces, where the system takes pieces (Linux) and the block is not one of the host's allocator; otherwise
//! at once, when it is left. The budget counts what has not gone back yet.

use super::*;

/// Bytes of a piece: about a tenth of a millisecond.
const PIECE: usize = 1 << 20;

/// Buffers that were left. All methods are thread-safe; dropping it gives back what is there.
#[derive(Debug, Default)]
pub struct Remains(Mutex<Vec<Ebbing>>);

/// A buffer of which the first `left` bytes have not been given back.
#[derive(Debug)]
struct Ebbing {
    buf: AlignedBuf<u8>,
    left: usize,
}

impl Remains {
    /// Bytes that have not been given back.
    pub fn bytes(&self) -> u64 {
        self.0.lock().iter().map(|ebbing| ebbing.left as u64).sum()
    }

    /// Gives a piece back; false where nothing was there.
    pub fn give_back(&self) -> bool {
        let mut all = self.0.lock();
        let Some(last) = all.last_mut() else { return false };
        if !last.ebb() {
            all.pop();
        }
        true
    }

    fn put(&self, buf: AlignedBuf<u8>) {
        let left = buf.len;
        let mut all = self.0.lock();
        // Where there is no room for the entry, the buffer goes at once.
        if in_pieces(&buf) && all.try_reserve(1).is_ok() {
            all.push(Ebbing { buf, left });
        }
    }
}

impl Ebbing {
    /// Gives the last piece back; false where the rest is to go with the block.
    fn ebb(&mut self) -> bool {
        let from = self.left.saturating_sub(PIECE);
        if from == 0 || !discard(&mut self.buf, from..self.left) {
            return false;
        }
        self.buf.reservation.shrink((self.left - from) as u64);
        self.left = from;
        true
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn in_pieces(buf: &AlignedBuf<u8>) -> bool {
    buf.len > PIECE && buf.reservation.budget.blocks.are_the_systems()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn in_pieces(_buf: &AlignedBuf<u8>) -> bool {
    false
}

/// Has the system take the memory of `range`, whose bytes are lost; false where it does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn discard(buf: &mut AlignedBuf<u8>, range: std::ops::Range<usize>) -> bool {
    // SAFETY: asks for a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
    let start = buf.start.as_ptr();
    let address = start as usize;
    let (Some(from), Some(to)) =
        ((address + range.start).checked_next_multiple_of(page.max(1)), (address + range.end).checked_div(page).map(|pages| pages * page))
    else {
        return false;
    };
    if from >= to {
        return true;
    }
    // SAFETY: whole pages inside the block, which the process's allocator gave and of which it keeps nothing there; `&mut` says that
    // nobody reads the bytes. They are private memory, and zeros from here on.
    unsafe { libc::madvise(start.add(from - address).cast(), to - from, libc::MADV_DONTNEED) == 0 }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn discard(_buf: &mut AlignedBuf<u8>, _range: std::ops::Range<usize>) -> bool {
    false
}

/// A buffer that is left to some [`Remains`] when it is dropped, as long as those are there.
#[derive(Debug)]
pub struct Leaving {
    /// None only while it is dropped.
    buf: Option<AlignedBuf<u8>>,
    remains: Weak<Remains>,
}

impl Leaving {
    pub(super) fn new(buf: AlignedBuf<u8>, remains: &Weak<Remains>) -> Self {
        Self { buf: Some(buf), remains: Weak::clone(remains) }
    }

    /// Zeros that nothing is written to, so that the system need not have memory for all of them: to stand for something in an estimate.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) where the budget or the system refuses.
    pub fn blank(budget: &Arc<MemoryBudget>, category: MemoryCategory, len: usize, remains: &Weak<Remains>) -> Result<Self> {
        Ok(Self::new(AlignedBuf::zeroed(budget, category, len)?, remains))
    }

    pub(super) fn buf(&mut self) -> &mut AlignedBuf<u8> {
        self.buf.as_mut().expect("it is there until the drop")
    }
}

impl Deref for Leaving {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.buf.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for Leaving {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buf()
    }
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// In the budget until the last view of it goes.
impl From<Leaving> for SharedBytes {
    fn from(memory: Leaving) -> Self {
        Self::new(Arc::new(memory))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let (Some(buf), Some(remains)) = (self.buf.take(), self.remains.upgrade()) {
            remains.put(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(budget: &Arc<MemoryBudget>, len: usize, remains: &Arc<Remains>) -> Leaving {
        let mut buf = AlignedBuf::zeroed(budget, MemoryCategory::WeightsPrivate, len).unwrap();
        buf.fill(7);
        Leaving::new(buf, &Arc::downgrade(remains))
    }

    #[test]
    fn what_is_left_goes_back_in_pieces_and_is_counted_until_then() {
        let budget = MemoryBudget::new(u64::MAX);
        let remains = Arc::new(Remains::default());
        let len = 5 * PIECE + 12345;
        let (one, two) = (leaving(&budget, len, &remains), leaving(&budget, len, &remains));
        assert_eq!((one[len - 1], remains.bytes()), (7, 0));
        drop((one, two));
        let (mut pieces, mut last) = (0, budget.private_used());
        assert_eq!(last, remains.bytes());
        while remains.give_back() {
            assert!(budget.private_used() < last && last - budget.private_used() <= (PIECE + 12345) as u64);
            last = budget.private_used();
            assert_eq!(last, remains.bytes());
            pieces += 1;
        }
        assert_eq!((last, budget.used(MemoryCategory::WeightsPrivate)), (0, 0));
        assert_eq!(pieces > 0, cfg!(any(target_os = "linux", target_os = "android")));
    }

    #[test]
    fn without_remains_a_buffer_goes_at_once_and_so_do_they() {
        let budget = MemoryBudget::new(u64::MAX);
        let remains = Arc::new(Remains::default());
        let (early, late) = (leaving(&budget, 3 * PIECE, &remains), leaving(&budget, 3 * PIECE, &remains));
        drop(early);
        remains.give_back();
        drop(remains);
        assert_eq!(budget.private_used(), 3 * PIECE as u64);
        drop(late);
        assert_eq!(budget.private_used(), 0);
    }
}
