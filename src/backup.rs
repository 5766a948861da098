//! One run of a job: preflight, dump, read back, globals, manifest, prune.
//!
//! A run may end at any instant. Until the manifest is there nothing of it counts; what it leaves is known by
//! its claim, and the next run, which holds the lock that no living run has, removes it. With several stores this
//! holds for each: one export, and in each store a whole copy or none.

mod afterwards;
mod attempts;
mod copies;
mod database;
mod hooks;
mod niced;
mod pause;
mod seal;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::collapse;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::job::Job;
use crate::manifest::{BackupId, Encryption, File, InPlace, Kind, Manifest, Verification};
use crate::prune::Pruned;
use crate::redact;
use crate::shelf::{Failure, Inventory, Pin, Shelf, Stock};
use crate::stored;
pub use attempts::run;
use attempts::{Failed, Temporary};
use copies::Copies;
pub use copies::Made;
use database::{Exported, Locked};
use seal::Seal;
pub use watch::{Event, Step, Watch};

/// What a run is asked to do.
pub struct Request<'a> {
    /// The job.
    pub job: &'a Job,
    /// Why it runs.
    pub kind: Kind,
    /// A name for the backup.
    pub label: Option<String>,
    /// The restore in place that it is the safety snapshot for.
    pub in_place: Option<InPlace>,
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
            in_place: None,
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
    /// What became of the copy in each store of the job.
    pub copies: Vec<Made>,
    /// What retention did, by the name of the store.
    pub pruned: BTreeMap<String, Pruned>,
    /// Replaced databases that have served and were dropped.
    pub dropped: Vec<String>,
    /// What is much less than in the backup before, also among the manifest's warnings: it is whole all the same.
    pub collapsed: Vec<String>,
    /// What went wrong after the backup existed: it is whole all the same.
    pub afterwards: Vec<String>,
}

impl Report {
    /// How many backups retention deleted, in all stores.
    #[must_use]
    pub fn deleted(&self) -> usize {
        self.pruned.values().map(|pruned| pruned.deleted.len()).sum()
    }

    /// The stores that have a copy.
    pub fn stores(&self) -> impl Iterator<Item = &str> {
        let made = self.copies.iter().filter(|copy| copy.error.is_none());
        made.map(|copy| copy.store.as_str())
    }

    /// The stores that have no copy, each with the reason.
    pub fn lacking(&self) -> impl Iterator<Item = (&str, &str)> {
        self.copies
            .iter()
            .filter_map(|copy| Some((copy.store.as_str(), copy.error.as_deref()?)))
    }
}

/// The files of a backup, as its manifest names them.
struct Files {
    archive: File,
    globals: Option<File>,
    encryption: Option<Encryption>,
}

/// When what was done.
struct Times {
    started: DateTime<Utc>,
    finished: DateTime<Utc>,
    read_back: DateTime<Utc>,
}

/// A dump that only lacks its manifest.
struct Prepared {
    manifest: Manifest,
    /// As it is stored.
    stored: Manifest,
    noticed: Noticed,
}

/// What a run noticed on its way, for its report.
struct Noticed {
    cleaned: Vec<String>,
    collapsed: Vec<String>,
    /// What lay in the stores when it began.
    found: Vec<(Shelf, Inventory)>,
}

/// Runs a job once, as the attempt of this number.
///
/// # Errors
/// Whatever keeps the backup from being whole. Then there is no manifest, and the failure is recorded in the
/// store unless another run of the job was merely in the way, or another attempt follows.
async fn run_once(request: &Request<'_>, attempt: u32) -> Result<Report, Failed> {
    let started = request.clock.now();
    let begun = std::time::Instant::now();
    let mut copies = Copies::of(request.job, request.watch.clone());
    let (prepared, interrupted) = tokio::select! {
        prepared = prepare_locked(request, &mut copies, started) => (prepared, false),
        error = interruption(request) => (Err(error), true),
    };
    // From here on nothing can be interrupted: a manifest is either not begun or brought to its end.
    let published = match prepared {
        Ok((lock, prepared)) => {
            let published = publish(request, &mut copies, &lock, prepared).await;
            lock.release().await;
            published
        }
        Err(error) => Err(error),
    };
    match published {
        Ok((manifest, noticed)) => Ok(afterwards::finish(request, copies, manifest, noticed, begun).await),
        Err(error) => {
            if interrupted {
                database::end_sessions(request.job, started).await;
            }
            let again = match interrupted {
                true => None,
                false => Temporary::again(request, attempt, &error).await,
            };
            // That another run of the job was in the way is no failure.
            if exit_of(&error) != Exit::Busy {
                let failure = failure(
                    request,
                    copies.id().unwrap_or(BackupId::at(started)),
                    format!("{error:#}"),
                );
                copies.clear_away(&failure, true, interrupted, again.is_none()).await;
                afterwards::make_room(request, &copies, None).await;
            }
            Err(Failed { error, again })
        }
    }
}

/// The record of a failed run.
fn failure(request: &Request<'_>, id: BackupId, error: String) -> Failure {
    Failure {
        id,
        kind: request.kind,
        failed: request.clock.now(),
        full: false,
        error: match &request.job.encryption {
            // The reasons of a server name tables, and stores keep them in clear.
            Some(encryption) if encryption.encrypt_manifest => HIDDEN.to_owned(),
            _ => error,
        },
    }
}

/// What a store keeps of a failure when manifests are encrypted.
const HIDDEN: &str = "the reason is in the log of the machine that ran it";

/// Ends when the run is cancelled or takes too long.
async fn interruption(request: &Request<'_>) -> anyhow::Error {
    let timeout = request.job.timeout;
    tokio::select! {
        () = request.cancel.cancelled() => Fail::new(Exit::Interrupted, "the run was cancelled").into(),
        () = tokio::time::sleep(timeout.unwrap_or(Duration::MAX)) => {
            let limit = timeout.unwrap_or_default().as_secs();
            Fail::new(Exit::Failure, format!("the run took longer than its timeout of {limit} s")).into()
        }
        limit = stall(request) => {
            let limit = limit.as_secs();
            Fail::new(Exit::Failure, format!("the run stalled: no byte has moved for {limit} s (stall_timeout)"))
                .hint("see what the server or the store waits for; stall_timeout = \"0s\" waits for ever")
                .into()
        }
    }
}

/// Ends when nothing has moved for as long as the job allows.
async fn stall(request: &Request<'_>) -> Duration {
    let Some(limit) = request.job.stall_timeout else {
        return std::future::pending().await;
    };
    // What was told before is another attempt's.
    let begun = std::time::Instant::now();
    loop {
        let idle = request.watch.idle().min(begun.elapsed());
        if idle >= limit {
            return limit;
        }
        tokio::time::sleep(limit - idle).await;
    }
}

/// Takes the job's lock and does everything up to the manifest. Where that fails, the lock is free again.
async fn prepare_locked(
    request: &Request<'_>,
    copies: &mut Copies<'_>,
    started: DateTime<Utc>,
) -> Result<(Locked, Prepared)> {
    let seal = Seal::of(request.job).await?;
    request.watch.step(Step::Lock).await;
    let lock = Locked::take(request.job, started).await?;
    match prepare(request, copies, started, &seal, &lock).await {
        Ok(prepared) => Ok((lock, prepared)),
        Err(error) => {
            lock.release().await;
            Err(error)
        }
    }
}

/// Everything up to the manifest.
async fn prepare(
    request: &Request<'_>,
    copies: &mut Copies<'_>,
    started: DateTime<Utc>,
    seal: &Seal,
    database: &Locked,
) -> Result<Prepared> {
    let (job, watch, now) = (request.job, &request.watch, &request.clock);
    let source = database.source();

    watch.step(Step::Clean).await;
    let clean = |shelf: Shelf| async move {
        let (cleaned, inventory) = shelf.clean(source, started).await?;
        Ok((cleaned, (shelf, inventory)))
    };
    let (cleaned, found): (Vec<_>, Vec<_>) = copies.each(clean).await?.into_iter().unzip();

    let former = newest_under_former_name(job).await;
    let id = copies.claim(source, started, &found, former).await?;
    watch.step(Step::Claim).await;

    watch.step(Step::Dump).await;
    let dumped = export(request, copies, database, id, seal).await?;
    let finished = now.now();

    watch.step(Step::Verify).await;
    let name = seal.archive(job).name(&job.name, id);
    let archive = check(watch, copies, &name, &dumped).await?;
    let read_back = now.now();

    watch.step(Step::Globals).await;
    let (globals, warnings) = store_globals(request, copies, database, id, seal).await?;

    let times = Times {
        started,
        finished,
        read_back,
    };
    let files = Files {
        archive,
        globals,
        encryption: seal.describe(),
    };
    let mut manifest = describe(request, id, times, dumped, files);
    manifest.warnings.extend(warnings);
    manifest.warnings.extend(database.foresee().await);
    let collapsed = collapsed(job, &found, &manifest).await;
    manifest.warnings.extend(collapsed.iter().cloned());
    for warning in &mut manifest.warnings {
        *warning = redact::secrets(warning).into_owned();
    }
    let (openable, stored) = (&manifest, seal.manifest(&manifest)?);
    copies
        .each(|shelf| async move { seal.check(&shelf, openable).await })
        .await?;
    Ok(Prepared {
        manifest,
        stored,
        noticed: Noticed {
            cleaned: cleaned.concat(),
            collapsed,
            found,
        },
    })
}

/// What is much less than in the backup before. Of all that was `found` only that one is opened.
async fn collapsed(job: &Job, found: &[(Shelf, Inventory)], manifest: &Manifest) -> Vec<String> {
    let found = found.iter().map(|(shelf, inventory)| (shelf, inventory));
    let Some((shelf, id)) = collapse::before(found, &manifest.source) else {
        return Vec::new();
    };
    let mut before = match shelf.manifest(id).await {
        Ok(before) => before,
        Err(error) => {
            tracing::warn!(job = job.name, "not compared with the backup before: {error:#}");
            return Vec::new();
        }
    };
    // Without a key only the numbers are compared.
    let _ = stored::unseal(&mut before, &job.keys);
    collapse::signs(&before, manifest)
}

/// The newest backup of what the job was called before: two backups of one database never have the same id, wherever they lie.
async fn newest_under_former_name(job: &Job) -> Option<BackupId> {
    job.former.as_ref()?;
    Stock::names(job).await.ok()?.ids().first().copied()
}

/// Dumps the database into all stores at once.
async fn export(
    request: &Request<'_>,
    copies: &mut Copies<'_>,
    database: &Locked,
    id: BackupId,
    seal: &Seal,
) -> Result<Exported> {
    let (upload, outcomes) = copies.upload(|shelf| shelf.path(seal.archive(request.job), id)).await?;
    let (upload, slip) = seal.upload(upload)?;
    let dumped = match request.job.max_replica_lag {
        Some(limit) => pause::while_replicas_lag(request, limit, database, upload).await,
        None => database.export(request.job, upload, &request.watch).await,
    };
    copies.note(&outcomes)?;
    let mut dumped = dumped?;
    if let Some(sealed) = slip.take() {
        dumped.written = sealed;
    }
    Ok(dumped)
}

/// Makes sure that every store has the archive as it was written.
async fn check(watch: &Watch, copies: &mut Copies<'_>, name: &str, dumped: &Exported) -> Result<File> {
    watch.tell(Event::Total(dumped.written.bytes * copies.unproven() as u64));
    let read = &|bytes| watch.tell(Event::Done(bytes));
    let file = copies.prove(name, &dumped.written, read).await?;
    file.context("there is no copy")
}

/// Stores roles and tablespaces, if the job wants them and there are any; also returns what to warn of.
async fn store_globals(
    request: &Request<'_>,
    copies: &mut Copies<'_>,
    database: &Locked,
    id: BackupId,
    seal: &Seal,
) -> Result<(Option<File>, Vec<String>)> {
    if !request.job.globals {
        return Ok((None, Vec::new()));
    }
    let Some((globals, warnings)) = database.globals().await? else {
        return Ok((None, Vec::new()));
    };
    let text = &seal.bytes(globals)?;
    let write = |shelf: Shelf| async move { shelf.write(seal.globals(), id, text.clone()).await };
    let files = copies.each(write).await?;
    Ok((File::agreed(files), warnings))
}

/// Writes the manifests: afterwards the backup exists.
async fn publish(
    request: &Request<'_>,
    copies: &mut Copies<'_>,
    lock: &Locked,
    prepared: Prepared,
) -> Result<(Manifest, Noticed)> {
    let Prepared {
        manifest,
        stored,
        noticed,
    } = prepared;
    let pin = request.pinned.then(|| Pin {
        id: manifest.id,
        at: Some(request.clock.now()),
        reason: manifest.label.clone(),
    });
    request.watch.step(Step::Publish).await;
    // Had the lock been lost, another run might have taken this one for dead and removed its files.
    lock.assert_held().await?;
    let (stored, pin) = (&stored, &pin);
    let publish = |shelf: Shelf| async move {
        anyhow::ensure!(
            shelf.is_claimed(stored.id).await?,
            "the claim of this run was taken away: another run took it for dead"
        );
        // Before the manifest, so that there is no instant at which the backup could be pruned.
        if let Some(pin) = pin {
            shelf.pin(pin).await?;
        }
        shelf.publish(stored).await
    };
    copies.each(publish).await?;
    request.watch.step(Step::Release).await;
    Ok((manifest, noticed))
}

/// The manifest of what was dumped and read back at `times`.
fn describe(request: &Request<'_>, id: BackupId, times: Times, dumped: Exported, files: Files) -> Manifest {
    Manifest {
        format_version: dumped.source.engine.format_version(),
        id,
        job: request.job.name.clone(),
        kind: request.kind,
        label: request.label.clone(),
        in_place: request.in_place.clone(),
        source: dumped.source,
        started: times.started,
        finished: times.finished,
        snapback: env!("CARGO_PKG_VERSION").to_owned(),
        archive: files.archive,
        globals: files.globals,
        encryption: files.encryption,
        compression: dumped.compression,
        entries: dumped.entries,
        tables: dumped.tables,
        large_objects: dumped.large_objects,
        spelling: dumped.spelling,
        extensions: dumped.extensions,
        public_owner: dumped.public_owner,
        sqlite: dumped.sqlite,
        schema_hash: dumped.schema_hash,
        warnings: dumped.warnings,
        verified: vec![Verification {
            how: "written".to_owned(),
            at: times.read_back,
        }],
    }
}
