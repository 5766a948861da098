//! The verdict on one job, of what was found: no I/O.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::days::days;
use super::{BackupStatus, CopyStatus, Good, JobStatus, LastFailure, StoreStatus};
use crate::error::Result;
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Identity, Kind, Source};
use crate::prune::foresee;
use crate::replaced::Kept;
use crate::retention::{Reason, Verdict};
use crate::schedule::Schedule;
use crate::shelf::{Backup, Inventory, Proven, Shelf, Stock, is_dead};
use crate::watch::history::{Outcome, Run, Verb};

/// How many of the last runs are shown.
const SHOWN_RUNS: usize = 100;

/// What is known of a job.
pub(super) struct Found {
    pub(super) stock: Result<Stock>,
    pub(super) kept: Option<Vec<Kept>>,
    /// Its runs, the newest first.
    pub(super) runs: Vec<Run>,
    /// How long each store took.
    pub(super) times: BTreeMap<String, f64>,
}

/// The status of `job` at `now`.
pub(super) fn judge(job: &Job, found: Found, now: DateTime<Utc>) -> JobStatus {
    let stock = found.stock.as_ref().ok();
    let next_run = job.schedule.as_ref().and_then(|schedule| schedule.next_after(now));
    let mut stores: Vec<StoreStatus> = Vec::new();
    let mut verdicts: BTreeMap<String, Vec<Verdict>> = BTreeMap::new();
    let kept = found
        .kept
        .as_ref()
        .map(|kept| kept.iter().filter_map(|kept| kept.safety).collect());
    let of_job = OfJob::new(job, stock);
    for destination in &job.destinations {
        let inventory = stock.and_then(|stock| of_store(stock, destination));
        let mut store = store(destination, inventory, &of_job);
        store.seconds = found.times.get(&destination.name).copied();
        store.error = match (&found.stock, inventory) {
            (_, Some(_)) => None,
            (Err(error), None) => Some(format!("{error:#}")),
            (Ok(stock), None) => {
                let mut away = stock.unreachable.iter();
                let why = away.find(|(shelf, _)| shelf.place() == destination.name);
                Some(why.map_or_else(|| "it was not read".to_owned(), |(_, error)| format!("{error:#}")))
            }
        };
        if let Some(foreseen) =
            inventory.and_then(|it| foresee(job, destination, it, kept.as_ref(), now, next_run).ok())
        {
            store.deletes_now = gone(&foreseen.now);
            store.deletes_next = match job.prune {
                true => foreseen.next,
                false => Vec::new(),
            };
            verdicts.insert(destination.name.clone(), foreseen.now);
        }
        stores.push(store);
    }
    let backups = stock
        .map(|stock| backups(stock, &of_job, &verdicts))
        .unwrap_or_default();
    let mut newest = stock.and_then(|stock| newest(stock, &of_job, now));
    if let Some(newest) = &mut newest {
        let restored = restored(newest, &found.runs);
        // A restore leaves a check too, whose name may have a later second where another had the same.
        let after = |check: &Proven, restored: &Proven| check.at > restored.at + TimeDelta::seconds(2);
        newest.proven = match (newest.proven.take(), restored) {
            (Some(check), Some(restored)) if after(&check, &restored) => Some(check),
            (check, restored) => restored.or(check),
        };
    }
    let interval = job.schedule.as_ref().and_then(|schedule| schedule.interval(now));
    let last = newest.as_ref().map_or(0.0, |newest| newest.seconds);
    let max_age = job
        .max_age
        .or_else(|| interval.map(|interval| interval * 2 + duration(last)));
    let young = |at: DateTime<Utc>| max_age.is_none_or(|max_age| now - at <= max_age);
    for store in &mut stores {
        store.fresh = store.newest.is_some_and(|id| young(id.time()));
    }
    let fresh = newest.as_ref().is_some_and(|newest| young(newest.at));
    let mut status = JobStatus {
        job: job.name.clone(),
        server: job.section.clone(),
        gone: job.gone,
        database: job.source.identity().to_string(),
        engine: job.source.engine(),
        fresh,
        why: None,
        max_age_seconds: max_age.map(TimeDelta::as_seconds_f64),
        max_age_is_set: job.max_age.is_some(),
        schedule: job.schedule.as_ref().map(|schedule| schedule.text().to_owned()),
        window: job
            .schedule
            .as_ref()
            .and_then(Schedule::window)
            .map(|window| window.to_string()),
        jitter_seconds: job
            .schedule
            .as_ref()
            .map_or(0.0, |schedule| schedule.jitter().as_seconds_f64()),
        zone: job.zone.to_string(),
        interval_seconds: interval.map(TimeDelta::as_seconds_f64),
        next_run,
        stale_since: match (fresh, &newest, max_age) {
            (false, Some(newest), Some(max_age)) => Some(newest.at + max_age),
            _ => None,
        },
        newest,
        stores,
        backups,
        last_failure: last_failure(&found.runs, stock),
        running: running(&job.name, &found.runs, stock, now),
        days: days(&happened(&found.runs, stock), job.schedule.as_ref(), job.zone, now),
        outcomes: outcomes(&found.runs),
        runs: found.runs.into_iter().take(SHOWN_RUNS).collect(),
        kept: found.kept,
        problems: Vec::new(),
    };
    status.why = why(&status, max_age);
    status.problems = problems(&status, stock);
    status
}

/// What tells the backups of the job's database from those of others. Where the configuration fits none of them, as after a move
/// to another server, those of the database that was saved last are meant.
struct OfJob {
    identity: Identity,
    instead: Option<Source>,
}

impl OfJob {
    fn new(job: &Job, stock: Option<&Stock>) -> Self {
        let identity = job.source.identity();
        let backups = || {
            stock
                .into_iter()
                .flat_map(Stock::inventories)
                .flat_map(|it| &it.backups)
        };
        let regular = || backups().filter(|backup| is_regular(backup.summary.kind));
        let fits = regular().any(|backup| identity.difference(&backup.summary.source).is_none());
        let last = regular().max_by_key(|backup| backup.summary.id);
        OfJob {
            instead: last.filter(|_| !fits).map(|backup| backup.summary.source.clone()),
            identity,
        }
    }

    fn is(&self, source: &Source) -> bool {
        match &self.instead {
            Some(instead) => instead.same_database(source),
            None => self.identity.difference(source).is_none(),
        }
    }

    /// Whether `backup` makes the job fresh.
    fn counts(&self, backup: &Backup) -> bool {
        backup.is_good() && is_regular(backup.summary.kind) && self.is(&backup.summary.source)
    }
}

/// A safety snapshot is of what a restore replaced, so it says nothing of the database that is live.
fn is_regular(kind: Kind) -> bool {
    kind != Kind::Safety
}

fn duration(seconds: f64) -> TimeDelta {
    #[allow(clippy::cast_possible_truncation)] // whole milliseconds are wanted
    TimeDelta::milliseconds((seconds * 1000.0) as i64)
}

fn of_store<'a>(stock: &'a Stock, destination: &Destination) -> Option<&'a Inventory> {
    let mut shelves = stock.shelves.iter();
    let found = shelves.find(|(shelf, _)| shelf.is_current() && shelf.place() == destination.name);
    found.map(|(_, inventory)| inventory)
}

fn store(destination: &Destination, inventory: Option<&Inventory>, of_job: &OfJob) -> StoreStatus {
    let backups = inventory.map_or(&[] as &[Backup], |inventory| &inventory.backups);
    let newest = backups.iter().find(|backup| of_job.counts(backup));
    StoreStatus {
        store: destination.name.clone(),
        at: destination.store.to_string(),
        error: None,
        seconds: None,
        room: destination.store.room(),
        backups: backups.len() as u64,
        restorable: backups.iter().filter(|backup| backup.is_good()).count() as u64,
        bytes: backups.iter().map(|backup| backup.summary.archive.bytes).sum(),
        newest: newest.map(|backup| backup.summary.id),
        fresh: false,
        proven: newest.and_then(Backup::shown),
        deletes_now: Vec::new(),
        deletes_next: Vec::new(),
    }
}

/// The newest proof of a copy that is good.
fn proof<'a>(copies: impl Iterator<Item = (&'a Shelf, &'a Backup)>) -> Option<Proven> {
    let good = copies.filter(|(_, backup)| backup.is_good());
    good.filter_map(|(_, backup)| backup.shown())
        .max_by_key(|proven| proven.at)
}

fn newest(stock: &Stock, of_job: &OfJob, now: DateTime<Utc>) -> Option<Good> {
    let is_it = |id: &BackupId| stock.copies(*id).any(|(_, backup)| of_job.counts(backup));
    let id = stock.ids().into_iter().find(is_it)?;
    let good = || stock.copies(id).filter(|(_, backup)| of_job.counts(backup));
    let summary = &good().next()?.1.summary;
    Some(Good {
        id,
        kind: summary.kind,
        at: id.time(),
        age_seconds: (now - id.time()).as_seconds_f64(),
        seconds: summary.seconds(),
        bytes: summary.archive.bytes,
        tables: summary.table_count(),
        rows: summary.rows(),
        proven: proof(good()),
        stores: good().map(|(shelf, _)| shelf.place().to_owned()).collect(),
    })
}

/// The last restore of all of the backup, whose proof compared each table and row with what the manifest says.
fn restored(newest: &Good, runs: &[Run]) -> Option<Proven> {
    let is_it = |run: &&Run| {
        let facts = &run.facts;
        run.verb == Verb::Restore
            && run.outcome == Outcome::Ok
            && facts.backup == Some(newest.id)
            && (facts.tables, facts.rows) == (Some(newest.tables), Some(newest.rows))
    };
    let run = runs.iter().find(is_it)?;
    Some(Proven {
        how: Verb::Restore.name().to_owned(),
        at: run.ended?,
    })
}

fn backups(stock: &Stock, of_job: &OfJob, verdicts: &BTreeMap<String, Vec<Verdict>>) -> Vec<BackupStatus> {
    let backup = |id: BackupId| {
        let copies: Vec<(&Shelf, &Backup)> = stock.copies(id).collect();
        let summary = &copies.first()?.1.summary;
        let reasons = |store: &str| -> Vec<Reason> {
            let verdict = verdicts
                .get(store)
                .and_then(|all| all.iter().find(|verdict| verdict.id == id));
            verdict.map(|verdict| verdict.reasons.clone()).unwrap_or_default()
        };
        let copy = |(shelf, backup): &(&Shelf, &Backup)| CopyStatus {
            store: shelf.place().to_owned(),
            good: backup.is_good(),
            reasons: reasons(shelf.place()),
        };
        Some(BackupStatus {
            id,
            kind: summary.kind,
            label: summary.label.clone(),
            good: copies.iter().any(|(_, backup)| backup.is_good()),
            of_job: of_job.is(&summary.source),
            pinned: copies.iter().any(|(_, backup)| backup.pin.is_some()),
            seconds: summary.seconds(),
            bytes: summary.archive.bytes,
            rows: summary.rows(),
            proven: proof(copies.iter().copied()),
            copies: copies.iter().map(copy).collect(),
        })
    };
    stock.ids().into_iter().filter_map(backup).collect()
}

fn gone(verdicts: &[Verdict]) -> Vec<BackupId> {
    let going = verdicts.iter().filter(|verdict| !verdict.keep);
    going.map(|verdict| verdict.id).collect()
}

/// When runs were that took a backup or failed to, by the history, and by what other machines have left in the stores.
fn happened(runs: &[Run], stock: Option<&Stock>) -> Vec<(DateTime<Utc>, bool)> {
    let mut all: BTreeMap<DateTime<Utc>, bool> = BTreeMap::new();
    for inventory in stock.into_iter().flat_map(Stock::inventories) {
        for failure in &inventory.failures {
            all.insert(failure.id.time(), false);
        }
        for backup in inventory
            .backups
            .iter()
            .filter(|backup| is_regular(backup.summary.kind))
        {
            all.insert(backup.summary.id.time(), true);
        }
    }
    let known: BTreeSet<DateTime<Utc>> = all.keys().copied().collect();
    for run in runs.iter().filter(|run| run.verb == Verb::Backup) {
        let good = match run.outcome {
            Outcome::Ok | Outcome::Incomplete => true,
            Outcome::Failed | Outcome::Killed => false,
            Outcome::Running | Outcome::Skipped | Outcome::Interrupted => continue,
        };
        // A run that the stores tell of too has left its id, which is the second in which it began.
        let id = run
            .facts
            .backup
            .map_or_else(|| BackupId::at(run.started).time(), |id| id.time());
        if !known.contains(&id) {
            all.insert(run.started, good);
        }
    }
    all.into_iter().collect()
}

/// The newest failure that the history or a store knows.
fn last_failure(runs: &[Run], stock: Option<&Stock>) -> Option<LastFailure> {
    let failed = runs
        .iter()
        .find(|run| matches!(run.outcome, Outcome::Failed | Outcome::Killed));
    let of_history = failed.map(|run| LastFailure {
        at: run.ended.unwrap_or(run.started),
        verb: run.verb.name().to_owned(),
        run: Some(run.run),
        error: run
            .facts
            .error
            .clone()
            .unwrap_or_else(|| "its process was killed".to_owned()),
        hint: run.facts.hint.clone(),
        over: runs
            .iter()
            .any(|other| other.verb == run.verb && other.started > run.started && is_good(other)),
    });
    let inventories = || stock.into_iter().flat_map(Stock::inventories);
    let failures = inventories().flat_map(|inventory| &inventory.failures);
    let of_store = failures.max_by_key(|failure| failure.id).map(|failure| LastFailure {
        at: failure.failed,
        verb: Verb::Backup.name().to_owned(),
        run: None,
        error: failure.error.clone(),
        hint: None,
        over: inventories().any(|it| it.backups.iter().any(|backup| backup.summary.id > failure.id)),
    });
    match (of_history, of_store) {
        // The record in a store has the time at which the run noticed, the history that at which it was written.
        (Some(history), Some(store)) if store.at > history.at + TimeDelta::seconds(30) => Some(store),
        (Some(history), Some(store)) => Some(LastFailure {
            over: history.over || (history.verb == store.verb && store.over),
            ..history
        }),
        (history, store) => history.or(store),
    }
}

fn outcomes(runs: &[Run]) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for run in runs
        .iter()
        .filter(|run| run.verb == Verb::Backup && run.outcome != Outcome::Running)
    {
        *outcomes.entry(run.outcome.name().to_owned()).or_default() += 1;
    }
    outcomes
}

fn is_good(run: &Run) -> bool {
    matches!(run.outcome, Outcome::Ok | Outcome::Incomplete)
}

/// What goes on: by the history of this machine, and by the claims of other machines.
fn running(job: &str, runs: &[Run], stock: Option<&Stock>, now: DateTime<Utc>) -> Vec<Run> {
    let mut running: Vec<Run> = runs
        .iter()
        .filter(|run| run.outcome == Outcome::Running)
        .cloned()
        .collect();
    let inventories = stock.into_iter().flat_map(Stock::inventories);
    for claim in inventories.flat_map(|inventory| &inventory.claims) {
        let known = running.iter().any(|run| run.by == claim.by);
        // One that is older than a day is of a run that was killed on a machine that nobody can ask.
        if known || is_dead(&claim.by) || now - claim.started > TimeDelta::days(1) {
            continue;
        }
        running.push(Run {
            run: 0,
            job: job.to_owned(),
            verb: if claim.copied { Verb::Copy } else { Verb::Backup },
            outcome: Outcome::Running,
            started: claim.started,
            ended: None,
            seconds: None,
            by: claim.by.clone(),
            reached: None,
            facts: crate::watch::history::Facts::default(),
        });
    }
    running
}

/// Why a job is not fresh.
fn why(status: &JobStatus, max_age: Option<TimeDelta>) -> Option<String> {
    if status.fresh {
        return None;
    }
    let unread = status.stores.iter().filter(|store| store.error.is_some()).count();
    Some(match (&status.newest, max_age) {
        (None, _) if unread > 0 && unread == status.stores.len() => "no store can be read".to_owned(),
        (None, _) if status.backups.is_empty() => "there is no backup yet".to_owned(),
        (None, _) => "no backup of this database is good".to_owned(),
        (Some(newest), Some(max_age)) => format!(
            "the newest good backup is {} old, and may be {} old",
            span(newest.age_seconds),
            span(max_age.as_seconds_f64())
        ),
        (Some(_), None) => return None,
    })
}

/// A length of time for people, in its two largest units.
#[must_use]
pub fn span(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole seconds are wanted
    let seconds = seconds.max(0.0) as u64;
    let (d, h, m) = (seconds / 86_400, seconds % 86_400 / 3600, seconds % 3600 / 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, 0) => format!("{h} h"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, 0, _) => format!("{d} d"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

fn problems(status: &JobStatus, stock: Option<&Stock>) -> Vec<String> {
    let mut problems: Vec<String> = status.why.iter().cloned().collect();
    if status.gone {
        let gone = "the database is not on its server any more; its backups stay, and none is added";
        problems.push(gone.to_owned());
    }
    for store in &status.stores {
        match (&store.error, store.fresh) {
            (Some(error), _) => problems.push(format!("the store {} cannot be read: {error}", store.store)),
            (None, false) if status.fresh => problems.push(format!("the store {} has no fresh copy", store.store)),
            _ => {}
        }
    }
    for (shelf, inventory) in stock.into_iter().flat_map(|stock| &stock.shelves) {
        let damaged = inventory.backups.iter().filter(|backup| !backup.is_whole());
        for backup in damaged {
            problems.push(format!(
                "the backup {} in {} is damaged",
                backup.summary.id,
                shelf.place()
            ));
        }
        problems.extend(inventory.unreadable.iter().cloned());
    }
    if let Some(failure) = status.last_failure.as_ref().filter(|failure| !failure.over) {
        problems.push(format!("the last {} failed: {}", failure.verb, failure.error));
    }
    let last = status.runs.iter().find(|run| run.verb == Verb::Backup && is_good(run));
    problems.extend(last.into_iter().flat_map(|run| run.facts.collapsed.iter().cloned()));
    problems
}
