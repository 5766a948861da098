//! The named steps of a restore, and who is told when one is reached.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Exit, Fail};

/// Where a restore is. A kill at any of them leaves the live name wholly old or wholly new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// What an earlier, killed restore left is looked for and removed.
    Recover,
    /// The archive is read once against its digest.
    Check,
    /// The live database is backed up.
    Safety,
    /// The new database is created beside the live one.
    Create,
    /// Definitions that rows need.
    PreData,
    /// Rows and large objects, then indexes, constraints and triggers as their tables are ready.
    Data,
    /// Privileges, then materialized views and event triggers.
    Privileges,
    /// Statistics are gathered.
    Analyse,
    /// The new database is compared with the manifest.
    Prove,
    /// Owner, settings and grants of the database itself.
    Properties,
    /// The live name is locked against new sessions, and those that are there are ended.
    Fence,
    /// Both names are changed, not yet committed.
    Rename,
    /// The new database is live.
    Done,
}

impl Step {
    const ALL: [(Step, &'static str, &'static str); 13] = [
        (Step::Recover, "recover", "looking for what an earlier restore left"),
        (Step::Check, "check", "checking the archive against its digest"),
        (Step::Safety, "safety", "taking the safety snapshot"),
        (Step::Create, "create", "creating the new database"),
        (
            Step::PreData,
            "pre-data",
            "creating schemas, types, functions and tables",
        ),
        (Step::Data, "data", "loading rows, building indexes and constraints"),
        (
            Step::Privileges,
            "privileges",
            "granting privileges, refreshing materialized views",
        ),
        (Step::Analyse, "analyse", "gathering statistics"),
        (Step::Prove, "prove", "comparing every table with the manifest"),
        (Step::Properties, "properties", "setting the properties of the database"),
        (Step::Fence, "fence", "closing the live database for the swap"),
        (Step::Rename, "rename", "swapping the names"),
        (Step::Done, "done", "restored"),
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
            .ok_or_else(|| Fail::new(Exit::Usage, format!("{text:?} is not a step of a restore")))
    }
}

/// What a restore tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A step begins.
    Step(Step),
    /// How much there is to load, in bytes of COPY text.
    Total(u64),
    /// So many more bytes of COPY text were loaded.
    Loaded(u64),
    /// Something a person should know that does not stop the restore.
    Warning(String),
}

type Report = dyn Fn(Event) + Send + Sync;

/// Whom a restore tells what it does.
#[derive(Clone)]
pub struct Watch {
    report: Arc<Report>,
    pause_at: Option<Step>,
}

impl Watch {
    /// Tells `report`.
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
        self.tell(Event::Step(step));
        if self.pause_at == Some(step) {
            std::future::pending::<()>().await;
        }
    }

    /// Tells something.
    pub fn tell(&self, event: Event) {
        (self.report)(event);
    }

    /// Warns.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(Event::Warning(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_and_a_text() {
        for (step, name, text) in Step::ALL {
            assert_eq!(name.parse::<Step>().unwrap(), step);
            assert_eq!(step.to_string(), name);
            assert_eq!(step.describe(), text);
        }
        assert!("nowhere".parse::<Step>().is_err());
    }
}
