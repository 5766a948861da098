//! `snapback list`: the backups that there are.

use std::process::ExitCode;

use chrono::Utc;
use serde::Serialize;

use super::output::{self, Table};
use crate::cli::Globals;
use crate::error::Result;
use crate::job::Job;
use crate::manifest::Manifest;
use crate::restore::kept::{self, Remains};
use crate::shelf::{self, Backup, Claim, Failure, Inventory};

/// Options of `snapback list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job whose backups to list; all jobs without
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// What programs read.
#[derive(Serialize)]
struct Listed<'a> {
    job: &'a str,
    store: String,
    backups: Vec<Row<'a>>,
    failures: &'a [Failure],
    claims: &'a [Claim],
    unreadable: &'a [String],
    /// What restores have on the server; nothing when it cannot be reached.
    restores: Option<&'a Remains>,
}

/// A manifest without its long list of tables.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    kind: String,
    label: Option<&'a str>,
    pinned: bool,
    present: bool,
    database: &'a str,
    server_version: &'a str,
    started: String,
    seconds: f64,
    bytes: u64,
    tables: usize,
    rows: u64,
    verified: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(backup: &'a Backup) -> Self {
        let manifest = &backup.manifest;
        Row {
            id: manifest.id.to_string(),
            kind: manifest.kind.to_string(),
            label: manifest.label.as_deref(),
            pinned: manifest.pinned,
            present: backup.present,
            database: &manifest.source.database,
            server_version: &manifest.source.server_version,
            started: manifest.started.to_rfc3339(),
            seconds: manifest.seconds(),
            bytes: manifest.archive.bytes,
            tables: manifest.tables.len(),
            rows: manifest.rows(),
            verified: manifest.verified.last().map(|check| check.how.as_str()),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// The job does not exist or its store cannot be read.
pub async fn run(globals: &Globals, args: Args) -> Result<ExitCode> {
    let config = globals.config()?;
    let jobs: Vec<&Job> = match (&args.job, config.jobs.len()) {
        (None, 2..) => config.jobs.iter().collect(),
        (name, _) => vec![config.job(name.as_deref())?],
    };
    let mut found = Vec::new();
    for job in jobs {
        found.push((job, shelf::inventory(job).await?, remains(job).await));
    }
    if globals.json {
        let listed: Vec<Listed<'_>> = found
            .iter()
            .map(|(job, inventory, remains)| listed(job, inventory, remains.as_ref()))
            .collect();
        output::json(&listed)?;
    } else {
        for (job, inventory, remains) in &found {
            print(job, inventory, found.len() > 1)?;
            if let Some(remains) = remains {
                print_remains(remains)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listed<'a>(job: &'a Job, inventory: &'a Inventory, restores: Option<&'a Remains>) -> Listed<'a> {
    Listed {
        job: &job.name,
        store: job.store.to_string(),
        backups: inventory.backups.iter().map(Row::of).collect(),
        failures: &inventory.failures,
        claims: &inventory.claims,
        unreadable: &inventory.unreadable,
        restores,
    }
}

fn print(job: &Job, inventory: &Inventory, several: bool) -> Result<()> {
    if several {
        output::line(&format!("{} in {}", job.name, job.store))?;
    }
    let now = Utc::now();
    if inventory.backups.is_empty() {
        output::line(&format!("job {} has no backups in {}", job.name, job.store))?;
    } else {
        let mut table = Table::new(&[
            "ID", "AGE", "KIND", ">SIZE", ">TABLES", ">ROWS", ">TOOK", "STATE", "LABEL",
        ]);
        for backup in &inventory.backups {
            let manifest = &backup.manifest;
            table.row([
                manifest.id.to_string(),
                output::ago(manifest.id.time(), now),
                manifest.kind.to_string(),
                output::bytes(manifest.archive.bytes),
                output::count(manifest.tables.len() as u64),
                output::count(manifest.rows()),
                output::seconds(manifest.seconds()),
                state(backup),
                manifest.label.clone().unwrap_or_default(),
            ]);
        }
        output::line(&table.render())?;
    }
    print_trouble(inventory)
}

/// What restores have on the server. The backups are in the store, so a server that is away is no failure.
async fn remains(job: &Job) -> Option<Remains> {
    match kept::look(job).await {
        Ok(remains) => Some(remains),
        Err(error) => {
            tracing::info!(
                "the server of job {} cannot be asked for kept databases: {error:#}",
                job.name
            );
            None
        }
    }
}

fn print_remains(remains: &Remains) -> Result<()> {
    for leftover in &remains.leftovers {
        output::line(&leftover.to_string())?;
    }
    if remains.kept.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["KEPT DATABASE", "REPLACED", ">SIZE", "BY", "SAFETY"]);
    let id = |id: Option<crate::manifest::BackupId>, none: &str| id.map_or(none.to_owned(), |id| id.to_string());
    for kept in &remains.kept {
        table.row([
            kept.name.clone(),
            output::ago(kept.since, Utc::now()),
            kept.bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .map_or("?".to_owned(), output::bytes),
            id(kept.replaced_by, "undo"),
            id(kept.safety, "none: the only copy"),
        ]);
    }
    output::line("")?;
    output::line(&table.render())
}

/// What a person should know besides the backups.
fn print_trouble(inventory: &Inventory) -> Result<()> {
    let newest = inventory.backups.first().map(|backup| backup.manifest.id);
    for failure in inventory.failures.iter().filter(|failure| Some(failure.id) > newest) {
        output::line(&format!("run {} failed: {}", failure.id, failure.error))?;
    }
    for claim in &inventory.claims {
        output::line(&format!("run {} is under way, or was killed ({})", claim.id, claim.by))?;
    }
    for reason in &inventory.unreadable {
        output::line(&format!("damaged: {reason}"))?;
    }
    Ok(())
}

/// The state of a backup in a few words.
fn state(backup: &Backup) -> String {
    let Manifest { verified, pinned, .. } = &backup.manifest;
    let mut state = match verified.last() {
        _ if !backup.present => "DAMAGED: archive missing or cut".to_owned(),
        Some(check) => format!("verified ({})", check.how),
        None => "not verified".to_owned(),
    };
    if *pinned {
        state.push_str(", pinned");
    }
    state
}
