//! `snapback guard`: a migration with a verified backup before it, and the way back when it fails.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::ValueEnum;

use super::diff::body;
use super::progress::Progress;
use super::{output, terminal};
use crate::cli::Globals;
use crate::config::value::Span;
use crate::error::Result;
use crate::guard::{self, Action, Check, Guarded, Mode, Patience, PauseAt, Report, Request, Signals};
use crate::manifest::Kind;
use crate::watch::history::{Facts, Verb};

/// Options of `snapback guard`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job, or the file of an SQLite database; may be left out when there is only one
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// The command and its arguments, after --
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
    /// Name that the backup is to have beside its id
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// SQL whose first value must be true afterwards; may be repeated
    #[arg(long = "check", value_name = "SQL")]
    checks: Vec<String>,
    /// Command line that must succeed afterwards; may be repeated
    #[arg(long = "check-cmd", value_name = "CMD")]
    check_commands: Vec<String>,
    /// No table may have fewer rows afterwards, or be gone
    #[arg(long)]
    expect_rows_kept: bool,
    /// A table that may all the same: NAME or SCHEMA.NAME, * stands for any text; may be repeated
    #[arg(long, value_name = "TABLE", requires = "expect_rows_kept")]
    may_lose: Vec<String>,
    /// End the command when it takes longer; it counts as failed then
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// How long a server that is down after the command is waited for
    #[arg(long, value_name = "TIME", default_value = "5m")]
    server_wait: Span,
    /// What to do when the command or a check fails [default: ask on a terminal, else keep]
    #[arg(long, value_enum)]
    on_failure: Option<OnFailure>,
    /// How the backup is put back into PostgreSQL
    #[arg(long, value_enum, default_value_t)]
    mode: How,
    /// Rehearse: run the command against a copy, show what it does, drop the copy
    #[arg(long, conflicts_with_all = ["on_failure", "mode"])]
    dry_run: bool,
    /// Stop at this step until killed: for tests
    #[arg(long, hide = true, value_name = "STEP")]
    pause_at: Option<PauseAt>,
}

/// What to do when the command or a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// Ask a person
    Ask,
    /// Put the backup back
    Restore,
    /// Leave the database as it is
    Keep,
}

/// How the backup is put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum How {
    /// Beside the live database, then both change names; the replaced one is kept
    #[default]
    Swap,
    /// In one transaction: where no database may be created
    InPlace,
}

/// Runs the verb.
///
/// # Errors
/// The backup could not be taken, so the command was not run.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    // What the hints repeat: without a configuration a file is known by its path only.
    let asked = args.job.clone();
    let config = globals.config_for(&mut args.job).await?;
    let job = config.job(args.job.as_deref())?;
    let asked = asked.as_deref().unwrap_or(&job.name);
    let signals = Signals::take()?;
    let progress = Progress::new(!globals.json);
    let (step, warn) = (|text: &str| progress.step(text), |text: String| progress.warn(&text));
    let quiet = || progress.end();
    guard::tell_of_killed(job, &warn).await;
    let on_failure = args.on_failure.unwrap_or(match io::stdin().is_terminal() {
        true => OnFailure::Ask,
        false => OnFailure::Keep,
    });
    let checks = args.checks.iter().cloned().map(Check::Sql);
    let request = Request {
        job,
        label: args.label.clone(),
        command: &args.command,
        quiet_output: globals.json,
        timeout: args.timeout.map(Span::duration),
        patience: Patience::of(args.server_wait.duration()),
        checks: checks
            .chain(args.check_commands.iter().cloned().map(Check::Command))
            .collect(),
        expect_rows_kept: args.expect_rows_kept,
        may_lose: args.may_lose.clone(),
        mode: match args.mode {
            How::Swap => Mode::Swap,
            How::InPlace => Mode::InPlace,
        },
        pause_at: args.pause_at.clone(),
        signals: &signals,
        step: &step,
        quiet: &quiet,
        warn: &warn,
    };
    if args.dry_run {
        let report = guard::rehearse(&request).await;
        progress.end();
        let report = report?;
        match globals.json {
            true => output::json(&report)?,
            false => show(&report, asked)?,
        }
        return Ok(ExitCode::from(report.exit));
    }
    let recording = globals
        .recorder(&config)
        .begin(&job.name, Verb::Guard, Facts::of_kind(Kind::Guard));
    let guarded = Guarded::run(request, on_failure == OnFailure::Restore).await;
    progress.end();
    let mut guarded = match guarded {
        Ok(guarded) => guarded,
        Err(error) => {
            let failed = Err::<(), _>(error);
            recording.end_noted(&failed);
            return failed.map(|()| ExitCode::FAILURE);
        }
    };
    if !globals.json {
        show(&guarded.report, asked)?;
    }
    let restores = guarded.report.failure.is_some()
        && !guarded.is_as_before()
        && match on_failure {
            OnFailure::Restore => true,
            OnFailure::Keep => false,
            OnFailure::Ask => ask(&guarded.report.backup.to_string(), &signals).await?,
        };
    match restores {
        true => guarded.restore().await,
        false => guarded.keep().await,
    }
    progress.end();
    let report = &guarded.report;
    recording.noted().set(Facts {
        kind: Some(Kind::Guard),
        backup: Some(report.backup),
        exit: (report.exit != 0).then_some(report.exit),
        error: report.failure.clone(),
        ..Facts::default()
    });
    recording.end_noted(&Ok(()));
    match globals.json {
        true => output::json(report)?,
        false => show_end(report, asked)?,
    }
    Ok(ExitCode::from(report.exit))
}

/// Whether a person wants the backup back. Whoever says nothing keeps what is there: nothing is lost by that.
async fn ask(backup: &str, signals: &Signals) -> Result<bool> {
    let question = format!("Type restore to put backup {backup} back, or keep to leave the database as it is: ");
    let ask = move || -> Result<bool> {
        for _ in 0..3 {
            let mut err = io::stderr().lock();
            err.write_all(question.as_bytes())?;
            err.flush()?;
            drop(err);
            let mut typed = String::new();
            if io::stdin().lock().read_line(&mut typed)? == 0 {
                return Ok(false);
            }
            match typed.trim() {
                "restore" => return Ok(true),
                "keep" => return Ok(false),
                _ => {}
            }
        }
        Ok(false)
    };
    tokio::select! {
        answer = tokio::task::spawn_blocking(ask) => answer?,
        // Who ends it decides nothing.
        () = signals.next() => Ok(false),
    }
}

/// What the command did, and what is to be known before anything is thrown away.
fn show(report: &Report, job: &str) -> Result<()> {
    let mut lines = Vec::new();
    let mut plain = |text: String| lines.push((' ', text));
    let took = output::seconds(report.seconds);
    match report.rehearsal {
        true => plain(format!("rehearsal on a copy of backup {}: {took}", report.backup)),
        false => plain(format!(
            "backup {} was taken before the command, which took {took}",
            report.backup
        )),
    }
    if let Some(found) = &report.diff {
        lines.extend(body(found));
    }
    for check in &report.checks {
        lines.push(match &check.why {
            None => ('+', format!("passed: {}", check.check)),
            Some(why) => ('-', format!("FAILED: {}: {why}", check.check)),
        });
    }
    if let Some(failure) = &report.failure {
        lines.push(('-', failure.clone()));
        let mut plain = |text: String| lines.push((' ', text));
        if !report.rehearsal {
            if !report.others.tables.is_empty() {
                plain(format!(
                    "written since the backup, by the command or by others: {}",
                    report.others.tables.join(", ")
                ));
            }
            match report.others.sessions.as_slice() {
                [] => plain("nobody else was seen in the database".to_owned()),
                sessions => plain(format!("others in the database meanwhile: {}", sessions.join(", "))),
            }
            plain(format!(
                "what differs row by row: snapback diff {job} {} --rows --show 10",
                report.backup
            ));
        }
    }
    if report.rehearsal {
        lines.push((
            ' ',
            match &report.leftover {
                None => "the copy was dropped; the live database was not touched".to_owned(),
                Some(leftover) => format!("the live database was not touched; {leftover}"),
            },
        ));
    }
    output::coloured(&lines, terminal::has_colour_output())
}

/// What became of it.
fn show_end(report: &Report, job: &str) -> Result<()> {
    match (report.action, &report.restored) {
        (Action::None, _) => Ok(()),
        (Action::Unchanged, _) => output::line(
            "the database is as it was before the command: there is nothing to put back, and nothing was changed",
        ),
        (Action::Kept, _) => output::line(&format!(
            "the database stays as it is; to take it back: snapback restore {job} {}",
            report.backup
        )),
        (Action::Restored, restored) => {
            let seconds = restored.as_ref().map_or(0.0, |it| it.seconds);
            output::line(&format!(
                "backup {} is live again ({})",
                report.backup,
                output::seconds(seconds)
            ))?;
            let kept = restored.as_ref().and_then(|it| it.kept.as_ref());
            if let Some(kept) = kept {
                output::line(&format!("what the command left is kept as {kept}"))?;
            }
            output::line(&format!("to go back to what the command left: snapback undo {job}"))
        }
        (Action::Failed, _) => {
            super::to_stderr(&format!(
                "snapback: error: backup {} could not be put back: {}\nsnapback: hint: the database is as the command left it; \
                 try again by snapback restore {job} {}",
                report.backup,
                report.restore_error.as_deref().unwrap_or_default(),
                report.backup
            ));
            Ok(())
        }
    }
}
