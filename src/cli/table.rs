//! Tables for people: columns as wide as their cells, safe from what names contain.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use crate::output::for_terminal;

const GAP: &str = "  ";

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that is shown at once. Columns without any content are left out.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for every column.
    pub(crate) fn push(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The lines of the table, a header first.
    pub(crate) fn to_text(&self) -> String {
        let titles = self.columns.iter().map(|(title, _)| Cow::Borrowed(*title));
        let mut lines: Vec<Vec<Cow<'_, str>>> = vec![titles.collect()];
        for row in &self.rows {
            lines.push(row.iter().map(|cell| for_terminal(cell)).collect());
        }
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| self.width(column, &lines))
            .collect();
        let mut text = String::new();
        for line in &lines {
            let mut shown = String::new();
            let columns = self.columns.iter().zip(&widths);
            for (cell, ((_, align), &width)) in line.iter().zip(columns) {
                if width == 0 {
                    continue;
                }
                let padding = " ".repeat(width.saturating_sub(cell.width()));
                match align {
                    Align::Left => shown.extend([cell.as_ref(), &padding, GAP]),
                    Align::Right => shown.extend([padding.as_str(), cell, GAP]),
                }
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        text
    }

    /// 0 when nothing is in the column.
    fn width(&self, column: usize, lines: &[Vec<Cow<'_, str>>]) -> usize {
        if self.rows.iter().all(|row| row[column].is_empty()) {
            return 0;
        }
        let cells = lines.iter().map(|line| line[column].width());
        cells.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&[
            ("Name", Align::Left),
            ("Never", Align::Left),
            ("Size", Align::Right),
        ]);
        table.push(vec!["日本".into(), String::new(), "1 GiB".into()]);
        table.push(vec!["a\u{1b}".into(), String::new(), "10 GiB".into()]);
        assert_eq!(
            table.to_text(),
            "Name       Size\n\
             日本      1 GiB\n\
             a\\u{1b}  10 GiB\n"
        );
    }
}
