//! Names of tensors: from those that a family publishes to GGUF's.

#![forbid(unsafe_code)]

/// Those that are meant of rows or columns in which two matrices alternate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lot {
    All,
    Even,
    Odd,
}

impl Lot {
    /// The first one, and the steps to the next.
    pub(super) fn stride(self) -> (usize, usize) {
        match self {
            Self::All => (0, 1),
            Self::Even => (0, 2),
            Self::Odd => (1, 2),
        }
    }

    /// How many of `count` are meant; `None` where two do not alternate in so many.
    pub(super) fn of(self, count: u64) -> Option<u64> {
        let (_, step) = self.stride();
        count.is_multiple_of(step as u64).then(|| count / step as u64)
    }
}

/// What has to be done to a tensor besides renaming it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: it stays where it is mapped.
    Keep,
    /// One is added to each element (norms that are stored as the difference from one).
    PlusOne,
    /// Columns become rows (matrices that are stored inputs first, one or a stack of them).
    Transpose(Lot),
    /// Columns are picked.
    Pick(Lot),
    /// Rows of MXFP4's codes get their scales, which are a tensor of their own.
    Mxfp4(Lot),
    /// Rows of queries, keys and values are put together that lie group by group (see [`Grouping`]).
    Regroup,
}

/// How the rows of a fused projection lie: for each group its query heads, its key head, its value head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grouping {
    pub groups: u64,
    /// Query heads of a group.
    pub queries: u64,
    /// Rows of a head.
    pub size: u64,
}

/// A pattern of names, `{}` standing for a number, and the canonical name with the same numbers in the same order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pattern: &'static str,
    /// Empty for a tensor that nothing is computed with.
    canonical: &'static str,
    change: Change,
}

impl Name {
    /// The pattern of the tensor with this canonical name, where it is that of this entry.
    pub(super) fn published(&self, canonical: &str) -> Option<&'static str> {
        (self.canonical == canonical).then_some(self.pattern)
    }
}

/// `pattern` is stored as GGUF has it.
pub(super) const fn keep(pattern: &'static str, canonical: &'static str) -> Name {
    Name { pattern, canonical, change: Change::Keep }
}

/// `pattern` is a norm, stored as the difference from one.
pub(super) const fn plus_one(pattern: &'static str, canonical: &'static str) -> Name {
    Name { pattern, canonical, change: Change::PlusOne }
}

/// `pattern` is a matrix, stored inputs first.
pub(super) const fn transposed(pattern: &'static str, canonical: &'static str) -> Name {
    Name { pattern, canonical, change: Change::Transpose(Lot::All) }
}

/// `pattern` has to be changed. Where it stands several times in a row, all of those are made of it.
pub(super) const fn changed(pattern: &'static str, canonical: &'static str, change: Change) -> Name {
    Name { pattern, canonical, change }
}

/// `pattern` has the rows of queries, keys and values group by group.
pub(super) const fn regrouped(pattern: &'static str, canonical: &'static str) -> Name {
    Name { pattern, canonical, change: Change::Regroup }
}

/// `pattern` is left out: a constant that the computation makes itself.
pub(super) const fn unused(pattern: &'static str) -> Name {
    Name { pattern, canonical: "", change: Change::Keep }
}

/// Where a tensor belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// What is made of it: one tensor mostly.
    Tensors(Vec<Part>),
    /// It is known and not needed.
    Nowhere,
    Unknown,
}

/// A tensor that is made of a published one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The canonical one.
    pub name: String,
    pub change: Change,
}

/// The place of the tensor called `name` by the first pattern that fits.
pub(super) fn place(tables: &[&[Name]], name: &str) -> Place {
    for table in tables {
        for (at, first) in table.iter().enumerate() {
            let Some(numbers) = matched(first.pattern, name) else { continue };
            if first.canonical.is_empty() {
                return Place::Nowhere;
            }
            let parts = table[at..].iter().take_while(|known| known.pattern == first.pattern);
            return Place::Tensors(parts.map(|known| Part { name: filled(known.canonical, &numbers), change: known.change }).collect());
        }
    }
    Place::Unknown
}

/// `canonical` with the numbers in their places.
fn filled(canonical: &str, numbers: &[&str]) -> String {
    let mut parts = canonical.split("{}");
    let mut name = parts.next().unwrap_or_default().to_owned();
    for (part, number) in parts.zip(numbers) {
        name.push_str(number);
        name.push_str(part);
    }
    name
}

/// The numbers of `name` where it is like `pattern`.
fn matched<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let mut numbers = Vec::new();
    let (mut wanted, mut given) = (pattern.split('.'), name.split('.'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(numbers),
            (Some("{}"), Some(number)) => {
                // One writing for each number, so that no two names mean the same.
                let decimal = (1..=6).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
                if !decimal || number.len() > 1 && number.starts_with('0') {
                    return None;
                }
                numbers.push(number);
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_carried_over() {
        const TABLE: &[Name] = &[
            keep("m.{}.e.{}.w", "blk.{}.x.{}.weight"),
            unused("m.{}.freq"),
            changed("m.{}.both", "blk.{}.gate", Change::Pick(Lot::Even)),
            changed("m.{}.both", "blk.{}.up", Change::Pick(Lot::Odd)),
            keep("m.{}.e.{}.w", "second.{}.{}"),
        ];
        let found = |name: &str| place(&[TABLE], name);
        let part = |name: &str, change| Part { name: name.to_owned(), change };
        assert_eq!(found("m.3.e.12.w"), Place::Tensors(vec![part("blk.3.x.12.weight", Change::Keep)]));
        let both = vec![part("blk.7.gate", Change::Pick(Lot::Even)), part("blk.7.up", Change::Pick(Lot::Odd))];
        assert_eq!(found("m.7.both"), Place::Tensors(both));
        assert_eq!(found("m.0.freq"), Place::Nowhere);
        for other in ["m.3.e.12", "m.3.e.12.w.w", "m.x.e.12.w", "m.03.e.12.w", "m..e.1.w", "m.3.e.1234567.w", ""] {
            assert_eq!(found(other), Place::Unknown, "{other}");
        }
    }
}
