//! A drill: a backup is unpacked into a temporary file, proven page by page and row by row, looked at by the operator's checks,
//! and removed.

use std::path::PathBuf;
use std::time::Instant;

use rusqlite::types::ValueRef;
use tokio_util::sync::CancellationToken;

use super::origin::{Content, Origin};
use super::watch::{Event, Step, Watch};
use crate::clock::Clock;
use crate::engine::sqlite::unpack::room;
use crate::engine::sqlite::{check_version, open, scratch};
use crate::error::{Exit, Fail, Result};
use crate::find::FromOther;
use crate::job::Job;
use crate::manifest::BackupId;
use crate::restore::checks::Checked;

/// A drill that is decided and not begun.
pub struct Drill<'a> {
    job: &'a Job,
    content: Content,
    /// The folder of the temporary file.
    pub folder: PathBuf,
    /// Size of the database.
    pub needed: u64,
    /// Bytes that are free in the folder.
    pub free: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// How a drill went.
pub struct Drilled {
    /// Tables that were compared with the manifest.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// How the operator's checks went.
    pub checks: Vec<Checked>,
    /// How long it took from the first byte to the last check.
    pub seconds: f64,
}

/// What temporary files of drills of `job` are named after.
fn file_name(job: &Job) -> String {
    format!("{}-drill", job.name)
}

/// Removes what killed drills of `job` left; returns what that was.
#[must_use]
pub fn tidy(job: &Job) -> Vec<PathBuf> {
    scratch::tidy(&std::env::temp_dir(), &file_name(job))
}

impl<'a> Drill<'a> {
    /// Finds the backup, and looks whether there is room for it.
    ///
    /// # Errors
    /// There is no such backup.
    pub async fn plan(job: &'a Job, id: &str) -> Result<Drill<'a>> {
        check_version()?;
        let origin = Origin::Backup {
            job,
            id: id.to_owned(),
            from_other: FromOther::Any,
        };
        let (content, warnings) = Content::find(&origin, job).await?;
        let folder = std::env::temp_dir();
        Ok(Drill {
            job,
            needed: content.size(),
            free: room(&folder)?,
            folder,
            content,
            warnings,
        })
    }

    /// Which backup.
    ///
    /// # Errors
    /// It is none.
    pub fn backup(&self) -> Result<BackupId> {
        let id = self.content.backup();
        id.ok_or_else(|| Fail::new(Exit::NotFound, "there is no backup to try").into())
    }

    /// Why it cannot be done.
    #[must_use]
    pub fn obstacle(&self) -> Option<Fail> {
        (self.free < self.needed).then(|| {
            let (folder, needed, free) = (self.folder.display(), self.needed, self.free);
            let message = format!("the database takes {needed} bytes, and {folder} has {free} free");
            Fail::new(Exit::Failure, message).hint("make room, or name another folder: TMPDIR=/somewhere")
        })
    }

    /// Does it. Whatever happens, the file is removed.
    ///
    /// # Errors
    /// Whatever keeps the backup from being unpacked and proven.
    pub async fn run(&self, clock: &Clock, watch: &Watch, cancel: &CancellationToken) -> Result<Drilled> {
        if let Some(obstacle) = self.obstacle() {
            return Err(obstacle.into());
        }
        let begun = Instant::now();
        watch.step(Step::Recover).await;
        for left in tidy(self.job) {
            watch.warn(format!("removed {}, which a killed drill had left", left.display()));
        }
        tokio::select! {
            done = self.work(clock, watch, begun) => done,
            () = cancel.cancelled() => Err(Fail::new(Exit::Interrupted, "the drill was cancelled").into()),
        }
    }

    async fn work(&self, clock: &Clock, watch: &Watch, begun: Instant) -> Result<Drilled> {
        watch.step(Step::Unpack).await;
        watch.tell(Event::Total(self.content.archive_bytes()));
        let read = |bytes| watch.tell(Event::Done(bytes));
        let proving = || watch.tell(Event::Step(Step::Prove));
        let warn = |text| watch.warn(text);
        let name = file_name(self.job);
        let proven = self.content.unpack(&self.folder, &name, &read, &proving, &warn).await?;
        watch.step(Step::Checks).await;
        let (path, statements) = (proven.scratch.path().to_owned(), self.job.drill.checks.clone());
        let checks = tokio::task::spawn_blocking(move || -> Result<Vec<Checked>> {
            statements
                .iter()
                .map(|sql| Ok(check(&open::immutable(&path)?, sql)))
                .collect()
        });
        let checks = checks.await??;
        let seconds = begun.elapsed().as_secs_f64();
        let (tables, rows) = proven
            .tables()
            .iter()
            .fold((0, 0), |(tables, rows), it| (tables + 1, rows + it.rows));
        self.content.proved_by("drill", proven.shelf(), clock.now()).await;
        drop(proven);
        watch.step(Step::Done).await;
        Ok(Drilled {
            tables,
            rows,
            checks,
            seconds,
        })
    }
}

/// Runs one check.
fn check(open: &rusqlite::Connection, sql: &str) -> Checked {
    let run = || -> rusqlite::Result<Checked> {
        let mut statement = open.prepare(sql)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else {
            return Ok(Checked::gave_nothing(sql));
        };
        Ok(match row.get_ref(0)? {
            ValueRef::Null => Checked::gave(sql, None),
            ValueRef::Integer(number) => Checked::gave(sql, Some(&number.to_string())),
            ValueRef::Real(number) => Checked::gave(sql, Some(&number.to_string())),
            ValueRef::Text(text) => Checked::gave(sql, Some(&String::from_utf8_lossy(text))),
            ValueRef::Blob(_) => Checked::gave(sql, Some("bytes")),
        })
    };
    run().unwrap_or_else(|error| Checked::failed(sql, format!("failed: {error}")))
}
