//! `snapback undo`: the database that a restore replaced is live again.

use std::process::ExitCode;

use chrono::Utc;

use super::output;
use super::progress::Progress;
use super::restore::{confirm, watch};
use crate::cli::Globals;
use crate::error::{Exit, Result, exit_of};
use crate::restore::target::Target;
use crate::restore::undo;
use crate::restore::watch::Step;

/// Options of `snapback undo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job whose restore to undo; may be left out when there is only one
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// The kept database to take back [default: the newest]
    #[arg(long, value_name = "DATABASE")]
    kept: Option<String>,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// Stop for ever at a step: for tests, which kill the undo there
    #[arg(long, hide = true, value_name = "STEP")]
    pause_at: Option<Step>,
}

/// Runs the verb.
///
/// # Errors
/// There is nothing to take back, it was not confirmed, or the swap failed.
pub async fn run(globals: &Globals, args: Args) -> Result<ExitCode> {
    let config = globals.config()?;
    let job = config.job(args.job.as_deref())?;
    let dsn = job.source.dsn()?;
    let database = dsn.database.clone();
    let target = Target::new(dsn);
    let kept = undo::choose(&target, &database, args.kept.as_deref()).await;
    let none = kept.as_ref().is_err_and(|error| exit_of(error) == Exit::NotFound);
    if args.kept.is_none() && (kept.is_ok() || none) {
        undo::refuse_after_in_place(job, &database, kept.as_ref().ok()).await?;
    }
    let kept = kept?;
    if args.dry_run && globals.json {
        output::json(&kept)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !globals.json {
        output::line(&format!(
            "{} on {target} is replaced by {}, which was live until {}; what is live now is kept",
            database,
            kept.name,
            output::ago(kept.since, Utc::now())
        ))?;
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        confirm(&database, "undo")?;
    }
    let progress = Progress::new(!globals.json);
    let watch = watch(&progress, args.pause_at);
    let undone = undo::undo(&target, &database, &kept.name, Utc::now(), &watch).await;
    progress.end();
    let undone = undone?;
    if globals.json {
        output::json(&undone)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!(
        "{} is what it was before, back in {} ms",
        undone.database, undone.away_ms
    ))?;
    if let Some(kept) = &undone.kept {
        output::line(&format!("what was live is kept as {kept}; undo again takes it back"))?;
    }
    Ok(ExitCode::SUCCESS)
}
