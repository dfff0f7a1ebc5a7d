//! What a session's context can do beside growing: be forked, shifted, saved, restored. And what a hostile saved state can't.

use loquat::base::ErrorKind;
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use loquat::session::{ContextPolicy, DoneReason, KvType, Session, SessionOptions, Step};
use test_support::{demo, tokens};

fn load(threads: usize, file: &str) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), ..Default::default() }).unwrap();
    Model::load(&runtime, &demo(file), LoadOptions::default()).unwrap()
}

fn options(kv_type: KvType, sampler: SamplerConfig) -> SessionOptions {
    let stop = vec![b"a text that never comes".to_vec(), " the end".into()];
    SessionOptions { context: 200, batch: 32, kv_type, sampler, stop, max_tokens: Some(40), ignore_eog: true, ..Default::default() }
}

fn chain(seed: u64) -> SamplerConfig {
    SamplerConfig { temperature: 0.9, repetition_penalty: 1.2, frequency_penalty: 0.1, seed, ..Default::default() }
}

/// The rest of a turn: ids, text, reason, and the bits of the last logits.
fn rest(session: &mut Session) -> (Vec<u32>, Vec<u8>, DoneReason, Vec<u32>) {
    let (mut ids, mut text) = (vec![], vec![]);
    loop {
        let step = session.step(u64::MAX).unwrap();
        text.extend_from_slice(session.text());
        match step {
            Step::Token { id } => ids.push(id),
            Step::Done { reason, .. } => {
                let logits = session.logits().unwrap().iter().map(|x| x.to_bits()).collect();
                return (ids, text, reason, logits);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Brings a session to one of several places: before anything, in the middle of its prompt, between tokens, at the end.
fn bring(session: &mut Session, place: usize) {
    session.append(&tokens(0, 90)).unwrap();
    match place {
        0 => {}
        1 => {
            while session.position() < 40 {
                session.step(0).unwrap();
            }
        }
        2 => {
            for _ in 0..7 {
                assert!(matches!(session.step(u64::MAX).unwrap(), Step::Token { .. }));
            }
            session.step(0).unwrap();
        }
        _ => while !matches!(session.step(u64::MAX).unwrap(), Step::Done { .. }) {},
    }
}

#[test]
fn a_saved_session_goes_on_to_the_bit_in_another_process_or_thread_count() {
    for (kv_type, sampler) in
        [(KvType::F16, SamplerConfig::greedy()), (KvType::F32, chain(3)), (KvType::Bf16, chain(4)), (KvType::Q8_0, chain(5))]
    {
        for place in 0..4 {
            let (model, other) = (load(2, "emberfield-3m-q8_0.gguf"), load(1, "emberfield-3m-q8_0.gguf"));
            let options = options(kv_type, sampler.clone());
            let mut session = Session::new(&model, &options).unwrap();
            bring(&mut session, place);
            let mut state = vec![];
            session.save(&mut state).unwrap();
            assert_eq!(session.state_bytes().unwrap(), state.len() as u64);
            // Another model handle, another number of threads, a session that held something else.
            let mut restored = Session::new(&other, &SessionOptions { batch: 7, reserve: false, ..options }).unwrap();
            restored.append(&tokens(0, 33)).unwrap();
            restored.step(u64::MAX).unwrap();
            restored.restore(&state).unwrap();
            assert_eq!((restored.tokens(), restored.position()), (session.tokens(), session.position()));
            let mut again = vec![];
            restored.save(&mut again).unwrap();
            assert!(again == state, "{kv_type:?} at {place}: saving what was restored");
            let expected = rest(&mut session);
            assert_eq!(rest(&mut restored), expected, "{kv_type:?} at {place}");
            // And a second turn.
            for session in [&mut session, &mut restored] {
                session.append(&tokens(0, 5)).unwrap();
            }
            assert_eq!(rest(&mut restored), rest(&mut session));
            // What a state brought is not given to others.
            assert_eq!(other.prefixes().stats().pages, 1, "the page of the prompt before");
        }
    }
}

#[test]
fn forks_are_equal_and_independent() {
    for sampler in [SamplerConfig::greedy(), chain(9)] {
        for place in 0..4 {
            let model = load(2, "emberfield-3m-q8_0.gguf");
            let mut session = Session::new(&model, &options(KvType::F16, sampler.clone())).unwrap();
            bring(&mut session, place);
            let mut fork = session.fork().unwrap();
            // The original goes another way, over the same positions.
            let mut third = fork.fork().unwrap();
            session.truncate(60).unwrap();
            session.append(&tokens(0, 30)).unwrap();
            let different = rest(&mut session);
            let expected = rest(&mut fork);
            assert_eq!(rest(&mut third), expected, "at {place}");
            if place < 3 {
                assert_ne!(different.0, expected.0);
            }
        }
    }
}

/// What a full context drops and keeps, and that nothing depends on budget or threads.
#[test]
fn a_full_context_shifts() {
    let mut seen = vec![];
    for (threads, budget, kv_type) in
        [(1, u64::MAX, KvType::F16), (2, 0, KvType::F16), (2, 30_000, KvType::F16), (2, u64::MAX, KvType::F32), (2, u64::MAX, KvType::Q8_0)]
    {
        let model = load(threads, "emberfield-3m-q8_0.gguf");
        let options = SessionOptions {
            context: 64,
            context_policy: ContextPolicy::Shift { keep: 10 },
            max_tokens: Some(150),
            ignore_eog: true,
            kv_type,
            ..Default::default()
        };
        let mut session = Session::new(&model, &options).unwrap();
        let prompt = tokens(0, 30);
        assert_eq!(session.append(&tokens(0, 55)).unwrap_err().kind(), ErrorKind::ContextFull);
        session.append(&prompt).unwrap();
        let (mut ids, mut most) = (vec![], 0);
        loop {
            match session.step(budget).unwrap() {
                Step::Token { id } => ids.push(id),
                Step::Pending => {}
                Step::Done { reason, .. } => {
                    assert_eq!(reason, DoneReason::TokenLimit);
                    break;
                }
                Step::Cancelled => panic!("nobody cancelled"),
            }
            most = most.max(session.tokens().len());
        }
        assert_eq!((ids.len(), most), (150, 65));
        assert_eq!(session.tokens()[..10], prompt[..10]);
        let tail = &session.tokens()[10..];
        assert_eq!(tail, &ids[ids.len() - tail.len()..]);
        // A shift can be cut through by a fork, a save and a truncation.
        let mut fork = session.fork().unwrap();
        let mut state = vec![];
        session.save(&mut state).unwrap();
        fork.append(&prompt[..3]).unwrap();
        session.append(&prompt[..3]).unwrap();
        assert_eq!(rest(&mut fork), rest(&mut session));
        if kv_type == KvType::F16 {
            seen.push(ids);
        }
    }
    assert!(seen.iter().all(|ids| ids == &seen[0]));
}

/// In a model of one layer a key depends on its token and position alone, so a shifted cache is the cache of the shorter conversation. The demo
/// model has more layers; its first layer's rotation is compared through the whole by dropping tokens that are equal to each other.
#[test]
fn a_shift_rotates_keys_to_where_they_would_have_been() {
    // All tokens alike: whatever is dropped, each remaining position has the same token before it, and only positions differ.
    let model = load(2, "emberfield-3m-f32.gguf");
    let base = SessionOptions { context: 64, kv_type: KvType::F32, ignore_eog: true, prefix_reuse: false, ..Default::default() };
    let shifting = SessionOptions { context_policy: ContextPolicy::Shift { keep: 0 }, max_tokens: Some(0), ..base.clone() };
    let mut session = Session::new(&model, &shifting).unwrap();
    session.append(&[7; 64]).unwrap();
    session.step(u64::MAX).unwrap();
    session.append(&[9]).unwrap();
    session.step(u64::MAX).unwrap();
    assert_eq!(session.tokens().len(), 49, "a quarter of 64 went");
    let mut plain = Session::new(&model, &SessionOptions { max_tokens: Some(0), ..base }).unwrap();
    plain.append(&[7; 48]).unwrap();
    plain.append(&[9]).unwrap();
    plain.step(u64::MAX).unwrap();
    // Attention over equal values at consistent positions: close to the short conversation; with keys left where they were it is not.
    let worst =
        |a: &Session, b: &Session| a.logits().unwrap().iter().zip(b.logits().unwrap()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let distance = worst(&session, &plain);
    let spread = plain.logits().unwrap().iter().fold(0.0f32, |top, x| top.max(x.abs()));
    assert!(distance < 0.1 * spread, "{distance} of {spread}");
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let model = load(1, "emberfield-3m-q8_0.gguf");
    let options = options(KvType::F16, chain(1));
    let mut session = Session::new(&model, &options).unwrap();
    bring(&mut session, 2);
    let mut state = vec![];
    session.save(&mut state).unwrap();

    let refused = |model: &Model, options: &SessionOptions, state: &[u8]| {
        let mut session = Session::new(model, options).unwrap();
        session.append(&tokens(0, 12)).unwrap();
        session.step(u64::MAX).unwrap();
        let mut before = vec![];
        session.save(&mut before).unwrap();
        let error = session.restore(state).unwrap_err();
        let mut after = vec![];
        session.save(&mut after).unwrap();
        assert!(before == after);
        assert!(error.message().starts_with("saved session: ") || error.kind() == ErrorKind::ContextFull, "{error}");
        (error.kind(), error.message().to_owned())
    };
    let other_model = load(1, "emberfield-3m-q4_k_m.gguf");
    assert!(refused(&other_model, &options, &state).1.contains("another model"));
    assert!(refused(&model, &SessionOptions { kv_type: KvType::F32, ..options.clone() }, &state).1.contains("type 'f16'"));
    assert_eq!(refused(&model, &SessionOptions { context: 50, ..options.clone() }, &state).0, ErrorKind::ContextFull);
    let greedy = SessionOptions { sampler: SamplerConfig::greedy(), ..options.clone() };
    assert_eq!(refused(&model, &greedy, &state).0, ErrorKind::InvalidFile);
    for len in [0, 5, 8, 20, state.len() / 2, state.len() - 1] {
        assert_eq!(refused(&model, &options, &state[..len]).0, ErrorKind::InvalidFile);
    }
    let mut damaged = state.clone();
    damaged[state.len() / 2] ^= 1;
    assert!(refused(&model, &options, &damaged).1.contains("checksum"));
    let mut newer = state.clone();
    newer[7] = b'2';
    assert_eq!(refused(&model, &options, &newer).0, ErrorKind::Unsupported);
}

/// A context that shifts takes more tokens than it has room for beside those that it holds; they wait to be computed, also in a state.
#[test]
fn a_shifting_session_is_restored_with_all_that_waits() {
    let model = load(2, "emberfield-3m-q8_0.gguf");
    let context_policy = ContextPolicy::Shift { keep: 10 };
    let options = SessionOptions { context: 64, context_policy, max_tokens: Some(40), ignore_eog: true, ..Default::default() };
    let mut session = Session::new(&model, &options).unwrap();
    session.append(&tokens(0, 30)).unwrap();
    while session.position() < 60 {
        session.step(u64::MAX).unwrap();
    }
    session.append(&tokens(0, 50)).unwrap();
    assert!(session.tokens().len() > 100);
    let mut state = vec![];
    session.save(&mut state).unwrap();
    let mut restored = Session::new(&model, &options).unwrap();
    restored.restore(&state).unwrap();
    assert_eq!(rest(&mut restored), rest(&mut session));
    // One that does not shift has no place for them.
    let stops = SessionOptions { context_policy: ContextPolicy::Stop, ..options };
    assert_eq!(Session::new(&model, &stops).unwrap().restore(&state).unwrap_err().kind(), ErrorKind::ContextFull);
}

/// A state whose checksum is right and whose contents are not: a clear error or a session that can be stepped, never a panic.
#[test]
fn hostile_states_are_survived() {
    let model = load(1, "emberfield-3m-q8_0.gguf");
    // No limit on tokens, so that a count of them that is almost full is gone on from.
    let options = SessionOptions { max_tokens: None, ..options(KvType::F16, chain(1)) };
    let mut session = Session::new(&model, &options).unwrap();
    session.append(&tokens(0, 3)).unwrap();
    session.step(u64::MAX).unwrap();
    let mut state = vec![];
    session.save(&mut state).unwrap();
    let hashed = |mut state: Vec<u8>| {
        let len = state.len() - 8;
        let hash = xxhash_rust::xxh3::xxh3_64(&state[..len]);
        state[len..].copy_from_slice(&hash.to_le_bytes());
        state
    };
    assert!(hashed(state.clone()) == state);
    let mut session = Session::new(&model, &options).unwrap();
    let mut accepted = 0;
    // Every byte of the small sections, and some of the large ones, to each of a few values.
    let interesting = (0..700.min(state.len())).chain((700..state.len() - 8).step_by(997));
    for at in interesting {
        for value in [0, 1, 0x7f, 0x80, 0xff, state[at].wrapping_add(1), state[at] ^ 0x20] {
            let mut hostile = state.clone();
            hostile[at] = value;
            if session.restore(&hashed(hostile)).is_ok() {
                accepted += 1;
                for _ in 0..4 {
                    if session.step(u64::MAX).is_err() {
                        break;
                    }
                }
            }
        }
    }
    assert!(accepted > 0);
    // An optional section is skipped, an unknown one refused, the same one twice refused.
    let turn = state.windows(4).position(|tag| tag == b"TURN").unwrap() + 12;
    let with_turn = |numbers: [u32; 3]| {
        let mut hostile = state.clone();
        for (number, value) in numbers.iter().enumerate() {
            hostile[turn + 4 * number..][..4].copy_from_slice(&value.to_le_bytes());
        }
        hashed(hostile)
    };
    session.restore(&with_turn([u32::MAX, 0, 0])).unwrap();
    for _ in 0..3 {
        assert!(matches!(session.step(u64::MAX).unwrap(), Step::Token { .. }));
    }
    let vocab_size = model.vocab_size().unwrap() as u32;
    session.restore(&with_turn([1, 1, vocab_size])).unwrap();
    assert!(matches!(session.step(u64::MAX).unwrap(), Step::Done { token: Some(token), .. } if token == vocab_size - 1));
    let outside = session.restore(&with_turn([1, 1, vocab_size + 1])).unwrap_err();
    assert_eq!((outside.kind(), outside.message()), (ErrorKind::InvalidFile, "saved session: has a last token outside the vocabulary"));
    let section = |tag: &[u8; 4]| {
        let mut longer = state[..state.len() - 8].to_vec();
        longer.extend_from_slice(tag);
        longer.extend_from_slice(&3u64.to_le_bytes());
        longer.extend_from_slice(b"abc12345678");
        hashed(longer)
    };
    session.restore(&section(b"note")).unwrap();
    assert_eq!(session.restore(&section(b"NOTE")).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(session.restore(&section(b"TURN")).unwrap_err().kind(), ErrorKind::InvalidFile);
}
