//! `snapback pin` and `snapback unpin`: whether retention may delete a backup.

use std::process::ExitCode;

use chrono::Utc;
use serde::Serialize;

use super::job_and_backup::JobAndBackup;
use super::output;
use crate::cli::Globals;
use crate::config::Config;
use crate::error::{Exit, Fail, Result};
use crate::find::find as find_backup;
use crate::job::Job;
use crate::manifest::BackupId;
use crate::shelf::{Copy, Pin, Stock};

/// Options of `snapback pin`.
#[derive(Debug, clap::Args)]
pub struct PinArgs {
    #[command(flatten)]
    which: JobAndBackup,
    /// Why, for those who wonder later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Options of `snapback unpin`.
#[derive(Debug, clap::Args)]
pub struct UnpinArgs {
    #[command(flatten)]
    which: JobAndBackup,
}

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    job: &'a str,
    id: BackupId,
    /// The pin that is in force now.
    pin: Option<Pin>,
    /// Names of the stores that hold the backup.
    stores: Vec<&'a str>,
}

/// Runs `pin`: in every store that has the backup. One that is pinned already stays as it was.
///
/// # Errors
/// There is no such backup, or a store fails.
pub async fn pin(globals: &Globals, mut args: PinArgs) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.which.job).await?;
    let (job, copies) = find(&config, &args.which).await?;
    let mut in_force = None;
    for copy in &copies {
        let pin = Pin {
            id: copy.manifest.id,
            at: Some(Utc::now()),
            reason: args.reason.clone(),
        };
        let fresh = copy.shelf.pin(&pin).await?;
        // A pruning may have been quicker: then there is nothing to keep any more.
        if fresh && copy.shelf.is_gone(pin.id).await? {
            copy.shelf.unpin(pin.id).await?;
            let message = format!("backup {} was just deleted in {}", pin.id, copy.shelf);
            return Err(Fail::new(Exit::NotFound, message).into());
        }
        in_force = if fresh { Some(pin) } else { copy.backup.pin.clone() };
    }
    report(globals, job, &copies, in_force)
}

/// Runs `unpin`.
///
/// # Errors
/// There is no such backup, or a store fails.
pub async fn unpin(globals: &Globals, mut args: UnpinArgs) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.which.job).await?;
    let (job, copies) = find(&config, &args.which).await?;
    for copy in &copies {
        copy.shelf.unpin(copy.manifest.id).await?;
    }
    report(globals, job, &copies, None)
}

/// The copies of the backup; those in stores that cannot be read would differ from the rest, so that is an error.
async fn find<'a>(config: &'a Config, which: &'a JobAndBackup) -> Result<(&'a Job, Vec<Copy>)> {
    let (job, id) = which.find(config)?;
    let mut stock = Stock::for_backup(job, id).await?;
    if let Some((_, error)) = stock.unreachable.pop() {
        return Err(error.context("nothing was changed"));
    }
    let copies = find_backup(&stock, job, id, None).await?.warned();
    Ok((job, copies))
}

fn report(globals: &Globals, job: &Job, copies: &[Copy], pin: Option<Pin>) -> Result<ExitCode> {
    let Some(first) = copies.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    let id = first.manifest.id;
    let stores: Vec<&str> = copies.iter().map(|copy| copy.shelf.place()).collect();
    if globals.json {
        output::json(&Report {
            job: &job.name,
            id,
            pin,
            stores,
        })?;
    } else {
        let state = match &pin {
            None => "not pinned any more: retention decides on it".to_owned(),
            Some(Pin { reason: None, .. }) => "pinned: retention leaves it alone".to_owned(),
            Some(Pin { reason: Some(why), .. }) => format!("pinned ({why}): retention leaves it alone"),
        };
        output::line(&format!("{id} is {state} ({})", stores.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}
