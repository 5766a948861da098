//! `snapback copy`: a backup from one store of its job into another.

use std::process::ExitCode;

use super::backup::cancelled_by_signals;
use super::job_and_backup::JobAndBackup;
use super::output;
use super::progress::Progress;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::copy::{self, Report, Request};
use crate::error::Result;
use crate::watch::history::{Facts, Verb};

/// Options of `snapback copy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: JobAndBackup,
    /// Store of the job that is to have a copy
    #[arg(long, value_name = "STORE")]
    to: String,
}

/// Runs the verb.
///
/// # Errors
/// There is no such backup or store, no copy is whole, or a store fails.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.which.job).await?;
    let (job, which) = args.which.find(&config)?;
    let progress = Progress::new(!globals.json);
    progress.step(&format!("copying to {}", args.to));
    let request = Request {
        job,
        which,
        to: job.destination(&args.to)?,
        clock: Clock::system(),
        total: &|bytes| progress.total(bytes),
        read: &|bytes| progress.add(bytes),
        cancel: cancelled_by_signals()?,
    };
    let facts = |report: &Report| Facts {
        backup: Some(report.id),
        bytes: Some(report.bytes),
        ..Facts::default()
    };
    let recorder = globals.recorder(&config);
    let outcome = recorder.record(&job.name, Verb::Copy, copy::run(&request), facts).await;
    progress.end();
    let report = outcome?;
    for why in &report.passed_over {
        progress.warn(why);
    }
    if globals.json {
        output::json(&report)?;
    } else {
        output::lines(&describe(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(report: &Report) -> String {
    let Report { id, to, .. } = report;
    let Some(from) = &report.from else {
        return format!("{id} is in {to} already");
    };
    let instead = if report.replaced {
        ", in place of a damaged copy"
    } else {
        ""
    };
    let size = output::bytes(report.bytes);
    format!("{id} was copied from {from} to {to}{instead}: {size}, verified")
}
