//! `snapback show`: all that is known of one backup.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::job_and_backup::JobAndBackup;
use super::output::{self, Table};
use crate::archive::{RestoreOptions, list};
use crate::cli::Globals;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::find::FromOther;
use crate::find::find;
use crate::job::{Job, Keys};
use crate::manifest::Manifest;
use crate::restore::postgres::origin::{Body, Content, Origin};
use crate::seal::age::brief;
use crate::shelf::{Check, Copy, Drill, Pin, Stock};
use crate::stored;

/// Options of `snapback show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: JobAndBackup,
    /// Print the table of contents of its archive, as `pg_restore -l` does
    #[arg(long)]
    list: bool,
}

/// What programs read: the manifest, and what is known of its copies.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    copies: Vec<InStore<'a>>,
}

/// One copy.
#[derive(Serialize)]
struct InStore<'a> {
    store: &'a str,
    archive: String,
    present: bool,
    pin: Option<&'a Pin>,
    /// How it did whenever it was looked at, the newest last.
    checks: Vec<Check>,
    /// How its drills went, the newest last.
    drills: Vec<Drill>,
}

/// Runs the verb.
///
/// # Errors
/// There is no such backup.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for(&mut args.which.job).await?;
    let (job, which) = args.which.find(&config)?;
    if args.list {
        return list_entries(job, which).await;
    }
    let stock = Stock::for_backup(job, which).await?;
    stock.warn();
    let copies = find(&stock, job, which, None).await?.warned();
    let Some(first) = copies.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    let manifest = opened(&first.manifest, &job.keys)?;
    let mut shown = Shown {
        manifest: &manifest,
        copies: Vec::new(),
    };
    for copy in &copies {
        shown.copies.push(in_store(copy).await?);
    }
    if globals.json {
        output::json(&shown)?;
    } else {
        output::lines(&render(&shown, Utc::now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The manifest with its details, if they are sealed and there is a key.
fn opened(manifest: &Manifest, keys: &Keys) -> Result<Manifest> {
    let mut opened = manifest.clone();
    match stored::unseal(&mut opened, keys) {
        Err(error) if exit_of(&error) == Exit::NoKey => {
            if !keys.is_empty() {
                tracing::warn!("{error:#}");
            }
            Ok(manifest.clone())
        }
        outcome => outcome.map(|()| opened),
    }
}

/// The list can be edited and given to `pg_restore -L`, so nothing else is printed.
async fn list_entries(job: &Job, id: &str) -> Result<ExitCode> {
    if !job.source.engine().is_postgres() {
        let message = "--list is for backups of PostgreSQL: an SQLite database has no table of contents";
        return Err(Fail::new(Exit::Usage, message)
            .hint("leave it out: the tables are shown anyway")
            .into());
    }
    let content = Content::open(
        &Origin::Backup {
            job,
            id,
            from_other: FromOther::Refused,
        },
        &job.keys,
        &RestoreOptions::default(),
    )
    .await?;
    for warning in &content.warnings {
        tracing::warn!("{warning}");
    }
    if let Body::Archive(reader) = &content.body {
        let all = RestoreOptions::default();
        let text = list::render(reader.header(), &reader.facts(), reader.entries(), &all);
        output::raw(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn in_store(copy: &Copy) -> Result<InStore<'_>> {
    let Copy {
        shelf,
        backup,
        manifest,
    } = copy;
    let mut checks = Vec::new();
    for mark in &backup.checks {
        checks.push(shelf.check_record(manifest.id, *mark).await?);
    }
    let mut drills = Vec::new();
    for mark in &backup.drills {
        drills.push(shelf.drill_record(manifest.id, *mark).await?);
    }
    let path = shelf.file_path(&manifest.archive.name);
    Ok(InStore {
        store: shelf.place(),
        archive: format!("{}/{path}", shelf.store()),
        present: backup.present,
        pin: backup.pin.as_ref(),
        checks,
        drills,
    })
}

/// The drills of the copy that has the most of them: each drill is recorded beside every copy.
fn newest_drills<'a>(shown: &'a Shown<'_>) -> &'a [Drill] {
    let all = shown.copies.iter().map(|copy| copy.drills.as_slice());
    all.max_by_key(|drills| drills.len()).unwrap_or_default()
}

fn render(shown: &Shown<'_>, now: DateTime<Utc>) -> String {
    let manifest = shown.manifest;
    let mut facts = Table::new(&["", ""]);
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    let Manifest { source, archive, .. } = manifest;
    fact("backup", format!("{} ({})", manifest.id, manifest.kind));
    if let Some(label) = &manifest.label {
        fact("label", label.clone());
    }
    if let Some(pin) = shown.copies.iter().find_map(|copy| copy.pin) {
        let reason = pin.reason.as_deref().unwrap_or("retention leaves it alone");
        fact("pinned", reason.to_owned());
    }
    fact("database", source.to_string());
    fact(
        if source.file.is_some() { "library" } else { "server" },
        format!("{} {}", source.engine, source.server_version),
    );
    if let Some(identifier) = source.system_identifier {
        let oid = source.database_oid;
        fact(
            "identity",
            format!("system identifier {identifier}, database OID {oid}"),
        );
    }
    fact("started", output::time(manifest.started, now));
    fact("took", output::seconds(manifest.seconds()));
    for copy in &shown.copies {
        let missing = if copy.present { "" } else { " (MISSING or cut)" };
        fact("archive", format!("{}{missing}", copy.archive));
    }
    fact(
        "size",
        format!("{} ({})", output::bytes(archive.bytes), manifest.compression),
    );
    match &archive.head {
        None => fact("sha256", archive.sha256.clone()),
        Some(head) => {
            fact("sha256", format!("{} of the first {} bytes", head.sha256, head.bytes));
            fact("", format!("{} of the rest", archive.sha256));
        }
    }
    if source.engine.is_postgres() {
        let globals = manifest.globals.as_ref();
        fact(
            "globals",
            globals.map_or_else(|| "none".to_owned(), |file| file.name.clone()),
        );
    }
    if let Some(facts) = &manifest.sqlite {
        fact(
            "pages",
            format!(
                "{} of {} bytes, {}, journal mode {}",
                facts.pages, facts.page_size, facts.encoding, facts.journal_mode
            ),
        );
        for (name, value) in [
            ("user_version", facts.user_version),
            ("application_id", facts.application_id),
        ] {
            if value != 0 {
                fact(name, value.to_string());
            }
        }
        if facts.damaged {
            fact(
                "DAMAGED",
                "before it was saved: this backup does not count as a good one".to_owned(),
            );
        }
        for finding in &facts.damage {
            fact("", finding.clone());
        }
    }
    for recipient in manifest.encryption.iter().flat_map(|it| &it.recipients) {
        fact("encrypted for", brief(recipient));
    }
    if !manifest.is_sealed() {
        fact("schema", manifest.schema_hash.clone());
    }
    fact("snapback", manifest.snapback.clone());
    for check in &manifest.verified {
        fact("verified", format!("{} ({})", output::time(check.at, now), check.how));
    }
    for copy in &shown.copies {
        for check in &copy.checks {
            let (at, depth, by, store) = (output::time(check.at, now), check.depth, &check.by, copy.store);
            match check.problems.is_empty() {
                true => fact("verified", format!("{at} ({depth}, {by}, {store})")),
                false => fact(
                    "DAMAGED",
                    format!("{at} ({depth}, {by}, {store}): {}", check.problems.join("; ")),
                ),
            }
        }
    }
    for drill in newest_drills(shown) {
        let (at, took) = (output::time(drill.at, now), output::seconds(drill.seconds));
        match drill.passed {
            true => fact(
                "restorable",
                format!("shown by a drill {at} in {took} ({})", drill.place),
            ),
            false => fact("FAILED A DRILL", format!("{at}: {}", drill.problems.join("; "))),
        }
    }
    for warning in &manifest.warnings {
        fact("warning", warning.clone());
    }
    if manifest.is_sealed() {
        fact(
            "tables",
            format!(
                "{}, {} rows (the rest is encrypted)",
                manifest.table_count(),
                output::count(manifest.rows())
            ),
        );
        return facts.render().trim_start().to_owned();
    }
    let entries: Vec<String> = manifest.entries.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    fact("entries", entries.join(", "));

    let mut tables = Table::new(&["TABLE", ">ROWS", ">BYTES", "HASH"]);
    for table in &manifest.tables {
        tables.row([
            format!("{}.{}", table.schema, table.name),
            output::count(table.rows),
            output::bytes(table.bytes),
            table.hash.clone(),
        ]);
    }
    format!("{}\n\n{}", facts.render().trim_start(), tables.render())
}
