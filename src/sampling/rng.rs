//! The random numbers of the draw: xoshiro256++ (Blackman and Vigna, 2019, public domain), seeded through SplitMix64.
//!
//! Small, fast, the same on every machine, and its 32 bytes of state are saved with a session. Not for secrets.

/// A xoshiro256++ generator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose four words are the first outputs of SplitMix64 from `seed`; any seed will do.
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// A generator that goes on from `state`, or `None` for the all-zero state, which no generator can be in.
    pub fn from_state(state: [u64; 4]) -> Option<Self> {
        (state != [0; 4]).then_some(Self { state })
    }

    /// The words from which [`from_state`](Self::from_state) goes on.
    pub fn state(&self) -> [u64; 4] {
        self.state
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// The next number below `bound` (above 0), each equally likely: draws that would favour small numbers are rejected (D. Lemire, "Fast
    /// Random Integer Generation in an Interval", 2019).
    pub fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            let low = product as u64;
            // The remainder is below `bound`: the division is for the few draws that may be rejected.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }

    /// The next number in [0, 1): 53 random bits over 2⁵³.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence() {
        // First outputs of the authors' C code from the state 1, 2, 3, 4.
        let mut rng = Rng::from_state([1, 2, 3, 4]).unwrap();
        let first: [u64; 4] = std::array::from_fn(|_| rng.next_u64());
        assert_eq!(first, [41943041, 58720359, 3588806011781223, 3591011842654386]);
    }

    #[test]
    fn splitmix_seeding_and_state() {
        // SplitMix64 from 0, as its author publishes.
        let mut rng = Rng::new(0);
        assert_eq!(rng.state()[0], 0xE220_A839_7B1D_CDAF);
        rng.next_u64();
        let mut again = Rng::from_state(rng.state()).unwrap();
        assert_eq!(again.next_u64(), rng.next_u64());
        assert!(Rng::from_state([0; 4]).is_none());
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&rng.next_f64()));
        }
    }

    #[test]
    fn bounded_numbers_are_equally_likely() {
        // With a bound of two thirds of the range, taking the remainder would make numbers of the lower half twice as likely as the others.
        let bound = u64::MAX / 3 * 2;
        let mut rng = Rng::new(3);
        let low = (0..100_000).filter(|_| rng.below(bound) < bound / 2).count();
        assert!((49_000..51_000).contains(&low), "{low} of 100,000 in the lower half");
        let mut counts = [0u32; 7];
        (0..70_000).for_each(|_| counts[rng.below(7) as usize] += 1);
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        assert_eq!(rng.below(1), 0);
    }
}
