//! Locks that a restore in place needs on its way, of things that no fence can hold: sequences, types, functions, what
//! others have created since. The wait for each is bounded.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::holders::{Holder, names};
use crate::error::{Exit, Fail, Result};
use crate::restore::postgres::watch::Watch;

/// Between two looks whether somebody is in the way.
const LOOK: Duration = Duration::from_millis(500);
/// Who is in the way for longer is ended, where the role may.
const END: Duration = Duration::from_secs(5);
/// After so long the restore gives up.
const GIVE_UP: Duration = Duration::from_secs(15);

/// Who keeps the session with the process number `$1` waiting.
const BLOCKERS: &str = "SELECT DISTINCT b.pid, COALESCE(a.application_name, ''), COALESCE(a.usename::text, '') \
    FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b (pid) \
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid ORDER BY 1";

/// What it waits for.
const WANTED: &str = "SELECT COALESCE(relation::pg_catalog.regclass::text, \
    CASE WHEN locktype = 'object' THEN pg_catalog.pg_describe_object(classid, objid, 0) END, locktype) \
    FROM pg_catalog.pg_locks WHERE pid = $1 AND NOT granted LIMIT 1";

/// Does `work` over the session `client`, and looks over another one, `beside` it in the same database, that nobody
/// keeps it waiting for too long. Says also how many sessions were ended for that.
///
/// # Errors
/// Those of `work`; or [`Exit::Busy`], which names who holds what.
pub async fn bounded<T>(
    client: &Client,
    beside: &Client,
    watch: &Watch,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, usize)> {
    let pid = client
        .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
        .await?
        .try_get(0)?;
    let mut ended = BTreeSet::new();
    let done = tokio::select! {
        done = work => done,
        error = guard(beside, pid, watch, &mut ended) => Err(error),
    };
    Ok((done?, ended.len()))
}

/// Ends with the reason when somebody is in the way for too long.
async fn guard(beside: &Client, pid: i32, watch: &Watch, ended: &mut BTreeSet<i32>) -> anyhow::Error {
    let mut since = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let blockers = match blockers(beside, pid).await {
            Ok(blockers) => blockers,
            Err(error) => return error.context("looking who is in the way of the restore"),
        };
        if blockers.is_empty() {
            since = None;
            continue;
        }
        let waited = since.get_or_insert_with(Instant::now).elapsed();
        if waited >= GIVE_UP {
            return busy(beside, pid, &blockers).await;
        }
        if waited >= END {
            for holder in &blockers {
                match holder.end(beside).await {
                    Ok(true) if ended.insert(holder.pid) => {
                        watch.warn(format!(
                            "ended who kept the restore waiting: {}",
                            names(std::slice::from_ref(holder))
                        ));
                    }
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        }
    }
}

async fn blockers(beside: &Client, pid: i32) -> Result<Vec<Holder>> {
    let rows = beside.query(BLOCKERS, &[&pid]).await?;
    rows.iter().map(Holder::of).collect()
}

async fn busy(beside: &Client, pid: i32, blockers: &[Holder]) -> anyhow::Error {
    let row = beside.query_opt(WANTED, &[&pid]).await.ok().flatten();
    let wanted = row
        .and_then(|row| row.try_get(0).ok())
        .unwrap_or_else(|| "a lock".to_owned());
    let message = format!("{wanted} is in use, and could not be locked: {}", names(blockers));
    Fail::new(Exit::Busy, message)
        .hint("stop these applications, or restore as a role that may end their sessions (pg_signal_backend)")
        .into()
}
