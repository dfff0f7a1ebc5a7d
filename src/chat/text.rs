//! Values as text, the way Python writes them: `str`, `repr` and `json.dumps`.
//!
//! Everything goes through a [`Sink`] with a limit, because a list that holds one list twice, thirty times over, is small
//! in memory and endless on paper.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::limits::{error, is_dict, is_engine_object};

/// A text that refuses to grow past its limit.
pub(super) struct Sink {
    pub text: String,
    limit: usize,
}

impl Sink {
    pub fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    pub fn push(&mut self, text: &str) -> Result<(), Error> {
        if text.len() > self.limit - self.text.len() {
            return Err(error("a text grows past what a chat template may use"));
        }
        self.text.push_str(text);
        Ok(())
    }

    /// Python's `str(value)`.
    pub fn push_str(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String => self.push(value.as_str().unwrap_or("")),
            ValueKind::Undefined => Ok(()),
            _ => self.push_repr(value),
        }
    }

    /// Python's `repr(value)`; undefined is `Undefined`.
    pub fn push_repr(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined => self.push("Undefined"),
            ValueKind::None => self.push("None"),
            ValueKind::Bool => self.push(if value.is_true() { "True" } else { "False" }),
            ValueKind::Number => self.push(&number(value)),
            ValueKind::String => self.push(&quoted(value.as_str().unwrap_or(""))),
            ValueKind::Seq | ValueKind::Iterable => {
                let (open, close) = if value.is_tuple() { ("(", ")") } else { ("[", "]") };
                self.push(open)?;
                for (index, item) in value.try_iter()?.enumerate() {
                    self.push(if index > 0 { ", " } else { "" })?;
                    self.push_repr(&item)?;
                }
                self.push(if value.is_tuple() && value.len() == Some(1) { "," } else { "" })?;
                self.push(close)
            }
            ValueKind::Map if is_dict(value) || is_engine_object(value, "Namespace") => {
                let namespace = is_engine_object(value, "Namespace");
                self.push(if namespace { "<Namespace {" } else { "{" })?;
                for (index, key) in value.try_iter()?.enumerate() {
                    self.push(if index > 0 { ", " } else { "" })?;
                    self.push_repr(&key)?;
                    self.push(": ")?;
                    self.push_repr(&value.get_item(&key)?)?;
                }
                self.push(if namespace { "}>" } else { "}" })
            }
            _ => self.push(&format!("{value}")),
        }
    }

    /// Python's `json.dumps(value)`.
    pub fn push_json(&mut self, value: &Value, style: &Json, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.push("null"),
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let text = number(value);
                self.push(match &*text {
                    "nan" => "NaN",
                    "inf" => "Infinity",
                    "-inf" => "-Infinity",
                    other => other,
                })
            }
            ValueKind::String => self.push_json_string(value.as_str().unwrap_or(""), style),
            ValueKind::Seq | ValueKind::Iterable => {
                let mut first = true;
                self.push("[")?;
                for item in value.try_iter()? {
                    self.push_separator(&mut first, style, depth + 1)?;
                    self.push_json(&item, style, depth + 1)?;
                }
                self.push_close(first, style, depth, "]")
            }
            ValueKind::Map if is_dict(value) => {
                let mut first = true;
                let mut entries: Vec<(String, Value)> = Vec::new();
                for key in value.try_iter()? {
                    entries.push((json_key(&key)?, value.get_item(&key)?));
                }
                if style.sort_keys {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.push("{")?;
                for (key, item) in &entries {
                    self.push_separator(&mut first, style, depth + 1)?;
                    self.push_json_string(key, style)?;
                    self.push(&style.colon)?;
                    self.push_json(item, style, depth + 1)?;
                }
                self.push_close(first, style, depth, "}")
            }
            kind => Err(error(format!("a value of type {kind} can't be written as JSON"))),
        }
    }

    fn push_separator(&mut self, first: &mut bool, style: &Json, depth: usize) -> Result<(), Error> {
        if !std::mem::take(first) {
            self.push(&style.comma)?;
        }
        self.push_indent(style, depth)
    }

    fn push_close(&mut self, empty: bool, style: &Json, depth: usize, close: &str) -> Result<(), Error> {
        if !empty {
            self.push_indent(style, depth)?;
        }
        self.push(close)
    }

    fn push_indent(&mut self, style: &Json, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &style.indent {
            self.push("\n")?;
            for _ in 0..depth {
                self.push(indent)?;
            }
        }
        Ok(())
    }

    fn push_json_string(&mut self, text: &str, style: &Json) -> Result<(), Error> {
        let mut out = String::with_capacity(text.len() + 2);
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                c if c < ' ' || (style.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
        self.push(&out)
    }
}

/// The options of `tojson`.
pub(super) struct Json {
    /// Everything outside ASCII as escapes.
    pub ascii: bool,
    /// The text of one level; none for one line.
    pub indent: Option<String>,
    pub comma: String,
    pub colon: String,
    pub sort_keys: bool,
}

fn json_key(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or("").to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number => number(key),
        kind => return Err(error(format!("a key of type {kind} can't be written as JSON"))),
    })
}

/// `str(value)` as a string of at most `limit` bytes.
pub(super) fn string(value: &Value, limit: usize) -> Result<String, Error> {
    let mut sink = Sink::new(limit);
    sink.push_str(value)?;
    Ok(sink.text)
}

/// An integer or float as Python writes it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let x = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    float(x)
}

/// Python's `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16.
fn float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{x:?}"),
    }
}

/// Python's `repr` of a string.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
    out
}

/// Python's `str.isprintable`, but for unassigned code points, which count as printable here.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e007f}' | '\u{f0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_python_writes_them() {
        for (x, text) in [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (9999999999999998.0, "9999999999999998.0"),
            (0.0001, "0.0001"),
            (0.00001234, "1.234e-05"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float(x), text);
        }
    }

    #[test]
    fn a_sink_stops_at_its_limit() {
        let mut doubled = Value::from("x");
        for _ in 0..40 {
            doubled = Value::from(vec![doubled.clone(), doubled]);
        }
        assert!(string(&doubled, 100_000).is_err());
        assert!(
            Sink::new(100_000)
                .push_json(&doubled, &Json { ascii: false, indent: None, comma: ",".into(), colon: ":".into(), sort_keys: false }, 0)
                .is_err()
        );
    }
}
