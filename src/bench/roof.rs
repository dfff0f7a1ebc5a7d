//! The roofs of this machine: how fast memory is read and how fast arithmetic is done, by the library's own loops on its own threads.
//!
//! The best of a few samples counts, as is usual for roofs: what disturbs a sample only makes it slower. All samples are kept.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value, json};

use crate::base::pool::{Lane, Sequence};
use crate::base::{AlignedBuf, Error, ErrorKind, MemoryCategory, Result};
use crate::kernels::peak::{Arithmetic, Bursts, Peaks, Reading};
use crate::runtime::Runtime;

use super::clock::Clock;
use super::system;

/// Samples of each rate.
const SAMPLES: usize = 5;
/// How long a sample takes at least, where the machine is as fast in it as in the trial before.
const SAMPLE_MS: f64 = 20.0;
/// Rounds of an item of a burst: some ten microseconds.
const ROUNDS: u32 = 2_000;
/// The block that stands for main memory: as large as this at least, and at most, and twice the last cache between the two.
const LEAST_BLOCK: u64 = 256 << 20;
const MOST_BLOCK: u64 = 1 << 30;
/// Smaller ones are no longer main memory on any machine.
const SMALLEST_BLOCK: u64 = 64 << 20;

/// A rate, measured several times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rate {
    /// The samples in their order, in units of 10⁹ a second.
    pub samples: Vec<f64>,
}

impl Rate {
    /// The best one; 0 without samples.
    pub fn best(&self) -> f64 {
        self.samples.iter().copied().fold(0.0, f64::max)
    }

    pub(super) fn value(&self) -> Value {
        json!({ "best": self.best(), "samples": self.samples })
    }
}

/// What a number of threads reaches together.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadRoof {
    /// Threads.
    pub threads: usize,
    /// Reading a block larger than the caches, GB/s.
    pub memory_gb_s: Rate,
    /// Reading, again and again, a block as large as the weights that a token reads, GB/s: from caches, where it fits in them.
    pub weights_gb_s: Rate,
    /// Arithmetic, 10⁹ operations a second, in the order of [`Arithmetic::ALL`].
    pub gop_s: [Rate; 3],
}

impl ThreadRoof {
    /// Seconds that `operations` take at least. Products of bf16 can be made of f32 multiply-adds, too, of which some processors do more.
    pub fn compute_s(&self, operations: &[f64; 3]) -> f64 {
        let [int8, f32, bf16] = self.gop_s.each_ref().map(Rate::best);
        operations.iter().zip([int8, f32, bf16.max(f32)]).filter(|(count, _)| **count > 0.0).map(|(count, rate)| count / (rate * 1e9)).sum()
    }

    fn value(&self) -> Value {
        let peaks: Map<String, Value> =
            Arithmetic::ALL.iter().zip(&self.gop_s).map(|(kind, rate)| (kind.name().into(), rate.value())).collect();
        json!({
            "threads": self.threads,
            "memory_gb_s": self.memory_gb_s.value(),
            "weights_gb_s": self.weights_gb_s.value(),
            "gop_s": peaks,
        })
    }
}

/// How fast blocks of some size are read again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockRate {
    /// Bytes of the block.
    pub bytes: u64,
    /// By all threads, GB/s.
    pub gb_s: Rate,
}

/// The roofs.
#[derive(Debug, Clone, PartialEq)]
pub struct Roof {
    /// For growing numbers of threads; the last is that of all of them.
    pub threads: Vec<ThreadRoof>,
    /// The read rate over the size of the block, with all threads.
    pub blocks: Vec<BlockRate>,
    /// The block that stands for main memory.
    pub memory_block_bytes: u64,
    /// The largest cache; absent where the system does not tell.
    pub last_cache_bytes: Option<u64>,
    /// What the system says of large pages ("madvise"); absent likewise.
    pub large_pages: Option<String>,
}

impl Roof {
    /// Measures the machine under `runtime`; `weights` are the bytes that a token reads.
    ///
    /// # Errors
    /// `OutOfMemory` where there is no room for a block of 64 MiB. As [`Pool::run`](crate::base::Pool::run).
    pub(super) async fn measure(runtime: &Runtime, weights: u64, clock: &mut Clock) -> Result<Self> {
        let last_cache_bytes = system::last_cache_bytes();
        let block = block(runtime, last_cache_bytes, clock).await?;
        let peaks = Peaks::for_isa(runtime.isa()).ok_or_else(|| Error::internal("the runtime's level has no peaks"))?;
        let meter = Meter { runtime, peaks };
        let all = runtime.threads();
        let weights = (weights as usize).clamp(1 << 12, size_of_val(&block[..])) / size_of::<u64>();
        let mut threads = vec![];
        for count in super::claim::doubling(1, all as u32).into_iter().map(|count| count as usize) {
            let mut gop_s = [const { Rate { samples: vec![] } }; 3];
            for (rate, arithmetic) in gop_s.iter_mut().zip(Arithmetic::ALL) {
                *rate = meter.arithmetic(arithmetic, count, clock).await?;
            }
            threads.push(ThreadRoof {
                threads: count,
                memory_gb_s: meter.reading(&block, count, clock).await?,
                weights_gb_s: meter.reading(&block[..weights], count, clock).await?,
                gop_s,
            });
        }
        let whole = size_of_val(&block[..]) as u64;
        let mut blocks = vec![];
        for bytes in std::iter::successors(Some(32u64 << 10), |bytes| Some(bytes * 8)).take_while(|&bytes| bytes < whole).chain([whole]) {
            blocks.push(BlockRate { bytes, gb_s: meter.reading(&block[..bytes as usize / size_of::<u64>()], all, clock).await? });
        }
        let large_pages = system::large_pages();
        Ok(Self { threads, blocks, memory_block_bytes: whole, last_cache_bytes, large_pages })
    }

    /// That of all threads.
    pub fn all(&self) -> &ThreadRoof {
        self.threads.last().expect("one thread at least is measured")
    }

    /// The roofs of a pass that does `operations` and reads `bytes` of which most are weights: seconds by memory, and by arithmetic.
    pub fn seconds(&self, bytes: f64, operations: &[f64; 3]) -> (f64, f64) {
        (bytes / (self.all().weights_gb_s.best() * 1e9), self.all().compute_s(operations))
    }

    pub(super) fn value(&self) -> Value {
        let blocks: Vec<Value> = self.blocks.iter().map(|block| json!({ "bytes": block.bytes, "gb_s": block.gb_s.value() })).collect();
        json!({
            "by_threads": self.threads.iter().map(ThreadRoof::value).collect::<Vec<_>>(),
            "read_by_block": blocks,
            "memory_block_bytes": self.memory_block_bytes,
            "last_cache_bytes": self.last_cache_bytes,
            "memory_block_beyond_caches": self.last_cache_bytes.map(|cache| self.memory_block_bytes > cache),
            "large_pages": self.large_pages,
        })
    }
}

/// A block for main memory, written from end to end: pages that nothing was written to are all the same one.
async fn block(runtime: &Runtime, last_cache: Option<u64>, clock: &mut Clock) -> Result<AlignedBuf<u64>> {
    let free = system::available_bytes().map_or(MOST_BLOCK, |free| free / 4);
    let mut bytes = (2 * last_cache.unwrap_or(0)).clamp(LEAST_BLOCK, MOST_BLOCK).min(free.max(SMALLEST_BLOCK));
    let mut block = loop {
        match AlignedBuf::<u64>::zeroed(runtime.budget(), MemoryCategory::Other, bytes as usize / size_of::<u64>()) {
            Err(error) if error.kind() == ErrorKind::OutOfMemory && bytes / 2 >= SMALLEST_BLOCK => bytes /= 2,
            made => break made?,
        }
    };
    for (number, part) in block.chunks_mut(1 << 15).enumerate() {
        part.fill(number as u64);
        clock.pause().await;
    }
    Ok(block)
}

struct Meter<'a> {
    runtime: &'a Runtime,
    peaks: &'static Peaks,
}

impl Meter<'_> {
    async fn reading(&self, words: &[u64], threads: usize, clock: &mut Clock) -> Result<Rate> {
        self.rate(threads, clock, |times| {
            let reading = Reading::new(self.peaks, words, times);
            let bytes = reading.bytes();
            (reading, bytes)
        })
        .await
    }

    async fn arithmetic(&self, arithmetic: Arithmetic, threads: usize, clock: &mut Clock) -> Result<Rate> {
        self.rate(threads, clock, |times| {
            let bursts = Bursts::new(self.peaks.burst(arithmetic), ROUNDS, times.saturating_mul(2 * threads as u32));
            let operations = bursts.operations();
            (bursts, operations)
        })
        .await
    }

    /// The rate of what `make` makes of a number of times, with the units of all of it.
    async fn rate<S: Sequence>(&self, threads: usize, clock: &mut Clock, make: impl Fn(u32) -> (S, u64)) -> Result<Rate> {
        let mut times = 1u32;
        // A trial, which warms up as well: how many times it takes for a sample.
        loop {
            let ms = self.time_ms(&make(times).0, threads, clock).await?;
            if ms >= SAMPLE_MS / 4.0 || times >= 1 << 22 {
                times = (f64::from(times) * SAMPLE_MS / ms.max(1e-3)).clamp(1.0, f64::from(1u32 << 22)).ceil() as u32;
                break;
            }
            times *= 4;
        }
        let mut samples = vec![];
        for _ in 0..SAMPLES {
            let (sequence, units) = make(times);
            let ms = self.time_ms(&sequence, threads, clock).await?;
            samples.push(units as f64 / ms / 1e6);
        }
        Ok(Rate { samples })
    }

    async fn time_ms<S: Sequence>(&self, sequence: &S, threads: usize, clock: &mut Clock) -> Result<f64> {
        let mut lane = Lane::new(Arc::new(AtomicBool::new(false))).with_threads(threads);
        clock.in_slices(|cursor, budget| self.runtime.pool().run(&mut lane, sequence, cursor, budget)).await
    }
}
