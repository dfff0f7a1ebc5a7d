//! Cold start: from the start of a fresh process to its first token, as a user waits for it who opens a program.
//!
//! The program is the host's: it is started with the arguments that the host says, and what it writes to standard output first counts as its
//! first token. Before each start the model's file is in the system's cache, or has been taken out of it; which of the two was the case is looked
//! up and not assumed. While a job of this kind is not polled a process that runs is not looked at: poll without pauses.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::base::{Error, Job, Pace, Result, Stage, page_cache};
use crate::model::Model;

use super::clock::Clock;
use super::finding::{Finding, Kind};
use super::host::Context;
use super::summary::SeriesSummary;
use super::table::{Table, figure};

const STAGES: &[Stage] = &[Stage { name: c"starting", share: 1.0 }];

/// Fewest starts.
pub const FEWEST: u32 = 10;
/// A process that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether it has said something.
const LOOK: Duration = Duration::from_micros(50);
/// Of a file that was taken out of the cache, the largest share that may be left.
const LEFT: f64 = 0.05;

/// In what state the model's file is before each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageCache {
    /// As the start before has left it.
    #[default]
    Warm,
    /// Taken out of memory.
    Evicted,
}

impl PageCache {
    /// Both, by name.
    pub const ALL: [(&'static str, Self); 2] = [("warm", Self::Warm), ("evicted", Self::Evicted)];

    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Evicted => "evicted",
        }
    }
}

/// What is started.
#[derive(Debug, Clone, PartialEq)]
pub struct ColdStartOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The model's file, to look at it in the cache; needed to take it out.
    pub model_path: Option<PathBuf>,
    /// In what state it is to be.
    pub page_cache: PageCache,
    /// Starts that are counted, at least 10; one before them is not.
    pub repeats: u32,
}

impl Default for ColdStartOptions {
    fn default() -> Self {
        Self { command: vec![], model_path: None, page_cache: PageCache::Warm, repeats: FEWEST }
    }
}

/// One start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Begun {
    /// From before the process was started to its first token.
    pub first_token_ms: f64,
    /// The share of the model's file that was in memory before; absent where that is not known.
    pub in_memory_share: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct ColdStartResult {
    context: Context,
    options: ColdStartOptions,
    /// All starts that count.
    pub starts: Vec<Begun>,
    /// Their times.
    pub summary: Option<SeriesSummary>,
}

impl ColdStartOptions {
    /// Whether it can be started.
    ///
    /// # Errors
    /// `InvalidArgument`; `Unsupported` on systems where processes can't be watched.
    pub(super) fn validate(&self) -> Result<()> {
        if !cfg!(unix) {
            return Err(Error::unsupported(format!("cold starts are measured on Unix, this is {}", std::env::consts::OS)));
        }
        if self.command.is_empty() {
            return Err(Error::invalid_argument("a cold start takes the command of a program to start"));
        }
        if self.repeats < FEWEST {
            return Err(Error::invalid_argument(format!("{} repeats: at least {FEWEST} starts", self.repeats)));
        }
        if self.page_cache == PageCache::Evicted && self.model_path.is_none() {
            return Err(Error::invalid_argument("to take the model's file out of memory its path is needed"));
        }
        Ok(())
    }

    /// All starts. Each counts as a unit of the stage's progress.
    pub(super) async fn start_all(&self, clock: &mut Clock) -> Result<Vec<Begun>> {
        let mut starts = vec![];
        clock.pace().expect(u64::from(self.repeats) + 1);
        for number in 0..=self.repeats {
            let begun = self.start(clock).await?;
            if number > 0 {
                starts.push(begun);
            }
            clock.pace().advance(1);
        }
        Ok(starts)
    }

    async fn start(&self, clock: &mut Clock) -> Result<Begun> {
        if self.page_cache == PageCache::Evicted
            && let Some(path) = &self.model_path
        {
            page_cache::evict(path)?;
        }
        let in_memory_share = self.model_path.as_ref().and_then(|path| page_cache::resident_share(path).ok());
        clock.pause().await;
        let begin = Instant::now();
        let mut process = process::Process::start(&self.command)?;
        while !process.has_spoken()? {
            if begin.elapsed() > PATIENCE {
                return Err(Error::internal(format!("{} has said nothing for {} s", self.command[0], PATIENCE.as_secs())));
            }
            std::thread::sleep(LOOK);
            clock.pause().await;
        }
        let first_token_ms = begin.elapsed().as_secs_f64() * 1e3;
        // Its end is not part of its start, but would disturb the next one.
        while !process.has_ended()? {
            std::thread::sleep(LOOK);
            clock.pause().await;
        }
        Ok(Begun { first_token_ms, in_memory_share })
    }
}

/// Starts processes as a job. `model` is what the document says it was: the processes load their own.
///
/// # Errors
/// `InvalidArgument` and `Unsupported` as said of the options. The job itself fails with `Io` where the program can't be started, and `Internal`
/// where it ends without a word or says nothing for two minutes.
pub fn measure(model: &Model, options: ColdStartOptions) -> Result<Job<ColdStartResult>> {
    options.validate()?;
    let context = Context::of(model);
    Ok(Job::new(STAGES, move |pace| run(context, options, pace)))
}

async fn run(context: Context, options: ColdStartOptions, pace: Pace) -> Result<ColdStartResult> {
    let mut clock = Clock::new(pace.clone());
    pace.stage(0);
    let starts = options.start_all(&mut clock).await?;
    let times: Vec<f64> = starts.iter().map(|begun| begun.first_token_ms).collect();
    let summary = SeriesSummary::of(&times, 0, &mut clock).await;
    Ok(ColdStartResult { context, options, starts, summary })
}

#[cfg(unix)]
mod process {
    use std::io::{ErrorKind, Read};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    use crate::base::{Error, Result};

    /// A process that ends with this value.
    pub(super) struct Process {
        child: Child,
        output: UnixStream,
        program: String,
    }

    impl Process {
        pub fn start(command: &[String]) -> Result<Self> {
            let program = command[0].clone();
            let failed = |error: std::io::Error| Error::io(format!("start {}", command[0]), &error);
            let (output, theirs) = UnixStream::pair().map_err(failed)?;
            output.set_nonblocking(true).map_err(failed)?;
            let mut started = Command::new(&program);
            started.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::from(OwnedFd::from(theirs)));
            let child = started.spawn().map_err(failed)?;
            Ok(Self { child, output, program })
        }

        /// Whether something has come out.
        pub fn has_spoken(&mut self) -> Result<bool> {
            match self.output.read(&mut [0]) {
                Ok(0) => Err(Error::internal(format!("{} ended without a word", self.program))),
                Ok(_) => Ok(true),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
                Err(error) => Err(Error::io(format!("listen to {}", self.program), &error)),
            }
        }

        pub fn has_ended(&mut self) -> Result<bool> {
            // What else it says is read away, so that it can end.
            while matches!(self.output.read(&mut [0; 4096]), Ok(1..)) {}
            match self.child.try_wait() {
                Ok(None) => Ok(false),
                Ok(Some(status)) if status.success() => Ok(true),
                Ok(Some(status)) => Err(Error::internal(format!("{} ended with {status}", self.program))),
                Err(error) => Err(Error::io(format!("wait for {}", self.program), &error)),
            }
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            // Already gone where all went well; else nobody waits for its result.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(not(unix))]
mod process {
    use crate::base::{Error, Result};

    /// There is none on this system.
    pub(super) enum Process {}

    impl Process {
        pub fn start(_command: &[String]) -> Result<Self> {
            Err(Error::unsupported("cold starts are measured on Unix"))
        }

        pub fn has_spoken(&mut self) -> Result<bool> {
            match *self {}
        }

        pub fn has_ended(&mut self) -> Result<bool> {
            match *self {}
        }
    }
}

impl ColdStartResult {
    /// Whether the model's file was in the state that was asked for before every start; `None` where that is not known.
    pub fn page_cache_held(&self) -> Option<bool> {
        let held = |share: f64| match self.options.page_cache {
            PageCache::Warm => share > 1.0 - LEFT,
            PageCache::Evicted => share < LEFT,
        };
        self.starts.iter().map(|begun| begun.in_memory_share.map(held)).try_fold(true, |all, held| Some(all && held?))
    }

    /// The median.
    pub fn median_ms(&self) -> Option<f64> {
        self.summary.as_ref().map(|summary| summary.p50.value)
    }
}

impl Finding for ColdStartResult {
    fn kind(&self) -> Kind {
        Kind::ColdStart
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn members(&self) -> Value {
        json!({
            "config": {
                "command": self.options.command,
                "page_cache": self.options.page_cache.name(),
                "repeats": self.options.repeats,
            },
            "page_cache_held": self.page_cache_held(),
            "summary": self.summary.as_ref().map(SeriesSummary::value),
            "first_token_ms": self.starts.iter().map(|begun| begun.first_token_ms).collect::<Vec<_>>(),
            "in_memory_share": self.starts.iter().map(|begun| begun.in_memory_share).collect::<Vec<_>>(),
        })
    }

    fn table(&self) -> String {
        let mut table = Table::new(["", "n", "median", "min", "max", "p95", "p99", "mean", "95 % of the median"]);
        self.summary.iter().for_each(|summary| summary.row(&mut table, "first token ms"));
        let shares: Vec<f64> = self.starts.iter().filter_map(|begun| begun.in_memory_share).collect();
        let held = match self.page_cache_held() {
            Some(true) => "as asked for",
            Some(false) => "NOT as asked for",
            None => "not known",
        };
        format!(
            "{}: fresh processes, the model's file {} before each ({held}; in memory, median: {} %)\n\n{}",
            self.options.command[0],
            match self.options.page_cache {
                PageCache::Warm => "in memory",
                PageCache::Evicted => "taken out of memory",
            },
            figure(super::statistics::median(&shares).map(|share| 100.0 * share)),
            table.text(),
        )
    }
}
