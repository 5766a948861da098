//! Restores, one folder for each engine.

pub mod checks;
pub mod postgres;
pub mod sqlite;

use chrono::{DateTime, Utc};

use crate::engine::sqlite::scratch;
use crate::job::{Job, SourceConfig};
use crate::replaced;

/// Cleans up on the side behind killed restores of `job`, and drops what has served where the job prunes. Nothing depends on
/// it, so it only logs.
pub async fn clean_up_after_killed(job: &Job, now: DateTime<Utc>) {
    match &job.source {
        SourceConfig::Postgres(_) => {
            replaced::maintain(job, now).await;
            clean_up_after_drills(job).await;
        }
        SourceConfig::Sqlite(location) => {
            clean_up_after_drills(job).await;
            for left in scratch::tidy_beside(location) {
                tracing::warn!(
                    job = job.name,
                    "removed {}, which a killed restore had left",
                    left.display()
                );
            }
        }
    }
}

/// Cleans up behind killed drills of `job` where nothing else does: on the server of `drill_url`, and where temporary files go.
/// Nothing depends on it, so it only logs.
pub async fn clean_up_after_drills(job: &Job) {
    if let SourceConfig::Sqlite(_) = &job.source {
        for left in sqlite::drill::tidy(job) {
            tracing::warn!(
                job = job.name,
                "removed {}, which a killed drill had left",
                left.display()
            );
        }
        return;
    }
    match replaced::tidy_drills(job).await {
        Ok(left) => left.iter().for_each(|left| tracing::warn!(job = job.name, "{left}")),
        Err(error) => tracing::info!(job = job.name, "what drills have left was not looked after: {error:#}"),
    }
}
