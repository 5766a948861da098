//! The status of all jobs: one value, made of the configuration, what the stores have, and the history. Everything that an
//! operator sees is drawn from it, so that nothing can contradict anything. It needs no daemon.

mod days;
mod gather;
mod judge;
mod sentence;
mod servers;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::manifest::{BackupId, Engine, Kind};
use crate::replaced::Kept;
use crate::retention::Reason;
use crate::shelf::Proven;
use crate::watch::history::Run;

pub use days::{Day, DayState, SHOWN_DAYS};
pub use gather::{Asked, status};
pub use judge::span;
pub use sentence::sentence;

/// The version of what programs read: it grows when a field goes away or changes its meaning, not when one is added.
pub const FORMAT: u32 = 1;

/// The status of some jobs.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was true.
    pub at: DateTime<Utc>,
    /// The whole in one sentence.
    pub sentence: String,
    /// Whether all jobs are fresh.
    pub fresh: bool,
    /// The jobs, in the order of their names.
    pub jobs: Vec<JobStatus>,
    /// The sections for whole servers.
    pub servers: Vec<ServerStatus>,
}

/// A section for a whole server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    /// Its name.
    pub server: String,
    /// Its jobs whose databases are there, as far as is known.
    pub databases: u64,
    /// The jobs whose databases are not on the server any more.
    pub gone: Vec<String>,
    /// Why the server did not tell which databases it has.
    pub error: Option<String>,
    /// What somebody should look at.
    pub problems: Vec<String>,
}

/// The status of a job.
#[derive(Clone, Debug, Serialize)]
pub struct JobStatus {
    /// Its name.
    pub job: String,
    /// The section for a whole server that it is of.
    pub server: Option<String>,
    /// Whether its database is not on that server any more: then no younger backup is expected.
    pub gone: bool,
    /// Its database, as far as the configuration tells.
    pub database: String,
    /// What kind of database that is.
    pub engine: Engine,
    /// Whether there is a good backup that is young enough.
    pub fresh: bool,
    /// Why it is not fresh.
    pub why: Option<String>,
    /// How old the newest good backup may be; nothing of a job without schedule that says nothing of it.
    pub max_age_seconds: Option<f64>,
    /// Whether `max_age` is in the configuration, and does not follow from the schedule.
    pub max_age_is_set: bool,
    /// The schedule, as it was written.
    pub schedule: Option<String>,
    /// The times of day in which runs may start, where that is limited.
    pub window: Option<String>,
    /// How much later than the schedule says runs may start.
    pub jitter_seconds: f64,
    /// The time zone of the job.
    pub zone: String,
    /// The longest time between two runs by the schedule.
    pub interval_seconds: Option<f64>,
    /// When it runs next.
    pub next_run: Option<DateTime<Utc>>,
    /// The newest good backup of the job's database, wherever it is.
    pub newest: Option<Good>,
    /// Since when there is none that is fresh, where there was one.
    pub stale_since: Option<DateTime<Utc>>,
    /// What can be restored now, store by store, the nearest first.
    pub stores: Vec<StoreStatus>,
    /// All backups, the newest first.
    pub backups: Vec<BackupStatus>,
    /// The last run that failed.
    pub last_failure: Option<LastFailure>,
    /// What runs now.
    pub running: Vec<Run>,
    /// The last runs, the newest first, as far as the history of this machine knows them.
    pub runs: Vec<Run>,
    /// Runs of backups in the last 30 days by their outcome, as far as the history of this machine knows them.
    pub outcomes: BTreeMap<String, u64>,
    /// The last 30 days in the job's zone, the oldest first.
    pub days: Vec<Day>,
    /// Databases that restores replaced and that are kept; nothing where the server was not asked, or did not answer.
    pub kept: Option<Vec<Kept>>,
    /// What somebody should look at, whether or not it keeps the job from being fresh.
    pub problems: Vec<String>,
}

/// A backup that a restore could rely on.
#[derive(Clone, Debug, Serialize)]
pub struct Good {
    /// The backup.
    pub id: BackupId,
    /// Why it was taken.
    pub kind: Kind,
    /// The instant that it is of.
    pub at: DateTime<Utc>,
    /// How old it is.
    pub age_seconds: f64,
    /// How long the export took.
    pub seconds: f64,
    /// Size of the archive.
    pub bytes: u64,
    /// Tables.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// What proves it, and since when.
    pub proven: Option<Proven>,
    /// The stores that have a good copy.
    pub stores: Vec<String>,
}

/// What one store has of a job.
#[derive(Clone, Debug, Serialize)]
pub struct StoreStatus {
    /// Its name.
    pub store: String,
    /// Where it is.
    pub at: String,
    /// Why it cannot be read.
    pub error: Option<String>,
    /// How long it took to list what it has.
    pub seconds: Option<f64>,
    /// Bytes that are free, where that can be known.
    pub room: Option<u64>,
    /// Backups.
    pub backups: u64,
    /// Of these the good ones: those that could be restored now.
    pub restorable: u64,
    /// Bytes of all archives.
    pub bytes: u64,
    /// The newest good backup.
    pub newest: Option<BackupId>,
    /// Whether that is young enough.
    pub fresh: bool,
    /// What proves it, and since when.
    pub proven: Option<Proven>,
    /// What retention would delete now.
    pub deletes_now: Vec<BackupId>,
    /// What retention will delete after the next run that succeeds.
    pub deletes_next: Vec<BackupId>,
}

/// One backup, wherever it is.
#[derive(Clone, Debug, Serialize)]
pub struct BackupStatus {
    /// The backup.
    pub id: BackupId,
    /// Why it was taken.
    pub kind: Kind,
    /// A name that a person gave it.
    pub label: Option<String>,
    /// Whether a restore could rely on it.
    pub good: bool,
    /// Whether it is of the job's database, and not of another one.
    pub of_job: bool,
    /// Whether a person pinned it.
    pub pinned: bool,
    /// How long the export took.
    pub seconds: f64,
    /// Size of the archive.
    pub bytes: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// What proves it, and since when.
    pub proven: Option<Proven>,
    /// Its copies.
    pub copies: Vec<CopyStatus>,
}

/// A copy of a backup.
#[derive(Clone, Debug, Serialize)]
pub struct CopyStatus {
    /// The store.
    pub store: String,
    /// Whether a restore could rely on it.
    pub good: bool,
    /// Why retention keeps it, or lets it go.
    pub reasons: Vec<Reason>,
}

/// A run that failed.
#[derive(Clone, Debug, Serialize)]
pub struct LastFailure {
    /// When.
    pub at: DateTime<Utc>,
    /// What was run.
    pub verb: String,
    /// Its number in the history, where it is there.
    pub run: Option<i64>,
    /// Why.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether a later run of the same kind succeeded.
    pub over: bool,
}

impl Status {
    /// The job of this name.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<&JobStatus> {
        self.jobs.iter().find(|job| job.job == name)
    }
}
