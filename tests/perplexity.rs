//! Perplexity of the demo model on text that it has not seen, against the figures of an independent implementation and llama.cpp's.

use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{Session, SessionOptions, Step};
use loquat::tokenizer::EncodeOptions;
use test_support::{demo, emulated};

const WINDOW: usize = 512;

/// Windows after which the perplexity is looked at first, and the last ones where an emulator would take an hour for more.
const FIRST: usize = 4;

/// The rule of llama.cpp's tool: windows of 512 tokens without BOS, an incomplete tail dropped, the second half of each scored. Gives the
/// perplexity of the first windows, and that of all with the number of tokens scored.
fn perplexity(file: &str, text: &str) -> (f64, Option<(f64, usize)>) {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    let model = Model::load(&runtime, &demo(file), LoadOptions::default()).unwrap();
    let mut ids = vec![];
    let text = std::fs::read(demo(text)).unwrap();
    model.tokenizer().unwrap().encode(&text, EncodeOptions { add_special: false, parse_special: true }, &mut ids).unwrap();
    let options = SessionOptions { context: WINDOW as u32, all_logits: true, max_tokens: Some(0), ..Default::default() };
    let mut session = Session::new(&model, &options).unwrap();
    let (mut nats, mut scored, mut first) = (0.0, 0, f64::NAN);
    for (i, window) in ids.chunks_exact(WINDOW).enumerate() {
        if i == FIRST {
            first = (nats / f64::from(scored)).exp();
            if emulated() {
                return (first, None);
            }
        }
        session.reset().unwrap();
        session.append(window).unwrap();
        assert!(matches!(session.step(u64::MAX).unwrap(), Step::Done { .. }));
        for position in WINDOW / 2..WINDOW - 1 {
            nats -= log_probability(session.logits_at(position).unwrap(), window[position + 1]);
            scored += 1;
        }
    }
    (first, Some(((nats / f64::from(scored)).exp(), scored as usize)))
}

fn log_probability(logits: &[f32], id: u32) -> f64 {
    let top = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let total: f64 = logits.iter().map(|&logit| (f64::from(logit) - top).exp()).sum();
    f64::from(logits[id as usize]) - top - total.ln()
}

#[test]
fn every_file_of_the_demo_model_predicts_as_well_as_the_reference() {
    let goldens: serde_json::Value = serde_json::from_slice(&std::fs::read(demo("goldens.json")).unwrap()).unwrap();
    let figures = &goldens["perplexity"];
    for (file, text, expected, expected_first) in [
        ("f32", "heldout.txt", &figures["heldout.txt"]["reference"], 1.278790867024),
        ("f32", "heldout_chat.txt", &figures["heldout_chat.txt"]["reference"], 1.304384867471),
        ("q8_0", "heldout.txt", &figures["llama_cpp"]["q8_0"]["ppl"], 1.278827495386),
        ("q4_k_m", "heldout.txt", &figures["llama_cpp"]["q4_k_m"]["ppl"], 1.279744228863),
    ] {
        let expected = expected.as_f64().unwrap();
        let (first, all) = perplexity(&format!("emberfield-3m-{file}.gguf"), text);
        println!("{file} on the first windows of {text}: {first:.12}");
        // The bits of the logits are those of every processor, so that only exp and ln may differ.
        assert!((first / expected_first - 1.0).abs() < 1e-9, "{file} on the first windows of {text}: {first} for {expected_first}");
        let Some((got, scored)) = all else { continue };
        println!("{file} on {text}: {got:.5}, expected {expected}");
        assert_eq!(scored as u64, figures[text]["scored"].as_u64().unwrap());
        assert!((got / expected - 1.0).abs() < 0.005, "{file} on {text}: {got} for {expected}");
    }
}
