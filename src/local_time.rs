//! The time where the program runs, as the C library writes it for pg_dump: with the name of the zone.

use std::path::Path;

use chrono::{Local, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;

/// The time now.
#[must_use]
pub fn now() -> NaiveDateTime {
    Local::now().naive_local()
}

/// A local time with the name that its zone has then: `2026-11-29 09:13:32 CET`.
#[must_use]
pub fn with_zone(time: NaiveDateTime) -> String {
    let variable = std::env::var("TZ").ok();
    let file = std::fs::read_link("/etc/localtime").ok();
    let zone = abbreviation(time, variable.as_deref(), file.as_deref());
    format!("{} {zone}", time.format("%Y-%m-%d %H:%M:%S"))
}

/// The zone's name by the variable `TZ`, or else by where the machine's own zone is.
fn abbreviation(time: NaiveDateTime, variable: Option<&str>, file: Option<&Path>) -> String {
    let of_file = || {
        let path = file?.to_str()?;
        path.split_once("zoneinfo/").map(|(_, name)| name.to_owned())
    };
    let name = match variable {
        Some(variable) => Some(variable.trim_start_matches(':').to_owned()),
        None => of_file(),
    };
    // Without any the C library takes UTC.
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "UTC".to_owned());
    let zone = name.split_once("zoneinfo/").map_or(name.as_str(), |(_, name)| name);
    match zone.parse::<Tz>() {
        Ok(zone) => match zone.from_local_datetime(&time).earliest() {
            Some(time) => time.format("%Z").to_string(),
            None => zone.from_utc_datetime(&time).format("%Z").to_string(),
        },
        // A rule, as in `CET-1CEST`, begins with the name.
        Err(_) => zone.chars().take_while(char::is_ascii_alphabetic).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_the_names_of_the_c_library() {
        let time = |text: &str| text.parse().unwrap();
        let (winter, summer) = (time("2026-01-01T12:00:00"), time("2026-07-01T12:00:00"));
        let berlin = Path::new("/usr/share/zoneinfo/Europe/Berlin");
        assert_eq!(abbreviation(winter, None, None), "UTC");
        assert_eq!(abbreviation(winter, None, Some(berlin)), "CET");
        assert_eq!(abbreviation(summer, None, Some(berlin)), "CEST");
        assert_eq!(abbreviation(summer, Some("America/New_York"), Some(berlin)), "EDT");
        assert_eq!(abbreviation(summer, Some(":Asia/Kolkata"), None), "IST");
        assert_eq!(abbreviation(summer, Some(""), Some(berlin)), "UTC");
        assert_eq!(abbreviation(summer, Some("XYZ-3"), None), "XYZ");
    }
}
