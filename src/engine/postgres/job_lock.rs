//! One run of a job at a time, wherever it was started: an advisory lock in the source database.
//!
//! The lock belongs to a transaction, and that stays open as long as the run: behind a pooler that shares server
//! connections between transactions, a lock of the session would stay behind, and bar all later runs. The
//! transaction has no snapshot, so it keeps nothing from being vacuumed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::awake::Awake;
use super::connect::session::{NEVER_TIMED_OUT, Query, Session};
use super::connect::{self, Dsn};
use super::identity;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::manifest::Source;

/// First half of the lock's key: the bytes `SBJB`.
const CLASS: i32 = 0x5342_4A42;

/// How often it is tried again by those who wait.
const POLL: Duration = Duration::from_secs(1);

/// How long a session is waited for whose client may have ended, killed perhaps, and whose server has not noticed yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often that one is looked for.
const POLL_ENDED: Duration = Duration::from_millis(100);

/// How long a server may take to release it: it ends with the session anyway.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The lock, held for as long as this session lives.
pub struct JobLock {
    session: Arc<Session>,
    awake: Awake,
    /// The database that the lock is in.
    pub source: Source,
}

impl JobLock {
    /// Connects and takes the lock of `job`.
    ///
    /// # Errors
    /// The server cannot be reached, or ([`Exit::Busy`]) a run of the job is under way.
    pub async fn take(dsn: &Dsn, job: &str) -> Result<JobLock> {
        let session = connect::connect(dsn).await?;
        // The session idles while the dump runs.
        session.run(&format!("BEGIN READ ONLY;\n{NEVER_TIMED_OUT}")).await?;
        let key = key(job);
        let taken = Query::new(format!(
            "SELECT pg_catalog.pg_try_advisory_xact_lock({CLASS}, {key}) AS taken"
        ));
        let begun = Instant::now();
        while !session
            .rows(&taken)
            .await?
            .first()
            .map_or(Ok(false), |row| row.bool("taken"))?
        {
            if begun.elapsed() < PATIENCE {
                tokio::time::sleep(POLL_ENDED).await;
                continue;
            }
            let holder = holder(&session, key).await.unwrap_or_default();
            return Err(
                Fail::new(Exit::Busy, format!("a run of job {job} is under way{holder}"))
                    .hint("wait until it has ended; two runs of one job never overlap")
                    .into(),
            );
        }
        let source = identity::read(&session).await?;
        let session = Arc::new(session);
        Ok(JobLock {
            awake: Awake::keep(&session),
            session,
            source,
        })
    }

    /// Waits until no run of `job` is under way, at most for `limit`; `tell` hears once which one is in the way.
    ///
    /// # Errors
    /// The server cannot be reached, or ([`Exit::Busy`]) the run goes on.
    pub async fn wait(
        dsn: &Dsn,
        job: &str,
        limit: Duration,
        tell: &(dyn Fn(&anyhow::Error) + Send + Sync),
    ) -> Result<()> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            match JobLock::take(dsn, job).await {
                Ok(lock) => {
                    lock.release().await;
                    return Ok(());
                }
                Err(error) if exit_of(&error) == Exit::Busy && begun.elapsed() < limit => {
                    if !told {
                        tell(&error);
                        told = true;
                    }
                    tokio::time::sleep(POLL.min(limit.saturating_sub(begun.elapsed()))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets go of the lock: when this returns, the next run can take it. Left to itself a server notices that a client is
    /// gone when it has the time, and whoever tries again at once would be told that a run is under way.
    pub async fn release(self) {
        drop(self.awake);
        let released = tokio::time::timeout(RELEASE_TIMEOUT, self.session.run("ROLLBACK")).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::debug!("the server did not answer when the job's lock was released");
        }
    }

    /// Makes sure that the lock is still held: a connection that broke has lost it.
    ///
    /// # Errors
    /// It has.
    pub async fn assert_held(&self) -> Result<()> {
        self.session.run("SELECT 1").await
    }
}

/// The second half of the key; positive, because `pg_locks` shows it as an OID.
fn key(job: &str) -> u32 {
    (xxh3_64(job.as_bytes()) & 0x7FFF_FFFF) as u32
}

/// Who holds the lock, for people.
async fn holder(session: &Session, key: u32) -> Result<String> {
    let query = Query::new(format!(
        "SELECT a.pid::text AS pid, coalesce(a.client_addr::text, 'this server') AS client,
                pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS since
         FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
         WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {CLASS} AND l.objid = {key} AND l.objsubid = 2"
    ));
    let rows = session.rows(&query).await?;
    let Some(row) = rows.first() else {
        return Ok(String::new());
    };
    Ok(format!(
        " (server process {}, from {}, since {})",
        row.text("pid")?,
        row.text("client")?,
        row.text("since")?
    ))
}
