//! Local times, and the instants that they mean. Where clocks are changed a local time is left out, or comes twice.

use chrono::{DateTime, NaiveDateTime, Offset as _, SubsecRound as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use croner::Cron;

/// More times than this are not skipped: an hour has 3600 seconds.
const MOST_STEPS: usize = 10_000;

/// The first instant after `time` at which `cron` fires in `zone`.
///
/// - A local time that is left out fires when the clock has jumped, unless the schedule fires in the time after that which is as
///   long as what was left out: then nothing is lost without it.
/// - A local time that comes twice fires the first time. It fires again where the schedule would fire both that much earlier
///   and that much later: so what runs every hour does not pause for two.
pub(super) fn next_after(cron: &Cron, zone: Tz, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // A schedule knows whole seconds.
    let (mut from, mut inclusive) = (time.trunc_subsecs(0), false);
    for _ in 0..MOST_STEPS {
        let offset = offset(zone, from);
        let local = next_local(cron, from.naive_utc() + offset, inclusive)?;
        let due = (local - offset).and_utc();
        if self::offset(zone, due) == offset {
            if comes_again(zone, due).is_none_or(|fold| goes_on(cron, local, fold)) {
                return Some(due);
            }
            (from, inclusive) = (due, false);
            continue;
        }
        let change = change(zone, from, due, offset);
        let jump = self::offset(zone, change) - offset;
        let (begin, end) = (change.naive_utc() + offset, change.naive_utc() + offset + jump);
        if (begin..end).contains(&local) {
            let next = next_local(cron, end, true);
            if next.is_none_or(|next| next >= end + jump) {
                return Some(change);
            }
        }
        (from, inclusive) = (change, true);
    }
    None
}

/// What local time is ahead of UTC.
fn offset(zone: Tz, at: DateTime<Utc>) -> TimeDelta {
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    TimeDelta::seconds(i64::from(offset.local_minus_utc()))
}

/// The next time that the fields of `cron` mean, wherever that may be.
fn next_local(cron: &Cron, from: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
    let next = cron.find_next_occurrence(&from.and_utc(), inclusive).ok()?;
    Some(next.naive_utc())
}

/// How long ago the same local time was, where `at` is its second time.
fn comes_again(zone: Tz, at: DateTime<Utc>) -> Option<TimeDelta> {
    let local = zone.from_utc_datetime(&at.naive_utc()).naive_local();
    let first = zone.from_local_datetime(&local).earliest()?.with_timezone(&Utc);
    Some(at - first).filter(|fold| *fold > TimeDelta::zero())
}

/// Whether `cron` fires both before and after the local time, at a distance of `fold`.
fn goes_on(cron: &Cron, local: NaiveDateTime, fold: TimeDelta) -> bool {
    let fires = |time: NaiveDateTime| cron.is_time_matching(&time.and_utc()).unwrap_or(false);
    fires(local - fold) && fires(local + fold)
}

/// When clocks are changed: after `before`, where they have `offset`, and not later than `after`, where they have another one.
fn change(zone: Tz, before: DateTime<Utc>, after: DateTime<Utc>, offset: TimeDelta) -> DateTime<Utc> {
    let (mut before, mut after) = (before.timestamp(), after.timestamp());
    let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    while after - before > 1 {
        let middle = before.midpoint(after);
        match self::offset(zone, at(middle)) == offset {
            true => before = middle,
            false => after = middle,
        }
    }
    at(after)
}

/// The instant of a local time: the first one of two, and where it is left out the one at which the clock has jumped.
pub(super) fn instant(zone: Tz, local: NaiveDateTime) -> DateTime<Utc> {
    // Clocks are put on by a day at most.
    let minutes = (0..=24 * 60).map(|minutes| local + TimeDelta::minutes(minutes));
    let found = minutes
        .filter_map(|local| zone.from_local_datetime(&local).earliest())
        .next();
    found.map_or_else(|| local.and_utc(), |found| found.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::Timelike as _;
    use croner::parser::{CronParser, Seconds};

    use super::*;

    fn cron(text: &str) -> Cron {
        CronParser::builder()
            .seconds(Seconds::Optional)
            .build()
            .parse(text)
            .unwrap()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// All firings in a time, in the words of the zone.
    fn firings(text: &str, zone: Tz, from: &str, to: &str) -> Vec<String> {
        let (cron, to) = (cron(text), utc(to));
        let next = |time: &DateTime<Utc>| next_after(&cron, zone, *time);
        std::iter::successors(next(&utc(from)), next)
            .take_while(|time| *time < to)
            .map(|time| time.with_timezone(&zone).format("%H:%M%z").to_string())
            .collect()
    }

    #[test]
    fn hours_are_neither_lost_nor_doubled() {
        let berlin = Tz::Europe__Berlin;
        let spring = |text| firings(text, berlin, "2026-03-28T23:59:00Z", "2026-03-29T03:01:00Z");
        assert_eq!(
            spring("0 * * * *"),
            ["01:00+0100", "03:00+0200", "04:00+0200", "05:00+0200"]
        );
        assert_eq!(spring("15 * * * *"), ["01:15+0100", "03:15+0200", "04:15+0200"]);
        let autumn = |text| firings(text, berlin, "2026-10-24T22:59:00Z", "2026-10-25T02:01:00Z");
        assert_eq!(
            autumn("0 * * * *"),
            ["01:00+0200", "02:00+0200", "02:00+0100", "03:00+0100"]
        );
        assert_eq!(autumn("30 1-4 * * *"), ["01:30+0200", "02:30+0200", "02:30+0100"]);
        assert_eq!(
            autumn("*/15 2 * * *"),
            ["02:00+0200", "02:15+0200", "02:30+0200", "02:45+0200"]
        );
    }

    #[test]
    fn a_night_whose_hour_is_left_out_has_its_run() {
        for text in ["30 2 * * *", "0,30 2 * * *", "*/10 2 * * *", "0 2 * * SUN"] {
            let run = firings(text, Tz::Europe__Berlin, "2026-03-28T22:00:00Z", "2026-03-29T22:00:00Z");
            assert_eq!(run, ["03:00+0200"], "{text}");
        }
        // Samoa left out a day.
        let run = firings(
            "0 4 * * *",
            Tz::Pacific__Apia,
            "2011-12-29T13:00:00Z",
            "2012-01-01T09:00:00Z",
        );
        assert_eq!(run, ["04:00-1000", "04:00+1400", "04:00+1400"]);
    }

    /// A schedule, and whether it fires at an hour and minute.
    type Rule = (&'static str, fn(u32, u32) -> bool);

    const RULES: [Rule; 9] = [
        ("0 * * * *", |_, minute| minute == 0),
        ("7,37 * * * *", |_, minute| minute == 7 || minute == 37),
        ("*/15 * * * *", |_, minute| minute % 15 == 0),
        ("0 */2 * * *", |hour, minute| hour % 2 == 0 && minute == 0),
        ("30 2 * * *", |hour, minute| hour == 2 && minute == 30),
        ("15 1,2 * * *", |hour, minute| (hour == 1 || hour == 2) && minute == 15),
        ("30 0-4 * * *", |hour, minute| hour <= 4 && minute == 30),
        ("*/20 2 * * *", |hour, minute| hour == 2 && minute % 20 == 0),
        ("0 0 * * *", |hour, minute| hour == 0 && minute == 0),
    ];

    const ZONES: [Tz; 10] = [
        Tz::UTC,
        Tz::Europe__Berlin,
        Tz::Europe__London,
        Tz::America__New_York,
        Tz::America__St_Johns,
        Tz::America__Santiago,
        Tz::Australia__Lord_Howe,
        Tz::Australia__Sydney,
        Tz::Africa__Casablanca,
        Tz::Asia__Beirut,
    ];

    /// A second implementation: a clock that is looked at each minute, and that remembers what it has shown.
    fn watched(fires: fn(u32, u32) -> bool, zone: Tz, from: DateTime<Utc>, minutes: i64) -> Vec<DateTime<Utc>> {
        let local = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
        let at = |time: NaiveDateTime| fires(time.hour(), time.minute());
        let minute = TimeDelta::minutes(1);
        let mut shown = BTreeSet::new();
        let mut fired = Vec::new();
        for number in 0..minutes {
            let now = from + minute * i32::try_from(number).unwrap();
            let (time, before) = (local(now), local(now - minute));
            let left_out: Vec<NaiveDateTime> = std::iter::successors(Some(before + minute), |it| Some(*it + minute))
                .take_while(|it| *it < time)
                .collect();
            let again = !shown.insert(time);
            // How far the clock was last put back.
            let fold = || {
                (0..180).map(|back| now - minute * back).find_map(|it| {
                    let back = local(it - minute) + minute - local(it);
                    (back > TimeDelta::zero()).then_some(back)
                })
            };
            let wanted = match again {
                true => at(time) && fold().is_some_and(|fold| at(time - fold) && at(time + fold)),
                false => at(time),
            };
            let count = i32::try_from(left_out.len()).unwrap();
            let lost = left_out.into_iter().any(at) && !(0..count).any(|later| at(time + minute * later));
            if wanted || lost {
                fired.push(now);
            }
        }
        fired
    }

    #[test]
    fn ten_zones_and_five_years_are_as_a_clock_that_is_watched_shows() {
        let mut changes = 0;
        for zone in ZONES {
            for day in 0..5 * 365 {
                let noon = utc("2024-01-01T12:00:00Z") + TimeDelta::days(day);
                if offset(zone, noon) == offset(zone, noon + TimeDelta::days(1)) {
                    continue;
                }
                changes += 1;
                let (from, minutes) = (noon, 24 * 60);
                for (text, fires) in RULES {
                    let cron = cron(text);
                    let next = |time: &DateTime<Utc>| next_after(&cron, zone, *time);
                    let found: Vec<DateTime<Utc>> = std::iter::successors(next(&(from - TimeDelta::seconds(1))), next)
                        .take_while(|time| *time < from + TimeDelta::minutes(minutes))
                        .collect();
                    assert_eq!(
                        found,
                        watched(fires, zone, from, minutes),
                        "{text} in {zone} around {noon}"
                    );
                }
            }
        }
        assert!(changes > 80, "{changes}");
    }
}
