//! Python's operators: the `_lq_…` functions that translated expressions call.
//!
//! Each pays for what it makes or looks at before it makes it. What Python refuses (adding a number to a string, ordering
//! a list against a number, anything with an undefined value) is an error here.

use std::cmp::Ordering;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Rest, Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::limits::{self, charge, charge_list, error, walk};
use super::{methods, text};

/// Adds the functions to `env`.
pub(super) fn register(env: &mut Environment<'_>) {
    env.add_function("_lq_box", |state: &mut State, value: Value| walk(state, &value, false).map(|()| value));
    env.add_function("_lq_keep", |state: &mut State, value: Value| walk(state, &value, true).map(|()| value));
    env.add_function("_lq_calculate", calculate);
    env.add_function("_lq_concat", concat);
    env.add_function("_lq_compare", compare);
    env.add_function("_lq_negate", |value: Value| negate(&value));
    env.add_function("_lq_plus", |value: Value| match number(&value) {
        Some(_) => Ok(value),
        None => Err(error(format!("the sign + before a value of type {}", value.kind()))),
    });
    env.add_function("_lq_item", |state: &mut State, of: Value, key: Value| item(state, &of, &key));
    env.add_function("_lq_slice", slice);
    env.add_function("_lq_iterate", iterate);
    env.add_function("_lq_splat", |state: &mut State, value: Value| {
        let list = elements(state, &value)?;
        if list.len() > 1000 { Err(error("more than 1000 arguments")) } else { Ok(Value::from(list)) }
    });
    env.add_function("_lq_call", methods::call);
}

/// A number as Python's arithmetic sees it; truth values are 0 and 1.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Self::Integer(x) => x as f64,
            Self::Float(x) => x,
        }
    }
}

/// The number that `value` is, if it is one.
pub(super) fn number(value: &Value) -> Option<Number> {
    match value.kind() {
        ValueKind::Bool => Some(Number::Integer(i128::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Number::Integer),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
        _ => None,
    }
}

/// An integer in the engine's usual width.
pub(super) fn integer(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// `a op b op c …`, from the left.
fn calculate(state: &mut State, arguments: Rest<Value>) -> Result<Value, Error> {
    let mut arguments = arguments.0.into_iter();
    let mut left = arguments.next().unwrap_or_default();
    while let (Some(operator), Some(right)) = (arguments.next(), arguments.next()) {
        left = binary(state, operator.as_str().unwrap_or(""), &left, &right)?;
    }
    Ok(left)
}

fn binary(state: &mut State, operator: &str, left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (number(left), number(right)) {
        return arithmetic(operator, a, b);
    }
    let wrong = || error(format!("unsupported operand types for {operator}: {} and {}", left.kind(), right.kind()));
    match operator {
        "+" => {
            if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
                charge(state, a.len() + b.len())?;
                return Ok(Value::from([a, b].concat()));
            }
            if !is_list(left) || !is_list(right) || left.is_tuple() != right.is_tuple() {
                return Err(wrong());
            }
            charge_list(state, left.len().unwrap_or(0).saturating_add(right.len().unwrap_or(0)))?;
            let items: Vec<Value> = left.try_iter()?.chain(right.try_iter()?).collect();
            Ok(sequence(items, left.is_tuple()))
        }
        "*" => {
            let (of, times) = match (number(left), number(right)) {
                (None, Some(Number::Integer(times))) => (left, times),
                (Some(Number::Integer(times)), None) => (right, times),
                _ => return Err(wrong()),
            };
            let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
            if let Some(text) = of.as_str() {
                charge(state, text.len().saturating_mul(times))?;
                return Ok(Value::from(if text.is_empty() { String::new() } else { text.repeat(times) }));
            }
            if !is_list(of) {
                return Err(wrong());
            }
            let items: Vec<Value> = of.try_iter()?.collect();
            let len = items.len().saturating_mul(times);
            charge_list(state, len)?;
            Ok(sequence(items.iter().cycle().take(len).cloned().collect(), of.is_tuple()))
        }
        "%" => match left.as_str() {
            Some(pattern) => {
                let mapping = is_list(right) && !right.is_tuple() || right.kind() == ValueKind::Map;
                let arguments = if right.is_tuple() { elements(state, right)? } else { vec![right.clone()] };
                // Python wants every argument used, but for dicts and (by an accident of it) lists.
                if !mapping && fields(pattern) < arguments.len() {
                    return Err(error("not all arguments converted during string formatting"));
                }
                formatted(state, FormatStyle::Printf, pattern, &arguments)
            }
            None => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn arithmetic(operator: &str, a: Number, b: Number) -> Result<Value, Error> {
    let zero = || error("division by zero");
    if let (Number::Integer(a), Number::Integer(b)) = (a, b) {
        let whole = match operator {
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            "//" | "%" if b == 0 => return Err(zero()),
            // Python rounds down; the remainder has the divisor's sign.
            "//" => a.checked_div(b).map(|q| if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q }),
            "%" => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
            "**" if b >= 0 => u32::try_from(b).ok().and_then(|power| a.checked_pow(power)),
            _ => return floating(operator, a as f64, b as f64),
        };
        return whole.map(integer).ok_or_else(|| error(format!("the result of {operator} has more than 128 bits")));
    }
    floating(operator, a.float(), b.float())
}

fn floating(operator: &str, a: f64, b: f64) -> Result<Value, Error> {
    let remainder = || {
        let r = a % b;
        if r == 0.0 {
            0.0f64.copysign(b)
        } else if (r < 0.0) == (b < 0.0) {
            r
        } else {
            r + b
        }
    };
    Ok(Value::from(match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" | "//" | "%" if b == 0.0 => return Err(error("division by zero")),
        "/" => a / b,
        "//" => ((a - remainder()) / b).round(),
        "%" => remainder(),
        "**" if a == 0.0 && b < 0.0 => return Err(error("zero to a negative power")),
        "**" => a.powf(b),
        _ => return Err(error(format!("unknown operator {operator}"))),
    }))
}

fn negate(value: &Value) -> Result<Value, Error> {
    match number(value) {
        Some(Number::Integer(x)) => x.checked_neg().map(integer).ok_or_else(|| error("a number of more than 128 bits")),
        Some(Number::Float(x)) => Ok(Value::from(-x)),
        None => Err(error(format!("the sign - before a value of type {}", value.kind()))),
    }
}

/// `a ~ b ~ c …`.
fn concat(state: &mut State, arguments: Rest<Value>) -> Result<Value, Error> {
    let mut sink = text::Sink::new(limits::left(state));
    for value in arguments.0 {
        sink.push_str(&value)?;
    }
    made(state, sink.text)
}

/// A string as a value, paid for.
pub(super) fn made(state: &mut State, text: String) -> Result<Value, Error> {
    charge(state, text.len())?;
    Ok(Value::from(text))
}

fn sequence(items: Vec<Value>, tuple: bool) -> Value {
    if tuple { Value::from(Tuple::from(items)) } else { Value::from(items) }
}

/// `a op b op c …`: every neighbouring pair holds. All operands were evaluated, which jinja2 leaves out after a failure.
fn compare(state: &mut State, arguments: Rest<Value>) -> Result<Value, Error> {
    for triple in arguments.0.windows(3).step_by(2) {
        let (left, operator, right) = (&triple[0], triple[1].as_str().unwrap_or(""), &triple[2]);
        let holds = match operator {
            "==" => equal(state, left, right)?,
            "!=" => !equal(state, left, right)?,
            "in" => contains(state, right, left)?,
            "not in" => !contains(state, right, left)?,
            _ => match (order(state, left, right)?, operator) {
                (None, _) => false,
                (Some(order), "<") => order.is_lt(),
                (Some(order), "<=") => order.is_le(),
                (Some(order), ">") => order.is_gt(),
                (Some(order), _) => order.is_ge(),
            },
        };
        if !holds {
            return Ok(Value::from(false));
        }
    }
    Ok(Value::from(true))
}

/// Python's `==`.
pub(super) fn equal(state: &mut State, a: &Value, b: &Value) -> Result<bool, Error> {
    charge(state, 0)?;
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(match (a, b) {
            (Number::Integer(a), Number::Integer(b)) => a == b,
            _ => a.float() == b.float(),
        });
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        if a.len() == b.len() {
            charge(state, a.len() / 16)?;
        }
        return Ok(a == b);
    }
    match (a.kind(), b.kind()) {
        (ValueKind::Seq | ValueKind::Iterable, ValueKind::Seq | ValueKind::Iterable) => {
            if a.is_tuple() != b.is_tuple() || a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.try_iter()?.zip(b.try_iter()?) {
                if !equal(state, &a, &b)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (ValueKind::Map, ValueKind::Map) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for key in a.try_iter()? {
                let (Some(a), Some(b)) = (lookup(a, &key), lookup(b, &key)) else { return Ok(false) };
                if !equal(state, &a, &b)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (ValueKind::Plain, ValueKind::Plain) => Ok(a == b),
        (a, b) => Ok(a == b && matches!(a, ValueKind::None | ValueKind::Undefined)),
    }
}

/// What a dict has under `key`.
pub(super) fn lookup(dict: &Value, key: &Value) -> Option<Value> {
    dict.as_object().and_then(|object| object.get_value(key))
}

/// Python's order of two values; `None` where a NaN is compared.
pub(super) fn order(state: &mut State, a: &Value, b: &Value) -> Result<Option<Ordering>, Error> {
    charge(state, 0)?;
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(match (a, b) {
            (Number::Integer(a), Number::Integer(b)) => Some(a.cmp(&b)),
            _ => a.float().partial_cmp(&b.float()),
        });
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        charge(state, a.len().min(b.len()) / 16)?;
        return Ok(Some(a.cmp(b)));
    }
    if !is_list(a) || !is_list(b) || a.is_tuple() != b.is_tuple() {
        return Err(error(format!("values of types {} and {} have no order", a.kind(), b.kind())));
    }
    for (a, b) in a.try_iter()?.zip(b.try_iter()?) {
        if !equal(state, &a, &b)? {
            return order(state, &a, &b);
        }
    }
    Ok(Some(a.len().cmp(&b.len())))
}

/// Python's `needle in haystack`.
pub(super) fn contains(state: &mut State, haystack: &Value, needle: &Value) -> Result<bool, Error> {
    match haystack.kind() {
        ValueKind::Undefined => Ok(false),
        ValueKind::String => match (haystack.as_str(), needle.as_str()) {
            (Some(text), Some(part)) => {
                charge(state, text.len() / 4)?;
                Ok(text.contains(part))
            }
            _ => Err(error(format!("a value of type {} can't be in a string", needle.kind()))),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            for item in haystack.try_iter()? {
                if equal(state, &item, needle)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        ValueKind::Map => {
            hashable(state, needle)?;
            Ok(lookup(haystack, needle).is_some())
        }
        kind => Err(error(format!("a value of type {kind} contains nothing"))),
    }
}

/// A dict's key may be long; looking it up reads all of it.
fn hashable(state: &mut State, key: &Value) -> Result<(), Error> {
    match key.kind() {
        ValueKind::String => charge(state, key.as_str().map_or(0, str::len) / 16),
        ValueKind::Seq | ValueKind::Iterable if key.is_tuple() => walk(state, key, false),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Err(error(format!("a {} can't be a key", key.kind()))),
        _ => Ok(()),
    }
}

/// `of[key]`; undefined where there is no such item.
fn item(state: &mut State, of: &Value, key: &Value) -> Result<Value, Error> {
    charge(state, 0)?;
    match of.kind() {
        ValueKind::Undefined => Err(error(format!("an undefined value has no item {key:.100}"))),
        ValueKind::Map => {
            if matches!(key.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) && !key.is_tuple() {
                return Ok(Value::UNDEFINED);
            }
            hashable(state, key)?;
            Ok(lookup(of, key).unwrap_or_default())
        }
        ValueKind::String | ValueKind::Seq | ValueKind::Iterable => {
            let Some(Number::Integer(index)) = number(key) else { return Ok(Value::UNDEFINED) };
            if let Some(text) = of.as_str() {
                charge(state, text.len() / 4)?;
                let count = || text.chars().count() as i128;
                let index = if index < 0 { index + count() } else { index };
                let found = usize::try_from(index).ok().and_then(|index| text.chars().nth(index));
                return Ok(found.map_or(Value::UNDEFINED, Value::from));
            }
            let index = if index < 0 { index + of.len().unwrap_or(0) as i128 } else { index };
            Ok(usize::try_from(index).ok().and_then(|index| of.get_item_by_index(index).ok()).unwrap_or_default())
        }
        // Loops and the like have attributes.
        _ => Ok(lookup(of, key).unwrap_or_default()),
    }
}

/// `of[start:stop:step]`, by Python's rules for bounds outside and negative steps.
fn slice(state: &mut State, of: Value, start: Value, stop: Value, step: Value) -> Result<Value, Error> {
    let bound = |value: &Value| match number(value) {
        _ if value.is_none() => Ok(None),
        Some(Number::Integer(x)) => Ok(Some(x)),
        _ => Err(error("the bounds of a slice must be integers")),
    };
    if of.as_str().is_none() && !is_list(&of) {
        return Err(error(format!("a value of type {} has no slices", of.kind())));
    }
    let step = bound(&step)?.unwrap_or(1);
    if step == 0 {
        return Err(error("the step of a slice is 0"));
    }
    let text: Option<Vec<char>> = match of.as_str() {
        Some(text) => {
            charge(state, text.len().saturating_mul(4))?;
            Some(text.chars().collect())
        }
        None => None,
    };
    let len = text.as_ref().map_or_else(|| of.len().unwrap_or(0), Vec::len) as i128;
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp =
        |value: Option<i128>, absent: i128| value.map_or(absent, |x| if x < 0 { x.saturating_add(len) } else { x }.clamp(low, high));
    let (start, stop) = if step > 0 {
        (clamp(bound(&start)?, low), clamp(bound(&stop)?, high))
    } else {
        (clamp(bound(&start)?, high), clamp(bound(&stop)?, low))
    };
    let mut indices = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        indices.push(at as usize);
        at = at.saturating_add(step);
    }
    if let Some(text) = text {
        return made(state, indices.into_iter().map(|index| text[index]).collect());
    }
    charge_list(state, len as usize)?;
    let items: Vec<Value> = of.try_iter()?.collect();
    Ok(sequence(indices.into_iter().filter_map(|index| items.get(index).cloned()).collect(), of.is_tuple()))
}

/// What a `for` loop walks over: lists as they are, the characters of a string, the keys of a dict.
fn iterate(state: &mut State, value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq => Ok(value),
        _ => Ok(Value::from(elements(state, &value)?)),
    }
}

/// Python's `list(value)`.
pub(super) fn elements(state: &mut State, value: &Value) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Vec::new()),
        ValueKind::String => {
            let text = value.as_str().unwrap_or("");
            charge_list(state, text.len())?;
            Ok(text.chars().map(Value::from).collect())
        }
        ValueKind::Map if !limits::is_dict(value) => Err(error("a namespace, loop or macro can't be walked over")),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            charge_list(state, value.len().unwrap_or(0))?;
            Ok(value.try_iter()?.collect())
        }
        kind => Err(error(format!("a value of type {kind} can't be walked over"))),
    }
}

/// Whether a field of the pattern asks for a width or precision of four digits and more, or takes it from an argument.
fn has_wide_field(style: &FormatStyle, pattern: &str) -> bool {
    let mut inside = false; // a field, where digits count
    let mut digits = 0;
    for c in pattern.chars() {
        inside = match style {
            FormatStyle::Printf => c == '%' || (inside && (c.is_ascii_digit() || "#- +.*".contains(c))),
            FormatStyle::StrFormat => c == '{' || (inside && c != '}'),
        };
        digits = if inside && c.is_ascii_digit() { digits + 1 } else { 0 };
        if digits > 3 || (inside && c == '*' && matches!(style, FormatStyle::Printf)) {
            return true;
        }
    }
    false
}

/// How many arguments a pattern of `%` takes, by position.
fn fields(pattern: &str) -> usize {
    pattern.split("%%").map(|part| part.matches('%').count()).sum()
}

/// `pattern % arguments` or `pattern.format(arguments)`. Widths of four digits and more are refused.
pub(super) fn formatted(state: &mut State, style: FormatStyle, pattern: &str, arguments: &[Value]) -> Result<Value, Error> {
    if has_wide_field(&style, pattern) {
        return Err(error("a format with such widths is not supported"));
    }
    charge(state, pattern.len().saturating_mul(4))?;
    let mut given = Vec::with_capacity(arguments.len());
    let mut longest = 1000;
    for argument in arguments {
        // The engine writes none, truth values and lists its own way.
        given.push(match argument.kind() {
            ValueKind::Number | ValueKind::String => argument.clone(),
            ValueKind::Map if argument.is_kwargs() => argument.clone(),
            _ => Value::from(text::string(argument, limits::left(state))?),
        });
        walk(state, argument, false)?;
        longest = longest.max(given.last().and_then(|value| value.as_str()).map_or(0, str::len));
    }
    // Each field may name the longest argument again.
    let named = pattern.bytes().filter(|&b| b == b'{' || b == b'%').count();
    charge(state, named.saturating_mul(longest))?;
    made(state, format(style, pattern, &given)?)
}
