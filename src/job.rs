//! What a job is: a source, its stores, a schedule, what is kept where, and the options of its dumps. `config::job` makes one
//! of what was written.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use chrono_tz::Tz;
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::dump::Request;
use crate::engine::postgres::identity;
use crate::engine::sqlite;
use crate::engine::sqlite::location::Location;
use crate::error::{Exit, Fail, Result};
use crate::manifest::{Engine, Identity};
use crate::retention::Policy;
use crate::schedule::Schedule;
use crate::secret::Secret;
use crate::store::Store;

mod connections;
mod encryption;
mod server;

pub use connections::{Connections, FEWEST};
pub use encryption::{EncryptFor, Encryption, Keys};
pub use server::{BETWEEN, KnownDatabases, ServerJobs, ambiguous, trouble};

/// A job that makes sense.
#[derive(Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// What it was called by older versions: its backups from then lie under that name.
    pub former: Option<String>,
    /// The section for a whole server that it is of.
    pub section: Option<String>,
    /// Its database is not on that server any more.
    pub gone: bool,
    /// The database.
    pub source: SourceConfig,
    /// Where restores go to, when that is another server than backups are taken from.
    pub restore_source: Option<SourceConfig>,
    /// Where its backups live, each under a folder of the job's name: at least one, the nearest first.
    pub destinations: Vec<Destination>,
    /// When it runs; by hand only without.
    pub schedule: Option<Schedule>,
    /// The time zone of its days, weeks and months.
    pub zone: Tz,
    /// Whether a missed run is made up for.
    pub run_missed: bool,
    /// How old the newest good backup may be; without it that follows from the schedule.
    pub max_age: Option<TimeDelta>,
    /// Programs around its runs.
    pub hooks: Hooks,
    /// Cancels a run that takes longer.
    pub timeout: Option<Duration>,
    /// Cancels a run in which no byte has moved for so long.
    pub stall_timeout: Option<Duration>,
    /// How often a run is begun, when what fails is temporary: at least once.
    pub attempts: u32,
    /// How much less urgent than the rest of the process its backups are, as nice(1) counts.
    pub nice: u8,
    /// A backup reads no further while a replica of its server is more than this behind.
    pub max_replica_lag: Option<Duration>,
    /// Whether roles and tablespaces are stored as well.
    pub globals: bool,
    /// Whether retention is applied after each successful run.
    pub prune: bool,
    /// When and how its backups are tried.
    pub drill: Drills,
    /// How long a database that a restore replaced is kept.
    pub keep_replaced: TimeDelta,
    /// How many connections all jobs on its server may have, where that is limited.
    pub connections: Option<Connections>,
    /// How to dump.
    pub dump: Request,
    /// Whether the archive is compressed by zstd where pg_restore of the server's major reads that, whatever `dump` says.
    pub auto_compress: bool,
    /// Whom its backups are encrypted for, if they are.
    pub encryption: Option<Encryption>,
    /// What opens encrypted backups.
    pub keys: Keys,
}

/// When and how backups of a job are restored to prove that they can be.
#[derive(Clone, Default)]
pub struct Drills {
    /// When; by hand only without.
    pub schedule: Option<Schedule>,
    /// SQL that must give true in what was restored.
    pub checks: Vec<String>,
    /// The server that they are restored to; the job's own without.
    pub source: Option<SourceConfig>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name)
            .field("source", &self.source)
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

/// The character of a job's name that stands for one of a database's name.
#[must_use]
pub fn job_letter(c: char) -> char {
    match c {
        '_' => '_',
        c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        _ => '-',
    }
}

/// The name of a job that is called after its `database`: the same, as far as a job may have it.
#[must_use]
pub fn name_of(database: &str) -> String {
    let name: String = database.chars().map(job_letter).take(63).collect();
    match name.trim_start_matches('-') {
        "" => "database".to_owned(),
        name => name.to_owned(),
    }
}

/// A store of a job.
#[derive(Clone)]
pub struct Destination {
    /// Its name in the configuration.
    pub name: String,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What to keep of the job there.
    pub policy: Policy,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.store)
    }
}

/// How to reach the database. The set of engines is closed.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// A database of a PostgreSQL server.
    Postgres(Box<Connection>),
    /// A file of SQLite.
    Sqlite(Location),
}

/// Programs, with their arguments, that are run around the runs of a job; empty ones are none.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Before each run, which is not begun when it fails.
    pub before: Vec<String>,
    /// After each run that made a backup.
    pub after: Vec<String>,
    /// After each run that failed.
    pub on_failure: Vec<String>,
    /// After each run.
    pub finally: Vec<String>,
    /// How long each of them may take.
    pub timeout: Duration,
}

/// How to reach a PostgreSQL server.
#[derive(Clone, Debug)]
pub struct Connection {
    /// As the URL has it.
    pub url: Dsn,
    /// The password, where it is not in the URL.
    pub password: Password,
}

/// Where the password comes from. Files are read at each run, so that a changed password needs no restart.
#[derive(Clone, Debug)]
pub enum Password {
    /// From the URL, libpq's environment or `~/.pgpass`.
    Elsewhere,
    /// It is this one.
    Given(Secret),
    /// It is the first line of this file.
    File(PathBuf),
}

impl SourceConfig {
    /// The database, as far as its URL tells, or its file.
    #[must_use]
    pub fn identity(&self) -> Identity {
        match self {
            SourceConfig::Postgres(connection) => identity::named(&connection.url),
            SourceConfig::Sqlite(location) => sqlite::named(location),
        }
    }

    /// Which engine it is of.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            SourceConfig::Postgres(_) => Engine::Postgres,
            SourceConfig::Sqlite(_) => Engine::Sqlite,
        }
    }

    /// Says in the log what was left out of the connection string of `job`.
    pub fn log_notes(&self, job: &str) {
        if let SourceConfig::Postgres(connection) = self {
            connection.url.notes.iter().for_each(|note| note.log(job));
        }
    }

    /// What to connect to PostgreSQL with.
    ///
    /// # Errors
    /// It is none, or the password's file cannot be read or is empty.
    pub fn dsn(&self) -> Result<Dsn> {
        match self {
            SourceConfig::Postgres(connection) => connection.dsn(),
            SourceConfig::Sqlite(location) => {
                let message = format!("{location} is an SQLite database, and this is for PostgreSQL");
                Err(Fail::new(Exit::Usage, message).into())
            }
        }
    }
}

impl Connection {
    /// What to connect with, the configured password in it.
    ///
    /// # Errors
    /// The password's file cannot be read or is empty.
    pub fn dsn(&self) -> Result<Dsn> {
        let password = match &self.password {
            Password::Elsewhere => self.url.password.clone(),
            Password::Given(secret) => Some(secret.clone()),
            Password::File(file) => Some(first_line("password file", file)?),
        };
        Ok(Dsn {
            password,
            ..self.url.clone()
        })
    }
}

/// The secret in a file, which is called `what` in errors.
fn first_line(what: &str, file: &Path) -> Result<Secret> {
    let fail = |why: &str| Fail::new(Exit::Usage, format!("cannot read the {what} {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| fail(&error.to_string()))?;
    match text.lines().next() {
        None | Some("") => Err(fail("its first line is empty").into()),
        Some(line) => Ok(Secret::new(line)),
    }
}

impl Job {
    /// The job as restores see it: its database is the one that they go to.
    #[must_use]
    pub fn for_restores(&self) -> Cow<'_, Job> {
        match &self.restore_source {
            None => Cow::Borrowed(self),
            Some(source) => Cow::Owned(Job {
                source: source.clone(),
                ..self.clone()
            }),
        }
    }

    /// The job as drills see it: its database is on the server that they restore to.
    #[must_use]
    pub fn for_drills(&self) -> Cow<'_, Job> {
        match &self.drill.source {
            None => self.for_restores(),
            Some(source) => Cow::Owned(Job {
                source: source.clone(),
                ..self.clone()
            }),
        }
    }

    /// Waits until a question or two may be asked of its server, where connections are limited.
    pub async fn may_ask(&self) -> Option<OwnedSemaphorePermit> {
        self.connections.as_ref()?.few().await
    }

    /// The store of this job that is called `name`.
    ///
    /// # Errors
    /// The job has none of that name.
    pub fn destination(&self, name: &str) -> Result<&Destination, Fail> {
        let found = self.destinations.iter().find(|destination| destination.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.destinations.iter().map(|it| it.name.as_str()).collect();
            Fail::new(Exit::NotFound, format!("job {} has no store {name:?}", self.name))
                .hint(format!("its stores are {}", names.join(", ")))
        })
    }
}
