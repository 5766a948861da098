//! `snapback doctor`: what would go wrong tonight.

use std::process::ExitCode;

use chrono::Utc;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::output;
use crate::checkup::Severity;
use crate::cli::Globals;
use crate::error::{Exit, Result};
use crate::watch::doctor::{examine, examine_server};
use crate::watch::status::Asked;

/// How many jobs are looked at at once.
const AT_ONCE: usize = 8;

/// Options of `snapback doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs to look at; all without
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
}

/// Runs the verb. The exit code is 1 where something is an error; warnings are none.
///
/// # Errors
/// There is no such job.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for_all(&mut args.jobs).await?;
    let jobs = config.jobs_named(&args.jobs)?;
    let sections = config.sections_named(&args.jobs);
    let recorder = globals.recorder(&config);
    let asked = Asked {
        history: recorder.history().map(AsRef::as_ref),
        now: Utc::now(),
        servers: false,
        sections: &sections,
    };
    let mut checkups: Vec<_> = sections
        .iter()
        .map(|(server, known)| examine_server(server, known))
        .collect();
    // Servers and stores that do not answer are waited for side by side.
    let examined = jobs
        .into_iter()
        .map(|job| examine(job, asked).boxed())
        .collect::<Vec<_>>();
    checkups.extend(stream::iter(examined).buffered(AT_ONCE).collect::<Vec<_>>().await);
    if globals.json {
        output::json(&checkups)?;
    } else {
        for checkup in &checkups {
            for finding in &checkup.findings {
                let mark = match finding.severity {
                    Severity::Fine => "ok",
                    Severity::Warning => "WARNING",
                    Severity::Error => "ERROR",
                };
                output::line(&format!(
                    "{}: {mark}: {}: {}",
                    checkup.job, finding.about, finding.message
                ))?;
                if let Some(hint) = &finding.hint {
                    output::line(&format!("    {hint}"))?;
                }
            }
        }
    }
    Ok(
        match checkups.iter().any(|checkup| checkup.severity == Severity::Error) {
            true => super::code(Exit::Failure),
            false => ExitCode::SUCCESS,
        },
    )
}
