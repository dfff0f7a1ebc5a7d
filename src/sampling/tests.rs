//! The chain against a naive reference: plain `f64`, full sorts, one probability vector for each stage.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::base::{ErrorKind, MemoryBudget};

/// What a chain leaves: ids with probabilities, most probable first (lower ids first among equals).
type Left = Vec<(u32, f64)>;

fn softmax(logits: &[(u32, f64)]) -> Left {
    let max = logits.iter().fold(f64::NEG_INFINITY, |a, &(_, x)| a.max(x));
    let sum: f64 = logits.iter().map(|&(_, x)| (x - max).exp()).sum();
    logits.iter().map(|&(id, x)| (id, (x - max).exp() / sum)).collect()
}

/// The reference: `slack` moves the borders of top-p and min-p, so that two runs enclose what rounding may decide.
fn reference(config: &SamplerConfig, logits: &[f32], accepted: &[u32], slack: f64) -> Left {
    let mut adjusted = logits.to_vec();
    for &(id, bias) in &config.logit_bias {
        adjusted[id as usize] += bias;
    }
    let window = &accepted[accepted.len().saturating_sub(config.penalty_window as usize)..];
    for (id, x) in adjusted.iter_mut().enumerate() {
        let count = window.iter().filter(|&&t| t as usize == id).count();
        if count > 0 {
            let repeated = if *x > 0.0 { *x / config.repetition_penalty } else { *x * config.repetition_penalty };
            *x = repeated - count as f32 * config.frequency_penalty - config.presence_penalty;
        }
    }
    let mut all: Vec<(u32, f64)> = adjusted.iter().enumerate().map(|(id, &x)| (id as u32, f64::from(x))).collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    if config.top_k > 0 {
        all.truncate(config.top_k as usize);
    }
    if config.top_p < 1.0 {
        let mut sum = 0.0;
        let kept = softmax(&all).iter().position(|&(_, p)| {
            sum += p;
            sum >= f64::from(config.top_p) + slack
        });
        all.truncate(kept.map_or(all.len(), |last| last + 1));
    }
    if config.min_p > 0.0 {
        let probabilities = softmax(&all);
        let least = f64::from(config.min_p) * probabilities[0].1 * (1.0 - slack * 1e-2);
        all.truncate(probabilities.iter().filter(|&&(_, p)| p >= least).count().max(1));
    }
    all.iter_mut().for_each(|(_, x)| *x /= f64::from(config.temperature));
    let mut left = softmax(&all);
    left.retain(|&(_, p)| p > 0.0);
    left
}

fn ours(sampler: &mut Sampler, logits: &[f32]) -> Left {
    let mut copy = logits.to_vec();
    let (candidates, _) = sampler.narrowed(&mut copy).unwrap();
    let sum = candidates.sum();
    let mut left: Left = candidates.weights().map(|(id, weight)| (id, weight / sum)).filter(|&(_, p)| p > 0.0).collect();
    left.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    left
}

fn sampler(config: &SamplerConfig, vocab_size: usize) -> Sampler {
    Sampler::new(config, vocab_size, &MemoryBudget::new(u64::MAX)).unwrap()
}

/// Ours lies between the references with either slack, and the probabilities agree.
fn agrees(config: &SamplerConfig, logits: &[f32], accepted: &[u32]) {
    let mut sampler = sampler(config, logits.len());
    accepted.iter().for_each(|&token| sampler.accept(token));
    let left = ours(&mut sampler, logits);
    let few = reference(config, logits, accepted, -1e-5);
    let many = reference(config, logits, accepted, 1e-5);
    // Probabilities so small that single precision flushes them to 0 may be missing.
    let visible = few.iter().filter(|&&(_, p)| p > few[0].1 * 1e-37).count();
    assert!(left.len() >= visible && left.len() <= many.len(), "{config:?}: {} of {}..={}", left.len(), visible, many.len());
    let exact = if left.len() == few.len() { &few } else { &many };
    let total: f64 = exact[..left.len()].iter().map(|&(_, p)| p).sum();
    for &(id, p) in &left {
        let &(_, truth) = exact.iter().find(|&&(other, _)| other == id).unwrap_or_else(|| panic!("{id} is not in the reference"));
        let truth = truth / total;
        assert!((p - truth).abs() <= truth * 2e-4 + 1e-9, "{config:?}: token {id}: {p} instead of {truth}");
    }
}

fn plain() -> SamplerConfig {
    SamplerConfig { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplerConfig::default() }
}

fn noise(len: usize, scale: f32, seed: u64) -> Vec<f32> {
    let mut rng = rng::Rng::new(seed);
    // A sum of uniforms: near normal, so that there is a head and a long tail.
    (0..len).map(|_| (0..6).map(|_| rng.next_f64() as f32 - 0.5).sum::<f32>() * scale).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_chain_matches_the_reference(
        len in prop_oneof![1usize..80, 1000usize..3000],
        scale in 0.1f32..30.0,
        seed: u64,
        temperature in prop_oneof![Just(1.0f32), 0.05f32..3.0],
        top_k in prop_oneof![Just(0u32), Just(1), 1u32..100, 500u32..4000],
        top_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
        min_p in prop_oneof![Just(0.0f32), Just(1.0), 0.001f32..0.9],
        penalties in prop_oneof![Just((1.0f32, 0.0f32, 0.0f32)), (0.5f32..2.0, -1.0f32..1.0, -0.5f32..0.5)],
        window in prop_oneof![Just(0u32), 1u32..20, Just(64)],
        history in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        biased in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(f32::NEG_INFINITY), -5.0f32..5.0]), 0..4),
    ) {
        let logits = noise(len, scale, seed);
        let mut logit_bias: Vec<(u32, f32)> = biased.iter().map(|(index, bias)| (index.index(len) as u32, *bias)).collect();
        logit_bias.sort_by_key(|entry| entry.0);
        logit_bias.dedup_by_key(|entry| entry.0);
        prop_assume!(logit_bias.iter().filter(|entry| entry.1 == f32::NEG_INFINITY).count() < len);
        let accepted: Vec<u32> = history.iter().map(|index| index.index(len) as u32).collect();
        let config = SamplerConfig {
            temperature, top_k, top_p, min_p, logit_bias,
            repetition_penalty: penalties.0, presence_penalty: penalties.1, frequency_penalty: penalties.2,
            penalty_window: window, ..SamplerConfig::default()
        };
        agrees(&config, &logits, &accepted);
    }

    #[test]
    fn greedy_is_the_first_largest(logits in prop::collection::vec(prop_oneof![Just(0.0f32), Just(1.5), -3.0f32..3.0], 1..3000)) {
        let mut best = 0;
        for (id, &x) in logits.iter().enumerate() {
            if x > logits[best] {
                best = id;
            }
        }
        prop_assert_eq!(sampler(&SamplerConfig::greedy(), logits.len()).sample(&mut logits.clone()).unwrap(), best as u32);
    }

    #[test]
    fn hostile_states_are_refused_or_taken(mut state in prop::collection::vec(any::<u8>(), 0..80), keep in 0usize..8) {
        let config = SamplerConfig { repetition_penalty: 1.1, ..SamplerConfig::default() };
        let mut sampler = sampler(&config, 50);
        sampler.accept(3);
        let own = sampler.state();
        let keep = (keep * 8).min(own.len());
        state.splice(..0, own[..keep].iter().copied());
        let _ = sampler.restore(&state);
        sampler.sample(&mut noise(50, 3.0, 1)).unwrap();
    }
}

#[test]
fn a_large_vocabulary_matches_too() {
    let logits = noise(152_064, 8.0, 42);
    for (top_k, top_p, min_p) in [(40, 0.95, 0.05), (0, 0.95, 0.0), (0, 0.5, 0.0), (0, 1.0, 0.05), (5000, 0.9, 0.0), (0, 1.0, 0.0)] {
        agrees(&SamplerConfig { top_k, top_p, min_p, temperature: 0.7, ..plain() }, &logits, &[]);
    }
}

#[test]
fn ties_at_the_border_of_top_k_go_to_lower_ids() {
    let config = SamplerConfig { top_k: 3, ..plain() };
    let mut logits = vec![1.0f32; 5000];
    logits[4000] = 2.0;
    let ids: Vec<u32> = ours(&mut sampler(&config, 5000), &logits).iter().map(|&(id, _)| id).collect();
    assert_eq!(ids, [4000, 0, 1]);
    // Rising logits make every element pass the floor: the list is selected again and again.
    let rising: Vec<f32> = (0..100_000).map(|i| i as f32 * 1e-3).collect();
    let ids: Vec<u32> = ours(&mut sampler(&config, 100_000), &rising).iter().map(|&(id, _)| id).collect();
    assert_eq!(ids, [99_999, 99_998, 99_997]);
}

#[test]
fn edges_of_the_settings() {
    let logits = noise(300, 4.0, 9);
    let everything = ours(&mut sampler(&plain(), 300), &logits);
    assert_eq!(everything.len(), 300);
    for same in [
        SamplerConfig { top_k: 300, ..plain() },
        SamplerConfig { top_k: u32::MAX, ..plain() },
        SamplerConfig { top_p: 1.0, min_p: 0.0, ..plain() },
    ] {
        assert_eq!(ours(&mut sampler(&same, 300), &logits), everything);
    }
    let top = everything[0].0;
    for one in [
        SamplerConfig { top_k: 1, ..plain() },
        SamplerConfig { top_p: 1e-6, ..plain() },
        SamplerConfig { min_p: 1.0, ..plain() },
        SamplerConfig { temperature: 1e-30, ..plain() },
        SamplerConfig { temperature: f32::MIN_POSITIVE * 1e-3, top_k: 50, ..plain() },
        SamplerConfig { temperature: 0.0, ..plain() },
    ] {
        for seed in 0..20 {
            let mut sampler = sampler(&SamplerConfig { seed, ..one.clone() }, 300);
            assert_eq!(sampler.sample(&mut logits.clone()).unwrap(), top, "{one:?}");
        }
    }
    let huge: Vec<f32> = vec![f32::MAX, f32::MIN, 0.0, f32::NEG_INFINITY];
    for temperature in [1e-40, 0.5, 1.0, f32::MAX] {
        for (top_k, top_p, min_p) in [(0, 1.0, 0.0), (2, 1.0, 0.0), (0, 0.5, 0.0), (0, 1.0, 0.1)] {
            let config = SamplerConfig { temperature, top_k, top_p, min_p, ..plain() };
            let drawn = sampler(&config, 4).sample(&mut huge.clone()).unwrap();
            assert_ne!(drawn, 3, "{config:?}");
        }
    }
    assert_eq!(sampler(&SamplerConfig::default(), 1).sample(&mut [-7.0]).unwrap(), 0);
}

#[test]
fn broken_logits_name_the_token() {
    for config in [SamplerConfig::greedy(), SamplerConfig::default(), plain()] {
        let mut sampler = sampler(&config, 2000);
        let before = sampler.state();
        for broken in [f32::NAN, f32::INFINITY] {
            let mut logits = noise(2000, 1.0, 3);
            logits[1234] = broken;
            let error = sampler.sample(&mut logits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NonFinite);
            assert!(error.message().contains("token 1234"), "{error}");
        }
        assert_eq!(sampler.sample(&mut [f32::NEG_INFINITY; 2000]).unwrap_err().kind(), ErrorKind::NonFinite);
        assert_eq!(sampler.sample(&mut [0.0; 1999]).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(sampler.state(), before, "a failed draw spends no random number");
        sampler.sample(&mut noise(2000, 1.0, 3)).unwrap();
    }
    // A bias that overflows is found as well.
    let config = SamplerConfig { logit_bias: vec![(1, f32::MAX)], ..plain() };
    let error = sampler(&config, 2).sample(&mut [0.0, f32::MAX]).unwrap_err();
    assert!(error.kind() == ErrorKind::NonFinite && error.message().contains("token 1"), "{error}");
}

#[test]
fn a_forbidden_token_is_never_drawn() {
    for (top_k, top_p, temperature) in [(0, 1.0, 5.0), (10, 1.0, 5.0), (0, 0.99, 5.0), (0, 1.0, 0.0)] {
        let config = SamplerConfig { logit_bias: vec![(2, f32::NEG_INFINITY)], top_k, top_p, temperature, ..plain() };
        let mut sampler = sampler(&config, 20);
        for _ in 0..500 {
            let mut logits = vec![0.0f32; 20];
            logits[2] = 9.0;
            assert_ne!(sampler.sample(&mut logits).unwrap(), 2);
        }
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits = noise(200, 2.5, 77);
    for (top_k, top_p, min_p, temperature) in [(0, 1.0, 0.0, 1.0), (20, 1.0, 0.0, 0.8), (0, 0.9, 0.0, 1.3), (0, 1.0, 0.05, 1.0)] {
        let config = SamplerConfig { top_k, top_p, min_p, temperature, seed: 20, ..plain() };
        let mut sampler = sampler(&config, logits.len());
        let expected = ours(&mut sampler, &logits);
        let draws = 200_000;
        let mut counts = vec![0u32; logits.len()];
        let mut copy = logits.clone();
        for _ in 0..draws {
            copy.copy_from_slice(&logits);
            counts[sampler.sample(&mut copy).unwrap() as usize] += 1;
        }
        // Cells of at least 10 expected draws; the rare rest is one cell.
        let (mut chi2, mut cells, mut rest) = (0.0, 0, (0.0, 0.0));
        for &(id, p) in &expected {
            let (want, got) = (p * f64::from(draws), f64::from(counts[id as usize]));
            if want < 10.0 {
                rest = (rest.0 + want, rest.1 + got);
            } else {
                chi2 += (got - want).powi(2) / want;
                cells += 1;
            }
        }
        if rest.0 >= 1.0 {
            chi2 += (rest.1 - rest.0).powi(2) / rest.0;
            cells += 1;
        }
        // Mean + 4 standard deviations of χ² with cells − 1 degrees of freedom: fails by chance once in some ten thousand seeds.
        let freedom = f64::from(cells - 1);
        assert!(chi2 < freedom + 4.0 * (2.0 * freedom).sqrt(), "{config:?}: χ² {chi2} with {freedom} degrees of freedom");
        assert_eq!(counts.iter().sum::<u32>(), draws);
        let drawn = expected.iter().map(|&(id, _)| counts[id as usize]).sum::<u32>();
        assert_eq!(drawn, draws, "a token outside the distribution was drawn");
    }
}

#[test]
fn seeds_and_states_reproduce() {
    let config = SamplerConfig { seed: 5, presence_penalty: 0.3, penalty_window: 6, ..SamplerConfig::default() };
    let run = |sampler: &mut Sampler, steps: u64| -> Vec<u32> {
        (0..steps)
            .map(|step| {
                let token = sampler.sample(&mut noise(400, 2.0, step)).unwrap();
                sampler.accept(token);
                token
            })
            .collect()
    };
    let mut first = sampler(&config, 400);
    let text = run(&mut first, 60);
    assert_eq!(run(&mut sampler(&config, 400), 60), text);
    assert_ne!(run(&mut sampler(&SamplerConfig { seed: 6, ..config.clone() }, 400), 60), text);
    first.reset();
    assert_eq!(run(&mut first, 60), text);
    let saved = first.state();
    let goes_on = run(&mut first, 30);
    let mut other = sampler(&SamplerConfig { seed: 999, ..config }, 400);
    other.restore(&saved).unwrap();
    assert_eq!(other.state(), saved);
    assert_eq!(run(&mut other, 30), goes_on);
    for len in 0..saved.len() {
        assert_eq!(other.restore(&saved[..len]).unwrap_err().kind(), ErrorKind::InvalidFile, "{len}");
    }
    assert!(other.restore(&[&saved[..], &[0]].concat()).is_err());
}

#[test]
fn fixed_draws() {
    // Written down once: a change here changes every seeded text.
    let mut sampler = sampler(&SamplerConfig { seed: 1, ..SamplerConfig::default() }, 1000);
    let drawn: Vec<u32> = (0..8).map(|i| sampler.sample(&mut noise(1000, 3.0, i)).unwrap()).collect();
    assert_eq!(drawn, [541, 892, 213, 499, 757, 561, 899, 930]);
}

#[test]
fn the_window_forgets_in_order() {
    for window in [1u32, 2, 5, 7] {
        let config =
            SamplerConfig { penalty_window: window, repetition_penalty: 1.3, presence_penalty: 0.25, frequency_penalty: 0.5, ..plain() };
        let mut sampler = sampler(&config, 6);
        let mut history = VecDeque::new();
        let mut rng = rng::Rng::new(u64::from(window));
        let logits = [1.0, -1.0, 0.0, 2.0, 0.5, -3.0];
        for _ in 0..200 {
            let token = (rng.next_u64() % 6) as u32;
            sampler.accept(token);
            history.push_back(token);
            let accepted: Vec<u32> = history.iter().copied().collect();
            let expected = reference(&config, &logits, &accepted, 0.0);
            let left = ours(&mut sampler, &logits);
            for (a, b) in left.iter().zip(&expected) {
                assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-6, "{left:?} {expected:?}");
            }
        }
        sampler.accept(u32::MAX); // ignored
        sampler.reset();
        assert_eq!(ours(&mut sampler, &logits).len(), 6);
    }
}

#[test]
fn memory_is_asked_of_the_budget() {
    let budget = MemoryBudget::new(1000);
    let config = SamplerConfig { top_k: 0, ..SamplerConfig::default() };
    assert_eq!(Sampler::new(&config, 126, &budget).unwrap_err().kind(), ErrorKind::OutOfMemory);
    let sampler = Sampler::new(&config, 125, &budget).unwrap();
    assert_eq!(budget.private_used(), 1000);
    drop(sampler);
    assert_eq!(budget.private_used(), 0);
    assert_eq!(Sampler::new(&config, 0, &budget).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
