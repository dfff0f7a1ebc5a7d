//! The engine on the demo model, against the goldens of an independent implementation.

use std::sync::Arc;

use loquat::base::pool::Run;
use loquat::base::{ErrorKind, ParallelFor};
use loquat::kernels::Isa;
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{DoneReason, KvType, Session, SessionOptions, Step};
use loquat::tokenizer::EncodeOptions;
use test_support::{demo, goldens, npy};

fn runtime(threads: usize) -> Runtime {
    Runtime::new(RuntimeOptions { threads: Threads::Count(threads), ..Default::default() }).unwrap()
}

fn load(runtime: &Runtime, file: &str) -> Model {
    Model::load(runtime, &demo(file), LoadOptions::default()).unwrap()
}

/// Steps to the end of the turn; the ids that came out.
fn run(session: &mut Session) -> (Vec<u32>, DoneReason) {
    let mut ids = vec![];
    loop {
        match session.step(u64::MAX).unwrap() {
            Step::Token { id } => ids.push(id),
            Step::Done { reason, .. } => return (ids, reason),
            other => panic!("{other:?} without a budget or a cancel"),
        }
    }
}

#[test]
fn f32_logits_and_greedy_text_are_the_golden_ones() {
    let model = load(&runtime(2), "emberfield-3m-f32.gguf");
    let options = SessionOptions { kv_type: KvType::F32, max_tokens: Some(48), ignore_eog: true, ..Default::default() };
    for golden in goldens() {
        let mut session = Session::new(&model, &options).unwrap();
        session.append(&golden.ids).unwrap();
        let Step::Token { id } = session.step(u64::MAX).unwrap() else { panic!("no token") };
        if let Some(expected) = golden.logits.as_deref().map(npy) {
            let worst = session.logits().unwrap().iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-3, "{}: logits differ by {worst}", golden.name);
        }
        let (rest, reason) = run(&mut session);
        assert_eq!(reason, DoneReason::TokenLimit);
        let ids: Vec<u32> = [id].into_iter().chain(rest).collect();
        // The first choice between two nearly equal logits may fall the other way; all after it is another text.
        let fragile = golden.gaps.iter().position(|&gap| gap < 1e-3).unwrap_or(ids.len());
        assert_eq!(ids[..fragile], golden.greedy[..fragile], "{}", golden.name);
    }
}

#[test]
fn text_streams_in_whole_characters_and_turns_end_with_their_reason() {
    let model = load(&runtime(2), "emberfield-3m-f32.gguf");
    for golden in goldens() {
        let options =
            SessionOptions { kv_type: KvType::F32, max_tokens: Some(48), ignore_eog: true, show_special: true, ..Default::default() };
        let mut session = Session::new(&model, &options).unwrap();
        let mut ids = vec![];
        model.tokenizer().unwrap().encode(&golden.text, EncodeOptions { add_special: true, parse_special: true }, &mut ids).unwrap();
        assert_eq!(ids, golden.ids, "{}", golden.name);
        session.append(&ids).unwrap();
        let mut text = String::new();
        while !matches!(session.step(u64::MAX).unwrap(), Step::Done { .. }) {
            text.push_str(std::str::from_utf8(session.text()).unwrap());
        }
        text.push_str(std::str::from_utf8(session.text()).unwrap());
        if golden.gaps.iter().all(|&gap| gap >= 1e-3) {
            assert_eq!(text, golden.greedy_text, "{}", golden.name);
        }
    }
    // One prompt to its end of turn, and cut by a stop string that spans tokens.
    let golden = goldens().into_iter().find(|golden| golden.greedy_text.contains("<|im_end|>") || golden.name.starts_with("chat")).unwrap();
    let whole = turn(&model, &golden.ids, &[]);
    assert_eq!(whole.1, DoneReason::EndOfGeneration);
    let (cut, stop) = (whole.0.len() / 2, &whole.0[whole.0.len() / 2..whole.0.len() / 2 + 6]);
    let expected = &whole.0[..whole.0.find(stop).unwrap()];
    assert_eq!(turn(&model, &golden.ids, &[stop]), (expected.to_owned(), DoneReason::StopString), "cut at {cut}");
    // A stop string that never comes up holds text back but loses none of it.
    assert_eq!(turn(&model, &golden.ids, &[&format!("{stop}\u{0}")]), whole);
}

/// The text of one turn and why it ended.
fn turn(model: &Model, ids: &[u32], stop: &[&str]) -> (String, DoneReason) {
    let stop = stop.iter().map(|stop| stop.as_bytes().to_vec()).collect();
    let options = SessionOptions { kv_type: KvType::F32, max_tokens: Some(200), stop, ..Default::default() };
    let mut session = Session::new(model, &options).unwrap();
    session.append(ids).unwrap();
    let mut text = String::new();
    loop {
        let step = session.step(u64::MAX).unwrap();
        text.push_str(std::str::from_utf8(session.text()).unwrap());
        if let Step::Done { reason, .. } = step {
            return (text, reason);
        }
    }
}

#[test]
fn a_full_context_ends_the_turn_and_refuses_more() {
    let model = load(&runtime(1), "emberfield-3m-q8_0.gguf");
    let options = SessionOptions { context: 20, ignore_eog: true, ..Default::default() };
    let mut session = Session::new(&model, &options).unwrap();
    assert_eq!(session.append(&[5; 21]).unwrap_err().kind(), ErrorKind::ContextFull);
    assert!(session.step(u64::MAX).is_err(), "nothing was appended");
    session.append(&[5; 18]).unwrap();
    let (ids, reason) = run(&mut session);
    assert_eq!((ids.len(), reason), (3, DoneReason::ContextFull));
    assert_eq!(session.append(&[5]).unwrap_err().kind(), ErrorKind::ContextFull);
    session.reset().unwrap();
    session.append(&[5; 18]).unwrap();
    assert_eq!(run(&mut session).0, ids);
}

#[test]
fn cancel_and_truncate_leave_a_session_that_goes_on() {
    let model = load(&runtime(2), "emberfield-3m-q8_0.gguf");
    let options = SessionOptions { max_tokens: Some(8), ignore_eog: true, ..Default::default() };
    let golden = &goldens()[0];
    let mut session = Session::new(&model, &options).unwrap();
    session.append(&golden.ids).unwrap();
    let (reference, _) = run(&mut session);

    let mut other = Session::new(&model, &options).unwrap();
    other.append(&golden.ids).unwrap();
    other.cancel_handle().cancel();
    assert_eq!(other.step(u64::MAX).unwrap(), Step::Cancelled);
    assert_eq!(run(&mut other).0, reference);
    other.truncate(golden.ids.len()).unwrap();
    other.append(&[]).unwrap();
    assert_eq!(run(&mut other).0, reference);
}

/// Logits of every position of the first prompt under one setting.
fn all_logits(threads: usize, isa: Option<Isa>, file: &str, batch: u32, budget: u64) -> Vec<u32> {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), isa, ..Default::default() }).unwrap();
    all_logits_on(&runtime, file, batch, budget)
}

fn all_logits_on(runtime: &Runtime, file: &str, batch: u32, budget: u64) -> Vec<u32> {
    let model = load(runtime, file);
    let options = SessionOptions { batch, all_logits: true, max_tokens: Some(0), ..Default::default() };
    let mut session = Session::new(&model, &options).unwrap();
    let ids: Vec<u32> = goldens().into_iter().flat_map(|golden| golden.ids).take(150).collect();
    let mut bits = vec![];
    for chunk in ids.chunks(batch as usize) {
        session.append(chunk).unwrap();
        while session.step(budget).unwrap() == Step::Pending {}
        for position in session.logits_range() {
            bits.extend(session.logits_at(position).unwrap().iter().map(|x| x.to_bits()));
        }
    }
    assert_eq!(bits.len(), ids.len() * model.vocab_size().unwrap());
    bits
}

/// Threads of a host, started for each call; the calling one takes part.
struct Scoped;

impl ParallelFor for Scoped {
    fn run(&self, count: u32, run: &Arc<Run>) {
        std::thread::scope(|scope| {
            (1..count).for_each(|_| drop(scope.spawn(|| run.help())));
            run.help();
        });
    }
}

#[test]
fn the_bits_of_the_logits_depend_on_nothing_but_the_tokens() {
    for file in ["emberfield-3m-q8_0.gguf", "emberfield-3m-q4_k_m.gguf", "emberfield-3m-f32.gguf"] {
        let reference = all_logits(1, None, file, 512, u64::MAX);
        for threads in [2, 3] {
            assert!(all_logits(threads, None, file, 512, u64::MAX) == reference, "{file}: {threads} threads");
        }
        for budget in [u64::MAX, 300_000] {
            let options = RuntimeOptions { threads: Threads::Count(3), parallel_for: Some(Arc::new(Scoped)), ..Default::default() };
            let bits = all_logits_on(&Runtime::new(options).unwrap(), file, 512, budget);
            assert!(bits == reference, "{file}: threads of the host, budget {budget} ns");
        }
        for batch in [1, 7, 32] {
            assert!(all_logits(2, None, file, batch, u64::MAX) == reference, "{file}: chunks of {batch}");
        }
        for budget in [0, 50_000] {
            assert!(all_logits(2, None, file, 32, budget) == reference, "{file}: budget {budget} ns");
        }
        for isa in Isa::available() {
            assert!(all_logits(2, Some(isa), file, 512, u64::MAX) == reference, "{file}: {}", isa.name());
        }
    }
}
