//! The log sink: a function of the host. Without one the library is silent.

use std::sync::Arc;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// For people who debug the library.
    Debug = 0,
    /// What was loaded, with which settings.
    Info = 1,
    /// Something that the host may want to change.
    Warning = 2,
}

/// A function of the host, with the least level that it wants. Called from any thread of the host that calls the library, never
/// from two threads' hot paths: steps do not log.
#[derive(Clone)]
pub struct LogSink {
    least: LogLevel,
    write: Arc<dyn Fn(LogLevel, &str) + Send + Sync>,
}

impl LogSink {
    /// Sends messages of `least` and above to `write`.
    pub fn new(least: LogLevel, write: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        Self { least, write: Arc::new(write) }
    }

    pub(super) fn wants(&self, level: LogLevel) -> bool {
        level >= self.least
    }

    pub(super) fn send(&self, level: LogLevel, text: &str) {
        (self.write)(level, text);
    }
}
