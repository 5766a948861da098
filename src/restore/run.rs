//! The restore from end to end, as named steps. Everything is decided before anything is done; until the swap
//! the live database is not touched.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::create::{Archived, create};
use super::live::{self, Live};
use super::marker::{self, Marker, State};
use super::needs::Needs;
use super::plan::{Plan, Wishes};
use super::prove::{Proof, prove};
use super::survey::survey;
use super::swap::{Aside, Swap, swap};
use super::target::{Target, quoted, run};
use super::watch::{Event, Step, Watch};
use super::{analyse, lock, recover};
use crate::archive::options::RestoreOptions;
use crate::archive::reader::Reader;
use crate::archive::toc::DumpId;
use crate::backup;
use crate::clock::Clock;
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, Kind, Manifest};
use crate::postgres::load::{self, Load};
use crate::shelf::Shelf;
use crate::{store, stored};

/// What a person asks for.
pub struct Request<'a> {
    /// The job whose backup is restored.
    pub job: &'a Job,
    /// `latest` or an id.
    pub backup: &'a str,
    /// The name of a database that must not exist yet; `None` replaces the job's own.
    pub as_new: Option<&'a str>,
    /// Whether the live database is backed up first.
    pub safety: bool,
    /// Whether an older server is tried.
    pub force: bool,
    /// Connections of the load; `None` takes as many as the job's dumps.
    pub jobs: Option<usize>,
    /// The time.
    pub clock: Clock,
    /// Whom it tells what it does.
    pub watch: Watch,
    /// Cancels it, until the swap.
    pub cancel: CancellationToken,
}

/// A restore that is decided and not begun.
pub struct Prepared<'a> {
    request: Request<'a>,
    /// What will happen.
    pub plan: Plan,
    target: Target,
    database: String,
    manifest: Manifest,
    reader: Arc<Reader>,
    shelf: Shelf,
}

/// How a restore went.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The database that holds the backup now.
    pub database: String,
    /// The backup.
    pub backup: BackupId,
    /// The safety snapshot of what was replaced.
    pub safety: Option<BackupId>,
    /// Where what was replaced is kept.
    pub kept: Option<String>,
    /// How long no new session was let in, in milliseconds.
    pub away_ms: u64,
    /// How many sessions were ended.
    pub ended: usize,
    /// What was compared with the manifest.
    pub proof: Proof,
    /// How long it all took, in seconds.
    pub seconds: f64,
}

/// Globals files are small; a larger one is not read for the plan.
const GLOBALS_LIMIT: u64 = 16 << 20;

impl<'a> Prepared<'a> {
    /// Reads the backup and the server, and plans.
    ///
    /// # Errors
    /// There is no such backup, it cannot be read, or the server cannot be reached. What is in the way of the
    /// restore itself is in the plan.
    pub async fn new(request: Request<'a>) -> Result<Prepared<'a>> {
        let shelf = Shelf::of(request.job);
        let manifest = shelf.find(request.backup).await?;
        let path = shelf.file_path(&manifest.archive.name);
        let source = stored::source(Arc::clone(shelf.store()), &path).await?;
        let reader = Reader::from_source(source)
            .await
            .with_context(|| format!("reading {path} in {}", shelf.store()))?;
        let dsn = request.job.source.dsn()?;
        let database = request.as_new.unwrap_or(&dsn.database).to_owned();
        let target = Target::new(dsn);
        let needs = Needs::of(reader.entries());
        let client = target.outside(&database).await?;
        let survey = survey(&target, &client, &database, &needs).await?;
        let wishes = Wishes {
            swap: request.as_new.is_none(),
            safety: request.safety,
            force: request.force,
        };
        let globals = globals(&shelf, &manifest).await;
        let mut plan = Plan::new(
            &manifest,
            globals.as_deref(),
            &target.to_string(),
            &database,
            &survey,
            wishes,
        );
        plan.warnings.extend(partial(request.job));
        Ok(Prepared {
            request,
            plan,
            target,
            database,
            manifest,
            reader: Arc::new(reader),
            shelf,
        })
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// Whatever keeps the backup from being restored. Before the swap nothing has changed then, and the
    /// unfinished database is removed.
    pub async fn run(&self) -> Result<Outcome> {
        let begun = Instant::now();
        self.plan.check()?;
        let watch = &self.request.watch;
        let client = self.target.outside(&self.database).await?;
        // The session only holds the lock, for as long as the restore takes.
        run(&client, "SET idle_session_timeout = 0; SET statement_timeout = 0").await?;
        lock::take(&client, &self.database).await?;

        watch.step(Step::Recover).await;
        for leftover in recover::clean(&self.target, &client, &self.database).await? {
            watch.warn(leftover.to_string());
        }
        let live = Live::read(&client, &self.database).await?;
        if live.is_some() && self.request.as_new.is_some() {
            let message = format!("database {:?} was created meanwhile", self.database);
            return Err(Fail::new(Exit::Failure, message)
                .hint("choose another name with --as")
                .into());
        }
        let before = self.until(self.before(live.is_some())).await;
        let safety = before.context("nothing was changed")?;

        let now = self.request.clock.now();
        let taken = live::names(&client).await?;
        let marker = self.marker(State::Unfinished, now, safety, None);
        let incoming = marker::name(&self.database, "restoring", now, |name| taken.contains(name));
        let aside = marker::name(&self.database, "before", now, |name| taken.contains(name));
        let built = self.until(self.build(&client, live.as_ref(), &incoming, &marker)).await;
        let finished = match built {
            Ok(proof) => self
                .swap_in(live.as_ref(), &incoming, &aside, safety)
                .await
                .map(|swapped| (proof, swapped)),
            Err(error) => Err(error),
        };
        let (proof, swapped) = match finished {
            Ok(finished) => finished,
            Err(error) => return Err(self.give_up(&incoming, error).await),
        };
        watch.step(Step::Done).await;
        Ok(Outcome {
            database: self.database.clone(),
            backup: self.manifest.id,
            safety,
            kept: live.map(|_| aside),
            away_ms: u64::try_from(swapped.away.as_millis()).unwrap_or(u64::MAX),
            ended: swapped.ended,
            proof,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// Runs a part of the restore unless it is cancelled meanwhile.
    async fn until<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.request.cancel.cancelled() => Err(Fail::new(Exit::Interrupted, "the restore was cancelled").into()),
        }
    }

    /// What comes before anything is created: the archive is whole, and what is live is backed up.
    async fn before(&self, replaces: bool) -> Result<Option<BackupId>> {
        let watch = &self.request.watch;
        watch.step(Step::Check).await;
        // For as long as people may want to go back, no pruning takes what this restore is made of.
        let until = self.request.clock.now() + self.request.job.keep_replaced;
        self.shelf.hold(self.manifest.id, until).await?;
        self.shelf.check(&self.manifest.archive, &|_| ()).await?;
        if !replaces || self.request.as_new.is_some() {
            return Ok(None);
        }
        if !self.request.safety {
            tracing::warn!("restoring {:?} without a safety snapshot, as asked", self.database);
            return Ok(None);
        }
        watch.step(Step::Safety).await;
        let request = backup::Request {
            label: Some(format!("before the restore of {}", self.manifest.id)),
            protect: BTreeSet::from([self.manifest.id]),
            clock: self.request.clock.clone(),
            cancel: self.request.cancel.clone(),
            ..backup::Request::new(self.request.job, Kind::Safety)
        };
        let report = backup::run(&request).await.context("the safety snapshot failed")?;
        self.shelf.hold(report.manifest.id, until).await?;
        Ok(Some(report.manifest.id))
    }

    fn marker(
        &self,
        state: State,
        at: chrono::DateTime<chrono::Utc>,
        safety: Option<BackupId>,
        comment: Option<String>,
    ) -> Marker {
        Marker {
            snapback: marker::VERSION,
            state,
            of: self.database.clone(),
            at,
            job: self.request.job.name.clone(),
            backup: Some(self.manifest.id),
            safety,
            comment,
        }
    }

    /// Creates, loads, analyses and proves the new database.
    async fn build(&self, client: &Client, live: Option<&Live>, incoming: &str, marker: &Marker) -> Result<Proof> {
        let watch = &self.request.watch;
        watch.step(Step::Create).await;
        let live = live.filter(|_| self.request.as_new.is_none());
        create(client, incoming, live, self.reader.entries())
            .await
            .with_context(|| format!("creating the database {incoming:?}"))?;
        run(client, &marker.statement(&quoted(incoming))).await?;

        let weights = self.weights();
        watch.tell(Event::Total(weights.values().sum()));
        let dump = &self.request.job.dump;
        let jobs = self.request.jobs.unwrap_or(dump.jobs);
        let dsn = self.target.dsn(incoming);
        let load = Load::new(
            Arc::clone(&self.reader),
            RestoreOptions::default(),
            dsn.clone(),
            jobs,
            weights,
            Arc::new(Teller(watch.clone())),
        );
        watch.step(Step::PreData).await;
        load.definitions().await?;
        watch.step(Step::Data).await;
        load.rows().await?;
        watch.step(Step::Privileges).await;
        load.privileges().await?;
        watch.step(Step::Analyse).await;
        analyse::analyse(&self.target, incoming, jobs, watch).await?;
        watch.step(Step::Prove).await;
        let proof = prove(&dsn, &self.manifest, self.reader.entries(), dump).await?;
        watch.step(Step::Properties).await;
        if let Some(live) = live {
            live.apply(client, incoming, watch).await?;
        }
        Ok(proof)
    }

    /// Bytes of rows by entry, as the manifest has them.
    fn weights(&self) -> HashMap<DumpId, u64> {
        let tables: HashMap<_, _> = self
            .manifest
            .tables
            .iter()
            .map(|table| ((table.schema.as_str(), table.name.as_str()), table.bytes))
            .collect();
        let weight = |entry: &crate::archive::toc::Entry| {
            let bytes = tables.get(&(entry.namespace.as_deref()?, entry.tag.as_str()))?;
            Some((entry.dump_id, *bytes))
        };
        let entries = self.reader.entries().iter();
        entries
            .filter(|entry| entry.desc == "TABLE DATA")
            .filter_map(weight)
            .collect()
    }

    async fn swap_in(
        &self,
        live: Option<&Live>,
        incoming: &str,
        aside: &str,
        safety: Option<BackupId>,
    ) -> Result<super::swap::Swapped> {
        let kept = live.map(|live| self.marker(State::Kept, self.request.clock.now(), safety, live.comment.clone()));
        let then = match live {
            Some(_) => Vec::new(),
            // Nobody knows better than the archive what the database was like.
            None => Archived::find(self.reader.entries())?.property_statements(&self.database),
        };
        let request = Swap {
            live: &self.database,
            incoming,
            comment: live.and_then(|live| live.comment.as_deref()),
            aside: live.zip(kept.as_ref()).map(|(live, marker)| Aside {
                oid: live.oid,
                name: aside,
                marker,
            }),
            then: &then,
        };
        swap(&self.target, &request, &self.request.watch).await
    }

    /// Removes the unfinished database and says how things stand.
    async fn give_up(&self, incoming: &str, error: anyhow::Error) -> anyhow::Error {
        let removed = async {
            let client = self.target.outside(&self.database).await?;
            recover::drop_database(&client, incoming).await
        };
        match removed.await {
            Ok(()) => error.context("the restore failed, and nothing was changed"),
            Err(also) => {
                let left = format!("{incoming:?} could not be removed ({also:#}): the next restore will");
                error.context(format!("the restore failed; {:?} is as it was; {left}", self.database))
            }
        }
    }
}

/// What a backup of this job never has: a restore replaces the whole database all the same.
fn partial(job: &Job) -> Option<String> {
    let options = &job.dump.options;
    let patterns = [
        &options.include_schemas,
        &options.exclude_schemas,
        &options.include_tables,
        &options.exclude_tables,
        &options.exclude_table_data,
    ];
    patterns.iter().any(|patterns| !patterns.is_empty()).then(|| {
        "this job backs up only a part of the database: what is not in the backup will only be in the database \
         that is kept"
            .to_owned()
    })
}

/// The globals file of the backup, where there is one: it only helps to say what is missing.
async fn globals(shelf: &Shelf, manifest: &Manifest) -> Option<String> {
    let file = manifest.globals.as_ref()?;
    let path = shelf.file_path(&file.name);
    let text = store::get(shelf.store().as_ref(), &path, GLOBALS_LIMIT).await.ok()?;
    String::from_utf8(text.to_vec()).ok()
}

/// Hands on what the load tells.
struct Teller(Watch);

impl load::Progress for Teller {
    fn loaded(&self, bytes: u64) {
        self.0.tell(Event::Done(bytes));
    }

    fn tolerated(&self, what: String) {
        self.0.warn(format!("passed over: {what}"));
    }
}
