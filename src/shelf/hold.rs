//! Holds: a restore or a copy needs a backup for a while, and no pruning deletes it.
//!
//! Each hold is an object of its own, because the end of one must never be the end of another's. Its name says all:
//! `<job>_<id>.<until>.hold`.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{Shelf, this_process};
use crate::error::Result;
use crate::manifest::BackupId;
use crate::store::{self, Taken};

/// A hold on a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The backup.
    pub id: BackupId,
    /// When the hold ends by itself, should its process be killed. Ids have the format of a time to the second.
    end: BackupId,
}

impl Hold {
    /// Whether it counts at `now`.
    #[must_use]
    pub fn counts(&self, now: DateTime<Utc>) -> bool {
        self.end.time() > now
    }

    fn name(&self, job: &str) -> String {
        format!("{job}_{}.{}.hold", self.id, self.end)
    }

    pub(super) fn parse(job: &str, name: &str) -> Option<Hold> {
        let rest = name.strip_prefix(job)?.strip_prefix('_')?;
        let (id, end) = rest.strip_suffix(".hold")?.split_once('.')?;
        Some(Hold {
            id: id.parse().ok()?,
            end: end.parse().ok()?,
        })
    }
}

impl Shelf {
    /// Keeps a backup from being pruned until `until`, or until [`Shelf::unhold`].
    ///
    /// # Errors
    /// The store fails.
    pub async fn hold(&self, id: BackupId, until: DateTime<Utc>) -> Result<Hold> {
        let by = Bytes::from(this_process() + "\n");
        let mut hold = Hold {
            id,
            end: BackupId::at(until),
        };
        loop {
            let path = self.file_path(&hold.name(&self.job));
            match store::put(self.store.as_ref(), &path, by.clone()).await {
                Ok(_) => return Ok(hold),
                // Somebody else's ends in the same second.
                Err(error) if error.is::<Taken>() => hold.end = hold.end.next(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// The store fails.
    pub async fn unhold(&self, hold: &Hold) -> Result<()> {
        self.store.delete(&self.file_path(&hold.name(&self.job))).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;

    use super::*;
    use crate::store::Local;

    #[tokio::test]
    async fn the_end_of_one_hold_is_not_the_end_of_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf {
            place: "default".to_owned(),
            store: Arc::new(Local::new(folder.path())),
            current: true,
            job: "a_b".to_owned(),
        };
        let id: BackupId = "20261120T020000Z".parse().unwrap();
        let now: DateTime<Utc> = "2026-11-21T03:04:05.6Z".parse().unwrap();
        let day = now + TimeDelta::days(1);
        let restore = shelf.hold(id, now + TimeDelta::days(7)).await.unwrap();
        let (copy, other) = (shelf.hold(id, day).await.unwrap(), shelf.hold(id, day).await.unwrap());
        shelf.unhold(&copy).await.unwrap();
        assert_eq!(shelf.names_of(id).await.unwrap().holds, [other, restore]);
        assert!(shelf.is_wanted(id, day - TimeDelta::minutes(1)).await.unwrap());
        shelf.unhold(&other).await.unwrap();
        assert!(shelf.is_wanted(id, now + TimeDelta::days(6)).await.unwrap());
        assert!(!shelf.is_wanted(id, now + TimeDelta::days(8)).await.unwrap());
        shelf.discard(id).await.unwrap();
        assert_eq!(shelf.names_of(id).await.unwrap().holds, []);
    }
}
