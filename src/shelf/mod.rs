//! What one job has in a store: its backups, the claims of its runs, the records of its failures.
//!
//! A backup exists when its manifest does: the manifest is written last and deleted first. A run announces
//! itself by a claim, so that what it leaves when it is killed is known as its own and not guessed from names.

mod files;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, FORMAT_VERSION, File, Kind, Manifest, Part, Source};
use crate::store::{self, Store};

pub use record::{Claim, Failure, Hold};

/// The largest manifest or record that is read: a table takes some 150 bytes of it.
const RECORD_LIMIT: u64 = 256 << 20;

/// The folder of one job in a store.
#[derive(Clone)]
pub struct Shelf {
    store: Arc<dyn Store>,
    job: String,
}

/// One backup.
#[derive(Clone, Debug, Serialize)]
pub struct Backup {
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether its archive is there, as large as the manifest says.
    pub present: bool,
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
}

impl Shelf {
    /// The shelf of `job` in its store.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Shelf::new(Arc::clone(&job.store), &job.name)
    }

    /// The shelf of the job called `job` in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, job: &str) -> Self {
        Shelf {
            store,
            job: job.to_owned(),
        }
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
        let listed = self.store.list(&format!("{}/", self.job)).await?;
        let sizes: BTreeMap<&str, u64> = listed.iter().map(|meta| (meta.path.as_str(), meta.size)).collect();
        let mut found = Inventory::default();
        for meta in listed.iter().rev() {
            let Some(name) = meta.path.strip_prefix(&format!("{}/", self.job)) else {
                continue;
            };
            if Part::Manifest.parse(&self.job, name).is_some() {
                match self.manifest(&meta.path).await {
                    Ok(manifest) => {
                        let size = sizes.get(self.file_path(&manifest.archive.name).as_str());
                        let present = size == Some(&manifest.archive.bytes);
                        found.backups.push(Backup { manifest, present });
                    }
                    Err(error) => found.unreadable.push(format!("{error:#}")),
                }
            } else if Part::Failure.parse(&self.job, name).is_some() {
                found.failures.extend(self.record(&meta.path).await);
            } else if Part::Claim.parse(&self.job, name).is_some() {
                found.claims.extend(self.record(&meta.path).await);
            } else if Part::Hold.parse(&self.job, name).is_some() {
                found.holds.extend(self.record(&meta.path).await);
            }
        }
        Ok(found)
    }

    /// The backup that `which` means: an id, or `latest`, which is the newest that is there and was not taken
    /// by a restore of what it replaced.
    ///
    /// # Errors
    /// There is no such backup.
    pub async fn find(&self, which: &str) -> Result<Manifest> {
        if which != "latest" {
            let id: BackupId = which.parse()?;
            let path = self.path(Part::Manifest, id);
            return match self.store.stat(&path).await? {
                Some(_) => self.manifest(&path).await,
                None => Err(self.not_found(&format!("no backup {id}"))),
            };
        }
        let inventory = self.inventory().await?;
        let is_wanted = |backup: &Backup| backup.present && backup.manifest.kind != Kind::Safety;
        match inventory.backups.into_iter().find(is_wanted) {
            Some(backup) => Ok(backup.manifest),
            None => Err(self.not_found("no backup that is whole")),
        }
    }

    fn not_found(&self, what: &str) -> anyhow::Error {
        Fail::new(Exit::NotFound, format!("job {} has {what} in {}", self.job, self.store))
            .hint(format!("`snapback list {}` shows what there is", self.job))
            .into()
    }

    async fn manifest(&self, path: &str) -> Result<Manifest> {
        let damaged = |why: String| Fail::new(Exit::Damaged, format!("the manifest {path} in {} {why}", self.store));
        let text = store::get(self.store.as_ref(), path, RECORD_LIMIT).await?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("cannot be understood: {error}")))?;
        if manifest.format_version > FORMAT_VERSION {
            let message = format!(
                "has format version {}, and this Snapback reads up to {FORMAT_VERSION}",
                manifest.format_version
            );
            return Err(damaged(message).hint("use the newer Snapback that wrote it").into());
        }
        // A manifest may only speak for the files of its own backup: they are what pruning deletes.
        let own = |file: &File, part: Part| file.name == part.name(&self.job, manifest.id);
        let speaks_for_itself = manifest.job == self.job
            && path == self.path(Part::Manifest, manifest.id)
            && own(&manifest.archive, Part::Archive)
            && manifest.globals.as_ref().is_none_or(|file| own(file, Part::Globals));
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
        self.put(Part::Manifest, manifest.id, manifest).await
    }

    /// Deletes a backup: the manifest first, so that it never promises what is not there.
    ///
    /// # Errors
    /// The store fails; what is left is no backup any more, or still a whole one.
    pub async fn remove(&self, manifest: &Manifest) -> Result<()> {
        self.store.delete(&self.path(Part::Manifest, manifest.id)).await?;
        self.discard(manifest.id).await
    }

    /// Deletes the files of a run that has no manifest.
    ///
    /// # Errors
    /// There is a manifest after all, or the store fails.
    pub async fn discard(&self, id: BackupId) -> Result<()> {
        let manifest = self.path(Part::Manifest, id);
        anyhow::ensure!(self.store.stat(&manifest).await?.is_none(), "{manifest} exists");
        for part in [Part::Archive, Part::Globals] {
            self.store.delete(&self.path(part, id)).await?;
        }
        Ok(())
    }

    /// Cleans up after killed runs of the job on `source`, whose lock the caller holds: so none is alive.
    /// Returns what it cleaned.
    ///
    /// # Errors
    /// The store fails.
    pub async fn clean(&self, source: &Source) -> Result<Vec<String>> {
        let mut cleaned = self.store.clean(&format!("{}/", self.job)).await?;
        for claim in self.inventory().await?.claims {
            if !claim.source.same_database(source) {
                continue;
            }
            if self.store.stat(&self.path(Part::Manifest, claim.id)).await?.is_none() {
                self.discard(claim.id).await?;
                cleaned.push(format!("the killed run {} ({})", claim.id, claim.by));
            }
            self.release(claim.id).await?;
        }
        Ok(cleaned)
    }
}

/// Reads everything of `what`, naming the shelf in errors.
///
/// # Errors
/// As [`Shelf::inventory`].
pub async fn inventory(job: &Job) -> Result<Inventory> {
    let shelf = Shelf::of(job);
    shelf
        .inventory()
        .await
        .with_context(|| format!("reading the backups of job {} in {}", job.name, shelf.store))
}
