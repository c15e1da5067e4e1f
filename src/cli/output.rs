//! What commands print for people and programs: tables, colours, relative times, JSON and YAML.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use jiff::Timestamp;
use owo_colors::OwoColorize;
use serde::Serialize;

/// How a command prints its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    Json,
    Yaml,
}

/// What a cell says about itself; shown as a colour on a terminal, and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Tone {
    /// Escape sequences around the text. Whatever prints through `anstream` drops them again where the output is no
    /// terminal or `NO_COLOR` is set.
    pub fn paint(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Good => text.green().to_string(),
            Self::Warning => text.yellow().to_string(),
            Self::Bad => text.red().to_string(),
            Self::Faint => text.dimmed().to_string(),
        }
    }
}

/// One place in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: one_line(text.as_ref()), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Text from clusters must not move the cursor, and a row is one line.
pub fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Columns as kubectl prints them: a heading, three blanks between columns, no lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: usize,
    rows: Vec<Vec<Cell>>,
}

const COLUMN_GAP: usize = 3;
/// In the place of nothing, so that every row has all columns and can be cut by them.
const NOTHING: &str = "-";

impl Table {
    pub fn new<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Self {
        Self { columns: COLUMNS, rows: vec![headings.map(Cell::from).into()] }
    }

    /// Where the number of columns is not known before.
    pub fn of(headings: &[&str]) -> Self {
        Self { columns: headings.len(), rows: vec![headings.iter().map(Cell::from).collect()] }
    }

    /// Missing cells stay empty, surplus ones are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> &mut Self {
        let mut cells: Vec<Cell> = cells.into_iter().take(self.columns).collect();
        cells.resize(self.columns, Cell::from(""));
        for cell in cells.iter_mut().filter(|cell| cell.text.is_empty()) {
            *cell = Cell::new(NOTHING, Tone::Faint);
        }
        self.rows.push(cells);
        self
    }

    /// No rows below the heading.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// With a line break after each row.
    pub fn render(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                text.push_str(&cell.tone.paint(&cell.text));
                if column + 1 < self.columns {
                    let blanks = width - cell.text.chars().count() + COLUMN_GAP;
                    text.extend(std::iter::repeat_n(' ', blanks));
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Prints a value in the format that was asked for; the table is made only where it is shown.
pub fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce() -> Table) -> Result<(), String> {
    let text = match format {
        Format::Table => table().render(),
        format => serialized(format, value)?,
    };
    print_text(&text)
}

/// For programs: YAML, else JSON.
pub fn serialized<T: Serialize>(format: Format, value: &T) -> Result<String, String> {
    if format == Format::Yaml {
        return serde_saphyr::to_string(value).map_err(|error| format!("the result can't be written as YAML: {error}"));
    }
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|error| format!("the result can't be written as JSON: {error}"))? + "\n")
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub fn print_text(text: &str) -> Result<(), String> {
    let mut output = anstream::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print the result: {error}")),
        _ => Ok(()),
    }
}

/// `3m ago`, `in 2h`, `now`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", duration(seconds.unsigned_abs())),
        _ => format!("{} ago", duration(seconds.unsigned_abs())),
    }
}

/// A length of time as kubectl shows an age: one unit, and a second one while the first is small.
pub fn duration(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    let (unit, name, smaller, smaller_name, both_below) = match seconds {
        0..120 => return format!("{seconds}s"),
        120..10_800 => (MINUTE, 'm', 1, 's', 10 * MINUTE),
        10_800..172_800 => (HOUR, 'h', MINUTE, 'm', 8 * HOUR),
        172_800..63_072_000 => (DAY, 'd', HOUR, 'h', 8 * DAY),
        _ => (YEAR, 'y', DAY, 'd', 8 * YEAR),
    };
    let mut text = format!("{}{name}", seconds / unit);
    let rest = seconds % unit / smaller;
    if seconds < both_below && rest > 0 {
        // Writing to a String does not fail.
        let _ = write!(text, "{rest}{smaller_name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_whatever_the_colours() {
        let mut table = Table::new(["NAME", "STATE", "WHY"]);
        table.row(["größe".into(), Cell::new("Held", Tone::Warning), "first\nline\u{1b}[2J".into()]);
        table.row(["a".into(), "Maintained".into()]);
        let plain = anstream::adapter::strip_str(&table.render()).to_string();
        assert_eq!(
            plain,
            "NAME    STATE        WHY\n\
             größe   Held         first line [2J\n\
             a       Maintained   -\n"
        );
        assert!(table.render().contains("\u{1b}[33mHeld\u{1b}[39m"));
        assert!(!table.is_empty() && Table::new(["NAME"]).is_empty());
    }

    #[test]
    fn times_are_told_as_kubectl_tells_ages() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (3599, "59m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (47 * 3600, "47h"),
            (50 * 3600, "2d2h"),
            (30 * 86_400, "30d"),
            (3 * 365 * 86_400, "3y"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(duration(seconds), shown);
        }
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        assert_eq!(relative(at(100), at(400)), "5m ago");
        assert_eq!(relative(at(400), at(100)), "in 5m");
        assert_eq!(relative(at(400), at(400)), "now");
    }
}
