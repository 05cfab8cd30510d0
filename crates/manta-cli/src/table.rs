//! Tables that fit the terminal by leaving out columns, never by wrapping.

/// Columns and rows; the last columns are the first to go.
#[derive(Debug)]
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table, most important column first.
    pub(crate) fn new(headers: &[&'static str]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.headers.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The table as lines, at most `width` characters wide where a width is given.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let widths: Vec<usize> = (0..self.headers.len()).map(|column| self.column_width(column)).collect();
        let shown = shown(&widths, width);
        let mut text = line(self.headers.iter().copied(), &widths[..shown]);
        for row in &self.rows {
            text.push_str(&line(row.iter().map(String::as_str), &widths[..shown]));
        }
        text
    }

    fn column_width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.headers[column].chars().count()]).max().unwrap_or(0)
    }
}

/// How many of the first columns fit; at least one.
fn shown(widths: &[usize], width: Option<usize>) -> usize {
    let Some(width) = width else { return widths.len() };
    let mut used = 0;
    let fit = widths.iter().take_while(|column| {
        used += *column + 2;
        used <= width + 2
    });
    fit.count().max(1)
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_terminals_lose_the_last_columns() {
        let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
        table.row(vec!["a".into(), "running".into(), "x".repeat(40)]);
        assert_eq!(table.render(Some(13)), "NAME  STATE\na     running\n");
        assert_eq!(table.render(Some(3)), "NAME\na\n");
        assert!(table.render(None).contains(&"x".repeat(40)));
    }
}
