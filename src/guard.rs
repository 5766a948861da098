//! A command that changes a database - a migration - under guard: a verified backup before it, a comparison and checks after
//! it, and the way back when it fails.
//!
//! Whatever is killed at whatever moment, the backup is there before the command begins, and a small record beside it says
//! that a command was run: the next command tells what is there (`shelf/guarded.rs`).

mod checks;
mod command;
mod others;
mod pause;
mod rehearsal;
mod server;
mod way_back;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::backup;
use crate::diff::{self, Diff, Which};
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, Kind};
use crate::names::{Names, fits};
use crate::shelf::{Shelf, Stock};

pub use checks::{Check, Checked};
pub use command::{Ended, Signals, find_program};
pub use others::Others;
pub use pause::PauseAt;
pub use server::Patience;
pub use way_back::{Mode, Restored};

/// What is run under guard, and what must be true afterwards.
pub struct Request<'a> {
    /// The job.
    pub job: &'a Job,
    /// A name for the backup.
    pub label: Option<String>,
    /// The program and its arguments.
    pub command: &'a [String],
    /// Whether its output goes to standard error: standard output is for the report.
    pub quiet_output: bool,
    /// Ends the command when it takes longer.
    pub timeout: Option<Duration>,
    /// How long a server that is down after the command is waited for.
    pub patience: Patience,
    /// What must be true after it.
    pub checks: Vec<Check>,
    /// No table may lose rows.
    pub expect_rows_kept: bool,
    /// Tables that may all the same.
    pub may_lose: Vec<String>,
    /// How a backup is put back.
    pub mode: Mode,
    /// Where it stops for ever, for tests: a step of its backup or of its restore.
    pub pause_at: Option<PauseAt>,
    /// Whom signals go to.
    pub signals: &'a Signals,
    /// Who hears what is being done.
    pub step: &'a (dyn Fn(&str) + Send + Sync),
    /// The terminal is the command's: nothing is drawn any more.
    pub quiet: &'a (dyn Fn() + Send + Sync),
    /// Who hears what a person should know.
    pub warn: &'a (dyn Fn(String) + Send + Sync),
}

/// How it went.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The backup that was taken before.
    pub backup: BackupId,
    /// It was a rehearsal on a copy: the live database was not touched.
    pub rehearsal: bool,
    /// The exit code of the command as a shell gives it; 124 where it took too long.
    pub command_exit: u8,
    /// How long the command took, in seconds.
    pub seconds: f64,
    /// Why it counts as failed; none where all is well.
    pub failure: Option<String>,
    /// What it did; none where the database could not be compared.
    pub diff: Option<Diff>,
    /// The checks, in the order of the command line.
    pub checks: Vec<Checked>,
    /// What others did meanwhile, as far as it is known.
    pub others: Others,
    /// What became of a failure.
    pub action: Action,
    /// The restore, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// Why the restore failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_error: Option<String>,
    /// What a rehearsal could not remove, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leftover: Option<String>,
    /// The exit code of the guard.
    pub exit: u8,
}

/// What became of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// There was none, or it was a rehearsal.
    None,
    /// The database stays as the command left it.
    Kept,
    /// The backup was put back.
    Restored,
    /// The backup could not be put back.
    Failed,
    /// There was nothing to put back: the database is as it was before the command.
    Unchanged,
}

/// A backup was taken, the command has run, and nobody has decided yet what becomes of it.
pub struct Guarded<'a> {
    request: Request<'a>,
    /// How it went so far.
    pub report: Report,
}

impl Request<'_> {
    /// Takes the backup that all relies on.
    async fn back_up(&self) -> Result<BackupId> {
        (self.step)("taking the backup");
        let cancel = CancellationToken::new();
        let request = backup::Request {
            label: self.label.clone(),
            watch: backup::Watch::silent().pausing_at(self.pause_at.as_ref().and_then(PauseAt::of_backup)),
            cancel: cancel.clone(),
            ..backup::Request::new(self.job, Kind::Guard)
        };
        let run = backup::run(&request);
        let report = self.signals.cancelling(&cancel, run).await;
        let report =
            report.map_err(|error| error.context("the command was not run: there is no backup to go back to"))?;
        let id = report.manifest.id;
        for warning in &report.manifest.warnings {
            (self.warn)(warning.clone());
        }
        for (store, why) in report.lacking() {
            (self.warn)(format!("the backup {id} has no copy in {store}: {why}"));
        }
        if report.manifest.is_of_damaged() {
            let message = format!("the command was not run: the database is damaged, and so is its backup {id}");
            return Err(Fail::new(Exit::Damaged, message)
                .hint(format!("what is wrong with it: snapback show {} {id}", self.job.name))
                .into());
        }
        Ok(id)
    }

    /// Runs the command against `job`, compares its database with the backup, and checks.
    async fn run_and_look(
        &self,
        id: BackupId,
        job: &Job,
        more: &[(String, String)],
        rehearsal: bool,
    ) -> Result<Report> {
        let before = others::Sessions::of(job).await;
        (self.quiet)();
        let begun = Instant::now();
        let mut environment = vec![("SNAPBACK_BACKUP_ID".to_owned(), id.to_string())];
        environment.extend_from_slice(more);
        let ended = command::run(self, &environment).await?;
        let seconds = begun.elapsed().as_secs_f64();
        server::wait(self, job).await;
        let found = server::insisting(self, job, async || self.look(id, job).await).await;
        let found = match found {
            Ok(found) => Some(found),
            Err(error) => {
                (self.warn)(format!("what the command did could not be compared: {error:#}"));
                None
            }
        };
        let mut checked = Vec::new();
        // Of what a failed command left nothing is expected.
        if ended.is_success() {
            checked.extend(self.rows_kept(found.as_ref()));
            for check in &self.checks {
                (self.step)("checking");
                checked.push(check.ask(job, &environment).await);
            }
        }
        let failure = match checked.iter().find(|it| !it.passed) {
            _ if !ended.is_success() => Some(ended.why()),
            Some(failed) => Some(format!(
                "{}: {}",
                failed.check,
                failed.why.as_deref().unwrap_or("failed")
            )),
            None => None,
        };
        let exit = match ended.exit {
            0 if failure.is_some() => Exit::CheckFailed as u8,
            exit => exit,
        };
        Ok(Report {
            backup: id,
            rehearsal,
            command_exit: ended.exit,
            seconds,
            others: Others::of(job, &before, found.as_ref()).await,
            failure,
            diff: found,
            checks: checked,
            action: Action::None,
            restored: None,
            restore_error: None,
            leftover: None,
            exit,
        })
    }

    async fn look(&self, id: BackupId, job: &Job) -> Result<Diff> {
        (self.step)("comparing what is there with the backup");
        self.signals.forget().await;
        tokio::select! {
            found = self.compare(id, job) => found,
            () = self.signals.next() => Err(Fail::new(Exit::Interrupted, "a signal ended the comparison").into()),
        }
    }

    async fn compare(&self, id: BackupId, live: &Job) -> Result<Diff> {
        let request = diff::Request {
            job: self.job,
            live: Some(live),
            before: Which::Backup(id.to_string()),
            after: Which::Live,
            names: Names::default(),
            schema_only: false,
            rows: false,
            show: 0,
            step: self.step,
            warn: self.warn,
        };
        diff::diff(&request).await
    }

    fn rows_kept(&self, found: Option<&Diff>) -> Option<Checked> {
        if !self.expect_rows_kept {
            return None;
        }
        let check = "--expect-rows-kept".to_owned();
        let Some(found) = found else {
            let why = Some("the database could not be compared".to_owned());
            return Some(Checked {
                check,
                passed: false,
                why,
            });
        };
        let lost = found.lost(&|schema, name| self.may_lose.iter().any(|pattern| fits(pattern, schema, name)));
        let told: Vec<String> = lost
            .iter()
            .map(|(name, before, after)| match after {
                None => format!("{name} is gone, which had {before} rows"),
                Some(1) => format!("{name} has 1 row instead of {before}"),
                Some(after) => format!("{name} has {after} rows instead of {before}"),
            })
            .collect();
        Some(Checked {
            check,
            passed: told.is_empty(),
            why: (!told.is_empty()).then(|| told.join("; ")),
        })
    }
}

impl<'a> Guarded<'a> {
    /// Takes the backup, runs the command and looks at what it did.
    ///
    /// # Errors
    /// The backup could not be taken: then the command was not run. Or it could not be started.
    pub async fn run(request: Request<'a>, restores: bool) -> Result<Guarded<'a>> {
        find_program(request.command)?;
        let id = request.back_up().await?;
        // Whoever relies on the way back shall know before whether there is one.
        match way_back::plan(&request, id).await {
            Ok(()) => {}
            Err(error) if restores => {
                return Err(error.context(format!(
                    "the command was not run: its backup {id} could not be put back"
                )));
            }
            Err(error) => (request.warn)(format!("backup {id} could not be put back as it is: {error:#}")),
        }
        for shelf in shelves(request.job) {
            if let Err(error) = shelf.begin_guard(id).await {
                tracing::debug!("no record of the guard in {shelf}: {error:#}");
            }
        }
        let ran = request.run_and_look(id, request.job, &[], false).await;
        if ran.is_err() {
            end(request.job, id).await;
        }
        Ok(Guarded { report: ran?, request })
    }

    /// Whether the command failed and the database is, by all that is compared, what it was before: then nothing is to be
    /// taken back.
    #[must_use]
    pub fn is_as_before(&self) -> bool {
        let report = &self.report;
        report.failure.is_some() && report.diff.as_ref().is_some_and(|found| !found.differ)
    }

    /// Leaves the database as the command left it.
    pub async fn keep(&mut self) {
        if self.is_as_before() {
            self.report.action = Action::Unchanged;
        } else if self.report.failure.is_some() {
            self.report.action = Action::Kept;
        }
        end(self.request.job, self.report.backup).await;
    }

    /// Puts the backup back. What is replaced is kept, and `undo` brings it back.
    pub async fn restore(&mut self) {
        let job = self.request.job.for_restores();
        server::wait(&self.request, &job).await;
        // What was broken off is whole, old or new, and the next restore removes what is left of it.
        let restored = server::insisting(&self.request, &job, async || self.put_back().await).await;
        match restored {
            Ok(restored) => {
                self.report.action = Action::Restored;
                self.report.restored = Some(restored);
            }
            Err(error) => {
                self.report.action = Action::Failed;
                self.report.restore_error = Some(format!("{error:#}"));
            }
        }
        end(self.request.job, self.report.backup).await;
    }
}

impl Guarded<'_> {
    async fn put_back(&self) -> Result<Restored> {
        (self.request.step)("putting the backup back");
        self.request.signals.forget().await;
        way_back::restore(&self.request, self.report.backup).await
    }
}

/// Rehearses on a copy: takes a backup, restores it aside, runs the command against that, looks at what it did, and drops it.
///
/// # Errors
/// There is no backup or no copy, or the command could not be started.
pub async fn rehearse(request: &Request<'_>) -> Result<Report> {
    find_program(request.command)?;
    let id = request.back_up().await?;
    rehearsal::run(request, id).await
}

fn shelves(job: &Job) -> impl Iterator<Item = Shelf> + '_ {
    job.destinations.iter().map(|destination| Shelf::new(job, destination))
}

/// Says that a guard has ended.
async fn end(job: &Job, id: BackupId) {
    for shelf in shelves(job) {
        if let Err(error) = shelf.end_guard(id).await {
            tracing::debug!("the record of the guard stays in {shelf}: {error:#}");
        }
    }
}

/// Tells what guards that were killed left: once, as then a person knows.
pub async fn tell_of_killed(job: &Job, warn: &(dyn Fn(String) + Send + Sync)) {
    if let Ok(stock) = Stock::names(job).await {
        let shelves = stock.shelves.iter();
        tell_in(job, shelves.map(|(shelf, names)| (shelf, &names.guards)), warn).await;
    }
}

/// The same of what was read of the stores already.
pub async fn tell_of_killed_in(job: &Job, stock: &Stock, warn: &(dyn Fn(String) + Send + Sync)) {
    let shelves = stock.shelves.iter();
    tell_in(job, shelves.map(|(shelf, found)| (shelf, &found.guards)), warn).await;
}

async fn tell_in(
    job: &Job,
    shelves: impl Iterator<Item = (&Shelf, &BTreeMap<BackupId, u64>)>,
    warn: &(dyn Fn(String) + Send + Sync),
) {
    let mut told = BTreeSet::new();
    for (shelf, guards) in shelves {
        for id in shelf.killed_guards(guards).await.unwrap_or_default() {
            if told.insert(id) {
                let name = &job.name;
                warn(format!(
                    "a guard of job {name} was killed while its command ran, or later, maybe while the backup was being put back: the \
                     database is the one that the command left or the backup, never half of one; backup {id} is of before the command: \
                     `snapback diff {name} {id}` shows what it did, `snapback restore {name} {id}` takes it back"
                ));
            }
            let _ = shelf.end_guard(id).await;
        }
    }
}
