//! `snapback show`: all that is known of one backup.

use std::process::ExitCode;

use super::output::{self, Table};
use crate::cli::Globals;
use crate::error::Result;
use crate::manifest::Manifest;
use crate::shelf::Shelf;

/// Options of `snapback show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job; may be left out when there is only one
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Backup: an id as `snapback list` shows it, or `latest`
    #[arg(value_name = "BACKUP")]
    backup: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// There is no such backup.
pub async fn run(globals: &Globals, args: Args) -> Result<ExitCode> {
    let config = globals.config()?;
    let (job, which) = config.job_and_backup(args.job.as_deref(), args.backup.as_deref())?;
    let shelf = Shelf::of(job);
    let manifest = shelf.find(which).await?;
    if globals.json {
        output::json(&manifest)?;
    } else {
        output::line(&render(&manifest, &shelf.store().to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(manifest: &Manifest, store: &str) -> String {
    let mut facts = Table::new(&["", ""]);
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    let Manifest { source, archive, .. } = manifest;
    fact("backup", format!("{} ({})", manifest.id, manifest.kind));
    if let Some(label) = &manifest.label {
        fact("label", label.clone());
    }
    if manifest.pinned {
        fact("pinned", "retention leaves it alone".to_owned());
    }
    fact(
        "database",
        format!("{} on {} port {}", source.database, source.host, source.port),
    );
    fact("server", format!("PostgreSQL {}", source.server_version));
    fact("started", manifest.started.to_rfc3339());
    fact("took", output::seconds(manifest.seconds()));
    fact("archive", format!("{store}/{}/{}", manifest.job, archive.name));
    fact(
        "size",
        format!("{} ({})", output::bytes(archive.bytes), manifest.compression),
    );
    fact("sha256", archive.sha256.clone());
    fact(
        "globals",
        manifest
            .globals
            .as_ref()
            .map_or_else(|| "none".to_owned(), |file| file.name.clone()),
    );
    fact("schema", manifest.schema_hash.clone());
    fact("snapback", manifest.snapback.clone());
    for check in &manifest.verified {
        fact("verified", format!("{} ({})", check.at.to_rfc3339(), check.how));
    }
    for warning in &manifest.warnings {
        fact("warning", warning.clone());
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
