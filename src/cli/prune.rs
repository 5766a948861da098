//! `snapback prune`: applies retention, or shows what it would do.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{self, Table};
use crate::cli::Globals;
use crate::clock::Clock;
use crate::error::Result;
use crate::job::{Destination, Job};
use crate::manifest::Engine;
use crate::prune::{self, Pruned};
use crate::restore::postgres::kept::{self, Kept};
use crate::retention::Verdict;
use crate::shelf::{Shelf, Stock};

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
    stores: Vec<InStore>,
    /// Replaced databases that have served.
    dropped: Vec<Kept>,
}

#[derive(Serialize)]
struct InStore {
    store: String,
    #[serde(skip)]
    title: String,
    verdicts: Vec<Verdict>,
    #[serde(flatten)]
    pruned: Pruned,
}

/// Runs the verb.
///
/// # Errors
/// A store fails: the first failure, after all stores had their turn.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.job)?;
    let jobs: Vec<&Job> = match &args.job {
        None => config.jobs.iter().collect(),
        Some(name) => vec![config.job(Some(name))?],
    };
    let mut outcomes = Vec::new();
    let mut failed = None;
    for job in jobs {
        let (outcome, failure) = prune(job, args.dry_run).await;
        outcomes.push(outcome);
        failed = failed.or(failure);
    }
    if globals.json {
        output::json(&outcomes)?;
    } else {
        for outcome in &outcomes {
            print(outcome, args.dry_run)?;
        }
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Prunes all stores of a job; also returns the first failure, which keeps no other store from its turn.
async fn prune(job: &Job, dry_run: bool) -> (Outcome<'_>, Option<anyhow::Error>) {
    let clock = Clock::system();
    let mut stores = Vec::new();
    let mut failed = None;
    for destination in &job.destinations {
        match prune_store(job, destination, &clock, dry_run).await {
            Ok(done) => stores.push(done),
            Err(error) => {
                tracing::warn!(job = job.name, "{destination} is not pruned: {error:#}");
                failed.get_or_insert(error);
            }
        }
    }
    let outcome = Outcome {
        job: &job.name,
        stores,
        dropped: kept_databases(job, &clock, dry_run).await,
    };
    (outcome, failed)
}

async fn prune_store(job: &Job, destination: &Destination, clock: &Clock, dry_run: bool) -> Result<InStore> {
    let inventory = Shelf::new(job, destination).inventory().await?;
    let nothing = BTreeSet::new();
    let verdicts = prune::plan(job, destination, &inventory, &nothing, clock.now())?;
    let mut pruned = Pruned::default();
    if !dry_run {
        prune::prune(job, destination, &nothing, clock, &mut pruned).await?;
    }
    let several = job.destinations.len() > 1;
    Ok(InStore {
        store: destination.name.clone(),
        title: match several {
            true => format!("job {} in {destination}", job.name),
            false => format!("job {}", job.name),
        },
        verdicts,
        pruned,
    })
}

/// The replaced databases that are dropped, or would be. The stores are pruned also when their server is away.
async fn kept_databases(job: &Job, clock: &Clock, dry_run: bool) -> Vec<Kept> {
    if job.source.engine() != Engine::Postgres {
        return Vec::new();
    }
    let dropped = async { kept::prune(job, &Stock::read(job).await?, clock.now(), dry_run).await };
    match dropped.await {
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
    for store in &outcome.stores {
        print_store(store, dry_run)?;
    }
    Ok(())
}

fn print_store(done: &InStore, dry_run: bool) -> Result<()> {
    let InStore {
        title,
        verdicts,
        pruned,
        ..
    } = done;
    if dry_run {
        if !verdicts.is_empty() {
            output::lines(&render(verdicts))?;
        }
        let going = verdicts.iter().filter(|verdict| !verdict.keep).count();
        let all = verdicts.len();
        return output::line(&format!("{title}: {going} of {all} backups would be deleted"));
    }
    output::line(&format!("{title}: {} backups deleted", pruned.deleted.len()))?;
    for held in &pruned.locked {
        output::line(&held.to_string())?;
    }
    Ok(())
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
