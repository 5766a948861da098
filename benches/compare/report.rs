//! What was measured, as lines, as a table and as a chart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::common::Measured;

/// The medians of one side.
pub struct Side {
    pub wall: f64,
    /// Of the program and of the server.
    pub processor: f64,
    pub peak_mib: f64,
}

pub struct Row {
    pub name: &'static str,
    pub ours: Side,
    pub theirs: Side,
    pub at_most: f64,
}

impl Side {
    pub fn median(runs: Vec<Measured>) -> Side {
        let of = |value: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Side {
            wall: of(|run| run.wall.as_secs_f64()),
            processor: of(|run| run.processor_seconds + run.server_seconds),
            peak_mib: of(|run| run.peak_kib as f64 / 1024.0),
        }
    }
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours.wall / self.theirs.wall
    }

    pub fn line(&self) -> String {
        let (ours, theirs) = (&self.ours, &self.theirs);
        format!(
            "{}: {:.2} s / {:.2} s = {:.2} (wanted {:.2}), processor {:.1} s / {:.1} s, peak {:.0} MiB / {:.0} MiB",
            self.name,
            ours.wall,
            theirs.wall,
            self.ratio(),
            self.at_most,
            ours.processor,
            theirs.processor,
            ours.peak_mib,
            theirs.peak_mib
        )
    }
}

/// Writes the table and the chart into `folder`.
pub fn write(folder: &Path, rows: &[Row]) {
    fs::write(folder.join("speed-table.md"), table(rows)).unwrap();
    fs::write(folder.join("speed-chart.svg"), chart(rows)).unwrap();
    let ratios: String = rows
        .iter()
        .map(|row| format!("{:.2} {}\n", row.ratio(), row.name))
        .collect();
    fs::write(folder.join("ratios.txt"), ratios).unwrap();
}

/// What has become slower than the ratios in `text`, each before the name of what it is of, by more than a fifth.
pub fn slower(rows: &[Row], text: &str) -> Vec<String> {
    let slower = |line: &str| {
        let (ratio, name) = line.split_once(' ')?;
        let (ratio, row) = (ratio.parse::<f64>().unwrap(), rows.iter().find(|row| row.name == name)?);
        (row.ratio() > ratio * 1.2).then(|| format!("{name}: {:.2} instead of {ratio:.2}", row.ratio()))
    };
    text.lines().filter_map(slower).collect()
}

fn table(rows: &[Row]) -> String {
    let mut table =
        String::from("| what | ours | theirs | ratio | wanted | processor | memory |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let (ours, theirs) = (&row.ours, &row.theirs);
        let _ = writeln!(
            table,
            "| {} | {:.2} s | {:.2} s | **{:.2}** | {:.2} | {:.1} s of {:.1} s | {:.0} MiB of {:.0} MiB |",
            row.name,
            ours.wall,
            theirs.wall,
            row.ratio(),
            row.at_most,
            ours.processor,
            theirs.processor,
            ours.peak_mib,
            theirs.peak_mib
        );
    }
    table
}

/// A bar for each ratio, and a line where both sides are equal.
fn chart(rows: &[Row]) -> String {
    const LINE: usize = 26;
    const LEFT: f64 = 300.0;
    const EQUAL: f64 = 300.0;
    let height = rows.len() * LINE + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"13\" \
         role=\"img\" aria-label=\"Wall time of Snapback's as a part of that of PostgreSQL's own tools\">\n\
         <rect width=\"760\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (at, row) in rows.iter().enumerate() {
        let y = at * LINE + 10;
        let width = (row.ratio() * EQUAL).min(440.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.0}\" \
             height=\"18\" fill=\"#2b6cb0\"/><text x=\"{:.0}\" y=\"{}\">{:.2}</text>",
            LEFT - 8.0,
            y + 14,
            row.name,
            LEFT + width + 6.0,
            y + 14,
            row.ratio()
        );
    }
    let equal = LEFT + EQUAL;
    let _ = writeln!(
        svg,
        "<line x1=\"{equal}\" y1=\"4\" x2=\"{equal}\" y2=\"{}\" stroke=\"#c53030\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{equal}\" y=\"{}\" text-anchor=\"middle\" fill=\"#c53030\">as long as PostgreSQL's own tools</text>\n</svg>",
        height - 26,
        height - 10
    );
    svg
}
