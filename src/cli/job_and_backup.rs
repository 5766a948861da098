//! Which backup a verb is about, as people name it.

use crate::config::Config;
use crate::error::Result;
use crate::job::Job;

/// A job and one of its backups.
#[derive(Debug, clap::Args)]
pub struct JobAndBackup {
    /// Job, or an SQLite file; may be left out when there is only one job
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// Backup: `latest`, an id as `snapback list` shows it or its beginning, or a label
    #[arg(value_name = "BACKUP")]
    pub backup: Option<String>,
}

impl JobAndBackup {
    /// The job, and the name of the backup.
    ///
    /// # Errors
    /// There is no such job, or several to choose from.
    pub fn find<'a>(&'a self, config: &'a Config) -> Result<(&'a Job, &'a str)> {
        config.job_and_backup(self.job.as_deref(), self.backup.as_deref())
    }
}
