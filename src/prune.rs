//! Retention applied: in each store of a job by what is to be kept there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::Clock;
use crate::error::Result;
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Summary};
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

/// Retention in one store of a job.
pub struct Pruning<'a> {
    /// The job.
    pub job: &'a Job,
    /// The store.
    pub destination: &'a Destination,
    /// Backups that stay whatever else is true.
    pub protect: &'a BTreeSet<BackupId>,
    /// The time.
    pub clock: &'a Clock,
}

impl Pruning<'_> {
    /// Decides what retention would do now.
    ///
    /// # Errors
    /// The policy is empty.
    pub fn plan(&self, inventory: &Inventory) -> Result<Vec<Verdict>> {
        let now = self.clock.now();
        let candidates: Vec<Candidate> = inventory.backups.iter().map(candidate).collect();
        let held = inventory
            .holds
            .iter()
            .filter(|hold| hold.counts(now))
            .map(|hold| hold.id);
        let in_use = held.chain(self.protect.iter().copied()).collect();
        let situation = Situation {
            now,
            zone: self.job.zone,
            last_run_failed: inventory.last_run_failed(),
            in_use: &in_use,
        };
        retention::plan(&candidates, &self.destination.policy, &situation)
    }

    /// Applies retention; `known` is what some manifests say, and `pruned` has what is gone even when it fails halfway.
    ///
    /// # Errors
    /// The store fails. That it holds a backup back is no failure.
    pub async fn run(&self, known: BTreeMap<BackupId, Summary>, pruned: &mut Pruned) -> Result<()> {
        let shelf = Shelf::new(self.job, self.destination);
        let inventory = shelf.inventory_knowing(known).await?;
        let verdicts = self.plan(&inventory)?;
        // The oldest first: whenever this stops, what is left is a valid history.
        for Verdict { id, .. } in verdicts.into_iter().rev().filter(|verdict| !verdict.keep) {
            // A restore may have begun since the inventory was taken, or a person have pinned it.
            if shelf.is_wanted(id, self.clock.now()).await? {
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
}

/// What retention weighs of a backup.
fn candidate(backup: &Backup) -> Candidate {
    let summary = &backup.summary;
    Candidate {
        id: summary.id,
        kind: summary.kind,
        pinned: backup.pin.is_some(),
        good: backup.is_good(),
        source: summary.source.clone(),
    }
}
