//! What was measured of one kind of work, as a table and as a chart.

use std::fmt::Write as _;

use crate::common::Measured;

/// One kind of work.
pub struct Kind {
    pub name: &'static str,
    /// What there is more and more of.
    pub of: &'static str,
    /// What is measured, for the heads of columns.
    pub lines: Vec<&'static str>,
    pub points: Vec<Point>,
}

/// So much work.
pub struct Point {
    pub x: f64,
    /// What each line took, in seconds.
    pub seconds: Vec<f64>,
    /// The most memory that Snapback had, in MiB.
    pub peak_mib: f64,
}

impl Point {
    /// Of runs in the order of the lines, the first `ours` of which are Snapback's.
    pub fn of(x: f64, ours: usize, runs: &[Measured]) -> Point {
        let peak = runs[..ours].iter().map(|run| run.peak_kib).max().unwrap_or_default();
        Point {
            x,
            seconds: runs.iter().map(|run| run.wall.as_secs_f64()).collect(),
            peak_mib: peak as f64 / 1024.0,
        }
    }
}

const COLOURS: [&str; 4] = ["#2b6cb0", "#2f855a", "#c53030", "#b7791f"];

impl Kind {
    pub fn table(&self) -> String {
        let mut table = format!("| {} | {} | memory |\n|---|", self.of, self.lines.join(" | "));
        table.push_str(&"---|".repeat(self.lines.len() + 1));
        table.push('\n');
        for point in &self.points {
            let seconds: String = point.seconds.iter().map(|s| format!("{s:.2} s | ")).collect();
            let _ = writeln!(table, "| {} | {seconds}{:.0} MiB |", number(point.x), point.peak_mib);
        }
        table
    }

    /// Both axes are logarithmic: what takes twice the time for twice the work is a straight line at 45 degrees.
    pub fn chart(&self) -> String {
        let (left, top, width, height) = (70.0, 44.0, 520.0, 260.0);
        let all = self.points.iter().flat_map(|point| &point.seconds);
        let (low, high) = all.fold((f64::MAX, 0.0f64), |(low, high), s| (low.min(*s), high.max(*s)));
        let (low, high) = (low.max(0.001).log10().floor(), high.log10().ceil());
        let xs = self.points.iter().map(|point| point.x.log10());
        let (first, last) = xs.fold((f64::MAX, f64::MIN), |(first, last), x| (first.min(x), last.max(x)));
        let x = |value: f64| left + (value.log10() - first) / (last - first) * width;
        let y = |seconds: f64| top + height - (seconds.max(0.001).log10() - low) / (high - low) * height;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 620 370\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\" \
             aria-label=\"{name}\">\n<rect width=\"620\" height=\"370\" fill=\"#fff\"/>\n\
             <text x=\"{left}\" y=\"18\" font-weight=\"bold\">{name}</text>\n",
            name = self.name
        );
        for power in (low as i32)..=(high as i32) {
            let (seconds, at) = (10f64.powi(power), y(10f64.powi(power)));
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" x2=\"{:.0}\" y1=\"{at:.0}\" y2=\"{at:.0}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{seconds} s</text>",
                left + width,
                left - 6.0,
                at + 4.0
            );
        }
        for point in &self.points {
            let (at, value) = (x(point.x), number(point.x));
            let _ = writeln!(
                svg,
                "<text x=\"{at:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{value}</text>",
                top + height + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            left + width / 2.0,
            top + height + 40.0,
            self.of
        );
        for (line, name) in self.lines.iter().enumerate() {
            let colour = COLOURS[line % COLOURS.len()];
            let at = |point: &Point| format!("{:.0},{:.0} ", x(point.x), y(point.seconds[line]));
            let points: String = self.points.iter().map(at).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{:.0}\" y=\"36\" fill=\"{colour}\">{name}</text>",
                left + line as f64 * 130.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// A number for people.
fn number(x: f64) -> String {
    if x < 10.0 && x.fract() != 0.0 {
        return format!("{x:.1}");
    }
    let digits = format!("{x:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
