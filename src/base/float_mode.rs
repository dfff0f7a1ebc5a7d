//! The floating-point mode of a thread: rounding, subnormal numbers, traps.
//!
//! Rust code, and with it the one order of arithmetic of this library, takes the mode for granted that every thread starts with: round to
//! nearest, subnormal numbers as they are, no traps. Hosts change it (audio code flushes subnormal numbers to zero, some engines trap on
//! invalid operations), and it belongs to the thread. So it is set where the library is entered on a thread of the host, and put back after.

/// Keeps the thread in the mode that the library computes in; the mode before comes back when this is dropped.
pub struct FloatMode {
    /// The control word before, where it was another.
    before: Option<Word>,
}

impl FloatMode {
    /// Sets the mode.
    pub fn standard() -> Self {
        let now = read();
        let before = (now & CONTROL != STANDARD).then_some(now);
        if before.is_some() {
            // SAFETY: the mode that Rust expects.
            unsafe { write(STANDARD) };
        }
        Self { before }
    }
}

impl Drop for FloatMode {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // SAFETY: the mode in which the host called.
            unsafe { write(before) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    pub type Word = u32;
    /// All but the flags that operations raise.
    pub const CONTROL: Word = 0xffc0;
    /// All exceptions masked.
    pub const STANDARD: Word = 0x1f80;

    pub fn read() -> Word {
        let mut word: Word = 0;
        // SAFETY: stores four bytes at the address.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
        word
    }

    /// # Safety
    /// No code that expects another mode runs before it is set back.
    pub unsafe fn write(word: Word) {
        // SAFETY: loads four bytes from the address; only the values of this file are written, none with reserved bits.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    pub type Word = u64;
    /// Alternative half precision, default NaN, flush to zero (also of half precision), rounding, traps, other ways of bfloat16 and NaN.
    pub const CONTROL: Word = 0x07c8_bf07;
    pub const STANDARD: Word = 0;

    pub fn read() -> Word {
        let word: Word;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    /// # Safety
    /// No code that expects another mode runs before it is set back.
    pub unsafe fn write(word: Word) {
        // SAFETY: writes a register that user programs may write.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod control {
    pub type Word = u32;
    pub const CONTROL: Word = 0;
    pub const STANDARD: Word = 0;

    pub fn read() -> Word {
        0
    }

    /// # Safety
    /// None: does nothing.
    pub unsafe fn write(_word: Word) {}
}

use control::{CONTROL, STANDARD, Word, read, write};

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn the_mode_is_set_and_put_back() {
        // Round toward zero, and on x86-64 flush to zero, with all exceptions masked.
        let toward_zero: Word = if cfg!(target_arch = "x86_64") { 0xff80 } else { 0x00c0_0000 };
        // The division can leave the black boxes around it no more than the changes of mode can.
        let third = || black_box(black_box(2.0f32) / black_box(3.0));
        let nearest = third();
        // SAFETY: the mode is set back below, and what lies between tells modes apart on purpose.
        unsafe { write(toward_zero) };
        let cut = third();
        let inside = {
            let _mode = FloatMode::standard();
            third()
        };
        let after = third();
        // SAFETY: the mode that the test began in.
        unsafe { write(STANDARD) };
        assert!(cut < nearest);
        assert_eq!((inside, after), (nearest, cut));
    }
}
