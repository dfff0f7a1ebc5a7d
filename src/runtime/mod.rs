//! Floor 3: what the models and sessions of one host share: worker threads, memory budget, instruction set, log sink, metrics.
//!
//! Nothing is global: two runtimes in one process know nothing of each other.

#![forbid(unsafe_code)]

mod log;
mod runner;

use std::sync::Arc;

use crate::base::{BlockSource, Error, MemoryBudget, ParallelFor, Pool, Result, ThreadHooks};
use crate::kernels::{Isa, Kernels};
use crate::metrics::runtime::{MemorySnapshot, RuntimeFacts, RuntimeMetrics, RuntimeSnapshot};

pub use log::{LogLevel, LogSink};
pub(crate) use runner::Runner;

/// How many threads work on a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threads {
    /// One per processor that the process may use.
    #[default]
    All,
    /// The calling thread alone; the runtime starts no thread.
    CallerOnly,
    /// So many in all, the calling thread among them.
    Count(usize),
}

/// Options of a runtime.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// Threads per step.
    pub threads: Threads,
    /// The host's threads, to work instead of threads of the runtime; `threads` says how many are asked for.
    pub parallel_for: Option<Arc<dyn ParallelFor>>,
    /// Functions that the runtime's own threads call when they start and end.
    pub thread_hooks: ThreadHooks,
    /// The host's allocator for large blocks: key/value caches, scratch memory, private copies of model files, tables of samplers.
    pub blocks: Option<Arc<dyn BlockSource>>,
    /// Limit on private memory in bytes; none by default.
    pub memory_limit: Option<u64>,
    /// Instruction set to use instead of the best that the processor has.
    pub isa: Option<Isa>,
    /// Where messages go; nowhere by default.
    pub log: Option<LogSink>,
    /// Whether sessions record what their steps cost; they do by default.
    pub metrics: bool,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            threads: Threads::default(),
            parallel_for: None,
            thread_hooks: ThreadHooks::default(),
            blocks: None,
            memory_limit: None,
            isa: None,
            log: None,
            metrics: true,
        }
    }
}

struct Inner {
    pool: Pool,
    budget: Arc<MemoryBudget>,
    kernels: Kernels,
    metrics: Arc<RuntimeMetrics>,
    log: Option<LogSink>,
}

/// A runtime. Clones share it; it ends, its threads joined, with the last clone, model and session.
///
/// Thread-safe.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

impl Runtime {
    /// Starts the worker threads.
    ///
    /// # Errors
    /// `InvalidArgument` for a number of threads out of range, `Unsupported` for an instruction set that the processor lacks, `Io`
    /// where the system refuses a thread, `Internal` where a start hook panics.
    pub fn new(options: RuntimeOptions) -> Result<Self> {
        let threads = match options.threads {
            Threads::All => std::thread::available_parallelism().map_or(1, |n| n.get()).min(1024),
            Threads::CallerOnly => 1,
            Threads::Count(n) => n,
        };
        let isa = options.isa.unwrap_or_else(Isa::detect);
        let kernels = Kernels::for_isa(isa)
            .ok_or_else(|| Error::unsupported(format!("instruction set {} is not available on this processor", isa.name())))?;
        let pool = match options.parallel_for {
            Some(host) => Pool::on_host(threads, host)?,
            None => Pool::new(threads, &options.thread_hooks)?,
        };
        let whose = if pool.is_on_host() { " of the host" } else { "" };
        let runtime = Self(Arc::new(Inner {
            pool,
            budget: MemoryBudget::with_blocks(options.memory_limit.unwrap_or(u64::MAX), options.blocks),
            kernels,
            metrics: RuntimeMetrics::recording(options.metrics),
            log: options.log,
        }));
        runtime.log(LogLevel::Info, || format!("runtime: {threads} threads{whose}, instruction set {}", isa.name()));
        Ok(runtime)
    }

    /// Threads that work on a step.
    pub fn threads(&self) -> usize {
        self.0.pool.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.0.kernels.isa()
    }

    /// The memory budget with its accounting.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.0.budget
    }

    /// The counters that sessions and models of the runtime feed.
    pub fn metrics(&self) -> &Arc<RuntimeMetrics> {
        &self.0.metrics
    }

    /// Gives back what is kept in case it is needed again; returns the bytes.
    pub fn trim(&self) -> u64 {
        self.0.budget.trim()
    }

    /// All figures of the runtime at one moment.
    pub fn snapshot(&self) -> RuntimeSnapshot {
        self.0.metrics.snapshot(RuntimeFacts {
            threads: self.threads() as u32,
            isa: self.isa().name(),
            memory: MemorySnapshot::of(self.budget()),
        })
    }

    /// Sends a message to the host's sink, if it gave one; the text is made only then.
    pub fn log(&self, level: LogLevel, message: impl FnOnce() -> String) {
        if let Some(sink) = &self.0.log
            && sink.wants(level)
        {
            sink.send(level, &message());
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn kernels(&self) -> Kernels {
        self.0.kernels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::Mutex;

    #[test]
    fn silent_unless_asked() {
        let lines = Arc::new(Mutex::new(vec![]));
        let sink = Arc::clone(&lines);
        let options = RuntimeOptions {
            threads: Threads::CallerOnly,
            isa: Some(Isa::Portable),
            log: Some(LogSink::new(LogLevel::Info, move |level, text| sink.lock().push((level, text.to_owned())))),
            ..Default::default()
        };
        let runtime = Runtime::new(options).unwrap();
        runtime.log(LogLevel::Debug, || panic!("below the level of the sink: the text must not be made"));
        assert_eq!(*lines.lock(), [(LogLevel::Info, "runtime: 1 threads, instruction set portable".to_owned())]);
        assert_eq!(runtime.threads(), 1);
        assert!(Runtime::new(RuntimeOptions { threads: Threads::Count(0), ..Default::default() }).is_err());
    }
}
