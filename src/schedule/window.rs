//! The times of day in which runs may start.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

use super::local::instant;

/// Times of day, from the first one to before the last one; over midnight where that is the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    begin: NaiveTime,
    end: NaiveTime,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.begin.format("%H:%M"), self.end.format("%H:%M"))
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |text: &str| match text.trim() {
            "24:00" => Ok(NaiveTime::MIN),
            text => NaiveTime::parse_from_str(text, "%H:%M"),
        };
        let window = text
            .split_once('-')
            .and_then(|(begin, end)| Some((time(begin).ok()?, time(end).ok()?)));
        match window {
            Some((begin, end)) if begin == end => Err(format!("{text:?} begins when it ends")),
            Some((begin, end)) => Ok(Window { begin, end }),
            None => Err(format!("{text:?} is not a window such as 01:00-05:00")),
        }
    }
}

impl Window {
    /// Whether a run may start at `at`.
    pub(super) fn is_open(self, zone: Tz, at: DateTime<Utc>) -> bool {
        let time = at.with_timezone(&zone).time();
        let inside = match self.begin < self.end {
            true => (self.begin..self.end).contains(&time),
            false => time >= self.begin || time < self.end,
        };
        // Where the clock jumps over the whole window it is open for that moment: no night goes without.
        inside || around(zone, self.begin, at).any(|begin| begin == at)
    }

    /// The first time after `at` at which it opens.
    pub(super) fn opens_after(self, zone: Tz, at: DateTime<Utc>) -> DateTime<Utc> {
        around(zone, self.begin, at).find(|begin| *begin > at).unwrap_or(at)
    }

    /// The first time after `at` at which it closes.
    pub(super) fn closes_after(self, zone: Tz, at: DateTime<Utc>) -> DateTime<Utc> {
        around(zone, self.end, at).find(|end| *end > at).unwrap_or(at)
    }

    /// The last time up to `at` at which it closed.
    pub(super) fn closed_before(self, zone: Tz, at: DateTime<Utc>) -> DateTime<Utc> {
        around(zone, self.end, at).filter(|end| *end <= at).last().unwrap_or(at)
    }
}

/// When it is `time` on the days around `at`, the first one first.
fn around(zone: Tz, time: NaiveTime, at: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    let today = at.with_timezone(&zone).date_naive();
    let first = today.checked_sub_days(Days::new(2)).unwrap_or(today);
    first
        .iter_days()
        .take(5)
        .map(move |date| instant(zone, NaiveDateTime::new(date, time)))
}
