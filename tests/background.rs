//! Turns that run by themselves: nothing is lost or changed, and nothing outlives the handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loquat::base::ErrorKind;
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{Background, DoneReason, Happening, Session, SessionOptions, Step};
use test_support::{demo, goldens};

fn model(threads: usize) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), ..Default::default() }).unwrap();
    Model::load(&runtime, &demo("emberfield-3m-q8_0.gguf"), LoadOptions::default()).unwrap()
}

fn session(model: &Model, max_tokens: u32) -> Session {
    let options = SessionOptions { max_tokens: Some(max_tokens), ignore_eog: true, show_special: true, ..Default::default() };
    let mut session = Session::new(model, &options).unwrap();
    session.append(&goldens()[0].ids).unwrap();
    session
}

/// What stepping gives: ids, text, reason.
fn stepped(session: &mut Session) -> (Vec<u32>, Vec<u8>, DoneReason) {
    let (mut ids, mut text) = (vec![], vec![]);
    loop {
        let step = session.step(u64::MAX).unwrap();
        text.extend_from_slice(session.text());
        match step {
            Step::Token { id } => ids.push(id),
            Step::Done { reason, .. } => return (ids, text, reason),
            other => panic!("{other:?}"),
        }
    }
}

/// What popping gives, to the end; `between` runs before each pop.
fn popped(background: &mut Background<Session>, mut between: impl FnMut()) -> (Vec<u32>, Vec<u8>, Happening) {
    let (mut ids, mut text) = (vec![], vec![]);
    loop {
        between();
        let event = background.pop(u64::MAX).unwrap();
        text.extend_from_slice(&event.text);
        match &event.what {
            Happening::Token { id } => ids.push(*id),
            last => return (ids, text, last.clone()),
        }
    }
}

#[test]
fn a_queue_of_any_length_gives_what_steps_give() {
    for threads in [1, 3] {
        let model = model(threads);
        let (ids, text, reason) = stepped(&mut session(&model, 60));
        assert_eq!((ids.len(), reason), (60, DoneReason::TokenLimit));
        for events in [1, 2, 1000] {
            let woken = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&woken);
            let mut background = Background::start(session(&model, 60), events, move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            // A slow host: the queue fills up, and the session waits.
            let got = popped(&mut background, || std::thread::sleep(Duration::from_micros(300)));
            assert_eq!(got, (ids.clone(), text.clone(), Happening::Done { reason, token: None }), "a queue of {events}");
            let end = background.pop(0).unwrap();
            assert!(end.text.is_empty() && end.what == Happening::Done { reason, token: None }, "the end comes again");
            let mut session = background.stop().unwrap();
            assert_eq!(woken.load(Ordering::Relaxed), 61);
            assert_eq!(&session.tokens()[session.tokens().len() - 60..], ids);
            assert_eq!(session.step(0).unwrap(), Step::Done { reason, token: None });
        }
    }
}

#[test]
fn a_full_queue_holds_the_session_up() {
    let model = model(2);
    let mut background = Background::start(session(&model, 60), 3, || {}).unwrap();
    let prompt = goldens()[0].ids.len() as u32;
    let start = Instant::now();
    // Three events in the queue and a fourth in the hand: the position is that of the fourth token's predecessor.
    while background.progress().0 < prompt + 3 && start.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(background.progress(), (prompt + 3, 1.0));
    assert!(background.pop(0).is_some());
    assert_eq!(popped(&mut background, || {}).0.len(), 59);
}

#[test]
fn a_stopped_or_cancelled_turn_goes_on_where_it_was() {
    let model = model(2);
    let (ids, ..) = stepped(&mut session(&model, 200));
    let prompt = goldens()[0].ids.len();
    for pops in [0, 1, 5, 40] {
        let mut background = Background::start(session(&model, 200), 4, || {}).unwrap();
        for number in 0..pops {
            assert_eq!(background.pop(u64::MAX).unwrap().what, Happening::Token { id: ids[number] });
        }
        let mut session = if pops % 2 == 0 {
            background.stop().unwrap()
        } else {
            background.cancel_handle().cancel();
            let (rest, _, last) = popped(&mut background, || {});
            assert_eq!((last, rest.as_slice()), (Happening::Cancelled, &ids[pops..pops + rest.len()]), "what was there is not lost");
            assert_eq!(background.pop(0).unwrap().what, Happening::Cancelled);
            background.stop().unwrap()
        };
        let so_far = session.tokens().len() - prompt;
        assert!((pops..=pops + 6).contains(&so_far), "{so_far} tokens after {pops} pops");
        // Neither a stop nor a cancel is left over for the next step.
        let (rest, ..) = stepped(&mut session);
        assert_eq!(rest, ids[so_far..], "after {pops} pops");
    }
}

#[test]
fn waiting_for_an_event_ends_when_it_should() {
    let model = model(1);
    let mut background = Background::start(session(&model, 0), 4, || {}).unwrap();
    assert_eq!(background.pop(u64::MAX).unwrap().what, Happening::Done { reason: DoneReason::TokenLimit, token: None });
    let options = SessionOptions { max_tokens: Some(1), ..Default::default() };
    let mut long = Session::new(&model, &options).unwrap();
    long.append(&vec![300; 500]).unwrap();
    let mut background = Background::start(long, 1, || {}).unwrap();
    let start = Instant::now();
    let first = background.pop(1_000_000).is_some();
    assert!(first || start.elapsed() >= Duration::from_millis(1));
    assert!(popped(&mut background, || {}).0.len() <= 1);
}

#[test]
fn the_queue_is_asked_of_the_budget() {
    let model = model(1);
    let budget = model.runtime().budget();
    let session = session(&model, 3);
    let before = budget.private_used();
    let background = Background::start(session, 1000, || {}).unwrap();
    assert!(budget.private_used() > before + 128_000);
    let session = background.stop().unwrap();
    assert_eq!(budget.private_used(), before);
    drop(session);
}

#[test]
fn failures_are_events() {
    let model = model(1);
    let empty = Session::new(&model, &SessionOptions::default()).unwrap();
    let mut background = Background::start(empty, 1, || {}).unwrap();
    for _ in 0..2 {
        let Happening::Failed(error) = background.pop(u64::MAX).unwrap().what.clone() else { panic!("no failure") };
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let mut session = background.stop().unwrap();
    session.append(&goldens()[0].ids).unwrap();
    assert!(matches!(session.step(u64::MAX).unwrap(), Step::Token { .. }));
    assert_eq!(Background::start(session, 0, || {}).err().unwrap().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_panic_is_told_and_does_not_hang_anybody() {
    /// A session that can't be reached once it has more tokens than these.
    struct Broken(Session, usize);
    impl std::borrow::Borrow<Session> for Broken {
        fn borrow(&self) -> &Session {
            &self.0
        }
    }
    impl std::borrow::BorrowMut<Session> for Broken {
        fn borrow_mut(&mut self) -> &mut Session {
            assert!(self.0.tokens().len() <= self.1, "the second token of this session");
            &mut self.0
        }
    }
    let model = model(1);
    let session = session(&model, 5);
    let given = session.tokens().len();
    let mut background = Background::start(Broken(session, given), 8, || {}).unwrap();
    assert!(matches!(background.pop(u64::MAX).unwrap().what, Happening::Token { .. }));
    let Happening::Failed(error) = background.pop(u64::MAX).unwrap().what.clone() else { panic!("no failure") };
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(background.stop().err().unwrap().kind(), ErrorKind::Internal);
}

#[cfg(target_os = "linux")]
#[test]
fn threads_end_with_their_handles() {
    let threads = || {
        let names =
            std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim_end() == "loquat-session").count()
    };
    // Other tests of this program have such threads too, so this one's are told by their number.
    let model = model(2);
    let many: Vec<_> = (0..40).map(|_| Background::start(session(&model, 10_000), 1, || {}).unwrap()).collect();
    let start = Instant::now();
    while threads() < 40 && start.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
    }
    assert!(threads() >= 40);
    drop(many);
    if !test_support::emulated() {
        assert!(threads() < 40);
    }
}
