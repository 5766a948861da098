//! The backup is put back: planned before the command runs, done when it has failed. What is replaced is kept, so that `undo`
//! works.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{PauseAt, Request};
use crate::archive::options::RestoreOptions;
use crate::clock::Clock;
use crate::engine::postgres::load::missing::Tolerance;
use crate::error::{Fail, Result};
use crate::find::FromOther;
use crate::job::{Job, SourceConfig};
use crate::manifest::BackupId;
use crate::restore::{postgres, sqlite};

/// How long a backup of the job that is under way is waited for, and the locks of others.
const WAIT: Duration = Duration::from_secs(3600);
const LOCKS: Duration = Duration::from_secs(60);

/// How a backup is put back into a PostgreSQL server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Beside the live database, then both names change.
    #[default]
    Swap,
    /// In one transaction: where no database may be created.
    InPlace,
}

/// What a restore did.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// The database that was replaced, under the name by which it is kept.
    pub kept: Option<String>,
    /// The safety snapshot of what was replaced.
    pub safety: Option<BackupId>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Makes sure that the backup could be put back.
pub(super) async fn plan(request: &Request<'_>, id: BackupId) -> Result<()> {
    (request.step)("planning the way back");
    let (job, id, cancel) = (request.job.for_restores(), id.to_string(), CancellationToken::new());
    match &job.source {
        SourceConfig::Postgres(_) => {
            let watch = postgres::watch::Watch::silent();
            let prepared = in_postgres(request, &job, &id, None, mode(request), watch, cancel).await?;
            Ok(prepared.plan.check()?)
        }
        SourceConfig::Sqlite(_) => {
            let (mode, watch) = (sqlite::plan::Mode::Replace, sqlite::watch::Watch::silent());
            Ok(in_sqlite(request, &job, id, mode, watch, cancel).await?.plan.check()?)
        }
    }
}

/// Puts it back.
pub(super) async fn restore(request: &Request<'_>, id: BackupId) -> Result<Restored> {
    let (job, id, cancel) = (request.job.for_restores(), id.to_string(), CancellationToken::new());
    match &job.source {
        SourceConfig::Postgres(_) => {
            let watch = postgres::watch::Watch::silent().pausing_at(pause_at(request)?);
            let mut prepared = in_postgres(request, &job, &id, None, mode(request), watch, cancel.clone()).await?;
            let outcome = request.signals.cancelling(&cancel, prepared.run()).await?;
            Ok(Restored {
                kept: outcome.kept,
                safety: outcome.safety,
                seconds: outcome.seconds,
            })
        }
        SourceConfig::Sqlite(_) => {
            let watch = sqlite::watch::Watch::silent().pausing_at(pause_at(request)?);
            let mode = sqlite::plan::Mode::Replace;
            let prepared = in_sqlite(request, &job, id, mode, watch, cancel.clone()).await?;
            let outcome = request.signals.cancelling(&cancel, prepared.run()).await?;
            Ok(Restored {
                kept: None,
                safety: outcome.safety,
                seconds: outcome.seconds,
            })
        }
    }
}

/// The step of a restore at which it stops.
pub(super) fn pause_at<S: FromStr<Err = Fail>>(request: &Request<'_>) -> Result<Option<S>> {
    Ok(request
        .pause_at
        .as_ref()
        .map(PauseAt::of_restore)
        .transpose()?
        .flatten())
}

fn mode(request: &Request<'_>) -> postgres::plan::Mode<'static> {
    match request.mode {
        Mode::Swap => postgres::plan::Mode::Swap,
        Mode::InPlace => postgres::plan::Mode::InPlace,
    }
}

/// A restore of backup `id` of the job of `request` into the server of `job`; into a copy of `live`, where one is named.
pub(super) async fn in_postgres<'a>(
    request: &'a Request<'_>,
    job: &'a Job,
    id: &'a str,
    live: Option<&'a str>,
    mode: postgres::plan::Mode<'a>,
    watch: postgres::watch::Watch,
    cancel: CancellationToken,
) -> Result<postgres::run::Prepared<'a>> {
    postgres::run::Prepared::new(postgres::run::Request {
        origin: postgres::origin::Origin::Backup {
            job: request.job,
            id,
            from_other: FromOther::Any,
        },
        job,
        mode,
        copy_of: live,
        options: RestoreOptions::default(),
        create_roles: false,
        back: false,
        safety: true,
        force: false,
        from_other: FromOther::Any,
        wait: WAIT,
        tolerance: Tolerance::default(),
        accept_missing: false,
        jobs: None,
        clock: Clock::system(),
        watch,
        cancel,
    })
    .await
}

/// A restore of backup `id` of the job of `request` into a file.
pub(super) async fn in_sqlite<'a>(
    request: &'a Request<'_>,
    job: &'a Job,
    id: String,
    mode: sqlite::plan::Mode,
    watch: sqlite::watch::Watch,
    cancel: CancellationToken,
) -> Result<sqlite::run::Prepared<'a>> {
    let SourceConfig::Sqlite(location) = &job.source else {
        anyhow::bail!("the job is not one of SQLite");
    };
    sqlite::run::Prepared::new(sqlite::run::Request {
        origin: sqlite::origin::Origin::Backup {
            job: request.job,
            id,
            from_other: FromOther::Any,
        },
        job,
        location,
        mode,
        tables: Vec::new(),
        back: false,
        safety: true,
        wait: LOCKS,
        turn: WAIT,
        clock: Clock::system(),
        watch,
        cancel,
    })
    .await
}
