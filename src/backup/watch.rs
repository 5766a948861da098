//! The named steps of a backup, and who is told when one is reached.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Exit, Fail};
use crate::manifest;
use crate::postgres::dump::Progress;

/// Where a run is. A kill at any step before the last leaves no manifest, and the next run cleans up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The job's lock is taken.
    Lock,
    /// What killed runs left is removed.
    Clean,
    /// The run is announced in the store.
    Claim,
    /// The database is dumped into the archive.
    Dump,
    /// The archive is there; it is read back.
    Verify,
    /// Roles and tablespaces are stored.
    Globals,
    /// The manifest is written.
    Publish,
    /// The backup exists; the claim is taken back.
    Release,
    /// Retention is applied.
    Prune,
}

impl Step {
    const ALL: [(Step, &'static str, &'static str); 9] = [
        (Step::Lock, "lock", "taking the job's lock"),
        (Step::Clean, "clean", "cleaning up after killed runs"),
        (Step::Claim, "claim", "announcing the run"),
        (Step::Dump, "dump", "dumping the database"),
        (Step::Verify, "verify", "reading the archive back"),
        (Step::Globals, "globals", "storing roles and tablespaces"),
        (Step::Publish, "publish", "writing the manifest"),
        (Step::Release, "release", "finishing the run"),
        (Step::Prune, "prune", "applying retention"),
    ];

    /// What happens in the step, for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(step, ..)| *step == self)
            .map_or("", |(.., text)| text)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(step, ..)| step == self);
        f.write_str(name.map_or("", |(_, name, _)| name))
    }
}

impl FromStr for Step {
    type Err = Fail;

    fn from_str(text: &str) -> Result<Self, Fail> {
        let step = Self::ALL.iter().find(|(_, name, _)| *name == text);
        step.map(|(step, ..)| *step)
            .ok_or_else(|| Fail::new(Exit::Usage, format!("{text:?} is not a step of a backup")))
    }
}

/// What a backup tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A step begins.
    Step(Step),
    /// How much there is to read in this step, about, in bytes.
    Total(u64),
    /// So many more bytes were read.
    Read(u64),
    /// Something that a person should know and that does not stop the run.
    Warning(String),
}

/// Whom a backup tells what it does.
#[derive(Clone)]
pub struct Watch {
    report: Arc<dyn Fn(Event) + Send + Sync>,
    pause_at: Option<Step>,
}

impl Watch {
    /// Tells `report`, which must not block.
    pub fn new(report: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Watch {
            report: Arc::new(report),
            pause_at: None,
        }
    }

    /// Tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        Watch::new(|_| ())
    }

    /// The same, but it stops for ever at `step`: tests kill it there.
    #[must_use]
    pub fn pausing_at(mut self, step: Option<Step>) -> Self {
        self.pause_at = step;
        self
    }

    /// Says that `step` is reached.
    pub async fn step(&self, step: Step) {
        tracing::debug!(%step, "{}", step.describe());
        self.tell(Event::Step(step));
        if self.pause_at == Some(step) {
            std::future::pending::<()>().await;
        }
    }

    /// Tells something.
    pub fn tell(&self, event: Event) {
        (self.report)(event);
    }
}

impl Progress for Watch {
    fn expect(&self, bytes: u64) {
        self.tell(Event::Total(bytes));
    }

    fn read(&self, bytes: u64, _rows: u64) {
        self.tell(Event::Read(bytes));
    }

    fn table(&self, table: &manifest::Table) {
        tracing::debug!(
            schema = table.schema,
            table = table.name,
            rows = table.rows,
            bytes = table.bytes,
            "dumped"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_and_a_text() {
        for (step, name, text) in Step::ALL {
            assert_eq!(name.parse::<Step>().unwrap(), step);
            assert_eq!((step.to_string().as_str(), step.describe()), (name, text));
        }
        assert!("nowhere".parse::<Step>().is_err());
    }
}
