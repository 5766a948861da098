//! What one job has in a store: its backups, the claims of its runs, the records of its failures.
//!
//! A backup exists when its manifest does: the manifest is written last and deleted first. A run announces
//! itself by a claim, so that what it leaves when it is killed is known as its own and not guessed from names.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, FORMAT_VERSION, File, Kind, Manifest, Part, Source};
use crate::postgres::output::Written;
use crate::seal::Digest;
use crate::store::{self, Store, Taken};

/// The largest manifest or record that is read: a table takes some 150 bytes of it.
const RECORD_LIMIT: u64 = 256 << 20;

/// How much of an archive is read at a time.
const READ_SIZE: u64 = 4 << 20;

/// How many records of failed runs are kept.
const FAILURES_KEPT: usize = 20;

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

    /// A small record; one that cannot be read is only a record less.
    async fn record<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let text = store::get(self.store.as_ref(), path, RECORD_LIMIT).await.ok()?;
        serde_json::from_slice(&text).ok()
    }

    async fn put(&self, part: Part, id: BackupId, record: &impl Serialize) -> Result<()> {
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

    /// Stores a small file of a backup.
    ///
    /// # Errors
    /// The store fails.
    pub async fn write(&self, part: Part, id: BackupId, bytes: Bytes) -> Result<File> {
        let mut digest = Digest::new();
        digest.update(&bytes);
        let file = File {
            name: part.name(&self.job, id),
            bytes: digest.bytes(),
            sha256: digest.hex(),
        };
        store::put(self.store.as_ref(), &self.file_path(&file.name), bytes).await?;
        Ok(file)
    }

    /// Reads a file of a backup from end to end and compares it with what is known of it; `read` hears of the
    /// bytes as they come.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: the file is missing, has another size or another digest.
    pub async fn check(&self, file: &File, read: &(dyn Fn(u64) + Send + Sync)) -> Result<()> {
        self.check_size(&file.name, file.bytes).await?;
        let mut digest = Digest::new();
        self.each(&file.name, file.bytes, &mut |bytes| digest.update(bytes), read)
            .await?;
        let sha256 = digest.hex();
        if sha256 != file.sha256 {
            let why = format!("its SHA-256 is {sha256} instead of {}", file.sha256);
            return Err(self.damaged(&file.name, &why));
        }
        Ok(())
    }

    /// Reads back a file that was just written, and returns what the manifest says of it. `read` hears of the
    /// bytes as they come.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: it is not what was written.
    pub async fn read_back(&self, name: String, written: &Written, read: &(dyn Fn(u64) + Send + Sync)) -> Result<File> {
        self.check_size(&name, written.bytes).await?;
        let mut back = written.read_back();
        self.each(&name, written.bytes, &mut |bytes| back.update(bytes), read)
            .await?;
        match back.finish() {
            Some(sha256) => Ok(File {
                name,
                bytes: written.bytes,
                sha256,
            }),
            None => Err(self.damaged(&name, "it is not what was written")),
        }
    }

    fn damaged(&self, name: &str, why: &str) -> anyhow::Error {
        let path = self.file_path(name);
        Fail::new(Exit::Damaged, format!("{path} in {} is damaged: {why}", self.store)).into()
    }

    async fn check_size(&self, name: &str, bytes: u64) -> Result<()> {
        match self.store.stat(&self.file_path(name)).await? {
            None => Err(self.damaged(name, "it is missing")),
            Some(meta) if meta.size != bytes => {
                Err(self.damaged(name, &format!("it has {} bytes instead of {bytes}", meta.size)))
            }
            Some(_) => Ok(()),
        }
    }

    /// Shows all bytes of a file to `see`, piece by piece.
    async fn each(
        &self,
        name: &str,
        size: u64,
        see: &mut (dyn FnMut(&[u8]) + Send),
        read: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<()> {
        let path = self.file_path(name);
        let mut position = 0;
        while position < size {
            let end = size.min(position + READ_SIZE);
            see(&self.store.read(&path, position..end).await?);
            read(end - position);
            position = end;
        }
        Ok(())
    }
}

/// This process, for people who look at a claim.
fn this_process() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("process {} on {node}", std::process::id())
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
