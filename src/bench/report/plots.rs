//! The plots of each kind of finding.

use std::fmt::Write as _;

use super::super::convoy::ConvoyResult;
use super::super::kv_cache::KvCacheResult;
use super::super::prefill::PrefillResult;
use super::super::quality::QualityResult;
use super::super::result::BenchmarkResult;
use super::super::roofline::{RooflineResult, Way};
use super::super::statistics::{P999, Sorted, median};
use super::super::traffic::{RequestResult, Served};
use super::plot::{Axis, Mark, Plot, Ruler, Scale, Series, field, frame, legend};

/// Bars of a distribution.
const BARS: usize = 60;
/// Places of a roof.
const ROOF_POINTS: u32 = 64;

/// Counts of values in equal steps up to the last thousandth, with the width of a step.
fn distribution(values: &[f64]) -> (Vec<(f64, f64)>, f64) {
    let sorted = Sorted::new(values);
    let (Some(&low), Some(high)) = (sorted.values().first(), sorted.percentile(P999)) else { return (vec![], 1.0) };
    let step = ((high.value - low) / BARS as f64).max(low.abs() * 1e-6).max(1e-12);
    let mut counts = vec![0.0; BARS];
    for value in values {
        if let Some(count) = counts.get_mut(((value - low) / step) as usize) {
            *count += 1.0;
        }
    }
    (counts.into_iter().enumerate().map(|(bar, count)| (low + bar as f64 * step, count)).collect(), step)
}

fn distribution_plot(title: &str, label: &'static str, values: &[f64]) -> String {
    let (bars, step) = distribution(values);
    let series = vec![Series::new("", Mark::Bars(step), bars)];
    Plot { title: title.to_owned(), x: Axis::new(label, Scale::Linear), y: Axis::from_zero("count"), series }.svg()
}

pub(super) fn requests(result: &BenchmarkResult) -> Vec<String> {
    let (mut at_s, mut firsts, mut gaps) = (0.0, vec![], vec![]);
    for (ttft, itl) in result.ttft_ms.iter().zip(&result.itl_ms) {
        at_s += ttft / 1e3;
        firsts.push((at_s, *ttft));
        for gap in itl {
            at_s += gap / 1e3;
            gaps.push((at_s, *gap));
        }
    }
    let over_time = Plot {
        title: "Time between tokens, and to the first one, over the run".into(),
        x: Axis::from_zero("time of the requests, s"),
        y: Axis::new("ms", Scale::Log),
        series: vec![Series::new("between tokens", Mark::Points, gaps), Series::new("first token", Mark::Points, firsts)],
    };
    vec![over_time.svg(), distribution_plot("Distribution of the time between tokens, up to p99.9", "ms", &result.itl_ms.concat())]
}

pub(super) fn prefill(result: &PrefillResult) -> Vec<String> {
    let speed = |times: fn(&super::super::prefill::PrefillRow) -> &Vec<f64>| {
        let point =
            move |row: &super::super::prefill::PrefillRow| Some((f64::from(row.length), f64::from(row.length) / median(times(row))? * 1e3));
        result.rows.iter().filter_map(point).collect::<Vec<_>>()
    };
    let plot = Plot {
        title: "Prompts over their length".into(),
        x: Axis::new("tokens of the prompt", Scale::Log),
        y: Axis::from_zero("tokens per second"),
        series: vec![
            Series::new("at once", Mark::Both, speed(|row| &row.batched_ms)),
            Series::new("token by token", Mark::Both, speed(|row| &row.serial_ms)),
        ],
    };
    vec![plot.svg()]
}

pub(super) fn kv_cache(result: &KvCacheResult) -> Vec<String> {
    let times = |times: fn(&super::super::kv_cache::KvCacheRow) -> &Vec<f64>| {
        let point = move |row: &super::super::kv_cache::KvCacheRow| Some((f64::from(row.length), median(times(row))?));
        result.rows.iter().filter_map(point).collect::<Vec<_>>()
    };
    let decode = Plot {
        title: "Decoding over the length of the context".into(),
        x: Axis::new("tokens before", Scale::Log),
        y: Axis::from_zero("tokens per second"),
        series: vec![Series::new("decode", Mark::Both, times(|row| &row.cached_ms).into_iter().map(|(length, ms)| (length, 1e3 / ms)))],
    };
    let ways = Plot {
        title: "One token: with the cache, and by computing everything again".into(),
        x: Axis::new("tokens before", Scale::Log),
        y: Axis::new("ms", Scale::Log),
        series: vec![
            Series::new("cache", Mark::Both, times(|row| &row.cached_ms)),
            Series::new("at once", Mark::Both, times(|row| &row.batched_ms)),
            Series::new("token by token", Mark::Both, times(|row| &row.serial_ms)),
        ],
    };
    vec![decode.svg(), ways.svg()]
}

pub(super) fn roofline(result: &RooflineResult) -> Vec<String> {
    let roof = result.roof.all();
    let one = result.demand.decode(1, 0.0);
    let compute = one.all_operations() / roof.compute_s(&one.operations) / 1e9;
    let points = |way: Way| result.points.iter().filter(move |point| point.way == way);
    let intensities: Vec<f64> = result.points.iter().map(|point| point.work.intensity()).chain([result.ridge()]).collect();
    let (low, high) = intensities.iter().fold((f64::INFINITY, 0.0f64), |(low, high), &x| (low.min(x), high.max(x)));
    let at = |rate: f64| {
        let place = move |n: u32| low / 1.5 * (2.25 * high / low).powf(f64::from(n) / f64::from(ROOF_POINTS));
        (0..=ROOF_POINTS).map(move |n| (place(n), (place(n) * rate).min(compute)))
    };
    let marks = |way: Way| {
        let series = Series::new(way.name(), Mark::Points, points(way).map(|point| (point.work.intensity(), point.gop_s())));
        series.labelled(points(way).map(|point| point.tokens.to_string()))
    };
    let roofs = Plot {
        title: "Roofline".into(),
        x: Axis::new("operations for each byte", Scale::Log),
        y: Axis::new("10⁹ operations per second", Scale::Log),
        series: vec![
            Series::new("roof, weights where they lie", Mark::Line, at(roof.weights_gb_s.best())),
            Series::new("roof, main memory", Mark::Dashed, at(roof.memory_gb_s.best())),
            marks(Way::Decode),
            marks(Way::Prefill),
        ],
    };
    let batches = Plot {
        title: "Decoding over the number of conversations".into(),
        x: Axis::new("conversations at once", Scale::Log),
        y: Axis::new("tokens per second", Scale::Log),
        series: vec![
            Series::new("ceiling", Mark::Line, result.curve().into_iter().map(|(sequences, _, ceiling)| (f64::from(sequences), ceiling))),
            Series::new("measured", Mark::Both, points(Way::Decode).map(|point| (f64::from(point.tokens), point.tok_s()))),
        ],
    };
    let blocks = Plot {
        title: "Reading a block again and again".into(),
        x: Axis::new("KiB of the block", Scale::Log),
        y: Axis::from_zero("GB/s"),
        series: vec![Series::new(
            "all threads",
            Mark::Both,
            result.roof.blocks.iter().map(|block| (block.bytes as f64 / 1024.0, block.gb_s.best())),
        )],
    };
    vec![roofs.svg(), batches.svg(), blocks.svg()]
}

pub(super) fn quality(result: &QualityResult) -> Vec<String> {
    let positions = result.kl.iter().enumerate().map(|(position, &kl)| (position as f64, kl.max(1e-9)));
    let plot = Plot {
        title: "Divergence from the reference, position by position".into(),
        x: Axis::from_zero("position"),
        y: Axis::new("nats", Scale::Log),
        series: vec![Series::new("KL(reference ‖ model)", Mark::Points, positions)],
    };
    vec![plot.svg()]
}

/// Every request of the last convoy, and of the baseline before it, as a bar over time: in the queue, until its first token, until its last.
pub(super) fn convoy(result: &ConvoyResult) -> Vec<String> {
    let Some(last) = result.repeats.last() else { return vec![] };
    let longest = last.baseline.elapsed_ms.max(last.convoy.elapsed_ms);
    [("The convoy: every request over time", &last.convoy), ("The short requests alone, on the same scale", &last.baseline)]
        .map(|(title, served)| timeline(title, served, longest))
        .to_vec()
}

fn timeline(title: &str, served: &Served, longest_ms: f64) -> String {
    const ROW: f64 = 4.0;
    let (left, right, top, _) = field(0.0);
    let height = top + ROW * served.requests.len() as f64 + 52.0;
    let x = Ruler::new(&Axis::from_zero("ms"), [longest_ms].into_iter(), left, right);
    let mut out = String::new();
    frame(&mut out, title, (&x, "ms since the first request"), (None, "requests, in their order"), height);
    for (number, request) in served.requests.iter().enumerate() {
        let y = top + ROW * number as f64;
        for (colour, from, to) in phases(request) {
            let (from, to) = (x.place(from), x.place(to));
            let width = (to - from).max(0.5);
            let _ = write!(out, r#"<rect class="fill c{colour}" x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{:.1}"/>"#, ROW - 0.8);
        }
    }
    let first = served.requests.first().map_or("", |request| request.workload_type);
    let same = served.requests.iter().all(|request| request.workload_type == first);
    legend(
        &mut out,
        &if same {
            vec![(0, "generating"), (3, "until the first token"), (5, "waiting")]
        } else {
            vec![(0, "short: generating"), (1, "long: generating"), (3, "until the first token"), (5, "waiting")]
        },
    );
    out + "</svg>"
}

/// The phases of a request with their colours.
fn phases(request: &RequestResult) -> impl Iterator<Item = (usize, f64, f64)> + use<> {
    let generating = if request.workload_type == super::super::workload::Workload::LONG_CONTEXT.name { 1 } else { 0 };
    let (slot, first, end) = (request.queue_time_ms, request.ttft_ms, request.total_latency_ms);
    let phase = |colour, from: Option<f64>, to: Option<f64>| from.zip(to).map(|(from, to)| (colour, from, to));
    [phase(5, Some(0.0), slot), phase(3, slot, first), phase(generating, first, end)].into_iter().flatten()
}
