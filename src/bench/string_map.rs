//! The other half of the cache's case: a map from strings to vectors, one for each position, against one contiguous block of memory.
//!
//! Both hold the keys and values of one layer. An operation reads or writes the vector of one position, in an order that was shuffled; the
//! string that names it in the map is made for each operation, as code that keys by strings has to.

use std::collections::HashMap;
use std::hint::black_box;

use serde_json::{Value, json};

use crate::base::{Error, Result};
use crate::model::Model;
use crate::sampling::rng::Rng;

use super::claim::{PairRatio, doubling};
use super::clock::Clock;
use super::statistics::median;
use super::summary::range;
use super::table::{Table, figure};

/// Most floats of the block: 64 MiB.
const MOST_FLOATS: usize = 1 << 24;
/// Operations that are timed together, at least.
const OPERATIONS: usize = 4_096;
/// The fewest positions.
const FEWEST: u32 = 64;

/// How it is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapOptions {
    pub max_positions: u32,
    pub repeats: u32,
    pub seed: u64,
}

/// One operation at one size.
#[derive(Debug, Clone, PartialEq)]
pub struct MapRow {
    /// Positions that both hold.
    pub positions: u32,
    /// Floats of each position: the keys and values of one layer.
    pub floats: usize,
    /// "get" or "set".
    pub operation: &'static str,
    /// Time of an operation on the map, one value for each repeat.
    pub map_ns: Vec<f64>,
    /// Time of the same operation on the block.
    pub block_ns: Vec<f64>,
    /// Map over block.
    pub ratio: PairRatio,
}

/// The two stores with the same contents.
struct Stores {
    map: HashMap<String, Vec<f32>>,
    block: Vec<f32>,
    floats: usize,
}

fn key(position: usize) -> String {
    format!("layer.0.position.{position}")
}

impl Stores {
    fn new(positions: usize, floats: usize) -> Result<Self> {
        let mut block = Vec::new();
        let no_room = |_| Error::out_of_memory(format!("a block of {positions} vectors of {floats} floats"));
        block.try_reserve_exact(positions * floats).map_err(no_room)?;
        block.extend((0..positions * floats).map(|number| number as f32));
        let map = block.chunks_exact(floats).enumerate().map(|(position, vector)| (key(position), vector.to_vec())).collect();
        Ok(Self { map, block, floats })
    }

    fn map_get(&self, position: usize, out: &mut [f32]) {
        if let Some(vector) = self.map.get(&key(position)) {
            out.copy_from_slice(vector);
        }
    }

    fn block_get(&self, position: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.block[position * self.floats..][..self.floats]);
    }

    fn map_set(&mut self, position: usize, vector: &[f32]) {
        self.map.insert(key(position), vector.to_vec());
    }

    fn block_set(&mut self, position: usize, vector: &[f32]) {
        self.block[position * self.floats..][..self.floats].copy_from_slice(vector);
    }
}

impl MapRow {
    /// Measures both operations at growing numbers of positions, for a layer of `model`.
    pub(super) async fn measure(model: &Model, options: MapOptions, clock: &mut Clock) -> Result<Vec<Self>> {
        let shape = model.config()?.kv_shape();
        let floats = shape.heads * (shape.key_dim + shape.value_dim);
        let most = (MOST_FLOATS / floats).max(1).min(options.max_positions as usize) as u32;
        let mut rows = vec![];
        for positions in doubling(FEWEST.min(most), most) {
            let mut stores = Stores::new(positions as usize, floats)?;
            let order = shuffled(positions as usize, options.seed);
            let mut vector = vec![0.0f32; floats];
            let row = |operation| Self { positions, floats, operation, map_ns: vec![], block_ns: vec![], ratio: PairRatio::default() };
            let (mut get, mut set) = (row("get"), row("set"));
            for repeat in 0..=options.repeats {
                let times = [
                    per_operation(clock, &order, |position| stores.map_get(position, black_box(&mut vector))).await,
                    per_operation(clock, &order, |position| stores.block_get(position, black_box(&mut vector))).await,
                    per_operation(clock, &order, |position| stores.map_set(position, black_box(&vector))).await,
                    per_operation(clock, &order, |position| stores.block_set(position, black_box(&vector))).await,
                ];
                black_box(&stores.block);
                // The first repeat warms up.
                if repeat > 0 {
                    get.map_ns.push(times[0]);
                    get.block_ns.push(times[1]);
                    set.map_ns.push(times[2]);
                    set.block_ns.push(times[3]);
                }
            }
            for mut row in [get, set] {
                row.ratio = PairRatio::of(&row.map_ns, &row.block_ns, options.seed, clock).await;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "positions": self.positions,
            "floats": self.floats,
            "operation": self.operation,
            "map_ns": self.map_ns,
            "block_ns": self.block_ns,
            "map_over_block": self.ratio.value(),
        })
    }

    pub(super) fn cells(&self, table: &mut Table) {
        table.row([
            self.positions.to_string(),
            self.floats.to_string(),
            self.operation.to_owned(),
            figure(median(&self.map_ns)),
            figure(median(&self.block_ns)),
            figure(self.ratio.median),
            range(self.ratio.ci.as_ref()),
        ]);
    }
}

/// Positions in a shuffled order, repeated until there are enough of them to be timed.
fn shuffled(positions: usize, seed: u64) -> Vec<usize> {
    let mut rng = Rng::new(seed);
    let mut order: Vec<usize> = (0..positions).cycle().take(positions.max(OPERATIONS)).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, rng.below(last as u64 + 1) as usize);
    }
    order
}

/// Nanoseconds of one `operation`, over all positions of `order`; then a pause.
async fn per_operation(clock: &mut Clock, order: &[usize], mut operation: impl FnMut(usize)) -> f64 {
    let begin = clock.now_ms();
    order.iter().for_each(|&position| operation(position));
    let elapsed_ms = clock.now_ms() - begin;
    clock.pause().await;
    elapsed_ms * 1e6 / order.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stores_hold_the_same() {
        let mut stores = Stores::new(10, 4).unwrap();
        let (mut from_map, mut from_block) = ([0.0; 4], [0.0; 4]);
        stores.map_set(3, &[9.0; 4]);
        stores.block_set(3, &[9.0; 4]);
        for position in 0..10 {
            stores.map_get(position, &mut from_map);
            stores.block_get(position, &mut from_block);
            assert_eq!(from_map, from_block);
        }
        assert_eq!((from_map[0], stores.map.len()), (36.0, 10));
    }

    #[test]
    fn every_position_has_its_turn() {
        let order = shuffled(100, 1);
        assert!(order.len() >= OPERATIONS && order[..200] != (0..100).cycle().take(200).collect::<Vec<_>>()[..]);
        assert!((0..100).all(|position| order.contains(&position)));
    }
}
