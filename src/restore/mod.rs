//! Restores, one folder for each engine.

pub mod postgres;
pub mod sqlite;

use chrono::{DateTime, Utc};

use crate::engine::sqlite::scratch;
use crate::job::{Job, SourceConfig};

/// Cleans up on the side behind killed restores of `job`, and drops what has served where the job prunes. Nothing depends on
/// it, so it only logs.
pub async fn tend(job: &Job, now: DateTime<Utc>) {
    match &job.source {
        SourceConfig::Postgres(_) => postgres::kept::maintain(job, now).await,
        SourceConfig::Sqlite(location) => {
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
