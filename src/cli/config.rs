//! `snapback config`: checks the configuration, or shows what it comes to.

use std::process::ExitCode;

use chrono::Utc;
use serde::Serialize;

use super::output::{self, Table};
use crate::cli::Globals;
use crate::engine::sqlite;
use crate::error::Result;
use crate::job::SourceConfig;

/// Options of `snapback config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check the configuration and show when each job runs next
    Check,
    /// Show the configuration as it is in force, with defaults and without secrets
    Show,
}

/// What programs read.
#[derive(Serialize)]
struct Checked {
    file: Option<String>,
    jobs: Vec<CheckedJob>,
}

#[derive(Serialize)]
struct CheckedJob {
    job: String,
    stores: Vec<String>,
    schedule: Option<String>,
    next: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// The configuration is wrong.
pub async fn run(globals: &Globals, args: &Args) -> Result<ExitCode> {
    let config = globals.config().await?;
    match args.verb {
        Verb::Show if globals.json => output::json(&config.raw)?,
        Verb::Show => output::lines(toml::to_string(&config.raw)?.trim_end())?,
        Verb::Check => {
            // Better said now than by the first run at night.
            config.check_outside()?;
            for job in &config.jobs {
                if let SourceConfig::Sqlite(location) = &job.source
                    && let Err(error) = sqlite::open::find(location.path())
                {
                    tracing::warn!(job = job.name, "{error:#}");
                }
            }
            let now = Utc::now();
            let checked = |job: &crate::job::Job| CheckedJob {
                job: job.name.clone(),
                stores: job.destinations.iter().map(ToString::to_string).collect(),
                schedule: job.schedule.as_ref().map(ToString::to_string),
                next: job
                    .schedule
                    .as_ref()
                    .and_then(|schedule| schedule.next_after(now))
                    .map(|next| next.with_timezone(&job.zone).to_rfc3339()),
            };
            let checked = Checked {
                file: config.file.as_ref().map(|file| file.display().to_string()),
                jobs: config.jobs.iter().map(checked).collect(),
            };
            print(globals, &checked)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(globals: &Globals, checked: &Checked) -> Result<()> {
    if globals.json {
        return output::json(checked);
    }
    let from = checked.file.as_deref().unwrap_or("the environment (there is no file)");
    let jobs = match checked.jobs.len() {
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    };
    output::line(&format!("the configuration is fine: {from}, {jobs}"))?;
    let mut table = Table::new(&["JOB", "STORES", "SCHEDULE", "NEXT RUN"]);
    for job in &checked.jobs {
        table.row([
            job.job.clone(),
            job.stores.join(", "),
            job.schedule.clone().unwrap_or_else(|| "by hand".to_owned()),
            job.next.clone().unwrap_or_default(),
        ]);
    }
    output::lines(&table.render())
}
