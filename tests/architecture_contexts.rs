//! Contexts that end, shift and slide, with the positions of every kind of architecture.

use loquat::base::ErrorKind;
use loquat::session::{Batch, BatchOptions, BatchStep, ContextPolicy, KvType, Session, SessionOptions, Step};
use test_support::micro::{bits_of_logits, changeable, largest_difference, load, load_file, tokens};

#[test]
fn learned_positions_end_where_their_table_does() {
    let model = load("gpt2", 1, None);
    let new = |context, context_policy| Session::new(&model, &SessionOptions { context, context_policy, ..Default::default() });
    assert!(new(64, ContextPolicy::Stop).is_ok());
    let Err(error) = new(65, ContextPolicy::Stop) else { panic!("65 of 64 positions") };
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let Err(error) = new(64, ContextPolicy::Shift { keep: 4 }) else { panic!("learned positions shifted") };
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_state_rotated_for_a_long_context_fits_no_short_one() {
    let model = load("phi3-long", 1, None);
    let session = |context| {
        let mut session = Session::new(&model, &SessionOptions { context, max_tokens: Some(0), ..Default::default() }).unwrap();
        session.append(&tokens()[..8]).unwrap();
        session.step(u64::MAX).unwrap();
        let mut state = vec![];
        session.save(&mut state).unwrap();
        (session, state)
    };
    let ((mut short, short_state), (mut long, long_state)) = (session(16), session(64));
    assert_ne!(bits_of_logits(&short), bits_of_logits(&long));
    short.restore(&short_state).unwrap();
    long.restore(&long_state).unwrap();
    assert!(short.restore(&long_state).is_err() && long.restore(&short_state).is_err());
}

/// Where one layer alone adds to its input, its keys and values depend on the tokens and their places, not on what came before: a context
/// that was shifted is one that was computed without the tokens that went. So each layer is tried by itself.
#[test]
fn a_full_context_is_shifted_with_each_layers_own_rotation() {
    let mut tried = 0;
    for name in ["gemma3", "smollm3", "mpt", "gpt-oss", "llama", "qwen2-yarn", "phi2", "gptneox"] {
        let layers = load(name, 1, None).config().unwrap().block_count;
        for layer in 0..layers {
            let mut file = changeable(name);
            for tensor in &mut file.tensors {
                let tensor_name = String::from_utf8(tensor.name.clone()).unwrap();
                let adds =
                    ["attn_output.", "ffn_down", "post_attention_norm.", "post_ffw_norm."].iter().any(|part| tensor_name.contains(part));
                // gpt-oss calls the norm before its experts post_attention_norm.
                let before = name == "gpt-oss" && tensor_name.contains("post_attention_norm.");
                if adds && !before && !tensor_name.starts_with(&format!("blk.{layer}.")) {
                    tensor.data.fill(0);
                }
            }
            let model = load_file(&file);
            let options = SessionOptions {
                context: 24,
                kv_type: KvType::F32,
                context_policy: ContextPolicy::Shift { keep: 4 },
                max_tokens: Some(0),
                ..Default::default()
            };
            let run = |session: &mut Session, ids: &[u32]| {
                session.append(ids).unwrap();
                assert!(matches!(session.step(u64::MAX).unwrap(), Step::Done { .. }));
            };
            let mut shifted = Session::new(&model, &options).unwrap();
            for id in tokens() {
                run(&mut shifted, &[id]);
            }
            let left = shifted.tokens().to_vec();
            assert!(left.len() < tokens().len(), "{name}: nothing was shifted");
            let mut fresh = Session::new(&model, &options).unwrap();
            run(&mut fresh, &left);
            let (found, expected) = (shifted.logits().unwrap(), fresh.logits().unwrap());
            let difference = largest_difference(found, expected);
            assert!(difference < 1e-4, "{name}, layer {layer}: {difference:.2e}");
            // A test that sees the context: other tokens in it give other logits.
            let mut other = Session::new(&model, &options).unwrap();
            let swapped: Vec<u32> = left.iter().rev().skip(1).rev().map(|id| id ^ 1).chain(left.last().copied()).collect();
            run(&mut other, &swapped);
            assert!(largest_difference(other.logits().unwrap(), expected) > 1e-3, "{name}, layer {layer}");
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried} layers");
}

/// A context that slides gives the logits of one that holds everything, to the bit: token by token, in chunks, in slices, in a batch, after a
/// fork and a restored state, and whether its memory is reserved or not.
#[test]
fn a_context_that_slides_is_as_one_without_an_end() {
    const WINDOW: usize = 8;
    let text: Vec<u32> = (0..1200u32).map(|i| 3 + i.wrapping_mul(2_654_435_761) % 60).collect();
    for name in ["mistral", "phi3", "starcoder2"] {
        let model = load(name, 2, None);
        let whole = SessionOptions { context: 1300, kv_type: KvType::F16, max_tokens: Some(0), ..Default::default() };
        let slide = SessionOptions { context: 256 + 40, context_policy: ContextPolicy::Slide, ..whole.clone() };
        let run = |session: &mut Session, ids: &[u32], budget: u64| {
            session.append(ids).unwrap();
            while session.step(budget).unwrap() == Step::Pending {}
            session.logits().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        let mut end = 0;
        let mut expected = vec![];
        let mut session = Session::new(&model, &whole).unwrap();
        for (index, part) in text.chunks(50).enumerate() {
            end += part.len();
            expected.push((end, run(&mut session, part, if index % 3 == 0 { 20_000 } else { u64::MAX })));
        }
        for reserve in [true, false] {
            let mut session = Session::new(&model, &SessionOptions { reserve, ..slide.clone() }).unwrap();
            let mut start = 0;
            for (index, (end, expected)) in expected.iter().enumerate() {
                match index {
                    9 => session = session.fork().unwrap(),
                    14 => {
                        let mut state = vec![];
                        session.save(&mut state).unwrap();
                        assert_eq!(state.len() as u64, session.state_bytes().unwrap());
                        let mut other = Session::new(&model, &whole).unwrap();
                        assert_eq!(other.restore(&state).unwrap_err().kind(), ErrorKind::InvalidFile, "a context that does not slide");
                        session = Session::new(&model, &slide).unwrap();
                        session.restore(&state).unwrap();
                    }
                    _ => {}
                }
                let found = run(&mut session, &text[start..*end], if index % 2 == 0 { 0 } else { u64::MAX });
                assert!(found == *expected, "{name}: behind {end} tokens, reserved: {reserve}");
                start = *end;
            }
            assert!(session.tokens().len() <= 296 && session.tokens() == &text[text.len() - session.tokens().len()..]);
            // What a query would see must be there.
            let kept = session.tokens().len();
            assert_eq!(session.truncate(WINDOW - 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
            session.truncate(kept - 20).unwrap();
            let again = run(&mut session, &text[text.len() - 20..], u64::MAX);
            assert!(again == expected.last().unwrap().1, "{name}: rewound");
            session.reset().unwrap();
            assert!(run(&mut session, &text[..50], u64::MAX) == expected[0].1, "{name}: from the beginning");
        }
        let generating = |options: &SessionOptions, prompt: &[u32]| {
            let mut session = Session::new(&model, &SessionOptions { max_tokens: Some(700), ignore_eog: true, ..options.clone() }).unwrap();
            session.append(prompt).unwrap();
            session
        };
        let prompts = [&text[..30], &text[40..45]];
        let mut sessions = prompts.map(|prompt| generating(&slide, prompt));
        let mut batch = Batch::new(&model, BatchOptions { sessions: 2, columns: 32, prompt_share: 16 }).unwrap();
        let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
        while batch.step(&mut all, u64::MAX).unwrap() != BatchStep::Idle {}
        for (session, prompt) in sessions.iter().zip(prompts) {
            let mut alone = generating(&whole, prompt);
            while !matches!(alone.step(u64::MAX).unwrap(), Step::Done { .. }) {}
            assert!(alone.tokens().ends_with(session.tokens()) && session.tokens().len() < 300, "{name}: in a batch");
            assert!(bits_of_logits(&alone) == bits_of_logits(session), "{name}: in a batch");
        }
    }
    let options = SessionOptions { context: 400, context_policy: ContextPolicy::Slide, ..Default::default() };
    let error = Session::new(&load("gemma2", 1, None), &options).err().unwrap();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("gemma2"), "{error}");
    let error = Session::new(&load("mistral", 1, None), &SessionOptions { context: 200, ..options }).err().unwrap();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("263"), "{error}");
}
