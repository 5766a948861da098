//! Dates and times as servers write them with `DateStyle` ISO, as every dump does.

use chrono::{Datelike as _, NaiveDate};

/// Microseconds of a second, and of a day.
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A `date`: days since 2000.
pub(super) fn date(text: &[u8]) -> Option<i32> {
    match text {
        b"infinity" => Some(i32::MAX),
        b"-infinity" => Some(i32::MIN),
        _ => day(text),
    }
}

/// A `time`: microseconds since midnight.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let (time, rest) = clock(text)?;
    rest.is_empty().then_some(time)
}

/// A `timestamp`: microseconds since 2000.
pub(super) fn timestamp(text: &[u8]) -> Option<i64> {
    if let Some(never) = infinite(text) {
        return Some(never);
    }
    let (moment, rest) = moment(text)?;
    rest.is_empty().then_some(moment)
}

/// A `timestamptz`: microseconds since 2000 in UTC.
pub(super) fn timestamptz(text: &[u8]) -> Option<i64> {
    if let Some(never) = infinite(text) {
        return Some(never);
    }
    let (moment, rest) = moment(text)?;
    moment.checked_sub(zone(rest)? * SECOND)
}

fn infinite(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(i64::MAX),
        b"-infinity" => Some(i64::MIN),
        _ => None,
    }
}

fn moment(text: &[u8]) -> Option<(i64, &[u8])> {
    let at = memchr::memchr(b' ', text)?;
    let (time, rest) = clock(&text[at + 1..])?;
    let moment = i64::from(day(&text[..at])?).checked_mul(DAY)?.checked_add(time)?;
    Some((moment, rest))
}

/// `YYYY-MM-DD`, with as many digits as the year needs; days since 2000.
fn day(text: &[u8]) -> Option<i32> {
    let year_ends = text.len().checked_sub(6).filter(|at| (4..=6).contains(at))?;
    let (year, rest) = text.split_at(year_ends);
    let [b'-', m1, m2, b'-', d1, d2] = *rest else {
        return None;
    };
    let year = year
        .iter()
        .try_fold(0_i32, |year, byte| Some(year * 10 + digit(*byte)?))?;
    let date = NaiveDate::from_ymd_opt(year, number(m1, m2)?, number(d1, d2)?)?;
    (year > 0).then(|| date.num_days_from_ce() - EPOCH)
}

/// The day of 2000-01-01, counted from the first of the first year.
const EPOCH: i32 = 730_120;

/// `HH:MM:SS` and up to six digits of its fraction; microseconds, and what comes behind.
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let (head, mut rest) = text.split_at_checked(8)?;
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *head else {
        return None;
    };
    let (hours, minutes, seconds) = (number(h1, h2)?, number(m1, m2)?, number(s1, s2)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let mut micros = i64::from(hours * 3600 + minutes * 60 + seconds) * SECOND;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 || len > 6 {
            return None;
        }
        let mut unit = SECOND;
        for byte in &fraction[..len] {
            unit /= 10;
            micros += i64::from(digit(*byte)?) * unit;
        }
        rest = &fraction[len..];
    }
    Some((micros, rest))
}

/// `+HH`, `+HH:MM` or `+HH:MM:SS` east of Greenwich, in seconds.
fn zone(text: &[u8]) -> Option<i64> {
    let (sign, offset) = match text.split_first()? {
        (b'+', offset) => (1, offset),
        (b'-', offset) => (-1, offset),
        _ => return None,
    };
    let (hours, minutes, seconds) = match *offset {
        [h1, h2] => (number(h1, h2)?, 0, 0),
        [h1, h2, b':', m1, m2] => (number(h1, h2)?, number(m1, m2)?, 0),
        [h1, h2, b':', m1, m2, b':', s1, s2] => (number(h1, h2)?, number(m1, m2)?, number(s1, s2)?),
        _ => return None,
    };
    (minutes < 60 && seconds < 60).then(|| sign * i64::from(hours * 3600 + minutes * 60 + seconds))
}

fn number(tens: u8, ones: u8) -> Option<u32> {
    u32::try_from(digit(tens)? * 10 + digit(ones)?).ok()
}

fn digit(byte: u8) -> Option<i32> {
    byte.is_ascii_digit().then(|| i32::from(byte - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_2000() {
        assert_eq!(date(b"2000-01-01"), Some(0));
        assert_eq!(date(b"1999-12-31"), Some(-1));
        assert_eq!(date(b"2000-03-01"), Some(60));
        assert_eq!(date(b"10000-01-01"), Some(2_921_940));
        assert_eq!(date(b"infinity"), Some(i32::MAX));
        assert_eq!(time(b"23:59:59.999999"), Some(DAY - 1));
        assert_eq!(timestamp(b"2000-01-02 00:00:01.5"), Some(DAY + 1_500_000));
        assert_eq!(timestamp(b"1999-12-31 23:59:59"), Some(-SECOND));
        assert_eq!(timestamptz(b"2000-01-01 01:00:00+01"), Some(0));
        assert_eq!(timestamptz(b"1999-12-31 18:30:00-05:30"), Some(0));
        assert_eq!(timestamptz(b"2000-01-01 00:00:00+00:53:28"), Some(-3_208 * SECOND));
        assert_eq!(timestamptz(b"-infinity"), Some(i64::MIN));
    }

    #[test]
    fn other_forms_are_not_understood() {
        for text in [
            "2000-02-30",
            "0044-03-15 BC",
            "2000-1-1",
            "01/02/2000",
            "epoch",
            "0000-01-01",
            "",
        ] {
            assert_eq!(date(text.as_bytes()), None, "{text:?}");
        }
        for text in [
            "24:00:00",
            "12:00",
            "12:00:60",
            "12:00:00.",
            "12:00:00.1234567",
            "12:00:00+01",
        ] {
            assert_eq!(time(text.as_bytes()), None, "{text:?}");
        }
        for text in [
            "2000-01-01 00:00:00",
            "2000-01-01 00:00:00 UTC",
            "2000-01-01 00:00:00+1",
            "2000-01-01",
        ] {
            assert_eq!(timestamptz(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(timestamp(b"2000-01-01 00:00:00+00"), None);
    }
}
