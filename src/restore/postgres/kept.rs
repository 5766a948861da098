//! Databases that a restore or an undo replaced: listed, and removed when they have served.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::lock;
use super::marker::{self, Marked, Marker, State};
use super::recover::{self, Leftover, drop_database};
use super::target::Target;
use crate::engine::postgres::connect::Dsn;
use crate::error::Result;
use crate::job::Job;
use crate::manifest::BackupId;
use crate::shelf::Stock;

/// A replaced database, as `list` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// Its name now.
    pub name: String,
    /// The live name that it had.
    pub of: String,
    /// When it was replaced.
    pub since: DateTime<Utc>,
    /// Its size in bytes, where the role may ask for it.
    pub bytes: Option<i64>,
    /// The backup that replaced it.
    pub replaced_by: Option<BackupId>,
    /// The safety snapshot that holds the same; without one it may be the only copy.
    pub safety: Option<BackupId>,
}

impl From<Marked> for Kept {
    fn from(marked: Marked) -> Self {
        let Marker {
            of, at, backup, safety, ..
        } = marked.marker;
        Kept {
            name: marked.name,
            of,
            since: at,
            bytes: marked.size,
            replaced_by: backup,
            safety,
        }
    }
}

/// The databases that were `database` once, the newest first.
///
/// # Errors
/// The server cannot be reached.
pub async fn list(target: &Target, database: &str) -> Result<Vec<Kept>> {
    let client = target.outside(database).await?;
    let mut found = marker::list(&client, database).await?;
    found.retain(|marked| marked.marker.state == State::Kept);
    Ok(found.into_iter().map(Kept::from).collect())
}

/// What the restores of a job have on its server.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Remains {
    /// Replaced databases, the newest first.
    pub kept: Vec<Kept>,
    /// What killed restores had left.
    pub leftovers: Vec<Leftover>,
}

/// How long a server may take to answer that is only asked on the side.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks what the restores of `job` have on its server, and cleans up behind killed ones.
///
/// # Errors
/// The server cannot be reached soon.
pub async fn look(job: &Job) -> Result<Remains> {
    let dsn = job.for_restores().source.dsn()?;
    let database = dsn.database.clone();
    let target = Target::new(Dsn {
        connect_timeout: Some(dsn.connect_timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE))),
        ..dsn
    });
    Ok(Remains {
        leftovers: recover::tidy(&target, &database).await?,
        kept: list(&target, &database).await?,
    })
}

/// What the daemon does on the side: cleans up behind killed restores, and drops what has served where the job
/// prunes. Nothing depends on it, so it only logs.
pub async fn tend(job: &Job, now: DateTime<Utc>) {
    let tended = async {
        for leftover in look(job).await?.leftovers {
            tracing::warn!(job = job.name, "{leftover}");
        }
        if job.prune {
            for kept in prune(job, &Stock::read(job).await?, now, false).await? {
                tracing::info!(job = job.name, "replaced database {} dropped", kept.name);
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    if let Err(error) = tended.await {
        tracing::info!(job = job.name, "not looked after what restores left: {error:#}");
    }
}

/// Drops the databases of `job` that have served, or with `dry_run` only says which.
///
/// # Errors
/// The server cannot be reached or refuses.
pub async fn prune(job: &Job, stock: &Stock, now: DateTime<Utc>, dry_run: bool) -> Result<Vec<Kept>> {
    let dsn = job.for_restores().source.dsn()?;
    let database = dsn.database.clone();
    let exists = |id| stock.has(id);
    let target = Target::new(dsn);
    if dry_run {
        let kept = list(&target, &database).await?;
        return Ok(expired(&kept, job.keep_replaced, now, exists).cloned().collect());
    }
    expire(&target, &database, job.keep_replaced, now, exists).await
}

/// Which of `kept` have served at `now`: older than `keep`, and not the only copy of what they hold, because
/// the safety snapshot is among the backups that exist.
pub fn expired<'a>(
    kept: &'a [Kept],
    keep: TimeDelta,
    now: DateTime<Utc>,
    exists: impl Fn(BackupId) -> bool + 'a,
) -> impl Iterator<Item = &'a Kept> {
    kept.iter()
        .filter(move |kept| now - kept.since > keep && kept.safety.is_some_and(&exists))
}

/// Drops the databases that have served, unless a restore or undo is under way; says which. What the server refuses to drop,
/// because a subscription or a slot is in it, stays with a warning.
///
/// # Errors
/// The server cannot be reached.
pub async fn expire(
    target: &Target,
    database: &str,
    keep: TimeDelta,
    now: DateTime<Utc>,
    exists: impl Fn(BackupId) -> bool,
) -> Result<Vec<Kept>> {
    let Some(_lock) = lock::try_take(target.outside(database).await?, database).await? else {
        return Ok(Vec::new());
    };
    let client = target.outside(database).await?;
    // Asked again under the lock: an undo may just have made one of them live.
    let kept = list(target, database).await?;
    let mut gone = Vec::new();
    for kept in expired(&kept, keep, now, exists) {
        // One that cannot be dropped keeps no other.
        match drop_database(&client, &kept.name).await {
            Ok(()) => gone.push(kept.clone()),
            Err(error) => tracing::warn!("replaced database {} stays: {error:#}", kept.name),
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, since: &str, safety: Option<&str>) -> Kept {
        Kept {
            name: name.to_owned(),
            of: "app".to_owned(),
            since: since.parse().unwrap(),
            bytes: None,
            replaced_by: None,
            safety: safety.map(|id| id.parse().unwrap()),
        }
    }

    #[test]
    fn only_what_is_old_and_elsewhere_too_expires() {
        let all = [
            kept("young", "2026-11-19T00:00:00Z", Some("20261119T000000Z")),
            kept("old", "2026-11-01T00:00:00Z", Some("20261101T000000Z")),
            kept("pruned", "2026-11-01T00:00:00Z", Some("20261031T000000Z")),
            kept("only copy", "2026-11-01T00:00:00Z", None),
        ];
        let exists = |id: BackupId| id.to_string() != "20261031T000000Z";
        let now = "2026-11-20T00:00:00Z".parse().unwrap();
        let names: Vec<_> = expired(&all, TimeDelta::days(7), now, exists)
            .map(|kept| kept.name.as_str())
            .collect();
        assert_eq!(names, ["old"]);
    }
}
