//! How much of the key/value cache holds something, over the time of a run.
//!
//! Positions that sessions have reserved are in use (live), or the unused tail of a page that is in use, or in pages that hold nothing yet.
//! What the cache takes of the budget beyond the sessions' own pages (the prefix index, spare pages, other sessions of the host) is
//! external to them and counted in bytes.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::{Error, MemoryBudget, MemoryCategory, Result};
use crate::kernels::kv::{KvLayout, PAGE};
use crate::model::Model;
use crate::session::{KvType, Session};

/// Most points that a timeline keeps; the means and maxima are those of all points.
const MOST_POINTS: usize = 2_048;

/// The use at one moment, in positions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KvUse {
    /// When, in milliseconds of the measurement's clock.
    pub at_ms: f64,
    /// Positions whose memory is held.
    pub reserved: u64,
    /// Positions of the pages that hold something.
    pub committed: u64,
    /// Positions that hold something.
    pub live: u64,
    /// Bytes of caches that belong to none of the sessions; absent where that was not looked at.
    pub external_bytes: Option<u64>,
}

impl KvUse {
    /// Of one session that has reserved its whole context.
    pub(super) fn of(session: &Session, at_ms: f64) -> Self {
        let live = session.position() as u64;
        let pages = |positions: u64| positions.next_multiple_of(PAGE as u64);
        Self { at_ms, reserved: pages(session.capacity() as u64), committed: pages(live), live, external_bytes: None }
    }

    /// Of `sessions` that take their pages as they grow.
    pub(super) fn of_growing<'a>(sessions: impl Iterator<Item = &'a Session>, at_ms: f64) -> Self {
        let mut sum = Self { at_ms, ..Self::default() };
        for session in sessions {
            let live = session.position() as u64;
            sum.live += live;
            sum.committed += live.next_multiple_of(PAGE as u64);
        }
        Self { reserved: sum.committed, ..sum }
    }

    /// The share of what is reserved that holds nothing, in percent; `None` where nothing is reserved.
    pub fn waste_pct(&self) -> Option<f64> {
        share(self.reserved - self.live, self.reserved)
    }

    /// The share of what is reserved that lies in pages which hold nothing yet, in percent.
    pub fn unused_pct(&self) -> Option<f64> {
        share(self.reserved - self.committed, self.reserved)
    }

    /// The share of what is committed that is the tail of a last page, in percent.
    pub fn tail_pct(&self) -> Option<f64> {
        share(self.committed - self.live, self.committed)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

/// Looks at what the caches of a runtime hold beyond the pages of the sessions that are measured.
#[derive(Clone)]
pub(super) struct External {
    budget: Arc<MemoryBudget>,
    page_bytes: u64,
}

impl External {
    /// Of the runtime of `model`, whose sessions have caches of `kv_type`.
    ///
    /// # Errors
    /// `InvalidArgument` for a model without weights.
    pub fn of(model: &Model, kv_type: KvType) -> Result<Self> {
        let shape = model.config()?.kv_shape();
        let page_bytes = KvLayout::new(shape, kv_type).and_then(|layout| layout.page_bytes(shape.layers));
        let page_bytes = page_bytes.ok_or_else(|| Error::out_of_memory("a page of the cache passes the address space"))?;
        Ok(Self { budget: Arc::clone(model.runtime().budget()), page_bytes: page_bytes as u64 })
    }

    /// `point` with the bytes that are held now beyond what it has reserved.
    pub fn add_to(&self, point: KvUse) -> KvUse {
        let own = point.reserved / PAGE as u64 * self.page_bytes;
        KvUse { external_bytes: Some(self.budget.used(MemoryCategory::KvCache).saturating_sub(own)), ..point }
    }
}

/// Mean and maximum of a share over a run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Running {
    n: u64,
    sum: f64,
    max: f64,
}

impl Running {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.n += 1;
            self.sum += value;
            self.max = self.max.max(value);
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }

    fn max(&self) -> Option<f64> {
        (self.n > 0).then_some(self.max)
    }

    fn value(&self) -> Value {
        json!({ "mean": self.mean(), "max": self.max() })
    }
}

/// The use over a run.
#[derive(Debug, Clone, PartialEq)]
pub struct KvTimeline {
    /// Points in time, evenly thinned where there were many.
    pub points: Vec<KvUse>,
    /// One point in so many is kept.
    pub every: u64,
    seen: u64,
    waste: Running,
    unused: Running,
    tail: Running,
    external_max: Option<u64>,
}

impl Default for KvTimeline {
    fn default() -> Self {
        let running = Running::default();
        Self { points: vec![], every: 1, seen: 0, waste: running, unused: running, tail: running, external_max: None }
    }
}

impl KvTimeline {
    /// Adds the use at a moment after those before.
    pub fn note(&mut self, point: KvUse) {
        self.waste.add(point.waste_pct());
        self.unused.add(point.unused_pct());
        self.tail.add(point.tail_pct());
        self.external_max = self.external_max.max(point.external_bytes);
        if self.seen.is_multiple_of(self.every) {
            if self.points.len() == MOST_POINTS {
                let mut number = 0;
                self.points.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.every *= 2;
            }
            if self.seen.is_multiple_of(self.every) {
                self.points.push(point);
            }
        }
        self.seen += 1;
    }

    /// The mean share of what was reserved that held nothing, in percent.
    pub fn mean_waste_pct(&self) -> Option<f64> {
        self.waste.mean()
    }

    /// The greatest such share.
    pub fn max_waste_pct(&self) -> Option<f64> {
        self.waste.max()
    }

    /// The mean share of the pages in use that held nothing, in percent.
    pub fn mean_tail_pct(&self) -> Option<f64> {
        self.tail.mean()
    }

    pub(super) fn value(&self) -> Value {
        let points: Vec<Value> = self.points.iter().map(|p| json!([p.at_ms, p.reserved, p.committed, p.live])).collect();
        json!({
            "waste_pct": self.waste.value(),
            "reserved_unused_pct": self.unused.value(),
            "page_tail_pct": self.tail.value(),
            "external_bytes_max": self.external_max,
            "moments": self.seen,
            "timeline_columns": ["at_ms", "reserved_tokens", "committed_tokens", "live_tokens"],
            "timeline": points,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_by_hand() {
        let point = KvUse { at_ms: 1.0, reserved: 128, committed: 64, live: 48, external_bytes: None };
        assert_eq!((point.waste_pct(), point.unused_pct(), point.tail_pct()), (Some(62.5), Some(50.0), Some(25.0)));
        assert_eq!(KvUse::default().waste_pct(), None);
    }

    #[test]
    fn long_timelines_are_thinned_evenly_and_the_means_are_of_all_points() {
        let mut timeline = KvTimeline::default();
        for number in 0..10_000u64 {
            timeline.note(KvUse { at_ms: number as f64, reserved: 10_000, committed: number, live: number, external_bytes: Some(number) });
        }
        assert!(timeline.points.len() <= MOST_POINTS && timeline.points.len() > MOST_POINTS / 2);
        let steps: Vec<f64> = timeline.points.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
        assert!(steps.iter().all(|&step| step == timeline.every as f64), "{steps:?}");
        assert!((timeline.mean_waste_pct().unwrap() - 50.005).abs() < 1e-9);
        assert_eq!((timeline.max_waste_pct(), timeline.external_max), (Some(100.0), Some(9_999)));
        let empty = KvTimeline::default();
        assert_eq!((empty.mean_waste_pct(), empty.max_waste_pct()), (None, None));
    }
}
