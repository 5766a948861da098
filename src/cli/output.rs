//! What verbs print: text and tables for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::error::Result;

/// Prints `text` and a line feed; that nobody reads any more is no failure.
///
/// # Errors
/// Standard output cannot be written to.
pub fn line(text: &str) -> Result<()> {
    raw(format!("{text}\n").as_bytes())
}

/// Prints text in whatever encoding it is.
///
/// # Errors
/// Standard output cannot be written to. That nobody reads it any more is no error.
pub fn raw(text: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints `value` as JSON.
///
/// # Errors
/// Standard output cannot be written to.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Whether a person reads standard output.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table with aligned columns.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these headings; a heading that begins with `>` is of a column that is aligned to the right.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        let heading = |text: &&str| text.trim_start_matches('>').to_owned();
        Table {
            rows: vec![headings.iter().map(heading).collect()],
            right: headings.iter().map(|text| text.starts_with('>')).collect(),
        }
    }

    /// Adds a row with as many cells as there are headings.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, without a line feed at its end.
    #[must_use]
    pub fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cell = |(column, text): (usize, &String)| match (self.right[column], widths[column]) {
                (true, width) => format!("{text:>width$}"),
                (false, width) => format!("{text:<width$}"),
            };
            let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
            cells.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Bytes for people: `48.2 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A count for people: `1,234,567`.
#[must_use]
pub fn count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// A length of time for people: `1.4 s`, `12m30s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole seconds are wanted
    let whole = seconds as u64;
    crate::config::value::Span::seconds(whole).to_string()
}

/// A time and how long ago it was: `2026-11-20 02:30:00 UTC, 3 h ago`.
#[must_use]
pub fn time(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{}, {}", time.format("%Y-%m-%d %H:%M:%S UTC"), ago(time, now))
}

/// How long ago, roughly: `3 h ago`. The clocks of two machines differ a little, and what a server says has happened.
#[must_use]
pub fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let age = now - time;
    let (number, unit) = match age {
        age if age < TimeDelta::minutes(-2) => return "in the future: compare the clocks".to_owned(),
        age if age < TimeDelta::seconds(2) => return "just now".to_owned(),
        age if age < TimeDelta::minutes(2) => (age.num_seconds(), "s"),
        age if age < TimeDelta::hours(2) => (age.num_minutes(), "min"),
        age if age < TimeDelta::days(2) => (age.num_hours(), "h"),
        age => (age.num_days(), "days"),
    };
    format!("{number} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&["ID", ">SIZE", "NOTE"]);
        table.row(["1", "10", ""].map(str::to_owned));
        table.row(["long", "9", "x"].map(str::to_owned));
        assert_eq!(table.render(), "ID    SIZE  NOTE\n1       10\nlong     9  x");
    }

    #[test]
    fn times_are_for_people() {
        let now: DateTime<Utc> = "2026-11-20T00:00:00Z".parse().unwrap();
        for (seconds, text) in [
            (-300, "in the future: compare the clocks"),
            (-5, "just now"),
            (1, "just now"),
            (90, "90 s ago"),
            (7100, "118 min ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago(now - TimeDelta::seconds(seconds), now), text);
        }
        assert_eq!(
            time(now - TimeDelta::milliseconds(7_200_900), now),
            "2026-11-19 21:59:59 UTC, 2 h ago"
        );
        assert_eq!(
            (seconds(1.44), seconds(750.0)),
            ("1.4 s".to_owned(), "12m30s".to_owned())
        );
    }
}
