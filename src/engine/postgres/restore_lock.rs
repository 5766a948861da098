//! One restore or undo of a database at a time, wherever it was started.
//!
//! An advisory lock belongs to the database that its session is in, and restores may come in through
//! different ones. But `pg_locks` shows those of all databases, so the lock is taken first and then looked
//! for everywhere else. It is a transaction's, which stays open without a snapshot: behind a pooler that shares server
//! sessions between transactions, a lock of the session would stay behind for ever.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::postgres::connect::session::NEVER_TIMED_OUT;
use crate::error::{Exit, Fail, Result};

/// First half of the lock's key: the bytes `SNAP`.
const CLASS: i32 = 0x534E_4150;

/// How long whoever holds the lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is tried again.
const POLL: Duration = Duration::from_millis(100);

/// The lock; let go when it is dropped.
#[must_use]
pub struct Lock {
    session: Client,
}

impl Lock {
    /// Makes sure that the lock is still held: a connection that broke has lost it.
    ///
    /// # Errors
    /// It has.
    pub async fn assert_held(&self) -> Result<()> {
        let alive = self.session.batch_execute("SELECT 1").await;
        alive.context("the connection that holds the lock of the restore was lost")
    }
}

/// Takes the lock on `database` with a session that may be in any database. Whoever holds it for a moment only is waited for: a
/// backup that looks for what killed restores left, or a session whose client has ended and whose server has not noticed yet.
///
/// # Errors
/// [`Exit::Busy`]: another restore or undo of the database is under way.
pub async fn take(session: Client, database: &str) -> Result<Lock> {
    let begun = Instant::now();
    while !is_free(&session, database).await? {
        if begun.elapsed() > PATIENCE {
            return Err(Fail::new(
                Exit::Busy,
                format!("another restore or undo of {database:?} is under way"),
            )
            .hint("wait until it has ended; `snapback list` shows what it left if it was killed")
            .into());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(Lock { session })
}

/// Takes the lock if nobody has it.
///
/// # Errors
/// The server does not answer.
pub async fn try_take(session: Client, database: &str) -> Result<Option<Lock>> {
    let free = is_free(&session, database).await?;
    Ok(free.then_some(Lock { session }))
}

/// Whether the lock was free and is now the session's; if not, the session holds nothing.
async fn is_free(session: &Client, database: &str) -> Result<bool> {
    session
        .batch_execute(&format!("BEGIN READ ONLY;\n{NEVER_TIMED_OUT}"))
        .await?;
    let key = key(database);
    let row = session
        .query_one("SELECT pg_catalog.pg_try_advisory_xact_lock($1, $2)", &[&CLASS, &key])
        .await?;
    if row.try_get::<_, bool>(0)? {
        let elsewhere = session
            .query(
                "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
                 AND classid = $1::int8::oid AND objid = $2::int8::oid AND pid <> pg_catalog.pg_backend_pid()",
                &[&i64::from(CLASS), &i64::from(key)],
            )
            .await?;
        if elsewhere.is_empty() {
            return Ok(true);
        }
    }
    session.batch_execute("ROLLBACK").await?;
    Ok(false)
}

/// The second half of the key; positive, because `pg_locks` shows it as an OID.
fn key(database: &str) -> i32 {
    (xxh3_64(database.as_bytes()) & 0x7FFF_FFFF) as i32
}
