//! The database that a restore replaced is live again; what was live is kept in its stead, so that an undo
//! can be undone.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::Client;

use super::kept::Kept;
use super::live::Live;
use super::marker::{self, Marked, Marker, State};
use super::swap::{self, Aside, Swap};
use super::target::Target;
use super::watch::{Step, Watch};
use super::{lock, recover};
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::Kind;
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

/// The kept database that an undo of `database` makes live: the newest, or the one of that name.
///
/// # Errors
/// [`Exit::NotFound`]: there is none.
pub async fn choose(target: &Target, database: &str, name: Option<&str>) -> Result<Kept> {
    let client = target.outside(database).await?;
    find(&client, database, name).await.map(Kept::from)
}

/// What the label of the safety snapshot of a restore in place begins with.
pub const IN_PLACE: &str = "before the restore in place of";

/// Makes sure that the last restore of the job kept the database that it replaced: one in place keeps none, and the
/// newest that is `kept` is older then. Stores that cannot be read say nothing.
///
/// # Errors
/// [`Exit::NotFound`]: it was made in place.
pub async fn refuse_after_in_place(job: &Job, database: &str, kept: Option<&Kept>) -> Result<()> {
    let Ok(stock) = Stock::read(job).await else {
        return Ok(());
    };
    let backups = stock.inventories().flat_map(|inventory| &inventory.backups);
    let of_in_place = backups
        .map(|backup| &backup.manifest)
        .filter(|it| it.kind == Kind::Safety && it.label.as_ref().is_some_and(|label| label.starts_with(IN_PLACE)));
    let Some(newest) = of_in_place.map(|manifest| manifest.id).max() else {
        return Ok(());
    };
    let earlier = match kept {
        Some(kept) if kept.since >= newest.time() => return Ok(()),
        Some(kept) => format!("; --kept {} takes back what an earlier restore replaced", kept.name),
        None => String::new(),
    };
    let message = format!("the last restore of {database:?} was begun in place, and such a one keeps no database");
    let hint = format!(
        "its safety snapshot has what was there before: snapback restore {} {newest} --mode in-place{earlier}",
        job.name
    );
    Err(Fail::new(Exit::NotFound, message).hint(hint).into())
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
    let _lock = lock::take(target, database).await?;
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
            comment: kept.marker.comment.as_deref(),
            aside: live.as_ref().map(|live| Aside {
                oid: live.oid,
                name: &aside,
                marker: &marker,
            }),
            then: &[],
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
