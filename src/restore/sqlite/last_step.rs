//! The last step of a restore: a file becomes what was proven. It is the old one or the new one, whatever happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use super::origin::Proven;
use super::plan::beside;
use super::watch::{Event, Watch};
use crate::engine::sqlite::failure::folder;
use crate::engine::sqlite::lock::JobLock;
use crate::engine::sqlite::put::Put;
use crate::engine::sqlite::put_tables::Tables;
use crate::engine::sqlite::rights::{self, Rights};
use crate::engine::sqlite::scratch::Scratch;
use crate::engine::sqlite::unchanged::State;
use crate::engine::sqlite::{open, put};
use crate::error::Result;

/// What it takes.
pub(super) struct LastStep {
    /// The file.
    pub path: PathBuf,
    /// Those of a new one.
    pub rights: Option<Rights>,
    /// When it is.
    pub at: DateTime<Utc>,
    /// It becomes a new file.
    pub is_new: bool,
    /// What is there is no database any more.
    pub is_broken: bool,
    /// The job.
    pub job: String,
    /// How long the locks of others are waited for.
    pub wait: Duration,
    /// The only tables that are put; none of all.
    pub names: Vec<String>,
    /// Whether it takes a restore back.
    pub back: bool,
}

/// What became of the last step.
pub(super) enum Ended {
    /// The file is what was proven.
    Done {
        /// For how long nobody else could write.
        away: Duration,
        /// Where a file that was no database any more was set aside.
        aside: Option<PathBuf>,
    },
    /// Nothing was changed, as others have written since the safety snapshot. What was proven is given back.
    Written(Box<Proven>),
}

impl LastStep {
    /// Does it, if the live database is still in `state`. Blocks: not for async tasks.
    pub fn run(&self, proven: Proven, state: Option<State>, watch: &Watch) -> Result<Ended> {
        let done = |away, aside| Ok(Ended::Done { away, aside });
        let path = &self.path;
        if self.is_new || !path.exists() {
            let new = self.new_file(proven)?;
            // A log that lies there is of a database that is gone: SQLite would take it for one of the new file.
            let aside = set_aside(path, self.at, &["-wal", "-shm", "-journal"])?;
            new.become_new(path)?;
            return done(Duration::ZERO, aside);
        }
        if self.is_broken {
            let new = self.new_file(proven)?;
            let aside = set_aside(path, self.at, &["-wal", "-shm", "-journal", ""])?;
            new.become_new(path)?;
            return done(Duration::ZERO, aside);
        }
        let _lock = match open::find(path) {
            Ok(found) => Some(JobLock::take(&found, &self.job)?),
            // An empty file is no database yet.
            Err(_) => None,
        };
        let put = match self.names.is_empty() {
            false => self.tables(&proven).into_live(path, state.as_ref(), self.wait)?,
            true => {
                let total = std::fs::metadata(proven.scratch.path()).map_or(0, |file| file.len());
                watch.tell(Event::Total(total));
                put::into_live(proven.scratch.path(), path, state, self.wait, &|bytes| {
                    watch.tell(Event::Done(bytes))
                })?
            }
        };
        match put {
            Put::Done(away) => done(away, None),
            Put::Written => Ok(Ended::Written(Box::new(proven))),
        }
    }

    fn tables<'a>(&'a self, proven: &'a Proven) -> Tables<'a> {
        Tables {
            from: proven.scratch.path(),
            names: &self.names,
            wanted: proven.tables(),
            drop_missing: self.back,
        }
    }

    /// The file that takes the name.
    fn new_file(&self, proven: Proven) -> Result<Scratch> {
        let new = match self.names.is_empty() {
            true => proven.scratch,
            false => {
                let name = self.path.file_name().unwrap_or_default().to_string_lossy();
                let new = Scratch::create(folder(&self.path), &name)?;
                self.tables(&proven).into_new(new.path(), &proven.contents.facts)?;
                new
            }
        };
        rights::give(new.file(), self.rights.as_ref());
        Ok(new)
    }
}

/// Renames what lies at `path` with each of `endings`, the database itself last.
fn set_aside(path: &Path, at: DateTime<Utc>, endings: &[&str]) -> Result<Option<PathBuf>> {
    let aside = beside(path, &format!(".before-{}", at.format("%Y%m%dT%H%M%SZ")));
    let mut moved = None;
    for ending in endings {
        let (from, to) = (beside(path, ending), beside(&aside, ending));
        if from.exists() {
            std::fs::rename(&from, &to).with_context(|| format!("setting {} aside", from.display()))?;
            moved = Some(aside.clone());
        }
    }
    Ok(moved)
}
