//! When a job runs: a cron expression in a time zone, and the instants that it means; a window that it may start in, and how much
//! later it may start.

mod local;
mod window;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use sha2::{Digest as _, Sha256};

use crate::error::{Exit, Fail, Result};
pub use window::Window;

/// How far the longest time between two firings is looked for: weekends and the nights between working days are in it.
const LOOKED_AHEAD: TimeDelta = TimeDelta::days(8);
const FEWEST_FIRINGS: usize = 12;
const MOST_FIRINGS: usize = 2000;

/// A cron expression (5 fields, or 6 with seconds first, or `@daily` and the like) in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: Tz,
    window: Option<Window>,
    jitter: TimeDelta,
    /// What tells its jitter from that of others.
    name: String,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.described(), self.zone)
    }
}

impl Schedule {
    /// Understands `text` as times of `zone`.
    ///
    /// # Errors
    /// It is no cron expression, or one that never fires after `now`.
    pub fn parse(text: &str, zone: Tz, now: DateTime<Utc>) -> Result<Self, Fail> {
        let fail = |why: String| {
            Fail::new(Exit::Usage, format!("{text:?} is not a schedule: {why}")).hint(
                "use five fields (minute hour day month weekday), six with seconds first, or @hourly, @daily, @weekly, @monthly",
            )
        };
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .build()
            .parse(text.trim())
            .map_err(|error| fail(out_of_range(text).unwrap_or_else(|| error.to_string())))?;
        let schedule = Schedule {
            text: text.trim().to_owned(),
            cron,
            zone,
            window: None,
            jitter: TimeDelta::zero(),
            name: String::new(),
        };
        if schedule.next_after(now).is_none() {
            return Err(fail("it never fires".to_owned()));
        }
        Ok(schedule)
    }

    /// The same for the job `name`, with starts in `window` only, and up to `jitter` later.
    #[must_use]
    pub fn spread(self, window: Option<Window>, jitter: TimeDelta, name: &str) -> Self {
        Schedule {
            window,
            jitter,
            name: name.to_owned(),
            ..self
        }
    }

    /// The same for another job: it has a jitter of its own.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        Schedule {
            name: name.to_owned(),
            ..self
        }
    }

    /// The same without jitter.
    #[must_use]
    pub fn even(&self) -> Self {
        self.clone().spread(self.window, TimeDelta::zero(), "")
    }

    /// The first instant after `time` at which a run starts. What is due outside of the window starts when it opens.
    #[must_use]
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // What was due before may still come, by the jitter or when the window opens.
        let since = time - self.jitter;
        let mut cursor = match self.window {
            Some(window) if !window.is_open(self.zone, since) => {
                window.closed_before(self.zone, since) - TimeDelta::seconds(1)
            }
            _ => since,
        };
        let mut first: Option<DateTime<Utc>> = None;
        while let Some(due) = local::next_after(&self.cron, self.zone, cursor) {
            let base = match self.window {
                Some(window) if !window.is_open(self.zone, due) => window.opens_after(self.zone, due),
                _ => due,
            };
            if first.is_some_and(|first| base >= first) {
                break;
            }
            let start = base + self.shift(base);
            if start > time && first.is_none_or(|first| start < first) {
                first = Some(start);
            }
            // All that is due while the window is closed is one run.
            cursor = if base > due { base - TimeDelta::seconds(1) } else { due };
        }
        first
    }

    /// How much later than `base` the run starts: the same for all runs of the job on that day, and never when the window has closed.
    fn shift(&self, base: DateTime<Utc>) -> TimeDelta {
        let room = self
            .window
            .map(|window| window.closes_after(self.zone, base) - base - TimeDelta::seconds(1));
        let most = room
            .map_or(self.jitter, |room| room.min(self.jitter))
            .num_seconds()
            .max(0);
        if most == 0 {
            return TimeDelta::zero();
        }
        let day = base.with_timezone(&self.zone).date_naive();
        let hash = Sha256::digest(format!("{} {day}", self.name));
        let share = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        // One more than the most, as the share is always less than the whole.
        TimeDelta::seconds(((most + 1) * i64::from(share)) >> 32)
    }

    /// Whether runs may start at `at`.
    #[must_use]
    pub fn may_start(&self, at: DateTime<Utc>) -> bool {
        self.window.is_none_or(|window| window.is_open(self.zone, at))
    }

    /// The first firing since `last` that nobody was there for at `now`.
    #[must_use]
    pub fn missed(&self, last: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next_after(last).filter(|due| *due <= now)
    }

    /// The longest time between two firings from `now` on: what is looked at is a week, or a dozen firings where that is longer.
    #[must_use]
    pub fn interval(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        // Of the days that are looked at none may have all of the jitter.
        let even = self.even();
        let first = even.next_after(now)?;
        let (mut before, mut longest) = (first, None);
        for number in 0..MOST_FIRINGS {
            let Some(next) = even.next_after(before) else { break };
            longest = longest.max(Some(next - before));
            before = next;
            if number >= FEWEST_FIRINGS && next - first > LOOKED_AHEAD {
                break;
            }
        }
        longest.map(|longest| longest + self.jitter)
    }

    /// Whether the window is closed at `now`, and the next run starts as soon as it is open: then nothing is to be made up for.
    #[must_use]
    pub fn comes_in_next_window(&self, now: DateTime<Utc>) -> bool {
        let Some(window) = self.window.filter(|_| !self.may_start(now)) else {
            return false;
        };
        let closes = window.closes_after(self.zone, window.opens_after(self.zone, now));
        self.next_after(now).is_some_and(|next| next < closes)
    }

    /// The expression, as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The expression, with the window and the jitter, for people.
    #[must_use]
    pub fn described(&self) -> String {
        let mut text = self.text.clone();
        if let Some(window) = self.window {
            text.push_str(&format!(", within {window}"));
        }
        if self.jitter > TimeDelta::zero() {
            text.push_str(&format!(", up to {} s later", self.jitter.num_seconds()));
        }
        text
    }

    /// When runs may start, where that is limited.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        self.window
    }

    /// How much later runs may start.
    #[must_use]
    pub fn jitter(&self) -> TimeDelta {
        self.jitter
    }

    /// The time zone of the schedule.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }
}

/// The fields of a schedule, with the numbers that they may have.
const FIELDS: [(&str, u32, u32); 6] = [
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 7),
];

/// The field whose number cannot be, for people.
fn out_of_range(text: &str) -> Option<String> {
    let given: Vec<&str> = text.split_whitespace().collect();
    let fields = match given.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        count if count > 0 && !text.trim().starts_with('@') => {
            return Some(format!("it has {count} fields"));
        }
        _ => return None,
    };
    given.iter().zip(fields).find_map(|(field, (name, least, most))| {
        // A step may be any number: `*/90`.
        let numbers = field
            .split(',')
            .filter_map(|part| part.split('/').next())
            .flat_map(|part| part.split('-'));
        let wrong = numbers
            .filter_map(|number| number.parse::<u32>().ok())
            .find(|number| !(least..=most).contains(&number))?;
        Some(format!("the {name} is from {least} to {most}, and {wrong} is not"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn schedule(text: &str, zone: Tz) -> Schedule {
        Schedule::parse(text, zone, utc("2026-01-01T00:00:00Z")).unwrap()
    }

    /// The next firings after `start`.
    fn firings(schedule: &Schedule, start: &str, count: usize) -> Vec<String> {
        let next = |time: &DateTime<Utc>| schedule.next_after(*time);
        std::iter::successors(next(&utc(start)), next)
            .take(count)
            .map(|time| time.format("%m-%dT%H:%M:%S").to_string())
            .collect()
    }

    #[test]
    fn firings_are_at_whole_seconds_and_after_the_instant() {
        let every = schedule("* * * * * *", Tz::UTC);
        let next = |text: &str| every.next_after(utc(text)).unwrap();
        assert_eq!(next("2026-01-01T00:00:01.7Z"), utc("2026-01-01T00:00:02Z"));
        assert_eq!(next("2026-01-01T00:00:01Z"), utc("2026-01-01T00:00:02Z"));
    }

    #[test]
    fn five_and_six_fields_and_nicknames() {
        let utc_of = |text| schedule(text, Tz::UTC);
        assert_eq!(
            firings(&utc_of("30 3 * * *"), "2026-01-01T00:00:00Z", 1),
            ["01-01T03:30:00"]
        );
        assert_eq!(
            firings(&utc_of("*/20 * * * * *"), "2026-01-01T00:00:01Z", 2),
            ["01-01T00:00:20", "01-01T00:00:40"]
        );
        assert_eq!(
            firings(&utc_of("@daily"), "2026-01-01T00:00:00Z", 1),
            ["01-02T00:00:00"]
        );
        assert_eq!(
            firings(&utc_of("@hourly"), "2026-01-01T00:00:00Z", 1),
            ["01-01T01:00:00"]
        );
        assert_eq!(
            firings(&utc_of("0 0 * * MON"), "2026-01-01T00:00:00Z", 1),
            ["01-05T00:00:00"]
        );
        assert_eq!(
            firings(&utc_of("0 0 29 2 *"), "2026-01-01T00:00:00Z", 1),
            ["02-29T00:00:00"]
        );
    }

    #[test]
    fn local_times_follow_summer_time() {
        let nightly = schedule("30 3 * * *", Tz::Europe__Berlin);
        // The clock goes from 02:00 to 03:00 on March 29th 2026, and back on October 25th.
        assert_eq!(
            firings(&nightly, "2026-03-27T12:00:00Z", 3),
            ["03-28T02:30:00", "03-29T01:30:00", "03-30T01:30:00"]
        );
        assert_eq!(
            firings(&nightly, "2026-10-23T12:00:00Z", 3),
            ["10-24T01:30:00", "10-25T02:30:00", "10-26T02:30:00"]
        );
    }

    #[test]
    fn a_local_time_that_is_left_out_or_comes_twice_fires_once() {
        let nightly = schedule("30 2 * * *", Tz::Europe__Berlin);
        assert_eq!(
            firings(&nightly, "2026-03-28T12:00:00Z", 2),
            ["03-29T01:00:00", "03-30T00:30:00"]
        );
        assert_eq!(
            firings(&nightly, "2026-10-24T12:00:00Z", 2),
            ["10-25T00:30:00", "10-26T01:30:00"]
        );
    }

    #[test]
    fn nonsense_and_what_never_fires_are_errors() {
        for text in [
            "",
            "x",
            "* * * *",
            "61 * * * *",
            "0 0 31 2 *",
            "0 0 30 feb *",
            "@never",
            "* * * * * * * *",
        ] {
            let error = Schedule::parse(text, Tz::UTC, utc("2026-01-01T00:00:00Z")).unwrap_err();
            assert_eq!(error.exit, Exit::Usage, "{text:?}");
            assert!(error.message.contains("is not a schedule"), "{error}");
        }
    }

    #[test]
    fn the_longest_time_between_two_firings_is_that_over_the_weekend() {
        let hours = |text| {
            let interval = schedule(text, Tz::UTC).interval(utc("2026-01-07T00:00:00Z"));
            interval.unwrap().num_hours()
        };
        assert_eq!(hours("@daily"), 24);
        assert_eq!(hours("0 2 * * 1-5"), 72);
        assert_eq!(hours("0 9-17 * * 1-5"), 64);
        assert_eq!(hours("0 2 1 * *"), 31 * 24);
    }

    #[test]
    fn missed_firings_are_known() {
        let daily = schedule("@daily", Tz::UTC);
        let last = utc("2026-01-01T00:00:05Z");
        assert_eq!(daily.missed(last, utc("2026-01-01T23:00:00Z")), None);
        assert_eq!(
            daily.missed(last, utc("2026-01-05T10:00:00Z")),
            Some(utc("2026-01-02T00:00:00Z"))
        );
    }

    #[test]
    fn what_is_due_while_the_window_is_closed_starts_once_when_it_opens() {
        let window = |text, zone, window: &str| {
            schedule(text, zone).spread(Some(window.parse().unwrap()), TimeDelta::zero(), "app")
        };
        assert_eq!(
            firings(
                &window("0 */2 * * *", Tz::UTC, "01:00-05:00"),
                "2026-01-01T00:00:00Z",
                4
            ),
            ["01-01T01:00:00", "01-01T02:00:00", "01-01T04:00:00", "01-02T01:00:00"]
        );
        // It is closed when it ends, and may go over midnight.
        assert_eq!(
            firings(
                &window("0 5,12,23 * * *", Tz::UTC, "22:00-05:00"),
                "2026-01-01T00:00:00Z",
                3
            ),
            ["01-01T22:00:00", "01-01T23:00:00", "01-02T22:00:00"]
        );
        // The clock jumps over it.
        let jumped = window("30 12 * * *", Tz::Europe__Berlin, "02:00-03:00");
        assert_eq!(
            firings(&jumped, "2026-03-27T12:00:00Z", 3),
            ["03-28T01:00:00", "03-29T01:00:00", "03-30T00:00:00"]
        );
        let weekly = window("0 12 * * MON", Tz::UTC, "01:00-05:00");
        // The run of Monday is due in the night to Tuesday.
        assert!(weekly.comes_in_next_window(utc("2026-01-05T12:30:00Z")));
        assert!(!weekly.comes_in_next_window(utc("2026-01-06T12:30:00Z")));
        assert!(!weekly.comes_in_next_window(utc("2026-01-06T02:00:00Z")));
        assert!(jumped.may_start(utc("2026-03-29T01:00:00Z")) && !jumped.may_start(utc("2026-03-29T01:00:01Z")));
        for text in ["1-5", "01:00", "01:00-01:00", "25:00-26:00", ""] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn jitter_is_of_the_job_and_the_day() {
        let start = utc("2026-01-01T00:00:00Z");
        let of = |name: &str, text: &str, window: Option<Window>| {
            let schedule = schedule(text, Tz::UTC).spread(window, TimeDelta::minutes(30), name);
            let starts: Vec<DateTime<Utc>> =
                std::iter::successors(schedule.next_after(start), |time| schedule.next_after(*time))
                    .take(40)
                    .collect();
            // Wherever one looks from, the plan is the same.
            for pair in starts.windows(2) {
                assert!(pair[0] < pair[1]);
                let middle = pair[0] + (pair[1] - pair[0]) / 2;
                assert_eq!(schedule.next_after(middle), Some(pair[1]), "{name} {text}");
            }
            starts
        };
        let daily = of("app", "0 3 * * *", None);
        let late =
            |start: &DateTime<Utc>| (start.time() - chrono::NaiveTime::from_hms_opt(3, 0, 0).unwrap()).num_seconds();
        assert!(daily.iter().all(|start| (0..=1800).contains(&late(start))));
        let different: std::collections::BTreeSet<i64> = daily.iter().map(late).collect();
        assert!(different.len() > 20 && different.last().unwrap() - different.first().unwrap() > 900);
        assert_ne!(daily, of("shop", "0 3 * * *", None));
        assert_eq!(daily, of("app", "0 3 * * *", None));
        // Runs of one day move together, and a day's last one may come in the next.
        let hourly = of("app", "50 * * * *", None);
        let seconds = |time: &DateTime<Utc>| time.timestamp() % 3600;
        assert_eq!(seconds(&hourly[3]), seconds(&hourly[4]));
        // It never leaves the window.
        let window: Window = "02:00-03:05".parse().unwrap();
        let kept = of("app", "0 3 * * *", Some(window));
        assert!(kept.iter().all(|start| (0..300).contains(&late(start))));
        assert_eq!(
            schedule("0 3 * * *", Tz::UTC)
                .spread(None, TimeDelta::minutes(30), "app")
                .interval(start),
            Some(TimeDelta::minutes(24 * 60 + 30))
        );
    }
}
