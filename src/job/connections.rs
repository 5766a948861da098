//! How many connections the runs of this process have to one server at the same time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::postgres::dump::Request;

/// What a backup has beside those that read: one holds the job's lock, one watches whether anybody waits for the dump's locks, and one
/// that has just ended may not have left yet.
const BESIDE: u32 = 3;

/// The fewest that a backup can do with.
pub const FEWEST: u32 = BESIDE + 1;

/// Connections to one server, shared by all jobs that are on it.
#[derive(Clone, Debug)]
pub struct Connections {
    free: Arc<Semaphore>,
    most: u32,
}

impl Connections {
    /// At most so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        let most = most.max(FEWEST);
        Connections {
            free: Arc::new(Semaphore::new(most as usize)),
            most,
        }
    }

    /// Lets a dump read with no more than there are, where `more` are needed beside the usual ones.
    pub fn limit(&self, dump: &mut Request, more: u32) {
        let reading = self.most.saturating_sub(BESIDE + more).max(1);
        dump.jobs = dump.jobs.clamp(1, reading as usize);
    }

    /// Waits until there are enough for a run that reads as `dump` says, and needs `more` beside the usual ones. All at once: runs
    /// that have some each and wait for more would wait for ever.
    pub async fn take(&self, dump: &Request, more: u32) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(dump.jobs.max(1)).unwrap_or(u32::MAX);
        self.some(wanted.saturating_add(BESIDE + more).min(self.most)).await
    }

    /// Waits until there are enough for a question or two.
    pub async fn few(&self) -> Option<OwnedSemaphorePermit> {
        self.some(BESIDE).await
    }

    async fn some(&self, wanted: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_many_owned(wanted).await.ok()
    }
}
