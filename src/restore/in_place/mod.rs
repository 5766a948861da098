//! A restore where no database may be created: one transaction removes what is there, loads the backup, proves it and
//! commits. Until then others cannot use the tables, and whatever fails or is killed, the server rolls it all back.
//!
//! Writers are kept out before the safety snapshot is taken, so that it has every write that was ever committed.

mod clear;
mod fence;
pub mod survey;
pub mod tables;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::advice::explain;
use super::analyse;
use super::lock::{self, Lock};
use super::origin::{Body, Expected};
use super::outcome::Outcome;
use super::prove::{Proof, prove_within};
use super::run::Prepared;
use super::target::{Target, run};
use super::watch::Step;
use crate::archive::reader::Reader;
use crate::error::{Exit, Fail, Result};
use crate::manifest::BackupId;
use crate::postgres::connect::{Dsn, connect};
use crate::postgres::dump::entries_within;
use crate::postgres::session::{NEVER_TIMED_OUT, Session};
use clear::clear;
use fence::{Against, Fence};
use tables::Tables;

/// What is in the transaction, before it is committed.
struct Replaced {
    safety: Option<BackupId>,
    proof: Proof,
    ended: usize,
    locked: Instant,
}

/// How long a rollback may take before it is left to the server.
const ROLLBACK: Duration = Duration::from_secs(60);
/// How long a server may take to be back, when it alone knows whether the restore was committed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions to it.
const LOOK: Duration = Duration::from_millis(100);

impl Prepared<'_> {
    /// Restores in place.
    ///
    /// # Errors
    /// Whatever keeps the backup from being restored. Nothing has changed then.
    pub(super) async fn run_in_place(&mut self) -> Result<Outcome> {
        let begun = Instant::now();
        let begin = async {
            let lock = lock::take(&self.target, &self.database).await?;
            let expected = self.check().await?;
            let session = Arc::new(connect(&self.target.dsn(&self.database)).await?);
            Ok::<_, anyhow::Error>((lock, expected, session))
        };
        let (lock, expected, session) = begin.await.map_err(|error| explain(error, "nothing was changed"))?;
        let replaced = match self.until(self.replace(&session, &expected, &lock)).await {
            Ok(replaced) => replaced,
            Err(error) => return Err(give_up(&session, error).await),
        };
        self.request.watch.step(Step::Commit).await;
        commit(&self.target, &self.database, &session).await?;
        let away = replaced.locked.elapsed();
        drop(session);
        self.after().await;
        Ok(Outcome {
            database: self.database.clone(),
            backup: self.content.backup(),
            safety: replaced.safety,
            kept: None,
            away_ms: u64::try_from(away.as_millis()).unwrap_or(u64::MAX),
            ended: replaced.ended,
            proof: replaced.proof,
            seconds: begun.elapsed().as_secs_f64(),
            steps: self.request.watch.times(),
        })
    }

    /// Does all but the commit.
    async fn replace(&self, session: &Arc<Session>, expected: &Expected, lock: &Lock) -> Result<Replaced> {
        let (watch, client) = (&self.request.watch, session.client());
        let Body::Archive(reader) = &self.content.body else {
            anyhow::bail!("plain SQL cannot be restored in place");
        };
        run(
            client,
            &format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL search_path TO '';\n{NEVER_TIMED_OUT}"
            ),
        )
        .await?;
        watch.step(Step::Lock).await;
        let locked = Instant::now();
        let tables = self.chosen.as_ref().map(|chosen| Tables::of(chosen, reader.entries()));
        let only = match &tables {
            Some(tables) => Some(tables.locked(client).await?),
            None => None,
        };
        let mut fence = Fence::new(client, only);
        fence.close(Against::Writers, watch).await?;
        let safety = self.back_up(true).await?;
        watch.step(Step::Remove).await;
        fence.close(Against::All, watch).await?;
        let dsn = self.target.dsn(&self.database);
        let proof = match &tables {
            Some(tables) => self.refill(session, &dsn, expected, tables).await?,
            None => self.rebuild(session, &dsn, reader, expected).await?,
        };
        lock.assert_held().await?;
        Ok(Replaced {
            safety,
            proof,
            ended: fence.ended,
            locked,
        })
    }

    /// Removes what is there, loads the backup, and proves it.
    async fn rebuild(
        &self,
        session: &Arc<Session>,
        dsn: &Dsn,
        reader: &Arc<Reader>,
        expected: &Expected,
    ) -> Result<Proof> {
        let watch = &self.request.watch;
        let kept = clear(session, dsn).await?;
        let load = self
            .load_of(reader, self.request.options.clone(), dsn, expected, 1)
            .within(session, &kept.there(reader.entries()));
        self.load_all(&load).await?;
        watch.step(Step::Prove).await;
        let (proof, besides) = prove_within(session, dsn, expected, reader.entries(), &self.content.dump).await?;
        for what in besides {
            watch.warn(format!("still there, as this role may not take it away: {what}"));
        }
        Ok(proof)
    }

    /// Replaces the rows of tables, and proves them.
    async fn refill(&self, session: &Arc<Session>, dsn: &Dsn, expected: &Expected, tables: &Tables) -> Result<Proof> {
        let (watch, client) = (&self.request.watch, session.client());
        let Body::Archive(reader) = &self.content.body else {
            anyhow::bail!("of plain SQL no part can be chosen");
        };
        let (live, _) = entries_within(session, dsn).await?;
        tables.check(&live)?;
        let again = tables.clear(client).await?;
        watch.step(Step::Data).await;
        let load = self.load_of(reader, tables.load_options(), dsn, expected, 1);
        load.within(session, &HashSet::new()).rows().await?;
        tables.finish(client, &again).await?;
        watch.step(Step::Prove).await;
        let request = tables.dump(&self.content.dump);
        let (proof, _) = prove_within(session, dsn, expected, &tables.entries, &request).await?;
        Ok(proof)
    }

    /// What can only be done when all is committed, and what must not fail the restore any more.
    async fn after(&self) {
        let watch = &self.request.watch;
        if self.chosen.is_some() {
            return watch.step(Step::Done).await;
        }
        self.content.proved(self.request.clock.now()).await;
        watch.step(Step::Analyse).await;
        let jobs = self.request.jobs.unwrap_or(self.request.job.dump.jobs);
        let brought = analyse::brought(self.content.entries());
        if let Err(error) = analyse::analyse(&self.target, &self.database, jobs, brought, watch).await {
            watch.warn(format!("statistics could not be gathered, run ANALYZE: {error:#}"));
        }
        watch.step(Step::Done).await;
    }
}

/// Rolls back, and says how things stand.
async fn give_up(session: &Session, error: anyhow::Error) -> anyhow::Error {
    // What the session is at may take long, and nobody needs it any more.
    let rolled_back = async {
        session.canceller().cancel().await?;
        session.run("ROLLBACK").await
    };
    match tokio::time::timeout(ROLLBACK, rolled_back).await {
        Ok(Ok(())) => explain(error, "the restore failed, and nothing was changed"),
        _ => explain(
            error,
            "the restore failed; the server rolls all of it back as soon as it sees that the connection is gone",
        ),
    }
}

/// Commits. When the connection breaks over it, the server is asked what became of the transaction.
async fn commit(target: &Target, database: &str, session: &Session) -> Result<()> {
    let client = session.client();
    let begun = Instant::now();
    let committed = async {
        let row = client
            .query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[])
            .await
            .map_err(|error| (String::new(), error))?;
        let id: String = row.try_get(0).map_err(|error| (String::new(), error))?;
        client.batch_execute("COMMIT").await.map_err(|error| (id, error))
    };
    let (id, error) = match committed.await {
        Ok(()) => return Ok(()),
        Err(failed) => failed,
    };
    let failed = || {
        explain(
            anyhow::anyhow!("{error}"),
            "the restore failed, and nothing was changed",
        )
    };
    if id.is_empty() || !client.is_closed() {
        return Err(failed());
    }
    loop {
        match status(target, database, &id).await {
            Ok(Some(state)) if state == "committed" => return Ok(()),
            Ok(Some(state)) if state == "aborted" => return Err(failed()),
            _ if begun.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
            _ => {
                let message = format!(
                    "the connection broke over the commit of the restore of {database:?}, and the server cannot be asked \
                     whether it was committed: {error}"
                );
                return Err(Fail::new(Exit::Unreachable, message)
                    .hint(format!("once the server is back: SELECT pg_xact_status('{id}')"))
                    .into());
            }
        }
    }
}

async fn status(target: &Target, database: &str, id: &str) -> Result<Option<String>> {
    let client = target.session(database).await?;
    let row = client
        .query_one("SELECT pg_catalog.pg_xact_status($1::text::xid8)", &[&id])
        .await
        .context("asking what became of the restore")?;
    Ok(row.try_get(0)?)
}
