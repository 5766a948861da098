//! The sessions of a dump beside its leader.

use std::sync::Arc;
use std::time::Duration;

use super::connect::session::Session;
use super::connect::{self, Dsn};
use super::rows;
use super::snapshot::{self, SessionOptions};
use crate::error::Result;

/// Tables whose rows are worth more sessions, however few they are.
const MANY_TABLES: usize = 16;
/// Bytes of rows that are.
const MUCH: u64 = 1 << 20;

/// Sessions in the leader's snapshot, connected when they are needed.
pub(super) struct Workers<'a> {
    dsn: &'a Dsn,
    setup: SessionOptions,
    /// How many sessions may work at the same time, the leader among them.
    pub(super) jobs: usize,
    pub(super) connected: Vec<Arc<Session>>,
}

impl<'a> Workers<'a> {
    pub(super) fn new(dsn: &'a Dsn, setup: &SessionOptions, jobs: usize) -> Self {
        Workers {
            dsn,
            setup: setup.clone(),
            jobs: jobs.max(1),
            connected: Vec::new(),
        }
    }

    /// Exports the snapshot that they are to use, unless the leader works alone.
    pub(super) async fn export(&mut self, leader: &Session) -> Result<()> {
        if self.jobs > 1 && self.setup.snapshot.is_none() {
            self.setup.snapshot = Some(snapshot::export(leader).await?);
        }
        Ok(())
    }

    /// Connects until there are `sessions` with the leader.
    pub(super) async fn connect(&mut self, sessions: usize) -> Result<()> {
        let missing = (self.connected.len() + 1..sessions).map(async |_| {
            let session = connect::connect(self.dsn).await?;
            snapshot::begin(&session, &self.setup).await?;
            Ok::<_, anyhow::Error>(Arc::new(session))
        });
        let connected = futures_util::future::try_join_all(missing).await?;
        self.connected.extend(connected);
        Ok(())
    }

    /// Connects what `tables` tables will want: many are worth more sessions, whatever their size.
    pub(super) async fn early_for_rows(&mut self, tables: usize) -> Result<()> {
        self.connect(if tables >= MANY_TABLES { self.jobs } else { 1 }).await
    }

    /// The sessions that read rows, the leader first. To connect one more takes longer than to read a few rows.
    pub(super) async fn for_rows(mut self, leader: &Arc<Session>, plan: &rows::Plan) -> Result<Vec<Arc<Session>>> {
        let few = plan.units() < MANY_TABLES && plan.bytes < MUCH;
        let wanted = if few { 1 } else { self.jobs.min(plan.units()) };
        self.connect(wanted).await?;
        let all = std::iter::once(Arc::clone(leader)).chain(self.connected);
        Ok(all.take(wanted.max(1)).collect())
    }
}

/// Tells the server to stop: it would go on sending, or waiting for a lock, for nobody.
pub(super) async fn cancel(sessions: &[Arc<Session>]) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let cancels = sessions
        .iter()
        .map(|session| tokio::time::timeout(PATIENCE, session.canceller().cancel()));
    futures_util::future::join_all(cancels).await;
}
