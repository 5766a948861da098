//! The armed timer: one-shot jobs of tokio-cron-scheduler, whose times we compute ourselves.
//!
//! Its own repeating jobs keep the UTC offset that held when they were made, and overlap; a one-shot that is
//! armed anew after each firing does neither.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::error::Result;

/// The longest that a timer is armed for. The clock may be set or the machine may sleep meanwhile, so a far
/// firing is looked at again from time to time.
const LONGEST: Duration = Duration::from_secs(600);

/// How long the scheduler may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The time of a job may have come.
#[derive(Clone, Debug)]
pub struct Firing {
    /// The job.
    pub job: String,
    /// When it is due; the timer does not promise that this is now.
    pub due: DateTime<Utc>,
}

/// Tells when the time of a job may have come; whether it has is for the receiver to see.
pub struct Timer {
    scheduler: JobScheduler,
    fired: mpsc::UnboundedSender<Firing>,
}

impl Timer {
    /// A timer, and where its firings come out.
    ///
    /// # Errors
    /// The scheduler does not start.
    pub async fn start() -> Result<(Timer, mpsc::UnboundedReceiver<Firing>)> {
        let scheduler = JobScheduler::new().await.context("starting the timer")?;
        scheduler.start().await.context("starting the timer")?;
        let (fired, receiver) = mpsc::unbounded_channel();
        Ok((Timer { scheduler, fired }, receiver))
    }

    /// Arms a timer for `job`, which is due at `due`. One that is not wanted any more, because the job has become
    /// due at another time, is known by that when it fires.
    ///
    /// Nothing here waits: the scheduler is asked by a task of its own, so that the daemon's loop depends on
    /// nothing that the scheduler does.
    pub fn arm(&self, job: &str, due: DateTime<Utc>, now: DateTime<Utc>) {
        // The scheduler cuts off parts of a second: asked for one second more, it fires a little late but never
        // early.
        let after = (due - now).to_std().unwrap_or_default().min(LONGEST);
        let whole = Duration::from_secs(after.as_secs() + 1);
        let (fired, scheduler) = (self.fired.clone(), self.scheduler.clone());
        let firing = Firing {
            job: job.to_owned(),
            due,
        };
        tokio::spawn(async move {
            let shot = Job::new_one_shot_async(whole, move |_, _| {
                let (firing, fired) = (firing.clone(), fired.clone());
                Box::pin(async move {
                    // Nobody listens any more when the daemon ends.
                    let _ = fired.send(firing);
                })
            });
            let armed = match shot {
                Ok(shot) => scheduler.add(shot).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = armed {
                tracing::warn!("the timer was not armed: {error}");
            }
        });
    }

    /// Ends the timer.
    pub async fn stop(mut self) {
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.scheduler.shutdown()).await;
    }
}
