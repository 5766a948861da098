//! The whole in one sentence.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{JobStatus, ServerStatus};

/// How many jobs are named.
const NAMED: usize = 5;

/// What there is to say of `jobs` and of `servers` at `now`.
#[must_use]
pub fn sentence(jobs: &[JobStatus], servers: &[ServerStatus], now: DateTime<Utc>) -> String {
    let silent: Vec<&str> = servers
        .iter()
        .filter(|it| it.error.is_some())
        .map(|it| it.server.as_str())
        .collect();
    let told = match (jobs.is_empty(), silent.is_empty()) {
        (true, false) => {
            return format!(
                "it is not known which databases {} has, and none has a backup",
                silent.join(", ")
            );
        }
        (true, true) if !servers.is_empty() => return "no server has a database that is to be backed up".to_owned(),
        _ => of_jobs(jobs, now),
    };
    let mut parts = vec![told];
    if !silent.is_empty() {
        parts.push(format!("{} did not tell which databases it has", silent.join(", ")));
    }
    let gone: Vec<&str> = servers.iter().flat_map(|it| &it.gone).map(String::as_str).collect();
    match gone.as_slice() {
        [] => {}
        [only] => parts.push(format!("{only} is gone from its server")),
        gone => parts.push(format!("{} are gone from their server", gone.len())),
    }
    parts.join("; ")
}

fn of_jobs(jobs: &[JobStatus], now: DateTime<Utc>) -> String {
    let stale: Vec<&JobStatus> = jobs.iter().filter(|job| !job.fresh).collect();
    let fresh = jobs.len() - stale.len();
    let head = match (jobs, stale.is_empty()) {
        ([], _) => return "no job is configured, so nothing is backed up".to_owned(),
        ([only], true) => return format!("{} has a fresh, proven backup", only.job),
        ([only], false) => return format!("{} has no fresh, proven backup{}", only.job, since(only, now)),
        (all, true) => return format!("all {} databases have a fresh, proven backup", all.len()),
        (all, false) if fresh == 1 => format!("1 of {} databases has a fresh, proven backup", all.len()),
        (all, false) => format!("{fresh} of {} databases have a fresh, proven backup", all.len()),
    };
    let named = stale.iter().take(NAMED);
    let mut parts: Vec<String> = named
        .map(|job| format!("{} has none{}", job.job, since(job, now)))
        .collect();
    if stale.len() > NAMED {
        parts.push(format!("{} more have none", stale.len() - NAMED));
    }
    format!("{head}; {}", parts.join(", "))
}

/// Since when there is no fresh one, in the job's zone: a weekday where that is clear, else the date.
fn since(job: &JobStatus, now: DateTime<Utc>) -> String {
    let Some(newest) = &job.newest else {
        return " at all".to_owned();
    };
    let zone: Tz = job.zone.parse().unwrap_or_default();
    let [at, now] = [newest.at, now].map(|time| time.with_timezone(&zone));
    let since = match now.date_naive() - at.date_naive() {
        age if age < TimeDelta::days(1) => at.format("%H:%M").to_string(),
        age if age < TimeDelta::days(2) => "yesterday".to_owned(),
        age if age < TimeDelta::days(7) => at.format("%A").to_string(),
        _ => at.format("%Y-%m-%d").to_string(),
    };
    format!(" since {since}")
}
