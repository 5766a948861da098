//! What a restore is taken back to: the safety snapshot that it took. Taking it back takes one too, so that can be taken back
//! as well.

use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, Kind};
use crate::shelf::Stock;

/// The safety snapshot of `job` that is `named`, or the newest.
///
/// # Errors
/// There is none.
pub async fn safety(job: &Job, named: Option<&str>) -> Result<BackupId> {
    let stock = Stock::read(job).await?;
    if let Some(named) = named {
        return Ok(named.parse()?);
    }
    let is_safety = |id: &BackupId| {
        let mut copies = stock.copies(*id);
        copies.any(|(_, backup)| backup.summary.kind == Kind::Safety && backup.present)
    };
    let newest = stock.ids().into_iter().find(is_safety);
    newest.ok_or_else(|| {
        Fail::new(
            Exit::NotFound,
            format!("job {} has no safety snapshot to go back to", job.name),
        )
        .hint(format!("`snapback list {}` shows the backups that there are", job.name))
        .into()
    })
}
