//! `snapback prune`: applies retention, or shows what it would do.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde::Serialize;

use super::output::{self, Table};
use crate::cli::Globals;
use crate::clock::Clock;
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::prune::{InStore, Known, Outcome, Pruning, Wishes};
use crate::retention::{Reason, Verdict};
use crate::watch::history::{Facts, Recorder, Verb};

/// Options of `snapback prune`.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // one per option
pub struct Args {
    /// Job, or an SQLite file; all jobs without
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Only show what would be deleted, and why the rest stays
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Delete what no rule keeps also when the job's last run has failed; asks before
    #[arg(long)]
    force: bool,
    /// Drop replaced databases that are older than `keep_replaced` also when no store has a safety snapshot of them; asks
    /// before
    #[arg(long)]
    drop_only_copies: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    job: &'a str,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Runs the verb.
///
/// # Errors
/// It was not confirmed, or a store fails: the first failure, after all stores had their turn.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.job).await?;
    let jobs: Vec<&Job> = match &args.job {
        None => config.jobs.iter().collect(),
        Some(name) => config.jobs_named(std::slice::from_ref(name))?,
    };
    let wishes = Wishes {
        dry_run: args.dry_run,
        force: args.force,
        only_copies: args.drop_only_copies,
    };
    let asks = (args.force || args.drop_only_copies) && !args.yes && !args.dry_run;
    if asks {
        for job in &jobs {
            let plan = prune(
                job,
                Wishes {
                    dry_run: true,
                    ..wishes
                },
            )
            .await;
            if !globals.json {
                print(job, &plan, true)?;
            }
        }
        confirm()?;
    }
    let recorder = match args.dry_run {
        true => Recorder::default(),
        false => globals.recorder(&config),
    };
    let mut reports = Vec::new();
    for job in jobs {
        let recording = recorder.begin(&job.name, Verb::Prune, Facts::default());
        let outcome = prune(job, wishes).await;
        let _ = recording.end(&Ok(()), |()| facts(&outcome));
        if !globals.json {
            print(job, &outcome, args.dry_run)?;
        }
        let job = &job.name;
        reports.push(Report { job, outcome });
    }
    if globals.json {
        output::json(&reports)?;
    }
    let failed = reports.into_iter().flat_map(|report| report.outcome.stores);
    let failed = failed.filter_map(|store| store.failed).next();
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// What the history has of it.
fn facts(outcome: &Outcome) -> Facts {
    let deleted: usize = outcome.stores.iter().map(|store| store.pruned.deleted.len()).sum();
    let facts = Facts {
        backups: Some(deleted as u64),
        ..Facts::default()
    };
    match outcome.stores.iter().find_map(|store| store.failed.as_ref()) {
        Some(error) => facts.failed(error),
        None => facts,
    }
}

async fn prune(job: &Job, wishes: Wishes) -> Outcome {
    let clock = Clock::system();
    let pruning = Pruning {
        wishes,
        ..Pruning::new(job, &clock)
    };
    let outcome = pruning.run(Known::new()).await;
    if let Some(error) = &outcome.server {
        tracing::warn!(
            job = job.name,
            "the server cannot be asked for replaced databases, so their safety snapshots stay: {error:#}"
        );
    }
    for store in &outcome.stores {
        if let Some(error) = &store.failed {
            tracing::warn!(job = job.name, "store {} is not pruned: {error:#}", store.store);
        }
    }
    outcome
}

/// Asks a person, and refuses where there is none to ask.
fn confirm() -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Fail::new(
            Exit::Refused,
            "nothing was deleted: this needs a confirmation, and there is no terminal to ask on",
        )
        .hint("add --yes to go ahead without being asked")
        .into());
    }
    let mut err = std::io::stderr().lock();
    err.write_all(b"Type yes to delete what is listed: ")?;
    err.flush()?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    match typed.trim() {
        "yes" => Ok(()),
        _ => Err(Fail::new(Exit::Refused, "nothing was deleted: the answer was not \"yes\"").into()),
    }
}

fn print(job: &Job, outcome: &Outcome, dry_run: bool) -> Result<()> {
    for kept in &outcome.databases.dropped {
        let done = if dry_run { "would be dropped" } else { "dropped" };
        output::line(&format!("replaced database {} {done}", kept.name))?;
    }
    for staying in &outcome.databases.kept {
        output::line(&staying.to_string())?;
    }
    for store in &outcome.stores {
        print_store(job, store, dry_run)?;
    }
    Ok(())
}

fn print_store(job: &Job, done: &InStore, dry_run: bool) -> Result<()> {
    let title = match job.destinations.len() {
        1 => format!("job {}", job.name),
        _ => format!("job {} in store {}", job.name, done.store),
    };
    let all = done.verdicts.len();
    if dry_run {
        if all > 0 {
            output::lines(&render(&done.verdicts))?;
        }
        let going = done.verdicts.iter().filter(|verdict| !verdict.keep).count();
        output::line(&format!("{title}: {going} of {all} backups would be deleted"))?;
    } else if done.failed.is_none() || !done.pruned.deleted.is_empty() {
        let deleted = done.pruned.deleted.len();
        output::line(&format!("{title}: {deleted} of {all} backups deleted{}", staying(done)))?;
    }
    if let Some(former) = job.former.as_ref().filter(|_| done.former > 0) {
        output::line(&format!(
            "left alone: {} from when the job was called {former}; delete by hand what is not needed any more",
            output::plural(done.former, "backup")
        ))?;
    }
    for held in &done.pruned.locked {
        output::line(&held.to_string())?;
    }
    let is_kept_by_failure = |verdict: &Verdict| verdict.reasons.contains(&Reason::LastRunFailed);
    let waiting = done
        .verdicts
        .iter()
        .filter(|verdict| is_kept_by_failure(verdict))
        .count();
    match &done.last_failure {
        Some(failure) if waiting > 0 => output::line(&format!(
            "{waiting} that no rule keeps stay, because the job's last run failed ({failure}); the next run that succeeds \
             deletes them, and `snapback prune {} --force` deletes them now",
            job.name
        )),
        _ => Ok(()),
    }
}

/// Why the rest stays: how many by each reason that comes first for them.
fn staying(done: &InStore) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for verdict in done.verdicts.iter().filter(|verdict| verdict.keep) {
        if let Some(reason) = verdict.reasons.first() {
            *counts.entry(reason.to_string()).or_default() += 1;
        }
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    match counts.is_empty() {
        true => String::new(),
        false => format!("; kept: {}", counts.join(", ")),
    }
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
