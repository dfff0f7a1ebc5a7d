//! Expressions: jinja2's grammar read from tokens, and the same expression written for the engine.
//!
//! What can grow, fail or differ from Python becomes a call of a `_lq_…` function (see `operators.rs`): arithmetic,
//! comparisons, concatenation, subscripts that aren't constant names, slices, method calls, and list and dict displays.
//! Operators of one rank become one call with many arguments, so that long sums don't nest. Depth is bounded on the way in
//! (this parser's own recursion) and on the way out (the tree that the engine will walk).

use super::lexer::{Kind, Token};
use super::limits::MAX_EXPRESSION_DEPTH;
use super::{Result, failure, filters, is_tests};

/// An expression in the engine's language, and the depth of its tree.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub text: String,
    depth: usize,
}

impl Piece {
    fn leaf(text: String) -> Self {
        Self { text, depth: 1 }
    }
}

/// Reads tokens and hands out expressions.
pub(super) struct Reader {
    tokens: Vec<Token>,
    position: usize,
    nesting: usize,
    /// Filters and tests that don't exist: jinja2 refuses them when it compiles, unless they stand in an `if`.
    unknown: Vec<String>,
}

/// Words that can't be variables.
const KEYWORDS: [&str; 8] = ["and", "or", "not", "if", "elif", "else", "in", "is"];
const CONSTANTS: [(&str, &str); 6] =
    [("true", "true"), ("True", "true"), ("false", "false"), ("False", "false"), ("none", "none"), ("None", "none")];

impl Reader {
    pub fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, position: 0, nesting: 0, unknown: Vec::new() }
    }

    pub fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.position).map(|token| &token.kind)
    }

    fn peek_second(&self) -> Option<&Kind> {
        self.tokens.get(self.position + 1).map(|token| &token.kind)
    }

    pub fn next(&mut self) -> Option<Kind> {
        let kind = self.tokens.get(self.position).map(|token| token.kind.clone());
        self.position += 1;
        kind
    }

    /// The line of the token at hand, or of the last one.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.position).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    pub fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(failure(format!("line {}: {message}", self.line())))
    }

    pub fn at_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Kind::Operator(o)) if *o == operator)
    }

    pub fn at_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Kind::Name(n)) if n == name)
    }

    pub fn skip_operator(&mut self, operator: &str) -> bool {
        let there = self.at_operator(operator);
        self.position += usize::from(there);
        there
    }

    pub fn skip_name(&mut self, name: &str) -> bool {
        let there = self.at_name(name);
        self.position += usize::from(there);
        there
    }

    pub fn expect_operator(&mut self, operator: &str) -> Result<()> {
        if self.skip_operator(operator) { Ok(()) } else { self.fail(format!("expected '{operator}'{}", self.found())) }
    }

    pub fn expect_end(&mut self, end: &Kind) -> Result<()> {
        if self.peek() == Some(end) {
            self.position += 1;
            return Ok(());
        }
        self.fail(format!("expected the end of the tag{}", self.found()))
    }

    fn found(&self) -> String {
        match self.peek() {
            Some(Kind::Name(name)) => format!(", found '{name}'"),
            Some(Kind::Operator(operator)) => format!(", found '{operator}'"),
            Some(Kind::Text(_)) => ", found a string".to_owned(),
            Some(Kind::Integer(_) | Kind::Float(_)) => ", found a number".to_owned(),
            Some(Kind::VariableEnd | Kind::BlockEnd) => ", found the end of the tag".to_owned(),
            _ => String::new(),
        }
    }

    /// A name for a variable, macro, argument or attribute. Names of our own functions can't be said.
    pub fn identifier(&mut self) -> Result<String> {
        match self.peek() {
            Some(Kind::Name(name)) if !name.starts_with("_lq") => {
                let name = name.clone();
                self.position += 1;
                Ok(name)
            }
            Some(Kind::Name(name)) => self.fail(format!("the name '{name}' is reserved")),
            _ => self.fail(format!("expected a name{}", self.found())),
        }
    }

    /// A name that can be assigned to.
    pub fn assignable(&mut self) -> Result<String> {
        let name = self.identifier()?;
        if CONSTANTS.iter().any(|(constant, _)| *constant == name) || KEYWORDS.contains(&&*name) {
            return self.fail(format!("can't assign to '{name}'"));
        }
        Ok(name)
    }

    /// Unknown filters and tests since the last call are an error, unless they stand where only a run can tell (`soft`).
    pub fn settle_unknown(&mut self, soft: bool) -> Result<()> {
        match std::mem::take(&mut self.unknown).first() {
            Some(what) if !soft => self.fail(format!("there is no {what}")),
            _ => Ok(()),
        }
    }

    fn compose(&self, text: String, parts: &[&Piece], extra: usize) -> Result<Piece> {
        let depth = parts.iter().map(|part| part.depth).max().unwrap_or(0) + extra;
        if depth > MAX_EXPRESSION_DEPTH {
            return self.fail("an expression is nested too deeply");
        }
        Ok(Piece { text, depth })
    }

    fn call(&self, function: &str, parts: &[Piece]) -> Result<Piece> {
        let texts: Vec<&str> = parts.iter().map(|part| &*part.text).collect();
        let all: Vec<&Piece> = parts.iter().collect();
        self.compose(format!("{function}({})", texts.join(",")), &all, 1)
    }

    /// An expression, or several with commas between them: a tuple.
    pub fn tuple(&mut self, conditional: bool) -> Result<Piece> {
        let first = self.expression(conditional)?;
        if !self.at_operator(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_operator(",") && !self.at_tuple_end() {
            items.push(self.expression(conditional)?);
        }
        self.tuple_of(&items)
    }

    fn tuple_of(&self, items: &[Piece]) -> Result<Piece> {
        let texts: Vec<&str> = items.iter().map(|item| &*item.text).collect();
        let comma = if items.len() == 1 { "," } else { "" };
        self.compose(format!("_lq_box(({}{comma}))", texts.join(",")), &items.iter().collect::<Vec<_>>(), 2)
    }

    fn at_tuple_end(&self) -> bool {
        matches!(self.peek(), None | Some(Kind::VariableEnd | Kind::BlockEnd)) || self.at_operator(")") || self.at_name("recursive")
    }

    /// One expression; `conditional` says whether `a if b else c` may stand here.
    pub fn expression(&mut self, conditional: bool) -> Result<Piece> {
        self.nesting += 1;
        if self.nesting > MAX_EXPRESSION_DEPTH {
            return self.fail("an expression is nested too deeply");
        }
        let piece = if conditional { self.choice() } else { self.or() };
        self.nesting -= 1;
        piece
    }

    fn choice(&mut self) -> Result<Piece> {
        let unknown = self.unknown.len();
        let mut value = self.or()?;
        while self.skip_name("if") {
            let test = self.or()?;
            value = if self.skip_name("else") {
                let other = self.expression(true)?;
                self.compose(format!("({} if {} else {})", value.text, test.text, other.text), &[&value, &test, &other], 1)?
            } else {
                self.compose(format!("({} if {})", value.text, test.text), &[&value, &test], 1)?
            };
            self.unknown.truncate(unknown);
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Piece> {
        self.boolean("or", Self::and)
    }

    fn and(&mut self) -> Result<Piece> {
        self.boolean("and", Self::not)
    }

    fn boolean(&mut self, word: &str, operand: fn(&mut Self) -> Result<Piece>) -> Result<Piece> {
        let first = operand(self)?;
        if !self.at_name(word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_name(word) {
            parts.push(operand(self)?);
            // The engine nests these to the left, one level each.
            if parts.len() > MAX_EXPRESSION_DEPTH {
                return self.fail(format!("too many '{word}' in a row"));
            }
        }
        let texts: Vec<&str> = parts.iter().map(|part| &*part.text).collect();
        let text = format!("({})", texts.join(&format!(" {word} ")));
        self.compose(text, &parts.iter().collect::<Vec<_>>(), 1 + parts.len() / 2)
    }

    fn not(&mut self) -> Result<Piece> {
        let mut count = 0usize;
        while self.skip_name("not") {
            count += 1;
        }
        let piece = self.comparison()?;
        match count {
            0 => Ok(piece),
            // Two are enough to make a truth value; more say the same.
            count if count % 2 == 1 => self.compose(format!("(not {})", piece.text), &[&piece], 1),
            _ => self.compose(format!("(not (not {}))", piece.text), &[&piece], 2),
        }
    }

    fn comparison(&mut self) -> Result<Piece> {
        let mut parts = vec![self.sum()?];
        loop {
            let operator = match self.peek() {
                Some(Kind::Operator(operator @ ("==" | "!=" | "<" | "<=" | ">" | ">="))) => *operator,
                Some(Kind::Name(name)) if name == "in" => "in",
                Some(Kind::Name(name)) if name == "not" && matches!(self.peek_second(), Some(Kind::Name(next)) if next == "in") => {
                    self.position += 1;
                    "not in"
                }
                _ => break,
            };
            self.position += 1;
            parts.push(Piece::leaf(quote(operator)));
            parts.push(self.sum()?);
        }
        if parts.len() == 1 { Ok(parts.swap_remove(0)) } else { self.call("_lq_compare", &parts) }
    }

    /// Operands of `operators` with the operators as strings between them, as one call of `function`.
    fn chain(&mut self, operators: &[&str], function: &str, operand: fn(&mut Self) -> Result<Piece>) -> Result<Piece> {
        let mut parts = vec![operand(self)?];
        while let Some(Kind::Operator(operator)) = self.peek()
            && operators.contains(operator)
        {
            parts.push(Piece::leaf(quote(operator)));
            self.position += 1;
            parts.push(operand(self)?);
        }
        if parts.len() == 1 { Ok(parts.swap_remove(0)) } else { self.call(function, &parts) }
    }

    fn sum(&mut self) -> Result<Piece> {
        self.chain(&["+", "-"], "_lq_calculate", Self::concatenation)
    }

    fn concatenation(&mut self) -> Result<Piece> {
        let mut parts = vec![self.product()?];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        if parts.len() == 1 { Ok(parts.swap_remove(0)) } else { self.call("_lq_concat", &parts) }
    }

    fn product(&mut self) -> Result<Piece> {
        self.chain(&["*", "/", "//", "%"], "_lq_calculate", Self::power)
    }

    fn power(&mut self) -> Result<Piece> {
        self.chain(&["**"], "_lq_calculate", |reader| reader.unary(true))
    }

    fn unary(&mut self, filtered: bool) -> Result<Piece> {
        let mut signs = Vec::new();
        while let Some(Kind::Operator(sign @ ("-" | "+"))) = self.peek() {
            signs.push(*sign);
            self.position += 1;
            if signs.len() > MAX_EXPRESSION_DEPTH {
                return self.fail("too many signs in a row");
            }
        }
        let primary = self.primary()?;
        let mut piece = self.postfix(primary)?;
        for sign in signs.into_iter().rev() {
            let function = if sign == "-" { "_lq_negate" } else { "_lq_plus" };
            piece = self.call(function, &[piece])?;
        }
        if filtered { self.filtered(piece) } else { Ok(piece) }
    }

    fn primary(&mut self) -> Result<Piece> {
        match self.peek() {
            Some(Kind::Name(name)) => {
                if let Some((_, constant)) = CONSTANTS.iter().find(|(said, _)| said == name) {
                    self.position += 1;
                    return Ok(Piece::leaf((*constant).to_owned()));
                }
                if KEYWORDS.contains(&&**name) {
                    return self.fail(format!("unexpected '{name}'"));
                }
                Ok(Piece::leaf(self.identifier()?))
            }
            Some(Kind::Text(_)) => {
                let mut text = String::new();
                while let Some(Kind::Text(more)) = self.peek() {
                    text.push_str(more);
                    self.position += 1;
                }
                Ok(Piece::leaf(quote(&text)))
            }
            Some(&Kind::Integer(value)) => {
                self.position += 1;
                Ok(Piece::leaf(value.to_string()))
            }
            Some(&Kind::Float(value)) => {
                self.position += 1;
                Ok(Piece::leaf(format!("{value:?}")))
            }
            Some(Kind::Operator("(")) => {
                self.position += 1;
                let piece = if self.at_operator(")") { self.tuple_of(&[])? } else { self.tuple(true)? };
                self.expect_operator(")")?;
                Ok(piece)
            }
            Some(Kind::Operator("[")) => {
                self.position += 1;
                let items = self.items("]", |reader| reader.expression(true).map(|item| vec![item]))?;
                let texts: Vec<&str> = items.iter().map(|item| &*item.text).collect();
                self.compose(format!("_lq_box([{}])", texts.join(",")), &items.iter().collect::<Vec<_>>(), 2)
            }
            Some(Kind::Operator("{")) => {
                self.position += 1;
                let items = self.items("}", |reader| {
                    let key = reader.expression(true)?;
                    reader.expect_operator(":")?;
                    Ok(vec![key, reader.expression(true)?])
                })?;
                let pairs: Vec<String> = items.chunks(2).map(|pair| format!("{}:{}", pair[0].text, pair[1].text)).collect();
                self.compose(format!("_lq_box({{{}}} )", pairs.join(",")), &items.iter().collect::<Vec<_>>(), 2)
            }
            _ => self.fail(format!("expected an expression{}", self.found())),
        }
    }

    /// What `item` reads, with commas between and `close` at the end.
    fn items(&mut self, close: &str, item: impl Fn(&mut Self) -> Result<Vec<Piece>>) -> Result<Vec<Piece>> {
        let mut items = Vec::new();
        while !self.skip_operator(close) {
            if !items.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator(close) {
                    break;
                }
            }
            items.extend(item(self)?);
        }
        Ok(items)
    }

    fn postfix(&mut self, mut piece: Piece) -> Result<Piece> {
        loop {
            piece = if self.skip_operator(".") {
                if let Some(&Kind::Integer(index)) = self.peek() {
                    self.position += 1;
                    self.call("_lq_item", &[piece, Piece::leaf(index.to_string())])?
                } else {
                    let name = self.identifier()?;
                    if self.at_operator("(") {
                        let arguments = self.arguments()?;
                        let all = [vec![piece, Piece::leaf(quote(&name))], arguments].concat();
                        self.call("_lq_call", &all)?
                    } else {
                        self.compose(format!("{}.{name}", piece.text), &[&piece], 1)?
                    }
                }
            } else if self.skip_operator("[") {
                self.subscript(piece)?
            } else if self.at_operator("(") {
                let arguments = self.arguments()?;
                let callee = piece.text.clone();
                self.call(&callee, &arguments).and_then(|call| self.compose(call.text.clone(), &[&call, &piece], 1))?
            } else {
                return Ok(piece);
            }
        }
    }

    fn subscript(&mut self, of: Piece) -> Result<Piece> {
        let none = || Piece::leaf("none".to_owned());
        let start = if self.at_operator(":") { None } else { Some(self.expression(true)?) };
        if !self.skip_operator(":") {
            let key = start.unwrap_or_else(none);
            self.expect_operator("]")?;
            return self.call("_lq_item", &[of, key]);
        }
        let mut bounds = vec![of, start.unwrap_or_else(none)];
        for _ in 0..2 {
            let absent = self.at_operator(":") || self.at_operator("]");
            bounds.push(if absent { none() } else { self.expression(true)? });
            if !self.skip_operator(":") {
                break;
            }
        }
        bounds.resize_with(4, none);
        self.expect_operator("]")?;
        self.call("_lq_slice", &bounds)
    }

    /// The arguments of a call, each as it goes into the engine's call.
    pub fn arguments(&mut self) -> Result<Vec<Piece>> {
        self.expect_operator("(")?;
        let mut arguments: Vec<Piece> = Vec::new();
        let (mut named, mut splat, mut map) = (false, false, false);
        while !self.skip_operator(")") {
            if !arguments.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator(")") {
                    break;
                }
            }
            let wrong = || "invalid syntax for function call expression";
            if self.skip_operator("*") {
                if splat || map {
                    return self.fail(wrong());
                }
                splat = true;
                let list = self.expression(true)?;
                arguments.push(self.compose(format!("*_lq_splat({})", list.text), &[&list], 2)?);
            } else if self.skip_operator("**") {
                if map {
                    return self.fail(wrong());
                }
                map = true;
                let dict = self.expression(true)?;
                arguments.push(self.compose(format!("**{}", dict.text), &[&dict], 1)?);
            } else if matches!(self.peek(), Some(Kind::Name(_))) && self.peek_second() == Some(&Kind::Operator("=")) {
                if map {
                    return self.fail(wrong());
                }
                named = true;
                let name = self.identifier()?;
                self.position += 1;
                let value = self.expression(true)?;
                arguments.push(self.compose(format!("{name}={}", value.text), &[&value], 1)?);
            } else {
                if named || splat || map {
                    return self.fail(wrong());
                }
                arguments.push(self.expression(true)?);
            }
        }
        Ok(arguments)
    }

    fn filtered(&mut self, mut piece: Piece) -> Result<Piece> {
        loop {
            piece = if self.skip_operator("|") {
                let (filter, arguments) = self.filter()?;
                let all: Vec<&Piece> = arguments.iter().chain([&piece]).collect();
                self.compose(format!("({}|{filter})", piece.text), &all, 1)?
            } else if self.skip_name("is") {
                self.test(piece)?
            } else if self.at_operator("(") {
                let arguments = self.arguments()?;
                let callee = piece.text.clone();
                self.call(&callee, &arguments).and_then(|call| self.compose(call.text.clone(), &[&call, &piece], 1))?
            } else {
                return Ok(piece);
            }
        }
    }

    /// A filter's name with its arguments as the engine reads them, and the arguments.
    pub fn filter(&mut self) -> Result<(String, Vec<Piece>)> {
        let name = self.identifier()?;
        if !filters::NAMES.contains(&&*name) {
            self.unknown.push(format!("filter named '{name}'"));
        }
        if !self.at_operator("(") {
            return Ok((name, Vec::new()));
        }
        let arguments = self.arguments()?;
        let texts: Vec<&str> = arguments.iter().map(|argument| &*argument.text).collect();
        Ok((format!("{name}({})", texts.join(",")), arguments))
    }

    fn test(&mut self, piece: Piece) -> Result<Piece> {
        let negated = self.skip_name("not");
        let name = self.identifier()?;
        if !is_tests::NAMES.contains(&&*name) {
            self.unknown.push(format!("test named '{name}'"));
        }
        let argument_follows = match self.peek() {
            Some(Kind::Name(next)) => !matches!(&**next, "else" | "or" | "and" | "is"),
            Some(Kind::Text(_) | Kind::Integer(_) | Kind::Float(_) | Kind::Operator("[" | "{")) => true,
            _ => false,
        };
        let arguments = if self.at_operator("(") {
            self.arguments()?
        } else if argument_follows {
            let argument = self.primary()?;
            vec![self.postfix(argument)?]
        } else {
            if self.at_name("is") {
                return self.fail("tests with 'is' can't be chained");
            }
            Vec::new()
        };
        let texts: Vec<&str> = arguments.iter().map(|argument| &*argument.text).collect();
        let arguments_text = if arguments.is_empty() { String::new() } else { format!("({})", texts.join(",")) };
        let not = if negated { "not " } else { "" };
        let all: Vec<&Piece> = arguments.iter().chain([&piece]).collect();
        self.compose(format!("({} is {not}{name}{arguments_text})", piece.text), &all, 2)
    }
}

/// A string literal that the engine reads back as `text`.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
