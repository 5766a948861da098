//! What verbs print: text and tables for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::terminal;
use crate::error::Result;
use crate::shelf::DrillMark;
use crate::{printable, raw_text, redact};

/// Prints one line: without passwords, and with everything escaped that a terminal would obey, so that it stays one. That
/// nobody reads it any more is no failure.
///
/// # Errors
/// Standard output cannot be written to.
pub fn line(text: &str) -> Result<()> {
    lines(&printable::line(text))
}

/// The same for several lines, such as a table.
///
/// # Errors
/// Standard output cannot be written to.
pub fn lines(text: &str) -> Result<()> {
    raw(&[&raw_text::encode(&for_people(text)), b"\n".as_slice()].concat())
}

/// Prints lines, those of something new (`+`) in green and those of what is gone (`-`) in red where there are colours.
///
/// # Errors
/// Standard output cannot be written to.
pub fn coloured(text: &[(char, String)], colours: bool) -> Result<()> {
    let mut bytes = Vec::new();
    for (sign, line) in text {
        let colour = match (colours, sign) {
            (true, '+') => "\u{1b}[32m",
            (true, '-') => "\u{1b}[31m",
            _ => "",
        };
        bytes.extend_from_slice(colour.as_bytes());
        bytes.extend_from_slice(&raw_text::encode(&for_people(&printable::line(line))));
        bytes.extend_from_slice(if colour.is_empty() { b"\n" } else { b"\x1b[0m\n" });
    }
    raw(&bytes)
}

/// Text as people may see it: without passwords, and with everything escaped that a terminal would obey.
#[must_use]
pub fn for_people(text: &str) -> String {
    printable::lines(&redact::secrets(text)).into_owned()
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
    let text = serde_json::to_string_pretty(value)?;
    raw(format!("{}\n", redact::json(&text)).as_bytes())
}

/// Whether a person reads standard output.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table with aligned columns.
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

/// Blanks between two columns.
const GAP: &str = "  ";

/// What stands before the cells that find no room beside the others.
const INDENT: &str = "    ";

impl Table {
    /// A table with these headings; a heading that begins with `>` is of a column that is aligned to the right.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        let heading = |text: &&str| text.trim_start_matches('>').to_owned();
        Table {
            headings: headings.iter().map(heading).collect(),
            rows: Vec::new(),
            right: headings.iter().map(|text| text.starts_with('>')).collect(),
        }
    }

    /// Adds a row with as many cells as there are headings.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A name may hold line feeds and worse.
        let cell = |cell: String| printable::line(&cell).into_owned();
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// The table as text as wide as the terminal of standard output, without a line feed at its end. In a file or a pipe every
    /// row is one line.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_in(terminal::output_width().unwrap_or(usize::MAX))
    }

    /// The table as text of at most `width` columns, without a line feed at its end. Columns that find no room beside the
    /// others stand below their row, under their names.
    fn render_in(&self, width: usize) -> String {
        let widths: Vec<usize> = (0..self.headings.len()).map(|column| self.width(column)).collect();
        let fitting = fitting(&widths, width);
        let mut lines = vec![self.line(&self.headings, widths.get(..fitting).unwrap_or_default())];
        for row in &self.rows {
            lines.push(self.line(row, widths.get(..fitting).unwrap_or_default()));
            let below: Vec<String> = (self.headings.iter().zip(row).skip(fitting))
                .filter(|(_, cell)| !cell.is_empty())
                .map(|(heading, cell)| format!("{}: {cell}", heading.to_lowercase()))
                .collect();
            if !below.is_empty() {
                let below = terminal::wrap(&below.join(", "), width.saturating_sub(INDENT.len()));
                lines.extend(below.iter().map(|text| format!("{INDENT}{text}")));
            }
        }
        lines.join("\n")
    }

    /// Columns of a terminal that a column of the table takes.
    fn width(&self, column: usize) -> usize {
        let all = std::iter::once(&self.headings).chain(&self.rows);
        let cells = all.filter_map(|row| row.get(column));
        cells.map(|cell| terminal::columns(cell)).max().unwrap_or(0)
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cell = |((text, width), right): ((&String, &usize), &bool)| {
            let blanks = " ".repeat(width.saturating_sub(terminal::columns(text)));
            match right {
                true => format!("{blanks}{text}"),
                false => format!("{text}{blanks}"),
            }
        };
        let cells: Vec<String> = row.iter().zip(widths).zip(&self.right).map(cell).collect();
        cells.join(GAP).trim_end().to_owned()
    }
}

/// How many columns of these widths stand side by side in `width`: at least the first.
fn fitting(widths: &[usize], width: usize) -> usize {
    let mut used = 0_usize;
    let fits = widths.iter().take_while(|column| {
        used += *column + if used > 0 { GAP.len() } else { 0 };
        used <= width
    });
    fits.count().max(1)
}

/// A number with what it counts: `1 table`, `1,234 tables`.
#[must_use]
pub fn plural(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{} {one}s", count(number)),
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

/// How a drill went, in a few words.
#[must_use]
pub fn drilled(drill: DrillMark, now: DateTime<Utc>) -> String {
    let (ago, took) = (ago(drill.at, now), plain_seconds(drill.seconds));
    match drill.passed {
        true => format!("restorable, shown by a drill {ago} in {took}"),
        false => format!("FAILED A DRILL {ago}"),
    }
}

/// Whole seconds, for people.
fn plain_seconds(number: u64) -> String {
    match number {
        0..600 => format!("{number} s"),
        number => format!("{} min", number / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&["ID", ">SIZE", "NOTE"]);
        table.row(["1", "10", ""].map(str::to_owned));
        table.row(["long", "9", "x"].map(str::to_owned));
        assert_eq!(table.render_in(80), "ID    SIZE  NOTE\n1       10\nlong     9  x");
    }

    #[test]
    fn what_does_not_fit_stands_below() {
        let mut table = Table::new(&["ID", ">SIZE", "NOTE"]);
        table.row(["1", "10", "a note that is long"].map(str::to_owned));
        table.row(["2", "9", ""].map(str::to_owned));
        assert_eq!(
            table.render_in(20),
            "ID  SIZE\n1     10\n    note: a note\n    that is long\n2      9"
        );
        assert_eq!(table.render_in(1).lines().next(), Some("ID"));
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [plural(1, "job"), plural(0, "job"), plural(1234, "row")],
            ["1 job", "0 jobs", "1,234 rows"]
        );
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
