//! Methods: what `value.name(arguments)` does for strings, lists and dicts, as in Python.
//!
//! Everything that changes a value in place is refused, as jinja2's immutable sandbox refuses it. What isn't here falls to
//! minijinja's own compatibility helpers, which cover the rest of Python's tests on strings (`isalnum`, `islower`, …).

use minijinja::formatting::FormatStyle;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::lexer::is_space;
use super::limits::{self, charge, charge_list, error, is_dict};
use super::operators::{elements, equal, formatted, made};

/// What a function of ours is called with: values, the last of which may hold named arguments.
pub(super) type Arguments = Rest<ValueOrKwargs>;

/// The arguments as plain values, for [`bind`].
pub(super) fn values(arguments: Arguments) -> Vec<Value> {
    arguments.0.into_iter().map(ValueOrKwargs::into_value).collect()
}

/// Arguments by position or name, in the order of `names`.
///
/// # Errors
/// Too many, an unknown name, or one given twice.
pub(super) fn bind<const N: usize>(what: &str, arguments: &[Value], names: [&str; N]) -> Result<[Option<Value>; N], Error> {
    let (positional, named): (&[Value], Kwargs) = from_args(arguments)?;
    if positional.len() > N {
        return Err(error(format!("{what} takes at most {N} arguments")));
    }
    let mut bound: [Option<Value>; N] = std::array::from_fn(|index| positional.get(index).cloned());
    for name in named.args() {
        match names.iter().position(|known| *known == name) {
            Some(index) if bound[index].is_none() => bound[index] = Some(named.get::<Value>(name)?),
            _ => return Err(error(format!("{what} has no argument '{name}', or has it twice"))),
        }
    }
    Ok(bound)
}

/// A string argument.
fn text<'a>(what: &str, value: Option<&'a Value>) -> Result<&'a str, Error> {
    value.and_then(Value::as_str).ok_or_else(|| error(format!("{what} takes a string")))
}

/// An integer argument, or `absent` where it is not given or none.
pub(super) fn whole(what: &str, value: Option<&Value>, absent: i64) -> Result<i64, Error> {
    match value {
        None => Ok(absent),
        Some(value) if value.is_none() => Ok(absent),
        Some(value) => value.as_i64().ok_or_else(|| error(format!("{what} takes an integer"))),
    }
}

/// `_lq_call(value, name, arguments…)`.
pub(super) fn call(state: &mut State, value: Value, name: &str, arguments: Arguments) -> Result<Value, Error> {
    let arguments = values(arguments);
    charge(state, 0)?;
    match value.kind() {
        ValueKind::String => string_method(state, &value, name, &arguments),
        ValueKind::Seq | ValueKind::Iterable => list_method(state, &value, name, &arguments),
        _ if is_dict(&value) => dict_method(state, &value, name, &arguments),
        _ => value.call_method(state, name, &arguments),
    }
}

fn dict_method(state: &mut State, dict: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let what = format!("dict.{name}()");
    match name {
        "get" => {
            let [key, default] = bind(&what, arguments, ["key", "default"])?;
            let key = key.ok_or_else(|| error("dict.get() takes a key"))?;
            charge(state, key.as_str().map_or(0, str::len) / 16)?;
            let found = super::operators::lookup(dict, &key);
            Ok(found.or(default).unwrap_or_else(|| Value::from(())))
        }
        "items" | "keys" | "values" | "copy" => {
            let [] = bind(&what, arguments, [])?;
            let keys = elements(state, dict)?;
            let mut out = Vec::with_capacity(keys.len());
            for key in keys {
                out.push(match name {
                    "keys" => key,
                    "values" => dict.get_item(&key)?,
                    _ => {
                        let value = dict.get_item(&key)?;
                        Value::from(Tuple::from([key, value]))
                    }
                });
            }
            charge_list(state, out.len())?;
            if name != "copy" {
                return Ok(Value::from(out));
            }
            let mut pairs = Vec::with_capacity(out.len());
            for pair in out {
                pairs.push((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?));
            }
            Ok(Value::from_pairs(pairs))
        }
        "clear" | "pop" | "popitem" | "setdefault" | "update" => Err(error(format!("{what} changes a value, which templates may not"))),
        _ => match super::operators::lookup(dict, &Value::from(name)) {
            Some(value) => value.call(state, arguments),
            None => Err(error(format!("a dict has no method {name}"))),
        },
    }
}

fn list_method(state: &mut State, list: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let what = format!("list.{name}()");
    match name {
        "copy" if !list.is_tuple() => {
            let [] = bind(&what, arguments, [])?;
            Ok(Value::from(elements(state, list)?))
        }
        "count" | "index" => {
            let [wanted] = bind(&what, arguments, ["value"])?;
            let wanted = wanted.ok_or_else(|| error(format!("{what} takes a value")))?;
            let mut count = 0;
            for (index, item) in list.try_iter()?.enumerate() {
                if equal(state, &item, &wanted)? {
                    if name == "index" {
                        return Ok(Value::from(index));
                    }
                    count += 1;
                }
            }
            if name == "index" { Err(error("list.index(): the value is not in the list")) } else { Ok(Value::from(count)) }
        }
        "append" | "clear" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" => {
            Err(error(format!("{what} changes a value, which templates may not")))
        }
        _ => Err(error(format!("a list has no method {name}"))),
    }
}

fn string_method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let s = value.as_str().unwrap_or("");
    let what = format!("str.{name}()");
    let what = &*what;
    // Each method reads the string once or a few times.
    charge(state, s.len())?;
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = bind(what, arguments, ["chars"])?;
            let set: Option<Vec<char>> = match chars.filter(|chars| !chars.is_none()) {
                None => None,
                Some(chars) => Some(text(what, Some(&chars))?.chars().collect()),
            };
            charge(state, set.as_ref().map_or(0, |set| set.len().saturating_mul(s.len().min(64))))?;
            let strips = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
            let mut out = s;
            if name != "rstrip" {
                out = out.trim_start_matches(strips);
            }
            if name != "lstrip" {
                out = out.trim_end_matches(strips);
            }
            Ok(Value::from(out))
        }
        "split" | "rsplit" => {
            let [separator, limit] = bind(what, arguments, ["sep", "maxsplit"])?;
            let limit = usize::try_from(whole(what, limit.as_ref(), -1)?).unwrap_or(usize::MAX - 1);
            let parts: Vec<&str> = match separator.as_ref().filter(|separator| !separator.is_none()) {
                None => split_space(s, limit, name == "rsplit"),
                Some(separator) => {
                    let separator = text(what, Some(separator))?;
                    if separator.is_empty() {
                        return Err(error("str.split(): the separator is empty"));
                    }
                    if name == "split" {
                        s.splitn(limit + 1, separator).collect()
                    } else {
                        let mut parts: Vec<&str> = s.rsplitn(limit + 1, separator).collect();
                        parts.reverse();
                        parts
                    }
                }
            };
            charge_list(state, parts.len().saturating_mul(2))?;
            Ok(parts.into_iter().map(Value::from).collect())
        }
        "splitlines" => {
            let [keep] = bind(what, arguments, ["keepends"])?;
            let lines = split_lines(s, keep.is_some_and(|keep| keep.is_true()));
            charge_list(state, lines.len().saturating_mul(2))?;
            Ok(lines.into_iter().map(Value::from).collect())
        }
        "join" => {
            let [list] = bind(what, arguments, ["iterable"])?;
            let items = elements(state, &list.unwrap_or_default())?;
            let mut sink = super::text::Sink::new(limits::left(state));
            for (index, item) in items.iter().enumerate() {
                sink.push(if index > 0 { s } else { "" })?;
                sink.push(text("str.join(): the list", Some(item))?)?;
            }
            made(state, sink.text)
        }
        "replace" => {
            let [old, new, count] = bind(what, arguments, ["old", "new", "count"])?;
            let count = whole(what, count.as_ref(), -1)?;
            replaced(state, s, text(what, old.as_ref())?, text(what, new.as_ref())?, count)
        }
        "startswith" | "endswith" => {
            let [affix] = bind(what, arguments, ["prefix"])?;
            let affix = affix.unwrap_or_default();
            let affixes = if affix.is_tuple() { elements(state, &affix)? } else { vec![affix] };
            for affix in &affixes {
                let affix = text(what, Some(affix))?;
                if if name == "startswith" { s.starts_with(affix) } else { s.ends_with(affix) } {
                    return Ok(Value::from(true));
                }
            }
            Ok(Value::from(false))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [part] = bind(what, arguments, ["sub"])?;
            let part = text(what, part.as_ref())?;
            if name == "count" {
                return Ok(Value::from(s.matches(part).count()));
            }
            match if name.starts_with('r') { s.rfind(part) } else { s.find(part) } {
                Some(at) => Ok(Value::from(s[..at].chars().count())),
                None if name.ends_with("index") => Err(error(format!("{what}: the part is not in the string"))),
                None => Ok(Value::from(-1)),
            }
        }
        "upper" | "lower" | "casefold" | "capitalize" | "swapcase" | "title" => {
            let [] = bind(what, arguments, [])?;
            let out = match name {
                "upper" => s.to_uppercase(),
                "capitalize" => capitalized(s),
                "swapcase" => s
                    .chars()
                    .flat_map(|c| if c.is_uppercase() { c.to_lowercase().collect::<Vec<_>>() } else { c.to_uppercase().collect() })
                    .collect(),
                "title" => titled(s),
                _ => s.to_lowercase(),
            };
            made(state, out)
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            let [width, fill] = bind(what, arguments, ["width", "fillchar"])?;
            let width = usize::try_from(whole(what, width.as_ref(), 0)?).unwrap_or(0);
            let fill = if name == "zfill" { "0" } else { fill.as_ref().map_or(Ok(" "), |fill| text(what, Some(fill)))? };
            if fill.chars().count() != 1 {
                return Err(error(format!("{what} fills with one character")));
            }
            padded(state, s, width, fill, name)
        }
        "partition" | "rpartition" => {
            let [separator] = bind(what, arguments, ["sep"])?;
            let separator = text(what, separator.as_ref())?;
            let found = if name == "partition" { s.split_once(separator) } else { s.rsplit_once(separator) };
            let parts = match found {
                _ if separator.is_empty() => return Err(error(format!("{what}: the separator is empty"))),
                Some((before, after)) => [before, separator, after],
                None if name == "partition" => [s, "", ""],
                None => ["", "", s],
            };
            charge(state, s.len())?;
            Ok(Value::from(Tuple::from(parts.map(Value::from))))
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = bind(what, arguments, ["affix"])?;
            let affix = text(what, affix.as_ref())?;
            let rest = if name == "removeprefix" { s.strip_prefix(affix) } else { s.strip_suffix(affix) };
            Ok(Value::from(rest.unwrap_or(s)))
        }
        "format" => formatted(state, FormatStyle::StrFormat, s, arguments),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments).map_err(|failed| match failed.kind() {
            ErrorKind::UnknownMethod => error(format!("a string has no method {name}")),
            _ => failed,
        }),
    }
}

/// `s.replace(old, new, count)`; a negative count replaces all.
pub(super) fn replaced(state: &mut State, s: &str, old: &str, new: &str, count: i64) -> Result<Value, Error> {
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let times = s.matches(old).take(limit).count();
    charge(state, (s.len() - times * old.len()).saturating_add(times.saturating_mul(new.len())))?;
    Ok(Value::from(s.replacen(old, new, limit)))
}

/// `s` filled up to `width` characters, as `str.center`, `ljust`, `rjust` and `zfill` do.
pub(super) fn padded(state: &mut State, s: &str, width: usize, fill: &str, how: &str) -> Result<Value, Error> {
    let missing = width.saturating_sub(s.chars().count());
    charge(state, s.len().saturating_add(missing.saturating_mul(fill.len())))?;
    let left = match how {
        "ljust" => 0,
        // Python puts the odd one to the left where the width is odd.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let (sign, digits) = match s.strip_prefix(['+', '-']) {
        Some(digits) if how == "zfill" => s.split_at(s.len() - digits.len()),
        _ => ("", s),
    };
    Ok(Value::from(format!("{sign}{}{digits}{}", fill.repeat(left), fill.repeat(missing - left))))
}

/// `str.capitalize`.
pub(super) fn capitalized(s: &str) -> String {
    let mut chars = s.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect())
}

/// `str.title`: a capital after everything that isn't a letter.
fn titled(s: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if inside {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphabetic();
    }
    out
}

/// `str.split()` without a separator: runs of white space, none at the ends.
fn split_space(s: &str, limit: usize, from_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = s.trim_matches(is_space);
    while !rest.is_empty() {
        let cut = if parts.len() >= limit {
            None
        } else if from_right {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let Some(at) = cut else { break };
        if from_right {
            let after = at + rest[at..].chars().next().map_or(0, char::len_utf8);
            parts.push(&rest[after..]);
            rest = rest[..at].trim_end_matches(is_space);
        } else {
            parts.push(&rest[..at]);
            rest = rest[at..].trim_start_matches(is_space);
        }
    }
    if !rest.is_empty() {
        // With a limit the white space at the far end stays.
        let far = if parts.len() < limit || parts.is_empty() && limit > 0 {
            rest
        } else if from_right {
            let end = rest.as_ptr() as usize - s.as_ptr() as usize + rest.len();
            &s[..end]
        } else {
            &s[rest.as_ptr() as usize - s.as_ptr() as usize..]
        };
        parts.push(far);
    }
    if from_right {
        parts.reverse();
    }
    parts
}

/// `str.splitlines`.
fn split_lines(s: &str, keep: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = s.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && chars.next_if(|&(_, next)| next == '\n').is_some() {
            end += 1;
        }
        lines.push(&s[start..if keep { end } else { at }]);
        start = end;
    }
    if start < s.len() {
        lines.push(&s[start..]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_at_white_space() {
        for (s, limit, left, right) in [
            (" a  b c ", usize::MAX - 1, vec!["a", "b", "c"], vec!["a", "b", "c"]),
            (" a  b c ", 1, vec!["a", "b c "], vec![" a  b", "c"]),
            (" a ", 0, vec!["a "], vec![" a"]),
            (" a ", 1, vec!["a"], vec!["a"]),
            ("   ", 3, vec![], vec![]),
            ("a\u{a0}b\x1cc", 9, vec!["a", "b", "c"], vec!["a", "b", "c"]),
        ] {
            assert_eq!(split_space(s, limit, false), left, "{s:?} {limit}");
            assert_eq!(split_space(s, limit, true), right, "{s:?} {limit}");
        }
    }

    #[test]
    fn splitting_lines() {
        assert_eq!(split_lines("a\r\nb\rc\n\nd", false), ["a", "b", "c", "", "d"]);
        assert_eq!(split_lines("a\r\nb\n", true), ["a\r\n", "b\n"]);
        assert!(split_lines("", false).is_empty());
    }
}
