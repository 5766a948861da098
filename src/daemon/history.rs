//! The history: one JSON line per run, whatever became of it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::backup::Report;
use crate::drill;
use crate::error::{Exit, Result, exit_of};
use crate::manifest::BackupId;
use crate::redact;

/// One line.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When the run ended.
    pub at: DateTime<Utc>,
    /// Its job.
    pub job: &'a str,
    /// Whether there is a backup; nothing of a run that was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// Why the run was skipped: another one of the job is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupId>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Size of the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Rows of all tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Backups that retention deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<usize>,
    /// Stores that have no copy, each with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lacking: BTreeMap<String, String>,
    /// What is much less than in the backup before.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub collapsed: &'a [String],
    /// Exit class of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// Why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn lacking(report: &Report) -> BTreeMap<String, String> {
    let owned = |(store, why): (&str, &str)| (store.to_owned(), why.to_owned());
    report.lacking().map(owned).collect()
}

impl<'a> Line<'a> {
    /// The line of a run of `job` that ended at `at`.
    #[must_use]
    pub fn of(job: &'a str, at: DateTime<Utc>, outcome: &'a Result<Report>) -> Self {
        let report = outcome.as_ref().ok();
        let (skipped, error) = match outcome.as_ref().err() {
            Some(error) if exit_of(error) == Exit::Busy => (Some(error), None),
            error => (None, error),
        };
        Line {
            at,
            job,
            ok: skipped.is_none().then_some(report.is_some()),
            skipped: skipped.map(|error| format!("{error:#}")),
            id: report.map(|report| report.manifest.id),
            seconds: report.map(|report| report.seconds),
            bytes: report.map(|report| report.manifest.archive.bytes),
            rows: report.map(|report| report.manifest.rows()),
            pruned: report.map(|report| report.deleted()),
            lacking: report.map(lacking).unwrap_or_default(),
            collapsed: report.map(|report| report.collapsed.as_slice()).unwrap_or_default(),
            exit: error.map(|error| exit_of(error) as u8),
            error: error.map(|error| format!("{error:#}")),
        }
    }

    /// The line, with its end.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn text(&self) -> Result<Vec<u8>> {
        let line = serde_json::to_string(self)?;
        Ok(format!("{}\n", redact::json(&line)).into_bytes())
    }
}

/// One line of a drill.
#[derive(Debug, Serialize)]
pub struct DrillLine<'a> {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Its job.
    pub job: &'a str,
    /// It is no backup: always true.
    pub drill: bool,
    /// Whether all went well; nothing of a drill that was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The backup that was restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupId>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Rows that were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Exit class of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl<'a> DrillLine<'a> {
    /// The line of a drill of `job` that ended at `at`.
    #[must_use]
    pub fn of(job: &'a str, at: DateTime<Utc>, outcome: &Result<drill::Report>) -> Self {
        let report = outcome.as_ref().ok();
        let (skipped, error) = match outcome.as_ref().err() {
            Some(error) if matches!(exit_of(error), Exit::Busy | Exit::Interrupted) => (Some(error), None),
            error => (None, error),
        };
        DrillLine {
            at,
            job,
            drill: true,
            ok: skipped.is_none().then_some(report.is_some()),
            skipped: skipped.map(|error| format!("{error:#}")),
            id: report.map(|report| report.backup),
            seconds: report.map(|report| report.seconds),
            rows: report.map(|report| report.rows),
            exit: error.map(|error| exit_of(error) as u8),
            error: error.map(|error| format!("{error:#}")),
        }
    }

    /// The line, with its end.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn text(&self) -> Result<Vec<u8>> {
        let line = serde_json::to_string(self)?;
        Ok(format!("{}\n", redact::json(&line)).into_bytes())
    }
}

/// Appends a line to `file`, in one write.
///
/// # Errors
/// The file cannot be written to.
pub fn append(file: &Path, line: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("opening the history {}", file.display()))?;
    Ok(file.write_all(line)?)
}
