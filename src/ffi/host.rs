//! The host's threads and memory
//!
//! For hosts with a job system or an allocator of their own: threads that work on steps, a say in the threads that the library
//! starts, and large blocks of memory. All of it is chosen when a runtime is made.

use std::alloc::Layout;
use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::base::float_mode::FloatMode;
use crate::base::pool::Run;
use crate::base::{BlockSource, ParallelFor, ThreadHooks};

use super::buffer::Out;
use super::call::{Failure, call, recorded};
use super::error::loquat_error;
use super::handle;
use super::runtime::{loquat_runtime, loquat_runtime_options};
use super::settings;
use super::status::{LOQUAT_OK, loquat_status};

/// What the library has the host's threads do: its part of a step. `context` and `index` are passed on as they came.
pub type loquat_body_fn = unsafe extern "C" fn(context: *mut c_void, index: u32);

/// Calls `body(context, index)` once for each index below `count`, on several of the host's threads at once as far as it can, and returns
/// when those calls have returned. The calling thread may make some of the calls. See loquat_runtime_options_set_parallel_for.
pub type loquat_parallel_for_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, count: u32, body: loquat_body_fn, context: *mut c_void)>;

/// Called on a worker thread of the library. `index` is the number of the worker among those of its runtime, from 1 on.
pub type loquat_thread_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, index: u32)>;

/// Gives a block of `size` bytes at an address that is a multiple of `alignment`, or NULL where there is none. `size` is not 0, `alignment` a
/// power of two.
pub type loquat_alloc_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, size: usize, alignment: usize) -> *mut c_void>;

/// Takes back a block that the loquat_alloc_fn gave for this `size` and `alignment`.
pub type loquat_dealloc_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, block: *mut c_void, size: usize, alignment: usize)>;

/// Has steps worked on by threads of the host: a job system, a thread pool. The runtime starts no threads then. NULL (the default) for threads of
/// the runtime. loquat_runtime_options_set_threads says how many threads are to work at once, the one that calls loquat_session_step
/// included; with 1 `parallel_for` is never called. The results are the same, bit for bit, whoever computes them.
///
/// When: each step calls it once or a few times, on the thread that steps; several threads at once where several step at once. `count` is the
/// number of threads, or the session's own limit where that is lower.
///
/// What a body does: it takes one small piece of the step's work after the other, and returns when there is none left or the step is to
/// stop (budget used up, cancelled), at most one piece later. While all pieces that can be done are in other threads' hands it waits for
/// them, awake and yielding the processor: it blocks on nothing, and it never waits for a body to *begin*. So bodies may run at the same time,
/// one after the other on one thread, or nested in other work of a job system, and all of them end.
///
/// What may go wrong: nothing but speed. The thread that steps does what is left, also where bodies are not called at all, or fewer of them. A
/// body that is called when the step is over returns at once, so `parallel_for` may also return without waiting, as a queue of jobs does:
/// the thread that steps works meanwhile, and bodies come when they come. Do that where your threads may be busy for long: a `parallel_for`
/// that waits for its last body to begin makes the step wait, whatever its budget. But each call of a body must have returned before
/// the session or batch that was stepped is freed.
///
/// `parallel_for` must not call the library for the session that is stepped (LOQUAT_BUSY), throw an exception or jump out. Bodies throw
/// nothing; an internal error in one is the step's LOQUAT_INTERNAL. A body needs 64 KiB of stack, and computes in the standard
/// floating-point mode (it puts the thread's own back).
///
/// Lent: `user_data` must live until the runtime and everything that was made with it is freed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_set_parallel_for(
    options: *mut loquat_runtime_options,
    parallel_for: loquat_parallel_for_fn,
    user_data: *mut c_void,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        settings::change(options, error, |options| {
            options.parallel_for =
                parallel_for.map(|parallel_for| Arc::new(HostThreads { parallel_for, data: Data(user_data) }) as Arc<dyn ParallelFor>);
            Ok(())
        })
    }
}

/// Has each worker thread of the runtime call `start` before it does anything else, and `end` when it has nothing more to do: to name it, to give
/// it a priority or processors, to register it with a profiler. Either may be NULL. Without them threads are called "loquat-1" and so on.
///
/// loquat_runtime_new returns after all calls of `start` have returned. `end` is called within the call that frees the last object of
/// the runtime. Both may run on several threads at once. They must not call the library, throw an exception or end the thread.
///
/// Lent: `user_data` must live until the runtime and everything that was made with it is freed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_set_thread_hooks(
    options: *mut loquat_runtime_options,
    start: loquat_thread_fn,
    end: loquat_thread_fn,
    user_data: *mut c_void,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::set(options, error, |options| {
            options.thread_hooks = ThreadHooks { start: thread_hook(start, user_data), end: thread_hook(end, user_data) }
        })
    }
}

/// Has large blocks of memory come from the host: key/value caches, working memory of sessions, model files that are read
/// (LOQUAT_ACCESS_READ), tables of samplers. Small things (names, lists, tokenizer tables) and mapped files do not. NULL and NULL (the default)
/// for the system's memory. The memory limit counts blocks of either kind. (Of small things the system must have enough: where it refuses
/// a few bytes to the C library's malloc, Rust's run time ends the process.)
///
/// `alloc` may refuse: the call that needs the block then returns LOQUAT_OUT_OF_MEMORY, holds none of what it took, and has changed nothing. A
/// block that is not aligned is given back, and the call returns LOQUAT_INVALID_ARGUMENT. `zeroed`: 1 if the blocks are filled with
/// zeros, 0 if the library is to fill them. Steps ask for no blocks but those of a cache that is to grow
/// (loquat_session_options_set_reserve). Each block is given back, to `dealloc`, at the latest when the last
/// object of the runtime is freed.
///
/// Both are called on any thread that calls the library, on several at once. They must not call the library, throw an exception or jump out.
///
/// Lent: `user_data` must live until the runtime and everything that was made with it is freed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_options_set_allocator(
    options: *mut loquat_runtime_options,
    alloc: loquat_alloc_fn,
    dealloc: loquat_dealloc_fn,
    zeroed: u32,
    user_data: *mut c_void,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(options, error, |options| {
            let zeroed = settings::flag("zeroed", zeroed)?;
            options.blocks = match (alloc, dealloc) {
                (Some(alloc), Some(dealloc)) => Some(Arc::new(HostBlocks { alloc, dealloc, zeroed, data: Data(user_data) })),
                (None, None) => None,
                _ => return Err(Failure::argument("one of alloc and dealloc is NULL: give both or neither")),
            };
            Ok(())
        })
    }
}

/// Gives back memory that is kept in case it is needed again, and asks the C library to return free pages of the process to the system
/// (where it is glibc). Nothing that a model or session needs goes away. Stores in `*bytes` how much of the runtime's own memory was given
/// back; `bytes` may be NULL. May take milliseconds. Any thread, also while sessions step.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_runtime_trim(
    runtime: *const loquat_runtime,
    bytes: *mut u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let bytes = if bytes.is_null() { None } else { Some(Out::new(bytes, "bytes")?) };
            let given_back = handle::shared(runtime)?.trim();
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            libc::malloc_trim(0);
            if let Some(bytes) = bytes {
                bytes.set(given_back);
            }
            Ok(LOQUAT_OK)
        })
    }
}

/// What a host wants passed to its functions.
#[derive(Clone, Copy)]
struct Data(*mut c_void);

// SAFETY: the header says that the functions are called on any thread, on several at once, with this data.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

struct HostThreads {
    parallel_for: unsafe extern "C" fn(*mut c_void, u32, loquat_body_fn, *mut c_void),
    data: Data,
}

impl ParallelFor for HostThreads {
    fn run(&self, count: u32, run: &Arc<Run>) {
        // SAFETY: the host gave the function for this call, with this data. The run lives as long as the session, and the header asks that
        // bodies have returned before that is freed.
        unsafe { (self.parallel_for)(self.data.0, count, body, Arc::as_ptr(run).cast_mut().cast()) }
    }
}

unsafe extern "C" fn body(context: *mut c_void, _index: u32) {
    // SAFETY: HostThreads passes a run as the context, which lives.
    let run = unsafe { &*context.cast_const().cast::<Run>() };
    let _mode = FloatMode::standard();
    // Panics of the work are caught where it is done; here they are kept from the host's standard error.
    let _ = recorded(AssertUnwindSafe(|| {
        run.help();
        Ok(())
    }));
}

fn thread_hook(hook: loquat_thread_fn, user_data: *mut c_void) -> Option<Arc<dyn Fn(u32) + Send + Sync>> {
    let data = Data(user_data);
    hook.map(|hook| {
        Arc::new(move |index| {
            let data = data; // the whole of it, which may be sent
            // SAFETY: the host gave the function for this call, with this data.
            unsafe { hook(data.0, index) }
        }) as Arc<dyn Fn(u32) + Send + Sync>
    })
}

struct HostBlocks {
    alloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    dealloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize),
    zeroed: bool,
    data: Data,
}

// SAFETY: the header asks of the host what the trait asks.
unsafe impl BlockSource for HostBlocks {
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the host gave the function for this call, with this data.
        NonNull::new(unsafe { (self.alloc)(self.data.0, layout.size(), layout.align()) }.cast())
    }

    fn gives_zeros(&self) -> bool {
        self.zeroed
    }

    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: as above; the block came from `alloc` with these figures.
        unsafe { (self.dealloc)(self.data.0, block.as_ptr().cast(), layout.size(), layout.align()) }
    }
}
