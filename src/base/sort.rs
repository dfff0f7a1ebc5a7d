//! Sorting in small pieces, for lists whose length a file decides.

#![forbid(unsafe_code)]

use std::cmp::Ordering;

use super::error::{Error, Result};
use super::pace::Pace;

/// Elements that are sorted or merged without a pause.
const RUN: usize = 256;

/// Sorts `items` by `compare`, stable, as `slice::sort_by` does. `cost` is about what one comparison costs (see [`Pace::spend`]).
///
/// # Errors
/// `OutOfMemory` where there is no room for a second list.
pub async fn sort<T: Copy>(pace: &Pace, items: &mut Vec<T>, cost: usize, compare: impl Fn(&T, &T) -> Ordering) -> Result<()> {
    for run in items.chunks_mut(RUN) {
        run.sort_by(&compare);
        pace.spend(8 * cost * run.len()).await;
    }
    if items.len() <= RUN {
        return Ok(());
    }
    let mut merged: Vec<T> = Vec::new();
    merged.try_reserve_exact(items.len()).map_err(|_| Error::out_of_memory(format!("no memory to sort {} items", items.len())))?;
    let mut width = RUN;
    while width < items.len() {
        merged.clear();
        for pair in items.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while !left.is_empty() || !right.is_empty() {
                let before = merged.len();
                for _ in 0..RUN {
                    let from = match (left.first(), right.first()) {
                        (Some(a), Some(b)) if compare(b, a) == Ordering::Less => &mut right,
                        (Some(_), _) => &mut left,
                        (None, Some(_)) => &mut right,
                        (None, None) => break,
                    };
                    merged.push(from[0]);
                    *from = &from[1..];
                }
                pace.spend(cost * (merged.len() - before)).await;
            }
        }
        std::mem::swap(items, &mut merged);
        width *= 2;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pace::at_once;
    use super::*;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(keys in prop::collection::vec(0u8..20, 0..3000)) {
            let mut items: Vec<(u8, usize)> = keys.iter().copied().enumerate().map(|(place, key)| (key, place)).collect();
            let mut wanted = items.clone();
            wanted.sort_by_key(|&(key, _)| key);
            at_once(sort(&Pace::unhurried(), &mut items, 1, |a, b| a.0.cmp(&b.0))).unwrap();
            prop_assert_eq!(items, wanted);
        }
    }
}
