//! What the log says of runs.

use crate::backup::Report;
use crate::error::{Exit, Result, exit_of, hint_of};

/// The line that sums up a run.
pub(super) fn log(job: &str, outcome: &Result<Report>) {
    let report = match outcome {
        Ok(report) => report,
        Err(error) if exit_of(error) == Exit::Busy => {
            tracing::warn!(job, "skipped: {error:#}");
            return;
        }
        Err(error) => {
            tracing::error!(
                job,
                exit = exit_of(error) as u8,
                hint = hint_of(error),
                "failed: {error:#}"
            );
            return;
        }
    };
    tracing::info!(
        job,
        id = %report.manifest.id,
        tables = report.manifest.tables.len(),
        rows = report.manifest.rows(),
        bytes = report.manifest.archive.bytes,
        seconds = (report.seconds * 10.0).round() / 10.0,
        pruned = report.deleted(),
        "backed up"
    );
    for (store, why) in report.lacking() {
        let hint = format!(
            "`snapback copy {job} {} --to {store}` fills the gap",
            report.manifest.id
        );
        tracing::error!(job, store, hint, "there is no copy in {store}: {why}");
    }
}
