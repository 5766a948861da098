//! Backups and restores of one job take turns: what replaces a database waits for the run that reads it, instead of failing or
//! of cutting the run off.

use std::time::Duration;

use anyhow::Context as _;

use super::run::Prepared;
use crate::engine::postgres::job_lock::JobLock;
use crate::error::{Exit, Result, exit_of};
use crate::job::Job;

/// Waits until no run of `job` is under way, at most for `limit`; `tell` hears who is in the way. A database that cannot be entered
/// has no run either.
///
/// # Errors
/// [`Exit::Busy`]: the run goes on.
pub async fn wait(job: &Job, limit: Duration, tell: &(dyn Fn(String) + Send + Sync)) -> Result<()> {
    match JobLock::wait(&job.source.dsn()?, &job.name, limit, tell).await {
        Err(error) if exit_of(&error) == Exit::Busy => Err(error),
        Err(error) => {
            tracing::debug!("whether a run of the job is under way is not known: {error:#}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

impl Prepared<'_> {
    /// Waits until the safety snapshot can be taken. Who wants none does not wait either, and cuts the run off.
    pub(super) async fn await_turn(&self) -> Result<()> {
        let watch = &self.request.watch;
        let tell = |text| watch.warn(text);
        if !self.request.safety {
            return Ok(());
        }
        let waited = self.until(wait(self.request.job, self.request.wait, &tell)).await;
        waited.context("the safety snapshot failed")
    }
}
