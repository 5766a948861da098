//! What is restored, as far as a person decides by it.

use chrono::NaiveDateTime;
use serde::Serialize;

use crate::manifest::{BackupId, Kind, Manifest, Source};

/// What is restored; in JSON under the name of its kind.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A backup of a job.
    Backup(Backup),
    /// A file that somebody has.
    File(File),
}

/// A file, as far as it tells.
#[derive(Clone, Debug, Default, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// `custom`, `directory`, `tar`, `plain` or `plain, gzip`.
    pub format: String,
    /// What it was packed in besides, the outermost first: `zip, tar`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub packing: String,
    /// The database that it was made of.
    pub database: Option<String>,
    /// When it was made, in the local time of the machine that made it.
    pub created: Option<NaiveDateTime>,
    /// Version of the server that it was made on; empty where it does not say.
    pub server_version: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Tables that it has rows for. This and the next two are known of scripts, which are read before the plan.
    pub tables: Option<usize>,
    /// Their rows.
    pub rows: Option<u64>,
    /// Bytes of rows and statements.
    pub data_bytes: Option<u64>,
}

/// The backup, as far as a person decides by it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // the manifest's own words
pub struct Backup {
    pub id: BackupId,
    pub job: String,
    pub kind: Kind,
    pub label: Option<String>,
    pub bytes: u64,
    pub tables: usize,
    pub rows: u64,
    pub data_bytes: u64,
    pub server_version: String,
    /// The database that it was made of.
    pub source: Source,
    /// The newest check that it passed.
    pub verified: Option<String>,
}

impl Backup {
    /// What `manifest` says.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Backup {
        Backup {
            id: manifest.id,
            job: manifest.job.clone(),
            kind: manifest.kind,
            label: manifest.label.clone(),
            bytes: manifest.archive.bytes,
            tables: manifest.tables.len(),
            rows: manifest.rows(),
            data_bytes: manifest.data_bytes(),
            server_version: manifest.source.server_version.clone(),
            source: manifest.source.clone(),
            verified: manifest
                .verified
                .last()
                .map(|check| format!("{} at {}", check.how, check.at.format("%Y-%m-%d %H:%M UTC"))),
        }
    }
}

/// How much larger the rows of an archive are than the file, about.
const UNPACKED: u64 = 4;

impl Subject {
    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Subject::Backup(backup) => backup.bytes,
            Subject::File(file) => file.bytes,
        }
    }

    /// Bytes of rows; of a file a guess.
    pub(super) fn data_bytes(&self) -> u64 {
        match self {
            Subject::Backup(backup) => backup.data_bytes,
            Subject::File(file) => file.data_bytes.unwrap_or(file.bytes.saturating_mul(UNPACKED)),
        }
    }

    /// Whether it is run from its first statement to its last, and not by sections.
    pub(super) fn is_script(&self) -> bool {
        matches!(self, Subject::File(file) if file.tables.is_some())
    }

    /// The major version of the server that it was made on, where that is known.
    pub(super) fn major(&self) -> Option<u32> {
        let version = match self {
            Subject::Backup(backup) => &backup.server_version,
            Subject::File(file) => &file.server_version,
        };
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }
}
