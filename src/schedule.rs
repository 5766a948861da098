//! When a job runs: a cron expression in a time zone, and the instants that it means.

use std::fmt;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use crate::error::{Exit, Fail, Result};

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
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
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
        };
        if schedule.next_after(now).is_none() {
            return Err(fail("it never fires".to_owned()));
        }
        Ok(schedule)
    }

    /// The first instant after `time` at which the schedule fires. A local time that the change to summer time
    /// leaves out fires when the clock has jumped; one that comes twice in autumn fires the first time.
    #[must_use]
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A schedule knows whole seconds.
        let local = time.with_timezone(&self.zone).trunc_subsecs(0);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.with_timezone(&Utc)).filter(|next| *next > time)
    }

    /// The first firing since `last` that nobody was there for at `now`.
    #[must_use]
    pub fn missed(&self, last: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next_after(last).filter(|due| *due <= now)
    }

    /// The longest time between two firings from `now` on: what is looked at is a week, or a dozen firings where that is longer.
    #[must_use]
    pub fn interval(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let first = self.next_after(now)?;
        let (mut before, mut longest) = (first, None);
        for number in 0..MOST_FIRINGS {
            let Some(next) = self.next_after(before) else { break };
            longest = longest.max(Some(next - before));
            before = next;
            if number >= FEWEST_FIRINGS && next - first > LOOKED_AHEAD {
                break;
            }
        }
        longest
    }

    /// The expression, as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
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
}
