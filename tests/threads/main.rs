//! Any thread, any order: handles of the C interface are made, used, watched, cancelled and freed from eight threads at once, in three runtimes
//! of one process, one of them on threads of the host. Whatever happens around it, a session says what it says alone.
//!
//! LOQUAT_THREADS_SECONDS in the environment has the stress go on for so long (default: a few seconds); tools/tsan.sh hands it on.

mod deeds;
mod handles;

use std::ffi::c_char;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use handles::*;
use loquat::base::sync::Mutex;
use loquat::ffi::batch::*;
use loquat::ffi::metrics::*;
use loquat::ffi::model::*;
use loquat::ffi::runtime::*;
use loquat::ffi::session::*;
use loquat::ffi::status::*;
use loquat::ffi::stream::*;
use test_support::{Golden, goldens};

const THREADS: usize = 8;
const SLOTS: usize = 12;

/// A place for a session, with the number of its model. One thread at a time works on it, the one that has set `busy`. The lock is held by
/// whoever watches the session, and where it is made or freed.
struct Slot {
    busy: AtomicBool,
    session: Mutex<Option<(Handle<loquat_session>, usize)>>,
}

/// What may be done with a session that another thread is using, and with its runtime.
fn watch(session: &Handle<loquat_session>, runtime: &Handle<loquat_runtime>, dice: &mut Dice) {
    let (mut text, mut length) = (vec![0 as c_char; 1 << 16], 0);
    // SAFETY: the lock of the slot is held, so that nobody frees the session; all-zero bytes are valid metrics.
    unsafe {
        match dice.roll(5) {
            0 => ok(loquat_session_cancel(session.0, null_mut())),
            1 => {
                let mut metrics: loquat_session_metrics = std::mem::zeroed();
                metrics.struct_size = size_of::<loquat_session_metrics>() as u32;
                ok(loquat_session_get_metrics(session.0, &mut metrics, null_mut()));
            }
            2 => {
                let (mut position, mut capacity) = (0, 0);
                let status = loquat_session_position(session.0, &mut position, &mut capacity, null_mut());
                assert!(status == LOQUAT_BUSY || (status == LOQUAT_OK && position <= capacity), "{status}");
            }
            3 => ok(loquat_session_metrics_json(session.0, text.as_mut_ptr(), text.len(), &mut length, null_mut())),
            _ => ok(loquat_runtime_metrics_prometheus(runtime.0, text.as_mut_ptr(), text.len(), &mut length, null_mut())),
        }
    }
}

/// What all threads share.
struct World {
    runtimes: Vec<Handle<loquat_runtime>>,
    models: Vec<Handle<loquat_model>>,
    slots: Vec<Slot>,
    prompts: Vec<Golden>,
    end: AtomicBool,
    /// How often each deed was done.
    done: [AtomicU64; 6],
}

impl World {
    fn new() -> Self {
        let mut prompts = goldens();
        prompts.retain(|golden| golden.ids.len() < 100 && golden.gaps[..TOKENS as usize].iter().all(|&gap| gap > 0.07));
        assert!(prompts.len() >= 4);
        let runtimes = vec![runtime(3, false), runtime(1, false), runtime(2, true)];
        let models = runtimes.iter().map(model).collect();
        let slots = (0..SLOTS).map(|_| Slot { busy: AtomicBool::new(false), session: Mutex::new(None) }).collect();
        Self { runtimes, models, slots, prompts, end: AtomicBool::new(false), done: Default::default() }
    }

    /// One thread's life: it goes on with sessions that other threads have made and leaves them to others.
    fn live(&self, seed: u64) {
        let mut dice = Dice(seed);
        while !self.end.load(Ordering::Relaxed) {
            let slot = &self.slots[dice.roll(SLOTS as u64) as usize];
            if dice.roll(4) > 0 {
                if let Some((session, model)) = &*slot.session.lock() {
                    watch(session, &self.runtimes[*model], &mut dice);
                }
                // Who is cancelled all the time gets nowhere.
                std::thread::yield_now();
                continue;
            }
            if slot.busy.swap(true, Ordering::Acquire) {
                continue;
            }
            let model = dice.roll(self.models.len() as u64) as usize;
            let make = || (session(&self.models[model], dice.roll(4) as u32), model);
            let (session, model) = slot.session.lock().get_or_insert_with(make).clone();
            self.deed(&session, model, &mut dice);
            if dice.roll(3) == 0 {
                let mut place = slot.session.lock();
                *place = None;
                // A stream keeps the session that is freed under it.
                let stream = (dice.roll(2) == 0).then(|| deeds::stream(&session, 4));
                // SAFETY: nobody works on the session or watches it: `busy` is set and the lock is held. Each handle is freed once.
                unsafe {
                    loquat_session_free(session.0);
                    stream.iter().for_each(|stream| loquat_stream_free(stream.0));
                }
            }
            slot.busy.store(false, Ordering::Release);
        }
    }

    fn deed(&self, session: &Handle<loquat_session>, model: usize, dice: &mut Dice) {
        let prompt = &self.prompts[dice.roll(self.prompts.len() as u64) as usize];
        let any = dice.roll(self.models.len() as u64) as usize;
        let deed = dice.roll(self.done.len() as u64) as usize;
        match deed {
            0 => deeds::turn(session, prompt, dice),
            1 => deeds::fork(session, prompt, dice),
            2 => deeds::save(session, prompt, &self.models[any], dice),
            3 => deeds::background(session, prompt, dice),
            4 => deeds::together(session, &self.models[model], &self.prompts, dice),
            _ => deeds::load(&self.runtimes[any], prompt, dice),
        }
        self.done[deed].fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn eight_threads_and_three_runtimes() {
    let seconds = std::env::var("LOQUAT_THREADS_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let world = World::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|seed| {
                let world = &world;
                scope.spawn(move || world.live(seed))
            })
            .collect();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(seconds) || world.done.iter().any(|done| done.load(Ordering::Relaxed) < 3) {
            if threads.iter().any(|thread| thread.is_finished()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        world.end.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    println!("turns, forks, states, streams, batches, loads: {:?}", world.done);
    // SAFETY: the models keep the runtimes, the sessions the models; each handle is freed once.
    unsafe {
        world.models.iter().for_each(|model| loquat_model_free(model.0));
        world.runtimes.iter().for_each(|runtime| loquat_runtime_free(runtime.0));
        for slot in &world.slots {
            if let Some((session, _)) = slot.session.lock().take() {
                loquat_session_free(session.0);
            }
        }
    }
}

/// The order number `number` of `count` things.
fn order(count: usize, mut number: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..count).collect();
    let mut order = vec![];
    for rest in (1..=count).rev() {
        order.push(left.remove(number % rest));
        number /= rest;
    }
    order
}

/// Runtime, model, session, fork, batch and stream freed in every order, each with work in progress.
#[test]
fn freed_in_any_order() {
    let prompt = &goldens()[0].ids;
    let orders = 720;
    // Every order, where that does not take minutes.
    for number in (0..orders).step_by(if cfg!(loquat_watched) { 53 } else { 1 }) {
        let runtime = runtime(2 + number as u32 % 2, number % 3 == 0);
        let model = model(&runtime);
        let [session, other] = [0, 1].map(|threads| session(&model, threads));
        [&session, &other].into_iter().for_each(|session| begin(session, prompt));
        let _ = step(&session, 0);
        let mut fork = null_mut();
        let batch = deeds::batch(&model);
        // SAFETY: handles that live, each freed once, in an order that the header allows: any; all-zero bytes are a valid event.
        unsafe {
            ok(loquat_session_fork(session.0, &mut fork, null_mut()));
            ok(loquat_batch_add(batch.0, session.0, null_mut(), null_mut()));
            ok(loquat_batch_add(batch.0, fork, null_mut(), null_mut()));
            let mut event: loquat_batch_event = std::mem::zeroed();
            event.struct_size = size_of::<loquat_batch_event>() as u32;
            assert_eq!(loquat_batch_step(batch.0, 0, &mut event, null_mut()), LOQUAT_PENDING);
            let stream = deeds::stream(&other, 2);
            for which in order(6, number) {
                match which {
                    0 => loquat_runtime_free(runtime.0),
                    1 => loquat_model_free(model.0),
                    2 => loquat_session_free(session.0),
                    3 => loquat_session_free(fork),
                    4 => loquat_batch_free(batch.0),
                    _ => loquat_stream_free(stream.0),
                }
            }
            loquat_session_free(other.0);
        }
    }
}

/// Two threads that step one session at once: one of them is told that it is busy, and no token is lost or said twice.
#[test]
fn a_session_has_one_user_at_a_time() {
    let (runtime, prompts) = (runtime(2, false), goldens());
    let model = model(&runtime);
    let session = session(&model, 0);
    let prompt = &prompts[0].ids;
    begin(&session, prompt);
    finish(&session, &mut Dice(1));
    let alone = tokens(&session)[prompt.len()..].to_vec();
    for _ in 0..20 {
        begin(&session, prompt);
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
                        LOQUAT_PENDING => {}
                        LOQUAT_BUSY => std::thread::yield_now(),
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
