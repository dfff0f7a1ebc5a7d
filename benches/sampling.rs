//! What one draw costs, by chain and vocabulary: `cargo bench --bench sampling`.
//!
//! Prints the median and the 95th percentile of single draws in microseconds, the copy of the logits not counted. For
//! comparison: a decode step of a 1B model takes some 50,000 µs on two cores.

use std::time::Instant;

use loquat::base::MemoryBudget;
use loquat::sampling::rng::Rng;
use loquat::sampling::{Sampler, SamplerConfig};

const DRAWS: usize = 1000;

fn main() {
    let open = SamplerConfig { temperature: 0.8, top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplerConfig::default() };
    let chains = [
        ("greedy", SamplerConfig::greedy()),
        ("default (top-k 40, top-p, min-p)", SamplerConfig::default()),
        ("default + penalties over 64", SamplerConfig { repetition_penalty: 1.1, ..SamplerConfig::default() }),
        ("top-p 0.95 alone", SamplerConfig { top_p: 0.95, ..open.clone() }),
        ("min-p 0.05 alone", SamplerConfig { min_p: 0.05, ..open.clone() }),
        ("temperature alone", open),
    ];
    println!("{:>8}  {:36}{:>10}{:>10}", "vocab", "chain", "p50 µs", "p95 µs");
    for vocab_size in [32_000, 152_064] {
        let mut rng = Rng::new(1);
        // Near normal with standard deviation 3, as logits of trained models roughly are.
        let logits: Vec<f32> = (0..vocab_size).map(|_| (0..12).map(|_| rng.next_f64() as f32 - 0.5).sum::<f32>() * 3.0).collect();
        let mut copy = logits.clone();
        for (name, config) in &chains {
            let mut sampler = Sampler::new(config, vocab_size, &MemoryBudget::new(u64::MAX)).expect("the chain is valid");
            let mut micros: Vec<f64> = (0..DRAWS)
                .map(|_| {
                    copy.copy_from_slice(&logits);
                    let start = Instant::now();
                    let token = sampler.sample(&mut copy).expect("the logits are finite");
                    sampler.accept(token);
                    start.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            micros.sort_by(f64::total_cmp);
            let percentile = |p: usize| micros[(DRAWS * p).div_ceil(100) - 1];
            println!("{vocab_size:>8}  {name:36}{:>10.1}{:>10.1}", percentile(50), percentile(95));
        }
    }
}
