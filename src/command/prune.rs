//! `snapback prune`: applies retention, or shows what it would do.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{self, Table};
use crate::backup;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::error::Result;
use crate::job::Job;
use crate::manifest::BackupId;
use crate::restore::kept::{self, Kept};
use crate::retention::Verdict;
use crate::shelf::{self, Inventory};

/// Options of `snapback prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job; all jobs without
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Only show what would be deleted, and why the rest stays
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// What programs read.
#[derive(Serialize)]
struct Outcome<'a> {
    job: &'a str,
    verdicts: Vec<Verdict>,
    deleted: Vec<BackupId>,
    /// Replaced databases that have served.
    dropped: Vec<Kept>,
}

/// Runs the verb.
///
/// # Errors
/// A store fails.
pub async fn run(globals: &Globals, args: Args) -> Result<ExitCode> {
    let config = globals.config()?;
    let jobs: Vec<&Job> = match &args.job {
        None => config.jobs.iter().collect(),
        Some(name) => vec![config.job(Some(name))?],
    };
    let mut outcomes = Vec::new();
    for job in jobs {
        outcomes.push(prune(job, args.dry_run).await?);
    }
    if globals.json {
        output::json(&outcomes)?;
    } else {
        for outcome in &outcomes {
            print(outcome, args.dry_run)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn prune(job: &Job, dry_run: bool) -> Result<Outcome<'_>> {
    let clock = Clock::system();
    let inventory = shelf::inventory(job).await?;
    let verdicts = backup::plan_prune(job, &inventory, &BTreeSet::new(), clock.now())?;
    let mut deleted = Vec::new();
    if !dry_run {
        backup::prune(job, &clock, &BTreeSet::new(), &mut deleted).await?;
    }
    Ok(Outcome {
        job: &job.name,
        verdicts,
        deleted,
        dropped: kept_databases(job, &inventory, &clock, dry_run).await,
    })
}

/// The replaced databases that are dropped, or would be. The store is pruned also when their server is away.
async fn kept_databases(job: &Job, inventory: &Inventory, clock: &Clock, dry_run: bool) -> Vec<Kept> {
    match kept::prune(job, inventory, clock.now(), dry_run).await {
        Ok(dropped) => dropped,
        Err(error) => {
            tracing::warn!("replaced databases of job {} stay for now: {error:#}", job.name);
            Vec::new()
        }
    }
}

fn print(outcome: &Outcome<'_>, dry_run: bool) -> Result<()> {
    for kept in &outcome.dropped {
        let done = if dry_run { "would be dropped" } else { "dropped" };
        output::line(&format!("replaced database {} {done}", kept.name))?;
    }
    let going = outcome.verdicts.iter().filter(|verdict| !verdict.keep).count();
    if !dry_run {
        return output::line(&format!(
            "job {}: {} backups deleted",
            outcome.job,
            outcome.deleted.len()
        ));
    }
    if !outcome.verdicts.is_empty() {
        output::line(&render(&outcome.verdicts))?;
    }
    output::line(&format!(
        "job {}: {going} of {} backups would be deleted",
        outcome.job,
        outcome.verdicts.len()
    ))
}

fn render(verdicts: &[Verdict]) -> String {
    let mut table = Table::new(&["ID", "VERDICT", "WHY"]);
    for verdict in verdicts {
        let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
        table.row([
            verdict.id.to_string(),
            if verdict.keep { "keep" } else { "delete" }.to_owned(),
            reasons.join(", "),
        ]);
    }
    table.render()
}
