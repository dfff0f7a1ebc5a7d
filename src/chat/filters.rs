//! Filters: jinja2's, and the `tojson` of transformers.
//!
//! Those whose results could be large are written here; the rest are minijinja's, behind a toll for what they read, with
//! lazy results made into lists.

use minijinja::formatting::FormatStyle;
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value, filters};

use super::lexer::is_space;
use super::limits::{self, charge, charge_list, error, walk};
use super::methods::{Arguments, bind, capitalized, padded, replaced, values, whole};
use super::operators::{Number, elements, formatted, integer, made, number};
use super::text::{Json, Sink};

/// Every filter that a template can name.
pub(super) const NAMES: [&str; 44] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "wordcount",
];

/// Adds the filters to `env`.
pub(super) fn register(env: &mut Environment<'_>) {
    env.add_filter("attr", |value: Value, name: Value| -> Result<Value, Error> {
        // jinja2 looks at attributes alone here, and the values of templates have none.
        if value.is_undefined() { Err(error(format!("an undefined value has no attribute {name:.100}"))) } else { Ok(Value::UNDEFINED) }
    });
    text_filter(env, "capitalize", capitalized);
    text_filter(env, "lower", |s| s.to_lowercase());
    text_filter(env, "upper", |s| s.to_uppercase());
    text_filter(env, "title", |s| filters::title(s.into()));
    text_filter(env, "string", |s| s.to_owned());
    text_filter(env, "safe", |s| s.to_owned());
    for name in ["e", "escape"] {
        text_filter(env, name, escaped);
    }
    for name in ["d", "default"] {
        env.add_filter(name, default);
    }
    for name in ["length", "count"] {
        env.add_filter(name, |state: &mut State, value: Value| length(state, &value));
    }
    env.add_filter("center", |state: &mut State, arguments: Arguments| {
        let [value, width] = bind("center", &values(arguments), ["value", "width"])?;
        let s = string(state, &value.unwrap_or_default())?;
        padded(state, &s, usize::try_from(whole("center", width.as_ref(), 80)?).unwrap_or(0), " ", "center")
    });
    env.add_filter("first", |state: &mut State, value: Value| end(state, &value, false));
    env.add_filter("last", |state: &mut State, value: Value| end(state, &value, true));
    env.add_filter("format", |state: &mut State, arguments: Arguments| {
        let arguments = values(arguments);
        let Some((pattern, arguments)) = arguments.split_first() else { return Err(error("format takes a string")) };
        let pattern = string(state, pattern)?;
        formatted(state, FormatStyle::Printf, &pattern, arguments)
    });
    env.add_filter("indent", indent);
    env.add_filter("items", items);
    env.add_filter("int", to_integer);
    env.add_filter("float", to_float);
    env.add_filter("join", join);
    env.add_filter("list", |state: &mut State, value: Value| elements(state, &value));
    env.add_filter("replace", |state: &mut State, arguments: Arguments| {
        let [value, old, new, count] = bind("replace", &values(arguments), ["value", "old", "new", "count"])?;
        let s = string(state, &value.unwrap_or_default())?;
        let (Some(old), Some(new)) = (old, new) else { return Err(error("replace takes two strings")) };
        let (old, new) = (string(state, &old)?, string(state, &new)?);
        replaced(state, &s, &old, &new, whole("replace", count.as_ref(), -1)?)
    });
    env.add_filter("reverse", |state: &mut State, value: Value| -> Result<Value, Error> {
        let mut items = elements(state, &value)?;
        items.reverse();
        if value.as_str().is_none() {
            return Ok(Value::from(items));
        }
        made(state, items.iter().filter_map(|item| item.as_str()).collect())
    });
    env.add_filter("tojson", tojson);
    env.add_filter("trim", |state: &mut State, arguments: Arguments| -> Result<Value, Error> {
        let [value, chars] = bind("trim", &values(arguments), ["value", "chars"])?;
        let s = string(state, &value.unwrap_or_default())?;
        match chars.filter(|chars| !chars.is_none()) {
            None => made(state, s.trim_matches(is_space).to_owned()),
            Some(chars) => {
                let set: Vec<char> = chars.as_str().ok_or_else(|| error("trim takes a string"))?.chars().collect();
                charge(state, set.len().saturating_mul(s.len().min(64)))?;
                made(state, s.trim_matches(|c| set.contains(&c)).to_owned())
            }
        }
    });
    env.add_filter("wordcount", |state: &mut State, value: Value| -> Result<usize, Error> {
        let s = string(state, &value)?;
        Ok(s.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).count())
    });
    for (name, filter) in [
        ("abs", Value::from_function(filters::abs)),
        ("batch", Value::from_function(filters::batch)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("groupby", Value::from_function(filters::groupby)),
        ("map", Value::from_function(filters::map)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("reject", Value::from_function(filters::reject)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("round", Value::from_function(filters::round)),
        ("select", Value::from_function(filters::select)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("slice", Value::from_function(filters::slice)),
        ("sort", Value::from_function(filters::sort)),
        ("sum", Value::from_function(filters::sum)),
        ("unique", Value::from_function(filters::unique)),
    ] {
        env.add_filter(name, move |state: &mut State, arguments: Arguments| engine(state, name, &filter, &values(arguments)));
    }
}

/// One of minijinja's filters.
fn engine(state: &mut State, name: &str, filter: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let mut arguments = arguments.to_vec();
    for argument in &arguments {
        walk(state, argument, false)?;
        charge_list(state, argument.len().unwrap_or(0))?;
    }
    let Some(subject) = arguments.first_mut() else { return Err(error(format!("{name} takes a value"))) };
    match name {
        "abs" | "round" => {
            if let Some(Number::Integer(x)) = number(subject) {
                *subject = integer(x);
            }
        }
        "map" | "select" | "reject" | "selectattr" | "rejectattr" if !subject.is_true() => return Ok(Value::from(Vec::<Value>::new())),
        "dictsort" if !limits::is_dict(subject) => return Err(error("dictsort takes a dict")),
        "dictsort" => {}
        _ => *subject = Value::from(elements(state, subject)?),
    }
    if matches!(name, "batch" | "slice") {
        // They make room for as many as they are told.
        let count = arguments.get(1).and_then(|count| count.as_i64()).unwrap_or(1);
        charge_list(state, usize::try_from(count).unwrap_or(usize::MAX))?;
    }
    let result = filter.call(state, &arguments)?;
    if result.kind() != ValueKind::Iterable {
        return Ok(result);
    }
    let mut list = Vec::new();
    for item in result.try_iter()?.checked() {
        charge_list(state, 1)?;
        list.push(item?);
    }
    Ok(Value::from(list))
}

/// Python's `str(value)`, paid for.
pub(super) fn string(state: &mut State, value: &Value) -> Result<String, Error> {
    let text = super::text::string(value, limits::left(state))?;
    charge(state, text.len())?;
    Ok(text)
}

/// A filter from text to text whose result is about as long.
fn text_filter(env: &mut Environment<'_>, name: &'static str, filter: fn(&str) -> String) {
    env.add_filter(name, move |state: &mut State, value: Value| {
        let text = string(state, &value)?;
        made(state, filter(&text))
    });
}

fn escaped(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn default(arguments: Arguments) -> Result<Value, Error> {
    let [value, other, falsy] = bind("default", &values(arguments), ["value", "default_value", "boolean"])?;
    let value = value.unwrap_or_default();
    let replace = value.is_undefined() || (falsy.is_some_and(|falsy| falsy.is_true()) && !value.is_true());
    Ok(if replace { other.unwrap_or_else(|| Value::from("")) } else { value })
}

fn length(state: &mut State, value: &Value) -> Result<usize, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(0),
        ValueKind::String => {
            let text = value.as_str().unwrap_or("");
            charge(state, text.len() / 8)?;
            Ok(text.chars().count())
        }
        _ => value
            .len()
            .filter(|_| value.kind() != ValueKind::Map || limits::is_dict(value))
            .ok_or_else(|| error(format!("a value of type {} has no length", value.kind()))),
    }
}

fn end(state: &mut State, value: &Value, last: bool) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(if last { text.chars().next_back() } else { text.chars().next() }.map_or(Value::UNDEFINED, Value::from));
    }
    if value.kind() == ValueKind::Seq {
        let index = if last { value.len().unwrap_or(0).wrapping_sub(1) } else { 0 };
        return Ok(value.get_item_by_index(index).unwrap_or_default());
    }
    let items = elements(state, value)?;
    Ok(if last { items.last() } else { items.first() }.cloned().unwrap_or_default())
}

fn indent(state: &mut State, arguments: Arguments) -> Result<Value, Error> {
    let [value, width, first, blank] = bind("indent", &values(arguments), ["s", "width", "first", "blank"])?;
    let Some(s) = value.as_ref().and_then(|value| value.as_str()) else { return Err(error("indent takes a string")) };
    charge(state, s.len())?;
    let margin = match width.as_ref().and_then(|width| width.as_str()) {
        Some(margin) => margin.to_owned(),
        None => {
            let width = usize::try_from(whole("indent", width.as_ref(), 4)?).unwrap_or(0);
            charge(state, width)?;
            " ".repeat(width)
        }
    };
    let yes = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let (first, blank) = (yes(first), yes(blank));
    let mut sink = Sink::new(limits::left(state));
    for (index, line) in s.split('\n').enumerate() {
        sink.push(if index > 0 { "\n" } else { "" })?;
        let indents = if index == 0 { first } else { blank || !line.is_empty() };
        sink.push(if indents { &margin } else { "" })?;
        sink.push(line)?;
    }
    made(state, sink.text)
}

/// `int(value)`, or of text `int(value, base)`, or of text a float cut off; the default where none works.
fn to_integer(arguments: Arguments) -> Result<Value, Error> {
    let [value, default, base] = bind("int", &values(arguments), ["value", "default", "base"])?;
    let value = defined("int", value)?;
    let base = u32::try_from(whole("int", base.as_ref(), 10)?).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| error("int takes a base from 2 to 36"))?;
    let read = match (number(&value), value.as_str()) {
        (Some(Number::Integer(x)), _) => Some(x),
        (Some(Number::Float(x)), _) => cut(x),
        (None, Some(text)) => {
            let text = text.trim_matches(is_space).replace('_', "");
            let digits = match base {
                2 => text.replacen("0b", "", 1),
                8 => text.replacen("0o", "", 1),
                16 => text.replacen("0x", "", 1),
                _ => text.clone(),
            };
            i128::from_str_radix(&digits, base).ok().or_else(|| text.parse().ok().and_then(cut))
        }
        (None, None) => None,
    };
    Ok(read.map_or_else(|| default.unwrap_or_else(|| Value::from(0)), integer))
}

fn defined(what: &str, value: Option<Value>) -> Result<Value, Error> {
    value.filter(|value| !value.is_undefined()).ok_or_else(|| error(format!("{what} of an undefined value")))
}

fn cut(x: f64) -> Option<i128> {
    (x.is_finite() && x.abs() < 1e38).then_some(x as i128)
}

/// `float(value)`, or the default.
fn to_float(arguments: Arguments) -> Result<Value, Error> {
    let [value, default] = bind("float", &values(arguments), ["value", "default"])?;
    let value = defined("float", value)?;
    let read = match value.as_str() {
        Some(text) => text.trim_matches(is_space).replace('_', "").parse().ok(),
        None => number(&value).map(Number::float),
    };
    Ok(read.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from))
}

fn items(state: &mut State, value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Map => {
            let keys = elements(state, &value)?;
            charge_list(state, keys.len().saturating_mul(2))?;
            let mut pairs = Vec::with_capacity(keys.len());
            for key in keys {
                let item = value.get_item(&key)?;
                pairs.push(Value::from(Tuple::from([key, item])));
            }
            Ok(Value::from(pairs))
        }
        kind => Err(error(format!("items of a value of type {kind}"))),
    }
}

fn join(state: &mut State, arguments: Arguments) -> Result<Value, Error> {
    let [value, separator, attribute] = bind("join", &values(arguments), ["value", "d", "attribute"])?;
    let mut items = elements(state, &value.unwrap_or_default())?;
    if let Some(attribute) = attribute.filter(|attribute| !attribute.is_none()) {
        for item in &mut items {
            *item = item.get_item(&attribute)?;
        }
    }
    let separator = match separator {
        Some(separator) => string(state, &separator)?,
        None => String::new(),
    };
    let mut sink = Sink::new(limits::left(state));
    for (index, item) in items.iter().enumerate() {
        sink.push(if index > 0 { &separator } else { "" })?;
        sink.push_str(item)?;
    }
    made(state, sink.text)
}

/// `json.dumps` with the arguments that transformers passes on.
fn tojson(state: &mut State, arguments: Arguments) -> Result<Value, Error> {
    let [value, ascii, indent, separators, sort_keys] =
        bind("tojson", &values(arguments), ["x", "ensure_ascii", "indent", "separators", "sort_keys"])?;
    let yes = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let given = |value: Option<Value>| value.filter(|value| !value.is_none());
    let indent = match given(indent) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let width = usize::try_from(whole("tojson", Some(&indent), 0)?).unwrap_or(0);
                charge(state, width)?;
                " ".repeat(width)
            }
        }),
    };
    let (comma, colon) = match given(separators) {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let parts = elements(state, &pair)?;
            match parts.iter().map(|part| part.as_str()).collect::<Vec<_>>()[..] {
                [Some(comma), Some(colon)] => (comma.to_owned(), colon.to_owned()),
                _ => return Err(error("tojson takes two strings as separators")),
            }
        }
    };
    let style = Json { ascii: yes(ascii), indent, comma, colon, sort_keys: yes(sort_keys) };
    let mut sink = Sink::new(limits::left(state));
    sink.push_json(&value.unwrap_or_default(), &style, 0)?;
    made(state, sink.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_registered() {
        let mut env = Environment::empty();
        register(&mut env);
        for name in NAMES {
            let source = format!("{{{{ 'x'|{name} }}}}");
            if let Err(failed) = env.render_str(&source, ()) {
                assert_ne!(failed.kind(), minijinja::ErrorKind::UnknownFilter, "{name}");
            }
        }
    }
}
