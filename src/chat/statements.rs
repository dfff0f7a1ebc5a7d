//! Statements: the template's tags read by jinja2's rules, and the whole template written for the engine.
//!
//! Text goes over as a string expression, so that each output passes the one place that pays for it; open tags are kept
//! on a list, so nothing recurses. Tags keep their lines (line ends are added inside them), so the engine's errors name
//! the right one.

use super::expressions::{Reader, quote};
use super::lexer::{Kind, tokenize};
use super::limits::{MAX_SOURCE, MAX_STATEMENT_DEPTH};
use super::{Result, failure};

/// An open tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    If,
    For,
    Macro,
    Call,
    Filter,
    Set,
    With,
    Block,
    Generation,
}

impl Open {
    /// The tag that closes it, and what the engine has for that.
    fn end(self) -> (&'static str, &'static str) {
        match self {
            Self::If => ("endif", "endif"),
            Self::For => ("endfor", "endfor"),
            Self::Macro => ("endmacro", "endmacro"),
            Self::Call => ("endcall", "endcall"),
            Self::Filter => ("endfilter", "endfilter"),
            Self::Set => ("endset", "endset"),
            Self::With => ("endwith", "endwith"),
            Self::Block => ("endblock", "endblock"),
            Self::Generation => ("endgeneration", "endwith"),
        }
    }
}

/// One entry of the list of open tags.
struct Level {
    open: Open,
    line: u32,
    /// Its `else` was seen.
    otherwise: bool,
    /// How many levels of the engine's tree it stands for: each `elif` adds one.
    depth: usize,
}

/// `source` in the engine's language.
///
/// # Errors
/// A template error naming the line for what jinja2 refuses, what this version doesn't have, and what passes a bound.
pub(super) fn translate(source: &str) -> Result<String> {
    if source.len() > MAX_SOURCE {
        return Err(failure(format!("{} bytes of source, at most {MAX_SOURCE} are accepted", source.len())));
    }
    let mut translator =
        Translator { reader: Reader::new(tokenize(source)?), out: String::new(), line: 1, levels: Vec::new(), prologue: String::new() };
    translator.run()?;
    Ok(translator.out)
}

struct Translator {
    reader: Reader,
    out: String,
    /// The line that `out` has reached.
    line: u32,
    levels: Vec<Level>,
    /// Statements that follow the tag at hand: the defaults of its parameters.
    prologue: String,
}

impl Translator {
    fn run(&mut self) -> Result<()> {
        loop {
            let line = self.reader.line();
            match self.reader.next() {
                None => break,
                Some(Kind::Data(text)) => self.emit("{{", &quote(&text), "}}", line),
                Some(Kind::VariableBegin) => {
                    let value = self.reader.tuple(true)?;
                    self.settle()?;
                    self.reader.expect_end(&Kind::VariableEnd)?;
                    self.emit("{{", &value.text, "}}", line);
                }
                Some(Kind::BlockBegin) => {
                    let statement = self.statement()?;
                    self.reader.expect_end(&Kind::BlockEnd)?;
                    self.emit("{%", &statement, "%}", line);
                    self.out.push_str(&std::mem::take(&mut self.prologue));
                }
                Some(_) => return self.reader.fail("a token outside of tags"),
            }
        }
        match self.levels.last() {
            None => Ok(()),
            Some(level) => Err(failure(format!("the template ends without '{}' for the tag of line {}", level.open.end().0, level.line))),
        }
    }

    fn emit(&mut self, begin: &str, content: &str, end: &str, line: u32) {
        self.out.push_str(begin);
        while self.line < line {
            self.out.push('\n');
            self.line += 1;
        }
        self.out.push(' ');
        self.out.push_str(content);
        self.out.push(' ');
        self.out.push_str(end);
    }

    /// Unknown filters count only where an `if` is the innermost scope, as in jinja2.
    fn settle(&mut self) -> Result<()> {
        let soft = self.levels.last().is_some_and(|level| level.open == Open::If);
        self.reader.settle_unknown(soft)
    }

    fn open(&mut self, open: Open) -> Result<()> {
        self.levels.push(Level { open, line: self.reader.line(), otherwise: false, depth: 1 });
        self.check_depth()
    }

    fn check_depth(&self) -> Result<()> {
        if self.levels.iter().map(|level| level.depth).sum::<usize>() > MAX_STATEMENT_DEPTH {
            return self.reader.fail("tags are nested too deeply");
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<String> {
        let name = self.reader.identifier()?;
        let text = match &*name {
            "if" => {
                self.open(Open::If)?;
                let test = self.reader.tuple(false)?;
                self.settle()?;
                self.body(format!("if {}", test.text))
            }
            "elif" | "else" => self.branch(&name)?,
            "for" => self.for_loop()?,
            "set" => self.set()?,
            "macro" => {
                let name = self.reader.assignable()?;
                self.open(Open::Macro)?;
                let parameters = self.parameters()?;
                self.settle()?;
                self.body(format!("macro {name}({parameters})"))
            }
            "call" => {
                let parameters = if self.reader.at_operator("(") { format!("({})", self.parameters()?) } else { String::new() };
                let call = self.reader.expression(true)?;
                self.settle()?;
                self.open(Open::Call)?;
                self.body(format!("call{parameters} {}", call.text))
            }
            "filter" => {
                self.open(Open::Filter)?;
                let filters = self.filters()?;
                self.settle()?;
                self.body(format!("filter {filters}"))
            }
            "with" => {
                let mut assignments = Vec::new();
                while self.reader.peek() != Some(&Kind::BlockEnd) && !self.reader.at_operator(":") {
                    if !assignments.is_empty() {
                        self.reader.expect_operator(",")?;
                    }
                    let name = self.reader.assignable()?;
                    self.reader.expect_operator("=")?;
                    assignments.push(format!("{name}={}", self.reader.expression(true)?.text));
                }
                self.settle()?;
                self.open(Open::With)?;
                self.body(format!("with {}", assignments.join(",")))
            }
            "block" => {
                if self.levels.iter().any(|level| level.open == Open::Macro) {
                    return self.reader.fail("a block inside a macro");
                }
                let name = self.reader.assignable()?;
                self.reader.skip_name("scoped");
                self.open(Open::Block)?;
                format!("block {name}")
            }
            "generation" => {
                self.open(Open::Generation)?;
                "with".to_owned()
            }
            "break" | "continue" => {
                self.check_in_loop(&name)?;
                name
            }
            _ => self.close(&name)?,
        };
        Ok(text)
    }

    /// Python's colon may stand at the end of a tag that opens a body.
    fn body(&mut self, text: String) -> String {
        self.reader.skip_operator(":");
        text
    }

    fn close(&mut self, name: &str) -> Result<String> {
        let Some(level) = self.levels.last().filter(|level| level.open.end().0 == name) else {
            let expected = self.levels.last().map_or(String::new(), |level| format!(", expected '{}'", level.open.end().0));
            return self.reader.fail(format!("unknown tag '{name}'{expected}"));
        };
        let open = level.open;
        self.levels.pop();
        if open == Open::Block && matches!(self.reader.peek(), Some(Kind::Name(_))) {
            self.reader.identifier()?;
        }
        Ok(open.end().1.to_owned())
    }

    fn branch(&mut self, name: &str) -> Result<String> {
        match self.levels.last_mut() {
            Some(level) if level.open == Open::If && !level.otherwise => {
                if name == "elif" {
                    level.depth += 1;
                    self.check_depth()?;
                    let test = self.reader.tuple(false)?;
                    self.settle()?;
                    return Ok(self.body(format!("elif {}", test.text)));
                }
                level.otherwise = true;
            }
            Some(level) if level.open == Open::For && !level.otherwise && name == "else" => level.otherwise = true,
            _ => return self.reader.fail(format!("unexpected tag '{name}'")),
        }
        Ok(self.body("else".to_owned()))
    }

    /// `break` and `continue` stand in a loop, with no macro and no captured text between.
    fn check_in_loop(&self, name: &str) -> Result<()> {
        for level in self.levels.iter().rev() {
            match level.open {
                Open::For if !level.otherwise => return Ok(()),
                Open::If | Open::With | Open::For => {}
                _ => break,
            }
        }
        self.reader.fail(format!("'{name}' outside of a loop"))
    }

    fn for_loop(&mut self) -> Result<String> {
        let target = self.targets(false, 0)?;
        if !self.reader.skip_name("in") {
            return self.reader.fail("expected 'in'");
        }
        let source = self.reader.tuple(false)?;
        self.settle()?;
        self.open(Open::For)?;
        let mut text = format!("for {target} in _lq_iterate({})", source.text);
        if self.reader.skip_name("if") {
            let test = self.reader.expression(true)?;
            self.settle()?;
            text.push_str(&format!(" if {}", test.text));
        }
        if self.reader.skip_name("recursive") {
            text.push_str(" recursive");
        }
        Ok(self.body(text))
    }

    /// A name, or names with commas and brackets; with `namespaces` also `name.attribute`.
    fn targets(&mut self, namespaces: bool, depth: usize) -> Result<String> {
        if depth > 8 {
            return self.reader.fail("assignment targets are nested too deeply");
        }
        let mut items = Vec::new();
        let mut many = false;
        loop {
            if self.reader.skip_operator("(") {
                let inner = self.targets(namespaces, depth + 1)?;
                self.reader.expect_operator(")")?;
                items.push(format!("({inner})"));
            } else {
                let name = self.reader.assignable()?;
                let dotted = namespaces && self.reader.skip_operator(".");
                items.push(if dotted { format!("{name}.{}", self.reader.identifier()?) } else { name });
            }
            if !self.reader.skip_operator(",") {
                break;
            }
            many = true;
            if self.reader.at_name("in") || self.reader.at_operator("=") || self.reader.at_operator(")") {
                break;
            }
        }
        let comma = if many && items.len() == 1 { "," } else { "" };
        Ok(format!("{}{comma}", items.join(",")))
    }

    fn set(&mut self) -> Result<String> {
        let target = self.targets(true, 0)?;
        if self.reader.skip_operator("=") {
            let value = self.reader.tuple(true)?;
            self.settle()?;
            // What goes into a namespace must not be able to hold it.
            return Ok(if target.contains('.') {
                format!("set {target} = _lq_keep({})", value.text)
            } else {
                format!("set {target} = {}", value.text)
            });
        }
        self.open(Open::Set)?;
        let filters = if self.reader.skip_operator("|") { format!(" | {}", self.filters()?) } else { String::new() };
        self.settle()?;
        Ok(self.body(format!("set {target}{filters}")))
    }

    fn filters(&mut self) -> Result<String> {
        let mut filters = vec![self.reader.filter()?.0];
        while self.reader.skip_operator("|") {
            filters.push(self.reader.filter()?.0);
            if filters.len() > 20 {
                return self.reader.fail("too many filters in a row");
            }
        }
        Ok(filters.join("|"))
    }

    /// The parameters of a macro or call block, without the brackets. Defaults become the first statements of the body, so
    /// that one may name the parameters before it.
    fn parameters(&mut self) -> Result<String> {
        self.reader.expect_operator("(")?;
        let mut parameters: Vec<String> = Vec::new();
        let mut defaults = false;
        while !self.reader.skip_operator(")") {
            if !parameters.is_empty() {
                self.reader.expect_operator(",")?;
            }
            let name = self.reader.assignable()?;
            if self.reader.skip_operator("=") {
                defaults = true;
                let default = self.reader.expression(true)?.text;
                self.prologue.push_str(&format!("{{% if {name} is undefined %}}{{% set {name} = {default} %}}{{% endif %}}"));
            } else if defaults {
                return self.reader.fail("a parameter without default after one with it");
            }
            parameters.push(name);
        }
        Ok(parameters.join(","))
    }
}
