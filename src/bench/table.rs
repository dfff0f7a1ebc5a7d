//! Figures in aligned columns, for people.

/// Rows of cells; the first cell of a row is its name.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with this line at its head.
    pub fn new<C: Into<String>>(head: impl IntoIterator<Item = C>) -> Self {
        Self(vec![head.into_iter().map(Into::into).collect()])
    }

    /// Adds a row.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text: names to the left, figures to the right.
    pub fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let room = widths[column];
                line += &if column == 0 { format!("{cell:<room$}") } else { format!("  {cell:>room$}") };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A figure with a precision that fits its size; "–" where it could not be measured.
pub fn figure(value: impl Into<Option<f64>>) -> String {
    match value.into() {
        None => "–".to_owned(),
        Some(value) if !value.is_finite() => "–".to_owned(),
        Some(value) => match value.abs() {
            size if size >= 1_000.0 => format!("{value:.0}"),
            size if size >= 100.0 => format!("{value:.1}"),
            size if size >= 10.0 => format!("{value:.2}"),
            _ => format!("{value:.3}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(["", "n", "median ms"]);
        table.row(["first token".to_owned(), "100".to_owned(), figure(12.345)]);
        table.row(["gap".to_owned(), "9".to_owned(), figure(None)]);
        assert_eq!(table.text(), "               n  median ms\nfirst token  100      12.35\ngap            9          –\n");
        assert_eq!((figure(1234.5), figure(0.12345), figure(f64::NAN)), ("1234".into(), "0.123".into(), "–".into()));
    }
}
