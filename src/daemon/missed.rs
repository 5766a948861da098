//! Runs that were missed while nobody was there, and those that another daemon of the same configuration has made.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::error::hint_of;
use crate::job::Job;
use crate::manifest::BackupId;
use crate::shelf::Stock;

/// The first and the longest wait before it is looked again whether a run was missed, where no store could be read.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(600)];

/// How often it is looked whether the window of a job has opened.
const WINDOW_LOOK: Duration = Duration::from_secs(5);

/// Whether there is a backup already that was begun between `due` and `now`: a daemon on another machine was faster. While it is at
/// work the lock in the database says so. Where the stores cannot be read, the run itself will tell.
pub(super) async fn is_made(job: &Job, due: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    // What a wrong clock has dated ahead is no reason to leave backups out.
    let is_this = |id: &BackupId| (due..=now).contains(&id.time());
    Stock::names(job)
        .await
        .is_ok_and(|stock| stock.ids().iter().any(is_this))
}

/// Whether a run of `job` was missed, as soon as its stores can be read.
pub(super) async fn has_missed_a_run(job: &Job, clock: &Clock) -> bool {
    let (true, Some(schedule)) = (job.run_missed, &job.schedule) else {
        return false;
    };
    let begun = clock.now();
    if schedule.comes_in_next_window(begun) {
        return false;
    }
    // Until then another one may make up for it.
    while !schedule.may_start(clock.now()) {
        tokio::time::sleep(WINDOW_LOOK).await;
    }
    let [mut pause, longest] = LOOK_AGAIN;
    let last = loop {
        match Stock::names(job).await {
            Ok(stock) => break stock.last_run(),
            Err(error) => tracing::warn!(
                job = job.name,
                hint = hint_of(&error),
                "cannot see whether a run was missed, and will look again: {error:#}"
            ),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    };
    // A job that never ran has missed nothing: its first run is the one that is scheduled. What was due since the daemon is
    // here was not missed.
    let missed = last.and_then(|last| schedule.missed(last.time(), begun));
    if let Some(due) = missed {
        tracing::info!(job = job.name, %due, "making up for a missed run");
    }
    missed.is_some()
}
