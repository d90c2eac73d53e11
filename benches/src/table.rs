//! Text in columns.

/// A table of a label and some columns, aligned.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// A line across that names what follows.
    pub fn section(&mut self, title: &str) {
        self.rows.push(Vec::new());
        self.rows.push(vec![title.to_owned()]);
    }

    /// A row; missing cells stay empty.
    pub fn row(&mut self, label: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push([format!("  {label}")].into_iter().chain(cells).collect());
    }

    /// The lines: labels to the left, cells to the right.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => line.push_str(&format!("{cell:<width$}")),
                    _ => line.push_str(&format!("  {cell:>width$}")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_titles_do_not_widen_them() {
        let mut table = Table::new(&["", "a", "bb"]);
        table.section("a very long title");
        table.row("one", ["10".to_owned(), "2".to_owned()]);
        table.row("more", ["µs".to_owned()]);
        let expected = "         a  bb\n\na very long title\n  one   10   2\n  more  µs\n";
        assert_eq!(table.text(), expected);
    }
}
