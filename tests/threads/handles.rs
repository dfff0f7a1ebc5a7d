//! Handles of the C interface, as a host with many threads would use them: what is in use elsewhere is asked again.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

use loquat::ffi::host::*;
use loquat::ffi::model::*;
use loquat::ffi::runtime::*;
use loquat::ffi::session::*;
use loquat::ffi::session_options::*;
use loquat::ffi::status::*;

use test_support::demo;

/// Tokens of a turn.
pub const TOKENS: u32 = 6;
/// The model that all use.
pub const FILE: &str = "emberfield-3m-q8_0.gguf";

/// A handle that any thread may use.
pub struct Handle<T>(pub *mut T);
// SAFETY: the header says that any thread may use any object.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}
impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

/// Numbers from 0 to `below`.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }

    /// A budget of a step.
    pub fn budget(&mut self) -> u64 {
        [u64::MAX, 1_000_000, 30_000, 0][self.roll(4) as usize]
    }
}

pub fn ok(status: loquat_status) {
    assert_eq!(status, LOQUAT_OK);
}

/// Calls again as long as another thread has the object: one that watches it has it for a moment.
pub fn insist(mut call: impl FnMut() -> loquat_status) -> loquat_status {
    loop {
        match call() {
            LOQUAT_BUSY => std::thread::yield_now(),
            status => return status,
        }
    }
}

/// A host's threads: some that are made for each call.
unsafe extern "C" fn parallel_for(_: *mut c_void, count: u32, body: loquat_body_fn, context: *mut c_void) {
    let context = Handle(context);
    std::thread::scope(|scope| {
        let call = |index| {
            let context = &context;
            // SAFETY: what a body is for.
            unsafe { body(context.0, index) }
        };
        let others: Vec<_> = (1..count).map(|index| scope.spawn(move || call(index))).collect();
        call(0);
        // The end of a scope alone is an order that ThreadSanitizer does not see.
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

pub fn runtime(threads: u32, on_host: bool) -> Handle<loquat_runtime> {
    let (mut options, mut runtime) = (null_mut(), null_mut());
    // SAFETY: this and every block below: handles that live, outputs that may be written.
    unsafe {
        ok(loquat_runtime_options_new(&mut options, null_mut()));
        ok(loquat_runtime_options_set_threads(options, threads, null_mut()));
        if on_host {
            ok(loquat_runtime_options_set_parallel_for(options, Some(parallel_for), null_mut(), null_mut()));
        }
        ok(loquat_runtime_new(options, &mut runtime, null_mut()));
        loquat_runtime_options_free(options);
    }
    Handle(runtime)
}

pub fn model(runtime: &Handle<loquat_runtime>) -> Handle<loquat_model> {
    let (path, mut model) = (demo(FILE), null_mut());
    let path = path.to_str().unwrap();
    // SAFETY: as above.
    ok(unsafe { loquat_model_load(runtime.0, path.as_ptr().cast::<c_char>(), path.len(), null(), &mut model, null_mut()) });
    Handle(model)
}

pub fn session(model: &Handle<loquat_model>, threads: u32) -> Handle<loquat_session> {
    let (mut options, mut session) = (null_mut(), null_mut());
    // SAFETY: as above.
    unsafe {
        ok(loquat_session_options_new(&mut options, null_mut()));
        ok(loquat_session_options_set_context(options, 128, null_mut()));
        ok(loquat_session_options_set_batch(options, 32, null_mut()));
        ok(loquat_session_options_set_ignore_end(options, 1, null_mut()));
        ok(loquat_session_options_set_max_tokens(options, TOKENS, null_mut()));
        ok(loquat_session_options_set_threads(options, threads, null_mut()));
        ok(loquat_session_new(model.0, options, &mut session, null_mut()));
        loquat_session_options_free(options);
    }
    Handle(session)
}

/// Begins a turn with `prompt` and nothing before it.
pub fn begin(session: &Handle<loquat_session>, prompt: &[u32]) {
    // SAFETY: as above.
    unsafe {
        ok(insist(|| loquat_session_reset(session.0, null_mut())));
        ok(insist(|| loquat_session_append_tokens(session.0, prompt.as_ptr(), prompt.len(), null_mut())));
    }
}

/// One step; the token that came out, or the status.
pub fn step(session: &Handle<loquat_session>, budget: u64) -> Result<u32, loquat_status> {
    // SAFETY: as above; all-zero bytes are a valid event.
    unsafe {
        let mut event: loquat_event = std::mem::zeroed();
        event.struct_size = size_of::<loquat_event>() as u32;
        match insist(|| loquat_session_step(session.0, budget, &mut event, null_mut())) {
            LOQUAT_TOKEN => Ok(event.token),
            status @ (LOQUAT_PENDING | LOQUAT_CANCELLED | LOQUAT_DONE) => Err(status),
            status => panic!("a step gave {status}"),
        }
    }
}

/// Steps of any budget, through cancels from anywhere, to the end of the turn.
pub fn finish(session: &Handle<loquat_session>, dice: &mut Dice) {
    while step(session, dice.budget()) != Err(LOQUAT_DONE) {}
}

/// All tokens of a session.
pub fn tokens(session: &Handle<loquat_session>) -> Vec<u32> {
    let mut tokens = vec![0; 128];
    let mut count = 0;
    // SAFETY: as above.
    ok(insist(|| unsafe { loquat_session_tokens(session.0, tokens.as_mut_ptr(), tokens.len(), &mut count, null_mut()) }));
    tokens.truncate(count);
    tokens
}
