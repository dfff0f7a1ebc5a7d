//! What crosses the boundary by address: slices and text in, filled buffers, numbers and versioned structs out.
//!
//! Every pointer from C is looked at here before a reference is made of it. (NULL, 0) is an empty slice.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use super::call::{Failure, Outcome};
use super::status::{LOQUAT_BUFFER_TOO_SMALL, LOQUAT_OK};

/// Plain data that C may hand in arrays: any bit pattern is a value.
pub(super) trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for f32 {}
impl Plain for f64 {}
// An address, which is not followed as long as it is only an element.
impl<T> Plain for *const T {}

/// The caller's array of `len` elements; `name` is for messages.
///
/// # Safety
/// `start` is NULL, or addresses `len` elements that nobody changes during `'a`.
pub(super) unsafe fn slice<'a, T: Plain>(start: *const T, len: usize, name: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(Failure::argument(format!("{name} is NULL but its length is {len}")));
    }
    if !start.is_aligned() {
        return Err(Failure::argument(format!("{name} is not aligned to {} bytes", align_of::<T>())));
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(Failure::argument(format!("{name} has the impossible length {len}")));
    }
    // SAFETY: not NULL, aligned, of a possible size, and readable as the caller promises; T takes any bits.
    Ok(unsafe { std::slice::from_raw_parts(start, len) })
}

/// The caller's UTF-8 text of `len` bytes.
///
/// # Safety
/// As [`slice`].
pub(super) unsafe fn text<'a>(start: *const c_char, len: usize, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: as promised by the caller.
    let bytes = unsafe { slice(start.cast::<u8>(), len, name) }?;
    std::str::from_utf8(bytes).map_err(|error| Failure::argument(format!("{name} is not UTF-8 at byte {}", error.valid_up_to())))
}

/// The caller's place for one output, checked before the work is done so that outputs are written only on success.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// The place at `pointer`.
    ///
    /// # Safety
    /// `pointer` is NULL or may be written through until [`set`](Self::set).
    pub(super) unsafe fn new(pointer: *mut T, name: &str) -> Result<Self, Failure> {
        if pointer.is_null() || !pointer.is_aligned() {
            return Err(Failure::argument(format!("{name} is NULL or not aligned")));
        }
        Ok(Self(pointer))
    }

    /// Writes the output.
    pub(super) fn set(self, value: T) {
        // SAFETY: not NULL, aligned and writable, as established in new().
        unsafe { self.0.write(value) }
    }
}

/// The caller's buffer for a result whose length the caller can't know: `capacity` elements at `start`, and a place for the length.
pub(super) struct Buffer<T> {
    start: *mut T,
    capacity: usize,
    needed: *mut usize,
}

impl<T: Plain> Buffer<T> {
    /// A buffer; `needed` may be NULL.
    ///
    /// # Safety
    /// `start` is NULL or addresses `capacity` writable elements, `needed` is NULL or writable, until [`fill`](Self::fill).
    pub(super) unsafe fn new(start: *mut T, capacity: usize, needed: *mut usize, name: &str) -> Result<Self, Failure> {
        if start.is_null() && capacity > 0 {
            return Err(Failure::argument(format!("{name} is NULL but its capacity is {capacity}")));
        }
        if !start.is_aligned() || !needed.is_aligned() {
            return Err(Failure::argument(format!("{name} or its length is not aligned")));
        }
        Ok(Self { start, capacity, needed })
    }

    /// Gives `length`, and has `write` fill so many elements where there is room for them.
    pub(super) fn fill_with(self, length: usize, write: impl FnOnce(&mut [T]) -> Result<(), Failure>) -> Outcome {
        if length <= self.capacity && length > 0 {
            // SAFETY: the caller promised in new() that so many elements are writable; T is Plain, so any bytes there are values.
            write(unsafe { std::slice::from_raw_parts_mut(self.start, length) })?;
        }
        if !self.needed.is_null() {
            // SAFETY: not NULL, aligned, and writable as promised in new().
            unsafe { self.needed.write(length) }
        }
        Ok(if length > self.capacity { LOQUAT_BUFFER_TOO_SMALL } else { LOQUAT_OK })
    }

    /// Copies `content` and gives its length, or gives only the length where there is no room.
    pub(super) fn fill(self, content: &[T]) -> Outcome {
        if !self.needed.is_null() {
            // SAFETY: not NULL, aligned, and writable as promised in new().
            unsafe { self.needed.write(content.len()) }
        }
        if content.len() > self.capacity {
            return Ok(LOQUAT_BUFFER_TOO_SMALL);
        }
        if !content.is_empty() {
            // SAFETY: content fits the capacity that the caller promised in new(); it is the library's memory, so there is no overlap.
            unsafe { self.start.copy_from_nonoverlapping(content.as_ptr(), content.len()) }
        }
        Ok(LOQUAT_OK)
    }
}

/// An output struct of the C interface: append-only, the caller's size of it first.
///
/// # Safety
/// Implementors are `#[repr(C)]` and begin with a `u32`, which C calls `struct_size`.
pub(super) unsafe trait Versioned: Copy {
    /// The size of the struct in the first version that had it: the least that a caller can own.
    const FIRST_SIZE: usize;
}

/// The caller's place for a [`Versioned`] struct, of the size that the caller knows it to have.
pub(super) struct VersionedOut<T> {
    start: *mut T,
    size: usize,
}

impl<T: Versioned> VersionedOut<T> {
    /// The struct at `pointer`, whose `struct_size` the caller has set.
    ///
    /// # Safety
    /// `pointer` is NULL, or addresses a struct whose first four bytes say how many bytes may be written, until [`set`](Self::set).
    pub(super) unsafe fn new(pointer: *mut T, name: &str) -> Result<Self, Failure> {
        if pointer.is_null() || !pointer.is_aligned() {
            return Err(Failure::argument(format!("{name} is NULL or not aligned")));
        }
        // SAFETY: not NULL, aligned, and the first four bytes are readable as the caller promises.
        let size = unsafe { pointer.cast::<u32>().read() } as usize;
        if size < T::FIRST_SIZE || size > 1 << 16 {
            let message = format!("{name}->struct_size is {size}; set it to sizeof the struct ({} here)", size_of::<T>());
            return Err(Failure::argument(message));
        }
        Ok(Self { start: pointer, size })
    }

    /// Writes what the caller's version of the struct has; `struct_size` stays. Bytes that this library does not know are
    /// set to ones: "not available" in every field type.
    pub(super) fn set(self, value: T) {
        let known = self.size.min(size_of::<T>());
        let from = (&raw const value).cast::<MaybeUninit<u8>>();
        let to = self.start.cast::<MaybeUninit<u8>>();
        // SAFETY: both are at least `known` bytes long: `value` by its size, the caller's by its struct_size.
        unsafe { to.add(4).copy_from_nonoverlapping(from.add(4), known - 4) }
        // SAFETY: the caller's struct has `size` bytes.
        unsafe { to.add(known).write_bytes(0xFF, self.size - known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::{null, null_mut};

    #[test]
    fn slices_are_checked() {
        // SAFETY: NULL, or addresses inside `numbers`.
        unsafe {
            assert_eq!(slice::<u32>(null(), 0, "a").unwrap(), &[] as &[u32]);
            assert!(slice::<u32>(null(), 1, "a").is_err());
            let numbers = [1u32, 2, 3];
            assert_eq!(slice(numbers.as_ptr(), 3, "a").unwrap(), &numbers);
            assert!(slice(numbers.as_ptr().byte_add(1), 1, "a").is_err());
            assert!(slice(numbers.as_ptr(), usize::MAX / 2, "a").is_err());
            assert_eq!(text(c"a\xffb".as_ptr(), 3, "t").unwrap_err().message, "t is not UTF-8 at byte 1");
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_not_touched() {
        let mut bytes = [9u8; 4];
        let mut needed = 0usize;
        // SAFETY: `bytes` and `needed` are writable.
        unsafe {
            let fill = |capacity, needed: *mut usize, content: &[u8], bytes: &mut [u8; 4]| {
                Buffer::new(bytes.as_mut_ptr(), capacity, needed, "b").unwrap().fill(content).unwrap()
            };
            assert_eq!(fill(2, &mut needed, b"abc", &mut bytes), LOQUAT_BUFFER_TOO_SMALL);
            assert_eq!((needed, bytes), (3, [9; 4]));
            assert_eq!(fill(3, &mut needed, b"abc", &mut bytes), LOQUAT_OK);
            assert_eq!(&bytes, b"abc\x09");
            assert_eq!(fill(3, null_mut(), b"", &mut bytes), LOQUAT_OK);
            assert!(Buffer::<u8>::new(null_mut(), 1, null_mut(), "b").is_err());
            assert_eq!(Buffer::<u8>::new(null_mut(), 0, &mut needed, "b").unwrap().fill(b"xy").unwrap(), LOQUAT_BUFFER_TOO_SMALL);
            assert_eq!(needed, 2);
        }
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Figures {
        struct_size: u32,
        a: u32,
        b: u64,
    }
    // SAFETY: repr(C), struct_size first.
    unsafe impl Versioned for Figures {
        const FIRST_SIZE: usize = 8;
    }

    #[test]
    fn structs_of_older_and_newer_callers_get_what_they_have_room_for() {
        let value = Figures { struct_size: 0, a: 1, b: 2 };
        let mut older = [8u32, 0, 77];
        let mut newer = [24u64, 0, 77];
        // SAFETY: the arrays have the number of bytes that their first element says; u64 alignment is at least that of Figures.
        unsafe {
            let mut place = [0u64; 2];
            place[0] = 8;
            VersionedOut::new(place.as_mut_ptr().cast::<Figures>(), "f").unwrap().set(value);
            older.copy_from_slice(&[place[0] as u32, (place[0] >> 32) as u32, place[1] as u32]);
            assert_eq!(older, [8, 1, 0]);
            VersionedOut::new(newer.as_mut_ptr().cast::<Figures>(), "f").unwrap().set(value);
            assert_eq!(newer, [24 | 1 << 32, 2, u64::MAX]);
            let mut small = [4u64, 0];
            assert!(VersionedOut::new(small.as_mut_ptr().cast::<Figures>(), "f").is_err());
        }
    }
}
