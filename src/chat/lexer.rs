//! Template source → tokens, by the rules of Python's jinja2 with `trim_blocks` and `lstrip_blocks`.
//!
//! White space around tags is settled here, so that what comes after sees text and tags only. The source is hostile: every
//! loop moves forward, nothing recurses, and the tokens take memory in proportion to the source.

use super::{Result, failure};

/// One token and the line (from 1) that it starts on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    pub line: u32,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text that goes to the output as it is.
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Text(String),
    Integer(i128),
    Float(f64),
    Operator(&'static str),
}

/// Longest first, so that the first match is the right one.
const OPERATORS: [&str; 27] = [
    "//", "**", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";",
    "!",
];

/// Python's `str.isspace` for one character.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The tokens of `source`.
///
/// # Errors
/// A template error with its line for what jinja2 refuses: open tags, comments and strings, unbalanced brackets, stray characters.
pub(super) fn tokenize(source: &str) -> Result<Vec<Token>> {
    // jinja2 takes every line end for \n and drops one at the end.
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer { source: &source, position: 0, counted: 0, line: 1, line_starting: true, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    /// Up to where `line` has counted.
    counted: usize,
    line: u32,
    /// Whether what was read last ended a line: a tag that follows may have white space before it stripped.
    line_starting: bool,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn line_at(&mut self, position: usize) -> u32 {
        let from = self.counted.min(position);
        self.line += self.source.as_bytes()[from..position].iter().filter(|&&b| b == b'\n').count() as u32;
        self.counted = position;
        self.line
    }

    fn push(&mut self, kind: Kind, at: usize) {
        let line = self.line_at(at);
        self.tokens.push(Token { kind, line });
    }

    fn fail<T>(&mut self, message: &str) -> Result<T> {
        let line = self.line_at(self.position);
        Err(failure(format!("line {line}: {message}")))
    }

    fn run(&mut self) -> Result<()> {
        while self.position < self.source.len() {
            let start = self.position;
            let Some(open) = find_tag(self.rest()).map(|at| start + at) else {
                let data = self.rest().to_owned();
                self.push(Kind::Data(data), start);
                return Ok(());
            };
            let kind = self.source.as_bytes()[open + 1];
            let sign = self.source[open + 2..].chars().next().filter(|&c| c == '-' || c == '+');
            let text = stripped(&self.source[start..open], sign, kind == b'{', self.line_starting);
            if !text.is_empty() {
                self.push(Kind::Data(text.to_owned()), start);
            }
            self.position = open + 2 + usize::from(sign.is_some());
            self.line_starting = false;
            match kind {
                b'#' => self.comment()?,
                b'{' => {
                    self.push(Kind::VariableBegin, open);
                    self.tag(true)?;
                }
                _ => match self.raw_begin() {
                    Some(begin) => self.raw(begin)?,
                    None => {
                        self.push(Kind::BlockBegin, open);
                        self.tag(false)?;
                    }
                },
            }
        }
        Ok(())
    }

    /// Moves past an end mark of `len` bytes: with '-' before it past all white space, plain (where `trim`) past one line end.
    fn close(&mut self, end: usize, sign: Option<u8>, trim: bool) {
        let from = end;
        self.position = end;
        if sign == Some(b'-') {
            let rest = self.rest();
            self.position += rest.len() - rest.trim_start_matches(is_space).len();
        } else if sign.is_none() && trim && self.rest().starts_with('\n') {
            self.position += 1;
        }
        self.line_starting = self.position > from && self.source[..self.position].ends_with('\n');
    }

    fn comment(&mut self) -> Result<()> {
        let Some(end) = self.rest().find("#}").map(|at| self.position + at) else {
            return self.fail("missing end of comment tag");
        };
        let sign = (end > self.position).then(|| self.source.as_bytes()[end - 1]).filter(|&b| b == b'-' || b == b'+');
        self.close(end + 2, sign, true);
        Ok(())
    }

    /// Where the content of a raw block begins, if the block tag at hand opens one.
    fn raw_begin(&self) -> Option<usize> {
        let after = self.rest().trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
        let after = match after.strip_prefix("-%}") {
            Some(after) => after.trim_start_matches(is_space),
            None => after.strip_prefix("%}")?,
        };
        Some(self.source.len() - after.len())
    }

    fn raw(&mut self, begin: usize) -> Result<()> {
        self.line_starting = self.source[..begin].ends_with('\n');
        let mut search = begin;
        while let Some(open) = self.source[search..].find("{%").map(|at| search + at) {
            search = open + 2;
            let mut after = &self.source[open + 2..];
            let sign = after.chars().next().filter(|&c| c == '-' || c == '+');
            after = &after[usize::from(sign.is_some())..];
            let Some(after) = after.trim_start_matches(is_space).strip_prefix("endraw") else { continue };
            let after = after.trim_start_matches(is_space);
            let close = after.bytes().next().filter(|&b| b == b'-' || b == b'+');
            let Some(after) = after[usize::from(close.is_some())..].strip_prefix("%}") else { continue };
            let text = stripped(&self.source[begin..open], sign, false, self.line_starting);
            if !text.is_empty() {
                self.push(Kind::Data(text.to_owned()), begin);
            }
            self.close(self.source.len() - after.len(), close, true);
            return Ok(());
        }
        self.fail("missing end of raw directive")
    }

    /// The tokens inside one tag, its end included.
    fn tag(&mut self, variable: bool) -> Result<()> {
        let mut brackets: Vec<&'static str> = Vec::new();
        let end = if variable { "}}" } else { "%}" };
        loop {
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return self.fail("the template ends inside a tag") };
            if brackets.is_empty() {
                let sign = rest.bytes().next().filter(|&b| b == b'-' || (b == b'+' && !variable));
                if rest[usize::from(sign.is_some())..].starts_with(end) {
                    self.push(if variable { Kind::VariableEnd } else { Kind::BlockEnd }, self.position);
                    self.close(self.position + usize::from(sign.is_some()) + 2, sign, !variable);
                    return Ok(());
                }
            }
            let start = self.position;
            if is_space(first) {
                self.position += rest.len() - rest.trim_start_matches(is_space).len();
            } else if first.is_ascii_digit() {
                let after_dot = self.source[..start].ends_with('.');
                let (kind, len) = number(rest, after_dot).map_or_else(|| self.fail("a number out of range"), Ok)?;
                self.push(kind, start);
                self.position += len;
            } else if first == '_' || first.is_alphanumeric() {
                let len = rest.len() - rest.trim_start_matches(|c: char| c == '_' || c.is_alphanumeric()).len();
                if !rest[..len].is_ascii() {
                    return self.fail("names outside ASCII are not supported");
                }
                self.push(Kind::Name(rest[..len].to_owned()), start);
                self.position += len;
            } else if first == '\'' || first == '"' {
                let Some(len) = quoted(rest, first) else { return self.fail("a string without its end") };
                let text = unescape(&rest[1..len - 1]).map_or_else(|message| self.fail(message), Ok)?;
                self.push(Kind::Text(text), start);
                self.position += len;
            } else {
                let Some(operator) = OPERATORS.into_iter().find(|&op| rest.starts_with(op)).filter(|&op| op != "!") else {
                    return self.fail(&format!("unexpected character {first:?}"));
                };
                match operator {
                    "(" => brackets.push(")"),
                    "[" => brackets.push("]"),
                    "{" => brackets.push("}"),
                    ")" | "]" | "}" if brackets.pop() != Some(operator) => {
                        return self.fail(&format!("unexpected '{operator}'"));
                    }
                    _ => {}
                }
                self.push(Kind::Operator(operator), start);
                self.position += operator.len();
            }
        }
    }
}

/// The first `{{`, `{%` or `{#`.
fn find_tag(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(1)).find(|&i| bytes[i] == b'{' && matches!(bytes[i + 1], b'{' | b'%' | b'#'))
}

/// Text before a tag: '-' strips all white space at its end, otherwise (but for '+' and variables) that of the tag's own line.
fn stripped(text: &str, sign: Option<char>, variable: bool, line_starting: bool) -> &str {
    match sign {
        Some('-') => text.trim_end_matches(is_space),
        None if !variable => {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let blank = (line > 0 || line_starting) && text[line..].chars().all(is_space);
            if blank { &text[..line] } else { text }
        }
        _ => text,
    }
}

/// A number and its length: Python's integers in four bases and floats, with underscores.
fn number(text: &str, after_dot: bool) -> Option<(Kind, usize)> {
    let digits = |from: usize, allowed: fn(&u8) -> bool| {
        // Digits with single underscores between them.
        let bytes = text.as_bytes();
        let mut end = from;
        while bytes.get(end).is_some_and(allowed)
            || (end > from && bytes.get(end) == Some(&b'_') && bytes.get(end + 1).is_some_and(allowed))
        {
            end += 1;
        }
        end
    };
    let plain = |end: usize| text[..end].replace('_', "");
    for (prefix, radix, allowed) in [
        ("0x", 16, (|b: &u8| b.is_ascii_hexdigit()) as fn(&u8) -> bool),
        ("0o", 8, |b| (b'0'..=b'7').contains(b)),
        ("0b", 2, |b| matches!(b, b'0' | b'1')),
    ] {
        if text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
            let end = digits(2, allowed);
            if end > 2 {
                return Some((Kind::Integer(i128::from_str_radix(&plain(end)[2..], radix).ok()?), end));
            }
        }
    }
    let whole = digits(0, u8::is_ascii_digit);
    let mut end = whole;
    if !after_dot {
        if text[end..].starts_with('.') {
            let fraction = digits(end + 1, u8::is_ascii_digit);
            end = if fraction > end + 1 { fraction } else { end };
        }
        let exponent = end + text[end..].bytes().next().is_some_and(|b| b.eq_ignore_ascii_case(&b'e')) as usize;
        if exponent > end {
            let signed = exponent + text[exponent..].bytes().next().is_some_and(|b| b == b'+' || b == b'-') as usize;
            let power = digits(signed, u8::is_ascii_digit);
            end = if power > signed { power } else { end };
        }
    }
    if end > whole {
        return Some((Kind::Float(plain(end).parse().ok().filter(|x: &f64| x.is_finite())?), end));
    }
    Some((Kind::Integer(plain(whole).parse().ok()?), whole))
}

/// The length of a string literal with its quotes.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Python's escapes in a string literal; an unknown one stays as it is.
fn unescape(text: &str) -> std::result::Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escape) = chars.next() else { break };
        let hex = match escape {
            '\n' => continue,
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '\'' | '"' => escape,
            '0'..='7' => {
                let rest = chars.as_str();
                let more = rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let value = u32::from_str_radix(&format!("{escape}{}", &rest[..more]), 8).unwrap_or(0);
                chars = rest[more..].chars();
                out.push(char::from_u32(value).unwrap_or('\0'));
                continue;
            }
            'x' | 'u' | 'U' => {
                let len = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let rest = chars.as_str();
                let digits =
                    rest.get(..len).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())).ok_or("a truncated escape in a string")?;
                let value = u32::from_str_radix(digits, 16).map_err(|_| "a broken escape in a string")?;
                chars = rest[len..].chars();
                out.push(char::from_u32(value).ok_or("an escape in a string that is no character")?);
                continue;
            }
            'N' => return Err("characters by name (\\N) are not supported"),
            other => {
                out.push('\\');
                other
            }
        };
        out.push(hex);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, kind, len) in [
            ("12 ", Kind::Integer(12), 2),
            ("1_000.5", Kind::Float(1000.5), 7),
            ("1.x", Kind::Integer(1), 1),
            ("1e5", Kind::Float(1e5), 3),
            ("1e", Kind::Integer(1), 1),
            ("0x1Fg", Kind::Integer(31), 4),
            ("0b2", Kind::Integer(0), 1),
            ("2.5e-1", Kind::Float(0.25), 6),
        ] {
            assert_eq!(number(text, false), Some((kind, len)), "{text}");
        }
        assert_eq!(number("1.5", true), Some((Kind::Integer(1), 1)));
        assert_eq!(number("1e999", false), None);
        assert_eq!(number(&"9".repeat(60), false), None);
    }

    #[test]
    fn lines_are_counted_through_trimmed_white_space() {
        let tokens = tokenize("a\n{%- x %}\n\n{{ y }}").unwrap();
        let named: Vec<(String, u32)> =
            tokens.into_iter().filter_map(|t| if let Kind::Name(name) = t.kind { Some((name, t.line)) } else { None }).collect();
        assert_eq!(named, [("x".to_owned(), 2), ("y".to_owned(), 4)]);
    }
}
