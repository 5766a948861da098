//! Pictures, drawn as SVG: the strip of days, and a number over time.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::escape;
use crate::watch::status::{Day, DayState};

/// Width of a day, and of the gap between two.
const DAY: usize = 10;
const GAP: usize = 2;

/// The last days: each a bar whose title says what it was. Failed and missed days are lower, for those who see no colors.
pub fn strip(days: &[Day]) -> String {
    let count = |state| days.iter().filter(|day| day.state == state).count();
    let about = format!(
        "the last {} days: {} good, {} failed, {} missed",
        days.len(),
        count(DayState::Good),
        count(DayState::Failed),
        count(DayState::Missed)
    );
    let width = days.len() * DAY;
    let mut svg = format!("<svg viewBox=\"0 0 {width} 24\" role=\"img\" aria-label=\"{about}\"><title>{about}</title>");
    for (at, day) in days.iter().enumerate() {
        let (class, what, top) = match day.state {
            DayState::Good => ("good", "backed up", 0),
            DayState::Failed => ("failed", "failed", 8),
            DayState::Missed => ("missed", "missed", 12),
            DayState::None => ("none", "nothing expected", 18),
        };
        let (x, width, height) = (at * DAY, DAY - GAP, 24 - top);
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"1\"><title>{}: {what}, {} good, \
             {} failed</title></rect>",
            day.date, day.good, day.failed
        );
    }
    svg + "</svg>"
}

/// A point in time, and what was measured then.
pub type Point = (DateTime<Utc>, f64);

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 60.0;
const MARGIN: f64 = 14.0;

/// A number over time, from nothing to the most that there was; `say` writes it for people, and days are those of `zone`. Nothing where
/// there are no two points.
pub fn curve(name: &str, points: &[Point], zone: &str, say: impl Fn(f64) -> String) -> String {
    let zone: Tz = zone.parse().unwrap_or_default();
    let local = |point: &Point, format| point.0.with_timezone(&zone).format(format).to_string();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    if points.len() < 2 {
        return String::new();
    }
    let most = points.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    #[allow(clippy::cast_precision_loss)] // a picture is not that exact
    let seconds = |time: DateTime<Utc>| (time - first.0).num_seconds() as f64;
    let whole = seconds(last.0).max(1.0);
    let place = |(time, value): &Point| {
        let x = seconds(*time) / whole * (WIDTH - 8.0) + 4.0;
        let y = HEIGHT - MARGIN - value / most * (HEIGHT - 2.0 * MARGIN);
        (x, y)
    };
    let about = format!(
        "{name} from {} ({}) to {} ({}), at most {}",
        say(first.1),
        local(first, "%Y-%m-%d"),
        say(last.1),
        local(last, "%Y-%m-%d"),
        say(most)
    );
    let about = escape(&about);
    let line: Vec<String> = points
        .iter()
        .map(place)
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let (base, right) = (HEIGHT - MARGIN, WIDTH - 4.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{about}\"><title>{about}</title>\
         <line class=\"axis\" x1=\"4\" y1=\"{base}\" x2=\"{right}\" y2=\"{base}\"/>\
         <polyline class=\"curve\" points=\"{}\"/>",
        line.join(" ")
    );
    for point in points {
        let (x, y) = place(point);
        let when = local(point, "%Y-%m-%d %H:%M %Z");
        let _ = write!(
            svg,
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.6\"><title>{when}: {}</title></circle>",
            escape(&say(point.1))
        );
    }
    let (low, high) = (HEIGHT - 3.0, 10.0);
    let _ = write!(
        svg,
        "<text x=\"4\" y=\"{high}\">{} {}</text><text x=\"4\" y=\"{low}\">{}</text>\
         <text x=\"{right}\" y=\"{low}\" text-anchor=\"end\">{}</text></svg>",
        escape(name),
        escape(&say(last.1)),
        local(first, "%b %d"),
        local(last, "%b %d"),
    );
    svg
}
