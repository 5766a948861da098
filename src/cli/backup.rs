//! `snapback backup`: one run of a job, now.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output;
use super::progress::Progress;
use crate::backup::{self, Event, Report, Request, Step, Watch};
use crate::cli::Globals;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::job::Job;
use crate::manifest::Kind;
use crate::watch::history::{Facts, Recorder, Verb};

/// Options of `snapback backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job, server section or SQLite file; may be left out when there is only one job
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Run all jobs, one after the other
    #[arg(long, conflicts_with = "job")]
    all: bool,
    /// Name that the backup is to have beside its id
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Never let retention delete the backup
    #[arg(long)]
    pin: bool,
    /// Fail (exit code 10) when the database collapsed since the backup before: far fewer rows, tables missing, empty
    #[arg(long)]
    strict: bool,
    /// Count the backup as scheduled (for timers other than `snapback serve`)
    #[arg(long)]
    scheduled: bool,
    /// Stop for ever at a step: for tests, which kill the run there
    #[arg(long, hide = true, value_name = "STEP")]
    pause_at: Option<Step>,
}

/// Runs the verb.
///
/// # Errors
/// A run failed: the first failure, after all jobs had their turn.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.job).await?;
    let several = args.all || args.job.as_deref().is_some_and(|name| config.server(name).is_some());
    let mut jobs: Vec<&Job> = match &args.job {
        None if args.all => config.jobs.iter().collect(),
        Some(name) => config.jobs_named(std::slice::from_ref(name))?,
        None => vec![config.job(None)?],
    };
    if several {
        jobs.retain(|job| !job.gone);
    }
    let cancel = cancelled_by_signals()?;
    let recorder = globals.recorder(&config);
    let mut reports = Vec::new();
    // What is not known of is not backed up.
    let unknown = config
        .troubles()
        .find(|(server, _)| args.all || args.job.as_deref() == Some(server));
    let mut failed =
        unknown.map(|(server, trouble)| anyhow::Error::from(trouble.clone()).context(format!("job {server}")));
    for job in jobs {
        match one(job, &args, globals, &cancel, &recorder).await {
            Ok(report) => reports.push(report),
            Err(error) if failed.is_none() && !several => return Err(error),
            Err(error) => {
                tracing::error!(job = job.name, exit = exit_of(&error) as u8, "{error:#}");
                failed.get_or_insert(error.context(format!("job {}", job.name)));
            }
        }
        if cancel.is_cancelled() {
            break;
        }
    }
    print(globals, &reports)?;
    let outcome = failed.map_or(Ok(ExitCode::SUCCESS), Err);
    let checked = |report| complete(report).and_then(|()| if args.strict { steady(report) } else { Ok(()) });
    outcome.and_then(|code| reports.iter().try_for_each(checked).map(|()| code))
}

async fn one(
    job: &Job,
    args: &Args,
    globals: &Globals,
    cancel: &CancellationToken,
    recorder: &Recorder,
) -> Result<Report> {
    let progress = Progress::new(!globals.json);
    let shown = progress.clone();
    let kind = if args.scheduled { Kind::Scheduled } else { Kind::Manual };
    let recording = recorder.begin(&job.name, Verb::Backup, Facts::of_kind(kind));
    let noted = recording.watch(Step::describe);
    let watch = Watch::new(move |event| {
        noted(&event);
        match event {
            Event::Step(step) => shown.step(step.describe()),
            Event::Total(bytes) => shown.total(bytes),
            Event::Done(bytes) => shown.add(bytes),
            Event::Warning(text) => shown.warn(&text),
            Event::Paused(_) => {}
        }
    });
    let request = Request {
        label: args.label.clone(),
        pinned: args.pin,
        watch: watch.pausing_at(args.pause_at),
        cancel: cancel.clone(),
        ..Request::new(job, kind)
    };
    let outcome = backup::run(&request).await;
    progress.end();
    let _ = recording.end(&outcome, Facts::of_backup);
    outcome
}

/// A backup that is not in every store of its job is there, but not as it should be.
fn complete(report: &Report) -> Result<()> {
    let lacking: Vec<&str> = report.lacking().map(|(store, _)| store).collect();
    let Some(first) = lacking.first() else {
        return Ok(());
    };
    let (id, job) = (report.manifest.id, &report.manifest.job);
    let stores = lacking.join(", ");
    Err(Fail::new(
        Exit::Incomplete,
        format!("the backup {id} of job {job} is whole, but there is no copy in {stores}"),
    )
    .hint(format!(
        "when the store works again: snapback copy {job} {id} --to {first}"
    ))
    .into())
}

/// A backup of a database that collapsed is there, but somebody has to look.
fn steady(report: &Report) -> Result<()> {
    if report.collapsed.is_empty() {
        return Ok(());
    }
    let (id, job) = (report.manifest.id, &report.manifest.job);
    let signs = report.collapsed.join("; ");
    Err(Fail::new(
        Exit::Incomplete,
        format!("the backup {id} of job {job} is whole, but {signs}"),
    )
    .hint(format!(
        "if that was not meant, keep the backups from before: snapback pin {job} ID"
    ))
    .into())
}

fn print(globals: &Globals, reports: &[Report]) -> Result<()> {
    if globals.json {
        return output::json(&reports);
    }
    for report in reports {
        let manifest = &report.manifest;
        for warning in &manifest.warnings {
            Progress::new(false).warn(warning);
        }
        if !output::is_terminal() {
            output::line(&manifest.id.to_string())?;
            continue;
        }
        output::line(&format!(
            "{} of {}: {}, {}, {} in {}, verified by reading it back",
            manifest.id,
            manifest.job,
            output::plural(manifest.tables.len() as u64, "table"),
            output::plural(manifest.rows(), "row"),
            output::bytes(manifest.archive.bytes),
            output::seconds(report.seconds),
        ))?;
        for name in &report.dropped {
            output::line(&format!("replaced database {name} dropped"))?;
        }
        if report.deleted() > 0 {
            output::line(&format!("retention deleted {} older backups", report.deleted()))?;
        }
    }
    Ok(())
}

/// A token that SIGINT and SIGTERM cancel; a second signal ends the process at once.
///
/// # Errors
/// The handlers cannot be installed.
pub fn cancelled_by_signals() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    cancel_by_signals(&token)?;
    Ok(token)
}

/// Lets SIGINT and SIGTERM cancel `token` from now on, and a second one end the process.
///
/// # Errors
/// There is no room for signal handlers.
pub fn cancel_by_signals(token: &CancellationToken) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancel = token.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(crate::error::Exit::Interrupted as i32);
            }
            cancel.cancel();
        }
    });
    Ok(())
}
