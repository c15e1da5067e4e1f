//! Plain tables for terminals and pipes, as kubectl prints them.

use comfy_table::{ContentArrangement, presets};

/// Rows below a line of headings.
pub struct Table {
    inner: comfy_table::Table,
}

impl Table {
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
        Self { inner }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        // A line break in a cell would tear the table apart.
        self.inner.add_row(cells.map(|cell| cell.replace(['\n', '\r'], " ")));
    }

    /// None where there is no row.
    pub fn text(&self) -> Option<String> {
        if self.inner.is_empty() {
            return None;
        }
        let lines: Vec<String> = self.inner.lines().map(|line| line.trim().to_owned()).collect();
        Some(lines.join("\n") + "\n")
    }
}

pub fn dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}
