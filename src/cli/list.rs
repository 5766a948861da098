//! `snapback list`: the backups that there are.

use std::collections::BTreeSet;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::output::{self, Table};
use super::progress::Progress;
use crate::cli::Globals;
use crate::engine::sqlite::scratch;
use crate::error::Result;
use crate::guard;
use crate::job::{Job, SourceConfig};
use crate::manifest::{BackupId, Engine, Kind, Source};
use crate::replaced::{self, Remains};
use crate::restore;
use crate::shelf::{Backup, Claim, DrillMark, Failure, Mark, Pin, Proven, Shelf, Stock, is_dead};

/// Options of `snapback list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job whose backups to list, or an SQLite file; all jobs without
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// What programs read.
#[derive(Serialize)]
struct Listed<'a> {
    job: &'a str,
    stores: Vec<Place<'a>>,
    backups: Vec<Row<'a>>,
    failures: Vec<&'a Failure>,
    claims: Vec<Claimed<'a>>,
    unreadable: Vec<&'a String>,
    /// What restores have on the server; nothing when it cannot be reached.
    restores: Option<&'a Remains>,
}

/// A run that is under way, or was killed.
#[derive(Serialize)]
struct Claimed<'a> {
    #[serde(flatten)]
    claim: &'a Claim,
    /// It is of this machine, and its process is gone.
    dead: bool,
}

/// A store of the job.
#[derive(Serialize)]
struct Place<'a> {
    store: &'a str,
    at: String,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A manifest without its long list of tables, and where it is.
#[derive(Serialize)]
struct Row<'a> {
    id: BackupId,
    kind: Kind,
    label: Option<&'a str>,
    pinned: bool,
    /// Whether it is whole in some store, as far as can be seen.
    present: bool,
    engine: Engine,
    database: &'a str,
    /// All that tells it apart.
    source: &'a Source,
    server_version: &'a str,
    started: DateTime<Utc>,
    seconds: f64,
    bytes: u64,
    tables: u64,
    rows: u64,
    /// What last proved it, and when.
    verified: Option<String>,
    verified_at: Option<DateTime<Utc>>,
    /// How its last drill went.
    drill: Option<DrillMark>,
    copies: Vec<InStore<'a>>,
}

/// One copy.
#[derive(Serialize)]
struct InStore<'a> {
    store: &'a str,
    present: bool,
    pin: Option<&'a Pin>,
    proven: Option<Proven>,
    failed_check: Option<&'a Mark>,
}

impl<'a> Row<'a> {
    fn of(stock: &'a Stock, id: BackupId) -> Option<Self> {
        let copies: Vec<(&Shelf, &Backup)> = stock.copies(id).collect();
        let summary = &copies.first()?.1.summary;
        let proven = best_proof(&copies);
        Some(Row {
            id,
            kind: summary.kind,
            label: summary.label.as_deref(),
            pinned: copies.iter().any(|(_, backup)| backup.pin.is_some()),
            present: copies.iter().any(|(_, backup)| backup.present),
            engine: summary.source.engine,
            database: &summary.source.database,
            source: &summary.source,
            server_version: &summary.source.server_version,
            started: summary.started,
            seconds: summary.seconds(),
            bytes: summary.archive.bytes,
            tables: summary.table_count(),
            rows: summary.rows(),
            verified: proven.as_ref().map(|proven| proven.how.clone()),
            verified_at: proven.as_ref().map(|proven| proven.at),
            drill: last_drill(&copies),
            copies: copies
                .iter()
                .map(|(shelf, backup)| InStore::of(shelf, backup))
                .collect(),
        })
    }
}

impl<'a> InStore<'a> {
    fn of(shelf: &'a Shelf, backup: &'a Backup) -> Self {
        InStore {
            store: shelf.place(),
            present: backup.present,
            pin: backup.pin.as_ref(),
            proven: backup.proven(),
            failed_check: backup.failed_check(),
        }
    }
}

/// How the last drill of a backup went.
fn last_drill(copies: &[(&Shelf, &Backup)]) -> Option<DrillMark> {
    let drills = copies.iter().filter_map(|(_, backup)| backup.drills.last());
    drills.max_by_key(|drill| drill.at).copied()
}

/// The newest proof of a copy that is good.
fn best_proof(copies: &[(&Shelf, &Backup)]) -> Option<Proven> {
    let good = copies.iter().filter(|(_, backup)| backup.is_good());
    good.filter_map(|(_, backup)| backup.proven())
        .max_by_key(|proven| proven.at)
}

/// Runs the verb.
///
/// # Errors
/// The job does not exist or none of its stores can be read.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.job).await?;
    let jobs: Vec<&Job> = match (&args.job, config.jobs.len()) {
        (None, 2..) => config.jobs.iter().collect(),
        (Some(name), _) => config.jobs_named(std::slice::from_ref(name))?,
        (None, _) => vec![config.job(None)?],
    };
    let mut found = Vec::new();
    let progress = Progress::new(false);
    for job in jobs {
        let stock = Stock::read(job).await?;
        stock.warn();
        guard::tell_of_killed_in(job, &stock, &|text| progress.warn(&text)).await;
        found.push((job, stock, remains(job).await));
    }
    if globals.json {
        let listed: Vec<Listed<'_>> = found
            .iter()
            .map(|(job, stock, remains)| listed(job, stock, remains.as_ref()))
            .collect();
        output::json(&listed)?;
    } else {
        for (job, stock, remains) in &found {
            print(job, stock, found.len() > 1)?;
            if let Some(remains) = remains {
                print_remains(remains, stock)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listed<'a>(job: &'a Job, stock: &'a Stock, restores: Option<&'a Remains>) -> Listed<'a> {
    let unreadable = stock.unreachable.iter().map(|(shelf, error)| (shelf, Some(error)));
    let stores = stock.shelves.iter().map(|(shelf, _)| (shelf, None)).chain(unreadable);
    let stores = stores.filter(|(shelf, _)| shelf.is_current());
    let place = |(shelf, error): (&'a Shelf, Option<&anyhow::Error>)| Place {
        store: shelf.place(),
        at: shelf.store().to_string(),
        error: error.map(|error| format!("{error:#}")),
    };
    Listed {
        job: &job.name,
        stores: stores.map(place).collect(),
        backups: stock.ids().into_iter().filter_map(|id| Row::of(stock, id)).collect(),
        failures: stock.inventories().flat_map(|inventory| &inventory.failures).collect(),
        claims: stock
            .inventories()
            .flat_map(|inventory| &inventory.claims)
            .map(claimed)
            .collect(),
        unreadable: stock
            .inventories()
            .flat_map(|inventory| &inventory.unreadable)
            .collect(),
        restores,
    }
}

fn claimed(claim: &Claim) -> Claimed<'_> {
    let dead = is_dead(&claim.by);
    Claimed { claim, dead }
}

fn print(job: &Job, stock: &Stock, several: bool) -> Result<()> {
    let places: Vec<String> = job.destinations.iter().map(|it| it.store.to_string()).collect();
    let places = places.join(", ");
    if several {
        output::line(&format!("{} in {places}", job.name))?;
    }
    let ids = stock.ids();
    if ids.is_empty() {
        output::line(&format!("job {} has no backups in {places}", job.name))?;
        return print_trouble(stock);
    }
    let mut headings = vec!["ID", "AGE", "KIND", ">SIZE", ">TABLES", ">ROWS", ">TOOK"];
    let named = naming(stock);
    if named != Naming::None {
        headings.insert(1, "DATABASE");
    }
    let in_stores = job.destinations.len() > 1;
    if in_stores {
        headings.push("STORES");
    }
    headings.extend(["STATE", "LABEL"]);
    let mut table = Table::new(&headings);
    for id in ids {
        let copies: Vec<(&Shelf, &Backup)> = stock.copies(id).collect();
        if let Some(row) = row(&copies, named, in_stores.then_some(stock)) {
            table.row(row);
        }
    }
    output::lines(&table.render())?;
    print_trouble(stock)
}

/// How the databases of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// All backups are of one.
    None,
    /// By their names.
    Database,
    /// By their servers as well.
    Server,
}

fn naming(stock: &Stock) -> Naming {
    let mut sources: Vec<&Source> = Vec::new();
    for backup in stock.inventories().flat_map(|inventory| &inventory.backups) {
        let source = &backup.summary.source;
        if !sources.iter().any(|other| other.same_database(source)) {
            sources.push(source);
        }
    }
    let names: BTreeSet<&str> = sources.iter().map(|source| source.database.as_str()).collect();
    match sources.len() {
        0 | 1 => Naming::None,
        several if names.len() == several => Naming::Database,
        _ => Naming::Server,
    }
}

/// The cells of one backup.
fn row(copies: &[(&Shelf, &Backup)], named: Naming, stock: Option<&Stock>) -> Option<Vec<String>> {
    let summary = &copies.first()?.1.summary;
    let now = Utc::now();
    let mut row = vec![
        summary.id.to_string(),
        output::ago(summary.id.time(), now),
        summary.kind.to_string(),
        output::bytes(summary.archive.bytes),
        output::count(summary.table_count()),
        output::count(summary.rows()),
        output::seconds(summary.seconds()),
    ];
    match named {
        Naming::None => {}
        Naming::Database => row.insert(1, summary.source.database.clone()),
        Naming::Server => row.insert(1, summary.source.to_string()),
    }
    row.extend(stock.map(|stock| stores(copies, stock)));
    row.push(state(copies, now));
    row.push(summary.label.clone().unwrap_or_default());
    Some(row)
}

/// Where a backup is, and where it should be and is not.
fn stores(copies: &[(&Shelf, &Backup)], stock: &Stock) -> String {
    let here = |shelf: &&Shelf| copies.iter().any(|(other, _)| other.place() == shelf.place());
    let shelves = || {
        stock
            .shelves
            .iter()
            .map(|(shelf, _)| shelf)
            .filter(|shelf| shelf.is_current())
    };
    let names = |found: Vec<&Shelf>| found.iter().map(|shelf| shelf.place()).collect::<Vec<_>>().join(", ");
    let (there, missing) = (
        shelves().filter(here).collect(),
        names(shelves().filter(|it| !here(it)).collect()),
    );
    match missing.as_str() {
        "" => names(there),
        missing => format!("{} (not in {missing})", names(there)),
    }
}

/// What restores have on the server. The backups are in the store, so a server that is away is no failure.
async fn remains(job: &Job) -> Option<Remains> {
    restore::clean_up_after_drills(job).await;
    if let SourceConfig::Sqlite(location) = &job.source {
        for left in scratch::tidy_beside(location) {
            tracing::warn!("removed {}, which a killed restore had left", left.display());
        }
        return None;
    }
    match replaced::look(job).await {
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

fn print_remains(remains: &Remains, stock: &Stock) -> Result<()> {
    // A store that cannot be read may have it.
    let is_known = stock.unreachable.is_empty();
    let exists = |id| !is_known || stock.copies(id).any(|(_, backup)| backup.present);
    for leftover in &remains.leftovers {
        output::line(&leftover.to_string())?;
    }
    if remains.kept.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["KEPT DATABASE", "REPLACED", ">SIZE", "BY", "SAFETY"]);
    for kept in &remains.kept {
        table.row([
            kept.name.clone(),
            output::ago(kept.since, Utc::now()),
            kept.bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .map_or("?".to_owned(), output::bytes),
            kept.replaced_by.map_or("undo".to_owned(), |id| id.to_string()),
            match kept.safety {
                Some(id) if exists(id) => id.to_string(),
                Some(id) => format!("{id} is gone: the only copy"),
                None => "none: the only copy".to_owned(),
            },
        ]);
    }
    output::line("")?;
    output::lines(&table.render())
}

/// What a person should know besides the backups.
fn print_trouble(stock: &Stock) -> Result<()> {
    let newest = stock.ids().first().copied();
    let failures = stock.inventories().flat_map(|inventory| &inventory.failures);
    let mut said = BTreeSet::new();
    for failure in failures.filter(|failure| Some(failure.id) > newest) {
        if said.insert(failure.id) {
            output::line(&format!("run {} failed: {}", failure.id, failure.error))?;
        }
    }
    // A run that failed may leave its claim to the next one, to be on the safe side.
    let mut said: BTreeSet<BackupId> = stock
        .inventories()
        .flat_map(|inventory| inventory.failures.iter().map(|failure| failure.id))
        .collect();
    for claim in stock.inventories().flat_map(|inventory| &inventory.claims) {
        if said.insert(claim.id) {
            let what = if claim.copied { "copy" } else { "run" };
            let state = match is_dead(&claim.by) {
                true => "was killed: that process is gone, and the next run cleans up",
                false => "is under way, or was killed",
            };
            output::line(&format!("{what} {} {state} ({})", claim.id, claim.by))?;
        }
    }
    for reason in stock.inventories().flat_map(|inventory| &inventory.unreadable) {
        output::line(&format!("damaged: {reason}"))?;
    }
    Ok(())
}

/// The state of a backup in a few words.
fn state(copies: &[(&Shelf, &Backup)], now: DateTime<Utc>) -> String {
    let damage = |(shelf, backup): &(&Shelf, &Backup)| {
        let what = match backup.failed_check() {
            _ if !backup.present => "archive missing or cut".to_owned(),
            Some(mark) => format!("failed a {} check {}", mark.depth, output::ago(mark.at, now)),
            None => return None,
        };
        Some(match copies.len() {
            1 => format!("DAMAGED: {what}"),
            _ => format!("DAMAGED in {}: {what}", shelf.place()),
        })
    };
    let mut state: Vec<String> = copies.iter().filter_map(damage).collect();
    if copies.iter().any(|(_, backup)| backup.summary.is_of_damaged()) {
        state.push("OF A DAMAGED DATABASE".to_owned());
    }
    match best_proof(copies) {
        Some(proven) if proven.how == "written" => state.push("verified (written)".to_owned()),
        Some(proven) => state.push(format!("verified ({}, {})", proven.how, output::ago(proven.at, now))),
        None if state.is_empty() => state.push("not verified".to_owned()),
        None => {}
    }
    if let Some(drill) = last_drill(copies) {
        state.push(output::drilled(drill, now));
    }
    if let Some(pin) = copies.iter().find_map(|(_, backup)| backup.pin.as_ref()) {
        state.push(match &pin.reason {
            Some(reason) => format!("pinned: {reason}"),
            None => "pinned".to_owned(),
        });
    }
    state.join(", ")
}
