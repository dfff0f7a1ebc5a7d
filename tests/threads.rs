//! Any thread, any order: handles of the C interface are made, used, watched, cancelled and freed from eight threads at once, in two runtimes
//! of one process. Whatever happens around it, a session says what it says alone.
//!
//! LOQUAT_THREADS_SECONDS in the environment has it go on for so long (default: a few seconds).

mod common;

use std::ffi::c_char;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Golden, demo, goldens};
use loquat::base::sync::Mutex;
use loquat::ffi::metrics::*;
use loquat::ffi::model::*;
use loquat::ffi::runtime::*;
use loquat::ffi::session::*;
use loquat::ffi::session_options::*;
use loquat::ffi::status::*;

const THREADS: usize = 8;
const SLOTS: usize = 12;
const TOKENS: u32 = 6;

/// A handle that any thread may use.
struct Handle<T>(*mut T);
// SAFETY: the header says that any thread may use any object.
unsafe impl<T> Send for Handle<T> {}
impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

/// A place for a session. One thread at a time works on it, the one that has set `busy`. The lock is held by whoever watches the session, and
/// where it is made or freed.
struct Slot {
    busy: AtomicBool,
    session: Mutex<Option<Handle<loquat_session>>>,
}

/// Numbers from 0 to `below`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

fn ok(status: loquat_status) {
    assert_eq!(status, LOQUAT_OK);
}

fn runtime(threads: u32) -> Handle<loquat_runtime> {
    let (mut options, mut runtime) = (null_mut(), null_mut());
    // SAFETY: this and every block below: handles that live, outputs that may be written.
    unsafe {
        ok(loquat_runtime_options_new(&mut options, null_mut()));
        ok(loquat_runtime_options_set_threads(options, threads, null_mut()));
        ok(loquat_runtime_new(options, &mut runtime, null_mut()));
        loquat_runtime_options_free(options);
    }
    Handle(runtime)
}

fn model(runtime: &Handle<loquat_runtime>) -> Handle<loquat_model> {
    let (path, mut model) = (demo("emberfield-3m-q8_0.gguf"), null_mut());
    let path = path.to_str().unwrap();
    // SAFETY: as above.
    ok(unsafe { loquat_model_load(runtime.0, path.as_ptr().cast::<c_char>(), path.len(), null(), &mut model, null_mut()) });
    Handle(model)
}

fn session(model: &Handle<loquat_model>, threads: u32) -> Handle<loquat_session> {
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

/// A turn in steps of any budget, with cancels from anywhere; gives the tokens.
fn turn(session: &Handle<loquat_session>, prompt: &[u32], dice: &mut Dice) -> Vec<u32> {
    let mut tokens = vec![];
    // SAFETY: as above; all-zero bytes are a valid event.
    unsafe {
        let mut event: loquat_event = std::mem::zeroed();
        event.struct_size = size_of::<loquat_event>() as u32;
        ok(loquat_session_reset(session.0, null_mut()));
        ok(loquat_session_append_tokens(session.0, prompt.as_ptr(), prompt.len(), null_mut()));
        loop {
            let budget = [u64::MAX, 1_000_000, 30_000, 0][dice.roll(4) as usize];
            match loquat_session_step(session.0, budget, &mut event, null_mut()) {
                LOQUAT_TOKEN => tokens.push(event.token),
                LOQUAT_PENDING | LOQUAT_CANCELLED => {}
                LOQUAT_DONE => return tokens,
                status => panic!("a step gave {status}"),
            }
        }
    }
}

/// What may be done with a session that another thread is using.
fn watch(session: &Handle<loquat_session>, dice: &mut Dice) {
    // SAFETY: the lock of the slot is held, so that nobody frees the session; all-zero bytes are valid metrics.
    unsafe {
        match dice.roll(3) {
            0 => ok(loquat_session_cancel(session.0, null_mut())),
            1 => {
                let mut metrics: loquat_session_metrics = std::mem::zeroed();
                metrics.struct_size = size_of::<loquat_session_metrics>() as u32;
                ok(loquat_session_get_metrics(session.0, &mut metrics, null_mut()));
            }
            _ => {
                let (mut position, mut capacity) = (0, 0);
                let status = loquat_session_position(session.0, &mut position, &mut capacity, null_mut());
                assert!(status == LOQUAT_BUSY || (status == LOQUAT_OK && position <= capacity), "{status}");
            }
        }
    }
}

/// One thread's life: it goes on with sessions that other threads have made and leaves them to others.
fn live(slots: &[Slot], models: &[Handle<loquat_model>], prompts: &[Golden], seed: u64, end: &AtomicBool, turns: &AtomicU64) {
    let mut dice = Dice(seed);
    while !end.load(Ordering::Relaxed) {
        let slot = &slots[dice.roll(SLOTS as u64) as usize];
        if dice.roll(4) > 0 {
            if let Some(session) = &*slot.session.lock() {
                watch(session, &mut dice);
            }
            continue;
        }
        if slot.busy.swap(true, Ordering::Acquire) {
            continue;
        }
        let model = &models[dice.roll(models.len() as u64) as usize];
        let session = slot.session.lock().get_or_insert_with(|| session(model, dice.roll(4) as u32)).clone();
        let prompt = &prompts[dice.roll(prompts.len() as u64) as usize];
        assert_eq!(turn(&session, &prompt.ids, &mut dice), prompt.greedy[..TOKENS as usize], "{}", prompt.name);
        turns.fetch_add(1, Ordering::Relaxed);
        if dice.roll(3) == 0 {
            let mut place = slot.session.lock();
            *place = None;
            // SAFETY: nobody works on the session or watches it: `busy` is set and the lock is held.
            unsafe { loquat_session_free(session.0) };
        }
        slot.busy.store(false, Ordering::Release);
    }
}

#[test]
fn eight_threads_and_two_runtimes() {
    let seconds = std::env::var("LOQUAT_THREADS_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let mut prompts = goldens();
    prompts.retain(|golden| golden.ids.len() < 100 && golden.gaps[..TOKENS as usize].iter().all(|&gap| gap > 0.07));
    assert!(prompts.len() >= 4);
    let runtimes = [runtime(3), runtime(1)];
    let models: Vec<_> = runtimes.iter().map(model).collect();
    // SAFETY: the models keep the runtimes.
    runtimes.iter().for_each(|runtime| unsafe { loquat_runtime_free(runtime.0) });
    let slots: Vec<_> = (0..SLOTS).map(|_| Slot { busy: AtomicBool::new(false), session: Mutex::new(None) }).collect();
    let (end, turns) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|seed| {
                let (slots, models, prompts, end, turns) = (&slots[..], models.clone(), &prompts[..], &end, &turns);
                scope.spawn(move || live(slots, &models, prompts, seed, end, turns))
            })
            .collect();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(seconds) || turns.load(Ordering::Relaxed) < 50 {
            assert!(threads.iter().all(|thread| !thread.is_finished()), "a thread failed");
            std::thread::sleep(Duration::from_millis(20));
        }
        end.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    // SAFETY: the sessions keep the models; each handle is freed once.
    models.iter().for_each(|model| unsafe { loquat_model_free(model.0) });
    for slot in &slots {
        if let Some(session) = slot.session.lock().take() {
            // SAFETY: as above.
            unsafe { loquat_session_free(session.0) };
        }
    }
    println!("{} turns", turns.load(Ordering::Relaxed));
}

/// Two threads that step one session at once: one of them is told that it is busy, and no token is lost or said twice.
#[test]
fn a_session_has_one_user_at_a_time() {
    let (runtime, prompts) = (runtime(2), goldens());
    let model = model(&runtime);
    let session = session(&model, 0);
    let prompt = &prompts[0].ids;
    let alone = turn(&session, prompt, &mut Dice(1));
    for _ in 0..20 {
        // SAFETY: a handle that lives, and nobody else uses it yet.
        unsafe {
            ok(loquat_session_reset(session.0, null_mut()));
            ok(loquat_session_append_tokens(session.0, prompt.as_ptr(), prompt.len(), null_mut()));
        }
        let steps = || {
            let session = session.clone();
            move || {
                let session = session;
                let mut said = vec![];
                loop {
                    // SAFETY: a handle that lives; all-zero bytes are a valid event.
                    let (status, event) = unsafe {
                        let mut event: loquat_event = std::mem::zeroed();
                        event.struct_size = size_of::<loquat_event>() as u32;
                        (loquat_session_step(session.0, 50_000, &mut event, null_mut()), event)
                    };
                    match status {
                        LOQUAT_TOKEN => said.push((event.position, event.token)),
                        LOQUAT_PENDING | LOQUAT_BUSY => {}
                        LOQUAT_DONE => return said,
                        status => panic!("a step gave {status}"),
                    }
                }
            }
        };
        let threads = [std::thread::spawn(steps()), std::thread::spawn(steps())];
        let mut said: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        said.sort_unstable();
        assert_eq!(said.into_iter().map(|(_, token)| token).collect::<Vec<_>>(), alone);
    }
    // SAFETY: each handle is freed once.
    unsafe {
        loquat_runtime_free(runtime.0);
        loquat_session_free(session.0);
        loquat_model_free(model.0);
    }
}
