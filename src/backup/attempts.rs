//! A run that failed for a reason that passes is begun again.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::{Report, Request, hooks, niced};
use crate::engine::postgres::connect;
use crate::engine::postgres::connect::session::Query;
use crate::error::{Exit, Fail, Result};

/// How long is waited before the second attempt; before each later one three times as long as before the last.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// How long is waited for a restore that swaps databases at this moment: its names change in milliseconds.
const SWAP_WAIT: Duration = Duration::from_millis(500);

/// How long the server may take to say whether it is a standby.
const PATIENCE: Duration = Duration::from_secs(5);

/// An attempt that failed.
pub(super) struct Failed {
    /// Why.
    pub error: anyhow::Error,
    /// Why another attempt follows, if one does.
    pub again: Option<Temporary>,
}

/// Why it is worth to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temporary {
    /// A standby ended a query, or a session, for what its primary removed.
    Recovery,
    /// The server ended one of two that waited for each other.
    Deadlock,
    /// The server starts or was restarted after a crash.
    Starting,
    /// All connections are in use.
    Connections,
    /// There is no such database, as in the instant in which a restore swaps two.
    Swap,
}

impl Temporary {
    /// What it is about `error`, if it is temporary.
    fn of(error: &anyhow::Error) -> Option<Temporary> {
        let mut causes = error.chain();
        let server = causes.find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.code().cloned())?;
        match server {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::DATABASE_DROPPED => Some(Temporary::Recovery),
            SqlState::T_R_DEADLOCK_DETECTED => Some(Temporary::Deadlock),
            SqlState::CANNOT_CONNECT_NOW | SqlState::CRASH_SHUTDOWN => Some(Temporary::Starting),
            SqlState::TOO_MANY_CONNECTIONS => Some(Temporary::Connections),
            SqlState::INVALID_CATALOG_NAME => Some(Temporary::Swap),
            _ => None,
        }
    }

    /// Why another attempt follows on the number `attempt`, which failed with `error`.
    pub(super) async fn again(request: &Request<'_>, attempt: u32, error: &anyhow::Error) -> Option<Temporary> {
        let temporary = match Temporary::of(error) {
            None if is_lost(error) && is_standby(request).await => Some(Temporary::Recovery),
            temporary => temporary,
        };
        temporary.filter(|it| it.allows(attempt, request.job.attempts) && !request.cancel.is_cancelled())
    }

    /// Whether it is worth an attempt after the number `attempt`.
    fn allows(self, attempt: u32, attempts: u32) -> bool {
        match self {
            Temporary::Swap => attempt == 1 && attempts > 1,
            _ => attempt < attempts,
        }
    }

    fn wait(self, attempt: u32) -> Duration {
        match self {
            Temporary::Swap => SWAP_WAIT,
            _ => FIRST_WAIT * 3_u32.saturating_pow(attempt.saturating_sub(1).min(5)),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Temporary::Recovery => {
                "the standby ended the export because of a conflict with recovery (max_standby_streaming_delay)"
            }
            Temporary::Deadlock => "the server ended a deadlock",
            Temporary::Starting => "the server is starting",
            Temporary::Connections => "all connections of the server are in use",
            Temporary::Swap => "the database is not there at this moment",
        }
    }
}

/// Runs a job, as often as it allows while what fails is temporary.
///
/// # Errors
/// Whatever keeps the backup from being whole. The failure is recorded in the stores, unless another run was merely in the way.
pub async fn run(request: &Request<'_>) -> Result<Report> {
    if request.job.nice == 0 {
        return run_here(request).await;
    }
    let Request {
        kind,
        label,
        in_place,
        pinned,
        protect,
        clock,
        watch,
        cancel,
        job,
    } = request;
    let (job, kind, pinned) = ((*job).clone(), *kind, *pinned);
    let (label, in_place, protect) = (label.clone(), in_place.clone(), protect.clone());
    let (clock, watch, cancel) = (clock.clone(), watch.clone(), cancel.clone());
    niced::run(job.nice, async move {
        let request = Request {
            job: &job,
            kind,
            label,
            in_place,
            pinned,
            protect,
            clock,
            watch,
            cancel,
        };
        run_here(&request).await
    })
    .await
}

/// Runs a job on the threads of the caller.
async fn run_here(request: &Request<'_>) -> Result<Report> {
    // A restore takes its safety snapshot deep inside of its own future: on the heap this one makes that no larger.
    Box::pin(hooks::around(request, Box::pin(attempts(request)))).await
}

async fn attempts(request: &Request<'_>) -> Result<Report> {
    let _connections = match &request.job.connections {
        None => None,
        Some(connections) => tokio::select! {
            taken = connections.take(&request.job.dump, u32::from(request.job.max_replica_lag.is_some())) => taken,
            () = request.cancel.cancelled() => {
                return Err(Fail::new(Exit::Interrupted, "the run was cancelled while it waited for connections").into());
            }
        },
    };
    let attempts = request.job.attempts;
    let mut attempt = 1;
    loop {
        let Failed { error, again } = match Box::pin(super::run_once(request, attempt)).await {
            Ok(report) => return Ok(report),
            Err(failed) => failed,
        };
        let Some(temporary) = again else {
            return Err(error);
        };
        let wait = temporary.wait(attempt);
        tracing::warn!(
            job = request.job.name,
            "attempt {attempt} of {attempts} failed: {}; the next one begins in {:.1} s: {error:#}",
            temporary.describe(),
            wait.as_secs_f64()
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = request.cancel.cancelled() => return Err(error),
        }
        attempt += 1;
    }
}

/// Whether the connection broke: a session that idles in its transaction is ended without a word to those who ask next.
fn is_lost(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
        .any(|error| error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN))
}

/// Whether the server of the job is there, and a standby.
async fn is_standby(request: &Request<'_>) -> bool {
    let asked = async {
        let session = connect::connect(&request.job.source.dsn()?).await?;
        let rows = session
            .rows(&Query::new("SELECT pg_catalog.pg_is_in_recovery() AS standby"))
            .await?;
        rows.first().map_or(Ok(false), |row| row.bool("standby"))
    };
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_database_is_looked_for_once_more() {
        assert!(Temporary::Swap.allows(1, 3));
        assert!(!Temporary::Swap.allows(2, 3));
        assert!(!Temporary::Swap.allows(1, 1));
        assert!(Temporary::Recovery.allows(2, 3));
        assert!(!Temporary::Recovery.allows(3, 3));
    }
}
