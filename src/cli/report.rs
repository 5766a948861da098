//! `snapback report`: the status page as one file.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::Utc;

use super::output;
use crate::cli::Globals;
use crate::error::Result;
use crate::watch::page;
use crate::watch::status::{Asked, status};

/// Options of `snapback report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs to report on; all without
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// File for the page, which needs nothing beside it
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
}

/// Runs the verb.
///
/// # Errors
/// There is no such job, or the file cannot be written.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for_all(&mut args.jobs).await?;
    let jobs = config.jobs_named(&args.jobs)?;
    let sections = config.sections_named(&args.jobs);
    let recorder = globals.recorder(&config);
    let asked = Asked {
        history: recorder.history().map(AsRef::as_ref),
        now: Utc::now(),
        servers: true,
        sections: &sections,
    };
    let status = status(&jobs, asked).await;
    fs::write(&args.html, page::report(&status))
        .with_context(|| format!("writing the report to {}", args.html.display()))?;
    match globals.json {
        true => output::json(&status)?,
        false => output::line(&status.sentence)?,
    }
    Ok(ExitCode::SUCCESS)
}
