//! One run of a job: preflight, dump, read back, globals, manifest, prune.
//!
//! A run may end at any instant. Until the manifest is there nothing of it counts; what it leaves is known by
//! its claim, and the next run, which holds the lock that no living run has, removes it.

mod lock;
mod watch;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::archive::raw;
use crate::clock::Clock;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::job::Job;
use crate::manifest::{BackupId, FORMAT_VERSION, File, Kind, Manifest, Part, Verification};
use crate::postgres::connect::{self, Dsn};
use crate::postgres::dump::{Dumped, dump, random_key};
use crate::postgres::globals;
use crate::postgres::session::Query;
use crate::postgres::snapshot::{self, SessionOptions};
use crate::retention::{self, Candidate, Situation, Verdict};
use crate::shelf::{Failure, Inventory, Shelf};
use lock::JobLock;
pub use watch::{Event, Step, Watch};

/// How long ending the sessions of an interrupted run may take.
const END_SESSIONS_TIMEOUT: Duration = Duration::from_secs(5);

/// What a run is asked to do.
pub struct Request<'a> {
    /// The job.
    pub job: &'a Job,
    /// Why it runs.
    pub kind: Kind,
    /// A name for the backup.
    pub label: Option<String>,
    /// Retention shall leave the backup alone.
    pub pinned: bool,
    /// Backups that this run's pruning must not touch.
    pub protect: BTreeSet<BackupId>,
    /// The time.
    pub clock: Clock,
    /// Whom it tells what it does.
    pub watch: Watch,
    /// Cancels it.
    pub cancel: CancellationToken,
}

impl<'a> Request<'a> {
    /// A run by hand that nobody watches and that prunes as the job says.
    #[must_use]
    pub fn new(job: &'a Job, kind: Kind) -> Self {
        Request {
            job,
            kind,
            label: None,
            pinned: false,
            protect: BTreeSet::new(),
            clock: Clock::system(),
            watch: Watch::silent(),
            cancel: CancellationToken::new(),
        }
    }
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The backup's manifest.
    pub manifest: Manifest,
    /// How long the whole run took, in seconds.
    pub seconds: f64,
    /// What earlier, killed runs had left and was cleaned up.
    pub cleaned: Vec<String>,
    /// Backups that retention deleted.
    pub pruned: Vec<BackupId>,
    /// What went wrong after the backup existed: it is whole all the same.
    pub afterwards: Vec<String>,
}

/// What is known of a run from outside, when it failed or was dropped.
#[derive(Default)]
struct Trail {
    claimed: Mutex<Option<BackupId>>,
}

impl Trail {
    fn claim(&self) -> Option<BackupId> {
        *self.claimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set(&self, id: BackupId) {
        *self.claimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(id);
    }
}

/// A dump that only lacks its manifest.
struct Prepared {
    lock: JobLock,
    manifest: Manifest,
    cleaned: Vec<String>,
}

/// Runs a job once.
///
/// # Errors
/// Whatever keeps the backup from being whole. Then there is no manifest, and the failure is recorded in the
/// store unless another run of the job was merely in the way.
pub async fn run(request: &Request<'_>) -> Result<Report> {
    let started = request.clock.now();
    let begun = std::time::Instant::now();
    let shelf = Shelf::of(request.job);
    let trail = Trail::default();
    let (prepared, interrupted) = tokio::select! {
        prepared = prepare(request, &shelf, started, &trail) => (prepared, false),
        error = interruption(request) => (Err(error), true),
    };
    // From here on nothing can be interrupted: a manifest is either not begun or brought to its end.
    let published = match prepared {
        Ok(prepared) => publish(request, &shelf, prepared).await,
        Err(error) => Err(error),
    };
    match published {
        Ok((manifest, cleaned)) => Ok(finish(request, &shelf, manifest, cleaned, begun).await),
        Err(error) => {
            if interrupted {
                end_sessions(request.job, started).await;
            }
            if let Some(id) = trail.claim() {
                clear_away(&shelf, id, interrupted).await;
            }
            record(request, &shelf, trail.claim().unwrap_or(BackupId::at(started)), &error).await;
            Err(error)
        }
    }
}

/// What the sessions of a run connect with: they have the run's name, for administrators and for
/// [`end_sessions`].
fn named(job: &Job, started: DateTime<Utc>) -> Result<Dsn> {
    let mut dsn = job.source.dsn()?;
    let mut name = format!("snapback {} {}", started.format("%Y%m%dT%H%M%S%.6fZ"), job.name);
    // The server cuts longer ones, and says so each time.
    name.truncate(63);
    dsn.application_name = Some(name);
    Ok(dsn)
}

/// Ends what the server still does for a run that was interrupted: it notices that its client is gone only when
/// it has something to say, and never while it waits for a lock.
async fn end_sessions(job: &Job, started: DateTime<Utc>) {
    let ended = async {
        let dsn = named(job, started)?;
        let session = connect::connect(&dsn).await?;
        let query = Query::new(
            "SELECT pg_catalog.pg_terminate_backend(pid) AS ended FROM pg_catalog.pg_stat_activity \
             WHERE application_name = $1 AND usesysid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user) \
               AND pid <> pg_catalog.pg_backend_pid()",
        );
        session
            .rows(&query.text(dsn.application_name.unwrap_or_default()))
            .await
    };
    let outcome = tokio::time::timeout(END_SESSIONS_TIMEOUT, ended).await;
    match outcome {
        Ok(Ok(sessions)) => tracing::debug!(sessions = sessions.len(), "ended the run's sessions"),
        Ok(Err(error)) => tracing::warn!("the server may still work for the interrupted run: {error:#}"),
        Err(_) => tracing::warn!("the server may still work for the interrupted run: it does not answer"),
    }
}

/// Ends when the run is cancelled or takes too long.
async fn interruption(request: &Request<'_>) -> anyhow::Error {
    let timeout = request.job.timeout;
    tokio::select! {
        () = request.cancel.cancelled() => Fail::new(Exit::Interrupted, "the run was cancelled").into(),
        () = tokio::time::sleep(timeout.unwrap_or(Duration::MAX)) => {
            let limit = timeout.unwrap_or_default().as_secs();
            Fail::new(Exit::Failure, format!("the run took longer than its timeout of {limit} s")).into()
        }
    }
}

/// Everything up to the manifest.
async fn prepare(request: &Request<'_>, shelf: &Shelf, started: DateTime<Utc>, trail: &Trail) -> Result<Prepared> {
    let (job, watch) = (request.job, &request.watch);
    let dsn = named(job, started)?;

    watch.step(Step::Lock).await;
    let lock = JobLock::take(&dsn, &job.name).await?;

    watch.step(Step::Clean).await;
    let cleaned = shelf.clean(&lock.source).await?;

    let claim = shelf.claim(&lock.source, started).await?;
    trail.set(claim.id);
    watch.step(Step::Claim).await;

    watch.step(Step::Dump).await;
    let upload = shelf.store().create(&shelf.path(Part::Archive, claim.id)).await?;
    let dumped = dump(&dsn, &job.dump, upload, watch).await?;
    let finished = request.clock.now();

    watch.step(Step::Verify).await;
    watch.tell(Event::Total(dumped.written.bytes));
    let read = |bytes| watch.tell(Event::Done(bytes));
    let name = Part::Archive.name(&job.name, claim.id);
    let archive = shelf
        .read_back(name, &dumped.written, &read)
        .await
        .context("reading back what was written")?;
    let verified = Verification {
        how: "written".to_owned(),
        at: request.clock.now(),
    };

    watch.step(Step::Globals).await;
    let mut warnings = dumped.warnings.clone();
    let globals = store_globals(request, shelf, &dsn, claim.id, &mut warnings).await?;

    let manifest = describe(
        request, claim.id, started, finished, dumped, archive, globals, warnings, verified,
    );
    Ok(Prepared {
        lock,
        manifest,
        cleaned,
    })
}

/// Stores roles and tablespaces, if the job wants them. They belong to the cluster and not to the snapshot, so
/// they have a session of their own.
async fn store_globals(
    request: &Request<'_>,
    shelf: &Shelf,
    dsn: &Dsn,
    id: BackupId,
    warnings: &mut Vec<String>,
) -> Result<Option<File>> {
    if !request.job.globals {
        return Ok(None);
    }
    let session = connect::connect(dsn).await?;
    let server = snapshot::begin(&session, &SessionOptions::default()).await?;
    let options = globals::Options {
        restrict_key: server.has_restrict().then(random_key),
        ..globals::Options::default()
    };
    let globals = globals::render(&session, &server, &options)
        .await
        .context("reading roles and tablespaces")?;
    warnings.extend(globals.warnings);
    let text = Bytes::from(raw::encode(&globals.text).into_owned());
    Ok(Some(shelf.write(Part::Globals, id, text).await?))
}

/// Writes the manifest: afterwards the backup exists.
async fn publish(request: &Request<'_>, shelf: &Shelf, prepared: Prepared) -> Result<(Manifest, Vec<String>)> {
    let Prepared {
        lock,
        manifest,
        cleaned,
    } = prepared;
    request.watch.step(Step::Publish).await;
    // Had the lock been lost, another run might have taken this one for dead and removed its files.
    lock.assert_held().await?;
    anyhow::ensure!(
        shelf.is_claimed(manifest.id).await?,
        "the claim of this run was taken away: another run took it for dead"
    );
    shelf.publish(&manifest).await?;
    request.watch.step(Step::Release).await;
    Ok((manifest, cleaned))
}

/// What comes after the backup exists; no failure here makes it less of a backup.
async fn finish(
    request: &Request<'_>,
    shelf: &Shelf,
    manifest: Manifest,
    cleaned: Vec<String>,
    begun: std::time::Instant,
) -> Report {
    let mut afterwards = Vec::new();
    if let Err(error) = shelf.release(manifest.id).await {
        afterwards.push(format!("the claim of the run stays until the next one: {error:#}"));
    }
    let mut pruned = Vec::new();
    if request.job.prune {
        request.watch.step(Step::Prune).await;
        let mut protect = request.protect.clone();
        protect.insert(manifest.id);
        match prune(request.job, &request.clock, &protect, &mut pruned).await {
            Ok(()) => {}
            Err(error) => afterwards.push(format!("retention was not applied: {error:#}")),
        }
    }
    for warning in &afterwards {
        request.watch.tell(Event::Warning(warning.clone()));
    }
    Report {
        manifest,
        seconds: begun.elapsed().as_secs_f64(),
        cleaned,
        pruned,
        afterwards,
    }
}

/// Removes what a failed run left.
async fn clear_away(shelf: &Shelf, id: BackupId, interrupted: bool) {
    let mut cleared = shelf.discard(id).await;
    // After an interruption a thread may still be finishing a file: the claim stays, and the next run looks again.
    if cleared.is_ok() && !interrupted {
        cleared = shelf.release(id).await;
    }
    if let Err(error) = cleared {
        tracing::warn!("what the failed run {id} left stays until the next one: {error:#}");
    }
}

/// Records why a run failed; that another run of the job was in the way is no failure.
async fn record(request: &Request<'_>, shelf: &Shelf, id: BackupId, error: &anyhow::Error) {
    if exit_of(error) == Exit::Busy {
        return;
    }
    let failure = Failure {
        id,
        kind: request.kind,
        failed: request.clock.now(),
        error: format!("{error:#}"),
    };
    if let Err(error) = shelf.record_failure(&failure).await {
        tracing::warn!("the failure cannot be recorded in {}: {error:#}", shelf.store());
    }
}

#[allow(clippy::too_many_arguments)] // a manifest is made of all of this, once
fn describe(
    request: &Request<'_>,
    id: BackupId,
    started: DateTime<Utc>,
    finished: DateTime<Utc>,
    dumped: Dumped,
    archive: File,
    globals: Option<File>,
    warnings: Vec<String>,
    verified: Verification,
) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        id,
        job: request.job.name.clone(),
        kind: request.kind,
        label: request.label.clone(),
        pinned: request.pinned,
        source: dumped.source,
        started,
        finished,
        snapback: env!("CARGO_PKG_VERSION").to_owned(),
        archive,
        globals,
        compression: dumped.compression,
        entries: dumped.entries,
        tables: dumped.tables,
        schema_hash: dumped.schema_hash,
        warnings,
        verified: vec![verified],
    }
}

/// Decides what retention would do now.
///
/// # Errors
/// The policy is empty.
pub fn plan_prune(
    job: &Job,
    inventory: &Inventory,
    protect: &BTreeSet<BackupId>,
    now: DateTime<Utc>,
) -> Result<Vec<Verdict>> {
    let candidates: Vec<Candidate> = inventory
        .backups
        .iter()
        .map(|backup| Candidate::new(&backup.manifest, backup.present))
        .collect();
    let held = inventory
        .holds
        .iter()
        .filter(|hold| hold.until > now)
        .map(|hold| hold.id);
    let in_use = held.chain(protect.iter().copied()).collect();
    let situation = Situation {
        now,
        zone: job.zone,
        last_run_failed: inventory.last_run_failed(),
        in_use: &in_use,
    };
    retention::plan(&candidates, &job.policy, &situation)
}

/// Applies retention; `pruned` has what is gone even when it fails halfway.
///
/// # Errors
/// The store fails.
pub async fn prune(job: &Job, clock: &Clock, protect: &BTreeSet<BackupId>, pruned: &mut Vec<BackupId>) -> Result<()> {
    let shelf = Shelf::of(job);
    let inventory = shelf.inventory().await?;
    let verdicts = plan_prune(job, &inventory, protect, clock.now())?;
    // The oldest first: whenever this stops, what is left is a valid history.
    for verdict in verdicts.iter().rev().filter(|verdict| !verdict.keep) {
        let backup = inventory.backups.iter().find(|backup| backup.manifest.id == verdict.id);
        if let Some(backup) = backup {
            shelf.remove(&backup.manifest).await?;
            pruned.push(verdict.id);
        }
    }
    shelf.forget_old_failures(&inventory).await
}
