//! Parts of a backup, taken out without a restore: the rows of one table, one row, one definition, a list, all of it as SQL.

pub mod charset;
pub mod format;
pub mod key;
pub mod name;
pub mod postgres;
pub mod sqlite;

use std::io::Write;

use anyhow::Context as _;
use bytes::Bytes;

use crate::archive::reader::Reader;
use crate::archive::source::Cursor;
use crate::engine::sqlite::scratch::{self, Scratch};
use crate::engine::sqlite::unpack::{room, unpack};
use crate::error::{Exit, Fail, Result};
use crate::find::find;
use crate::job::{Job, Keys};
use crate::manifest::{BackupId, Engine, Manifest};
use crate::seal::Algorithm;
use crate::shelf::{Copy, Stock};
use crate::stored;

/// The largest globals file that is read: they are some kilobytes.
const GLOBALS_LIMIT: u64 = 256 << 20;

/// How much of an archive is written at once.
const PIECE: u64 = 1 << 20;

/// A backup that was found, and not opened yet.
pub struct Found {
    copies: Vec<Copy>,
    keys: Keys,
}

/// A backup that is open.
pub enum Opened {
    /// An archive of PostgreSQL.
    Postgres(postgres::Archive),
    /// A file of SQLite.
    Sqlite(sqlite::Database),
}

impl Found {
    /// The backup of `job` that `which` means. What a person should know of the choice is in the log.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(job: &Job, which: &str) -> Result<Found> {
        let stock = Stock::for_backup(job, which).await?;
        stock.warn();
        let copies = find(&stock, job, which, None).await?.warned();
        anyhow::ensure!(!copies.is_empty(), "backup {which} has no copy");
        Ok(Found {
            copies,
            keys: job.keys.clone(),
        })
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> BackupId {
        self.manifest().id
    }

    /// Whose database it is of.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.manifest().source.engine
    }

    fn manifest(&self) -> &Manifest {
        // There is one at least.
        &self.copies[0].manifest
    }

    /// Opens the nearest copy that can be opened; the log tells of those that cannot.
    ///
    /// # Errors
    /// None can be.
    pub async fn open(&self) -> Result<Opened> {
        let mut failed = None;
        for copy in &self.copies {
            match self.one(copy).await {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    if self.copies.len() > 1 {
                        tracing::warn!("passing over the copy in {}: {error:#}", copy.shelf);
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| anyhow::anyhow!("there is no copy")))
    }

    async fn one(&self, copy: &Copy) -> Result<Opened> {
        let mut manifest = copy.manifest.clone();
        stored::unseal(&mut manifest, &self.keys)?;
        let source = stored::archive(&copy.shelf, &manifest, &self.keys).await?;
        let path = copy.shelf.file_path(&manifest.archive.name);
        if manifest.source.engine == Engine::Postgres {
            let reader = Reader::from_source(source).await;
            let reader = reader.with_context(|| format!("reading {path} in {}", copy.shelf.store()))?;
            return Ok(Opened::Postgres(postgres::Archive::new(reader, &manifest)));
        }
        let (folder, name) = (std::env::temp_dir(), format!("{}-{}", manifest.job, manifest.id));
        for left in scratch::tidy(&folder, &name) {
            tracing::info!("removed {}, which a killed command had left", left.display());
        }
        let facts = manifest.sqlite.as_ref();
        let size = facts.map_or(0, |facts| facts.pages * u64::from(facts.page_size));
        if room(&folder)? < size {
            let message = format!(
                "the database of backup {} takes {size} bytes when it is unpacked, and {} has no room for that",
                manifest.id,
                folder.display()
            );
            return Err(Fail::new(Exit::Failure, message)
                .hint("name a folder that has: TMPDIR=/somewhere")
                .into());
        }
        let algorithm = Algorithm::named(&manifest.compression).unwrap_or_default();
        let (scratch, _) = unpack(source, algorithm, Scratch::create(&folder, &name)?, &|_| ())
            .await
            .with_context(|| format!("unpacking {path} in {}", copy.shelf.store()))?;
        Ok(Opened::Sqlite(sqlite::Database::new(scratch)))
    }

    /// Roles and tablespaces as SQL.
    ///
    /// # Errors
    /// The backup has none, or they cannot be read.
    pub async fn globals(&self) -> Result<Bytes> {
        let copy = &self.copies[0];
        let globals = stored::globals(&copy.shelf, &copy.manifest, &self.keys, GLOBALS_LIMIT).await?;
        globals.ok_or_else(|| {
            let fail = Fail::new(Exit::NotFound, format!("backup {} has no globals", self.id()));
            let hint = match self.engine() {
                Engine::Postgres => "the job leaves them out (globals = false), or its role may not read them",
                Engine::Sqlite => "an SQLite database has neither roles nor tablespaces",
            };
            fail.hint(hint).into()
        })
    }

    /// Writes the archive, decrypted, to `out`; returns its size. All of it is compared with what the manifest says, or proven
    /// by its encryption.
    ///
    /// # Errors
    /// It is damaged, or cannot be read, or `out` cannot be written to.
    pub async fn archive(&self, out: &mut (dyn Write + Send)) -> Result<u64> {
        let copy = &self.copies[0];
        let manifest = &copy.manifest;
        if manifest.encryption.is_none() {
            let mut failed = None;
            let mut write = |piece: &[u8]| {
                if failed.is_none() {
                    failed = out.write_all(piece).err();
                }
            };
            let read = copy.shelf.read_whole(&manifest.archive, &mut write).await;
            // A full disk is the reason, whatever came after it.
            failed.map_or(Ok(()), Err)?;
            return read.map(|()| manifest.archive.bytes);
        }
        let source = stored::archive(&copy.shelf, manifest, &self.keys).await?;
        let size = source.len();
        let mut cursor = Cursor::new(source, 0..size);
        loop {
            let piece = cursor.some(PIECE).await?;
            if piece.is_empty() {
                return Ok(size);
            }
            out.write_all(&piece)?;
        }
    }
}
