//! A dump gives way: when its locks make others wait for too long, it ends itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::connect::session::{Query, Session};
use super::connect::{self, Dsn};
use crate::error::{Exit, Fail, Result};

/// Watches over a dump from a connection of its own; stops when it is dropped.
pub struct Watch {
    task: JoinHandle<()>,
    alarm: tokio::sync::Mutex<oneshot::Receiver<anyhow::Error>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to watch whether any backend waits longer than `limit` for a lock that `leader` holds. Workers
/// hold no other locks than the leader does, and what waits for them waits for the leader too.
///
/// # Errors
/// The watching connection does not come about.
pub async fn start(dsn: &Dsn, leader: &Arc<Session>, limit: Duration) -> Result<Watch> {
    let rows = leader
        .rows(&Query::new("SELECT pg_catalog.pg_backend_pid() AS pid"))
        .await?;
    let pid = rows.first().context("a session without a process")?.int("pid")?;
    // Statements of others may hold any character.
    let dsn = Dsn {
        encoding_as_set: false,
        ..dsn.clone()
    };
    let watching = connect::connect(&dsn).await?;
    let canceller = leader.canceller().clone();
    let (sound, alarm) = oneshot::channel();
    let task = tokio::spawn(async move {
        let outcome = wait(&watching, pid, limit).await;
        // Whatever the leader does now, it must let its locks go soon.
        if let Err(error) = canceller.cancel().await {
            tracing::warn!("the dump could not be cancelled: {error:#}");
        }
        // Nobody listens when the dump has ended in the meantime.
        let _ = sound.send(outcome);
    });
    Ok(Watch {
        task,
        alarm: tokio::sync::Mutex::new(alarm),
    })
}

/// Returns when someone has waited too long, with what is to be said about it.
async fn wait(watching: &Session, pid: i32, limit: Duration) -> anyhow::Error {
    let query = format!(
        "SELECT l.pid, pg_catalog.left(a.query, 60) AS query, a.usename::pg_catalog.text AS role, a.application_name AS application \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE NOT l.granted AND {pid} = ANY (pg_catalog.pg_blocking_pids(l.pid)) \
           AND pg_catalog.clock_timestamp() - l.waitstart > pg_catalog.make_interval(secs => {}) LIMIT 1",
        limit.as_secs_f64()
    );
    loop {
        tokio::time::sleep(limit.min(Duration::from_secs(1))).await;
        let waiting = match watching.rows(&Query::new(query.clone())).await {
            Ok(rows) => rows,
            Err(error) => return error.context("the connection that watches over the dump's locks failed"),
        };
        let Some(row) = waiting.first() else { continue };
        let who = row.int("pid").unwrap_or_default();
        let [what, role, application] =
            ["query", "role", "application"].map(|name| row.opt_text(name).ok().flatten().unwrap_or_default());
        return Fail::new(
            Exit::Failure,
            format!(
                "gave way: process {who} (role {role}, application {application:?}) has waited longer than max_lock_wait \
                 ({limit:?}) for a lock of the dump ({what})"
            ),
        )
        .hint("run the dump when nothing changes the schema, or raise max_lock_wait")
        .into();
    }
}

impl Watch {
    /// Runs `work` until it ends or the alarm sounds.
    ///
    /// # Errors
    /// Those of `work`, or that the dump gave way.
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut alarm = self.alarm.lock().await;
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            Ok(reason) = &mut *alarm => Err(reason),
            outcome = &mut work => match outcome {
                // The cancelled statement fails a moment before the reason arrives.
                Err(error) => match tokio::time::timeout(Duration::from_millis(200), &mut *alarm).await {
                    Ok(Ok(reason)) => Err(reason),
                    _ => Err(error),
                },
                done => done,
            },
        }
    }
}
