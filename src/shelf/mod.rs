//! What one job has in a store: its backups, the claims of its runs, the records beside them.
//!
//! A backup exists when its manifest does: the manifest is written last and deleted first. A run announces
//! itself by a claim, and a deletion by a record too, so that what they leave when they are killed is known as
//! their own and not guessed from names.

mod check;
mod files;
mod hold;
mod record;
mod stock;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use crate::error::{Exit, Fail, Result, exit_of};
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Depth, FORMAT_VERSION, File, Manifest, Part, Source};
use crate::seal::Algorithm;
use crate::store::{self, Missing, Store};

pub use check::{Check, Mark};
pub use hold::Hold;
pub use record::{Claim, Failure, Pin, is_dead, this_process};
pub use stock::{Copy, Stock};

/// The largest manifest or record that is read: a table takes some 150 bytes of it.
const RECORD_LIMIT: u64 = 256 << 20;

/// How many manifests and records are read at once: far stores answer slowly, and each is small.
const READERS: usize = 8;

/// How old the claim of a copy must be before it counts as killed: a copy holds no lock that could tell.
const COPY_AGE: TimeDelta = TimeDelta::days(1);

/// The folder of one job in a store. Display names the store.
#[derive(Clone)]
pub struct Shelf {
    place: String,
    store: Arc<dyn Store>,
    job: String,
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.place, self.store)
    }
}

/// One backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether its archive is there, as large as the manifest says.
    pub present: bool,
    /// The pin of a person.
    pub pin: Option<Pin>,
    /// How it did whenever it was looked at, the newest last.
    pub checks: Vec<Mark>,
}

impl Backup {
    /// Whether a restore could rely on it, as far as is known.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.present && self.failed_check().is_none() && self.proven().is_some() && !self.manifest.is_of_damaged()
    }

    /// The failure that makes it a damaged one: no later check that looked as thoroughly has passed.
    #[must_use]
    pub fn failed_check(&self) -> Option<&Mark> {
        check::standing_failure(&self.checks)
    }

    /// What last proved it, and when.
    #[must_use]
    pub fn proven(&self) -> Option<Proven> {
        let checked = self.checks.iter().rev().find(|mark| mark.passed);
        let written = || self.manifest.verified.last();
        checked
            .map(|mark| Proven {
                how: mark.depth.to_string(),
                at: mark.at,
            })
            .or_else(|| {
                written().map(|check| Proven {
                    how: check.how.clone(),
                    at: check.at,
                })
            })
    }

    /// When somebody last looked at it, at least as thoroughly as `depth`.
    #[must_use]
    pub fn last_look(&self, depth: Depth) -> Option<DateTime<Utc>> {
        let mut looks = self.checks.iter().filter(|mark| mark.depth >= depth);
        looks.next_back().map(|mark| mark.at)
    }
}

/// What proved a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// `written` (shown by the store or read back after the export), `quick` or `full`.
    pub how: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Everything that a shelf holds, each list newest first.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The backups.
    pub backups: Vec<Backup>,
    /// Runs that failed.
    pub failures: Vec<Failure>,
    /// Runs that are under way or were killed.
    pub claims: Vec<Claim>,
    /// Backups that somebody needs for a while.
    pub holds: Vec<Hold>,
    /// Manifests that cannot be read, each with the reason.
    pub unreadable: Vec<String>,
    /// Backups that somebody began to delete.
    removals: Vec<BackupId>,
}

impl Inventory {
    /// When the newest run was started, whatever became of it.
    #[must_use]
    pub fn last_run(&self) -> Option<BackupId> {
        let backup = self.backups.first().map(|backup| backup.manifest.id);
        backup.max(self.failures.first().map(|failure| failure.id))
    }

    /// Whether the newest run failed.
    #[must_use]
    pub fn last_run_failed(&self) -> bool {
        let newest = self.backups.first().map(|backup| backup.manifest.id);
        self.failures.first().is_some_and(|failure| Some(failure.id) > newest)
    }

    /// The backup of this id.
    #[must_use]
    pub fn backup(&self, id: BackupId) -> Option<&Backup> {
        self.backups.iter().find(|backup| backup.manifest.id == id)
    }
}

/// What an object of a shelf turned out to be.
enum Object {
    Manifest(Box<Manifest>),
    Unreadable(String),
    Failure(Failure),
    Claim(Claim),
    Hold(Hold),
    Pin(Pin),
    Removal(BackupId),
    Check(BackupId, Mark),
    Other,
}

impl Shelf {
    /// The shelf of `job` in one of its stores.
    #[must_use]
    pub fn new(job: &Job, destination: &Destination) -> Self {
        Shelf {
            place: destination.name.clone(),
            store: Arc::clone(&destination.store),
            job: job.name.clone(),
        }
    }

    /// The name of the store in the configuration.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The store that it is in.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The path of a part of a backup.
    #[must_use]
    pub fn path(&self, part: Part, id: BackupId) -> String {
        self.file_path(&part.name(&self.job, id))
    }

    /// The path of a file that a manifest names.
    #[must_use]
    pub fn file_path(&self, name: &str) -> String {
        format!("{}/{name}", self.job)
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The store fails. A manifest that makes no sense is no error: the others are still wanted.
    pub async fn inventory(&self) -> Result<Inventory> {
        let reading = async {
            let listed = self.store.list(&format!("{}/", self.job)).await?;
            let sizes: BTreeMap<String, u64> = listed.iter().map(|meta| (meta.path.clone(), meta.size)).collect();
            let objects: Vec<Object> = stream::iter(listed.into_iter().rev())
                .map(|meta| {
                    let shelf = self.clone();
                    async move { shelf.object(&meta.path).await }
                })
                .buffered(READERS)
                .try_collect()
                .await?;
            Ok(self.sort(objects, &sizes))
        };
        let read: Result<Inventory> = reading.await;
        read.with_context(|| format!("reading the backups of job {} in {self}", self.job))
    }

    /// Reads one object, as far as its name does not say all of it.
    async fn object(&self, path: &str) -> Result<Object> {
        let job = self.job.as_str();
        let Some(name) = path.strip_prefix(job).and_then(|rest| rest.strip_prefix('/')) else {
            return Ok(Object::Other);
        };
        if Part::Manifest.parse(job, name).is_some() {
            return match self.manifest(path).await {
                Ok(manifest) => Ok(Object::Manifest(Box::new(manifest))),
                Err(error) if exit_of(&error) == Exit::Damaged => Ok(Object::Unreadable(format!("{error:#}"))),
                // Deleted since it was listed.
                Err(error) if error.is::<Missing>() => Ok(Object::Other),
                Err(error) => Err(error),
            };
        }
        let found = if Part::Failure.parse(job, name).is_some() {
            self.record(path).await?.map(Object::Failure)
        } else if Part::Claim.parse(job, name).is_some() {
            self.record(path).await?.map(Object::Claim)
        } else if let Some(hold) = Hold::parse(job, name) {
            Some(Object::Hold(hold))
        } else if let Some(id) = Part::Pin.parse(job, name) {
            // A pin is one whatever is left of its text.
            let pin = self.record(path).await?;
            Some(Object::Pin(pin.unwrap_or_else(|| Pin::nameless(id))))
        } else if let Some(id) = Part::Removal.parse(job, name) {
            Some(Object::Removal(id))
        } else {
            Mark::parse(job, name).map(|(id, mark)| Object::Check(id, mark))
        };
        Ok(found.unwrap_or(Object::Other))
    }

    fn sort(&self, objects: Vec<Object>, sizes: &BTreeMap<String, u64>) -> Inventory {
        let mut found = Inventory::default();
        let mut pins: BTreeMap<BackupId, Pin> = BTreeMap::new();
        let mut checks: BTreeMap<BackupId, Vec<Mark>> = BTreeMap::new();
        for object in objects {
            match object {
                Object::Manifest(manifest) => {
                    let size = sizes.get(&self.file_path(&manifest.archive.name));
                    found.backups.push(Backup {
                        present: size == Some(&manifest.archive.bytes),
                        manifest: *manifest,
                        pin: None,
                        checks: Vec::new(),
                    });
                }
                Object::Unreadable(why) => found.unreadable.push(why),
                Object::Failure(failure) => found.failures.push(failure),
                Object::Claim(claim) => found.claims.push(claim),
                Object::Hold(hold) => found.holds.push(hold),
                Object::Removal(id) => found.removals.push(id),
                Object::Pin(pin) => drop(pins.insert(pin.id, pin)),
                Object::Check(id, mark) => checks.entry(id).or_default().push(mark),
                Object::Other => {}
            }
        }
        for backup in &mut found.backups {
            backup.pin = pins.remove(&backup.manifest.id);
            backup.checks = checks.remove(&backup.manifest.id).unwrap_or_default();
            backup.checks.sort_by_key(|mark| mark.at);
        }
        found
    }

    async fn manifest(&self, path: &str) -> Result<Manifest> {
        let damaged = |why: String| Fail::new(Exit::Damaged, format!("the manifest {path} in {} {why}", self.store));
        let text = store::get(self.store.as_ref(), path, RECORD_LIMIT).await?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("cannot be understood: {error}")))?;
        if manifest.format_version > FORMAT_VERSION {
            let message = format!(
                "has format version {}, and this Snapback reads up to {FORMAT_VERSION}: use the newer Snapback that wrote it",
                manifest.format_version
            );
            return Err(damaged(message).into());
        }
        // A manifest may only speak for the files of its own backup: they are what pruning deletes.
        let own = |file: &File, part: Part| file.name == part.name(&self.job, manifest.id);
        let sealed = manifest.encryption.is_some();
        let algorithm = Algorithm::named(&manifest.compression).unwrap_or_default();
        let archive = Part::archive(manifest.source.engine, algorithm, sealed);
        let globals = Part::globals(sealed);
        let speaks_for_itself = manifest.job == self.job
            && path == self.path(Part::Manifest, manifest.id)
            && own(&manifest.archive, archive)
            && manifest.globals.as_ref().is_none_or(|file| own(file, globals));
        if !speaks_for_itself {
            return Err(damaged("is about another backup".to_owned()).into());
        }
        Ok(manifest)
    }

    /// Makes a backup exist, after its files do.
    ///
    /// # Errors
    /// The store fails; then the backup does not exist.
    pub async fn publish(&self, manifest: &Manifest) -> Result<()> {
        let Err(error) = self.put(Part::Manifest, manifest.id, manifest).await else {
            return Ok(());
        };
        // A store across a network may have done what it could not say any more.
        match self.manifest(&self.path(Part::Manifest, manifest.id)).await {
            Ok(found) if found == *manifest => Ok(()),
            _ => Err(error),
        }
    }

    /// Deletes a backup: the manifest first, so that it never promises what is not there.
    ///
    /// # Errors
    /// The store fails; what is left is no backup any more, or still a whole one. [`store::Locked`]: the store
    /// does not let go of it yet.
    pub async fn remove(&self, id: BackupId) -> Result<()> {
        self.announce_removal(id).await?;
        if let Err(error) = self.store.delete(&self.path(Part::Manifest, id)).await {
            // If this fails too, the next run sees that the manifest is there and takes it back.
            let _ = self.store.delete(&self.path(Part::Removal, id)).await;
            return Err(error);
        }
        self.delete_files(id).await?;
        self.store.delete(&self.path(Part::Removal, id)).await
    }

    /// Deletes what there is of a backup that has no manifest and that nobody makes any more, unfinished uploads too: with
    /// the id go all files of that one run, whoever else is at work in the store.
    ///
    /// # Errors
    /// There is a manifest after all, or the store fails.
    pub async fn discard(&self, id: BackupId) -> Result<()> {
        anyhow::ensure!(self.is_gone(id).await?, "{} exists", self.path(Part::Manifest, id));
        self.store
            .abandon(&self.file_path(&format!("{}_{id}.", self.job)))
            .await?;
        self.delete_files(id).await
    }

    /// The archive and the globals of a backup, as far as they are there.
    pub(self) async fn files_of(&self, id: BackupId) -> Result<Vec<String>> {
        let listed = self.store.list(&self.file_path(&format!("{}_{id}.", self.job))).await?;
        let is_file = |path: &String| Part::FILES.iter().any(|part| self.path(*part, id) == *path);
        Ok(listed.into_iter().map(|meta| meta.path).filter(is_file).collect())
    }

    async fn delete_files(&self, id: BackupId) -> Result<()> {
        for path in self.files_of(id).await? {
            self.store.delete(&path).await?;
        }
        self.store.delete(&self.path(Part::Pin, id)).await?;
        for hold in self.holds(id).await? {
            self.unhold(&hold).await?;
        }
        self.forget_checks(id).await
    }

    /// Cleans up at `now` after killed runs of the job on `source`, whose lock the caller holds (so none is
    /// alive), and after killed deletions. Returns what it cleaned, and what it found.
    ///
    /// # Errors
    /// The store fails.
    pub async fn clean(&self, source: &Source, now: DateTime<Utc>) -> Result<(Vec<String>, Inventory)> {
        let mut cleaned = self.store.clean(&format!("{}/", self.job)).await?;
        let inventory = self.inventory().await?;
        for claim in &inventory.claims {
            let may_live = claim.copied && (now - claim.started).abs() < COPY_AGE;
            if may_live || !claim.source.same_database(source) {
                continue;
            }
            if self.is_gone(claim.id).await? {
                self.discard(claim.id).await?;
                cleaned.push(format!("the killed run {} ({})", claim.id, claim.by));
            }
            self.release(claim.id).await?;
        }
        for &id in &inventory.removals {
            if self.is_gone(id).await? {
                self.discard(id).await?;
                cleaned.push(format!("the rest of the deleted backup {id}"));
            }
            self.store.delete(&self.path(Part::Removal, id)).await?;
        }
        Ok((cleaned, inventory))
    }
}
