//! The copies of a backup that a run makes, one in each store of the job. One that fails is out, and the run goes on
//! with the others; only when none is left has the run failed.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde::Serialize;

use super::Watch;
use crate::error::{Result, hint_of};
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, File, Source, Written};
use crate::shelf::{Claim, Failure, Inventory, Shelf, this_process};
use crate::store::{FanOut, ObjectMeta, Outcomes, Upload, is_full};

/// The copies of one run.
pub struct Copies<'a> {
    all: Vec<Making<'a>>,
    watch: Watch,
}

/// A copy on its way.
struct Making<'a> {
    destination: &'a Destination,
    shelf: Shelf,
    /// The id that it announced: what the run may have left there.
    claimed: Option<BackupId>,
    /// The claim that is being put: it may be there when the run is cancelled meanwhile.
    claiming: Option<Claim>,
    /// Its archive, as the store answered when it was finished.
    stored: Option<ObjectMeta>,
    failed: Option<anyhow::Error>,
    /// It failed because there is no room left in its store.
    full: bool,
}

/// What became of one copy.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// Name of the store.
    pub store: String,
    /// Why there is no copy in it; nothing when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl<'a> Copies<'a> {
    /// One in each store of `job`.
    pub fn of(job: &'a Job, watch: Watch) -> Self {
        let making = |destination| Making {
            shelf: Shelf::new(job, destination),
            destination,
            claimed: None,
            claiming: None,
            stored: None,
            failed: None,
            full: false,
        };
        Copies {
            all: job.destinations.iter().map(making).collect(),
            watch,
        }
    }

    fn live(&mut self) -> impl Iterator<Item = &mut Making<'a>> {
        self.all.iter_mut().filter(|copy| copy.failed.is_none())
    }

    /// The shelves of the copies that have not failed.
    pub fn shelves(&self) -> impl Iterator<Item = (&'a Destination, &Shelf)> {
        let live = self.all.iter().filter(|copy| copy.failed.is_none());
        live.map(|copy| (copy.destination, &copy.shelf))
    }

    /// Does `work` for all copies at once that have not failed; returns what came of those that still have not.
    ///
    /// # Errors
    /// No copy is left.
    pub async fn each<T, F: Future<Output = Result<T>>>(&mut self, work: impl Fn(Shelf) -> F) -> Result<Vec<T>> {
        let outcomes = join_all(self.live().map(|copy| work(copy.shelf.clone()))).await;
        self.settle(outcomes)
    }

    /// Takes note of what became of each copy that had not failed, in their order.
    fn settle<T>(&mut self, outcomes: Vec<Result<T>>) -> Result<Vec<T>> {
        let mut done = Vec::new();
        let mut lost = Vec::new();
        for (copy, outcome) in self.live().zip(outcomes) {
            match outcome {
                Ok(value) => done.push(value),
                Err(error) => {
                    let hint = hint_of(&error).map_or_else(String::new, |hint| format!("; {hint}"));
                    lost.push(format!("there will be no copy in {}: {error:#}{hint}", copy.shelf));
                    copy.full = is_full(&error);
                    copy.failed = Some(error);
                }
            }
        }
        if self.shelves().next().is_none() {
            return Err(self.defeat());
        }
        for warning in lost {
            self.watch.warn(warning);
        }
        Ok(done)
    }

    /// The error of a run that no store took.
    fn defeat(&mut self) -> anyhow::Error {
        let mut reasons = self
            .all
            .iter_mut()
            .filter_map(|copy| Some((copy.destination, copy.failed.take()?)));
        let Some((_, first)) = reasons.next() else {
            return anyhow::anyhow!("the job has no store");
        };
        let others: Vec<String> = reasons.map(|(store, error)| format!("{store}: {error:#}")).collect();
        match others.is_empty() {
            true => first,
            false => first.context(format!("no store took the backup (also {})", others.join("; also "))),
        }
    }

    /// Announces the run under the first id that nothing has, in any store, and that is above all that were `found` and that of its `former` name: who
    /// takes several backups in a second is ahead of the clock, and the newest backup must have the highest id all the same.
    ///
    /// # Errors
    /// No store can be written to.
    pub async fn claim(
        &mut self,
        source: &Source,
        now: DateTime<Utc>,
        found: &[(Shelf, Inventory)],
        former: Option<BackupId>,
    ) -> Result<BackupId> {
        let newest = found.iter().filter_map(|(_, inventory)| inventory.newest_id(now));
        let newest = newest.chain(former).max();
        let mut id = BackupId::at(now).max(newest.map_or(BackupId::at(now), |newest| newest.next()));
        loop {
            let claim = &Claim {
                id,
                source: source.clone(),
                started: now,
                by: this_process(),
                copied: false,
            };
            for copy in self.live() {
                copy.claiming = Some(claim.clone());
            }
            let free = self.each(|shelf| async move { shelf.claim(claim).await }).await?;
            for (copy, free) in self.live().zip(&free) {
                (copy.claimed, copy.claiming) = (free.then_some(id), None);
            }
            if free.iter().all(|free| *free) {
                return Ok(id);
            }
            self.release().await?;
            id = id.next();
        }
    }

    /// One upload into all stores, and where it is noted what becomes of each.
    ///
    /// # Errors
    /// No store can be written to.
    pub async fn upload(&mut self, path: impl Fn(&Shelf) -> String) -> Result<(Box<dyn Upload>, Outcomes)> {
        let path = &path;
        let create = |shelf: Shelf| async move { shelf.store().create(&path(&shelf)).await };
        let (mut fan_out, outcomes) = FanOut::new(self.each(create).await?);
        fan_out.keep();
        Ok((Box::new(fan_out), outcomes))
    }

    /// Takes note of what became of each upload, whatever else did.
    ///
    /// # Errors
    /// No copy is left.
    pub fn note(&mut self, outcomes: &Outcomes) -> Result<()> {
        let mut noted = Vec::new();
        for (copy, outcome) in self.live().zip(outcomes.take()) {
            noted.push(match outcome {
                Some(Ok(stored)) => {
                    copy.stored = Some(stored);
                    Ok(())
                }
                Some(Err(error)) => Err(error),
                None => Ok(()),
            });
        }
        self.settle(noted).map(drop)
    }

    /// Makes sure that each store has the archive that was `written`: where the store has not shown it, by reading it
    /// back. `read` hears of the bytes as they come.
    ///
    /// # Errors
    /// No copy is left.
    pub async fn prove(
        &mut self,
        name: &str,
        written: &Written,
        read: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Option<File>> {
        let proofs = self.live().map(|copy| {
            let (shelf, stored) = (copy.shelf.clone(), copy.stored.clone());
            async move {
                let file = written.file(name);
                let proven = shelf.prove(file, stored.as_ref(), read).await;
                proven.context("reading back what was written")
            }
        });
        let proofs = join_all(proofs.collect::<Vec<_>>()).await;
        Ok(File::agreed(self.settle(proofs)?))
    }

    /// How many copies must be read back.
    pub fn unproven(&self) -> usize {
        let live = self.all.iter().filter(|copy| copy.failed.is_none());
        let is_proven = |copy: &&Making<'_>| copy.stored.as_ref().is_some_and(|stored| stored.checksum.is_some());
        live.filter(|copy| !is_proven(copy)).count()
    }

    /// Takes the claims of the copies that have not failed back.
    ///
    /// # Errors
    /// No store can be written to.
    pub async fn release(&mut self) -> Result<()> {
        let claimed = self
            .live()
            .filter_map(|copy| Some((copy.shelf.clone(), copy.claimed.take()?)));
        let releases: Vec<_> = claimed
            .map(|(shelf, id)| async move { shelf.release(id).await })
            .collect();
        join_all(releases).await.into_iter().collect()
    }

    /// Removes what failed copies left, or all of a failed run's, and records why: `failure` is the run's, and a
    /// failed copy has its own. What cannot be removed now is removed by the next run.
    pub async fn clear_away(&mut self, failure: &Failure, whole_run: bool, interrupted: bool, record: bool) {
        let given_up = self.all.iter_mut().filter(|copy| whole_run || copy.failed.is_some());
        let clear = given_up.map(|copy| async move {
            // What was begun before an interruption may still appear.
            let settled = !interrupted || copy.shelf.store().settle().await;
            if let Some(claim) = copy.claiming.take()
                && is_ours(&copy.shelf, &claim).await
            {
                copy.claimed = Some(claim.id);
            }
            if let Some(id) = copy.claimed.take() {
                clear_away(&copy.shelf, id, settled).await;
            }
            let failure = Failure {
                full: copy.full,
                error: copy
                    .failed
                    .as_ref()
                    .map_or_else(|| failure.error.clone(), |error| format!("{error:#}")),
                ..failure.clone()
            };
            if record && let Err(error) = copy.shelf.record_failure(&failure).await {
                tracing::warn!("the failure cannot be recorded in {}: {error:#}", copy.shelf);
            }
        });
        join_all(clear).await;
    }

    /// The id that the run announced.
    pub fn id(&self) -> Option<BackupId> {
        self.all.iter().find_map(|copy| copy.claimed)
    }

    /// The stores in which there is no copy because there is no room left.
    pub fn full(&self) -> Vec<&'a Destination> {
        let full = self.all.iter().filter(|copy| copy.full);
        full.map(|copy| copy.destination).collect()
    }

    /// What became of each copy.
    pub fn made(&self) -> Vec<Made> {
        let made = |copy: &Making<'_>| Made {
            store: copy.destination.name.clone(),
            error: copy.failed.as_ref().map(|error| format!("{error:#}")),
        };
        self.all.iter().map(made).collect()
    }
}

/// Whether a claim that was being put is there, and not that of another run.
async fn is_ours(shelf: &Shelf, claim: &Claim) -> bool {
    let there = shelf.claim_of(claim.id).await.ok().flatten();
    there.is_some_and(|there| (there.started, &there.by) == (claim.started, &claim.by))
}

/// Removes what a failed run left in one store.
async fn clear_away(shelf: &Shelf, id: BackupId, settled: bool) {
    let mut cleared = shelf.discard(id).await;
    // Where the store may still be finishing a file the claim stays, and the next run looks again.
    if cleared.is_ok() && settled {
        cleared = shelf.release(id).await;
    }
    if let Err(error) = cleared {
        tracing::warn!(
            "the rest of the failed run {id} could not be removed from {shelf}; the next run removes it: {error:#}"
        );
    }
}
