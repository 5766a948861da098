//! One run of a verb, as the history has it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::Report;
use crate::error::{Exit, exit_of, hint_of};
use crate::manifest::{BackupId, Kind};
use crate::redact;

/// What was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// A backup.
    Backup,
    /// A restore.
    Restore,
    /// What a restore replaced was brought back.
    Undo,
    /// A backup was copied into another store.
    Copy,
    /// Retention.
    Prune,
    /// Backups were looked at.
    Verify,
    /// A restore into a database that is dropped afterwards.
    Drill,
    /// A backup, a command, and the way back.
    Guard,
    /// The configuration was reread.
    Reload,
    /// A server was asked which databases it has.
    Discover,
}

impl Verb {
    /// Its name on the command line, or as people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Backup => "backup",
            Verb::Restore => "restore",
            Verb::Undo => "undo",
            Verb::Copy => "copy",
            Verb::Prune => "prune",
            Verb::Verify => "verify",
            Verb::Drill => "drill",
            Verb::Guard => "guard",
            Verb::Reload => "reload",
            Verb::Discover => "discover",
        }
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It goes on.
    Running,
    /// All is done.
    Ok,
    /// It is done, but something is lacking: a copy in a store, or something of a restore.
    Incomplete,
    /// It failed.
    Failed,
    /// Another run was in the way.
    Skipped,
    /// Somebody ended it.
    Interrupted,
    /// Its process is gone, and never said how it ended.
    Killed,
}

impl Outcome {
    /// What it is after a run that ended with this code.
    #[must_use]
    pub fn of(exit: Exit) -> Self {
        match exit {
            Exit::Busy => Outcome::Skipped,
            Exit::Interrupted | Exit::Refused => Outcome::Interrupted,
            Exit::Incomplete => Outcome::Incomplete,
            _ => Outcome::Failed,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Ok => "ok",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
            Outcome::Interrupted => "interrupted",
            Outcome::Killed => "killed",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Outcome::Running,
            Outcome::Ok,
            Outcome::Incomplete,
            Outcome::Failed,
            Outcome::Skipped,
            Outcome::Interrupted,
            Outcome::Killed,
        ];
        all.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Incomplete | Outcome::Killed)
    }
}

/// What is known of a run besides when it was and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Why a backup was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// Size of its archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Rows of all tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// Backups that were deleted, or looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<u64>,
    /// Stores that have no copy, each with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lacking: BTreeMap<String, String>,
    /// What is much less than in the backup before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub collapsed: Vec<String>,
    /// What was warned of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Facts {
    /// What is known of a run that begins to take a backup.
    #[must_use]
    pub fn of_kind(kind: Kind) -> Self {
        Facts {
            kind: Some(kind),
            ..Facts::default()
        }
    }

    /// What is known of a backup that was taken.
    #[must_use]
    pub fn of_backup(report: &Report) -> Self {
        let manifest = &report.manifest;
        let lacking = report.lacking().map(|(store, why)| (store.to_owned(), why.to_owned()));
        Facts {
            kind: Some(manifest.kind),
            backup: Some(manifest.id),
            bytes: Some(manifest.archive.bytes),
            rows: Some(manifest.rows()),
            tables: Some(manifest.table_count()),
            backups: Some(report.deleted() as u64),
            lacking: lacking.collect(),
            collapsed: report.collapsed.clone(),
            warnings: manifest.warnings.iter().chain(&report.afterwards).cloned().collect(),
            ..Facts::default()
        }
    }

    /// The same without the secrets that a server's words may hold.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        let texts = self.error.iter_mut().chain(&mut self.hint);
        let texts = texts
            .chain(&mut self.collapsed)
            .chain(&mut self.warnings)
            .chain(self.lacking.values_mut());
        for text in texts {
            *text = redact::secrets(text).into_owned();
        }
        self
    }

    /// The same after a failure.
    #[must_use]
    pub fn failed(self, error: &anyhow::Error) -> Self {
        Facts {
            exit: Some(exit_of(error) as u8),
            error: Some(format!("{error:#}")),
            hint: hint_of(error).map(str::to_owned),
            ..self
        }
    }
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The step, for people.
    pub step: String,
    /// Bytes of this step that are done.
    pub done: u64,
    /// How many there are, about; 0 where nobody knows.
    pub total: u64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its number in the history.
    pub run: i64,
    /// Its job; empty where it is of none.
    pub job: String,
    /// What was run.
    pub verb: Verb,
    /// What became of it.
    pub outcome: Outcome,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<DateTime<Utc>>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Process and machine.
    pub by: String,
    /// How far it is, while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
    /// What else is known.
    #[serde(flatten)]
    pub facts: Facts,
}
