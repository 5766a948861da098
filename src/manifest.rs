//! What a backup is: its id, its names in a store, and the manifest that makes it real.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Exit, Fail};
use crate::row_hash::RowHash;

mod part;
mod sealed;
mod source;
mod spelling;
mod sqlite;
mod summary;
mod written;

pub use part::Part;
pub use sealed::{Encryption, Sealed};
pub use source::{Difference, Identity, Place, Source};
pub use spelling::Spelling;
pub use sqlite::{DatabaseFile, SqliteFacts};
pub use summary::Summary;
pub use written::Written;

/// Version of the manifest's format; a reader refuses a newer one. Backups of PostgreSQL are written as 1, which all
/// versions of Snapback read.
pub const FORMAT_VERSION: u32 = 2;

/// When a backup was started, to the second, in UTC: `20261120T020000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(DateTime<Utc>);

const ID_FORMAT: &str = "%Y%m%dT%H%M%SZ";

impl BackupId {
    /// The id of a backup that starts at `time`.
    #[must_use]
    pub fn at(time: DateTime<Utc>) -> Self {
        BackupId(DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time))
    }

    /// The id one second later, for when this one is taken.
    #[must_use]
    pub fn next(&self) -> Self {
        BackupId(self.0 + chrono::TimeDelta::seconds(1))
    }

    /// When the backup was started.
    #[must_use]
    pub fn time(&self) -> DateTime<Utc> {
        self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format(ID_FORMAT))
    }
}

impl FromStr for BackupId {
    type Err = Fail;

    fn from_str(text: &str) -> Result<Self, Fail> {
        NaiveDateTime::parse_from_str(text, ID_FORMAT)
            .map(|time| BackupId(time.and_utc()))
            .map_err(|_| {
                Fail::new(Exit::NotFound, format!("{text:?} is not a backup id"))
                    .hint("an id looks like 20261120T020000Z; `snapback list` shows them")
            })
    }
}

impl Serialize for BackupId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BackupId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a backup was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By the job's schedule.
    Scheduled,
    /// By hand.
    Manual,
    /// Before a restore, of what the restore replaced.
    Safety,
    /// Before a migration.
    Guard,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Scheduled => "scheduled",
            Kind::Manual => "manual",
            Kind::Safety => "safety",
            Kind::Guard => "guard",
        })
    }
}

/// The manifest of a backup: no secrets in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Id within the job.
    pub id: BackupId,
    /// Job that it belongs to.
    pub job: String,
    /// Why it was taken.
    pub kind: Kind,
    /// A name that a person gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Of a safety snapshot: the restore in place that it was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<InPlace>,
    /// The database that it is of.
    pub source: Source,
    /// When the export started and ended.
    pub started: DateTime<Utc>,
    /// When the archive was complete.
    pub finished: DateTime<Utc>,
    /// Version of Snapback that wrote it.
    pub snapback: String,
    /// The archive.
    pub archive: File,
    /// Roles and tablespaces, where the role could read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals: Option<File>,
    /// How both are encrypted, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Compression of the archive: `none`, `gzip`, `lz4`, `zstd`.
    pub compression: String,
    /// How many entries of each type the archive has.
    pub entries: BTreeMap<String, u64>,
    /// The tables whose rows it has.
    pub tables: Vec<Table>,
    /// The large objects that it has; unknown of backups that were made before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_objects: Option<LargeObjects>,
    /// How the values in the rows are written; unknown of backups that were made before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spelling: Option<Spelling>,
    /// What only an SQLite database has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<SqliteFacts>,
    /// The extensions with their versions, which no archive tells; unknown of backups that were made before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<BTreeMap<String, String>>,
    /// The owner of schema `public`, where the archive does not tell: of PostgreSQL 14, unless it is the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_owner: Option<String>,
    /// SHA-256 (hex) of all definitions: equal schemas, equal hash.
    pub schema_hash: String,
    /// What the export warned of.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The checks that the backup passed, the newest last.
    #[serde(default)]
    pub verified: Vec<Verification>,
}

/// A restore in place: it happened if the server says that its transaction was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    /// Number of the transaction, as `pg_xact_status` takes it.
    pub transaction: u64,
    /// Schema and name of the only tables that it replaced; none of a whole database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<(String, String)>,
}

/// A kind of database. The set is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// PostgreSQL: all backups that say nothing else.
    #[default]
    Postgres,
    /// SQLite.
    Sqlite,
}

impl Engine {
    /// Whether it is PostgreSQL, which manifests need not say.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        *self == Engine::Postgres
    }

    /// The version of the manifest's format that its backups have.
    #[must_use]
    pub fn format_version(self) -> u32 {
        match self {
            Engine::Postgres => 1,
            Engine::Sqlite => FORMAT_VERSION,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Postgres => "PostgreSQL",
            Engine::Sqlite => "SQLite",
        })
    }
}

impl Manifest {
    /// The files of the backup, the archive last.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.globals.iter().chain([&self.archive])
    }

    /// Whether the database was damaged already when it was saved.
    #[must_use]
    pub fn is_of_damaged(&self) -> bool {
        self.sqlite.as_ref().is_some_and(|facts| facts.damaged)
    }

    /// How long the export took, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.finished - self.started).as_seconds_f64()
    }
}

/// One stored object of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Name within the job's folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, hex: of the whole, or where there is a `head`, of what follows it.
    pub sha256: String,
    /// The start of an archive that was not read back, because its store shows by itself what it has. It is written
    /// last, so that no digest of the whole is known without reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// What stores said of these bytes when it was proven that they have them. A store that still says so has them
    /// unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<String>,
}

impl File {
    /// What several stores that have the same file say of it together; nothing where there is none. A digest of the whole
    /// is the better one: other programs compute it too.
    #[must_use]
    pub fn agreed(files: Vec<File>) -> Option<File> {
        let checksums: BTreeSet<String> = files.iter().flat_map(|file| file.checksums.clone()).collect();
        let file = files.into_iter().min_by_key(|file| file.head.is_some())?;
        Some(File {
            checksums: checksums.into_iter().collect(),
            ..file
        })
    }
}

/// The first bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256, hex.
    pub sha256: String,
}

/// What one table's rows must be after a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// Of a partition the partitioned table at the root, as `schema.name` without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_of: Option<String>,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Multiset hash of the COPY rows, 32 hex digits (see [`crate::row_hash`]).
    pub hash: String,
}

/// What all large objects together must be after a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjects {
    /// How many there are.
    pub count: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Multiset hash of their OIDs and contents, 32 hex digits (see [`crate::row_hash`]).
    pub hash: String,
}

impl LargeObjects {
    /// The sum of all of them, each counted as a row.
    #[must_use]
    pub fn of(sum: &RowHash) -> Self {
        LargeObjects {
            count: sum.rows,
            bytes: sum.bytes,
            hash: sum.hash(),
        }
    }
}

/// The data of an archive, as far as it can be compared.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Tables with their rows and hashes.
    pub tables: Vec<Table>,
    /// All large objects together.
    pub large_objects: LargeObjects,
}

/// How thoroughly a backup was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// The stores' own checksums were compared, or where there are none, the files read and their digests compared.
    Quick,
    /// The archive was unpacked as well, and every table's rows and every definition compared.
    Full,
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Depth::Quick => "quick",
            Depth::Full => "full",
        })
    }
}

/// One check that a backup passed before its manifest was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// `written`: the store showed that it has what was sent, or it was read back after the export. Later checks are records of their own.
    pub how: String,
    /// When.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Algorithm;

    #[test]
    fn names_tell_parts_apart() {
        let id: BackupId = "20261120T020000Z".parse().unwrap();
        assert_eq!(Part::Archive.name("app", id), "app_20261120T020000Z.dump");
        for part in [
            Part::Archive,
            Part::SealedArchive,
            Part::Globals,
            Part::SealedGlobals,
            Part::Database(Algorithm::None),
            Part::Database(Algorithm::Gzip),
            Part::SealedDatabase(Algorithm::Zstd),
            Part::Manifest,
            Part::Claim,
            Part::Failure,
            Part::Pin,
            Part::Removal,
        ] {
            let name = part.name("a_b", id);
            assert_eq!(part.parse("a_b", &name), Some(id));
            assert_eq!(part.parse("a", &name), None);
        }
        assert_eq!(Part::Manifest.parse("app", "app_20261120T020000Z.globals.json"), None);
    }

    #[test]
    fn ids_survive_printing_and_parsing() {
        let id: BackupId = "20261120T020000Z".parse().unwrap();
        assert_eq!(id.to_string(), "20261120T020000Z");
        assert!("latest".parse::<BackupId>().is_err());
    }
}
