//! Databases that a restore or an undo replaced: listed, and removed when they have served.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, Serializer};

use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::marker::{self, Marked, Marker, State};
use crate::engine::postgres::recover::{self, Leftover, drop_database};
use crate::engine::postgres::restore_lock;
use crate::engine::postgres::target::Target;
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
    let (target, database) = patient(job)?;
    Ok(Remains {
        leftovers: recover::tidy(&target, &database).await?,
        kept: list(&target, &database).await?,
    })
}

/// Cleans up behind killed drills of `job` on the server of `drill_url`; on the job's own [`look`] does it.
///
/// # Errors
/// The server cannot be reached soon.
pub async fn tidy_drills(job: &Job) -> Result<Vec<Leftover>> {
    let Some(source) = &job.drill.source else {
        return Ok(Vec::new());
    };
    let database = job.for_restores().source.dsn()?.database;
    recover::tidy(&patient_target(source.dsn()?), &database).await
}

/// The databases that restores of `job` replaced, the newest first.
///
/// # Errors
/// The server cannot be reached soon.
pub async fn kept(job: &Job) -> Result<Vec<Kept>> {
    let (target, database) = patient(job)?;
    list(&target, &database).await
}

/// The server of `job`, which is not waited for long, and the live name.
fn patient(job: &Job) -> Result<(Target, String)> {
    let dsn = job.for_restores().source.dsn()?;
    let database = dsn.database.clone();
    Ok((patient_target(dsn), database))
}

fn patient_target(dsn: Dsn) -> Target {
    Target::new(Dsn {
        connect_timeout: Some(dsn.connect_timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE))),
        ..dsn
    })
}

/// What the daemon does on the side: cleans up behind killed restores, and drops what has served where the job
/// prunes. Nothing depends on it, so it only logs.
pub async fn maintain(job: &Job, now: DateTime<Utc>) {
    let maintained = async {
        for leftover in look(job).await?.leftovers {
            tracing::warn!(job = job.name, "{leftover}");
        }
        if job.prune {
            prune(job, now, Wishes::default()).await?.log(&job.name);
        }
        Ok::<_, anyhow::Error>(())
    };
    if let Err(error) = maintained.await {
        tracing::info!(
            job = job.name,
            "what restores have left on the server was not looked after: {error:#}"
        );
    }
}

/// How replaced databases are pruned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Nothing is dropped: it is only said what would be.
    pub dry_run: bool,
    /// Also those that have served and may be the only copy of what they hold.
    pub only_copies: bool,
}

/// Why a replaced database stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has not served yet: until then, by `keep_replaced`.
    Until(DateTime<Utc>),
    /// No store has its safety snapshot.
    OnlyCopy,
    /// A restore or an undo is under way.
    Busy,
    /// The server does not drop it.
    Refused(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Until(time) => write!(f, "until {} (keep_replaced)", time.format("%Y-%m-%d %H:%M UTC")),
            Why::OnlyCopy => f.write_str(
                "no store has a safety snapshot of it, so it may be the only copy; `snapback prune --drop-only-copies` drops it",
            ),
            Why::Busy => f.write_str("a restore or an undo is under way"),
            Why::Refused(reason) => f.write_str(reason),
        }
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A replaced database that stays.
#[derive(Clone, Debug, Serialize)]
pub struct Staying {
    /// The database.
    #[serde(flatten)]
    pub kept: Kept,
    /// Why it stays.
    pub stays: Why,
}

impl fmt::Display for Staying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Staying { kept, stays } = self;
        match kept.bytes.and_then(|bytes| u64::try_from(bytes).ok()) {
            Some(bytes) => write!(
                f,
                "replaced database {} ({}) stays: {stays}",
                kept.name,
                indicatif::HumanBytes(bytes)
            ),
            None => write!(f, "replaced database {} stays: {stays}", kept.name),
        }
    }
}

/// What became of the databases that restores replaced.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Databases {
    /// Those that have served, and are gone.
    pub dropped: Vec<Kept>,
    /// Those that stay.
    pub kept: Vec<Staying>,
}

impl Databases {
    /// The safety snapshots of those that stay: they are kept as long.
    pub fn snapshots(&self) -> impl Iterator<Item = BackupId> {
        self.kept.iter().filter_map(|staying| staying.kept.safety)
    }

    /// Says in the log what is gone, and what stays for another reason than its age.
    pub fn log(&self, job: &str) {
        for kept in &self.dropped {
            tracing::info!(job, "replaced database {} dropped", kept.name);
        }
        for staying in self
            .kept
            .iter()
            .filter(|staying| !matches!(staying.stays, Why::Until(_)))
        {
            tracing::info!(job, "{staying}");
        }
    }
}

/// Drops the databases that restores of `job` replaced and that have served: older than `keep_replaced`, and not the only
/// copy of what they hold.
///
/// # Errors
/// The server or all stores cannot be reached.
pub async fn prune(job: &Job, now: DateTime<Utc>, wishes: Wishes) -> Result<Databases> {
    let (target, database) = patient(job)?;
    let found = judge(job, list(&target, &database).await?, now, wishes).await?;
    if wishes.dry_run || found.dropped.is_empty() {
        return Ok(found);
    }
    let Some(_lock) = restore_lock::try_take(target.outside(&database).await?, &database).await? else {
        return Ok(found.staying(|_| Why::Busy));
    };
    let client = target.outside(&database).await?;
    // Asked again under the lock: an undo may just have made one of them live.
    let mut found = judge(job, list(&target, &database).await?, now, wishes).await?;
    for kept in std::mem::take(&mut found.dropped) {
        // One that cannot be dropped keeps no other.
        match drop_database(&client, &kept.name).await {
            Ok(()) => found.dropped.push(kept),
            Err(error) => found.kept.push(Staying {
                kept,
                stays: Why::Refused(format!("{error:#}")),
            }),
        }
    }
    Ok(found)
}

impl Databases {
    /// The same, where those that would go stay as well.
    fn staying(mut self, why: impl Fn(&Kept) -> Why) -> Databases {
        let stays = self.dropped.drain(..).map(|kept| Staying {
            stays: why(&kept),
            kept,
        });
        let stays: Vec<Staying> = stays.collect();
        self.kept.extend(stays);
        self
    }
}

/// Which of `kept` go. To know that of old ones, the stores are asked for their safety snapshots.
async fn judge(job: &Job, kept: Vec<Kept>, now: DateTime<Utc>, wishes: Wishes) -> Result<Databases> {
    let old = kept.iter().filter(|kept| now - kept.since > job.keep_replaced);
    let wanted: BTreeSet<BackupId> = old.filter_map(|kept| kept.safety).collect();
    let mut there = BTreeSet::new();
    if !wanted.is_empty() {
        let stock = Stock::names(job).await?;
        for id in wanted {
            if stock.has(id).await? {
                there.insert(id);
            }
        }
    }
    let mut found = Databases::default();
    for kept in kept {
        match stays(&kept, job.keep_replaced, now, |id| there.contains(&id)) {
            None => found.dropped.push(kept),
            Some(Why::OnlyCopy) if wishes.only_copies => found.dropped.push(kept),
            Some(stays) => found.kept.push(Staying { kept, stays }),
        }
    }
    Ok(found)
}

/// Why `kept` stays at `now`: it is not older than `keep`, or it is the only copy of what it holds, because the safety
/// snapshot is not among the backups that exist.
pub fn stays(kept: &Kept, keep: TimeDelta, now: DateTime<Utc>, exists: impl Fn(BackupId) -> bool) -> Option<Why> {
    if now - kept.since <= keep {
        return Some(Why::Until(kept.since + keep));
    }
    (!kept.safety.is_some_and(exists)).then_some(Why::OnlyCopy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(since: &str, safety: Option<&str>) -> Kept {
        Kept {
            name: "app_before".to_owned(),
            of: "app".to_owned(),
            since: since.parse().unwrap(),
            bytes: Some(3 << 20),
            replaced_by: None,
            safety: safety.map(|id| id.parse().unwrap()),
        }
    }

    #[test]
    fn only_what_is_old_and_elsewhere_too_goes() {
        let exists = |id: BackupId| id.to_string() != "20261031T000000Z";
        let now = "2026-11-20T00:00:00Z".parse().unwrap();
        let young = Why::Until("2026-11-26T00:00:00Z".parse().unwrap());
        for (since, safety, why) in [
            ("2026-11-19T00:00:00Z", Some("20261119T000000Z"), Some(young)),
            ("2026-11-01T00:00:00Z", Some("20261101T000000Z"), None),
            ("2026-11-01T00:00:00Z", Some("20261031T000000Z"), Some(Why::OnlyCopy)),
            ("2026-11-01T00:00:00Z", None, Some(Why::OnlyCopy)),
        ] {
            assert_eq!(stays(&kept(since, safety), TimeDelta::days(7), now, exists), why);
        }
    }

    #[test]
    fn what_stays_is_told_with_its_size_and_the_reason() {
        let staying = Staying {
            kept: kept("2026-11-01T00:00:00Z", None),
            stays: Why::OnlyCopy,
        };
        let told = staying.to_string();
        assert!(told.contains("app_before (3.00 MiB) stays: "), "{told}");
        assert!(told.contains("--drop-only-copies"), "{told}");
    }
}
