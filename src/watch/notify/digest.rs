//! A summary at fixed times: how all jobs are, also when all is well.

use chrono::{DateTime, TimeDelta, Utc};
use indicatif::HumanBytes;

use super::channel::Channel;
use super::news::{News, Notice};
use crate::schedule::Schedule;
use crate::watch::history::{Outcome, Verb};
use crate::watch::status::{JobStatus, Status, sentence, span};

/// Whether `schedule` had a time after `last` that has come at `now`. Several that nobody was there for are one.
pub(super) fn is_due(schedule: &Schedule, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    schedule.missed(last, now).is_some()
}

/// The summary for `channel`; `last` is when the one before was, or since when the channel is there.
pub(super) fn digest(channel: &Channel, status: &Status, last: DateTime<Utc>) -> Notice {
    let told = |job: &&JobStatus| channel.is_of(&job.job);
    let mut jobs: Vec<JobStatus> = status.jobs.iter().filter(told).cloned().collect();
    let sentence = sentence(&jobs, &status.servers, status.at);
    // Services cut long messages: what is wrong comes first.
    jobs.sort_by_key(|job| (job.fresh, job.problems.is_empty()));
    let lines = jobs.iter().map(|job| line(job, last));
    let message = std::iter::once(sentence.clone())
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n");
    let wrong = jobs.iter().filter(|job| !job.fresh).count();
    let title = match wrong {
        0 => "Backups: all are fresh".to_owned(),
        1 => format!("Backups: 1 of {} is not fresh", jobs.len()),
        wrong => format!("Backups: {wrong} of {} are not fresh", jobs.len()),
    };
    Notice::new(News::Digest, "", &title, &message, status.at)
}

/// A job in a line.
fn line(job: &JobStatus, last: DateTime<Utc>) -> String {
    let mut parts = vec![match &job.newest {
        Some(newest) => format!(
            "{}, {} old, {} in {}",
            if job.fresh { "fresh" } else { "not fresh" },
            span(newest.age_seconds),
            HumanBytes(newest.bytes),
            newest.stores.join(", "),
        ),
        None => format!("not fresh, {}", job.why.clone().unwrap_or_default()),
    }];
    let runs = |of: &[Outcome]| {
        let runs = job.runs.iter().filter(|run| run.verb == Verb::Backup);
        let ended = runs.filter(|run| run.started + TimeDelta::seconds(1) > last && of.contains(&run.outcome));
        ended.count()
    };
    let good = runs(&[Outcome::Ok, Outcome::Incomplete]);
    let bad = runs(&[Outcome::Failed, Outcome::Killed]);
    if good + bad > 0 {
        let last = "since the last summary";
        parts.push(match (good, bad) {
            (1, 0) => format!("1 good run {last}"),
            (_, 0) => format!("{good} good runs {last}"),
            (0, 1) => format!("1 failed run {last}"),
            (0, _) => format!("{bad} failed runs {last}"),
            _ => format!("runs {last}: {good} good, {bad} failed"),
        });
    }
    // Why it is not fresh is said already where there is no backup.
    let known = job.newest.is_none().then_some(job.why.as_deref()).flatten();
    parts.extend(
        job.problems
            .iter()
            .filter(|problem| Some(problem.as_str()) != known)
            .cloned(),
    );
    format!("{}: {}", job.job, parts.join("; "))
}
