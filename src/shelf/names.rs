//! What the names and sizes of a shelf's objects say, before any of them is opened: one listing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::restored::RESTORE_ENDS;
use super::{DrillMark, Hold, Mark, Shelf};
use crate::error::Result;
use crate::manifest::{BackupId, Part};
use crate::store::ObjectMeta;

/// A shelf, or the part of it that was asked for, by the names in it.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The size of each manifest.
    pub(super) manifests: BTreeMap<BackupId, u64>,
    /// When each manifest and each record of a failed run was written.
    written: BTreeMap<(BackupId, Part), DateTime<Utc>>,
    /// The size of each file that manifests are about.
    files: BTreeMap<(BackupId, Part), u64>,
    /// The size of each record of a failed run.
    pub(super) failures: BTreeMap<BackupId, u64>,
    /// The size of each claim.
    pub(super) claims: BTreeMap<BackupId, u64>,
    /// The size of each pin.
    pub(super) pins: BTreeMap<BackupId, u64>,
    /// Backups that somebody began to delete.
    pub(super) removals: BTreeSet<BackupId>,
    /// How the restores ended that safety snapshots were taken for.
    pub(super) restores: BTreeSet<(BackupId, Part)>,
    /// The size of each record of a command that is run under guard.
    pub guards: BTreeMap<BackupId, u64>,
    /// Backups that somebody needs for a while.
    pub(super) holds: Vec<Hold>,
    /// How each backup did whenever it was looked at, the newest last.
    checks: BTreeMap<BackupId, Vec<Mark>>,
    /// How the drills of each backup went, the newest last.
    drills: BTreeMap<BackupId, Vec<DrillMark>>,
}

impl Names {
    fn of(job: &str, listed: Vec<ObjectMeta>) -> Self {
        let mut names = Names::default();
        for meta in listed {
            if let Some(name) = meta.path.strip_prefix(job).and_then(|rest| rest.strip_prefix('/')) {
                names.add(job, name, &meta);
            }
        }
        for marks in names.checks.values_mut() {
            marks.sort_by_key(|mark| mark.at);
        }
        for marks in names.drills.values_mut() {
            marks.sort_by_key(|mark| mark.at);
        }
        names
    }

    fn add(&mut self, job: &str, name: &str, meta: &ObjectMeta) {
        let size = meta.size;
        let parse = |part: Part| part.parse(job, name);
        if let Some(id) = parse(Part::Manifest) {
            self.manifests.insert(id, size);
            self.written.insert((id, Part::Manifest), meta.modified);
        } else if let Some(id) = parse(Part::Failure) {
            self.failures.insert(id, size);
            self.written.insert((id, Part::Failure), meta.modified);
        } else if let Some(id) = parse(Part::Claim) {
            self.claims.insert(id, size);
        } else if let Some(id) = parse(Part::Pin) {
            self.pins.insert(id, size);
        } else if let Some(id) = parse(Part::Removal) {
            self.removals.insert(id);
        } else if let Some(id) = parse(Part::Guard) {
            self.guards.insert(id, size);
        } else if let Some((id, part)) = RESTORE_ENDS.into_iter().find_map(|part| Some((parse(part)?, part))) {
            self.restores.insert((id, part));
        } else if let Some((id, part)) = Part::FILES.into_iter().find_map(|part| Some((parse(part)?, part))) {
            self.files.insert((id, part), size);
        } else if let Some(hold) = Hold::parse(job, name) {
            self.holds.push(hold);
        } else if let Some((id, mark)) = Mark::parse(job, name) {
            self.checks.entry(id).or_default().push(mark);
        } else if let Some((id, mark)) = DrillMark::parse(job, name) {
            self.drills.entry(id).or_default().push(mark);
        }
    }

    /// The ids of all manifests, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = BackupId> {
        self.manifests.keys().rev().copied()
    }

    /// When the newest run was started, whatever became of it.
    #[must_use]
    pub fn last_run(&self) -> Option<BackupId> {
        let backup = self.manifests.keys().next_back().copied();
        backup.max(self.failures.keys().next_back().copied())
    }

    /// All ids that a backup, a failed run or a run that is under way has.
    pub(super) fn taken(&self) -> BTreeSet<BackupId> {
        let files = self.files.keys().map(|(id, _)| id);
        let others = [&self.manifests, &self.failures, &self.claims].map(BTreeMap::keys);
        files.chain(others.into_iter().flatten()).copied().collect()
    }

    /// The size of a file of a backup, where it is there.
    #[must_use]
    pub fn size(&self, id: BackupId, part: Part) -> Option<u64> {
        self.files.get(&(id, part)).copied()
    }

    /// Size and time of a manifest or a record of a failed run: as long as they are the same, so is its text.
    #[must_use]
    pub fn stamp(&self, part: Part, id: BackupId) -> Option<(u64, DateTime<Utc>)> {
        let sizes = if part == Part::Manifest {
            &self.manifests
        } else {
            &self.failures
        };
        Some((*sizes.get(&id)?, *self.written.get(&(id, part))?))
    }

    /// How a backup did whenever it was looked at, the newest last.
    #[must_use]
    pub fn checks(&self, id: BackupId) -> &[Mark] {
        self.checks.get(&id).map_or(&[], Vec::as_slice)
    }

    /// How the drills of a backup went, the newest last.
    #[must_use]
    pub fn drills(&self, id: BackupId) -> &[DrillMark] {
        self.drills.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Whether a backup or a part of one has this id.
    pub(super) fn is_used(&self, id: BackupId) -> bool {
        self.manifests.contains_key(&id) || Part::FILES.iter().any(|part| self.size(id, *part).is_some())
    }
}

impl Shelf {
    /// Lists the whole shelf.
    ///
    /// # Errors
    /// The store fails.
    pub async fn names(&self) -> Result<Names> {
        self.listed("").await
    }

    /// Lists all that belongs to one backup.
    ///
    /// # Errors
    /// The store fails.
    pub async fn names_of(&self, id: BackupId) -> Result<Names> {
        self.listed(&format!("{}_{id}.", self.job)).await
    }

    async fn listed(&self, prefix: &str) -> Result<Names> {
        let listed = self.store.list(&self.file_path(prefix)).await?;
        Ok(Names::of(&self.job, listed))
    }
}
