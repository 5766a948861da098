//! What one job has in a store: its backups, the claims of its runs, the records beside them.
//!
//! A backup exists when its manifest does: the manifest is written last and deleted first. A run announces
//! itself by a claim, and a deletion by a record too, so that what they leave when they are killed is known as
//! their own and not guessed from names.

mod check;
mod drilled;
mod files;
mod guarded;
mod hold;
mod names;
mod reading;
mod record;
mod restored;
mod stock;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::error::Result;
use crate::job::{Destination, Job};
use crate::manifest::{BackupId, Manifest, Part, Source, Summary};
use crate::retention::CLOCK_TOLERANCE;
use crate::store::{Missing, Store, Taken, is_full};

pub use check::{Check, Mark};
pub use drilled::{Drill, DrillMark};
pub use hold::Hold;
pub use names::Names;
pub use reading::Known;
pub use record::{Claim, Failure, Pin, is_dead, this_process};
pub use stock::{Copy, Spot, Stock};

/// The largest manifest or record that is read: a table takes some 150 bytes of it.
const RECORD_LIMIT: u64 = 256 << 20;

/// How old the claim of a copy must be before it counts as killed: a copy holds no lock that could tell.
const COPY_AGE: TimeDelta = TimeDelta::days(1);

/// The folder of one job in a store. Display names the store.
#[derive(Clone)]
pub struct Shelf {
    place: String,
    store: Arc<dyn Store>,
    job: String,
    /// Whether it is where the job's backups go, and not where older versions had them.
    current: bool,
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.place, self.store)
    }
}

/// One backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// What its manifest says, but for what grows with the database.
    pub summary: Summary,
    /// Whether its archive is there, as large as the manifest says.
    pub present: bool,
    /// The pin of a person.
    pub pin: Option<Pin>,
    /// How it did whenever it was looked at, the newest last.
    pub checks: Vec<Mark>,
    /// How its drills went, the newest last.
    pub drills: Vec<DrillMark>,
}

impl Backup {
    /// What a manifest and the listing say of a backup. A pin is one whatever is left of its text.
    fn of(summary: Summary, pin: Option<Pin>, names: &Names) -> Self {
        let id = summary.id;
        let archive = summary.archive_part();
        Backup {
            present: names.size(id, archive) == Some(summary.archive.bytes),
            pin: names
                .pins
                .contains_key(&id)
                .then(|| pin.unwrap_or_else(|| Pin::nameless(id))),
            checks: names.checks(id).to_vec(),
            drills: names.drills(id).to_vec(),
            summary,
        }
    }

    /// Whether it is whole, as far as is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.present && self.failed_check().is_none()
    }

    /// Whether a restore could rely on it, as far as is known.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.is_whole() && self.proven().is_some() && !self.summary.is_of_damaged()
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
        let written = || self.summary.verified.last();
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
}

impl Backup {
    /// What last showed that it can be relied on, and when: the last drill, where that passed, says more than any look at files.
    #[must_use]
    pub fn shown(&self) -> Option<Proven> {
        let drill = self.drills.last().filter(|drill| drill.passed).map(|drill| Proven {
            how: DRILL.to_owned(),
            at: drill.at,
        });
        // A drill leaves a check too, whose name may have a later second where another had the same.
        let after = |check: &Proven, drill: &Proven| check.at > drill.at + TimeDelta::seconds(2);
        match (self.proven(), drill) {
            (Some(check), Some(drill)) if after(&check, &drill) => Some(check),
            (check, drill) => drill.or(check),
        }
    }
}

/// What [`Proven::how`] is of a drill.
const DRILL: &str = "drill";

/// What proved a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// `written` (shown by the store or read back after the export), `quick`, `full`, `drill` or `restore`.
    pub how: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl Proven {
    /// What proved it, for people.
    #[must_use]
    pub fn words(&self) -> &str {
        match self.how.as_str() {
            DRILL => "shown by a drill",
            "restore" => "shown by a restore",
            how => how,
        }
    }
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
    /// Backups before which a guard began its command that has not ended, and the sizes of their records.
    pub guards: BTreeMap<BackupId, u64>,
    /// Backups that somebody began to delete.
    removals: Vec<BackupId>,
    /// Ids that something has: a backup, also one that cannot be read, a failed run, or one that is under way.
    taken: BTreeSet<BackupId>,
}

impl Inventory {
    /// Why the newest run failed, if it did.
    #[must_use]
    pub fn last_failure(&self) -> Option<&Failure> {
        let newest = self.backups.first().map(|backup| backup.summary.id);
        self.failures.first().filter(|failure| Some(failure.id) > newest)
    }

    /// The newest id that something has, and that no wrong clock gave it, as it seems at `now`.
    #[must_use]
    pub fn newest_id(&self, now: DateTime<Utc>) -> Option<BackupId> {
        self.taken
            .range(..=BackupId::at(now + CLOCK_TOLERANCE))
            .next_back()
            .copied()
    }

    /// The backup of this id.
    #[must_use]
    pub fn backup(&self, id: BackupId) -> Option<&Backup> {
        self.backups.iter().find(|backup| backup.summary.id == id)
    }

    /// What the manifests say, to be read no second time.
    #[must_use]
    pub fn into_summaries(self) -> BTreeMap<BackupId, Summary> {
        let backups = self.backups.into_iter();
        backups.map(|backup| (backup.summary.id, backup.summary)).collect()
    }
}

impl Shelf {
    /// The shelf of `job` in one of its stores.
    #[must_use]
    pub fn new(job: &Job, destination: &Destination) -> Self {
        Shelf {
            place: destination.name.clone(),
            store: Arc::clone(&destination.store),
            job: job.name.clone(),
            current: true,
        }
    }

    /// The shelf that the job had in one of its stores under its former name.
    #[must_use]
    pub fn former(job: &Job, destination: &Destination) -> Option<Self> {
        Some(Shelf::of_other(job.former.as_deref()?, job, destination))
    }

    /// The shelf of another job called `name`, in one of the stores of `job`.
    #[must_use]
    pub fn of_other(name: &str, job: &Job, destination: &Destination) -> Self {
        Shelf {
            job: name.to_owned(),
            current: false,
            ..Shelf::new(job, destination)
        }
    }

    /// The shelf of the same name in another store.
    #[must_use]
    pub fn beside(&self, destination: &Destination) -> Self {
        Shelf {
            place: destination.name.clone(),
            store: Arc::clone(&destination.store),
            ..self.clone()
        }
    }

    /// Whether it is where the job's backups go.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.current
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

    /// Reads everything, of manifests their summaries.
    ///
    /// # Errors
    /// The store fails. A manifest that makes no sense is no error: the others are still wanted.
    pub async fn inventory(&self) -> Result<Inventory> {
        self.inventory_knowing(BTreeMap::new()).await
    }

    /// The same, where some summaries are `known` already.
    ///
    /// # Errors
    /// As [`Shelf::inventory`].
    pub async fn inventory_knowing(&self, known: BTreeMap<BackupId, Summary>) -> Result<Inventory> {
        let known = Known {
            summaries: known,
            ..Known::default()
        };
        let reading = async { self.read(&self.names().await?, known).await };
        self.told(reading.await)
    }

    /// The same of what was listed, where some of it is `known` already.
    ///
    /// # Errors
    /// As [`Shelf::inventory`].
    pub async fn inventory_of(&self, names: &Names, known: Known) -> Result<Inventory> {
        self.told(self.read(names, known).await)
    }

    /// `read` with what it was about, where it failed.
    ///
    /// # Errors
    /// That of `read`.
    pub fn told<T>(&self, read: Result<T>) -> Result<T> {
        read.with_context(|| format!("reading the backups of job {} in {self}", self.job))
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
        match self.manifest(manifest.id).await {
            Ok(found) if found == *manifest => Ok(()),
            _ => Err(error),
        }
    }

    /// Deletes a backup: the manifest first, so that it never promises what is not there.
    ///
    /// # Errors
    /// The store fails; what is left is no backup any more, or still a whole one. [`crate::store::Locked`]: the store
    /// does not let go of it yet.
    pub async fn remove(&self, id: BackupId) -> Result<()> {
        self.retire(id).await?;
        self.delete_files(id).await?;
        self.store.delete(&self.path(Part::Removal, id)).await
    }

    /// Makes a backup none any more, and leaves a record that the rest of it goes. On a disk that is full there is no room
    /// for a record: there the manifest becomes it, by getting its name.
    async fn retire(&self, id: BackupId) -> Result<()> {
        let [manifest, removal] = [Part::Manifest, Part::Removal].map(|part| self.path(part, id));
        match self.store.rename(&manifest, &removal).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // A deletion that was killed has left a record, or the folder has no room for another name.
            Err(error) if error.is::<Taken>() || error.is::<Missing>() || is_full(&error) => {}
            Err(error) => return Err(error),
        }
        let announced = match self.announce_removal(id).await {
            Err(error) if is_full(&error) => false,
            announced => announced.map(|()| true)?,
        };
        if let Err(error) = self.store.delete(&manifest).await {
            // If this fails too, the next run sees that the manifest is there and takes it back.
            let _ = self.store.delete(&removal).await;
            return Err(error);
        }
        // There is room now: what a kill leaves from here on should not be nobody's.
        if !announced && let Err(error) = self.announce_removal(id).await {
            tracing::debug!("deleting {manifest} in {self} without a record: {error:#}");
        }
        Ok(())
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

    /// Deletes what is listed of a backup but its manifest.
    async fn delete_files(&self, id: BackupId) -> Result<()> {
        let names = self.names_of(id).await?;
        for part in Part::FILES.into_iter().filter(|part| names.size(id, *part).is_some()) {
            self.store.delete(&self.path(part, id)).await?;
        }
        if names.pins.contains_key(&id) {
            self.unpin(id).await?;
        }
        for hold in &names.holds {
            self.unhold(hold).await?;
        }
        for id in names.guards.keys() {
            self.end_guard(*id).await?;
        }
        for (id, part) in &names.restores {
            self.store.delete(&self.path(*part, *id)).await?;
        }
        self.forget_drills(id, &names).await?;
        self.forget_checks(id, &names).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_a_little_ahead_of_the_clock_is_the_newest_and_one_of_a_wrong_clock_is_not() {
        let id = |text: &str| text.parse::<BackupId>().unwrap();
        let inventory = Inventory {
            taken: ["20261120T020000Z", "20261120T020003Z", "20991231T000000Z"]
                .map(id)
                .into(),
            ..Inventory::default()
        };
        let now = "2026-11-20T02:00:01.5Z".parse().unwrap();
        assert_eq!(inventory.newest_id(now), Some(id("20261120T020003Z")));
        assert_eq!(Inventory::default().newest_id(now), None);
    }
}
