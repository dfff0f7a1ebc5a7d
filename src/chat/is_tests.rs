//! Tests: what may stand after `is`, as jinja2 has it.

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::filters::string;
use super::limits::{error, is_dict, is_engine_object};
use super::operators::{Number, contains, equal, number, order};

/// Every test that a template can name.
pub(super) const NAMES: [&str; 33] = [
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Adds the tests to `env`.
pub(super) fn register(env: &mut Environment<'_>) {
    use ValueKind as K;
    type Kind = (&'static str, fn(&Value) -> bool);
    let kinds: [Kind; 15] = [
        ("boolean", |v| v.kind() == K::Bool),
        ("callable", |v| v.kind() == K::Plain || v.is_undefined() || is_engine_object(v, "Macro") || is_engine_object(v, "Loop")),
        ("defined", |v| !v.is_undefined()),
        ("undefined", Value::is_undefined),
        ("escaped", |_| false),
        ("false", |v| v.kind() == K::Bool && !v.is_true()),
        ("true", |v| v.kind() == K::Bool && v.is_true()),
        ("float", |v| v.kind() == K::Number && !v.is_integer()),
        ("integer", |v| v.kind() == K::Number && v.is_integer()),
        ("number", |v| matches!(v.kind(), K::Number | K::Bool)),
        ("none", Value::is_none),
        ("mapping", is_dict),
        // Python's strings, dicts and even undefined values have a length and items.
        ("sequence", |v| is_dict(v) || matches!(v.kind(), K::Seq | K::Iterable | K::String | K::Undefined)),
        ("iterable", |v| is_dict(v) || matches!(v.kind(), K::Seq | K::Iterable | K::String | K::Undefined)),
        ("string", |v| v.kind() == K::String),
    ];
    for (name, holds) in kinds {
        env.add_test(name, move |value: Value| holds(&value));
    }
    for (name, rest) in [("odd", 1), ("even", 0)] {
        env.add_test(name, move |value: Value| remainder(&value, &Value::from(2)).map(|r| r == f64::from(rest)));
    }
    env.add_test("divisibleby", |value: Value, by: Value| remainder(&value, &by).map(|r| r == 0.0));
    for name in ["eq", "equalto"] {
        env.add_test(name, |state: &mut State, a: Value, b: Value| equal(state, &a, &b));
    }
    env.add_test("ne", |state: &mut State, a: Value, b: Value| equal(state, &a, &b).map(|same| !same));
    env.add_test("sameas", |state: &mut State, a: Value, b: Value| Ok::<_, Error>(a.kind() == b.kind() && equal(state, &a, &b)?));
    env.add_test("in", |state: &mut State, a: Value, b: Value| contains(state, &b, &a));
    type Order = (&'static str, fn(std::cmp::Ordering) -> bool);
    let orders: [Order; 6] = [
        ("lt", |o| o.is_lt()),
        ("lessthan", |o| o.is_lt()),
        ("le", |o| o.is_le()),
        ("gt", |o| o.is_gt()),
        ("greaterthan", |o| o.is_gt()),
        ("ge", |o| o.is_ge()),
    ];
    for (name, holds) in orders {
        env.add_test(name, move |state: &mut State, a: Value, b: Value| Ok::<_, Error>(order(state, &a, &b)?.is_some_and(holds)));
    }
    for (name, upper) in [("lower", false), ("upper", true)] {
        env.add_test(name, move |state: &mut State, value: Value| string(state, &value).map(|text| cased(&text, upper)));
    }
    env.add_test("filter", |arguments: Rest<Value>| named(&arguments, &super::filters::NAMES));
    env.add_test("test", |arguments: Rest<Value>| named(&arguments, &NAMES));
}

fn named(arguments: &[Value], names: &[&str]) -> bool {
    arguments.first().and_then(|name| name.as_str()).is_some_and(|name| names.contains(&name))
}

fn remainder(value: &Value, by: &Value) -> Result<f64, Error> {
    match (number(value), number(by)) {
        (Some(Number::Integer(a)), Some(Number::Integer(b))) if b != 0 => Ok(a.checked_rem_euclid(b).unwrap_or(0) as f64),
        (Some(a), Some(b)) if b.float() != 0.0 => Ok(a.float().rem_euclid(b.float())),
        _ => Err(error(format!("no remainder of values of types {} and {}", value.kind(), by.kind()))),
    }
}

/// Python's `str.isupper` and `str.islower`.
fn cased(text: &str, upper: bool) -> bool {
    text.chars().any(|c| if upper { c.is_uppercase() } else { c.is_lowercase() })
        && !text.chars().any(|c| if upper { c.is_lowercase() } else { c.is_uppercase() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_registered() {
        let mut env = Environment::empty();
        register(&mut env);
        for name in NAMES {
            let source = format!("{{{{ 'x' is {name} }}}}");
            if let Err(failed) = env.render_str(&source, ()) {
                assert_ne!(failed.kind(), minijinja::ErrorKind::UnknownTest, "{name}");
            }
        }
    }
}
