//! The tokens still in play: at first the whole vocabulary as a slice of logits, later a short list of (logit, id).
//!
//! The list is kept as `u64` keys, the logit's bits made sortable above the inverted id, so that one integer comparison
//! orders by falling logit and, among equals, by rising id; selecting and sorting need no memory and no float comparison.

use super::exp::{BLOCK, block_sum, exp_nonpositive, sum_exp};
use crate::base::{Error, ErrorKind, Result};

/// How many logits are looked at together when most of them are expected to be passed over.
const GLANCE: usize = 32;

/// What the list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Id,
    Logit,
}

/// The candidates of one draw, narrowed stage by stage.
///
/// Logits are finite or −∞ once [`scan`](Self::scan) has passed; a list holds no −∞.
pub struct Candidates<'a> {
    /// `[vocabulary]`: logits, meaningful while `list` is `None`.
    logits: &'a mut [f32],
    /// `[room]`: the list's keys.
    keys: &'a mut [u64],
    /// Length and order of the list; `None` while every token is a candidate.
    list: Option<(usize, Order)>,
    /// The largest logit, and its token; known after [`scan`](Self::scan).
    top: (u32, f32),
}

impl<'a> Candidates<'a> {
    /// Every token of the vocabulary. `keys` is room for the list.
    pub(super) fn new(logits: &'a mut [f32], keys: &'a mut [u64]) -> Self {
        Self { logits, keys, list: None, top: (0, f32::NEG_INFINITY) }
    }

    /// The logits of the whole vocabulary, for stages that run before any narrowing.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) after narrowing: a chain in the wrong order.
    pub fn whole(&mut self) -> Result<&mut [f32]> {
        match self.list {
            None => Ok(self.logits),
            Some(_) => Err(Error::internal("a sampler stage for the whole vocabulary runs after one that narrows it")),
        }
    }

    /// Finds the largest logit (the lowest id among equals) and checks all of them, in one pass.
    ///
    /// # Errors
    /// [`NonFinite`](ErrorKind::NonFinite) naming the first token whose logit is NaN or +∞; or where all are −∞.
    pub(super) fn scan(&mut self) -> Result<()> {
        const LANES: usize = 16;
        let mut best = (0, f32::NEG_INFINITY); // block, logit
        for (index, block) in self.logits.chunks(BLOCK).enumerate() {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            let mut broken = [0u32; LANES];
            let (rows, tail) = block.as_chunks::<LANES>();
            for row in rows {
                for i in 0..LANES {
                    lanes[i] = if row[i] > lanes[i] { row[i] } else { lanes[i] };
                    broken[i] |= u32::from(!is_sound(row[i]));
                }
            }
            for (i, &x) in tail.iter().enumerate() {
                lanes[i] = if x > lanes[i] { x } else { lanes[i] };
                broken[i] |= u32::from(!is_sound(x));
            }
            if broken.iter().any(|&b| b != 0) {
                let place = block.iter().position(|&x| !is_sound(x)).unwrap_or(0);
                let message = format!("the logit of token {} is {}", index * BLOCK + place, block[place]);
                return Err(Error::new(ErrorKind::NonFinite, message));
            }
            let top = lanes.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
            if top > best.1 {
                best = (index, top);
            }
        }
        let (block, logit) = best;
        if logit == f32::NEG_INFINITY {
            return Err(Error::new(ErrorKind::NonFinite, "no token can be drawn: every logit is negative infinity"));
        }
        let start = block * BLOCK;
        let place = self.logits[start..].iter().position(|&x| x == logit).unwrap_or(0);
        self.top = ((start + place) as u32, logit);
        Ok(())
    }

    /// The token of the largest logit, the lowest id among equals.
    pub fn top(&self) -> u32 {
        self.top.0
    }

    /// The largest logit among the candidates.
    pub fn max(&self) -> f32 {
        self.top.1
    }

    /// How many candidates there are.
    pub fn count(&self) -> usize {
        self.list.map_or(self.logits.len(), |(len, _)| len)
    }

    /// The candidates with e^(logit − max), in the order in which a draw walks over them: the list's, or rising ids.
    pub fn weights(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let (listed, all) = match self.list {
            Some((len, _)) => (&self.keys[..len], &[][..]),
            None => (&[][..], &self.logits[..]),
        };
        let all = all.iter().enumerate().map(|(id, &x)| (id as u32, f64::from(exp_nonpositive(x - self.max()))));
        listed.iter().map(|&key| (token_of(key), self.weight(key))).chain(all)
    }

    /// Σ e^(logit − max) over the candidates.
    pub fn sum(&self) -> f64 {
        match self.list {
            None => sum_exp(self.logits, self.max()),
            Some((len, _)) => self.keys[..len].iter().map(|&key| self.weight(key)).sum(),
        }
    }

    /// Keeps the `k` largest logits (lower ids first among equals), sorted. At least one is kept.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) where the list has not the room that [`room_for_top`] states.
    pub fn keep_top(&mut self, k: usize) -> Result<()> {
        let k = k.max(1);
        if k >= self.count() && self.list.is_none() {
            return Ok(());
        }
        let len = match self.list {
            Some((len, _)) => len,
            None => self.gather_top(k)?,
        };
        let kept = len.min(k);
        if len > k {
            self.keys[..len].select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
        }
        self.keys[..kept].sort_unstable_by(|a, b| b.cmp(a));
        self.list = Some((kept, Order::Logit));
        Ok(())
    }

    /// One pass over the vocabulary that leaves the `k` largest, and some more, in the list; their number comes back.
    fn gather_top(&mut self, k: usize) -> Result<usize> {
        if self.keys.len() < room_for_top(k, self.logits.len()) {
            return Err(Error::internal(format!("a sampler's list has room for {} tokens, too few for top-k {k}", self.keys.len())));
        }
        let mut len = 0;
        let mut floor = f32::NEG_INFINITY; // the k-th largest so far: what doesn't pass it is out, equal ones have higher ids
        for (index, glance) in self.logits.chunks(GLANCE).enumerate() {
            if !glance.iter().fold(false, |any, &x| any | (x > floor)) {
                continue;
            }
            for (i, &x) in glance.iter().enumerate() {
                if x > floor {
                    if len == self.keys.len() {
                        self.keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
                        floor = logit_of(self.keys[k - 1]);
                        len = k;
                        if x <= floor {
                            continue;
                        }
                    }
                    self.keys[len] = key_of(x, (index * GLANCE + i) as u32);
                    len += 1;
                }
            }
        }
        Ok(len)
    }

    /// Keeps the candidates for which `keep` of e^(logit − max), from 0 to 1, holds; it must hold for 1 and be monotonic.
    /// `floor` is a logit below which it is known not to hold, or −∞: the cheap comparison that spares most exponentials.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) where the whole vocabulary is narrowed and the list has no room for it.
    pub fn retain(&mut self, floor: f32, keep: impl Fn(f32) -> bool) -> Result<()> {
        let max = self.max();
        let (len, order) = match self.list {
            Some(list) => list,
            None => (self.gather_above(floor)?, Order::Id),
        };
        let mut kept = 0;
        for i in 0..len {
            let key = self.keys[i];
            if keep(exp_nonpositive(logit_of(key) - max)) {
                self.keys[kept] = key;
                kept += 1;
            } else if order == Order::Logit {
                break; // the rest is smaller still
            }
        }
        self.list = Some((kept, order));
        Ok(())
    }

    /// One pass over the vocabulary that lists what is at least `floor` (and not −∞), by id; their number comes back.
    fn gather_above(&mut self, floor: f32) -> Result<usize> {
        if self.keys.len() < self.logits.len() {
            return Err(Error::internal(format!("a sampler's list has room for {} tokens of {}", self.keys.len(), self.logits.len())));
        }
        let floor = floor.max(f32::MIN);
        let mut len = 0;
        for (index, glance) in self.logits.chunks(GLANCE).enumerate() {
            if glance.iter().fold(false, |any, &x| any | (x >= floor)) {
                for (i, &x) in glance.iter().enumerate() {
                    if x >= floor {
                        self.keys[len] = key_of(x, (index * GLANCE + i) as u32);
                        len += 1;
                    }
                }
            }
        }
        Ok(len)
    }

    /// Keeps the shortest run of largest logits whose Σ e^(logit − max) reaches `mass`, sorted. `floor` as in
    /// [`retain`](Self::retain): what lies below it is known not to belong to the run.
    ///
    /// # Errors
    /// As [`retain`](Self::retain).
    pub fn keep_mass(&mut self, mass: f64, floor: f32) -> Result<()> {
        let (len, order) = match self.list {
            Some(list) => list,
            None => (self.gather_above(floor)?, Order::Id),
        };
        let mut sorted = if order == Order::Logit { len } else { 0 };
        let mut run = 64; // how many are sorted next: usually few tokens hold the mass, so sorting all would be waste
        let mut sum = 0.0;
        let mut kept = 0;
        while kept < len && sum < mass {
            if kept == sorted {
                let rest = &mut self.keys[sorted..len];
                let next = run.min(rest.len());
                if next < rest.len() {
                    rest.select_nth_unstable_by(next - 1, |a, b| b.cmp(a));
                }
                rest[..next].sort_unstable_by(|a, b| b.cmp(a));
                sorted += next;
                run *= 4;
            }
            sum += self.weight(self.keys[kept]);
            kept += 1;
        }
        self.list = Some((kept.max(1).min(len), Order::Logit));
        Ok(())
    }

    /// Replaces each logit by (logit − max)/`divisor`, so that the largest is 0 and none overflows. `divisor` > 0.
    pub fn divide(&mut self, divisor: f32) {
        let max = self.max();
        match self.list {
            None => {
                for x in self.logits.iter_mut() {
                    *x = (*x - max) / divisor;
                }
            }
            Some((len, _)) => {
                for key in &mut self.keys[..len] {
                    // Where the division underflows the range, the logit stays a number: a list holds no −∞.
                    let logit = ((logit_of(*key) - max) / divisor).max(f32::MIN);
                    *key = key_of(logit, token_of(*key));
                }
            }
        }
        self.top.1 = 0.0;
    }

    /// The candidate at `u` in [0, 1) of the cumulated probabilities, in the order of the list, or of ids where there is none.
    pub(super) fn at_quantile(&self, u: f64) -> u32 {
        let target = u * self.sum();
        let mut sum = 0.0;
        let mut last = self.top.0; // should rounding leave the target above every sum
        match self.list {
            Some((len, _)) => {
                for &key in &self.keys[..len] {
                    let weight = self.weight(key);
                    if weight > 0.0 {
                        last = token_of(key);
                    }
                    sum += weight;
                    if sum > target {
                        break;
                    }
                }
            }
            None => {
                let max = self.max();
                for (index, block) in self.logits.chunks(BLOCK).enumerate() {
                    let after = sum + block_sum(block, max);
                    if after <= target {
                        sum = after;
                        continue;
                    }
                    for (i, &x) in block.iter().enumerate() {
                        let weight = f64::from(exp_nonpositive(x - max));
                        if weight > 0.0 {
                            last = (index * BLOCK + i) as u32;
                        }
                        sum += weight;
                        if sum > target {
                            return last;
                        }
                    }
                    return last; // the block's own sum passed the target by a rounding: its last possible token
                }
            }
        }
        last
    }

    fn weight(&self, key: u64) -> f64 {
        f64::from(exp_nonpositive(logit_of(key) - self.max()))
    }
}

/// How many keys [`Candidates::keep_top`] needs for `k` of `vocab_size`: as many again as it keeps, so that selections are rare.
pub fn room_for_top(k: usize, vocab_size: usize) -> usize {
    k.max(1).saturating_mul(2).saturating_add(1024).min(vocab_size)
}

/// Finite or −∞.
#[inline(always)]
fn is_sound(x: f32) -> bool {
    x < f32::INFINITY
}

/// A key that sorts by logit, then by falling id. −0 counts as 0; NaN is not expected.
fn key_of(logit: f32, token: u32) -> u64 {
    let bits = (logit + 0.0).to_bits();
    let sortable = if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits };
    u64::from(sortable) << 32 | u64::from(!token)
}

fn logit_of(key: u64) -> f32 {
    let sortable = (key >> 32) as u32;
    f32::from_bits(if sortable >> 31 == 1 { sortable & 0x7FFF_FFFF } else { !sortable })
}

fn token_of(key: u64) -> u32 {
    !(key as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_logit_then_by_lower_id() {
        let mut order = vec![(1.5, 7), (1.5, 3), (-2.0, 0), (0.0, 9), (-0.0, 8), (f32::MIN, 1), (f32::MAX, 2), (-1e-30, 4), (1e-30, 5)];
        let mut keys: Vec<u64> = order.iter().map(|&(x, t)| key_of(x, t)).collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        order.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        let back: Vec<(f32, u32)> = keys.iter().map(|&key| (logit_of(key), token_of(key))).collect();
        assert_eq!(back, order);
    }

    fn scanned(logits: &mut [f32]) -> Result<(u32, f32)> {
        let mut candidates = Candidates::new(logits, &mut []);
        candidates.scan()?;
        Ok((candidates.top(), candidates.max()))
    }

    #[test]
    fn scan_finds_the_first_largest_and_the_first_broken() {
        for len in [1usize, 15, 16, 17, 1023, 1024, 1025, 4099] {
            for place in [0, len / 2, len - 1] {
                let mut logits: Vec<f32> = (0..len).map(|i| -((i % 7) as f32) - 1.0).collect();
                logits[place] = 5.0;
                logits[len - 1] = 5.0;
                assert_eq!(scanned(&mut logits).unwrap(), (place as u32, 5.0), "{len} {place}");
                for broken in [f32::NAN, f32::INFINITY] {
                    logits[place] = broken;
                    let error = scanned(&mut logits).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::NonFinite);
                    assert!(error.message().contains(&format!("token {place} ")), "{error}");
                }
            }
        }
        let mut none = [f32::NEG_INFINITY; 40];
        assert_eq!(scanned(&mut none).unwrap_err().kind(), ErrorKind::NonFinite);
        let mut one = [f32::NEG_INFINITY; 40];
        one[33] = -1e38;
        assert_eq!(scanned(&mut one).unwrap(), (33, -1e38));
    }

    #[test]
    fn a_list_without_room_is_an_error() {
        let mut logits = [1.0; 100];
        let mut candidates = Candidates::new(&mut logits, &mut []);
        candidates.scan().unwrap();
        assert_eq!(candidates.keep_top(5).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(candidates.retain(0.0, |_| true).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(candidates.keep_mass(0.5, 0.0).unwrap_err().kind(), ErrorKind::Internal);
    }
}
