//! What a job has in all of its stores, the nearest first: by names alone, or with everything read.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::{Backup, Inventory, Known, Mark, Names, Shelf};
use crate::error::{Exit, Fail, Result};
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Depth, Manifest, Part, Summary};

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
    async fn of<F: Future<Output = Result<T>>>(
        job: &Job,
        shelves: Vec<Shelf>,
        read: impl Fn(Shelf) -> F,
    ) -> Result<Stock<T>> {
        let read = shelves.into_iter().map(|shelf| {
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

    /// The error of a backup that is not there: `what` the job has not, as in "no backup that is whole".
    #[must_use]
    pub fn not_found(&self, what: &str) -> anyhow::Error {
        let mut places: Vec<String> = self
            .shelves
            .iter()
            .map(|(shelf, _)| shelf.store().to_string())
            .collect();
        // Shelves of a former name of the job are in the same store.
        places.dedup();
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
        Stock::of(
            job,
            shelves(job),
            |shelf| async move { shelf.told(shelf.names().await) },
        )
        .await
    }

    /// Lists all stores of `job` as far as it takes to find the backup that `which` means.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn for_backup(job: &Job, which: &str) -> Result<Self> {
        let Ok(id) = which.parse() else {
            return Stock::names(job).await;
        };
        Stock::of(job, shelves(job), |shelf| async move {
            shelf.told(shelf.names_of(id).await)
        })
        .await
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

    /// Opens a copy; `None` where it was deleted since it was listed.
    ///
    /// # Errors
    /// Its manifest makes no sense, or the store fails.
    pub async fn open(&self, spot: &Spot) -> Result<Option<Copy>> {
        let mut shelves = self.shelves.iter();
        // A job that was called otherwise once has two shelves in a store.
        match shelves.find(|(shelf, names)| shelf.place() == spot.store && names.ids().any(|id| id == spot.id)) {
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

    /// The copies of a backup, those first that are whole as far as is known, the nearest first.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub async fn get(&self, id: BackupId) -> Result<Vec<Copy>> {
        let mut copies = self.copies(id).await?;
        if copies.is_empty() {
            return Err(self.not_found(&format!("no backup {id}")));
        }
        copies.sort_by_key(|copy| !copy.backup.is_whole());
        Ok(copies)
    }

    /// Reads all that the names name.
    ///
    /// # Errors
    /// A store fails.
    pub async fn opened(&self) -> Result<Stock> {
        let reading = self.shelves.iter().map(|(shelf, names)| async move {
            let inventory = shelf.read(names, Known::default()).await?;
            anyhow::Ok((shelf.clone(), inventory))
        });
        let shelves: Result<Vec<_>> = join_all(reading).await.into_iter().collect();
        Ok(Stock {
            job: self.job.clone(),
            shelves: shelves?,
            unreachable: Vec::new(),
        })
    }

    /// Lists what another job called `name` has in the stores of `job`.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn of_other(name: &str, job: &Job) -> Result<Self> {
        let shelf = |destination| Shelf::of_other(name, job, destination);
        let shelves = job.destinations.iter().map(shelf).collect();
        Stock::of(job, shelves, |shelf| async move { shelf.told(shelf.names().await) }).await
    }

    /// Names of the other jobs that have backups in the stores of `job` which are near: a bucket may be vast.
    pub async fn others(job: &Job) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for destination in job.destinations.iter().filter(|it| it.store.is_local()) {
            // What cannot be listed has no others; whoever reads it is told why.
            let listed = destination.store.list("").await.unwrap_or_default();
            let manifests = listed.iter().filter_map(|meta| {
                let (name, file) = meta.path.split_once('/')?;
                Part::Manifest.parse(name, file).map(|_| name.to_owned())
            });
            names.extend(manifests.filter(|name| *name != job.name));
        }
        names
    }
}

/// The shelves of a job, those under a former name too.
fn shelves(job: &Job) -> Vec<Shelf> {
    let shelves = job.destinations.iter().flat_map(|destination| {
        [Some(Shelf::new(job, destination)), Shelf::former(job, destination)]
            .into_iter()
            .flatten()
    });
    shelves.collect()
}

impl Stock {
    /// Reads all stores of `job`.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn read(job: &Job) -> Result<Self> {
        Stock::of(job, shelves(job), |shelf| async move { shelf.inventory().await }).await
    }

    /// The same by `read`, which may know better how.
    ///
    /// # Errors
    /// None of them can be read.
    pub async fn read_by<F: Future<Output = Result<Inventory>>>(job: &Job, read: impl Fn(Shelf) -> F) -> Result<Self> {
        Stock::of(job, shelves(job), read).await
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
