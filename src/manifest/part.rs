//! The objects of a backup in a store, and what they are called.

use super::{BackupId, Engine};
use crate::seal::Algorithm;

/// The objects of a backup within its job's folder. Only a manifest makes the others a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The archive.
    Archive,
    /// The archive of an encrypted backup.
    SealedArchive,
    /// Roles and tablespaces.
    Globals,
    /// Those of an encrypted backup.
    SealedGlobals,
    /// The archive of an SQLite database: its file, packed.
    Database(Algorithm),
    /// That of an encrypted backup.
    SealedDatabase(Algorithm),
    /// The manifest.
    Manifest,
    /// The claim of a run that is under way: what it may leave behind if it is killed.
    Claim,
    /// The record of a run that failed.
    Failure,
    /// The wish of a person that the backup stays.
    Pin,
    /// The intent to delete the backup: what a killed deletion leaves is deleted later.
    Removal,
    /// Who runs a command under the guard of this backup.
    Guard,
    /// The restore that this safety snapshot was taken for has replaced what is in it.
    Replaced,
    /// That restore failed, and replaced nothing.
    Unchanged,
}

impl Part {
    /// What archives and globals are stored as, whether they are sealed or not.
    pub const FILES: [Part; 12] = [
        Part::Archive,
        Part::SealedArchive,
        Part::Globals,
        Part::SealedGlobals,
        Part::Database(Algorithm::None),
        Part::Database(Algorithm::Gzip),
        Part::Database(Algorithm::Lz4),
        Part::Database(Algorithm::Zstd),
        Part::SealedDatabase(Algorithm::None),
        Part::SealedDatabase(Algorithm::Gzip),
        Part::SealedDatabase(Algorithm::Lz4),
        Part::SealedDatabase(Algorithm::Zstd),
    ];

    /// What the archive of a backup is stored as.
    #[must_use]
    pub fn archive(engine: Engine, algorithm: Algorithm, sealed: bool) -> Part {
        match (engine, sealed) {
            (Engine::Postgres, false) => Part::Archive,
            (Engine::Postgres, true) => Part::SealedArchive,
            (Engine::Sqlite, false) => Part::Database(algorithm),
            (Engine::Sqlite, true) => Part::SealedDatabase(algorithm),
        }
    }

    /// What the globals of a backup are stored as.
    #[must_use]
    pub fn globals(sealed: bool) -> Part {
        match sealed {
            true => Part::SealedGlobals,
            false => Part::Globals,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Part::Archive => "dump",
            Part::SealedArchive => "dump.age",
            Part::Globals => "globals.sql",
            Part::SealedGlobals => "globals.sql.age",
            Part::Database(Algorithm::None) => "db",
            Part::Database(Algorithm::Gzip) => "db.gz",
            Part::Database(Algorithm::Lz4) => "db.lz4",
            Part::Database(Algorithm::Zstd) => "db.zst",
            Part::SealedDatabase(Algorithm::None) => "db.age",
            Part::SealedDatabase(Algorithm::Gzip) => "db.gz.age",
            Part::SealedDatabase(Algorithm::Lz4) => "db.lz4.age",
            Part::SealedDatabase(Algorithm::Zstd) => "db.zst.age",
            Part::Manifest => "json",
            Part::Claim => "run",
            Part::Failure => "failed",
            Part::Pin => "pin",
            Part::Removal => "removal",
            Part::Guard => "guard",
            Part::Replaced => "replaced",
            Part::Unchanged => "unchanged",
        }
    }

    /// Its file name: `<job>_<id>.<extension>`.
    #[must_use]
    pub fn name(self, job: &str, id: BackupId) -> String {
        format!("{job}_{id}.{}", self.extension())
    }

    /// The backup that a file name of `job` belongs to as this part.
    #[must_use]
    pub fn parse(self, job: &str, name: &str) -> Option<BackupId> {
        let rest = name.strip_prefix(job)?.strip_prefix('_')?;
        let id = rest.strip_suffix(self.extension())?.strip_suffix('.')?;
        id.parse().ok()
    }
}
