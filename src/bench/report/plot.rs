//! Plots as SVG: axes with round ticks, lines, points, bars. Text alone; nothing is loaded from anywhere.

use std::fmt::Write as _;

/// Size of a plot, and the room around the field for labels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 48.0;
/// Points of a series at most: more can't be told apart.
const MOST_POINTS: usize = 3_000;

/// How values become places.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mark {
    Line,
    Dashed,
    Points,
    /// A line with its points.
    Both,
    /// Bars of the width of a step from the axis up.
    Bars(f64),
}

/// Values with a name.
pub(super) struct Series {
    pub name: String,
    pub mark: Mark,
    pub points: Vec<(f64, f64)>,
    /// Beside points, in their order; none where shorter.
    pub labels: Vec<String>,
}

impl Series {
    pub fn new(name: &str, mark: Mark, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.to_owned(), mark, points: thinned(points.into_iter().collect()), labels: vec![] }
    }

    pub fn labelled(self, labels: impl IntoIterator<Item = String>) -> Self {
        Self { labels: labels.into_iter().collect(), ..self }
    }
}

/// Of many points the lowest and the highest of each stretch, so that peaks stay.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points;
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let of = |part: &[(f64, f64)]| {
        let low = part.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
        let high = part.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
        [low, high].into_iter().flatten().collect::<Vec<_>>()
    };
    points.chunks(stretch).flat_map(of).collect()
}

/// An axis.
pub(super) struct Axis {
    pub label: &'static str,
    pub scale: Scale,
    /// The least range that is shown.
    pub within: Option<(f64, f64)>,
}

impl Axis {
    pub fn new(label: &'static str, scale: Scale) -> Self {
        Self { label, scale, within: None }
    }

    /// From 0 on.
    pub fn from_zero(label: &'static str) -> Self {
        Self { label, scale: Scale::Linear, within: Some((0.0, 0.0)) }
    }
}

/// An axis with the range of its values.
pub(super) struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    /// Places of the ends.
    from: f64,
    to: f64,
}

impl Ruler {
    pub fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let usable = |value: &f64| value.is_finite() && (axis.scale == Scale::Linear || *value > 0.0);
        let within = axis.within.into_iter().flat_map(|(low, high)| [low, high]);
        let (mut low, mut high) =
            values.chain(within).filter(usable).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match axis.scale {
            Scale::Linear => {
                let room = if high > low { 0.04 * (high - low) } else { low.abs().max(1.0) / 2.0 };
                let lowest = if axis.within.is_some() { low } else { low - room };
                (low, high) = (lowest, high + room);
            }
            Scale::Log => (low, high) = (low / 1.25, high * 1.25),
        }
        Self { scale: axis.scale, low, high, from, to }
    }

    pub fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + part.clamp(-0.01, 1.01) * (self.to - self.from)
    }

    /// Round values within the range.
    pub fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.high - self.low) / 6.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= rough).unwrap_or(power);
                let first = (self.low / step).ceil();
                (0..20).map(|n| (first + f64::from(n)) * step).take_while(|&tick| tick <= self.high).collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10();
                let factors: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
                let all = (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
                all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
            }
        }
    }
}

/// A number as short as it can be told: "1.5k", "20", "0.002".
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let (value, unit) = match size {
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if value.abs() >= 100.0 { 0 } else { (2 - value.abs().max(1e-9).log10().floor() as i32).clamp(0, 6) };
    let text = format!("{value:.*}", digits as usize);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// What HTML and SVG would read as their own.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A plot.
pub(super) struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// The head of a drawing: what it is called, and the field's frame with its ticks.
pub(super) fn frame(out: &mut String, title: &str, (x, x_label): (&Ruler, &str), (y, y_label): (Option<&Ruler>, &str), height: f64) {
    let _ = write!(
        out,
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{title}</title><text class="title" x="{LEFT}" y="18">{title}</text>"#,
        title = escaped(title),
    );
    let (right, bottom) = (WIDTH - RIGHT, height - BOTTOM);
    for tick in x.ticks() {
        let at = x.place(tick);
        let _ = write!(
            out,
            r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/><text class="tick" x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            bottom + 15.0,
            short(tick)
        );
    }
    for tick in y.map(Ruler::ticks).unwrap_or_default() {
        let at = y.map_or(0.0, |y| y.place(tick));
        let _ = write!(
            out,
            r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            at + 3.5,
            short(tick)
        );
    }
    let _ = write!(out, r#"<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>"#);
    let _ = write!(
        out,
        r#"<text class="label" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        (LEFT + right) / 2.0,
        height - 12.0,
        escaped(x_label)
    );
    let middle = (TOP + bottom) / 2.0;
    let _ = write!(
        out,
        r#"<text class="label" transform="translate(16 {middle:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
        escaped(y_label)
    );
}

/// The names of series with their colours, at the right end of the title's line.
pub(super) fn legend(out: &mut String, names: &[(usize, &str)]) {
    let mut x = WIDTH - RIGHT;
    for (colour, name) in names.iter().rev().filter(|(_, name)| !name.is_empty()) {
        x -= 6.4 * name.chars().count() as f64;
        let _ = write!(out, r#"<text class="tick" x="{x:.1}" y="18">{}</text>"#, escaped(name));
        x -= 14.0;
        let _ = write!(out, r#"<rect class="fill c{colour}" x="{x:.1}" y="9" width="10" height="10" rx="2"/>"#);
        x -= 14.0;
    }
}

/// The field of a drawing of some height: left, right, top and bottom.
pub(super) fn field(height: f64) -> (f64, f64, f64, f64) {
    (LEFT, WIDTH - RIGHT, TOP, height - BOTTOM)
}

impl Plot {
    /// The SVG element.
    pub fn svg(&self) -> String {
        let (left, right, top, bottom) = field(HEIGHT);
        let values = |pick: fn(&(f64, f64)) -> f64| self.series.iter().flat_map(move |series| series.points.iter().map(pick));
        let x = Ruler::new(&self.x, values(|point| point.0), left, right);
        let y = Ruler::new(&self.y, values(|point| point.1), bottom, top);
        let mut out = String::new();
        frame(&mut out, &self.title, (&x, self.x.label), (Some(&y), self.y.label), HEIGHT);
        for (colour, series) in self.series.iter().enumerate() {
            draw(&mut out, colour % 6, series, &x, &y, bottom);
        }
        let names: Vec<(usize, &str)> = self.series.iter().enumerate().map(|(colour, series)| (colour % 6, series.name.as_str())).collect();
        legend(&mut out, &names);
        out + "</svg>"
    }
}

fn draw(out: &mut String, colour: usize, series: &Series, x: &Ruler, y: &Ruler, bottom: f64) {
    let places: Vec<(f64, f64)> = series
        .points
        .iter()
        .filter(|point| point.0.is_finite() && point.1.is_finite())
        .map(|point| (x.place(point.0), y.place(point.1)))
        .collect();
    if let Mark::Bars(step) = series.mark {
        for (point, place) in series.points.iter().zip(&places) {
            let width = (x.place(point.0 + step) - place.0 - 0.6).max(0.6);
            let height = (bottom - place.1).max(0.0);
            let _ = write!(
                out,
                r#"<rect class="fill c{colour}" x="{:.1}" y="{:.1}" width="{width:.1}" height="{height:.1}"/>"#,
                place.0, place.1
            );
        }
        return;
    }
    if series.mark != Mark::Points && !places.is_empty() {
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let dashed = if series.mark == Mark::Dashed { " dashed" } else { "" };
        let _ = write!(out, r#"<path class="line c{colour}{dashed}" d="M{}"/>"#, path.join("L"));
    }
    if matches!(series.mark, Mark::Points | Mark::Both) {
        let radius = if places.len() > 300 { 1.2 } else { 3.5 };
        for (x, y) in &places {
            let _ = write!(out, r#"<circle class="fill c{colour}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#);
        }
    }
    for ((x, y), label) in places.iter().zip(&series.labels) {
        let _ = write!(out, r#"<text class="tick" x="{:.1}" y="{:.1}">{}</text>"#, x + 5.0, y - 5.0, escaped(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_numbers_short() {
        let linear = Ruler::new(&Axis::from_zero("x"), [9.7].into_iter(), 0.0, 100.0);
        assert_eq!(linear.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let log = Ruler::new(&Axis::new("x", Scale::Log), [1.0, 9_000.0].into_iter(), 0.0, 100.0);
        assert_eq!(log.ticks(), [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert!((log.place(100.0) - 50.0).abs() < 5.0);
        assert_eq!([0.002, 1.5, 20.0, 12_500.0, 3e6, 0.0].map(short), ["0.002", "1.5", "20", "12.5k", "3M", "0"]);
    }

    #[test]
    fn peaks_survive_the_thinning() {
        let many = (0..100_000).map(|i| (f64::from(i), if i == 77_777 { 9.0 } else { 1.0 }));
        let series = Series::new("many", Mark::Line, many);
        assert!(series.points.len() <= MOST_POINTS && series.points.iter().any(|point| point.1 == 9.0));
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        let series = vec![Series::new("<a&b>", Mark::Both, [(1.0, f64::NAN), (2.0, 3.0)])];
        let svg = Plot { title: "t".into(), x: Axis::new("x", Scale::Log), y: Axis::new("y", Scale::Linear), series }.svg();
        assert!(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("NaN") && svg.matches("<circle").count() == 1);
        let empty = Plot { title: "t".into(), x: Axis::new("x", Scale::Log), y: Axis::new("y", Scale::Linear), series: vec![] }.svg();
        assert!(empty.ends_with("</svg>") && !empty.contains("NaN"));
    }
}
