//! A session that says something now and then while it waits in its transaction.
//!
//! A server lets a transaction wait where it was told so, but what stands before it need not: PgBouncer's `idle_transaction_timeout`
//! ends one that is silent, and with it the lock or the snapshot that others work under.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::connect::session::Session;

/// How long the session is silent. Poolers count in tens of seconds at least.
const SILENCE: Duration = Duration::from_secs(5);

/// Keeps a session awake until it is dropped.
#[derive(Debug)]
pub struct Awake {
    task: JoinHandle<()>,
}

impl Awake {
    /// Keeps `session` awake. What it is asked to do meanwhile is not disturbed: the server answers one after the other.
    #[must_use]
    pub fn keep(session: &Arc<Session>) -> Awake {
        let session = Arc::clone(session);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SILENCE).await;
                // Whoever uses the session finds out that it is gone, and says so.
                if session.run("SELECT 1").await.is_err() {
                    return;
                }
            }
        });
        Awake { task }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.task.abort();
    }
}
