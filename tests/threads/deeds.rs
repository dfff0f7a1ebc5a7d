//! What a thread does with a session that is its own for the time. Whatever it is, the tokens are those of the session alone.

use std::ffi::c_char;
use std::ptr::{null, null_mut};

use loquat::ffi::batch::*;
use loquat::ffi::job::*;
use loquat::ffi::model::*;
use loquat::ffi::runtime::*;
use loquat::ffi::session::*;
use loquat::ffi::status::*;
use loquat::ffi::stream::*;

use crate::handles::*;
use test_support::{Golden, demo};

fn check(session: &Handle<loquat_session>, prompt: &Golden) {
    let tokens = tokens(session);
    assert_eq!(tokens[..prompt.ids.len()], prompt.ids, "{}", prompt.name);
    assert_eq!(tokens[prompt.ids.len()..], prompt.greedy[..TOKENS as usize], "{}", prompt.name);
}

/// Some steps into a turn.
fn into(session: &Handle<loquat_session>, prompt: &Golden, dice: &mut Dice) {
    begin(session, &prompt.ids);
    for _ in 0..dice.roll(30) {
        let _ = step(session, dice.budget());
    }
}

pub fn turn(session: &Handle<loquat_session>, prompt: &Golden, dice: &mut Dice) {
    begin(session, &prompt.ids);
    finish(session, dice);
    check(session, prompt);
}

/// Two go on where one was.
pub fn fork(session: &Handle<loquat_session>, prompt: &Golden, dice: &mut Dice) {
    into(session, prompt, dice);
    let mut fork = null_mut();
    // SAFETY: this and every block below: handles that live, outputs that may be written.
    ok(insist(|| unsafe { loquat_session_fork(session.0, &mut fork, null_mut()) }));
    let fork = Handle(fork);
    for session in if dice.roll(2) == 0 { [session, &fork] } else { [&fork, session] } {
        finish(session, dice);
        check(session, prompt);
    }
    // SAFETY: as above.
    unsafe { loquat_session_free(fork.0) };
}

/// Another session, of another runtime perhaps, goes on from the saved state.
pub fn save(session: &Handle<loquat_session>, prompt: &Golden, model: &Handle<loquat_model>, dice: &mut Dice) {
    into(session, prompt, dice);
    let (mut state, mut length) = (vec![], 0);
    // SAFETY: as above.
    unsafe {
        assert_eq!(insist(|| loquat_session_save(session.0, null_mut(), 0, &mut length, null_mut())), LOQUAT_BUFFER_TOO_SMALL);
        state.resize(length, 0);
        ok(insist(|| loquat_session_save(session.0, state.as_mut_ptr(), state.len(), &mut length, null_mut())));
        let other = crate::handles::session(model, dice.roll(3) as u32);
        ok(loquat_session_restore(other.0, state.as_ptr(), state.len(), null_mut()));
        finish(&other, dice);
        check(&other, prompt);
        loquat_session_free(other.0);
    }
    finish(session, dice);
    check(session, prompt);
}

unsafe extern "C" fn wake(_: *mut std::ffi::c_void) {
    std::hint::spin_loop();
}

pub fn stream(session: &Handle<loquat_session>, events: u32) -> Handle<loquat_stream> {
    let mut stream = null_mut();
    // SAFETY: as above.
    ok(insist(|| unsafe { loquat_stream_start(session.0, events, Some(wake), null_mut(), &mut stream, null_mut()) }));
    Handle(stream)
}

/// The turn runs in the background, stopped and begun again in between, and is ended by steps perhaps.
pub fn background(session: &Handle<loquat_session>, prompt: &Golden, dice: &mut Dice) {
    into(session, prompt, dice);
    let mut over = false;
    while !over && dice.roll(8) > 0 {
        let stream = stream(session, 1 + dice.roll(4) as u32);
        for _ in 0..dice.roll(10) {
            // SAFETY: as above; all-zero bytes are a valid event.
            unsafe {
                let mut event: loquat_event = std::mem::zeroed();
                event.struct_size = size_of::<loquat_event>() as u32;
                let wait = [0, 100_000, u64::MAX][dice.roll(3) as usize];
                match loquat_stream_pop(stream.0, wait, &mut event, null_mut()) {
                    LOQUAT_TOKEN | LOQUAT_PENDING => {}
                    LOQUAT_DONE => over = true,
                    LOQUAT_CANCELLED => break,
                    status => panic!("a pop gave {status}"),
                }
                if dice.roll(20) == 0 {
                    ok(loquat_stream_cancel(stream.0, null_mut()));
                }
            }
        }
        // SAFETY: as above.
        unsafe { loquat_stream_free(stream.0) };
    }
    finish(session, dice);
    check(session, prompt);
}

pub fn batch(model: &Handle<loquat_model>) -> Handle<loquat_batch> {
    let mut batch = null_mut();
    // SAFETY: as above.
    ok(unsafe { loquat_batch_new(model.0, null(), &mut batch, null_mut()) });
    Handle(batch)
}

/// Several sessions in one pass, one of which others know and watch.
pub fn together(session: &Handle<loquat_session>, model: &Handle<loquat_model>, prompts: &[Golden], dice: &mut Dice) {
    let batch = batch(model);
    let members: Vec<_> = (0..3).map(|number| if number == 0 { session.clone() } else { crate::handles::session(model, 0) }).collect();
    let prompts: Vec<_> = members.iter().map(|_| &prompts[dice.roll(prompts.len() as u64) as usize]).collect();
    let mut over = vec![false; members.len()];
    for (number, member) in members.iter().enumerate() {
        into(member, prompts[number], dice);
        // A turn that is over already says so once more.
        // SAFETY: as above.
        ok(insist(|| unsafe { loquat_batch_add(batch.0, member.0, number as *mut _, null_mut()) }));
        over[number] = tokens(member).len() == prompts[number].ids.len() + TOKENS as usize;
    }
    let leave_at = dice.roll(200);
    let mut steps = 0;
    while over.iter().any(|over| !over) && steps != leave_at {
        steps += 1;
        // SAFETY: as above; all-zero bytes are a valid event.
        unsafe {
            let mut event: loquat_batch_event = std::mem::zeroed();
            event.struct_size = size_of::<loquat_batch_event>() as u32;
            match loquat_batch_step(batch.0, dice.budget(), &mut event, null_mut()) {
                LOQUAT_OK => match event.status {
                    LOQUAT_TOKEN | LOQUAT_CANCELLED => {}
                    LOQUAT_DONE => over[event.user_data as usize] = true,
                    status => panic!("a step of a batch gave {status}"),
                },
                LOQUAT_PENDING => {}
                // Somebody is watching the one that is not over.
                LOQUAT_IDLE => std::thread::yield_now(),
                status => panic!("a batch gave {status}"),
            }
        }
    }
    let batch_first = dice.roll(2) == 0;
    // SAFETY: as above; each handle is freed once.
    unsafe {
        if batch_first {
            loquat_batch_free(batch.0);
        }
        for (number, member) in members.iter().enumerate() {
            finish(member, dice);
            check(member, prompts[number]);
            if number > 0 {
                loquat_session_free(member.0);
            }
        }
        if !batch_first {
            loquat_batch_free(batch.0);
        }
    }
}

/// A load as a job, given up somewhere or ended, its model used.
pub fn load(runtime: &Handle<loquat_runtime>, prompt: &Golden, dice: &mut Dice) {
    let (path, mut job, mut options) = (demo(FILE), null_mut(), null_mut());
    let path = path.to_str().unwrap();
    // SAFETY: as above; all-zero bytes are valid progress; each handle is freed once.
    unsafe {
        ok(loquat_model_options_new(&mut options, null_mut()));
        ok(loquat_model_options_set_access(options, [LOQUAT_ACCESS_MAP, LOQUAT_ACCESS_READ][dice.roll(2) as usize], null_mut()));
        ok(loquat_model_load_start(runtime.0, path.as_ptr().cast::<c_char>(), path.len(), options, &mut job, null_mut()));
        loquat_model_options_free(options);
        let watched = Handle(job);
        let give_up = dice.roll(2) == 0;
        let canceller = give_up.then(|| {
            std::thread::spawn(move || {
                let job = watched;
                let mut progress: loquat_job_progress = std::mem::zeroed();
                progress.struct_size = size_of::<loquat_job_progress>() as u32;
                ok(loquat_job_get_progress(job.0, &mut progress, null_mut()));
                ok(loquat_job_cancel(job.0, null_mut()));
            })
        });
        let status = loop {
            match loquat_job_poll(job, dice.budget(), null_mut()) {
                LOQUAT_PENDING => {}
                status => break status,
            }
        };
        if let Some(canceller) = canceller {
            canceller.join().unwrap();
        }
        if status == LOQUAT_CANCELLED {
            assert!(give_up);
            for _ in 0..dice.roll(5) {
                assert_eq!(loquat_job_poll(job, 0, null_mut()), LOQUAT_CANCELLED);
            }
            return loquat_job_free(job);
        }
        assert_eq!(status, LOQUAT_DONE);
        let mut model = null_mut();
        ok(loquat_job_take_model(job, &mut model, null_mut()));
        let session = crate::handles::session(&Handle(model), 0);
        if dice.roll(2) == 0 {
            loquat_job_free(job);
            loquat_model_free(model);
            turn(&session, prompt, dice);
            loquat_session_free(session.0);
        } else {
            loquat_session_free(session.0);
            loquat_model_free(model);
            loquat_job_free(job);
        }
    }
}
