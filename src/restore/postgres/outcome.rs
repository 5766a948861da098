//! What a restore came to.

use serde::Serialize;

use super::prove::Proof;
use crate::engine::postgres::load::missing::Missing;
use crate::manifest::BackupId;

/// How a restore went.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The database that holds the backup now.
    pub database: String,
    /// The backup; `None` when a file was restored.
    pub backup: Option<BackupId>,
    /// The safety snapshot of what was replaced.
    pub safety: Option<BackupId>,
    /// Where what was replaced is kept.
    pub kept: Option<String>,
    /// How long no new session was let in, in milliseconds.
    pub away_ms: u64,
    /// How many sessions were ended.
    pub ended: usize,
    /// Roles that the server lacked and that were created.
    pub created_roles: Vec<String>,
    /// What was compared with the manifest.
    pub proof: Proof,
    /// What of the backup is not in the database.
    pub missing: Vec<Missing>,
    /// How long it all took, in seconds.
    pub seconds: f64,
    /// How long each step took.
    pub steps: Vec<crate::steps::Timed>,
}
