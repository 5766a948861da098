//! A server that died with the command, or under it, is waited for: it may only be restarting.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Request;
use crate::engine::postgres::connect::{self, Dsn};
use crate::error::{Exit, Result, exit_of};
use crate::job::{Job, SourceConfig};

/// Between two looks at whether it is there again.
const LOOK: Duration = Duration::from_millis(500);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a guard waits for its server, all its waiting together.
#[derive(Debug)]
pub struct Patience(Mutex<Duration>);

impl Patience {
    /// So long.
    #[must_use]
    pub fn of(time: Duration) -> Patience {
        Patience(Mutex::new(time))
    }

    fn left(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, time: Duration) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(time);
    }
}

/// Waits until the server of `job` is there, no longer than the request has patience and until a signal comes. Says that it
/// does. Tells whether it had to wait and the server is there now.
pub(super) async fn wait(request: &Request<'_>, job: &Job) -> bool {
    let Some(dsn) = dsn(job) else { return false };
    let limit = request.patience.left();
    if limit.is_zero() || !connect::is_down(&dsn).await {
        return false;
    }
    (request.warn)(format!(
        "the server of the database is down; waiting for it, for {} at most",
        seconds(limit)
    ));
    (request.step)("waiting for the server");
    request.signals.forget().await;
    let begun = Instant::now();
    let back = async {
        while begun.elapsed() < limit {
            tokio::time::sleep(LOOK.min(limit)).await;
            if !connect::is_down(&dsn).await {
                return true;
            }
        }
        false
    };
    let back = tokio::select! {
        back = back => back,
        () = request.signals.next() => false,
    };
    request.patience.take(if back { begun.elapsed() } else { limit });
    (request.warn)(match back {
        true => format!("the server is there again, after {}", seconds(begun.elapsed())),
        false => "the server did not come back in time".to_owned(),
    });
    back
}

/// How often something is done again that the server broke off.
const ATTEMPTS: u32 = 5;

/// Does `work`; again where it was broken off only because the server went away meanwhile, once that is there again. What
/// was broken off can be tried again: it has changed nothing, or all.
pub(super) async fn insisting<T>(
    request: &Request<'_>,
    job: &Job,
    mut work: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match work().await {
            Err(error) if broke_off(request, job, &error).await => {}
            done => return done,
        }
    }
    work().await
}

/// Whether `error` is only that the server went away meanwhile. Then it is waited for.
async fn broke_off(request: &Request<'_>, job: &Job, error: &anyhow::Error) -> bool {
    let is_postgres = matches!(job.source, SourceConfig::Postgres(_));
    let lost = is_postgres && (connect::is_lost(error) || exit_of(error) == Exit::Unreachable);
    if wait(request, job).await {
        return true;
    }
    if !lost || request.patience.left().is_zero() {
        return false;
    }
    // One that is going down may have let us in a last time.
    tokio::time::sleep(LOOK).await;
    wait(request, job).await;
    true
}

fn dsn(job: &Job) -> Option<Dsn> {
    let SourceConfig::Postgres(connection) = &job.source else {
        return None;
    };
    let dsn = connection.dsn().ok()?;
    let patience = dsn.connect_timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE));
    Some(Dsn {
        connect_timeout: Some(patience),
        ..dsn
    })
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64().ceil())
}
