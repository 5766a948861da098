//! When runs start: jitter and windows, in what is said and in what is done.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use super::{Served, json, site, wait_for, write};

/// When the next runs of a job start, in its zone.
fn starts(site: &crate::sqlite::Site, job: &str) -> Vec<NaiveTime> {
    let (_, next) = json(site, &["next", job, "-n", "20"]);
    let next = next.as_array().unwrap().clone();
    let time = |due: &serde_json::Value| {
        due["local"]
            .as_str()
            .unwrap()
            .parse::<DateTime<chrono::FixedOffset>>()
            .unwrap()
    };
    next.iter().map(|due| time(due).time()).collect()
}

#[test]
fn jobs_of_one_time_start_apart_and_at_the_same_times_whoever_asks() {
    let site = site(&["crm", "shop"], "");
    let keys = "schedule = \"0 3 * * *\"\ntime_zone = \"Europe/Berlin\"\njitter = \"1h\"\nwindow = \"01:00-03:30\"";
    write(&site, &["crm", "shop"], keys, "");
    let (crm, shop) = (starts(&site, "crm"), starts(&site, "shop"));
    let time = |hour, minute| NaiveTime::from_hms_opt(hour, minute, 0).unwrap();
    for times in [&crm, &shop] {
        assert_eq!(times.len(), 20);
        assert!(
            times.iter().all(|it| (time(3, 0)..time(3, 30)).contains(it)),
            "{times:?}"
        );
        assert!(times.iter().collect::<BTreeSet<_>>().len() > 5, "{times:?}");
    }
    assert_ne!(crm, shop);
    let (_, status) = json(&site, &["status", "crm"]);
    let job = &status["jobs"][0];
    let next: DateTime<Utc> = job["next_run"].as_str().unwrap().parse().unwrap();
    assert_eq!(next.with_timezone(&chrono_tz::Europe::Berlin).time(), crm[0]);
    assert_eq!(
        (&job["window"], &job["jitter_seconds"]),
        (&"01:00-03:30".into(), &3600.0.into())
    );
    let said = site.snapback(&["next", "crm"]).ok().stdout;
    assert!(
        said.contains("0 3 * * *, within 01:00-03:30, up to 3600 s later"),
        "{said}"
    );

    let refused = |keys: &str, why: &str| {
        write(&site, &["crm"], keys, "");
        let run = site.snapback(&["next"]).code(2);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    };
    refused(
        "window = \"1 to 5\"",
        "jobs.crm.window: \"1 to 5\" is not a window such as 01:00-05:00",
    );
    refused("jitter = \"1d\"", "jobs.crm.jitter: must be less than a day");
}

#[test]
fn a_run_that_is_due_while_the_window_is_closed_waits() {
    let hours = |from: i64, to: i64| {
        let at = |hours: i64| (Utc::now() + TimeDelta::hours(hours)).format("%H:%M").to_string();
        format!("schedule = \"* * * * * *\"\nwindow = \"{}-{}\"", at(from), at(to))
    };
    let site = site(&["closed", "open"], "");
    write(
        &site,
        &["closed"],
        &hours(2, 4),
        &format!("[jobs.open]\nurl = \"open.db\"\n{}", hours(-2, 2)),
    );
    let backups = |job: &str| json(&site, &["list", job]).1[0]["backups"].as_array().unwrap().len();
    let served = Served::start(&site);
    wait_for("runs in the window", || (backups("open") >= 3).then_some(()));
    assert_eq!(backups("closed"), 0);
    // By hand it runs at any time.
    site.snapback(&["backup", "closed"]).ok();
    served.end();
}
