//! A backup copied from one store of its job into another, as it is: what lies there is compared with its digest on the
//! way, the copy is proven by its store or read back, and its manifest comes last.
//!
//! A copy needs no database, so it works when that is lost. Without the job's lock it announces itself by a claim
//! that other runs leave alone for a day.

use chrono::TimeDelta;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::find::find;
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Depth, Manifest};
use crate::shelf::{Check, Claim, Copy, Shelf, Stock, is_dead, this_process};

/// How long the source is held from being pruned, should this process be killed.
const HOLD: TimeDelta = TimeDelta::days(1);

/// What is asked for.
pub struct Request<'a> {
    /// The job.
    pub job: &'a Job,
    /// `latest`, an id, its beginning, or a label.
    pub which: &'a str,
    /// Where the copy goes.
    pub to: &'a Destination,
    /// The time.
    pub clock: Clock,
    /// Hears how many bytes there are to copy and, in a folder, to read back.
    pub total: &'a (dyn Fn(u64) + Send + Sync),
    /// Hears of them as they come.
    pub read: &'a (dyn Fn(u64) + Send + Sync),
    /// Ends it.
    pub cancel: CancellationToken,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The job.
    pub job: String,
    /// The backup.
    pub id: BackupId,
    /// The store that it was copied from; nothing when it was there already.
    pub from: Option<String>,
    /// The store that has it now.
    pub to: String,
    /// Size of the archive.
    pub bytes: u64,
    /// Whether the copy took the place of one that was damaged.
    pub replaced: bool,
    /// Copies that turned out to be damaged, each with the reason.
    pub passed_over: Vec<String>,
}

/// What is to be done, decided before anything is touched.
struct Plan {
    target: Shelf,
    /// The copy that lies there.
    there: Option<Copy>,
    /// The copies in other stores, the best first.
    sources: Vec<Copy>,
}

/// Copies a backup.
///
/// # Errors
/// There is no such backup, no copy of it is whole, or a store fails. Then there is no copy, or still the one that
/// was there.
pub async fn run(request: &Request<'_>) -> Result<Report> {
    let Plan { target, there, sources } = plan(request).await?;
    let is_whole = |copy: &Copy| copy.backup.is_whole();
    let mut passed_over = Vec::new();
    if let Some(copy) = there.as_ref().filter(|copy| is_whole(copy)) {
        return Ok(report(request, None, &copy.manifest, false, passed_over));
    }
    let mut failed = None;
    for source in &sources {
        let copying = Copying {
            request,
            source,
            target: &target,
            damaged: there.as_ref(),
        };
        match copying.run().await {
            Ok(()) => {
                let from = Some(source.shelf.place().to_owned());
                let replaced = there.is_some();
                return Ok(report(request, from, &source.manifest, replaced, passed_over));
            }
            Err(error) if exit_of(&error) == Exit::Damaged => {
                passed_over.push(format!("{error:#}"));
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let none = || Fail::new(Exit::NotFound, format!("no store but {} has the backup", request.to)).into();
    Err(failed.unwrap_or_else(none))
}

fn report(
    request: &Request<'_>,
    from: Option<String>,
    manifest: &Manifest,
    replaced: bool,
    passed_over: Vec<String>,
) -> Report {
    Report {
        job: manifest.job.clone(),
        id: manifest.id,
        from,
        to: request.to.name.clone(),
        bytes: manifest.archive.bytes,
        replaced,
        passed_over,
    }
}

async fn plan(request: &Request<'_>) -> Result<Plan> {
    let mut stock = Stock::for_backup(request.job, request.which).await?;
    let is_target = |shelf: &Shelf| shelf.place() == request.to.name;
    if let Some(place) = stock.unreachable.iter().position(|(shelf, _)| is_target(shelf)) {
        return Err(stock.unreachable.swap_remove(place).1);
    }
    stock.warn();
    let found = find(&stock, request.job, request.which, None).await?;
    let copies = found.warned();
    // A backup from when the job had another name stays under that: its manifest speaks of files of that name.
    let target = match copies.first() {
        Some(copy) => copy.shelf.beside(request.to),
        None => Shelf::new(request.job, request.to),
    };
    let copies = copies.into_iter();
    let (mut there, sources): (Vec<Copy>, Vec<Copy>) = copies.partition(|copy| is_target(&copy.shelf));
    Ok(Plan {
        target,
        there: there.pop(),
        sources,
    })
}

/// One copy of one source on its way.
struct Copying<'a> {
    request: &'a Request<'a>,
    source: &'a Copy,
    target: &'a Shelf,
    /// What lies in the target and is no good.
    damaged: Option<&'a Copy>,
}

impl Copying<'_> {
    fn manifest(&self) -> &Manifest {
        &self.source.manifest
    }

    async fn run(&self) -> Result<()> {
        let id = self.manifest().id;
        let source = &self.source.shelf;
        // What cannot be written to can be copied from all the same, and nobody prunes it.
        let hold = match source.hold(id, self.request.clock.now() + HOLD).await {
            Ok(hold) => hold,
            Err(error) => {
                tracing::warn!("backup {id} cannot be held in {source}: {error:#}");
                return self.held().await;
            }
        };
        let outcome = self.held().await;
        if let Err(error) = source.unhold(&hold).await {
            tracing::warn!("backup {id} is held in {source} for a day: {error:#}");
        }
        outcome
    }

    async fn held(&self) -> Result<()> {
        let id = self.manifest().id;
        if self.damaged.is_some() {
            // Also a damaged copy is better than none: it goes when there is something to take its place.
            for file in self.manifest().files() {
                self.source.shelf.check(file, &|_| ()).await?;
            }
            self.target.remove(id).await?;
        }
        self.claim().await?;
        let copied = tokio::select! {
            copied = self.files() => copied,
            () = self.request.cancel.cancelled() => Err(Fail::new(Exit::Interrupted, "the copy was cancelled").into()),
        };
        // From here on nothing can be interrupted: a manifest is either not begun or brought to its end.
        let published = match copied {
            Ok(said) => self.publish(said).await,
            Err(error) => Err(error),
        };
        let (mut cleared, mut settled) = (Ok(()), true);
        if published.is_err() {
            // What was begun before it was cancelled may still appear.
            settled = self.target.store().settle().await;
            cleared = self.target.discard(id).await;
        }
        if cleared.is_ok() && settled {
            cleared = self.target.release(id).await;
        }
        if let Err(error) = cleared {
            tracing::warn!(
                "what the copy left in {} goes with a later backup: {error:#}",
                self.target
            );
        }
        published
    }

    /// Announces the copy; takes over from one of this machine that was killed.
    async fn claim(&self) -> Result<()> {
        let id = self.manifest().id;
        let claim = Claim {
            id,
            source: self.manifest().source.clone(),
            started: self.request.clock.now(),
            by: this_process(),
            copied: true,
        };
        if self.target.claim(&claim).await? {
            return Ok(());
        }
        match self.target.claim_of(id).await? {
            Some(other) if other.copied && is_dead(&other.by) => {
                // Where the database is lost, no backup comes by to do it.
                self.target.store().clean(&self.target.file_path("")).await?;
                self.target.discard(id).await?;
                self.target.release(id).await?;
                if self.target.claim(&claim).await? {
                    return Ok(());
                }
            }
            Some(other) => {
                let message = format!("backup {id} is on its way into {} ({})", self.target, other.by);
                return Err(Fail::new(Exit::Busy, message)
                    .hint("wait for it; if it was killed, the first backup after a day cleans up")
                    .into());
            }
            None => {}
        }
        let message = format!("{} has files of backup {id}, but no manifest", self.target);
        Err(Fail::new(Exit::Failure, message)
            .hint("nothing that Snapback knows of needs them; delete them by hand, then copy again")
            .into())
    }

    /// Copies all files; returns what the target says of them.
    async fn files(&self) -> Result<Vec<String>> {
        let bytes: u64 = self.manifest().files().map(|file| file.bytes).sum();
        let times = if self.target.store().is_local() { 2 } else { 1 };
        (self.request.total)(bytes * times);
        let mut said = Vec::new();
        for file in self.manifest().files() {
            let source = &self.source.shelf;
            let copied = source.copy_file(file, self.target, self.request.read).await?;
            said.extend(copied.checksums);
        }
        Ok(said)
    }

    /// Makes the copy a backup, pinned if the source or what lay here was. What the target `said` of its files cannot go
    /// into the manifest, which is the same everywhere.
    async fn publish(&self, said: Vec<String>) -> Result<()> {
        let id = self.manifest().id;
        anyhow::ensure!(
            self.target.is_claimed(id).await?,
            "the claim of this copy was taken away: another run took it for dead"
        );
        let pinned = [Some(self.source), self.damaged].into_iter().flatten();
        if let Some(pin) = pinned.filter_map(|copy| copy.backup.pin.as_ref()).next() {
            self.target.pin(pin).await?;
        }
        self.source.shelf.copy_manifest(id, self.target).await?;
        if !said.is_empty() {
            let check = Check {
                id,
                at: self.request.clock.now(),
                depth: Depth::Quick,
                problems: Vec::new(),
                by: "copy".to_owned(),
                checksums: said,
            };
            if let Err(error) = self.target.record_check(&check).await {
                tracing::warn!("what {} says of the copy could not be recorded: {error:#}", self.target);
            }
        }
        Ok(())
    }
}
