//! `snapback drill`: restores a backup where it is in nobody's way, proves it, and removes it again.

use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;

use super::backup::cancelled_by_signals;
use super::job_and_backup::JobAndBackup;
use super::output;
use super::progress::Progress;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::drill::{Drill, Event, Place, Plan, Report, Request};
use crate::error::Result;
use crate::restore;
use crate::watch::history::{Facts, Verb};

/// Options of `snapback drill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: JobAndBackup,
    /// Print what would be done and end
    #[arg(long)]
    dry_run: bool,
    /// Connections of the load [default: as many as the job's dumps]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: Option<u32>,
    /// Another check besides the job's drill_checks: SQL that must give true; may be repeated
    #[arg(long, value_name = "SQL")]
    check: Vec<String>,
    /// Stop at this step until killed: for tests
    #[arg(long, hide = true, value_name = "STEP")]
    pause_at: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// There is no such backup, it cannot be restored here, or it does not pass.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.which.job).await?;
    let (job, which) = args.which.find(&config)?;
    let mut job = job.clone();
    job.drill.checks.extend(args.check.iter().cloned());
    let clock = Clock::system();
    let progress = Progress::new(!globals.json);
    let shown = progress.clone();
    let request = Request {
        job: &job,
        which,
        jobs: args.jobs.map(|jobs| jobs as usize),
        clock: clock.clone(),
        tell: Arc::new(move |event| match event {
            Event::Step(step) => shown.step(step),
            Event::Total(bytes) => shown.total(bytes),
            Event::Done(bytes) => shown.add(bytes),
            Event::Warning(text) => shown.warn(&text),
        }),
        cancel: cancelled_by_signals()?,
        pause_at: args.pause_at.as_deref(),
    };
    restore::clean_up_after_drills(&job).await;
    let place = Place::of(&job, &clock).await?;
    let mut drill = Drill::prepare(&request, &place).await?;
    let plan = drill.plan();
    if args.dry_run {
        print_plan(globals, &plan)?;
        drill.check()?;
        return Ok(ExitCode::SUCCESS);
    }
    for warning in &plan.warnings {
        progress.warn(warning);
    }
    let recording = globals
        .recorder(&config)
        .begin(&job.name, Verb::Drill, Facts::default());
    let report = drill.run().await;
    progress.end();
    // One that does not pass is a failure, as it is to those who are told.
    let passed = report.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"));
    let passed = passed.and_then(|report| report.outcome().map(|()| report).map_err(Into::into));
    let _ = recording.end(&passed, |report| report.facts());
    let report = report?;
    if globals.json {
        output::json(&report)?;
    } else if report.passed {
        output::line(&describe(&report))?;
    }
    report.outcome()?;
    Ok(ExitCode::SUCCESS)
}

fn print_plan(globals: &Globals, plan: &Plan) -> Result<()> {
    if globals.json {
        return output::json(plan);
    }
    let backup = plan.backup.map_or_else(
        || "nothing".to_owned(),
        |id| format!("backup {id} of {}, {}", plan.job, output::ago(id.time(), Utc::now())),
    );
    output::line(&format!("would restore {backup}"))?;
    output::line(&format!("into {}, and drop it again", plan.place))?;
    let free = plan.free.map_or_else(|| "unknown".to_owned(), output::bytes);
    output::line(&format!("room: about {} of {free}", output::bytes(plan.needed)))?;
    for check in &plan.checks {
        output::line(&format!("check: {check}"))?;
    }
    for warning in &plan.warnings {
        output::line(&format!("note: {warning}"))?;
    }
    Ok(())
}

fn describe(report: &Report) -> String {
    let checks = match report.checks.len() {
        0 => String::new(),
        1 => ", 1 check true".to_owned(),
        several => format!(", {several} checks true"),
    };
    format!(
        "backup {} of {} is restorable: {} and {} restored and proven{checks} in {}",
        report.backup,
        report.job,
        output::plural(report.tables, "table"),
        output::plural(report.rows, "row"),
        output::seconds(report.seconds)
    )
}
