//! `snapback verify`: whether backups still are what their manifests say. What it finds is remembered beside them.

use std::process::ExitCode;

use chrono::Utc;
use serde::Serialize;

use super::job_and_backup::JobAndBackup;
use super::output;
use super::progress::Progress;
use crate::cli::Globals;
use crate::config::Config;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::find::{ToLookAt, find_to_look_at};
use crate::job::Keys;
use crate::manifest::{Depth, Manifest};
use crate::shelf::{Check, Copy, Stock};
use crate::verify::{Findings, sample, verify};
use crate::watch::history::{Facts, Noted, Verb};

/// Options of `snapback verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: JobAndBackup,
    /// Verify all backups of the job
    #[arg(long, conflicts_with = "backup")]
    all: bool,
    /// Verify this share of the job's backups, those that were verified longest ago first, such as 10%
    #[arg(long, conflicts_with_all = ["backup", "all"], value_name = "PERCENT", value_parser = percent)]
    sample: Option<u8>,
    /// Verify the copies in this store only; without it those in all stores of the job
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// Also unpack everything, and count and hash every row again
    #[arg(long)]
    full: bool,
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.trim().trim_end_matches('%').parse().ok();
    let fine = number.filter(|percent| (1..=100).contains(percent));
    fine.ok_or_else(|| "a share such as 10%, from 1% to 100%".to_owned())
}

/// What is remembered of what was found in a backup whose manifest is encrypted.
const SEALED_PROBLEM: &str = "what was found may name tables: verify it again to see it";

/// What programs read.
#[derive(Serialize)]
struct Looked<'a> {
    job: &'a str,
    store: String,
    #[serde(flatten)]
    findings: Findings,
}

/// Runs the verb.
///
/// # Errors
/// A backup is damaged, or cannot be read: after all that were asked for had their turn.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.which.job).await?;
    let (job, _) = args.which.find(&config)?;
    let recording = globals
        .recorder(&config)
        .begin(&job.name, Verb::Verify, Facts::default());
    let noted = recording.noted();
    let outcome = all(globals, &args, &config, &noted).await;
    recording.end_noted(&outcome);
    outcome
}

async fn all(globals: &Globals, args: &Args, config: &Config, noted: &Noted) -> Result<ExitCode> {
    let (job, which) = args.which.find(config)?;
    let mut stock = match args.all || args.sample.is_some() {
        true => Stock::names(job).await?,
        false => Stock::for_backup(job, which).await?,
    };
    if let Some(store) = &args.store {
        stock = stock.only(job.destination(store)?);
    }
    let depth = if args.full { Depth::Full } else { Depth::Quick };
    let mut found = ToLookAt::default();
    let spots = match args.sample {
        Some(percent) => sample(stock.spots(), percent, depth),
        None if args.all => stock.spots(),
        None => {
            found = find_to_look_at(&stock, job, which).await?;
            let mut spots = stock.spots();
            spots.retain(|spot| found.ids.contains(&spot.id));
            spots
        }
    };
    let mut trouble = Trouble::default();
    for (_, error) in stock.unreachable.drain(..) {
        trouble.failed.get_or_insert(error);
    }
    let several = job.destinations.len() > 1;
    let mut looked = Vec::new();
    for spot in &spots {
        // One after the other: all manifests of a long history would need much memory.
        let copy = match found.take(spot) {
            Some(copy) => Ok(Some(copy)),
            None => stock.open(spot).await,
        };
        let copy = match copy {
            Ok(Some(copy)) => copy,
            Ok(None) => continue,
            Err(error) => {
                trouble.add(error);
                continue;
            }
        };
        match look(&copy, depth, &job.keys, globals).await {
            Ok(findings) => {
                let place = if several {
                    format!(" in {}", copy.shelf.place())
                } else {
                    String::new()
                };
                trouble.note(&findings, &place);
                if !globals.json && findings.problems.is_empty() {
                    output::lines(&describe(&copy.manifest, &findings, &place))?;
                }
                looked.push(Looked {
                    job: &job.name,
                    store: copy.shelf.place().to_owned(),
                    findings,
                });
            }
            Err(error) => drop(trouble.failed.get_or_insert(error)),
        }
    }
    noted.set(Facts {
        backup: looked.first().map(|looked| looked.findings.id),
        backups: Some(looked.len() as u64),
        ..Facts::default()
    });
    if globals.json {
        output::json(&looked)?;
    }
    trouble.outcome()
}

/// What is wrong, of all that was looked at.
#[derive(Default)]
struct Trouble {
    damaged: Vec<String>,
    failed: Option<anyhow::Error>,
}

impl Trouble {
    fn note(&mut self, findings: &Findings, place: &str) {
        if !findings.problems.is_empty() {
            let problems = findings.problems.join("; ");
            let damaged = format!("backup {}{place} is damaged: {problems}", findings.id);
            self.damaged.push(damaged);
        }
    }

    /// Takes note of a backup that could not be opened.
    fn add(&mut self, error: anyhow::Error) {
        match exit_of(&error) {
            Exit::Damaged => self.damaged.push(format!("{error:#}")),
            _ => drop(self.failed.get_or_insert(error)),
        }
    }

    /// Damage is what matters most; that a store could not be read comes after it.
    fn outcome(self) -> Result<ExitCode> {
        if !self.damaged.is_empty() {
            return Err(Fail::new(Exit::Damaged, self.damaged.join("\n"))
                .hint(
                    "restore from another backup or another store, and look after the disk or bucket that holds these",
                )
                .into());
        }
        self.failed.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

/// Looks at one copy and remembers what was found.
async fn look(copy: &Copy, depth: Depth, keys: &Keys, globals: &Globals) -> Result<Findings> {
    let manifest = &copy.known().await;
    let progress = Progress::new(!globals.json);
    progress.step(&format!("verifying {} in {}", manifest.id, copy.shelf.place()));
    progress.total(manifest.archive.bytes);
    let findings = verify(&copy.shelf, manifest, depth, keys, &|bytes| progress.add(bytes)).await;
    progress.end();
    let findings = findings?;
    let check = Check {
        id: findings.id,
        at: Utc::now(),
        depth,
        problems: match manifest.is_sealed() {
            // They may name tables, and records lie in the store in clear.
            true => vec![SEALED_PROBLEM.to_owned(); findings.problems.len().min(1)],
            false => findings.problems.clone(),
        },
        by: "verify".to_owned(),
        checksums: findings.checksums.clone(),
    };
    if let Err(error) = copy.shelf.record_check(&check).await {
        tracing::warn!(
            "the result of the check could not be recorded in {}: {error:#}",
            copy.shelf
        );
    }
    Ok(findings)
}

fn describe(manifest: &Manifest, findings: &Findings, place: &str) -> String {
    let (id, size) = (findings.id, output::bytes(manifest.archive.bytes));
    let of = if manifest.encryption.is_some() {
        " of encrypted bytes"
    } else {
        ""
    };
    match findings.depth {
        Depth::Quick if findings.bytes_read == 0 => {
            format!("{id} is good{place}: {size}{of} with the checksum that the store gave them; --full reads them")
        }
        Depth::Quick => format!("{id} is good{place}: {size}{of} with the digest of the manifest"),
        Depth::Full => format!(
            "{id} is good{place}: {size} with the digest of the manifest, all {} of {} counted and hashed again",
            output::plural(findings.rows, "row"),
            output::plural(manifest.table_count(), "table")
        ),
    }
}
