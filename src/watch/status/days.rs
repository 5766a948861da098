//! The strip of the last days: what happened on each of them. What can be restored now is another question.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::schedule::Schedule;

/// How many days the strip has.
pub const SHOWN_DAYS: usize = 30;

/// What a day was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DayState {
    /// A backup was taken, and nothing failed after it.
    Good,
    /// The last run of the day failed.
    Failed,
    /// The schedule had a run, and there was none.
    Missed,
    /// Nothing was expected, or nothing is known.
    None,
}

/// A day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Its date in the job's zone.
    pub date: NaiveDate,
    /// What it was.
    pub state: DayState,
    /// Backups that were taken.
    pub good: u32,
    /// Runs that failed.
    pub failed: u32,
}

/// The days up to `now`, the oldest first. `runs` says of each run when it began, and whether it made a backup.
pub(super) fn days(
    runs: &[(DateTime<Utc>, bool)],
    schedule: Option<&Schedule>,
    zone: Tz,
    now: DateTime<Utc>,
) -> Vec<Day> {
    let today = now.with_timezone(&zone).date_naive();
    let mut of_day: BTreeMap<NaiveDate, Vec<(DateTime<Utc>, bool)>> = BTreeMap::new();
    for run in runs {
        of_day
            .entry(run.0.with_timezone(&zone).date_naive())
            .or_default()
            .push(*run);
    }
    // Before the first run that is known nobody can say whether anything was missed.
    let first = runs.iter().map(|(at, _)| *at).min();
    let day = |back: i64| {
        let date = today - TimeDelta::days(back);
        let mut runs = of_day.remove(&date).unwrap_or_default();
        runs.sort_by_key(|(at, _)| *at);
        let good = runs.iter().filter(|(_, good)| *good).count() as u32;
        let state = match runs.last() {
            Some((_, true)) => DayState::Good,
            Some((_, false)) => DayState::Failed,
            None if is_missed(date, schedule, zone, first, now) => DayState::Missed,
            None => DayState::None,
        };
        let failed = runs.len() as u32 - good;
        Day {
            date,
            state,
            good,
            failed,
        }
    };
    (0..SHOWN_DAYS as i64).rev().map(day).collect()
}

/// Whether the schedule had a run on this day, before now and after the first one that is known.
fn is_missed(
    date: NaiveDate,
    schedule: Option<&Schedule>,
    zone: Tz,
    first: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    let midnight = date.and_time(chrono::NaiveTime::MIN);
    let begin = zone.from_local_datetime(&midnight).earliest();
    let (Some(schedule), Some(first), Some(begin)) = (schedule, first, begin) else {
        return false;
    };
    let begin = begin.with_timezone(&Utc) - TimeDelta::seconds(1);
    let due = schedule.next_after(begin.max(first));
    due.is_some_and(|due| due <= now && due.with_timezone(&zone).date_naive() == date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_what_its_last_run_was_or_what_the_schedule_expected() {
        let now: DateTime<Utc> = "2026-11-20T01:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let schedule = Schedule::parse("0 2 * * 1-5", Tz::UTC, now).unwrap();
        let runs = [
            (at("2026-11-13T02:00:00Z"), true),
            (at("2026-11-16T02:00:00Z"), false),
            (at("2026-11-16T03:00:00Z"), true),
            (at("2026-11-17T02:00:00Z"), false),
        ];
        let days = days(&runs, Some(&schedule), Tz::UTC, now);
        assert_eq!(days.len(), SHOWN_DAYS);
        let states: Vec<(String, DayState)> = days
            .iter()
            .skip(SHOWN_DAYS - 9)
            .map(|day| (day.date.format("%a %d").to_string(), day.state))
            .collect();
        let expected = [
            ("Thu 12", DayState::None),
            ("Fri 13", DayState::Good),
            ("Sat 14", DayState::None),
            ("Sun 15", DayState::None),
            ("Mon 16", DayState::Good),
            ("Tue 17", DayState::Failed),
            ("Wed 18", DayState::Missed),
            ("Thu 19", DayState::Missed),
            // It is not due yet.
            ("Fri 20", DayState::None),
        ];
        assert_eq!(states, expected.map(|(day, state)| (day.to_owned(), state)));
        assert_eq!((days[25].good, days[25].failed), (1, 1));
    }
}
