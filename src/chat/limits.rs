//! What a template may use: a budget of memory and work for one rendering, and bounds on nesting.
//!
//! The engine counts instructions (its fuel). An instruction can make a text twice as long, so the operators, filters and
//! methods of this module's siblings also pay for every byte and element that they make or look at, from a [`Meter`] that
//! lives in the render state. What is alive at any time is no more than what was paid for.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// The longest template source, in bytes. Real ones have up to some 20,000.
pub(super) const MAX_SOURCE: usize = 1 << 18;
/// How deep expressions may nest, measured in the tree that the engine walks.
pub(super) const MAX_EXPRESSION_DEPTH: usize = 60;
/// How deep statements may nest; each `elif` counts as one level.
pub(super) const MAX_STATEMENT_DEPTH: usize = 100;
/// How deep lists and dicts may nest.
const MAX_VALUE_DEPTH: usize = 64;
/// How deep the engine may recurse, in its own measure: a macro call costs about 6.
pub(super) const RECURSION_LIMIT: usize = 240;
/// `range` makes at most so many numbers, as in jinja2's sandbox.
pub(super) const MAX_RANGE: usize = 100_000;
/// The name of the root variable that holds the size of the input, in bytes. Templates can't use names with this start.
pub(super) const INPUT_SIZE: &str = "_lq_input";

/// Instructions for one rendering with `messages` messages: thousands of times what real templates take.
pub(super) fn fuel(messages: usize) -> u64 {
    2_000_000 + 20_000 * messages as u64
}

/// What is left of the budget of one rendering, in bytes made and steps done.
#[derive(Debug)]
pub(super) struct Meter {
    left: u64,
}

/// A failure of the template itself, with `message`.
pub(super) fn error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The meter of this rendering: 64 MiB and 64 times the input.
fn meter<'a>(state: &'a mut State) -> &'a mut Meter {
    let input = match state.get_extension::<Meter>() {
        Some(_) => 0,
        None => state.lookup(INPUT_SIZE).and_then(|size| size.as_usize()).unwrap_or(0) as u64,
    };
    state.get_or_insert_extension_with(|| Meter { left: (64 << 20) + input.saturating_mul(64) })
}

/// What the meter has left: an upper bound for texts whose length is not known before they are made.
pub(super) fn left(state: &mut State) -> usize {
    usize::try_from(meter(state).left).unwrap_or(usize::MAX)
}

/// Pays `bytes` (and a little for the value itself).
pub(super) fn charge(state: &mut State, bytes: usize) -> Result<(), Error> {
    let meter = meter(state);
    match meter.left.checked_sub(bytes as u64 + 16) {
        Some(left) => {
            meter.left = left;
            Ok(())
        }
        None => {
            meter.left = 0;
            Err(error("the template uses more memory or work than a chat template may"))
        }
    }
}

/// Pays for a list of `len` elements.
pub(super) fn charge_list(state: &mut State, len: usize) -> Result<(), Error> {
    charge(state, len.saturating_mul(32))
}

/// What a value is beyond the engine's kinds; known by the names of the engine's own types.
pub(super) fn is_engine_object(value: &Value, name: &str) -> bool {
    value.as_object().is_some_and(|object| object.type_name().rsplit("::").next() == Some(name))
}

/// Whether `value` is a dict: the engine's own objects answer to names as well.
pub(super) fn is_dict(value: &Value) -> bool {
    value.kind() == ValueKind::Map && !["Namespace", "Loop", "Macro"].iter().any(|name| is_engine_object(value, name))
}

/// Walks a value and pays for each node.
///
/// # Errors
/// Nesting past the bound; a `loop` object, which would tie iterations into a chain; with `keep` a namespace, which could
/// hold itself.
pub(super) fn walk(state: &mut State, value: &Value, keep: bool) -> Result<(), Error> {
    fn inner(state: &mut State, value: &Value, keep: bool, depth: usize) -> Result<(), Error> {
        if depth > MAX_VALUE_DEPTH {
            return Err(error("lists and dicts are nested too deeply"));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                charge(state, 0)?;
                for item in value.try_iter()? {
                    inner(state, &item, keep, depth + 1)?;
                }
            }
            ValueKind::Map => {
                if is_engine_object(value, "Loop") || (keep && is_engine_object(value, "Namespace")) {
                    return Err(error("a loop or a namespace can't be kept inside another value"));
                }
                charge(state, 0)?;
                for key in value.try_iter()? {
                    inner(state, &value.get_item(&key)?, keep, depth + 1)?;
                }
            }
            _ => charge(state, 0)?,
        }
        Ok(())
    }
    inner(state, value, keep, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::Environment;

    #[test]
    fn the_engine_still_calls_its_types_so() {
        let mut env = Environment::empty();
        env.add_function("kind", |value: Value, name: String| is_engine_object(&value, &name));
        env.add_function("namespace", minijinja::functions::namespace);
        let source = "{% macro m() %}{% endmacro %}{% for x in [1] %}{{ kind(loop, 'Loop') }}{% endfor %}{{ kind(namespace(), 'Namespace') }}{{ kind(m, 'Macro') }}{{ kind([1], 'Loop') }}";
        assert_eq!(env.render_str(source, ()).unwrap().to_lowercase(), "truetruetruefalse");
    }
}
