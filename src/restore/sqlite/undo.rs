//! What a restore is taken back to: the safety snapshot of the last one that replaced the database. Taking it back is a
//! restore too, with a safety snapshot of its own, so that can be taken back as well.

use std::path::Path;
use std::time::Duration;

use crate::engine::sqlite::{facts, failure, open};
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, DatabaseFile, Kind, Manifest};
use crate::shelf::Stock;

/// The safety snapshot of `job` that is `named`, or that of the last restore that replaced the database at `path`. A restore
/// that failed has replaced nothing, and its snapshot is nothing to go back to.
///
/// # Errors
/// There is none, or whether the last restore has replaced anything is not known.
pub async fn safety(job: &Job, path: &Path, named: Option<&str>) -> Result<BackupId> {
    if let Some(named) = named {
        return Ok(named.parse()?);
    }
    let live = Live::at(path).await?;
    let stock = Stock::names(job).await?;
    stock.warn();
    for id in stock.ids() {
        let Some(copy) = stock.copies(id).await?.into_iter().next() else {
            continue;
        };
        if copy.manifest.kind != Kind::Safety || !live.is_in(&copy.manifest) {
            continue;
        }
        let ends = stock.shelves.iter().filter_map(|(_, names)| names.has_replaced(id));
        match ends.max() {
            Some(true) => return Ok(id),
            Some(false) => {}
            // It was killed before it could say so. Each restore raises this number.
            None if live.schema_version == schema_version(&copy.manifest) => {}
            None => return Err(unknown(job, path, id)),
        }
    }
    Err(Fail::new(
        Exit::NotFound,
        format!("no restore of {} is known that could be taken back", path.display()),
    )
    .hint(format!("`snapback list {}` shows the backups that there are", job.name))
    .into())
}

/// What is there now.
struct Live {
    file: Option<DatabaseFile>,
    schema_version: Option<i64>,
}

impl Live {
    async fn at(path: &Path) -> Result<Live> {
        let Ok(found) = open::find(path) else {
            return Ok(Live {
                file: None,
                schema_version: None,
            });
        };
        let file = Some(facts::file(&found));
        let read = move || -> Result<i64> {
            let open = open::for_reading(&found, Duration::from_secs(10))?;
            let number = open.query_row("PRAGMA schema_version", [], |row| row.get(0));
            number.map_err(|error| failure::explain(error, &found.path))
        };
        // What is damaged has no number, and can be taken back all the same.
        let schema_version = tokio::task::spawn_blocking(read).await?.ok();
        Ok(Live { file, schema_version })
    }

    /// Whether `manifest` is of this database; where there is none any more, of any.
    fn is_in(&self, manifest: &Manifest) -> bool {
        match (&self.file, &manifest.source.file) {
            (Some(ours), Some(theirs)) => ours.is_same(theirs),
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }
}

fn schema_version(manifest: &Manifest) -> Option<i64> {
    manifest.sqlite.as_ref().map(|facts| facts.schema_version)
}

fn unknown(job: &Job, path: &Path, id: BackupId) -> anyhow::Error {
    let message = format!(
        "whether {} was replaced after its safety snapshot {id} is not known: the restore was killed",
        path.display()
    );
    let hint = format!(
        "if it was, `snapback undo {} --kept {id}` takes it back; `snapback list {}` shows what else there is",
        job.name, job.name
    );
    Fail::new(Exit::NotFound, message).hint(hint).into()
}
