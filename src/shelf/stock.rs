//! What a job has in all of its stores, the nearest first.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::{Backup, Inventory, Shelf};
use crate::error::{Exit, Fail, Result};
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Kind};

/// The shelves of a job, as far as their stores can be read.
pub struct Stock {
    job: String,
    /// What could be read.
    pub shelves: Vec<(Shelf, Inventory)>,
    /// What could not be, and why.
    pub unreachable: Vec<(Shelf, anyhow::Error)>,
}

/// A backup in one store.
#[derive(Clone)]
pub struct Copy {
    /// Where.
    pub shelf: Shelf,
    /// The backup.
    pub backup: Backup,
}

impl Copy {
    fn of((shelf, backup): (&Shelf, &Backup)) -> Self {
        Copy {
            shelf: shelf.clone(),
            backup: backup.clone(),
        }
    }
}

impl Stock {
    /// Reads all stores of `job`.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn read(job: &Job) -> Result<Stock> {
        let shelves = job.destinations.iter().map(|destination| Shelf::new(job, destination));
        let read = shelves.map(|shelf| async move { (shelf.inventory().await, shelf) });
        let mut stock = Stock {
            job: job.name.clone(),
            shelves: Vec::new(),
            unreachable: Vec::new(),
        };
        for (inventory, shelf) in join_all(read).await {
            match inventory {
                Ok(inventory) => stock.shelves.push((shelf, inventory)),
                Err(error) => stock.unreachable.push((shelf, error)),
            }
        }
        if stock.shelves.is_empty() && !stock.unreachable.is_empty() {
            return Err(stock.unreachable.swap_remove(0).1);
        }
        Ok(stock)
    }

    /// Says in the log which stores could not be read.
    pub fn warn(&self) {
        for (_, error) in &self.unreachable {
            tracing::warn!("{error:#}");
        }
    }

    /// When the newest run was started, whatever became of it.
    #[must_use]
    pub fn last_run(&self) -> Option<BackupId> {
        self.inventories().filter_map(Inventory::last_run).max()
    }

    /// What could be read.
    pub fn inventories(&self) -> impl Iterator<Item = &Inventory> {
        self.shelves.iter().map(|(_, inventory)| inventory)
    }

    /// Whether the archive of a backup is there in some store.
    #[must_use]
    pub fn has(&self, id: BackupId) -> bool {
        let mut found = self.inventories().filter_map(|inventory| inventory.backup(id));
        found.any(|backup| backup.present)
    }

    /// The same without what is in other stores.
    #[must_use]
    pub fn only(mut self, destination: &Destination) -> Stock {
        self.shelves.retain(|(shelf, _)| shelf.place() == destination.name);
        self.unreachable.retain(|(shelf, _)| shelf.place() == destination.name);
        self
    }

    /// All copies of all backups.
    #[must_use]
    pub fn all(&self) -> Vec<Copy> {
        let shelves = self.shelves.iter();
        let copies = shelves.flat_map(|(shelf, inventory)| inventory.backups.iter().map(move |it| (shelf, it)));
        copies.map(Copy::of).collect()
    }

    /// The ids of all backups, the newest first.
    #[must_use]
    pub fn ids(&self) -> Vec<BackupId> {
        let backups = self.inventories().flat_map(|inventory| &inventory.backups);
        let ids: BTreeSet<BackupId> = backups.map(|backup| backup.manifest.id).collect();
        ids.into_iter().rev().collect()
    }

    /// The copies of one backup, the nearest first.
    pub fn copies(&self, id: BackupId) -> impl Iterator<Item = (&Shelf, &Backup)> {
        self.shelves
            .iter()
            .filter_map(move |(shelf, inventory)| Some((shelf, inventory.backup(id)?)))
    }

    /// The copies of the backup that `which` means, those first that are whole as far as is known, the nearest first:
    /// an id, or `latest`, which is the newest that is whole, is of a database that was, and was not taken by a restore of
    /// what it replaced.
    ///
    /// # Errors
    /// There is no such backup.
    pub fn find(&self, which: &str) -> Result<Vec<Copy>> {
        let is_whole = |backup: &Backup| backup.present && backup.failed_check().is_none();
        let id = match which {
            "latest" => {
                let wanted = |backup: &Backup| {
                    is_whole(backup) && backup.manifest.kind != Kind::Safety && !backup.manifest.is_of_damaged()
                };
                let has_wanted = |id: &BackupId| self.copies(*id).any(|(_, backup)| wanted(backup));
                let newest = self.ids().into_iter().find(has_wanted);
                newest.ok_or_else(|| self.not_found("no backup that is whole"))?
            }
            id => id.parse()?,
        };
        let mut copies: Vec<Copy> = self.copies(id).map(Copy::of).collect();
        copies.sort_by_key(|copy| !is_whole(&copy.backup));
        match copies.is_empty() {
            true => Err(self
                .unreadable(id)
                .unwrap_or_else(|| self.not_found(&format!("no backup {id}")))),
            false => Ok(copies),
        }
    }

    /// What is wrong with a backup whose manifest cannot be read.
    fn unreadable(&self, id: BackupId) -> Option<anyhow::Error> {
        let mut reasons = self.inventories().flat_map(|inventory| &inventory.unreadable);
        let reason = reasons.find(|reason| reason.contains(&id.to_string()))?;
        Some(Fail::new(Exit::Damaged, reason.clone()).into())
    }

    fn not_found(&self, what: &str) -> anyhow::Error {
        let places: Vec<String> = self
            .shelves
            .iter()
            .map(|(shelf, _)| shelf.store().to_string())
            .collect();
        let mut message = format!("job {} has {what} in {}", self.job, places.join(", "));
        for (shelf, error) in &self.unreachable {
            message.push_str(&format!("; {shelf} could not be read: {error:#}"));
        }
        Fail::new(Exit::NotFound, message)
            .hint(format!("`snapback list {}` shows what there is", self.job))
            .into()
    }
}
