//! Tables: columns as wide as what is in them.

use crate::terminal::{Style, Terminal};

/// A table for people.
pub(crate) struct Table<const COLUMNS: usize> {
    rows: Vec<(Style, [String; COLUMNS])>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// With the names of its columns.
    pub(crate) fn new(names: [&str; COLUMNS]) -> Self {
        Self { rows: vec![(Style::Bold, names.map(str::to_owned))] }
    }

    /// One more row.
    pub(crate) fn row(&mut self, style: Style, cells: [String; COLUMNS]) {
        self.rows.push((style, cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell })));
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> Vec<(Style, String)> {
        let width = |column: usize| self.rows.iter().map(|(_, cells)| cells[column].chars().count()).max();
        let widths: Vec<usize> = (0..COLUMNS).map(|column| width(column).unwrap_or_default()).collect();
        let line = |cells: &[String; COLUMNS]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(|(style, cells)| (*style, line(cells))).collect()
    }

    /// As data.
    pub(crate) fn print(&self, terminal: &mut Terminal) {
        for (style, line) in self.lines() {
            terminal.data(style, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(["A", "B"]);
        table.row(Style::Plain, ["long".into(), String::new()]);
        table.row(Style::Red, ["ü".into(), "x".into()]);
        let lines: Vec<String> = table.lines().into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, ["A     B", "long  -", "ü     x"]);
    }
}
