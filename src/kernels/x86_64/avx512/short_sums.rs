//! Whether the sums of sub-blocks of 256 fit 16 bits, so that one `vpdpwssd` can multiply them with their scale and add.

use std::ops::Range;

use super::super::super::activation::{Acts, Layout};
use super::supers::Super;

/// The largest Σ|a| of 16 activations with which sums over `len` elements fit 16 bits.
pub(super) const fn most<T: Super>(len: usize) -> i32 {
    i16::MAX as i32 / (T::LARGEST * (len / 16) as i32)
}

/// Over how many elements sums fit 16 bits as a rule, if they do. Since the largest of 256 activations is 127, Σ|a| of 16 is some 600, and seldom above 900.
pub(super) const fn len<T: Super>() -> Option<usize> {
    const SELDOM: i32 = 700;
    if T::PER_32 && most::<T>(32) >= SELDOM {
        Some(32)
    } else if most::<T>(16) >= SELDOM && (!T::PER_32 || T::OFFSET == 0) {
        Some(16)
    } else {
        None
    }
}

/// The largest Σ|a| of 16 activations in some blocks of 256 of some columns.
///
/// # Safety
/// The blocks and the columns exist, in this layout.
pub(super) unsafe fn largest(acts: &Acts<'_>, layout: &Layout, columns: Range<usize>, blocks: Range<usize>) -> i32 {
    let mut largest = 0;
    for b in blocks {
        for c in columns.clone() {
            // SAFETY: a column holds the parts of its layout.
            largest = largest.max(unsafe { acts.data.as_ptr().add(c * acts.stride + layout.magnitudes).cast::<i32>().add(b).read() });
        }
    }
    largest
}
