//! Retention applied: replaced databases that have served first, then in each store of a job what is to go there. A safety
//! snapshot is kept as long as the replaced database that it is of, so both go, in this order, whoever prunes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::Clock;
use crate::error::Result;
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Engine, Kind, Summary};
use crate::replaced::{self, Databases};
use crate::retention::{self, Candidate, Situation, Verdict};
use crate::shelf::{Backup, Inventory, Shelf};
use crate::store::Locked;

/// What the manifests of each store say, by its name, as far as it is known already.
pub type Known = BTreeMap<String, BTreeMap<BackupId, Summary>>;

/// What a person may ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Nothing is deleted: it is only said what would be.
    pub dry_run: bool,
    /// Also while the job's last run failed.
    pub force: bool,
    /// Also replaced databases that have served and may be the only copy of what they hold.
    pub only_copies: bool,
}

/// Retention of a job.
pub struct Pruning<'a> {
    /// The job.
    pub job: &'a Job,
    /// The stores.
    pub stores: Vec<&'a Destination>,
    /// Backups that stay whatever else is true.
    pub protect: BTreeSet<BackupId>,
    /// The time.
    pub clock: &'a Clock,
    /// What is asked for.
    pub wishes: Wishes,
}

/// What became of everything.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Replaced databases.
    #[serde(flatten)]
    pub databases: Databases,
    /// Backups, store by store.
    pub stores: Vec<InStore>,
    /// Why the server could not be asked for replaced databases.
    #[serde(skip)]
    pub server: Option<anyhow::Error>,
}

/// What became of the backups in one store.
#[derive(Debug, Serialize)]
pub struct InStore {
    /// Its name.
    pub store: String,
    /// What was decided.
    pub verdicts: Vec<Verdict>,
    /// What was done.
    #[serde(flatten)]
    pub pruned: Pruned,
    /// How many backups lie under the former name of the job. Retention leaves them alone: a job that is configured may have
    /// that name, and rules of its own.
    #[serde(skip_serializing_if = "is_zero")]
    pub former: u64,
    /// Why the newest run failed, where that keeps backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Why it could not be done, or only in part.
    #[serde(skip)]
    pub failed: Option<anyhow::Error>,
}

/// What is gone, and what a store does not let go.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pruned {
    /// Backups that are gone.
    pub deleted: Vec<BackupId>,
    /// Backups that no rule keeps and that the store does not let go of yet.
    pub locked: Vec<Held>,
}

/// A backup that its store does not let go of yet.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The backup.
    pub id: BackupId,
    /// When the store will, where it says so.
    pub until: Option<DateTime<Utc>>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is locked in its store", self.id)?;
        match self.until {
            Some(until) => write!(f, " until {}: it goes after that", until.to_rfc3339()),
            None => Ok(()),
        }
    }
}

impl<'a> Pruning<'a> {
    /// All stores of a job, as its rules say.
    #[must_use]
    pub fn new(job: &'a Job, clock: &'a Clock) -> Self {
        Pruning {
            job,
            stores: job.destinations.iter().collect(),
            protect: BTreeSet::new(),
            clock,
            wishes: Wishes::default(),
        }
    }

    /// Applies retention; what some manifests say is `known`. A store that fails keeps no other from its turn, and a server
    /// that is away keeps only safety snapshots.
    pub async fn run(&self, mut known: Known) -> Outcome {
        let wishes = replaced::Wishes {
            dry_run: self.wishes.dry_run,
            only_copies: self.wishes.only_copies,
        };
        let (databases, server) = match self.job.source.engine() {
            // A restore of a file keeps no database beside it.
            Engine::Sqlite => (Databases::default(), None),
            Engine::Postgres => match replaced::prune(self.job, self.clock.now(), wishes).await {
                Ok(databases) => (databases, None),
                Err(error) => (Databases::default(), Some(error)),
            },
        };
        let kept: BTreeSet<BackupId> = databases.snapshots().collect();
        let mut stores = Vec::new();
        for destination in &self.stores {
            let pruning = InOneStore {
                job: self.job,
                destination,
                protect: &self.protect,
                kept: server.is_none().then_some(&kept),
                clock: self.clock,
                force: self.wishes.force,
            };
            let known = known.remove(&destination.name).unwrap_or_default();
            stores.push(pruning.run(known, self.wishes.dry_run).await);
        }
        Outcome {
            databases,
            stores,
            server,
        }
    }
}

/// Retention in one store.
pub struct InOneStore<'a> {
    /// The job.
    pub job: &'a Job,
    /// The store.
    pub destination: &'a Destination,
    /// Backups that stay whatever else is true.
    pub protect: &'a BTreeSet<BackupId>,
    /// The safety snapshots of replaced databases that are kept; `None` where that is not known.
    pub kept: Option<&'a BTreeSet<BackupId>>,
    /// The time.
    pub clock: &'a Clock,
    /// Also while the job's last run failed.
    pub force: bool,
}

impl InOneStore<'_> {
    /// Decides what is to go; also says why the last run failed, where that counts. It does not where there was no room in
    /// this store: what would have gone all the same makes some.
    fn plan(&self, inventory: &Inventory) -> Result<(Vec<Verdict>, Option<String>)> {
        let now = self.clock.now();
        let candidates: Vec<Candidate> = inventory.backups.iter().map(candidate).collect();
        let held = inventory.holds.iter().filter(|hold| hold.counts(now));
        let in_use = held.map(|hold| hold.id).chain(self.protect.iter().copied()).collect();
        let failure = inventory.last_failure().filter(|failure| !failure.full && !self.force);
        let situation = Situation {
            now,
            zone: self.job.zone,
            last_run_failed: failure.is_some(),
            in_use: &in_use,
            kept: self.kept,
        };
        let verdicts = retention::plan(&candidates, &self.destination.policy, &situation)?;
        let failure = failure.map(|failure| format!("run {} failed: {}", failure.id, failure.error));
        Ok((verdicts, failure))
    }

    /// Applies retention, or with `dry_run` only decides; what some manifests say is `known`.
    pub async fn run(&self, known: BTreeMap<BackupId, Summary>, dry_run: bool) -> InStore {
        let mut done = InStore {
            store: self.destination.name.clone(),
            verdicts: Vec::new(),
            pruned: Pruned::default(),
            former: 0,
            last_failure: None,
            failed: None,
        };
        done.failed = self.apply(known, dry_run, &mut done).await.err();
        done
    }

    async fn apply(&self, known: BTreeMap<BackupId, Summary>, dry_run: bool, done: &mut InStore) -> Result<()> {
        let shelf = Shelf::new(self.job, self.destination);
        let inventory = shelf.inventory_knowing(known).await?;
        (done.verdicts, done.last_failure) = self.plan(&inventory)?;
        if let Some(former) = Shelf::former(self.job, self.destination) {
            done.former = former.names().await?.ids().count() as u64;
        }
        if dry_run {
            return Ok(());
        }
        // The oldest first: whenever this stops, what is left is a valid history.
        for Verdict { id, .. } in done.verdicts.iter().rev().filter(|verdict| !verdict.keep) {
            // A restore may have begun since the inventory was taken, or a person have pinned it.
            if shelf.is_wanted(*id, self.clock.now()).await? {
                continue;
            }
            // In a bucket with versions the deletion of a locked object only hides it: then it would be neither there nor gone.
            let removed = match shelf.locked(*id).await? {
                Some(locked) => Err(locked.into()),
                None => shelf.remove(*id).await,
            };
            match removed {
                Ok(()) => done.pruned.deleted.push(*id),
                Err(error) => match error.downcast_ref::<Locked>() {
                    Some(locked) => done.pruned.locked.push(Held {
                        id: *id,
                        until: locked.until,
                    }),
                    None => return Err(error),
                },
            }
        }
        shelf.forget_old_failures(&inventory).await
    }
}

/// What retention is about to do in a store.
pub struct Foreseen {
    /// What it would decide now.
    pub now: Vec<Verdict>,
    /// What it deletes after the next run, if that succeeds.
    pub next: Vec<BackupId>,
}

/// What retention of `job` is about to do in a store that has `inventory`; `kept` are the safety snapshots of replaced databases
/// that are kept, where that is known, and `next` is when the job runs next.
///
/// # Errors
/// The policy is empty.
pub fn foresee(
    job: &Job,
    destination: &Destination,
    inventory: &Inventory,
    kept: Option<&BTreeSet<BackupId>>,
    now: DateTime<Utc>,
    next: Option<DateTime<Utc>>,
) -> Result<Foreseen> {
    let clock = Clock::new(move || now);
    let one = InOneStore {
        job,
        destination,
        protect: &BTreeSet::new(),
        kept,
        clock: &clock,
        force: false,
    };
    let (verdicts, _) = one.plan(inventory)?;
    let mut candidates: Vec<Candidate> = inventory.backups.iter().map(candidate).collect();
    let newest = candidates.iter().find(|backup| backup.good).cloned();
    let mut foreseen = Foreseen {
        now: verdicts,
        next: Vec::new(),
    };
    if let (Some(newest), Some(next)) = (newest, next) {
        candidates.push(Candidate {
            id: BackupId::at(next),
            kind: Kind::Scheduled,
            pinned: false,
            of_replaced: false,
            ..newest
        });
        let held = inventory.holds.iter().filter(|hold| hold.counts(next));
        let situation = Situation {
            now: next,
            zone: job.zone,
            last_run_failed: false,
            in_use: &held.map(|hold| hold.id).collect(),
            kept,
        };
        let verdicts = retention::plan(&candidates, &destination.policy, &situation)?;
        let going = verdicts.into_iter().filter(|verdict| !verdict.keep);
        foreseen.next = going.map(|verdict| verdict.id).collect();
    }
    Ok(foreseen)
}

/// What retention weighs of a backup.
fn candidate(backup: &Backup) -> Candidate {
    let summary = &backup.summary;
    Candidate {
        id: summary.id,
        kind: summary.kind,
        pinned: backup.pin.is_some(),
        of_replaced: summary.kind == Kind::Safety && summary.in_place.is_none() && summary.source.engine.is_postgres(),
        good: backup.is_good(),
        source: summary.source.clone(),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way
fn is_zero(count: &u64) -> bool {
    *count == 0
}
