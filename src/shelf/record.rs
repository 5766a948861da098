//! The small records beside a job's backups: claims of runs, failures, pins.
//!
//! A record is an object of its own that is written once: nothing in a store is ever changed.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::{Inventory, Shelf};
use crate::error::Result;
use crate::manifest::{BackupId, Kind, Part, Source};
use crate::redact;
use crate::retention::CLOCK_TOLERANCE;
use crate::store::{self, Locked, Taken};

/// How many records of failed runs are kept.
const FAILURES_KEPT: usize = 20;

/// A run that is under way, or was killed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The backup that it makes.
    pub id: BackupId,
    /// The database that it reads: only a run that holds the lock of the same one may call it dead.
    pub source: Source,
    /// When it started.
    pub started: DateTime<Utc>,
    /// Process and machine, for people.
    pub by: String,
    /// Whether it is no run but a copy from another store, which holds no lock.
    #[serde(default)]
    pub copied: bool,
}

/// A backup that a person wants to stay until they say otherwise: no pruning deletes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The backup.
    pub id: BackupId,
    /// Since when; `None` where the record cannot be read any more.
    pub at: Option<DateTime<Utc>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Pin {
    /// A pin of which nothing but the backup is known.
    pub(super) fn nameless(id: BackupId) -> Self {
        Pin {
            id,
            at: None,
            reason: None,
        }
    }
}

/// A run that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// When it started, as the id that its backup would have had.
    pub id: BackupId,
    /// Why it ran.
    pub kind: Kind,
    /// When it failed.
    pub failed: DateTime<Utc>,
    /// Why it failed.
    pub error: String,
    /// Whether it was for want of room in this very store: then deleting what nobody needs any more is what helps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
}

impl Shelf {
    pub(super) async fn put(&self, part: Part, id: BackupId, record: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string_pretty(record)?;
        // A manifest has names that must stay as they are, and no text of ours but its warnings.
        if part != Part::Manifest {
            text = redact::json(&text).into_owned();
        }
        text.push('\n');
        let (store, path, text) = (self.store.as_ref(), self.path(part, id), Bytes::from(text));
        // All others are taken back sooner or later.
        match part {
            Part::Manifest => store::put_to_stay(store, &path, text).await?,
            _ => store::put(store, &path, text).await?,
        };
        Ok(())
    }

    /// Announces a run or a copy; `false` when something has its id already.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub async fn claim(&self, claim: &Claim) -> Result<bool> {
        match self.put(Part::Claim, claim.id, claim).await {
            Ok(()) if !self.names_of(claim.id).await?.is_used(claim.id) => Ok(true),
            Ok(()) => self.release(claim.id).await.map(|()| false),
            Err(error) if error.is::<Taken>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The claim of a run or a copy that makes the backup `id`.
    ///
    /// # Errors
    /// The store fails.
    pub async fn claim_of(&self, id: BackupId) -> Result<Option<Claim>> {
        let names = self.names_of(id).await?;
        Ok(self.records(Part::Claim, &names.claims).await?.pop())
    }

    /// Whether a claim still stands; a run whose claim was taken away must not publish.
    ///
    /// # Errors
    /// The store fails.
    pub async fn is_claimed(&self, id: BackupId) -> Result<bool> {
        Ok(self.store.stat(&self.path(Part::Claim, id)).await?.is_some())
    }

    /// Takes the claim of a run back.
    ///
    /// # Errors
    /// The store fails.
    pub async fn release(&self, id: BackupId) -> Result<()> {
        self.store.delete(&self.path(Part::Claim, id)).await
    }

    /// Records a failed run. One that had no id of its own yet gets one above those of all backups: its failure must
    /// be the newest, also after backups that were taken so fast that their ids are ahead of the clock.
    ///
    /// # Errors
    /// The store fails.
    pub async fn record_failure(&self, failure: &Failure) -> Result<()> {
        let mut failure = failure.clone();
        let soon = BackupId::at(failure.failed + CLOCK_TOLERANCE);
        let newest = self.names().await?.ids().find(|id| *id <= soon);
        if let Some(newest) = newest {
            failure.id = failure.id.max(newest.next());
        }
        match self.put(Part::Failure, failure.id, &failure).await {
            // Two failures within a second tell no more than one.
            Err(error) if error.is::<Taken>() => Ok(()),
            recorded => recorded,
        }
    }

    /// Forgets all but the newest records of failures.
    ///
    /// # Errors
    /// The store fails.
    pub async fn forget_old_failures(&self, inventory: &Inventory) -> Result<()> {
        for failure in inventory.failures.iter().skip(FAILURES_KEPT) {
            self.store.delete(&self.path(Part::Failure, failure.id)).await?;
        }
        Ok(())
    }

    /// Pins a backup; `false` when it was pinned before, which stays as it was.
    ///
    /// # Errors
    /// The store fails.
    pub async fn pin(&self, pin: &Pin) -> Result<bool> {
        match self.put(Part::Pin, pin.id, pin).await {
            Ok(()) => Ok(true),
            Err(error) if error.is::<Taken>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the backup `id` does not exist (any more).
    ///
    /// # Errors
    /// The store fails.
    pub async fn is_gone(&self, id: BackupId) -> Result<bool> {
        Ok(self.store.stat(&self.path(Part::Manifest, id)).await?.is_none())
    }

    /// Takes a pin away.
    ///
    /// # Errors
    /// The store fails.
    pub async fn unpin(&self, id: BackupId) -> Result<()> {
        self.store.delete(&self.path(Part::Pin, id)).await
    }

    /// Whether somebody wants a backup to stay at `now`: asked once more before it is deleted.
    ///
    /// # Errors
    /// The store fails.
    pub async fn is_wanted(&self, id: BackupId, now: DateTime<Utc>) -> Result<bool> {
        let names = self.names_of(id).await?;
        Ok(names.pins.contains_key(&id) || names.holds.iter().any(|hold| hold.counts(now)))
    }

    /// The lock that keeps a backup from being deleted. Its manifest was written last, so that is the last to be let go.
    ///
    /// # Errors
    /// The store fails.
    pub async fn locked(&self, id: BackupId) -> Result<Option<Locked>> {
        self.store.locked(&self.path(Part::Manifest, id)).await
    }

    /// Says that a backup is about to be deleted.
    pub(super) async fn announce_removal(&self, id: BackupId) -> Result<()> {
        match self.put(Part::Removal, id, &this_process()).await {
            Err(error) if !error.is::<Taken>() => Err(error),
            _ => Ok(()),
        }
    }
}

/// This process, for people who look at a claim.
pub fn this_process() -> String {
    format!("process {} on {}", std::process::id(), this_machine())
}

/// Whether what [`this_process`] once said was of this machine, and that process lives no more.
#[must_use]
pub fn is_dead(process: &str) -> bool {
    let here = || {
        let (number, machine) = process.strip_prefix("process ")?.split_once(" on ")?;
        let number: u32 = number.parse().ok()?;
        (machine == this_machine()).then_some(number)
    };
    // A number that another process has by now counts as alive: that errs on the safe side. The kernel is asked, as /proc may
    // hide the processes of others.
    let lives = |number: i32| match Pid::from_raw(number).map(test_kill_process) {
        Some(Err(error)) => error != Errno::SRCH,
        Some(Ok(())) => true,
        None => false,
    };
    here().is_some_and(|number| i32::try_from(number).map_or(true, |number| !lives(number)))
}

fn this_machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_dead_is() {
        assert!(!is_dead(&this_process()));
        assert!(!is_dead("process 4294967295 on another-machine"));
        assert!(!is_dead("somebody"));
        // Numbers of processes end at 2^22.
        assert!(is_dead(&format!("process 4294967295 on {}", this_machine())));
    }
}
