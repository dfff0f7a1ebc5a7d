//! Whether a sequence of samples drifts: the Mann-Kendall test.
//!
//! It counts for how many pairs the later value is the greater one, and compares the count with what would come of a shuffled sequence. It
//! knows nothing of distributions, so that a few extreme values don't fool it.

/// |z| above which a drift is taken for real: two-sided, 5 %.
const CRITICAL: f64 = 1.96;
/// Fewest values for the normal approximation.
const FEWEST: usize = 10;

/// The outcome of the test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Pairs that rise less pairs that fall.
    pub s: i64,
    /// `s` in standard deviations of its distribution without drift, corrected for ties and continuity.
    pub z: f64,
    /// Whether that is too far from 0 for chance, at 5 %.
    pub significant: bool,
}

/// Tests `values` in the order in which they were measured; `None` below 10 values.
pub fn mann_kendall(values: &[f64]) -> Option<Trend> {
    if values.len() < FEWEST {
        return None;
    }
    let mut sorted = values.to_vec();
    let falling = sort_counting(&mut sorted, &mut vec![0.0; values.len()]) as i64;
    let n = values.len() as i64;
    let (mut tied, mut correction) = (0i64, 0.0f64);
    for group in sorted.chunk_by(|a, b| a == b) {
        let t = group.len() as i64;
        tied += t * (t - 1) / 2;
        correction += spread(t);
    }
    let s = n * (n - 1) / 2 - tied - 2 * falling;
    let std = ((spread(n) - correction) / 18.0).sqrt();
    let z = if s == 0 { 0.0 } else { (s - s.signum()) as f64 / std };
    Some(Trend { s, z, significant: z.abs() > CRITICAL })
}

/// t (t − 1) (2t + 5).
fn spread(t: i64) -> f64 {
    let t = t as f64;
    t * (t - 1.0) * (2.0 * t + 5.0)
}

/// Sorts `values` and returns the number of pairs whose first was greater than their second. `room` is as long.
fn sort_counting(values: &mut [f64], room: &mut [f64]) -> u64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let middle = n / 2;
    let (left, right) = values.split_at_mut(middle);
    let (left_room, right_room) = room.split_at_mut(middle);
    let mut falling = sort_counting(left, left_room) + sort_counting(right, right_room);
    let (mut i, mut j) = (0, 0);
    for place in room.iter_mut() {
        if j == right.len() || (i < left.len() && left[i] <= right[j]) {
            *place = left[i];
            i += 1;
        } else {
            falling += (left.len() - i) as u64;
            *place = right[j];
            j += 1;
        }
    }
    values.copy_from_slice(room);
    falling
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::rng::Rng;
    use proptest::prelude::*;

    #[test]
    fn golden_vectors() {
        // Ten rising values: S = 45, variance 10 · 9 · 25 / 18 = 125, z = 44 / √125.
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        let trend = mann_kendall(&rising).unwrap();
        assert_eq!(trend.s, 45);
        assert!((trend.z - 44.0 / 125.0f64.sqrt()).abs() < 1e-12 && trend.significant);
        // One tie of three: the variance loses 3 · 2 · 11 / 18.
        let tied = mann_kendall(&[1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
        assert_eq!(tied.s, 42);
        assert!((tied.z - 41.0 / ((2_250.0f64 - 66.0) / 18.0).sqrt()).abs() < 1e-12);
        assert_eq!(mann_kendall(&[7.0; 12]).unwrap(), Trend { s: 0, z: 0.0, significant: false });
        assert_eq!(mann_kendall(&rising[1..]), None);
    }

    #[test]
    fn about_one_in_twenty_shuffled_sequences_is_called_a_drift() {
        let mut rng = Rng::new(11);
        let drifts = (0..2_000)
            .filter(|_| {
                let values: Vec<f64> = (0..50).map(|_| rng.next_f64()).collect();
                mann_kendall(&values).unwrap().significant
            })
            .count();
        assert!((60..140).contains(&drifts), "{drifts} of 2,000");
    }

    proptest! {
        #[test]
        fn counts_as_the_definition_does(values in prop::collection::vec(0u8..20, 10..80)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let mut s = 0i64;
            for i in 0..values.len() {
                for j in i + 1..values.len() {
                    s += (values[j] > values[i]) as i64 - (values[j] < values[i]) as i64;
                }
            }
            prop_assert_eq!(mann_kendall(&values).unwrap().s, s);
        }
    }
}
