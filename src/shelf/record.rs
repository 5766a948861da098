//! The small records beside a job's backups: claims of runs, failures, holds.
//!
//! A record is an object of its own that is written once: nothing in a store is ever changed.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Inventory, RECORD_LIMIT, Shelf};
use crate::error::Result;
use crate::manifest::{BackupId, Kind, Part, Source};
use crate::store::{self, Taken};

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
}

/// A backup that somebody needs for a while: no pruning deletes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The backup.
    pub id: BackupId,
    /// When the hold ends by itself, should its process be killed.
    pub until: DateTime<Utc>,
    /// Process and machine, for people.
    pub by: String,
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
}

impl Shelf {
    /// A small record; one that cannot be read is only a record less.
    pub(super) async fn record<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let text = store::get(self.store.as_ref(), path, RECORD_LIMIT).await.ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) async fn put(&self, part: Part, id: BackupId, record: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        store::put(self.store.as_ref(), &self.path(part, id), Bytes::from(text)).await?;
        Ok(())
    }

    /// Announces a run at `now`, under the first id that nothing has.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub async fn claim(&self, source: &Source, now: DateTime<Utc>) -> Result<Claim> {
        let mut id = BackupId::at(now);
        loop {
            let claim = Claim {
                id,
                source: source.clone(),
                started: now,
                by: this_process(),
            };
            match self.put(Part::Claim, id, &claim).await {
                Ok(()) if !self.is_used(id).await? => return Ok(claim),
                Ok(()) => self.release(id).await?,
                Err(error) if error.is::<Taken>() => {}
                Err(error) => return Err(error),
            }
            id = id.next();
        }
    }

    /// Whether a backup or a part of one has this id.
    async fn is_used(&self, id: BackupId) -> Result<bool> {
        for part in [Part::Manifest, Part::Archive, Part::Globals] {
            if self.store.stat(&self.path(part, id)).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Records a failed run.
    ///
    /// # Errors
    /// The store fails.
    pub async fn record_failure(&self, failure: &Failure) -> Result<()> {
        match self.put(Part::Failure, failure.id, failure).await {
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

    /// Keeps a backup from being pruned until `until`, or until [`Shelf::unhold`].
    ///
    /// # Errors
    /// The store fails.
    pub async fn hold(&self, id: BackupId, until: DateTime<Utc>) -> Result<()> {
        let hold = Hold {
            id,
            until,
            by: this_process(),
        };
        match self.put(Part::Hold, id, &hold).await {
            Err(error) if error.is::<Taken>() => {
                // Someone held it before, perhaps long ago: the longer hold is the one that counts now.
                self.unhold(id).await?;
                self.put(Part::Hold, id, &hold).await
            }
            held => held,
        }
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// The store fails.
    pub async fn unhold(&self, id: BackupId) -> Result<()> {
        self.store.delete(&self.path(Part::Hold, id)).await
    }
}

/// This process, for people who look at a claim.
fn this_process() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("process {} on {node}", std::process::id())
}
