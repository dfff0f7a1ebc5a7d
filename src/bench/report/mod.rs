//! A page about findings: tables, plots and the figures, in one HTML file that loads nothing.

mod plot;
mod plots;

use std::any::Any;
use std::fmt::Write as _;

use super::convoy::ConvoyResult;
use super::finding::{Finding, Kind, Verdict, text};
use super::kv_cache::KvCacheResult;
use super::prefill::PrefillResult;
use super::quality::QualityResult;
use super::result::BenchmarkResult;
use super::roofline::RooflineResult;
use crate::metrics::json::rfc3339;
use plot::escaped;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --soft: #667085; --line: #d5dae1; --paper: #ffffff; --card: #f7f8fa }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #98a2b3; --line: #3a4250; --paper: #14181f; --card: #1c222b } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto; padding: 24px; max-width: 1640px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 19px; margin: 36px 0 10px; border-bottom: 1px solid var(--line); padding-bottom: 4px }
p.soft { color: var(--soft); margin: 0 }
nav a { margin-right: 14px; color: inherit }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 620px), 1fr)); gap: 14px; align-items: start }
svg { width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; font-family: system-ui, sans-serif }
pre { font: 12.5px/1.45 ui-monospace, monospace; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto }
.title { font-size: 14px; font-weight: 600; fill: var(--ink) } .tick { font-size: 11px; fill: var(--soft) } .label { font-size: 12px; fill: var(--ink) }
.grid { stroke: var(--line); stroke-width: .6 } .axis { stroke: var(--soft); fill: none } .line { fill: none; stroke-width: 2 } .dashed { stroke-dasharray: 6 4 }
.passed, .warned, .inconclusive, .failed { font-size: 13px; font-weight: 600; border-radius: 10px; padding: 1px 9px; margin-left: 8px; color: #fff }
.passed { background: #1a7f4b } .warned, .inconclusive { background: #9a6700 } .failed { background: #b42318 }
";

/// Colours that are told apart with any eyes (Okabe and Ito 2008), the last one for what only waits.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#b6bdc8"];

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Requests => "Requests",
        Kind::Convoy => "Convoy",
        Kind::Saturation => "Saturation",
        Kind::KvCache => "Key/value cache",
        Kind::Prefill => "Prompts",
        Kind::Roofline => "Roofline",
        Kind::Quality => "Quality",
        Kind::ColdStart => "Cold start",
        Kind::Comparison => "Comparison",
    }
}

fn plots_of(finding: &dyn Finding) -> Vec<String> {
    let any: &dyn Any = finding;
    let some = |plots: Option<Vec<String>>| plots.unwrap_or_default();
    match finding.kind() {
        Kind::Requests => some(any.downcast_ref::<BenchmarkResult>().map(plots::requests)),
        Kind::Convoy => some(any.downcast_ref::<ConvoyResult>().map(plots::convoy)),
        Kind::KvCache => some(any.downcast_ref::<KvCacheResult>().map(plots::kv_cache)),
        Kind::Prefill => some(any.downcast_ref::<PrefillResult>().map(plots::prefill)),
        Kind::Roofline => some(any.downcast_ref::<RooflineResult>().map(plots::roofline)),
        Kind::Quality => some(any.downcast_ref::<QualityResult>().map(plots::quality)),
        Kind::Saturation | Kind::ColdStart | Kind::Comparison => vec![],
    }
}

/// The page about `findings`, in their order.
pub fn html(findings: &[&dyn Finding]) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page += "<meta name=\"viewport\" content=\"width=device-width\"><title>Loquat: measurements</title><style>";
    page += STYLE;
    for (number, colour) in COLOURS.iter().enumerate() {
        let _ = writeln!(page, ".c{number}.fill {{ fill: {colour} }} .c{number}.line {{ stroke: {colour} }}");
    }
    page += "</style></head><body>\n<h1>Measurements</h1>\n";
    if let Some(context) = findings.iter().find_map(|finding| finding.context()) {
        let host = &context.host;
        let _ = writeln!(
            page,
            "<p class=\"soft\">{}<br>{}, {} threads, {} · loquat {} · {}</p>",
            escaped(&context.subject.description),
            escaped(host.processor.as_deref().unwrap_or(host.architecture)),
            host.threads,
            host.isa,
            env!("CARGO_PKG_VERSION"),
            rfc3339(context.began),
        );
    }
    page += "<p><nav>";
    for (number, finding) in findings.iter().enumerate() {
        let _ = write!(page, "<a href=\"#f{number}\">{}</a>", title(finding.kind()));
    }
    page += "</nav></p>\n";
    for (number, finding) in findings.iter().enumerate() {
        let verdict = finding.verdict().map(Verdict::name).map(|name| format!("<span class=\"{name}\">{name}</span>"));
        let _ = writeln!(page, "<h2 id=\"f{number}\">{}{}</h2>", title(finding.kind()), verdict.unwrap_or_default());
        let plots = plots_of(*finding);
        if !plots.is_empty() {
            let _ = writeln!(page, "<div class=\"plots\">\n{}\n</div>", plots.join("\n"));
        }
        let _ = writeln!(page, "<pre>{}</pre>", escaped(&text(*finding)));
    }
    page + "</body></html>\n"
}
