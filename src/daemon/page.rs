//! The status page of the daemon: served as long as the configuration says so, and where. That it cannot be served keeps no backup
//! from running.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::watch::http::{Access, Listen, View, serve};

/// A page that is served.
pub struct Page {
    wanted: (Listen, Access),
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Page {
    /// Serves what is `wanted` instead of what is served `now`.
    pub async fn instead(now: Option<Page>, wanted: Option<(Listen, Access)>, view: &Arc<View>) -> Option<Page> {
        if let Some(now) = now {
            if Some(&now.wanted) == wanted.as_ref() && !now.task.is_finished() {
                return Some(now);
            }
            now.end().await;
        }
        let (listen, access) = wanted?;
        let stop = CancellationToken::new();
        match serve(&listen, access.clone(), Arc::clone(view), stop.clone()).await {
            Ok(serving) => {
                tracing::info!("the status page is at {listen}");
                let task = tokio::spawn(serving);
                let wanted = (listen, access);
                Some(Page { wanted, stop, task })
            }
            Err(error) => {
                tracing::error!("there is no status page: {error:#}");
                None
            }
        }
    }

    /// Stops listening.
    pub async fn end(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}
