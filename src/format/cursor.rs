//! A position in a file's bytes that never passes their end. All numbers are little endian.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::ops::Range;

use crate::base::{Error, Result};

/// Reads forward through `bytes`; every read is checked, and its error names the byte and what should have stood there.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes between here and the end.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Passes over `len` bytes and returns their range.
    pub(super) fn take(&mut self, len: u64, what: impl Display) -> Result<Range<usize>> {
        match usize::try_from(len).ok().filter(|&len| len <= self.remaining()) {
            Some(len) => {
                let start = self.at;
                self.at += len;
                Ok(start..self.at)
            }
            None => Err(self.error(format_args!(
                "{what} takes {len} bytes, but the file ends {} bytes further, at byte {}",
                self.remaining(),
                self.bytes.len()
            ))),
        }
    }

    /// A u32.
    pub(super) fn u32(&mut self, what: impl Display) -> Result<u32> {
        let range = self.take(4, what)?;
        Ok(u32::from_le_bytes(self.bytes[range].try_into().expect("four bytes were taken")))
    }

    /// A u64.
    pub(super) fn u64(&mut self, what: impl Display) -> Result<u64> {
        let range = self.take(8, what)?;
        Ok(u64::from_le_bytes(self.bytes[range].try_into().expect("eight bytes were taken")))
    }

    /// A u64 that counts things which take at least `each` bytes of this file, so a count that the rest can't hold is refused.
    pub(super) fn count(&mut self, each: u64, what: impl Display) -> Result<usize> {
        let start = self.at;
        let count = self.u64(&what)?;
        let bytes = count.checked_mul(each).and_then(|bytes| usize::try_from(bytes).ok());
        if bytes.is_none_or(|bytes| bytes > self.remaining()) {
            return Err(Error::invalid_file(format!(
                "at byte {start}: {what} is {count}, of at least {each} bytes each, but only {} bytes follow in the file",
                self.remaining()
            )));
        }
        usize::try_from(count).map_err(|_| self.error(format_args!("{what} is {count}")))
    }

    /// The range of a string: a u64 of length, then that many bytes.
    pub(super) fn string(&mut self, what: impl Display) -> Result<Range<usize>> {
        let len = self.u64(format_args!("the length of {what}"))?;
        self.take(len, what)
    }

    /// The range of a string of at most `limit` bytes, which is UTF-8.
    pub(super) fn name(&mut self, limit: u64, what: impl Display) -> Result<&'a str> {
        let start = self.at;
        let len = self.u64(format_args!("the length of {what}"))?;
        if len > limit {
            return Err(Error::invalid_file(format!("at byte {start}: {what} is {len} bytes long; at most {limit} are allowed")));
        }
        let range = self.take(len, &what)?;
        std::str::from_utf8(&self.bytes[range.clone()])
            .map_err(|error| Error::invalid_file(format!("at byte {}: {what} is not UTF-8", range.start + error.valid_up_to())))
    }

    /// An error at the present position.
    pub(super) fn error(&self, message: impl Display) -> Error {
        Error::invalid_file(format!("at byte {}: {message}", self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end_and_say_where() {
        let mut cursor = Cursor::new(&[1, 0, 0, 0, 2, 0]);
        assert_eq!(cursor.u32("a").unwrap(), 1);
        assert_eq!(cursor.u32("b").unwrap_err().message(), "at byte 4: b takes 4 bytes, but the file ends 2 bytes further, at byte 6");
        assert_eq!(cursor.take(2, "c").unwrap(), 4..6);
        assert_eq!(cursor.take(0, "d").unwrap(), 6..6);
        assert!(cursor.take(u64::MAX, "e").is_err());
    }

    #[test]
    fn counts_are_held_against_the_bytes_that_follow() {
        let bytes = [2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6];
        assert_eq!(Cursor::new(&bytes).count(3, "n").unwrap(), 2);
        assert!(Cursor::new(&bytes).count(4, "n").unwrap_err().message().starts_with("at byte 0: n is 2,"));
        assert!(Cursor::new(&[0xFF; 16]).count(8, "n").is_err());
    }

    #[test]
    fn names_are_bounded_and_utf8() {
        let bytes = [3, 0, 0, 0, 0, 0, 0, 0, b'a', 0xC3, 0xA9];
        assert_eq!(Cursor::new(&bytes).name(3, "key").unwrap(), "aé");
        assert_eq!(Cursor::new(&bytes).name(2, "key").unwrap_err().message(), "at byte 0: key is 3 bytes long; at most 2 are allowed");
        assert_eq!(Cursor::new(&[2, 0, 0, 0, 0, 0, 0, 0, b'a', 0xC3]).name(9, "key").unwrap_err().message(), "at byte 9: key is not UTF-8");
    }
}
