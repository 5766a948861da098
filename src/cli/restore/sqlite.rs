//! `snapback restore` and `undo` of a database file: shows the plan, asks, restores, and says how to undo it.

use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Args, Mode, eprint, pause_at};
use crate::cli::Globals;
use crate::cli::backup::cancel_by_signals;
use crate::cli::confirm::confirm;
use crate::cli::output::{self, ago, bytes, plural};
use crate::cli::progress::Progress;
use crate::clock::Clock;
use crate::config::{Config, environment};
use crate::engine::sqlite::location::Location;
use crate::error::{Exit, Fail, Result};
use crate::find::FromOther;
use crate::job::{Job, SourceConfig};
use crate::restore::sqlite::file::DumpFile;
use crate::restore::sqlite::origin::{Origin, Subject};
use crate::restore::sqlite::plan::{Mode as As, Plan};
use crate::restore::sqlite::run::{Outcome, Prepared, Request};
use crate::restore::sqlite::undo;
use crate::restore::sqlite::watch::{Event, Watch};
use crate::watch::history::{Facts, Noted};

/// How long the locks of others are waited for where nothing is configured.
const WAIT: Duration = Duration::from_secs(60);

/// What the command line names.
pub struct Asked<'a> {
    origin: Origin<'a>,
    job: Cow<'a, Job>,
    location: Location,
    mode: As,
    tables: &'a [String],
    safety: bool,
    /// How long a backup of the job that is under way is waited for.
    turn: Duration,
    /// What `undo` goes back to.
    back: bool,
}

impl<'a> Asked<'a> {
    /// The job whose database it becomes.
    pub fn job(&self) -> &str {
        &self.job.name
    }

    /// What `snapback undo` of `job` means: its newest safety snapshot, or the one that is named.
    ///
    /// # Errors
    /// There is none.
    pub async fn undo(job: &'a Job, location: &Location, named: Option<&str>, turn: Duration) -> Result<Asked<'a>> {
        let id = undo::safety(job, location.path(), named).await?;
        Ok(Asked {
            origin: Origin::Backup {
                job,
                id: id.to_string(),
                from_other: FromOther::Refused,
            },
            job: Cow::Borrowed(job),
            location: location.clone(),
            mode: As::Replace,
            tables: &[],
            safety: true,
            turn,
            back: true,
        })
    }
}

/// What is asked for, if it is about a database file.
///
/// # Errors
/// There is no such job, or the options do not go together.
pub async fn asked<'a>(config: &'a Config, args: &'a Args) -> Result<Option<Asked<'a>>> {
    let from = match &args.from {
        None => Some(args.which.find(config)?),
        Some(_) => None,
    };
    let job = match (args.to.as_deref(), from) {
        (Some(to), from) => config.destination(to, from.map(|(job, _)| job), &environment(), Utc::now())?,
        (None, Some((job, _))) => job.for_restores(),
        (None, None) => config.job(args.which.job.as_deref())?.for_restores(),
    };
    let SourceConfig::Sqlite(location) = &job.source else {
        return Ok(None);
    };
    let tables = fits(args)?;
    let origin = match (from, &args.from) {
        (Some((job, id)), _) => Origin::Backup {
            job,
            id: id.to_owned(),
            from_other: super::from_other(args),
        },
        (None, file) => {
            let file = file.as_deref().unwrap_or_default();
            Origin::File(match super::object(config, file)? {
                Some((store, name)) => DumpFile::object(store, name).await?,
                None => DumpFile::find(Path::new(file))?,
            })
        }
    };
    let location = location.clone();
    Ok(Some(Asked {
        origin,
        location,
        mode: match (args.mode, &args.as_new) {
            (Mode::New, Some(path)) => As::New(path.into()),
            _ => As::Replace,
        },
        tables,
        safety: !args.no_safety,
        turn: args.wait.duration(),
        back: false,
        job,
    }))
}

/// Refuses options that mean nothing for a file; returns the only tables that are restored.
fn fits(args: &Args) -> Result<&[String], Fail> {
    let refuse = |what: &str, hint: &str| Err(Fail::new(Exit::Usage, what).hint(hint));
    if args.mode != Mode::New && args.as_new.is_some() {
        return refuse(
            "--as names a new file, and this mode replaces the live one",
            "add --mode new",
        );
    }
    let Some(tables) = args.choice.only_tables() else {
        return refuse(
            "of a backup of SQLite single tables are restored, or all",
            "name tables by --table, or restore it beside with --mode new --as FILE",
        );
    };
    if args.database.is_some() {
        return refuse(
            "--database is for dumps of several PostgreSQL databases",
            "leave it out",
        );
    }
    if args.from.is_some() && args.which.backup.is_some() {
        return refuse(
            "--from says what to restore, and so does the name of a backup",
            "leave one of them out",
        );
    }
    Ok(tables)
}

/// How a planned restore goes on.
pub struct How<'a> {
    /// It only shows its plan.
    pub dry_run: bool,
    /// Nobody is asked.
    pub yes: bool,
    /// What is confirmed.
    pub verb: &'static str,
    /// Where it stops for ever.
    pub pause_at: Option<&'a str>,
    /// What the history is told.
    pub noted: Noted,
}

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
}

/// Restores what was asked for.
///
/// # Errors
/// The restore cannot be done, was not confirmed, or failed.
pub async fn run(globals: &Globals, args: &Args, asked: Asked<'_>, noted: Noted) -> Result<ExitCode> {
    let how = How {
        dry_run: args.dry_run,
        yes: args.yes,
        verb: "restore",
        pause_at: args.pause_at.as_deref(),
        noted,
    };
    go(globals, asked, how).await
}

/// Shows the plan, asks, restores and reports.
///
/// # Errors
/// As [`run`].
pub async fn go(globals: &Globals, asked: Asked<'_>, how: How<'_>) -> Result<ExitCode> {
    let progress = Progress::new(!globals.json);
    let cancel = CancellationToken::new();
    let wait = asked.job.dump.session.lock_wait_timeout.as_deref();
    let wait = wait.and_then(|ms| ms.parse().ok()).map_or(WAIT, Duration::from_millis);
    let prepared = Prepared::new(Request {
        origin: asked.origin.clone(),
        job: &asked.job,
        location: &asked.location,
        mode: asked.mode.clone(),
        tables: asked.tables.to_vec(),
        back: asked.back,
        safety: asked.safety,
        wait,
        turn: asked.turn,
        clock: Clock::system(),
        watch: watch(&progress, how.pause_at)?,
        cancel: cancel.clone(),
    })
    .await?;
    let plan = &prepared.plan;
    if how.dry_run {
        match globals.json {
            true => output::json(&Report { plan, outcome: None })?,
            false => output::lines(text(plan, asked.back).trim_end())?,
        }
        plan.check()?;
        return Ok(ExitCode::SUCCESS);
    }
    if !globals.json {
        eprint(&text(plan, asked.back))?;
    }
    plan.check()?;
    if !how.yes {
        confirm(&progress, &plan.database, how.verb)?;
    }
    cancel_by_signals(&cancel)?;
    let outcome = prepared.run().await;
    progress.end();
    let outcome = outcome?;
    how.noted.set(Facts {
        backup: match &plan.what {
            Subject::Backup(backup) => Some(backup.id),
            Subject::File { .. } => None,
        },
        rows: Some(outcome.rows),
        tables: Some(outcome.tables),
        ..Facts::default()
    });
    if globals.json {
        output::json(&Report {
            plan,
            outcome: Some(&outcome),
        })?;
    } else {
        report(plan, &outcome)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn watch(progress: &Progress, step: Option<&str>) -> Result<Watch> {
    let pause = pause_at(step)?;
    let shown = progress.clone();
    let watch = Watch::new(move |event| match event {
        Event::Step(step) => {
            shown.step(step.describe());
            if pause == Some(step) {
                // Whoever pauses it waits for this.
                shown.warn(&format!("paused at {step}"));
            }
        }
        Event::Total(bytes) => shown.total(bytes),
        Event::Done(bytes) => shown.add(bytes),
        Event::Warning(text) => shown.warn(&text),
        Event::Paused(_) => {}
    });
    Ok(watch.pausing_at(pause))
}

/// The plan as text.
fn text(plan: &Plan, back: bool) -> String {
    let mut lines = Vec::new();
    match &plan.what {
        Subject::Backup(backup) => {
            let label = backup
                .label
                .as_ref()
                .map_or_else(String::new, |label| format!(" \"{label}\""));
            let verb = if back {
                "Go back to the safety snapshot"
            } else {
                "Restore backup"
            };
            lines.push(format!(
                "{verb} {}{label} of job {} ({}, {}): {}, {}, {}",
                backup.id,
                backup.job,
                backup.kind,
                ago(backup.id.time(), Utc::now()),
                plural(backup.tables, "table"),
                plural(backup.rows, "row"),
                bytes(backup.bytes),
            ));
        }
        Subject::File { name, bytes: size } => lines.push(format!("Restore the file {name} ({})", bytes(*size))),
    }
    if let Some(other) = &plan.other {
        lines.insert(0, format!("Another database: {other}"));
    }
    if !plan.tables.is_empty() {
        lines.push(format!("Only the tables {}; all else stays", plan.tables.join(", ")));
    }
    match &plan.replaces {
        None => lines.push(format!("as the new database {}", plan.path.display())),
        Some(live) => {
            let number = |number: Option<u64>, what: &str| {
                number.map_or_else(
                    || format!("an unknown number of {what}s"),
                    |number| plural(number, what),
                )
            };
            let changed = live
                .changed
                .map_or_else(|| "at an unknown time".to_owned(), |at| ago(at, Utc::now()));
            lines.push(format!(
                "in the place of {}: {}, {}, {}, last written {changed}",
                plan.path.display(),
                number(live.tables, "table"),
                number(live.rows, "row"),
                bytes(live.bytes),
            ));
            if let Some(broken) = &live.broken {
                lines.push(format!("What is there: {broken}"));
            }
            lines.push(match live.open_by.as_slice() {
                [] => "Open in: no process that can be seen".to_owned(),
                open => format!("Open in: {} (they go on, and see the new state)", open.join(", ")),
            });
        }
    }
    let free = plan.free.map_or("unknown".to_owned(), bytes);
    lines.push(format!("Disk space: about {} needed, {free} free", bytes(plan.needed)));
    lines.extend(plan.warnings.iter().map(|warning| format!("Note: {warning}")));
    for obstacle in &plan.obstacles {
        lines.push(format!("In the way: {}", obstacle.what));
        lines.push(format!("    {}", obstacle.hint));
    }
    lines.join("\n") + "\n"
}

fn report(plan: &Plan, outcome: &Outcome) -> Result<()> {
    let what = match &plan.what {
        Subject::Backup(backup) => format!("the backup {}", backup.id),
        Subject::File { name, .. } => name.clone(),
    };
    let is = if plan.tables.is_empty() { "is" } else { "has a part of" };
    output::line(&format!(
        "{} {is} {what} now: {} with {}, checked page by page and row by row ({})",
        outcome.path.display(),
        plural(outcome.tables, "table"),
        plural(outcome.rows, "row"),
        output::seconds(outcome.seconds)
    ))?;
    if let Some(aside) = &outcome.aside {
        output::line(&format!("what was there is kept as {}", aside.display()))?;
    }
    if let Some(safety) = outcome.safety {
        output::line(&format!("safety snapshot of what was live: {safety}"))?;
        output::line(&format!("nobody could write for {} ms", outcome.away_ms))?;
        output::line(&format!("to take it back: snapback undo {}", plan.path.display()))?;
    }
    Ok(())
}
