//! `snapback history`: what was run, when, and what became of it.

use std::process::ExitCode;

use chrono::Utc;

use super::output::{self, Table};
use crate::cli::Globals;
use crate::config::value::Span;
use crate::error::{Exit, Fail, Result};
use crate::redact;
use crate::watch::history::{History, Query, Run};

/// Options of `snapback history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job whose runs to show; all without
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Only runs that failed, were killed, or left something lacking
    #[arg(long)]
    failed: bool,
    /// Only runs of the last time, such as 7d
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
    /// At most so many, the newest
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<u32>,
}

/// How many runs people are shown where they ask for no number.
const SHOWN: u32 = 50;

/// Runs the verb. With `--json` each run is one line.
///
/// # Errors
/// The configuration is wrong, or there is no history.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.job).await?;
    let Some(file) = config.history.as_deref() else {
        return Err(Fail::new(Exit::NotFound, "no history is kept")
            .hint("name a folder for it: state in the section [daemon]")
            .into());
    };
    let history = History::open(file)?;
    let now = Utc::now();
    let runs = history.runs(&Query {
        job: args.job.as_deref(),
        trouble: args.failed,
        since: args.since.map(|since| now - since.delta()),
        limit: args
            .limit
            .or_else(|| (!globals.json && args.since.is_none()).then_some(SHOWN)),
    })?;
    if globals.json {
        for run in &runs {
            output::raw(format!("{}\n", redact::json(&serde_json::to_string(run)?)).as_bytes())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        output::line("no runs are remembered")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["STARTED", "JOB", "VERB", "OUTCOME", ">TOOK", ">SIZE", ">ROWS", "WHAT"]);
    for run in &runs {
        table.row([
            run.started.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            run.job.clone(),
            run.verb.name().to_owned(),
            run.outcome.name().to_owned(),
            run.seconds.map(output::seconds).unwrap_or_default(),
            run.facts.bytes.map(output::bytes).unwrap_or_default(),
            run.facts.rows.map(output::count).unwrap_or_default(),
            about(run),
        ]);
    }
    output::lines(&table.render())?;
    Ok(ExitCode::SUCCESS)
}

/// What a person wants to know of a run: why it failed, or what it made.
fn about(run: &Run) -> String {
    let facts = &run.facts;
    let lacking = facts
        .lacking
        .iter()
        .map(|(store, why)| format!("no copy in {store}: {why}"));
    let mut parts: Vec<String> = facts.error.iter().cloned().chain(lacking).collect();
    parts.extend(facts.collapsed.iter().cloned());
    if let Some(reached) = &run.reached {
        parts.push(reached.step.clone());
    }
    if parts.is_empty() {
        parts.extend(facts.backup.map(|id| id.to_string()));
    }
    parts.join("; ")
}
