//! How the restore ended that a safety snapshot was taken for: what an undo goes by. The name of a small object says it.

use super::{Names, Shelf, this_process};
use crate::error::Result;
use crate::manifest::{BackupId, Part};
use crate::store::Taken;

/// What such an object can be.
pub(super) const RESTORE_ENDS: [Part; 2] = [Part::Replaced, Part::Unchanged];

impl Shelf {
    /// Remembers whether the restore that the safety snapshot `id` was taken for has replaced what is in it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn record_restore(&self, id: BackupId, replaced: bool) -> Result<()> {
        let part = if replaced { Part::Replaced } else { Part::Unchanged };
        match self.put(part, id, &this_process()).await {
            Err(error) if !error.is::<Taken>() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Names {
    /// Whether the restore that the safety snapshot `id` was taken for has replaced what is in it; `None` where it was killed
    /// before it could say so.
    #[must_use]
    pub fn has_replaced(&self, id: BackupId) -> Option<bool> {
        let has = |part| self.restores.contains(&(id, part));
        match (has(Part::Replaced), has(Part::Unchanged)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}
