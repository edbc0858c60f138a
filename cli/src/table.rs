//! Tables that fit the width of the terminal.

use crate::output;
use crate::printable::printable;

/// A table whose columns may be shortened.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    /// The names of the columns.
    pub(crate) head: &'t [&'t str],
    /// The cells of each row.
    pub(crate) rows: Vec<Vec<String>>,
    /// Columns that are shortened in this order if a line is too long. Each has its index, and the minimum number of
    /// characters that remain.
    pub(crate) cut: &'t [(usize, usize)],
    /// Maximum length of a line; `None` for no limit.
    pub(crate) width: Option<usize>,
}

/// Number of spaces between two columns.
const GAP: usize = 2;

impl Table<'_> {
    /// The lines of the table, with the column names in bold.
    pub(crate) fn lines(&self) -> Vec<String> {
        let head: Vec<String> = self.head.iter().map(|&name| name.to_owned()).collect();
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(|cell| printable(cell).into_owned()).collect()).collect();
        let longest = |column: usize| {
            std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let mut widths: Vec<usize> = (0..head.len()).map(|column| longest(column).unwrap_or(0)).collect();
        if let Some(width) = self.width {
            fit(&mut widths, self.cut, width);
        }
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{:<width$}", shortened(cell, width)));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let first = output::paint(output::BOLD, &line(&head));
        std::iter::once(first).chain(rows.iter().map(line)).collect()
    }
}

/// Narrows columns until a line fits this width, or until no column can be narrowed further.
fn fit(widths: &mut [usize], cut: &[(usize, usize)], width: usize) {
    let mut over = (widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)).saturating_sub(width);
    for &(column, least) in cut {
        if let Some(current) = widths.get_mut(column) {
            let less = over.min(current.saturating_sub(least));
            *current -= less;
            over -= less;
        }
    }
}

/// The text shortened to this number of characters. An ellipsis marks a shortened text.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(width: Option<usize>, cells: &[&str]) -> Vec<String> {
        let rows = vec![cells.iter().map(|&cell| cell.to_owned()).collect()];
        let table = Table { head: &["A", "EVENT", "MESSAGE"], rows, cut: &[(2, 8), (1, 6)], width };
        table.lines().iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn columns_are_shortened_in_the_given_order_until_a_line_fits_the_terminal() {
        let cells = ["0:1", "01J9ZK4M7A", "the body is not one JSON object"];
        assert_eq!(lines(None, &cells)[1], "0:1  01J9ZK4M7A  the body is not one JSON object");
        assert_eq!(lines(Some(30), &cells)[1], "0:1  01J9ZK4M7A  the body is …");
        assert_eq!(lines(Some(23), &cells)[1], "0:1  01J9ZK4…  the bod…");
        // A column is never shorter than its minimum.
        assert_eq!(lines(Some(5), &cells)[1], "0:1  01J9Z…  the bod…");
    }

    #[test]
    fn control_characters_in_cells_are_replaced() {
        assert_eq!(lines(None, &["a\x1b[2J", "b", "c\nd"])[1], "a [2J  b      c d");
    }
}
