//! A range of columns or rows, cut into the numbers that a kernel is compiled for.

/// Evaluates `$call` over a range of columns or rows, as many at a time as the largest constant `$N` that fits; `$first` is
/// the first of them.
macro_rules! for_columns {
    ($first:ident..$end:expr, $N:ident in [$($count:literal),*], $call:expr) => {
        let mut $first = 0;
        while $first < $end {
            $(if $end - $first >= $count {
                const $N: usize = $count;
                $call;
                $first += $count;
                continue;
            })*
        }
    };
}
pub(super) use for_columns;
