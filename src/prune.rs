//! Retention applied: in each store of a job by what is to be kept there.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::Clock;
use crate::error::Result;
use crate::job::{Destination, Job};
use crate::manifest::BackupId;
use crate::retention::{self, Candidate, Situation, Verdict};
use crate::shelf::{Backup, Inventory, Shelf};
use crate::store::Locked;

/// What became of the backups in one store.
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

/// Decides what retention would do now in one store.
///
/// # Errors
/// The policy is empty.
pub fn plan(
    job: &Job,
    destination: &Destination,
    inventory: &Inventory,
    protect: &BTreeSet<BackupId>,
    now: DateTime<Utc>,
) -> Result<Vec<Verdict>> {
    let candidates: Vec<Candidate> = inventory.backups.iter().map(candidate).collect();
    let held = inventory
        .holds
        .iter()
        .filter(|hold| hold.counts(now))
        .map(|hold| hold.id);
    let in_use = held.chain(protect.iter().copied()).collect();
    let situation = Situation {
        now,
        zone: job.zone,
        last_run_failed: inventory.last_run_failed(),
        in_use: &in_use,
    };
    retention::plan(&candidates, &destination.policy, &situation)
}

/// What retention weighs of a backup.
fn candidate(backup: &Backup) -> Candidate {
    let manifest = &backup.manifest;
    Candidate {
        id: manifest.id,
        kind: manifest.kind,
        pinned: backup.pin.is_some(),
        good: backup.is_good(),
        source: manifest.source.clone(),
    }
}

/// Applies retention in one store; `pruned` has what is gone even when it fails halfway.
///
/// # Errors
/// The store fails. That it holds a backup back is no failure.
pub async fn prune(
    job: &Job,
    destination: &Destination,
    protect: &BTreeSet<BackupId>,
    clock: &Clock,
    pruned: &mut Pruned,
) -> Result<()> {
    let shelf = Shelf::new(job, destination);
    let inventory = shelf.inventory().await?;
    let verdicts = plan(job, destination, &inventory, protect, clock.now())?;
    // The oldest first: whenever this stops, what is left is a valid history.
    for Verdict { id, .. } in verdicts.into_iter().rev().filter(|verdict| !verdict.keep) {
        // A restore may have begun since the inventory was taken, or a person have pinned it.
        if shelf.is_wanted(id, clock.now()).await? {
            continue;
        }
        // In a bucket with versions the deletion of a locked object only hides it: then it would be neither there nor gone.
        let removed = match shelf.locked(id).await? {
            Some(locked) => Err(locked.into()),
            None => shelf.remove(id).await,
        };
        match removed {
            Ok(()) => pruned.deleted.push(id),
            Err(error) => match error.downcast_ref::<Locked>() {
                Some(locked) => pruned.locked.push(Held {
                    id,
                    until: locked.until,
                }),
                None => return Err(error),
            },
        }
    }
    shelf.forget_old_failures(&inventory).await
}
