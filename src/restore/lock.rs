//! One restore or undo of a database at a time, wherever it was started.
//!
//! An advisory lock belongs to the database that its session is in, and restores may come in through
//! different ones. But `pg_locks` shows those of all databases, so the lock is taken first and then looked
//! for everywhere else.

use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Exit, Fail, Result};

/// First half of the lock's key: the bytes `SNAP`.
const CLASS: i32 = 0x534E_4150;

/// Takes the lock on `database` for as long as `client` lives.
///
/// # Errors
/// [`Exit::Busy`]: another restore or undo of the database is under way.
pub async fn take(client: &Client, database: &str) -> Result<()> {
    if try_take(client, database).await? {
        return Ok(());
    }
    Err(Fail::new(
        Exit::Busy,
        format!("another restore or undo of {database:?} is under way"),
    )
    .hint("wait until it has ended; `snapback list` shows what it left if it was killed")
    .into())
}

/// Takes the lock if nobody has it.
///
/// # Errors
/// The server does not answer.
pub async fn try_take(client: &Client, database: &str) -> Result<bool> {
    let key = key(database);
    let row = client
        .query_one("SELECT pg_catalog.pg_try_advisory_lock($1, $2)", &[&CLASS, &key])
        .await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(false);
    }
    let elsewhere = client
        .query(
            "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
             AND classid = $1::int8::oid AND objid = $2::int8::oid AND pid <> pg_catalog.pg_backend_pid()",
            &[&i64::from(CLASS), &i64::from(key)],
        )
        .await?;
    if elsewhere.is_empty() {
        return Ok(true);
    }
    client
        .execute("SELECT pg_catalog.pg_advisory_unlock($1, $2)", &[&CLASS, &key])
        .await?;
    Ok(false)
}

/// The second half of the key; positive, because `pg_locks` shows it as an OID.
fn key(database: &str) -> i32 {
    (xxh3_64(database.as_bytes()) & 0x7FFF_FFFF) as i32
}
