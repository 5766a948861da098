//! The database of a job, locked for one run: what a backup asks of it, whichever engine it is of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::engine::postgres::connect::session::Query;
use crate::engine::postgres::connect::{self, Dsn};
use crate::engine::postgres::dump::{dump, random_key};
use crate::engine::postgres::job_lock::JobLock;
use crate::engine::postgres::{foreseen, globals, snapshot};
use crate::engine::{postgres, sqlite};
use crate::error::Result;
use crate::job::{Job, SourceConfig};
use crate::manifest::{Engine, LargeObjects, Source, Spelling, SqliteFacts, Table, Written};
use crate::raw_text;
use crate::seal::{Algorithm, Compression};
use crate::store::Upload;

/// How long ending the sessions of an interrupted run may take.
const END_SESSIONS_TIMEOUT: Duration = Duration::from_secs(5);

/// What an export says of itself.
pub struct Exported {
    /// The database that was exported.
    pub source: Source,
    /// How its values are written, where that is a question.
    pub spelling: Option<Spelling>,
    /// `none`, `gzip`, `lz4` or `zstd`.
    pub compression: String,
    /// How many objects of each type there are.
    pub entries: BTreeMap<String, u64>,
    /// The tables whose rows it has.
    pub tables: Vec<Table>,
    /// The large objects that it has, where there can be any.
    pub large_objects: Option<LargeObjects>,
    /// The extensions with their versions, where there can be any.
    pub extensions: Option<BTreeMap<String, String>>,
    /// The owner of schema `public`, where the archive does not tell.
    pub public_owner: Option<String>,
    /// What only SQLite has.
    pub sqlite: Option<SqliteFacts>,
    /// SHA-256 (hex) of all definitions.
    pub schema_hash: String,
    /// What there is to warn of.
    pub warnings: Vec<String>,
    /// What was written, to compare with what is read back.
    pub written: Written,
}

/// The database of a job, which no other run of the job has.
pub struct Locked {
    source: Source,
    held: Held,
}

enum Held {
    Postgres {
        dsn: Box<Dsn>,
        lock: Box<JobLock>,
    },
    Sqlite {
        found: sqlite::open::Found,
        _lock: sqlite::lock::JobLock,
    },
}

/// The first major version whose pg_restore reads archives that are compressed by zstd.
const READS_ZSTD: u32 = 160_000;

impl Locked {
    /// Takes the lock of `job` for a run that was `started` then.
    ///
    /// # Errors
    /// The database cannot be reached, or ([`crate::error::Exit::Busy`]) a run of the job is under way.
    pub async fn take(job: &Job, started: DateTime<Utc>) -> Result<Locked> {
        match &job.source {
            SourceConfig::Postgres(_) => {
                let dsn = named(job, started)?;
                let lock = JobLock::take(&dsn, &job.name).await;
                let lock = lock.map_err(|error| connect::lost(error, &dsn, "while the job's lock was taken"))?;
                Ok(Locked {
                    source: lock.source.clone(),
                    held: Held::Postgres {
                        dsn: Box::new(dsn),
                        lock: Box::new(lock),
                    },
                })
            }
            SourceConfig::Sqlite(location) => {
                sqlite::check_version()?;
                let found = sqlite::open::find(location.path())?;
                let lock = sqlite::lock::JobLock::take(&found, &job.name)?;
                for left in sqlite::scratch::tidy_beside(location) {
                    tracing::warn!("removed {}, which a killed restore had left", left.display());
                }
                Ok(Locked {
                    source: sqlite::identity(&found),
                    held: Held::Sqlite { found, _lock: lock },
                })
            }
        }
    }

    /// Which database it is.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How the server that it is on is reached, where that may have replicas.
    #[must_use]
    pub fn server(&self) -> Option<&Dsn> {
        match &self.held {
            Held::Postgres { dsn, .. } => Some(dsn),
            Held::Sqlite { .. } => None,
        }
    }

    /// Exports it as `job` says.
    ///
    /// # Errors
    /// Anything that keeps the archive from being complete and right. Then nothing appears under its name.
    pub async fn export<P>(&self, job: &Job, upload: Box<dyn Upload>, progress: &P) -> Result<Exported>
    where
        P: postgres::progress::Progress + sqlite::export::Progress + Clone + 'static,
    {
        let compression = job.dump.compress.algorithm.name().to_owned();
        match &self.held {
            Held::Postgres { dsn, .. } => {
                let mut request = job.dump.clone();
                if job.auto_compress && self.source.server_version_num >= READS_ZSTD {
                    request.compress = Compression {
                        algorithm: Algorithm::Zstd,
                        ..Compression::default()
                    };
                }
                let dumped = dump(dsn, &request, upload, progress).await;
                let dumped = dumped.map_err(|error| connect::lost(error, dsn, "while the database was read"))?;
                Ok(Exported {
                    source: dumped.source,
                    spelling: Some(dumped.spelling),
                    compression: dumped.compression,
                    entries: dumped.entries,
                    tables: dumped.tables,
                    large_objects: Some(dumped.large_objects),
                    extensions: Some(dumped.extensions),
                    public_owner: dumped.public_owner,
                    sqlite: None,
                    schema_hash: dumped.schema_hash,
                    warnings: dumped.warnings.iter().map(ToString::to_string).collect(),
                    written: dumped.written,
                })
            }
            Held::Sqlite { found, .. } => {
                let request = sqlite::export::Request {
                    compress: job.dump.compress,
                    max_lock_wait: job.dump.max_lock_wait,
                };
                let exported = sqlite::export::export(found, &request, upload, Arc::new(progress.clone())).await?;
                let contents = exported.contents;
                Ok(Exported {
                    source: self.source.clone(),
                    spelling: None,
                    compression,
                    entries: contents.entries,
                    tables: contents.tables,
                    large_objects: None,
                    extensions: None,
                    public_owner: None,
                    sqlite: Some(contents.facts),
                    schema_hash: contents.schema_hash,
                    warnings: exported.warnings,
                    written: exported.written,
                })
            }
        }
    }

    /// Roles and tablespaces, where there are any, and what to warn of. They belong to the cluster and not to the snapshot,
    /// so they have a session of their own.
    ///
    /// # Errors
    /// The server's.
    pub async fn globals(&self) -> Result<Option<(Bytes, Vec<String>)>> {
        let Held::Postgres { dsn, .. } = &self.held else {
            return Ok(None);
        };
        let read = read_globals(dsn).await;
        let during = "while roles and tablespaces were read";
        read.map(Some).map_err(|error| connect::lost(error, dsn, during))
    }

    /// What a restore will need help with. A backup is whole without knowing it.
    pub async fn foresee(&self) -> Vec<String> {
        let Held::Postgres { dsn, .. } = &self.held else {
            return Vec::new();
        };
        let read = async { foreseen::read(&connect::connect(dsn).await?).await };
        read.await.unwrap_or_else(|error| {
            tracing::warn!("what a restore will need help with is not known: {error:#}");
            Vec::new()
        })
    }

    /// Makes sure that the lock is still held.
    ///
    /// # Errors
    /// It was lost with its connection.
    pub async fn assert_held(&self) -> Result<()> {
        match &self.held {
            Held::Postgres { lock, dsn, .. } => {
                let held = lock.assert_held().await;
                held.map_err(|error| connect::lost(error, dsn, "while it held the job's lock"))
            }
            // It is lost with this process only.
            Held::Sqlite { .. } => Ok(()),
        }
    }

    /// Lets go of the lock: when this returns, the next run can take it.
    pub async fn release(self) {
        match self.held {
            Held::Postgres { lock, .. } => lock.release().await,
            Held::Sqlite { .. } => {}
        }
    }
}

async fn read_globals(dsn: &Dsn) -> Result<(Bytes, Vec<String>)> {
    let session = connect::connect(dsn).await?;
    let server = snapshot::begin(&session, &snapshot::SessionOptions::default()).await?;
    let options = globals::Options {
        restrict_key: server.has_restrict().then(random_key).transpose()?,
        ..globals::Options::default()
    };
    let globals = globals::render(&session, &server, &options)
        .await
        .context("reading roles and tablespaces")?;
    Ok((raw_text::encode(&globals.text).into_owned().into(), globals.warnings))
}

/// What the sessions of a run connect with: they have the run's name, for administrators and for
/// [`end_sessions`].
fn named(job: &Job, started: DateTime<Utc>) -> Result<Dsn> {
    let mut dsn = job.source.dsn()?;
    let mut name = format!("snapback {} {}", started.format("%Y%m%dT%H%M%S%.6fZ"), job.name);
    // The server cuts longer ones, and says so each time.
    name.truncate(63);
    dsn.application_name = Some(name);
    Ok(dsn)
}

/// Ends what a server still does for a run that was interrupted: it notices that its client is gone only when
/// it has something to say, and never while it waits for a lock.
pub async fn end_sessions(job: &Job, started: DateTime<Utc>) {
    if job.source.engine() != Engine::Postgres {
        return;
    }
    let ended = async {
        let dsn = named(job, started)?;
        let session = connect::connect(&dsn).await?;
        let query = Query::new(
            "SELECT pg_catalog.pg_terminate_backend(pid) AS ended FROM pg_catalog.pg_stat_activity \
             WHERE application_name = $1 AND usesysid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user) \
               AND pid <> pg_catalog.pg_backend_pid()",
        );
        session
            .rows(&query.text(dsn.application_name.unwrap_or_default()))
            .await
    };
    let outcome = tokio::time::timeout(END_SESSIONS_TIMEOUT, ended).await;
    match outcome {
        Ok(Ok(sessions)) => tracing::debug!(sessions = sessions.len(), "ended the run's sessions"),
        Ok(Err(error)) => tracing::warn!("the server may still work for the interrupted run: {error:#}"),
        Err(_) => tracing::warn!("the server may still work for the interrupted run: it does not answer"),
    }
}
