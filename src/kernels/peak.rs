//! What the processor can do at most: bursts of arithmetic that wait for nothing, and memory read from one end to the other.
//!
//! These are the roofs that products are measured against. They compute nothing that anybody needs, on the same level of instructions as the
//! products and on the same worker pool, so that threads, clock rate and the system's share of the time are those of a model at work.
//!
//! Not here: the measuring, and what a model asks of the processor.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Isa;
use crate::base::pool::{MAX_ITEMS, Sequence};

/// A loop of nothing but multiplications and additions.
#[derive(Clone, Copy)]
pub struct Burst {
    /// Runs so many rounds. Only on a processor that has the level of the table.
    pub(super) run: fn(rounds: u32),
    /// Operations of a round: a multiplication and an addition are two.
    pub(super) operations: u64,
}

/// The loops of one level.
pub struct Peaks {
    /// The sum of words, read one after the other.
    pub(super) read: fn(&[u64]) -> u64,
    /// Products of bytes, added up in 32 bits.
    pub(super) int8: Burst,
    /// Fused multiply-adds in f32 (on the portable level, multiplications and additions).
    pub(super) f32: Burst,
    /// Products of bf16, added up in f32: by an instruction of their own, or widened and fused.
    pub(super) bf16: Burst,
}

/// An arithmetic that products of weights are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// Bytes: weights of all quantised types.
    Int8,
    /// f32: weights of f32 and f16, and the attention.
    F32,
    /// bf16.
    Bf16,
}

impl Arithmetic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Int8, Self::F32, Self::Bf16];

    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl Peaks {
    /// The loops of `isa`, or `None` where this processor does not have it.
    pub fn for_isa(isa: Isa) -> Option<&'static Self> {
        if !isa.is_available() {
            return None;
        }
        match isa {
            Isa::Portable => Some(&super::generic::peak::PEAKS),
            #[cfg(target_arch = "x86_64")]
            _ => super::x86_64::peak::peaks(isa),
            #[cfg(target_arch = "aarch64")]
            _ => super::aarch64::peak::peaks(isa),
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => None,
        }
    }

    /// The loop of an arithmetic.
    pub fn burst(&self, arithmetic: Arithmetic) -> Burst {
        match arithmetic {
            Arithmetic::Int8 => self.int8,
            Arithmetic::F32 => self.f32,
            Arithmetic::Bf16 => self.bf16,
        }
    }
}

/// Bursts as the worker pool runs them.
pub struct Bursts {
    burst: Burst,
    rounds: u32,
    items: u32,
}

impl Bursts {
    /// `items` times `rounds` rounds.
    pub fn new(burst: Burst, rounds: u32, items: u32) -> Self {
        Self { burst, rounds, items: items.min(MAX_ITEMS) }
    }

    /// Operations of all of them.
    pub fn operations(&self) -> u64 {
        self.burst.operations * u64::from(self.rounds) * u64::from(self.items)
    }
}

impl Sequence for Bursts {
    fn len(&self) -> usize {
        1
    }

    fn items(&self, _op: usize) -> u32 {
        self.items
    }

    unsafe fn run(&self, _op: usize, _item: u32, _next: Option<u32>, _worker: usize) {
        (self.burst.run)(self.rounds);
    }
}

/// Words that a thread reads at a stretch, a shorter block several times over: so many that claiming the stretch takes no time beside it.
const STRETCH: usize = (512 << 10) / size_of::<u64>();

/// Memory read from one end to the other, some times over, as the worker pool runs it. Threads take stretches in their order, so that the
/// block is read once a time by all of them together.
pub struct Reading<'a> {
    read: fn(&[u64]) -> u64,
    words: &'a [u64],
    /// How often all stretches are taken.
    rounds: u32,
    /// How often each is read then: more than once where it is the whole block.
    repeats: u32,
    /// What was read, so that the reading is not left out.
    sum: AtomicU64,
}

impl<'a> Reading<'a> {
    /// Reads `words` so many times, or as often as fits in one run; less often by a part of a stretch where a stretch is several times.
    pub fn new(peaks: &Peaks, words: &'a [u64], times: u32) -> Self {
        let stretches = words.len().div_ceil(STRETCH).clamp(1, MAX_ITEMS as usize) as u32;
        let repeats = ((STRETCH / words.len().max(1)) as u32).clamp(1, times.max(1));
        Self { read: peaks.read, words, rounds: (times / repeats).min(MAX_ITEMS / stretches), repeats, sum: AtomicU64::new(0) }
    }

    /// Bytes that are read.
    pub fn bytes(&self) -> u64 {
        size_of_val(self.words) as u64 * u64::from(self.rounds) * u64::from(self.repeats)
    }

    /// The sum of all words that were read.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    fn stretches(&self) -> usize {
        self.words.len().div_ceil(STRETCH)
    }
}

impl Sequence for Reading<'_> {
    fn len(&self) -> usize {
        1
    }

    fn items(&self, _op: usize) -> u32 {
        self.stretches() as u32 * self.rounds
    }

    unsafe fn run(&self, _op: usize, item: u32, _next: Option<u32>, _worker: usize) {
        let first = item as usize % self.stretches() * STRETCH;
        let words = &self.words[first..self.words.len().min(first + STRETCH)];
        for _ in 0..self.repeats {
            self.sum.fetch_add((self.read)(words), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::base::pool::{Budget, Cursor, Lane, Outcome};
    use crate::base::{Pool, ThreadHooks};

    fn run(sequence: &dyn Sequence) {
        let pool = Pool::new(2, &ThreadHooks::default()).unwrap();
        let mut lane = Lane::new(Arc::new(AtomicBool::new(false)));
        assert_eq!(pool.run(&mut lane, sequence, &mut Cursor::default(), Budget::Unlimited).unwrap(), Outcome::Finished);
    }

    #[test]
    fn every_level_reads_every_word_as_often_as_it_says() {
        for isa in Isa::available() {
            let peaks = Peaks::for_isa(isa).unwrap_or_else(|| panic!("{isa:?} has no peaks"));
            for len in [0, 1, 31, 33, STRETCH - 1, 3 * STRETCH + 70] {
                let words: Vec<u64> = (0..len as u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
                let reading = Reading::new(peaks, &words, 3);
                run(&reading);
                let expected = words.iter().fold(0u64, |sum, word| sum.wrapping_add(*word)).wrapping_mul(3);
                assert_eq!((reading.sum(), reading.bytes()), (expected, 3 * 8 * len as u64), "{isa:?}, {len} words");
            }
        }
    }

    #[test]
    fn no_loop_was_seen_through() {
        for isa in Isa::available() {
            let peaks = Peaks::for_isa(isa).unwrap();
            for arithmetic in Arithmetic::ALL {
                let (burst, rounds) = (peaks.burst(arithmetic), 200_000);
                let begin = std::time::Instant::now();
                (burst.run)(rounds);
                let rate = (burst.operations * u64::from(rounds)) as f64 / begin.elapsed().as_secs_f64();
                // What no thread does, however fast its processor; a loop without a body does.
                assert!(rate < 1e14, "{isa:?}, {arithmetic:?}: {rate:.1e} operations a second");
            }
        }
    }

    #[test]
    fn operations_are_those_of_all_rounds_of_all_items() {
        assert_eq!(Bursts::new(Burst { run: |_| (), operations: 10 }, 7, 3).operations(), 210);
    }
}
