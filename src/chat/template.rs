//! A compiled chat template, and rendering it.

use minijinja::value::Rest;
use minijinja::{AutoEscape, Environment, Error as EngineError, ErrorKind as EngineErrorKind, State, Value};

use super::calendar::DateTime;
use super::limits::{self, charge, charge_list, error};
use super::methods::{Arguments, values};
use super::{Result, failure, filters, is_tests, operators, statements, text};
use crate::base::Error;

/// One message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks: "system", "user", "assistant", or another role that the template knows.
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

/// The value of a variable that a host gives to a template, such as `enable_thinking`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Variable<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(&'a str),
    /// `none`.
    None,
}

/// How to render.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Options<'a> {
    /// Whether the prompt ends with what opens the assistant's answer.
    pub add_generation_prompt: bool,
    /// What `strftime_now` tells. `None`: the system's clock in UTC (transformers takes local time). Give a date to have the
    /// same prompt every day.
    pub now: Option<DateTime>,
    /// Further variables; they come before those that this module sets, except `messages` and `add_generation_prompt`.
    pub variables: &'a [(&'a str, Variable<'a>)],
}

/// A chat template, parsed and checked. Immutable, `Send + Sync`; rendering keeps nothing.
///
/// A model without a template has none of these: who loads the model reports that, as
/// [`Unsupported`](crate::base::ErrorKind::Unsupported) ("the model has no chat template").
pub struct Template {
    env: Environment<'static>,
    bos: String,
    eos: String,
}

/// The name under which the engine knows the one template.
const NAME: &str = "chat template";

impl Template {
    /// Parses `source`. `bos` and `eos` are the texts of the model's tokens for beginning and end; an empty one stays undefined.
    ///
    /// # Errors
    /// [`Template`](crate::base::ErrorKind::Template) naming the line: syntax that jinja2 refuses too, tags that this version
    /// doesn't have (see the [module](super)), more than 256 KiB of source, or nesting past the bounds.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let translated = statements::translate(source)?;
        let mut env = Environment::empty();
        env.set_debug(false);
        env.set_recursion_limit(limits::RECURSION_LIMIT);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_formatter(|out, state, value| {
            // Every output passes here, also that of macros and captured blocks.
            let written = match value.as_str() {
                Some(text) => {
                    charge(state, text.len())?;
                    out.write_str(text)
                }
                None => {
                    let text = text::string(value, limits::left(state))?;
                    charge(state, text.len())?;
                    out.write_str(&text)
                }
            };
            written.map_err(EngineError::from)
        });
        operators::register(&mut env);
        filters::register(&mut env);
        is_tests::register(&mut env);
        env.add_function("range", range);
        env.add_function("dict", dict);
        env.add_function("namespace", namespace);
        env.add_function("raise_exception", |message: Value| -> std::result::Result<Value, EngineError> {
            Err(error(text::string(&message, 4000).unwrap_or_else(|_| "an exception with a long message".to_owned())))
        });
        env.add_template_owned(NAME, translated).map_err(|failed| refused(&failed))?;
        Ok(Self { env, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The prompt for `messages`; `add_generation_prompt` opens the assistant's answer.
    ///
    /// # Errors
    /// As [`render_with`](Self::render_with).
    pub fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<String> {
        self.render_with(messages, &Options { add_generation_prompt, ..Options::default() })
    }

    /// The prompt for `messages`. Costs microseconds for real templates; a hostile one is stopped after at most a few seconds
    /// and some 160 MiB, plus 130 bytes for each byte of the messages. Takes up to 256 KiB of the caller's stack.
    ///
    /// # Errors
    /// [`Template`](crate::base::ErrorKind::Template) where the template raises (`raise_exception`, a type error, an
    /// undefined value used) or passes its limits of memory, instructions or recursion;
    /// [`InvalidArgument`](crate::base::ErrorKind::InvalidArgument) for a date that doesn't exist.
    pub fn render_with(&self, messages: &[Message<'_>], options: &Options<'_>) -> Result<String> {
        let now = options.now.unwrap_or_else(DateTime::now_utc);
        if !now.is_valid() {
            return Err(Error::invalid_argument(format!("{now:?} is not a date")));
        }
        let mut env = self.env.clone();
        env.set_fuel(Some(limits::fuel(messages.len())));
        env.add_function("strftime_now", move |state: &mut State, format: &str| {
            charge(state, format.len().saturating_mul(32))?;
            now.format(format)
        });
        let size: usize = messages.iter().map(|message| message.role.len() + message.content.len() + 64).sum();
        let mut context: Vec<(&str, Value)> = vec![(limits::INPUT_SIZE, Value::from(size))];
        for (name, token) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            if !token.is_empty() {
                context.push((name, Value::from(token.as_str())));
            }
        }
        context.extend([("tools", Value::from(())), ("documents", Value::from(()))]);
        context.extend(options.variables.iter().filter(|(name, _)| !name.starts_with("_lq")).map(|&(name, value)| (name, given(value))));
        let turns: Vec<Value> =
            messages.iter().map(|message| Value::from_pairs([("role", message.role), ("content", message.content)])).collect();
        context.push(("messages", Value::from(turns)));
        context.push(("add_generation_prompt", Value::from(options.add_generation_prompt)));
        let template = env.get_template(NAME).map_err(|failed| refused(&failed))?;
        template.render(Value::from_pairs(context)).map_err(|failed| refused(&failed))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template(bos {:?}, eos {:?})", self.bos, self.eos)
    }
}

fn given(value: Variable<'_>) -> Value {
    match value {
        Variable::Bool(value) => Value::from(value),
        Variable::Integer(value) => Value::from(value),
        Variable::Float(value) => Value::from(value),
        Variable::Text(value) => Value::from(value),
        Variable::None => Value::from(()),
    }
}

/// The engine's error as ours: its line and what it says.
fn refused(failed: &EngineError) -> Error {
    let line = failed.line().map_or(String::new(), |line| format!("line {line}: "));
    let said = match (failed.kind(), failed.detail()) {
        (EngineErrorKind::OutOfFuel, _) => "the template runs longer than a chat template may".to_owned(),
        (EngineErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    failure(format!("{line}{said}"))
}

/// `range(stop)`, `range(start, stop)`, `range(start, stop, step)` as a list; as long as jinja2's sandbox allows.
fn range(state: &mut State, arguments: Rest<Value>) -> std::result::Result<Value, EngineError> {
    let numbers: Option<Vec<i64>> = arguments.iter().map(|value| value.as_i64().filter(|_| value.is_integer())).collect();
    let (start, stop, step) = match numbers.as_deref() {
        Some(&[stop]) => (0, stop, 1),
        Some(&[start, stop]) => (start, stop, 1),
        Some(&[start, stop, step]) if step != 0 => (start, stop, step),
        _ => return Err(error("range takes one to three integers, the step not 0")),
    };
    let distance = if step > 0 { i128::from(stop) - i128::from(start) } else { i128::from(start) - i128::from(stop) };
    let len = (distance.max(0) as u128).div_ceil(u128::from(step.unsigned_abs()));
    if len > limits::MAX_RANGE as u128 {
        return Err(error(format!("a range of more than {} numbers", limits::MAX_RANGE)));
    }
    charge_list(state, len as usize)?;
    Ok((0..len as i64).map(|index| Value::from(start + index * step)).collect())
}

/// `dict(a=1, …)` or a copy of a dict.
fn dict(state: &mut State, arguments: Arguments) -> std::result::Result<Value, EngineError> {
    let mut pairs = Vec::new();
    for argument in values(arguments) {
        if !limits::is_dict(&argument) {
            return Err(error("dict takes dicts and names with values"));
        }
        limits::walk(state, &argument, false)?;
        charge_list(state, argument.len().unwrap_or(0).saturating_mul(2))?;
        for key in argument.try_iter()? {
            let value = argument.get_item(&key)?;
            pairs.push((key, value));
        }
    }
    Ok(Value::from_pairs(pairs))
}

/// `namespace(a=1, …)`. It may hold namespaces: being new, it can't be held by them.
fn namespace(state: &mut State, arguments: Arguments) -> std::result::Result<Value, EngineError> {
    let arguments = values(arguments);
    for argument in arguments.iter() {
        limits::walk(state, argument, false)?;
    }
    charge_list(state, arguments.first().and_then(|first| first.len()).unwrap_or(0))?;
    Value::from_function(minijinja::functions::namespace).call(state, &arguments)
}
