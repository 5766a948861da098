//! `snapback restore`: shows the plan, asks, restores, and says how to undo it.

mod choice;
pub mod missing;
mod plan;
pub mod sqlite;
pub mod undo_command;

use std::borrow::Cow;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use clap::ValueEnum;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::choice::{Changes, Choice};
use super::backup::cancel_by_signals;
use super::confirm::confirm;
use super::job_and_backup::JobAndBackup;
use super::output;
use super::progress::Progress;
use crate::archive::options::RestoreOptions;
use crate::archive::selection::Selection;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::config::value::Span;
use crate::config::{Config, environment};
use crate::engine::postgres::load::missing::Missing;
use crate::error::{Exit, Fail, Result};
use crate::find::FromOther;
use crate::guard;
use crate::job::Job;
use crate::restore::postgres::location::Location;
use crate::restore::postgres::origin::Origin;
use crate::restore::postgres::outcome::Outcome;
use crate::restore::postgres::plan::{self as plan_of, Plan, Subject};
use crate::restore::postgres::run::{Prepared, Request};
use crate::restore::postgres::watch::{Event, Step, Watch};
use crate::store::Store;
use crate::watch::history::{Facts, Noted, Recorder, Recording, Verb};
use undo_command::undo_command;

/// Options of `snapback restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: JobAndBackup,
    /// Restore a dump that anybody made: a custom, directory or tar archive, plain SQL, or an SQLite file, also compressed;
    /// a path, or s3://BUCKET/KEY
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// Which database to take from a dump of several (pg_dumpall)
    #[arg(long, value_name = "NAME", requires = "from")]
    database: Option<String>,
    /// Which file to take from a zip or tar file of several
    #[arg(long, requires = "from", value_name = "NAME")]
    member: Option<String>,
    /// Restore to another database: a connection string, or a job's
    #[arg(long, value_name = "URL|JOB")]
    to: Option<String>,
    /// How the backup becomes a database
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Name of the new database (with --mode new)
    #[arg(long = "as", value_name = "NAME", required_if_eq("mode", "new"))]
    as_new: Option<String>,
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// Take no safety snapshot of what is replaced
    #[arg(long)]
    no_safety: bool,
    /// Restore a backup of another database or server over this one; with its name, only one of that database
    #[arg(long, value_name = "DATABASE", num_args = 0..=1, default_missing_value = "")]
    from_other: Option<String>,
    /// Restore even if the server is older than the one that the backup was made on
    #[arg(long)]
    force: bool,
    /// How long to wait for a backup of the job that is under way
    #[arg(long, value_name = "TIME", default_value = WAIT)]
    wait: Span,
    #[command(flatten)]
    tolerance: missing::Failures,
    /// Connections that load at the same time [default: as many as the job's backups use]
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,
    /// Stop for ever at a step: for tests, which kill the restore there
    #[arg(long, hide = true, value_name = "STEP")]
    pause_at: Option<String>,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    choice: Choice,
}

/// How long a backup that is under way is waited for.
pub const WAIT: &str = "1h";

/// How a backup becomes a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Load beside the live database, then swap the names; the replaced one is kept
    #[default]
    Swap,
    /// Load into a database that does not exist yet
    New,
    /// Replace what is in the live database, in one transaction: where no database may be created
    InPlace,
}

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
    /// Of a restore that failed because of it; else it is in the outcome.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    missing: &'a [Missing],
}

/// Runs the verb.
///
/// # Errors
/// The restore cannot be done, was not confirmed, or failed.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_to(&mut args.which.job, args.to.as_deref()).await?;
    let recorder = match args.dry_run {
        true => Recorder::default(),
        false => globals.recorder(&config),
    };
    if let Ok((job, _)) = args.which.find(&config) {
        guard::tell_of_killed(job, &|text| Progress::new(false).warn(&text)).await;
    }
    if let Some(asked) = sqlite::asked(&config, &args).await? {
        let recording = recorder.begin(asked.job(), Verb::Restore, Facts::default());
        let outcome = Box::pin(sqlite::run(globals, &args, asked, recording.noted())).await;
        recording.end_noted(&outcome);
        return outcome;
    }
    let options = args.changes.options(args.choice.options()?)?;
    fits(&args, &options)?;
    let asked = asked(&config, &args)?;
    let recording = recorder.begin(&asked.job.name, Verb::Restore, Facts::default());
    let outcome = Box::pin(restore(globals, &args, options, asked, &recording)).await;
    recording.end_noted(&outcome);
    outcome
}

async fn restore(
    globals: &Globals,
    args: &Args,
    options: RestoreOptions,
    mut asked: Asked<'_>,
    recording: &Recording,
) -> Result<ExitCode> {
    if let Origin::File { place, .. } = &mut asked.origin {
        *place = place.clone().unpacked(args.member.as_deref()).await?;
    }
    let progress = Progress::new(!globals.json);
    let cancel = CancellationToken::new();
    let mut prepared = Prepared::new(Request {
        origin: asked.origin,
        job: &asked.job,
        mode: mode(args)?,
        options,
        create_roles: args.changes.create_roles,
        back: false,
        safety: !args.no_safety,
        force: args.force,
        from_other: from_other(args),
        wait: args.wait.duration(),
        tolerance: args.tolerance.tolerance(),
        copy_of: None,
        accept_missing: args.tolerance.accept_missing(),
        jobs: args.jobs.map(usize::from),
        clock: Clock::system(),
        watch: watch(&progress, pause_at(args.pause_at.as_deref())?, recording),
        cancel: cancel.clone(),
    })
    .await?;
    let how = Go {
        dry_run: args.dry_run,
        confirm: (!args.yes).then_some("restore"),
        cancel,
        back: asked.back,
        noted: recording.noted(),
    };
    go(globals, &mut prepared, &progress, how).await
}

/// How a planned restore goes on.
pub struct Go {
    /// It only shows its plan.
    pub dry_run: bool,
    /// What a person is asked to confirm; without it nobody is asked.
    pub confirm: Option<&'static str>,
    /// What signals cancel from the confirmation on. Before, they end the program as ever: nothing was begun.
    pub cancel: CancellationToken,
    /// The command that takes the restore back.
    pub back: String,
    /// What the history is told.
    pub noted: Noted,
}

/// Shows the plan of a restore, asks, does it and reports.
///
/// # Errors
/// As [`run`].
pub async fn go(globals: &Globals, prepared: &mut Prepared<'_>, progress: &Progress, how: Go) -> Result<ExitCode> {
    let plan = &prepared.plan;
    if how.dry_run {
        show(globals, plan)?;
        plan.check()?;
        return Ok(ExitCode::SUCCESS);
    }
    if !globals.json {
        eprint(&plan::text(plan))?;
    }
    plan.check()?;
    if let Some(verb) = how.confirm {
        confirm(progress, &plan.database, verb)?;
    }
    cancel_by_signals(&how.cancel)?;
    let outcome = Box::pin(prepared.run()).await;
    progress.end();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            list_missing(globals, prepared)?;
            return Err(error);
        }
    };
    how.noted.set(facts(&outcome));
    report(globals, &prepared.plan, &outcome, &how.back)?;
    match outcome.missing.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(Exit::Incomplete as u8)),
    }
}

/// What the history has of a restore.
fn facts(outcome: &Outcome) -> Facts {
    Facts {
        backup: outcome.backup,
        rows: Some(outcome.proof.rows),
        tables: Some(outcome.proof.tables as u64),
        exit: (!outcome.missing.is_empty()).then_some(Exit::Incomplete as u8),
        ..Facts::default()
    }
}

/// Lists what is missing where a restore failed for that.
fn list_missing(globals: &Globals, prepared: &Prepared<'_>) -> Result<()> {
    let (plan, missing) = (&prepared.plan, prepared.missing.as_slice());
    match globals.json {
        _ if missing.is_empty() => Ok(()),
        true => output::json(&Report {
            plan,
            outcome: None,
            missing,
        }),
        false => output::lines(&missing::text(missing)),
    }
}

fn from_other(args: &Args) -> FromOther<'_> {
    match args.from_other.as_deref() {
        None => FromOther::Refused,
        Some("") => FromOther::Any,
        Some(name) => FromOther::Named(name),
    }
}

fn mode(args: &Args) -> Result<plan_of::Mode<'_>, Fail> {
    match (args.mode, args.as_new.as_deref()) {
        (Mode::New, Some(name)) => Ok(plan_of::Mode::New(name)),
        (Mode::Swap, None) => Ok(plan_of::Mode::Swap),
        (Mode::InPlace, None) => Ok(plan_of::Mode::InPlace),
        (Mode::New, None) => Err(Fail::new(Exit::Usage, "a new database needs a name").hint("add --as NAME")),
        (Mode::Swap | Mode::InPlace, Some(_)) => Err(Fail::new(
            Exit::Usage,
            "--as names a new database, and this mode replaces the live one",
        )
        .hint("add --mode new")),
    }
}

/// Makes sure that the mode can do what the other options ask for.
fn fits(args: &Args, options: &RestoreOptions) -> Result<(), Fail> {
    let refuse = |what: &str, hint: &str| Err(Fail::new(Exit::Usage, what).hint(hint));
    match args.mode {
        Mode::InPlace if options.is_part() && !is_tables(options) => refuse(
            "in place, a part of a backup is tables: only --table and --schema say which",
            "restore the part beside with --mode new --as NAME",
        ),
        Mode::Swap if options.is_part() => refuse(
            "a part of a backup cannot replace the live database: the rest of it would be gone",
            "restore it beside with --mode new --as NAME, and copy from there what is missed",
        ),
        Mode::New if !options.schema || !options.sections.pre_data => refuse(
            "a new database has no tables that rows or indexes could go into",
            "restore definitions too: leave out --data-only, or add --section pre-data",
        ),
        Mode::Swap | Mode::New | Mode::InPlace => Ok(()),
    }
}

/// Whether only names of tables, and schemas of these, leave something out.
fn is_tables(options: &RestoreOptions) -> bool {
    let names = Selection {
        schemas: Vec::new(),
        tables: Vec::new(),
        ..options.selection.clone()
    };
    let rest = RestoreOptions {
        selection: names,
        ..options.clone()
    };
    !options.selection.tables.is_empty() && !rest.is_part()
}

/// What the command line names.
struct Asked<'a> {
    origin: Origin<'a>,
    /// Whose database it becomes.
    job: Cow<'a, Job>,
    /// The command that takes it back.
    back: String,
}

fn asked<'a>(config: &'a Config, args: &'a Args) -> Result<Asked<'a>> {
    let to = args.to.as_deref();
    let Some(file) = &args.from else {
        let (job, id) = args.which.find(config)?;
        let from_other = from_other(args);
        let origin = Origin::Backup { job, id, from_other };
        let (job, back) = match to {
            Some(to) => destination(config, to, Some(job))?,
            None => itself(job),
        };
        return Ok(Asked { origin, job, back });
    };
    let unused = args
        .which
        .backup
        .as_ref()
        .or(args.which.job.as_ref().filter(|_| to.is_some()));
    if let Some(unused) = unused {
        let message = format!("{unused:?} says what to restore, and so does --from");
        return Err(Fail::new(Exit::Usage, message)
            .hint("with --from only the job is named, or the target by --to")
            .into());
    }
    let (job, back) = match to {
        Some(to) => destination(config, to, None)?,
        None => itself(config.job(args.which.job.as_deref())?),
    };
    Ok(Asked {
        origin: Origin::File {
            place: location(config, file)?,
            database: args.database.as_deref(),
        },
        job,
        back,
    })
}

/// What `--to` names, and the command that takes a restore to there back; `beside` is the job of the backup.
fn destination<'a>(config: &'a Config, to: &str, beside: Option<&'a Job>) -> Result<(Cow<'a, Job>, String)> {
    let job = config.destination(to, beside, &environment(), Utc::now())?;
    let back = match &job {
        Cow::Borrowed(job) => undo_command(Some(&job.name), None),
        Cow::Owned(_) => undo_command(beside.map(|job| job.name.as_str()), Some(to)),
    };
    Ok((job, back))
}

/// The database of `job` itself, and the command that takes a restore of it back.
fn itself(job: &Job) -> (Cow<'_, Job>, String) {
    (job.for_restores(), undo_command(Some(&job.name), None))
}

/// Where `--from` says that the file is.
///
/// # Errors
/// It names no object, or its bucket is unknown.
pub fn location(config: &Config, from: &str) -> Result<Location> {
    Ok(match object(config, from)? {
        Some((store, name)) => Location::Object { store, name },
        None => Location::Local(from.into()),
    })
}

/// The object that `s3://BUCKET/KEY` is; nothing of a path.
fn object(config: &Config, from: &str) -> Result<Option<(Arc<dyn Store>, String)>> {
    let Some(object) = from.strip_prefix("s3://") else {
        return Ok(None);
    };
    match object.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
            Ok(Some((Arc::new(config.bucket(bucket)?), key.to_owned())))
        }
        _ => Err(Fail::new(Exit::Usage, format!("{from} names no object"))
            .hint("write s3://BUCKET/KEY")
            .into()),
    }
}

/// The step to stop at, of whichever engine.
///
/// # Errors
/// It has no such step.
pub fn pause_at<S: std::str::FromStr<Err = Fail>>(step: Option<&str>) -> Result<Option<S>> {
    Ok(step.map(str::parse).transpose()?)
}

/// Shows steps and bytes as a bar, warnings above it.
pub fn watch(progress: &Progress, pause_at: Option<Step>, recording: &Recording) -> Watch {
    let (shown, noted) = (progress.clone(), recording.watch(Step::describe));
    let watch = Watch::new(move |event| {
        noted(&event);
        match event {
            Event::Step(step) => {
                shown.step(step.describe());
                if pause_at == Some(step) {
                    // Whoever pauses it waits for this.
                    shown.warn(&format!("paused at {step}"));
                }
            }
            Event::Total(bytes) => shown.total(bytes),
            Event::Done(bytes) => shown.add(bytes),
            Event::Warning(text) => shown.warn(&text),
            Event::Paused(_) => {}
        }
    });
    watch.pausing_at(pause_at)
}

fn eprint(text: &str) -> Result<()> {
    let mut err = std::io::stderr().lock();
    err.write_all(output::for_people(text).as_bytes())?;
    Ok(err.flush()?)
}

fn show(globals: &Globals, plan: &Plan) -> Result<()> {
    if globals.json {
        return output::json(&Report {
            plan,
            outcome: None,
            missing: &[],
        });
    }
    output::lines(plan::text(plan).trim_end())
}

fn report(globals: &Globals, plan: &Plan, outcome: &Outcome, back: &str) -> Result<()> {
    if globals.json {
        return output::json(&Report {
            plan,
            outcome: Some(outcome),
            missing: &[],
        });
    }
    let proof = &outcome.proof;
    let (what, said) = match &plan.what {
        Subject::File(file) if proof.statements > 0 => (file.name.clone(), of_script(outcome)),
        Subject::File(file) => (file.name.clone(), there(outcome, "are there, as many as in the file")),
        Subject::Backup(backup) => (
            format!("the backup {}", backup.id),
            there(outcome, "equal what was backed up"),
        ),
    };
    let is = if plan.part { "has a part of" } else { "is" };
    output::line(&format!(
        "{} {is} {what} now: {said} ({})",
        outcome.database,
        output::seconds(outcome.seconds)
    ))?;
    if !outcome.created_roles.is_empty() {
        output::line(&format!(
            "roles that were created, without a login: {}",
            outcome.created_roles.join(", ")
        ))?;
    }
    if let Some(safety) = outcome.safety {
        output::line(&format!("safety snapshot of what was live: {safety}"))?;
    }
    if plan.mode == "in-place" {
        output::line(&format!(
            "nobody could write for {} ms, {} sessions ended",
            outcome.away_ms, outcome.ended
        ))?;
        if outcome.safety.is_some() {
            output::line(&format!("to take it back: {back}"))?;
        }
    }
    if let Some(kept) = &outcome.kept {
        output::line(&format!(
            "replaced in {} ms, {} sessions ended; what was live is kept as {kept}",
            outcome.away_ms, outcome.ended
        ))?;
        output::line(&format!("to take it back: {back}"))?;
    }
    match outcome.missing.is_empty() {
        true => Ok(()),
        false => output::lines(&missing::text(&outcome.missing)),
    }
}

/// What of a script was run, and what was counted.
fn of_script(outcome: &Outcome) -> String {
    let proof = &outcome.proof;
    let left_out = match proof.left_out {
        0 => String::new(),
        left_out => format!(", {left_out} were left out as asked"),
    };
    let failed = match outcome.missing.is_empty() {
        true => "without an error",
        false => "of which those failed that are listed",
    };
    format!(
        "{} run {failed}{left_out}; as in the file: {} with {}",
        output::plural(proof.statements, "statement"),
        output::plural(proof.tables as u64, "table"),
        output::plural(proof.rows, "row")
    )
}

/// What of an archive was compared, and how it is.
fn there(outcome: &Outcome, equal: &str) -> String {
    let proof = &outcome.proof;
    format!(
        "{} with {}, {} and {} {equal}",
        output::plural(proof.tables as u64, "table"),
        output::plural(proof.rows, "row"),
        output::plural(proof.objects as u64, "object"),
        output::plural(proof.sequences as u64, "sequence")
    )
}
