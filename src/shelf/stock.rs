//! What a job has in all of its stores, the nearest first: by names alone, or with everything read.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::{Backup, Inventory, Mark, Names, Shelf};
use crate::error::{Exit, Fail, Result, exit_of};
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Depth, Kind, Manifest, Summary};

/// How many backups are opened at once to see which is the newest of its kind, after the first was not.
const LOOKED_AT: usize = 4;

/// The shelves of a job, as far as their stores can be read: each with its [`Names`], or with its [`Inventory`].
pub struct Stock<T = Inventory> {
    job: String,
    /// What could be read.
    pub shelves: Vec<(Shelf, T)>,
    /// What could not be, and why.
    pub unreachable: Vec<(Shelf, anyhow::Error)>,
}

/// A backup in one store, opened.
#[derive(Clone)]
pub struct Copy {
    /// Where.
    pub shelf: Shelf,
    /// What is known of it.
    pub backup: Backup,
    /// All of its manifest.
    pub manifest: Box<Manifest>,
}

/// A backup in one store, by its name alone.
#[derive(Clone, Debug)]
pub struct Spot {
    /// Name of the store.
    pub store: String,
    /// The backup.
    pub id: BackupId,
    /// How it did whenever it was looked at, the newest last.
    pub checks: Vec<Mark>,
}

impl Spot {
    /// When somebody last looked at it, at least as thoroughly as `depth`.
    #[must_use]
    pub fn last_look(&self, depth: Depth) -> Option<DateTime<Utc>> {
        let mut looks = self.checks.iter().filter(|mark| mark.depth >= depth);
        looks.next_back().map(|mark| mark.at)
    }
}

impl<T> Stock<T> {
    async fn of<F: Future<Output = Result<T>>>(job: &Job, read: impl Fn(Shelf) -> F) -> Result<Stock<T>> {
        let shelves = job.destinations.iter().map(|destination| Shelf::new(job, destination));
        let read = shelves.map(|shelf| {
            let reading = read(shelf.clone());
            async move { (reading.await, shelf) }
        });
        let mut stock = Stock {
            job: job.name.clone(),
            shelves: Vec::new(),
            unreachable: Vec::new(),
        };
        for (found, shelf) in join_all(read).await {
            match found {
                Ok(found) => stock.shelves.push((shelf, found)),
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

    /// The same without what is in other stores.
    #[must_use]
    pub fn only(mut self, destination: &Destination) -> Self {
        self.shelves.retain(|(shelf, _)| shelf.place() == destination.name);
        self.unreachable.retain(|(shelf, _)| shelf.place() == destination.name);
        self
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

impl Stock<Names> {
    /// Lists all stores of `job`.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn names(job: &Job) -> Result<Self> {
        Stock::of(job, |shelf| async move { shelf.told(shelf.names().await) }).await
    }

    /// Lists all stores of `job` as far as it takes to find the backup that `which` means.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn for_backup(job: &Job, which: &str) -> Result<Self> {
        let Ok(id) = which.parse() else {
            return Stock::names(job).await;
        };
        Stock::of(job, |shelf| async move { shelf.told(shelf.names_of(id).await) }).await
    }

    /// When the newest run was started, whatever became of it.
    #[must_use]
    pub fn last_run(&self) -> Option<BackupId> {
        self.shelves.iter().filter_map(|(_, names)| names.last_run()).max()
    }

    /// The ids of all backups, the newest first.
    #[must_use]
    pub fn ids(&self) -> Vec<BackupId> {
        let ids: BTreeSet<BackupId> = self.shelves.iter().flat_map(|(_, names)| names.ids()).collect();
        ids.into_iter().rev().collect()
    }

    /// All copies of all backups.
    #[must_use]
    pub fn spots(&self) -> Vec<Spot> {
        let spot = |shelf: &Shelf, names: &Names, id| Spot {
            store: shelf.place().to_owned(),
            id,
            checks: names.checks(id).to_vec(),
        };
        let shelves = self.shelves.iter();
        let spots = shelves.flat_map(|(shelf, names)| names.ids().map(move |id| spot(shelf, names, id)));
        spots.collect()
    }

    /// The copies of one backup: an id, or `latest`, which is the newest, whatever it is. It is the one to look at also when
    /// it is damaged.
    ///
    /// # Errors
    /// There is no such backup.
    pub fn spots_of(&self, which: &str) -> Result<Vec<Spot>> {
        let id = match which {
            "latest" => self
                .ids()
                .into_iter()
                .next()
                .ok_or_else(|| self.not_found("no backup"))?,
            id => id.parse()?,
        };
        let mut spots = self.spots();
        spots.retain(|spot| spot.id == id);
        match spots.is_empty() {
            true => Err(self.not_found(&format!("no backup {id}"))),
            false => Ok(spots),
        }
    }

    /// Opens a copy; `None` where it was deleted since it was listed.
    ///
    /// # Errors
    /// Its manifest makes no sense, or the store fails.
    pub async fn open(&self, spot: &Spot) -> Result<Option<Copy>> {
        let mut shelves = self.shelves.iter();
        match shelves.find(|(shelf, _)| shelf.place() == spot.store) {
            Some((shelf, names)) => shelf.copy(names, spot.id).await,
            None => Ok(None),
        }
    }

    /// Whether the archive of a backup is there in some store.
    ///
    /// # Errors
    /// The stores fail that have it by name.
    pub async fn has(&self, id: BackupId) -> Result<bool> {
        let found = self.first(id, |backup| backup.present).await?;
        Ok(found.is_some())
    }

    /// What the manifest of a backup says, as the nearest store has it.
    ///
    /// # Errors
    /// The stores fail that have it by name.
    pub async fn summary(&self, id: BackupId) -> Result<Option<Summary>> {
        let found = self.first(id, |_| true).await?;
        Ok(found.map(|backup| backup.summary))
    }

    /// The nearest copy of a backup that is `wanted`.
    async fn first(&self, id: BackupId, wanted: impl Fn(&Backup) -> bool) -> Result<Option<Backup>> {
        let mut failed = None;
        for (shelf, names) in &self.shelves {
            match shelf.backup(names, id).await {
                Ok(Some(backup)) if wanted(&backup) => return Ok(Some(backup)),
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The copies of one backup, the nearest first; empty where there are none.
    ///
    /// # Errors
    /// There are some, and none of them can be opened: the first reason.
    pub async fn copies(&self, id: BackupId) -> Result<Vec<Copy>> {
        let opening = self.shelves.iter().map(|(shelf, names)| shelf.copy(names, id));
        let (mut copies, mut failed) = (Vec::new(), None);
        for opened in join_all(opening).await {
            match opened {
                Ok(copy) => copies.extend(copy),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        match failed {
            Some(error) if copies.is_empty() => Err(error),
            _ => Ok(copies),
        }
    }

    /// The copies of the newest backup that has one that is `wanted`. What makes no sense is passed over.
    ///
    /// # Errors
    /// A store fails: an older backup would not be the newest.
    pub async fn newest(&self, wanted: impl Fn(&Backup) -> bool) -> Result<Option<Vec<Copy>>> {
        let ids = self.ids();
        let (first, others) = ids.split_at(ids.len().min(1));
        for ids in [first].into_iter().chain(others.chunks(LOOKED_AT)) {
            for copies in join_all(ids.iter().map(|id| self.copies(*id))).await {
                match copies {
                    Ok(copies) if copies.iter().any(|copy| wanted(&copy.backup)) => return Ok(Some(copies)),
                    Err(error) if exit_of(&error) != Exit::Damaged => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// The copies of the backup that `which` means, those first that are whole as far as is known, the nearest first:
    /// an id, or `latest`, which is the newest that is whole, is of a database that was, and was not taken by a restore of
    /// what it replaced.
    ///
    /// # Errors
    /// There is no such backup.
    pub async fn find(&self, which: &str) -> Result<Vec<Copy>> {
        let mut copies = match which {
            "latest" => {
                let newest = self.newest(|backup| {
                    backup.is_whole() && backup.summary.kind != Kind::Safety && !backup.summary.is_of_damaged()
                });
                let newest = newest.await?;
                newest.ok_or_else(|| self.not_found("no backup that is whole"))?
            }
            id => {
                let id = id.parse()?;
                let copies = self.copies(id).await?;
                if copies.is_empty() {
                    return Err(self.not_found(&format!("no backup {id}")));
                }
                copies
            }
        };
        copies.sort_by_key(|copy| !copy.backup.is_whole());
        Ok(copies)
    }
}

impl Stock {
    /// Reads all stores of `job`.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn read(job: &Job) -> Result<Self> {
        Stock::of(job, |shelf| async move { shelf.inventory().await }).await
    }

    /// What could be read.
    pub fn inventories(&self) -> impl Iterator<Item = &Inventory> {
        self.shelves.iter().map(|(_, inventory)| inventory)
    }

    /// The ids of all backups, the newest first.
    #[must_use]
    pub fn ids(&self) -> Vec<BackupId> {
        let backups = self.inventories().flat_map(|inventory| &inventory.backups);
        let ids: BTreeSet<BackupId> = backups.map(|backup| backup.summary.id).collect();
        ids.into_iter().rev().collect()
    }

    /// The copies of one backup, the nearest first.
    pub fn copies(&self, id: BackupId) -> impl Iterator<Item = (&Shelf, &Backup)> {
        self.shelves
            .iter()
            .filter_map(move |(shelf, inventory)| Some((shelf, inventory.backup(id)?)))
    }
}
