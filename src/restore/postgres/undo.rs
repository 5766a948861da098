//! The database that a restore replaced is live again; what was live is kept in its stead, so that an undo
//! can be undone.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::Client;

use super::in_place::commit;
use super::live::Live;
use super::swap::{self, Aside, Comment, Swap};
use super::watch::{Step, Watch};
use crate::engine::postgres::connect::connect;
use crate::engine::postgres::identity;
use crate::engine::postgres::marker::{self, Marked, Marker, State};
use crate::engine::postgres::target::Target;
use crate::engine::postgres::{recover, restore_lock};
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, Summary};
use crate::replaced::Kept;
use crate::shelf::Stock;

/// How an undo went.
#[derive(Clone, Debug, Serialize)]
pub struct Undone {
    /// The database that is live again.
    pub database: String,
    /// The name it was kept under.
    pub was: String,
    /// The name that what was live has now; `None` when nothing was.
    pub kept: Option<String>,
    /// How long no new session was let in, in milliseconds.
    pub away_ms: u64,
    /// How many sessions were ended.
    pub ended: usize,
}

/// How the last restore of a database is taken back.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The database that it replaced is live again.
    Swap(Kept),
    /// It was made in place, and its safety snapshot is restored in place.
    InPlace(BackupId),
}

/// How an undo of `database` goes: by the kept database called `name`, or else by what the last restore left, be it a
/// kept database or a safety snapshot. A restore in place that was not committed never happened.
///
/// # Errors
/// [`Exit::NotFound`]: there is nothing to take back. [`Exit::Busy`]: a restore in place is under way.
pub async fn way(target: &Target, job: &Job, database: &str, name: Option<&str>) -> Result<Way> {
    let kept = async {
        find(&target.outside(database).await?, database, name)
            .await
            .map(Kept::from)
    };
    let kept = kept.await;
    if name.is_some() {
        return kept.map(Way::Swap);
    }
    let since = kept.as_ref().ok().map(|kept| kept.since);
    match in_place(target, job, database, since).await? {
        Some(safety) => Ok(Way::InPlace(safety)),
        None => kept.map(Way::Swap),
    }
}

/// The safety snapshot of the last restore in place that was committed after `since`. Stores that cannot be read, and a
/// database that cannot be entered, say nothing.
async fn in_place(
    target: &Target,
    job: &Job,
    database: &str,
    since: Option<DateTime<Utc>>,
) -> Result<Option<BackupId>> {
    let dsn = target.dsn(database);
    let (Ok(summaries), Ok(session)) = (summaries(job, since).await, connect(&dsn).await) else {
        return Ok(None);
    };
    let here = identity::read(&session).await?;
    let mut taken: Vec<(BackupId, u64)> = summaries
        .iter()
        .filter(|it| it.source.same_database(&here) && since.is_none_or(|since| it.started > since))
        .filter_map(|it| Some((it.id, it.in_place.as_ref()?.transaction)))
        .collect();
    taken.sort_unstable_by_key(|(id, _)| Reverse(*id));
    taken.dedup();
    for (id, transaction) in taken {
        let status = commit::status(session.client(), transaction).await.ok().flatten();
        match status.as_deref() {
            Some("committed") => return Ok(Some(id)),
            Some("aborted") => {}
            Some(_) => {
                let message = format!("a restore in place of {database:?} is under way");
                return Err(Fail::new(Exit::Busy, message).hint("wait until it has ended").into());
            }
            None => return Err(forgotten(job, database, id)),
        }
    }
    Ok(None)
}

/// What the manifests of all backups say, or of those that were taken since a time.
async fn summaries(job: &Job, since: Option<DateTime<Utc>>) -> Result<Vec<Summary>> {
    let Some(since) = since else {
        let inventories = Stock::read(job).await?.shelves.into_iter();
        let backups = inventories.flat_map(|(_, inventory)| inventory.backups);
        return Ok(backups.map(|backup| backup.summary).collect());
    };
    let stock = Stock::names(job).await?;
    let mut summaries = Vec::new();
    for id in stock.ids().into_iter().take_while(|id| *id >= BackupId::at(since)) {
        summaries.extend(stock.summary(id).await?);
    }
    Ok(summaries)
}

fn forgotten(job: &Job, database: &str, id: BackupId) -> anyhow::Error {
    let message = format!(
        "whether {database:?} was restored in place after the backup {id} is not known: the server has forgotten how the \
         transaction ended"
    );
    let hint = format!(
        "if it was, `snapback restore {} {id} --mode in-place` takes it back; if not, `snapback undo --kept NAME` takes \
         back what `snapback list` shows as kept",
        job.name
    );
    Fail::new(Exit::NotFound, message).hint(hint).into()
}

async fn find(client: &Client, database: &str, name: Option<&str>) -> Result<Marked> {
    let kept = marker::list(client, database).await?;
    kept.into_iter()
        .find(|marked| marked.marker.state == State::Kept && name.is_none_or(|name| marked.name == name))
        .ok_or_else(|| {
            let what = name.map_or_else(|| "no database".to_owned(), |name| format!("no database {name:?}"));
            Fail::new(
                Exit::NotFound,
                format!("{what} is kept that a restore of {database:?} replaced"),
            )
            .hint("`snapback list` shows the kept databases; `snapback restore` brings back a backup")
            .into()
        })
}

/// Makes the kept database `name` live again under `database`.
///
/// # Errors
/// There is none such, or the live database cannot be had for the swap; then nothing has changed.
pub async fn undo(target: &Target, database: &str, name: &str, now: DateTime<Utc>, watch: &Watch) -> Result<Undone> {
    let client = target.outside(database).await?;
    let _lock = restore_lock::take(target.outside(database).await?, database).await?;
    watch.step(Step::Recover).await;
    for leftover in recover::clean(target, &client, database).await? {
        watch.warn(leftover.to_string());
    }
    let kept = find(&client, database, Some(name)).await?;
    let live = Live::read(&client, database).await?;
    let marker = Marker {
        snapback: marker::VERSION,
        state: State::Kept,
        of: database.to_owned(),
        at: now,
        job: kept.marker.job.clone(),
        // What was live came from the backup that is undone, and may have changed since.
        backup: None,
        safety: None,
        comment: live.as_ref().and_then(|live| live.comment.clone()),
    };
    let taken = super::live::names(&client).await?;
    let aside = marker::name(database, "before", now, |name| taken.contains(name));
    let swapped = swap::swap(
        target,
        &Swap {
            live: database,
            incoming: &kept.name,
            comment: Comment::of(database, kept.marker.comment.as_deref()),
            aside: live.as_ref().map(|live| Aside {
                oid: live.oid,
                name: &aside,
                marker: &marker,
            }),
        },
        watch,
    )
    .await?;
    watch.step(Step::Done).await;
    Ok(Undone {
        database: database.to_owned(),
        was: kept.name,
        kept: live.map(|_| aside),
        away_ms: swapped.away.as_millis().try_into().unwrap_or(u64::MAX),
        ended: swapped.ended,
    })
}
