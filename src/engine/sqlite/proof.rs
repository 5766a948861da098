//! Whether a file is the database that a manifest describes.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::export::{Contents, contents};
use super::failure::{explain, is_damage};
use super::scratch::{self, Scratch};
use super::unpack::unpack;
use super::{facts, open};
use crate::archive::source::Source;
use crate::error::{Exit, Fail, Result};
use crate::manifest::{Manifest, SqliteFacts, Table};
use crate::seal::Algorithm;

/// What was found in a file.
pub struct Found {
    /// Everything in it.
    pub contents: Contents,
    /// How many rows were counted and hashed.
    pub rows: u64,
}

/// Reads a file that nobody else has. Blocks: not for async tasks.
///
/// # Errors
/// It is no database ([`Exit::Damaged`]), or cannot be read.
pub fn read(path: &Path) -> Result<Found> {
    let (open, mut checks) = (open::immutable(path)?, open::immutable(path)?);
    let mut read = || -> Result<Contents> {
        begin(&open)?;
        begin(&checks)?;
        let facts = facts::read(&open)?;
        contents(&open, Some(&mut checks), facts)
    };
    let contents = read().map_err(|error| match error.downcast::<rusqlite::Error>() {
        Ok(error) if is_damage(&error) => Fail::new(
            Exit::Damaged,
            format!("what was unpacked is no whole database: {error}"),
        )
        .into(),
        Ok(error) => explain(error, path),
        Err(error) => error,
    })?;
    let rows = contents.tables.iter().map(|table| table.rows).sum();
    Ok(Found { contents, rows })
}

fn begin(open: &Connection) -> rusqlite::Result<()> {
    open.execute_batch("PRAGMA cache_size = -8192; BEGIN")?;
    match open.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())) {
        // Definitions that make no sense keep nobody from reading the rest.
        Err(error) if is_damage(&error) => open.execute_batch("ROLLBACK; PRAGMA writable_schema = ON; BEGIN"),
        begun => begun,
    }
}

/// Unpacks the archive of `manifest` where temporary files go, and reads it.
///
/// # Errors
/// It is damaged ([`Exit::Damaged`]), or there is no room.
pub async fn verify(archive: Source, manifest: &Manifest) -> Result<Found> {
    let (folder, name) = (std::env::temp_dir(), format!("{}-{}", manifest.job, manifest.id));
    let left = scratch::tidy(&folder, &name);
    tracing::debug!(left = left.len(), "looked for what killed checks left");
    let algorithm = Algorithm::named(&manifest.compression).unwrap_or_default();
    let (scratch, _) = unpack(archive, algorithm, Scratch::create(&folder, &name)?, &|_| ()).await?;
    tokio::task::spawn_blocking(move || read(scratch.path())).await?
}

/// In what `found` differs from `manifest`; nothing when it is what was backed up.
#[must_use]
pub fn differences(found: &Contents, manifest: &Manifest) -> Vec<String> {
    let mut problems = Vec::new();
    let wanted = manifest.sqlite.clone().unwrap_or_default();
    for (what, is, should) in settings(&found.facts, &wanted) {
        if is != should {
            problems.push(format!("its {what} is {is} instead of {should}"));
        }
    }
    if found.schema_hash != manifest.schema_hash {
        problems.push("its definitions are not those of the manifest".to_owned());
    }
    problems.extend(rows(&found.tables, &manifest.tables));
    // What was damaged before it was saved is damaged in the same way.
    if wanted.damage.is_empty() {
        problems.extend(found.facts.damage.iter().cloned());
    }
    problems
}

fn settings(found: &SqliteFacts, wanted: &SqliteFacts) -> [(&'static str, String, String); 7] {
    let pair = |what, of: &dyn Fn(&SqliteFacts) -> String| (what, of(found), of(wanted));
    [
        pair("page size", &|it| it.page_size.to_string()),
        pair("number of pages", &|it| it.pages.to_string()),
        pair("encoding", &|it| it.encoding.clone()),
        pair("journal mode", &|it| it.journal_mode.clone()),
        pair("auto_vacuum", &|it| it.auto_vacuum.to_string()),
        pair("user_version", &|it| it.user_version.to_string()),
        pair("application_id", &|it| it.application_id.to_string()),
    ]
}

/// In what the rows of tables differ.
#[must_use]
pub fn rows(found: &[Table], wanted: &[Table]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut left: BTreeMap<&str, &Table> = found.iter().map(|table| (table.name.as_str(), table)).collect();
    for wanted in wanted {
        match left.remove(wanted.name.as_str()) {
            None => problems.push(format!("the rows of {} are not in it", wanted.name)),
            Some(found) if (found.rows, &found.hash) != (wanted.rows, &wanted.hash) => problems.push(format!(
                "{} has {} rows, {} instead of {} rows, {}",
                wanted.name, found.rows, found.hash, wanted.rows, wanted.hash
            )),
            Some(_) => {}
        }
    }
    problems.extend(
        left.keys()
            .map(|name| format!("the rows of {name} are not in the manifest")),
    );
    problems
}
