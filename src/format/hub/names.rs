//! Names of tensors: from those that a family publishes to GGUF's.

#![forbid(unsafe_code)]

/// What has to be done to a tensor besides renaming it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: it stays where it is mapped.
    Keep,
    /// One is added to each element (norms that are stored as the difference from one).
    PlusOne,
    /// Rows become columns (matrices that are stored inputs first).
    Transpose,
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
    Name { pattern, canonical, change: Change::Transpose }
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
    Tensor {
        name: String,
        change: Change,
    },
    /// It is known and not needed.
    Nowhere,
    Unknown,
}

/// The place of the tensor called `name` by the first pattern that fits.
pub(super) fn place(tables: &[&[Name]], name: &str) -> Place {
    for known in tables.iter().copied().flatten() {
        if let Some(numbers) = matched(known.pattern, name) {
            if known.canonical.is_empty() {
                return Place::Nowhere;
            }
            let mut parts = known.canonical.split("{}");
            let mut canonical = parts.next().unwrap_or_default().to_owned();
            for (part, number) in parts.zip(numbers) {
                canonical.push_str(number);
                canonical.push_str(part);
            }
            return Place::Tensor { name: canonical, change: known.change };
        }
    }
    Place::Unknown
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
        const TABLE: &[Name] = &[keep("m.{}.e.{}.w", "blk.{}.x.{}.weight"), unused("m.{}.freq")];
        let found = |name: &str| place(&[TABLE], name);
        assert_eq!(found("m.3.e.12.w"), Place::Tensor { name: "blk.3.x.12.weight".to_owned(), change: Change::Keep });
        assert_eq!(found("m.0.freq"), Place::Nowhere);
        for other in ["m.3.e.12", "m.3.e.12.w.w", "m.x.e.12.w", "m.03.e.12.w", "m..e.1.w", "m.3.e.1234567.w", ""] {
            assert_eq!(found(other), Place::Unknown, "{other}");
        }
    }
}
