//! What there is to know of the jobs: their stores are listed, and only what is new in them is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::judge::{Found, judge};
use super::servers::servers;
use super::{FORMAT, JobStatus, SHOWN_DAYS, Status, sentence};
use crate::error::Result;
use crate::job::{Job, KnownDatabases, ServerJobs};
use crate::replaced::{self, Kept};
use crate::shelf::{Inventory, Shelf, Stock};
use crate::watch::history::{History, Query, Run};

/// How many jobs are looked at at once.
const AT_ONCE: usize = 16;

/// How long a store may take to list what a job has, and a server to answer: one that is away must not hide the others, and whoever
/// collects metrics waits for ten seconds.
const PATIENCE: Duration = Duration::from_secs(7);

/// What is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What is remembered, if anything is.
    pub history: Option<&'a History>,
    /// The time.
    pub now: DateTime<Utc>,
    /// Whether servers are asked for the databases that restores have replaced: that takes connections.
    pub servers: bool,
    /// The sections for whole servers that it is about, with what is known of their databases.
    pub sections: &'a [(ServerJobs, KnownDatabases)],
}

/// Stores and servers that did not answer in this look: who comes next does not wait for them again.
#[derive(Default)]
struct Silent(Mutex<BTreeSet<String>>);

impl Silent {
    /// What `place` answers, where it does so soon.
    async fn ask<T>(&self, place: String, asking: impl Future<Output = Result<T>>) -> Result<T> {
        let silent = || anyhow::anyhow!("it has not answered for {} s", PATIENCE.as_secs());
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&place) {
            return Err(silent());
        }
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
            known().insert(place);
            Err(silent())
        })
    }
}

/// The status of `jobs`.
pub async fn status(jobs: &[&Job], asked: Asked<'_>) -> Status {
    let silent = Silent::default();
    let looking: Vec<_> = jobs.iter().map(|job| look(job, asked, &silent).boxed()).collect();
    let mut jobs: Vec<JobStatus> = stream::iter(looking).buffer_unordered(AT_ONCE).collect().await;
    jobs.sort_by(|one, other| one.job.cmp(&other.job));
    let servers = servers(asked.sections, &jobs);
    Status {
        format: FORMAT,
        at: asked.now,
        sentence: sentence(&jobs, &servers, asked.now),
        fresh: jobs.iter().all(|job| job.fresh) && servers.iter().all(|server| server.error.is_none()),
        jobs,
        servers,
    }
}

async fn look(job: &Job, asked: Asked<'_>, silent: &Silent) -> JobStatus {
    let times = Mutex::new(BTreeMap::new());
    let read = async {
        let read = |shelf: Shelf| {
            let times = &times;
            async move {
                let begun = Instant::now();
                let read = read(&shelf, asked.history, silent).await;
                let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                times.insert(shelf.place().to_owned(), begun.elapsed().as_secs_f64());
                read
            }
        };
        Stock::read_by(job, read).await
    };
    let kept = async {
        match asked.servers && job.source.engine().is_postgres() {
            true => {
                let asking = async {
                    let _connections = job.may_ask().await;
                    replaced::kept(job).await
                };
                let server = format!("{:?}", job.for_restores().source.identity().places);
                silent.ask(server, asking).await.ok()
            }
            false => None,
        }
    };
    let (stock, kept): (Result<Stock>, Option<Vec<Kept>>) = futures_util::join!(read, kept);
    let found = Found {
        stock,
        kept,
        runs: runs(job, asked),
        times: times.into_inner().unwrap_or_else(PoisonError::into_inner),
    };
    judge(job, found, asked.now)
}

/// Reads a shelf, and of what never changes only what is new.
async fn read(shelf: &Shelf, history: Option<&History>, silent: &Silent) -> Result<Inventory> {
    let names = shelf.told(silent.ask(shelf.store().to_string(), shelf.names()).await)?;
    // Without a memory everything is read.
    let known = history.and_then(|history| history.known(shelf, &names).ok());
    let inventory = shelf.inventory_of(&names, known.unwrap_or_default()).await?;
    if let Some(history) = history
        && let Err(error) = history.remember(shelf, &names, &inventory)
    {
        tracing::debug!("what {shelf} has is not remembered: {error:#}");
    }
    Ok(inventory)
}

/// The runs that the strip needs, and those that go on.
fn runs(job: &Job, asked: Asked<'_>) -> Vec<Run> {
    let query = Query {
        job: Some(&job.name),
        since: Some(asked.now - TimeDelta::days(SHOWN_DAYS as i64 + 1)),
        ..Query::default()
    };
    let runs = asked.history.map(|history| history.runs(&query));
    match runs.transpose() {
        Ok(runs) => runs.unwrap_or_default(),
        Err(error) => {
            tracing::debug!("the history cannot be read: {error:#}");
            Vec::new()
        }
    }
}
