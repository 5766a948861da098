//! Where a guard stops, for ever or until SIGUSR1 comes: tests kill it there, or its server.

use std::str::FromStr;

use crate::backup;
use crate::error::{Exit, Fail, Result};

/// A step of one of its phases: `backup:dump`, `restore:data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PauseAt {
    /// While the backup is taken.
    Backup(backup::Step),
    /// While the backup is put back, or becomes the copy of a rehearsal: the steps of each engine are its own.
    Restore(String),
}

impl PauseAt {
    /// The step of the backup.
    #[must_use]
    pub fn of_backup(&self) -> Option<backup::Step> {
        match self {
            PauseAt::Backup(step) => Some(*step),
            PauseAt::Restore(_) => None,
        }
    }

    /// The step of the restore.
    ///
    /// # Errors
    /// The engine has no such step.
    pub fn of_restore<S: FromStr<Err = Fail>>(&self) -> Result<Option<S>> {
        match self {
            PauseAt::Backup(_) => Ok(None),
            PauseAt::Restore(step) => Ok(Some(step.parse()?)),
        }
    }
}

impl FromStr for PauseAt {
    type Err = Fail;

    fn from_str(text: &str) -> Result<PauseAt, Fail> {
        match text.split_once(':') {
            Some(("backup", step)) => Ok(PauseAt::Backup(step.parse()?)),
            Some(("restore", step)) => Ok(PauseAt::Restore(step.to_owned())),
            _ => Err(Fail::new(
                Exit::Usage,
                format!("{text:?} is no step of a guard: backup:STEP or restore:STEP"),
            )),
        }
    }
}
