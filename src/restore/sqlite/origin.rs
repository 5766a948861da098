//! Where what is restored comes from: a backup of a job, or a file that somebody has.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::file::DumpFile;
use crate::engine::sqlite::export::Contents;
use crate::engine::sqlite::proof;
use crate::engine::sqlite::rights::Rights;
use crate::engine::sqlite::scratch::Scratch;
use crate::engine::sqlite::unpack::unpack;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::find::{FromOther, find};
use crate::job::{Job, Keys};
use crate::manifest::{BackupId, Depth, Engine, Kind, Manifest, Source, Table};
use crate::seal::Algorithm;
use crate::shelf::{Check, Copy, Hold, Shelf, Stock};
use crate::stored;

/// What a person names.
#[derive(Clone, Debug)]
pub enum Origin<'a> {
    /// A backup of a job.
    Backup {
        /// The job.
        job: &'a Job,
        /// `latest`, an id, its beginning, or a label.
        id: String,
        /// Whether it may be a backup of another database.
        from_other: FromOther<'a>,
    },
    /// A file.
    File(DumpFile),
}

/// What is restored, for people and programs.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Subject {
    /// A backup.
    Backup(Box<BackupFacts>),
    /// A file.
    File {
        /// Where it is.
        name: String,
        /// Its size.
        bytes: u64,
    },
}

/// What is known of a backup before it is unpacked.
#[derive(Clone, Debug, Serialize)]
pub struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// Its job.
    pub job: String,
    /// Why it was taken.
    pub kind: Kind,
    /// The name that a person gave it.
    pub label: Option<String>,
    /// The file that it is of.
    pub path: Option<String>,
    /// Size of the database.
    pub bytes: u64,
    /// How many tables it has.
    pub tables: u64,
    /// How many rows these have.
    pub rows: u64,
    /// It was damaged before it was saved.
    pub damaged: bool,
}

/// What is restored, found but not yet unpacked.
pub enum Content {
    /// The copies of a backup, the best first; the manifest has its details.
    Backup {
        /// Where they are.
        copies: Vec<Copy>,
        /// Of all of them.
        manifest: Box<Manifest>,
        /// What opens them.
        keys: Keys,
    },
    /// A file.
    File {
        /// The file.
        file: DumpFile,
        /// What opens it.
        keys: Keys,
    },
}

/// A database that was unpacked and proven.
pub struct Proven {
    /// The file.
    pub scratch: Scratch,
    /// What is in it.
    pub contents: Contents,
    /// The copy that it came from.
    shelf: Option<Shelf>,
}

impl Content {
    /// Finds what `origin` names, to restore it with the keys of `job`; also returns what a person should know.
    ///
    /// # Errors
    /// There is none such, or its store cannot be read.
    pub async fn find(origin: &Origin<'_>, job: &Job) -> Result<(Content, Vec<String>)> {
        let (from, id, from_other) = match origin {
            Origin::Backup { job, id, from_other } => (*job, id.as_str(), *from_other),
            Origin::File(file) => {
                let (file, keys) = (file.clone(), job.keys.clone());
                return Ok((Content::File { file, keys }, Vec::new()));
            }
        };
        let stock = Stock::for_backup(from, id).await?;
        let unreachable = stock.unreachable.iter().map(|(_, error)| format!("{error:#}"));
        let mut warnings: Vec<String> = unreachable.collect();
        let found = find(&stock, from, id, from_other.name()).await?;
        let (copies, notes) = (found.copies, found.notes);
        warnings.extend(notes);
        let first = copies.first().map(|copy| (*copy.manifest).clone());
        let mut manifest = first.ok_or_else(|| Fail::new(Exit::NotFound, format!("there is no backup {id}")))?;
        if manifest.source.engine != Engine::Sqlite {
            let message = format!(
                "backup {} is of {}, and this database is one of SQLite",
                manifest.id, manifest.source.engine
            );
            return Err(Fail::new(Exit::Usage, message).into());
        }
        stored::unseal(&mut manifest, &from.keys)?;
        let content = Content::Backup {
            copies,
            manifest: Box::new(manifest),
            keys: from.keys.clone(),
        };
        Ok((content, warnings))
    }

    /// The database that it is a backup of.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        match self {
            Content::Backup { manifest, .. } => Some(&manifest.source),
            Content::File { .. } => None,
        }
    }

    /// The backup that it is.
    #[must_use]
    pub fn backup(&self) -> Option<BackupId> {
        match self {
            Content::Backup { manifest, .. } => Some(manifest.id),
            Content::File { .. } => None,
        }
    }

    /// The only tables that the restore replaced which this safety snapshot was taken for; none where it replaced all.
    #[must_use]
    pub fn replaced_tables(&self) -> Vec<String> {
        let in_place = match self {
            Content::Backup { manifest, .. } => manifest.in_place.as_ref(),
            Content::File { .. } => None,
        };
        let tables = in_place.map(|it| it.tables.as_slice()).unwrap_or_default();
        tables.iter().map(|(_, name)| name.clone()).collect()
    }

    /// What people and programs read of it.
    #[must_use]
    pub fn describe(&self) -> Subject {
        match self {
            Content::Backup { manifest, .. } => Subject::Backup(Box::new(BackupFacts {
                id: manifest.id,
                job: manifest.job.clone(),
                kind: manifest.kind,
                label: manifest.label.clone(),
                path: manifest
                    .source
                    .file
                    .as_ref()
                    .map(|file| file.path.display().to_string()),
                bytes: self.size(),
                tables: manifest.table_count(),
                rows: manifest.rows(),
                damaged: manifest.is_of_damaged(),
            })),
            Content::File { file, .. } => Subject::File {
                name: file.name(),
                bytes: file.bytes,
            },
        }
    }

    /// About how large the database is.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Content::Backup { manifest, .. } => {
                let facts = manifest.sqlite.as_ref();
                facts.map_or(0, |facts| facts.pages * u64::from(facts.page_size))
            }
            // Packed ones are larger, but nobody knows by how much.
            Content::File { file, .. } => file.bytes,
        }
    }

    /// How many bytes are read to unpack it.
    #[must_use]
    pub fn archive_bytes(&self) -> u64 {
        match self {
            Content::Backup { manifest, .. } => manifest.archive.bytes,
            Content::File { file, .. } => file.bytes,
        }
    }

    /// The rights that its file had.
    #[must_use]
    pub fn rights(&self) -> Option<Rights> {
        match self {
            Content::Backup { manifest, .. } => manifest.sqlite.as_ref().map(Rights::of),
            Content::File { .. } => None,
        }
    }

    /// Keeps the backup from being pruned until `until`.
    pub async fn hold(&self, until: DateTime<Utc>) -> Vec<(Shelf, Hold)> {
        let Content::Backup { copies, .. } = self else {
            return Vec::new();
        };
        let mut holds = Vec::new();
        for copy in copies {
            // What cannot be written to can be read all the same, and nobody prunes it.
            if let Ok(hold) = copy.shelf.hold(copy.backup.summary.id, until).await {
                holds.push((copy.shelf.clone(), hold));
            }
        }
        holds
    }

    /// Unpacks it in `folder` and proves it; a copy that is damaged is passed over, which `warn` hears of.
    ///
    /// # Errors
    /// No copy is whole, or there is no room.
    pub async fn unpack(
        &self,
        folder: &Path,
        of: &str,
        read: &(dyn Fn(u64) + Send + Sync),
        proving: &(dyn Fn() + Send + Sync),
        warn: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Proven> {
        match self {
            Content::Backup { copies, manifest, keys } => {
                let mut failed = None;
                for copy in copies {
                    match one(copy, manifest, keys, folder, of, read, proving).await {
                        Ok(proven) => return Ok(proven),
                        Err(error) if exit_of(&error) == Exit::Damaged => {
                            warn(format!("the copy in {} is passed over: {error:#}", copy.shelf));
                            failed.get_or_insert(error);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(failed.unwrap_or_else(|| Fail::new(Exit::NotFound, "there is no copy of the backup").into()))
            }
            Content::File { file, keys } => {
                let scratch = file.unpack(folder, of, keys, read).await?;
                proving();
                let (scratch, contents) = inspect(scratch).await?;
                if let Some(first) = contents.facts.damage.first() {
                    let message = format!("what is in {} is damaged: {first}", file.name());
                    return Err(Fail::new(Exit::Damaged, message).into());
                }
                Ok(Proven {
                    scratch,
                    contents,
                    shelf: None,
                })
            }
        }
    }

    /// Remembers that the backup was proven by a restore.
    pub async fn proved(&self, proven: Option<Shelf>, at: DateTime<Utc>) {
        self.proved_by("restore", proven, at).await;
    }

    /// The same by a drill, or whatever did it.
    pub(super) async fn proved_by(&self, by: &str, proven: Option<Shelf>, at: DateTime<Utc>) {
        let (Content::Backup { manifest, .. }, Some(shelf)) = (self, proven) else {
            return;
        };
        let check = Check {
            id: manifest.id,
            at,
            depth: Depth::Full,
            problems: Vec::new(),
            by: by.to_owned(),
            checksums: Vec::new(),
        };
        if let Err(error) = shelf.record_check(&check).await {
            tracing::warn!("that backup {} is good cannot be remembered: {error:#}", manifest.id);
        }
    }
}

impl Proven {
    /// Its tables.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.contents.tables
    }

    /// The copy that it came from.
    #[must_use]
    pub fn shelf(&self) -> Option<Shelf> {
        self.shelf.clone()
    }
}

async fn inspect(scratch: Scratch) -> Result<(Scratch, Contents)> {
    let read = move || proof::read(scratch.path()).map(|found| (scratch, found.contents));
    tokio::task::spawn_blocking(read).await?
}

async fn one(
    copy: &Copy,
    manifest: &Manifest,
    keys: &Keys,
    folder: &Path,
    of: &str,
    read: &(dyn Fn(u64) + Send + Sync),
    proving: &(dyn Fn() + Send + Sync),
) -> Result<Proven> {
    let source = stored::archive(&copy.shelf, manifest, keys)
        .await
        .map_err(|error| match copy.backup.present {
            true => error,
            false => Fail::new(Exit::Damaged, format!("{error:#}")).into(),
        })?;
    let algorithm = Algorithm::named(&manifest.compression).unwrap_or_default();
    let (scratch, _) = unpack(source, algorithm, Scratch::create(folder, of)?, read).await?;
    proving();
    let (scratch, contents) = inspect(scratch).await?;
    let problems = proof::differences(&contents, manifest);
    if !problems.is_empty() {
        let message = format!(
            "backup {} is not what its manifest says: {}",
            manifest.id,
            problems.join("; ")
        );
        return Err(Fail::new(Exit::Damaged, message).into());
    }
    Ok(Proven {
        scratch,
        contents,
        shelf: Some(copy.shelf.clone()),
    })
}
