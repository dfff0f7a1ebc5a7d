//! The engine on the demo model, against the goldens of an independent implementation.

mod common;

use common::{demo, goldens, npy};
use loquat::kernels::Isa;
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{DoneReason, KvType, Session, SessionOptions, Step};

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
            Step::Done { reason } => return (ids, reason),
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

/// Logits of every position of the first prompt under one setting.
fn all_logits(threads: usize, isa: Option<Isa>, file: &str, batch: u32, budget: u64) -> Vec<u32> {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), isa, ..Default::default() }).unwrap();
    let model = load(&runtime, file);
    let options = SessionOptions { batch, all_logits: true, max_tokens: Some(0), ..Default::default() };
    let mut session = Session::new(&model, &options).unwrap();
    let ids: Vec<u32> = goldens().into_iter().flat_map(|golden| golden.ids).take(300).collect();
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

#[test]
fn the_bits_of_the_logits_depend_on_nothing_but_the_tokens() {
    for file in ["emberfield-3m-q8_0.gguf", "emberfield-3m-q4_k_m.gguf", "emberfield-3m-f32.gguf"] {
        let reference = all_logits(1, None, file, 512, u64::MAX);
        for threads in [2, 3] {
            assert!(all_logits(threads, None, file, 512, u64::MAX) == reference, "{file}: {threads} threads");
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
