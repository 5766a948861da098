//! `snapback verify`: whether backups still are what their manifests say.

use std::process::ExitCode;

use super::output;
use super::progress::Progress;
use crate::cli::Globals;
use crate::error::{Exit, Fail, Result};
use crate::manifest::Manifest;
use crate::shelf::Shelf;
use crate::verify::{Depth, Findings, verify};

/// Options of `snapback verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job; may be left out when there is only one
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Backup: an id as `snapback list` shows it, or `latest`
    #[arg(value_name = "BACKUP")]
    backup: Option<String>,
    /// Verify all backups of the job
    #[arg(long, conflicts_with = "backup")]
    all: bool,
    /// Also unpack everything, and count and hash every row again
    #[arg(long)]
    full: bool,
}

/// Runs the verb.
///
/// # Errors
/// A backup is damaged, or cannot be read.
pub async fn run(globals: &Globals, args: Args) -> Result<ExitCode> {
    let config = globals.config()?;
    let (job, which) = config.job_and_backup(args.job.as_deref(), args.backup.as_deref())?;
    let shelf = Shelf::of(job);
    let (manifests, unreadable) = if args.all {
        let inventory = shelf.inventory().await?;
        let manifests = inventory.backups.into_iter().map(|backup| backup.manifest).collect();
        (manifests, inventory.unreadable)
    } else if which == "latest" {
        (vec![newest(&shelf).await?], Vec::new())
    } else {
        (vec![shelf.find(which).await?], Vec::new())
    };
    let depth = if args.full { Depth::Full } else { Depth::Quick };
    let mut found = Vec::new();
    for manifest in &manifests {
        let findings = look(&shelf, manifest, depth, globals).await?;
        if !globals.json && findings.problems.is_empty() {
            output::line(&describe(manifest, &findings))?;
        }
        found.push(findings);
    }
    if globals.json {
        output::json(&found)?;
    }
    let damaged: Vec<String> = found
        .iter()
        .filter(|findings| !findings.problems.is_empty())
        .map(|findings| format!("backup {} is damaged: {}", findings.id, findings.problems.join("; ")))
        .chain(unreadable)
        .collect();
    if damaged.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Fail::new(Exit::Damaged, damaged.join("\n"))
        .hint("restore from another backup, and look after the disk or bucket that holds these")
        .into())
}

/// The newest backup, also if it is damaged: a restore would pass over it, but here it is the one to look at.
async fn newest(shelf: &Shelf) -> Result<Manifest> {
    match shelf.inventory().await?.backups.into_iter().next() {
        Some(backup) => Ok(backup.manifest),
        None => shelf.find("latest").await,
    }
}

async fn look(shelf: &Shelf, manifest: &Manifest, depth: Depth, globals: &Globals) -> Result<Findings> {
    let progress = Progress::new(!globals.json);
    progress.step(&format!("verifying {}", manifest.id));
    progress.total(manifest.archive.bytes);
    let findings = verify(shelf, manifest, depth, &|bytes| progress.add(bytes)).await;
    progress.end();
    findings
}

fn describe(manifest: &Manifest, findings: &Findings) -> String {
    let size = output::bytes(manifest.archive.bytes);
    match findings.depth {
        Depth::Quick => format!("{} is good: {size} with the digest of the manifest", findings.id),
        Depth::Full => format!(
            "{} is good: {size} with the digest of the manifest, all {} rows of {} tables counted and hashed again",
            findings.id,
            output::count(findings.rows),
            manifest.tables.len()
        ),
    }
}
