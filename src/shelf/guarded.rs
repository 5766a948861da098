//! Commands that are run under `snapback guard`: a small object beside their backup says who runs one. It goes when the guard
//! ends; what a killed one left tells the next command what is there.

use std::collections::BTreeMap;

use super::Shelf;
use super::record::{is_dead, this_process};
use crate::error::Result;
use crate::manifest::{BackupId, Part};
use crate::store::Taken;

impl Shelf {
    /// Says that this process is about to run a command under the guard of backup `id`.
    ///
    /// # Errors
    /// The store fails.
    pub async fn begin_guard(&self, id: BackupId) -> Result<()> {
        match self.put(Part::Guard, id, &this_process()).await {
            Err(error) if !error.is::<Taken>() => Err(error),
            _ => Ok(()),
        }
    }

    /// Says that the guard has ended, and that a person knows how.
    ///
    /// # Errors
    /// The store fails.
    pub async fn end_guard(&self, id: BackupId) -> Result<()> {
        self.store.delete(&self.path(Part::Guard, id)).await
    }

    /// Those of the `guards` that were killed on this machine.
    ///
    /// # Errors
    /// The store fails.
    pub async fn killed_guards(&self, guards: &BTreeMap<BackupId, u64>) -> Result<Vec<BackupId>> {
        let mut killed = Vec::new();
        for (id, size) in guards {
            let text = self.store.read(&self.path(Part::Guard, *id), 0..*size).await?;
            let by: String = serde_json::from_slice(&text).unwrap_or_default();
            if is_dead(&by) {
                killed.push(*id);
            }
        }
        Ok(killed)
    }
}
