//! The history: every run of every verb in a small SQLite file in the state folder, and what is worth to be remembered of
//! what the stores say. Losing it loses nothing: the stores alone know what can be restored.

mod known;
mod recorder;
mod run;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use crate::error::Result;
use crate::owner;
use crate::redact;
use crate::shelf::{is_dead, this_process};

pub use recorder::{Noted, Recorder, Recording};
pub use run::{Facts, Outcome, Reached, Run, Verb};

/// How long another process may write before this one gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is in the file: the number grows with it.
const VERSION: i32 = 1;

/// The tables.
const TABLES: &str = "
    CREATE TABLE run (
        run INTEGER PRIMARY KEY, job TEXT NOT NULL, verb TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER,
        outcome TEXT NOT NULL, by TEXT NOT NULL, facts TEXT NOT NULL, reached TEXT
    );
    CREATE INDEX run_of_job ON run (job, started);
    CREATE TABLE known (
        shelf TEXT NOT NULL, id TEXT NOT NULL, part TEXT NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
        text TEXT NOT NULL, PRIMARY KEY (shelf, id, part)
    ) WITHOUT ROWID;
    CREATE TABLE notice (
        notice INTEGER PRIMARY KEY, channel TEXT NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL,
        made INTEGER NOT NULL, text TEXT NOT NULL
    );
    CREATE TABLE told (
        channel TEXT NOT NULL, job TEXT NOT NULL, news TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (channel, job, news)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// The history.
pub struct History {
    file: PathBuf,
    database: Mutex<Connection>,
}

/// Which runs are asked for.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    /// Those of this job.
    pub job: Option<&'a str>,
    /// Those that somebody should look at.
    pub trouble: bool,
    /// Those that began at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// The newest so many.
    pub limit: Option<u32>,
}

impl History {
    /// Opens the history in `file`, which is made where it is not there. One that is damaged is put aside.
    ///
    /// # Errors
    /// The folder cannot be written to, or the file is of a newer version.
    pub fn open(file: &Path) -> Result<History> {
        let about = || format!("opening the history {}", file.display());
        match Self::open_once(file) {
            Err(error) if is_damage(&error) => {
                let aside = file.with_extension("damaged");
                tracing::warn!(
                    "the history {} is damaged, and a new one is begun: {error:#}; the old one is {}",
                    file.display(),
                    aside.display()
                );
                fs::rename(file, &aside).with_context(about)?;
                Self::open_once(file).with_context(about)
            }
            opened => opened.with_context(about),
        }
    }

    fn open_once(file: &Path) -> Result<History> {
        make(file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut database = Connection::open_with_flags(file, flags)?;
        database.busy_timeout(PATIENCE)?;
        // Another user's process must never find a log that it may not read, so the journal is one that goes away.
        database.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA journal_mode = DELETE;")?;
        let begun = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i32 = begun.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        anyhow::ensure!(version <= VERSION, "a newer Snapback has written it");
        if version == 0 {
            begun.execute_batch(TABLES)?;
        }
        begun.commit()?;
        Ok(History {
            file: file.to_owned(),
            database: Mutex::new(database),
        })
    }

    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a run begins, and returns its number. Runs whose processes are gone are taken for killed.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn begin(&self, job: &str, verb: Verb, facts: &Facts, at: DateTime<Utc>) -> Result<i64> {
        self.bury(at)?;
        let database = self.database();
        database.execute(
            "INSERT INTO run (job, verb, started, outcome, by, facts) VALUES (?1, ?2, ?3, 'running', ?4, ?5)",
            params![job, verb.name(), at.timestamp_millis(), this_process(), text(facts)?],
        )?;
        Ok(database.last_insert_rowid())
    }

    /// Takes note how far a run is.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn reached(&self, run: i64, reached: &Reached) -> Result<()> {
        let text = serde_json::to_string(reached)?;
        let change = "UPDATE run SET reached = ?2 WHERE run = ?1 AND outcome = 'running'";
        self.database().execute(change, params![run, text])?;
        Ok(())
    }

    /// Takes note how a run ended.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn end(&self, run: i64, outcome: Outcome, facts: &Facts, at: DateTime<Utc>) -> Result<()> {
        self.database().execute(
            "UPDATE run SET outcome = ?2, facts = ?3, ended = ?4, reached = NULL WHERE run = ?1",
            params![run, outcome.name(), text(facts)?, at.timestamp_millis()],
        )?;
        Ok(())
    }

    /// Runs of this machine whose processes are gone have been killed: their numbers may be those of others soon.
    fn bury(&self, at: DateTime<Utc>) -> Result<()> {
        let database = self.database();
        let mut running = database.prepare("SELECT run, by FROM run WHERE outcome = 'running'")?;
        let rows = running.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        for (run, _) in rows.iter().filter(|(_, by)| is_dead(by)) {
            let change = "UPDATE run SET outcome = 'killed', ended = ?2, reached = NULL WHERE run = ?1";
            database.execute(change, params![run, at.timestamp_millis()])?;
        }
        Ok(())
    }

    /// Runs, the newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn runs(&self, query: &Query<'_>) -> Result<Vec<Run>> {
        let database = self.database();
        let mut found = database.prepare(
            "SELECT run, job, verb, outcome, started, ended, by, facts, reached FROM run
             WHERE (?1 IS NULL OR job = ?1) AND (?2 IS NULL OR started >= ?2)
               AND (NOT ?3 OR outcome IN ('failed', 'incomplete', 'killed', 'running'))
             ORDER BY started DESC, run DESC LIMIT ?4",
        )?;
        let since = query.since.map(|time| time.timestamp_millis());
        let limit = query.limit.map_or(-1, i64::from);
        // A run whose process is gone is told from one that goes on only here.
        let rows = found.query_map(params![query.job, since, query.trouble, limit], from_row)?;
        let runs = rows.collect::<Result<Vec<_>, _>>()?;
        let wanted = runs
            .into_iter()
            .flatten()
            .filter(|run| !query.trouble || run.outcome.is_trouble());
        Ok(wanted.collect())
    }

    /// Runs that have ended after `time`, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ended_after(&self, time: DateTime<Utc>) -> Result<Vec<Run>> {
        let database = self.database();
        let mut found = database.prepare(
            "SELECT run, job, verb, outcome, started, ended, by, facts, reached FROM run WHERE ended > ?1 ORDER BY ended",
        )?;
        let rows = found.query_map([time.timestamp_millis()], from_row)?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The run of this number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn run(&self, run: i64) -> Result<Option<Run>> {
        let database = self.database();
        let mut found = database
            .prepare("SELECT run, job, verb, outcome, started, ended, by, facts, reached FROM run WHERE run = ?1")?;
        let mut rows = found.query_map([run], from_row)?;
        Ok(rows.next().transpose()?.flatten())
    }

    /// Forgets runs that ended longer ago than `keep`.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn trim(&self, keep: TimeDelta, now: DateTime<Utc>) -> Result<()> {
        let limit = (now - keep).timestamp_millis();
        let database = self.database();
        database.execute("DELETE FROM run WHERE ended < ?1", [limit])?;
        database.execute("DELETE FROM told WHERE at < ?1", [limit])?;
        Ok(())
    }
}

/// The facts as they are stored: what servers say may hold a secret.
fn text(facts: &Facts) -> Result<String> {
    Ok(redact::json(&serde_json::to_string(facts)?).into_owned())
}

fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

/// A run; nothing where a newer version has written what this one does not know.
fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Run>> {
    let (verb, outcome): (String, String) = (row.get(2)?, row.get(3)?);
    let (by, facts): (String, String) = (row.get(6)?, row.get(7)?);
    let reached: Option<String> = row.get(8)?;
    let (started, ended) = (time(row.get(4)?), row.get::<_, Option<i64>>(5)?.map(time));
    let verb = serde_json::from_value(serde_json::Value::String(verb)).ok();
    let outcome = Outcome::named(&outcome).map(|outcome| match outcome {
        Outcome::Running if is_dead(&by) => Outcome::Killed,
        outcome => outcome,
    });
    let (Some(verb), Some(outcome)) = (verb, outcome) else {
        return Ok(None);
    };
    Ok(Some(Run {
        run: row.get(0)?,
        job: row.get(1)?,
        verb,
        outcome,
        started,
        ended,
        seconds: ended.map(|ended| (ended - started).as_seconds_f64()),
        by,
        reached: reached
            .filter(|_| outcome == Outcome::Running)
            .and_then(|text| serde_json::from_str(&text).ok()),
        facts: serde_json::from_str(&facts).unwrap_or_default(),
    }))
}

/// Makes the file, readable for its owner only.
fn make(file: &Path) -> Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file);
        if let Ok(made) = made {
            owner::of_its_folder(&made, file)?;
        }
    }
    Ok(())
}

/// Whether the file is none that SQLite can read.
fn is_damage(error: &anyhow::Error) -> bool {
    let code = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<rusqlite::Error>()?.sqlite_error_code();
    error
        .chain()
        .any(|cause| matches!(code(cause), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)))
}

#[cfg(test)]
mod tests;
