//! A backup stands still while a replica of its server is too far behind: what it does not read takes no time of disks and links
//! that the replica needs. What is read goes into the upload, so that is where it stops: a dump reads only so much ahead.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::database::{Exported, Locked};
use super::{Event, Request};
use crate::engine::postgres::connect::session::Session;
use crate::engine::postgres::connect::{self, Dsn};
use crate::engine::postgres::replica_lag::{Lag, Lags, Replicas};
use crate::error::Result;
use crate::store::{ObjectMeta, Upload};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(2);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Exports `database` into `upload`, which takes nothing while a replica is more than `limit` behind.
///
/// # Errors
/// Those of the export.
pub async fn while_replicas_lag(
    request: &Request<'_>,
    limit: Duration,
    database: &Locked,
    upload: Box<dyn Upload>,
) -> Result<Exported> {
    let (pause, paused) = watch::channel(false);
    let upload = Box::new(Pausing { inner: upload, paused });
    let export = database.export(request.job, upload, &request.watch);
    let Some(dsn) = database.server() else {
        return export.await;
    };
    let mut follower = Follower {
        request,
        limit,
        pause,
        since: None,
        tired: false,
        told: false,
    };
    tokio::select! {
        biased;
        exported = export => exported,
        never = follower.follow(dsn) => match never {},
    }
}

/// Follows the replicas while a backup runs.
struct Follower<'a> {
    request: &'a Request<'a>,
    limit: Duration,
    pause: watch::Sender<bool>,
    /// Since when the backup stands still.
    since: Option<Instant>,
    /// It stood still for long enough to see that the replica does not wait for it.
    tired: bool,
    /// It was told why nothing is known of replicas.
    told: bool,
}

impl Follower<'_> {
    async fn follow(&mut self, dsn: &Dsn) -> Infallible {
        let (mut session, mut lags, begun) = (None, Lags::default(), Instant::now());
        loop {
            let asked = tokio::time::timeout(PATIENCE, ask(&mut session, dsn)).await;
            let asked = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer for {} s", PATIENCE.as_secs())));
            match asked {
                Ok(replicas) => {
                    if replicas.hidden > 0 {
                        self.tell_once(&format!(
                            "max_replica_lag: the role may not see how far {} of the replicas are; `GRANT pg_monitor TO` it",
                            replicas.hidden
                        ));
                    }
                    self.heed(lags.look(begun.elapsed(), &replicas));
                }
                Err(error) => {
                    session = None;
                    self.tell_once(&format!(
                        "max_replica_lag: how far replicas are is not known: {error:#}"
                    ));
                    self.heed(None);
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    fn tell_once(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            self.request.watch.warn(why);
        }
    }

    /// Stands still or goes on, as far as the replicas are.
    fn heed(&mut self, furthest: Option<Lag>) {
        let behind = furthest.filter(|lag| lag.behind > self.limit);
        let (watch, job) = (&self.request.watch, &self.request.job.name);
        match (behind, self.since) {
            (None, None) => self.tired = false,
            (None, Some(since)) => {
                tracing::info!(
                    job,
                    "goes on after a pause of {} s: no replica is too far behind",
                    since.elapsed().as_secs()
                );
                self.go_on();
                self.tired = false;
            }
            (Some(_), None) if self.tired => {}
            (Some(lag), None) => {
                watch.warn(format!(
                    "paused: the replica {} is {} s behind, and max_replica_lag is {} s",
                    lag.replica,
                    lag.behind.as_secs(),
                    self.limit.as_secs()
                ));
                watch.tell(Event::Paused(true));
                self.since = Some(Instant::now());
                self.pause.send_replace(true);
            }
            (Some(lag), Some(since)) => {
                if self
                    .request
                    .job
                    .stall_timeout
                    .is_some_and(|longest| since.elapsed() >= longest)
                {
                    watch.warn(format!(
                        "goes on although the replica {} is {} s behind: a pause of {} s (stall_timeout) has not helped it",
                        lag.replica,
                        lag.behind.as_secs(),
                        since.elapsed().as_secs()
                    ));
                    self.go_on();
                    self.tired = true;
                } else {
                    // Who waits on purpose does not stall.
                    watch.tell(Event::Paused(true));
                }
            }
        }
    }

    fn go_on(&mut self) {
        self.since = None;
        self.pause.send_replace(false);
        self.request.watch.tell(Event::Paused(false));
    }
}

async fn ask(session: &mut Option<Session>, dsn: &Dsn) -> Result<Replicas> {
    let connected = match session.take() {
        Some(session) => session,
        None => connect::connect(dsn).await?,
    };
    Replicas::read(session.insert(connected)).await
}

/// An upload that takes nothing while it is paused.
struct Pausing {
    inner: Box<dyn Upload>,
    paused: watch::Receiver<bool>,
}

#[async_trait]
impl Upload for Pausing {
    fn expect(&mut self, head: u64, total: u64) {
        self.inner.expect(head, total);
    }

    fn keep(&mut self) {
        self.inner.keep();
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        // Where nobody follows the replicas any more, nothing is waited for.
        let _ = self.paused.wait_for(|paused| !paused).await;
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        self.inner.finish(head).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
