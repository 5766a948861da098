//! The fence of a restore in place: locks on every table, first against writers, then against everybody.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::holders::{Holder, names};
use crate::engine::postgres::target::run;
use crate::error::{Exit, Fail, Result};
use crate::restore::postgres::watch::Watch;

/// Who is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Who would change rows; reading goes on.
    Writers,
    /// Everybody.
    All,
}

impl Against {
    fn mode(self) -> &'static str {
        match self {
            Against::Writers => "EXCLUSIVE",
            Against::All => "ACCESS EXCLUSIVE",
        }
    }
}

/// How often the locks are tried: each time the server itself waits five seconds.
const ATTEMPTS: u32 = 4;

/// The tables of the database, but for those of extensions.
const TABLES: &str = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND NOT EXISTS (SELECT 1 FROM \
    pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
    AND d.deptype = 'e') ORDER BY c.oid";

/// Who holds what stands in the way.
const HOLDERS: &str = "SELECT DISTINCT a.pid, COALESCE(a.application_name, ''), COALESCE(a.usename::text, '') \
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
    WHERE l.granted AND l.locktype = 'relation' AND l.relation = ANY ($1) AND l.pid <> pg_catalog.pg_backend_pid() \
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
    AND ($2 OR l.mode <> 'AccessShareLock') ORDER BY 1";

/// The locks of one restore, held by the transaction that `client` is in.
pub struct Fence<'a> {
    client: &'a Client,
    /// The only tables that matter.
    only: Option<Vec<u32>>,
    tables: Option<Vec<u32>>,
    /// How many sessions were ended that held what was needed.
    pub ended: usize,
}

impl<'a> Fence<'a> {
    /// Nothing is locked yet, of all tables or `only` of these.
    pub fn new(client: &'a Client, only: Option<Vec<u32>>) -> Self {
        Fence {
            client,
            only,
            tables: None,
            ended: 0,
        }
    }

    /// Locks all tables. Sessions that hold one for longer than the server waits once are ended, where the role may.
    ///
    /// # Errors
    /// [`Exit::Busy`]: they could not be had within the bound, or one was created since the first time.
    pub async fn close(&mut self, against: Against, watch: &Watch) -> Result<()> {
        let tables = self.tables().await?;
        if self.tables.as_ref().is_some_and(|before| *before != tables) {
            return Err(Fail::new(Exit::Busy, "tables were created or dropped meanwhile")
                .hint("nothing was changed: start again when no migration runs")
                .into());
        }
        let mut attempt = 1;
        loop {
            let Err(error) = self.try_close(&tables, against).await else {
                self.tables = Some(tables);
                return Ok(());
            };
            if !is_in_use(&error) {
                return Err(error);
            }
            run(self.client, "ROLLBACK TO SAVEPOINT fence").await?;
            let holders = self.holders(&tables, against).await?;
            if attempt == ATTEMPTS {
                return Err(busy(&holders));
            }
            if attempt == 1 && !holders.is_empty() {
                watch.warn(format!("ending who holds the tables: {}", names(&holders)));
            }
            for holder in &holders {
                self.end(holder).await?;
            }
            attempt += 1;
        }
    }

    async fn tables(&self) -> Result<Vec<u32>> {
        if let Some(only) = &self.only {
            return Ok(only.clone());
        }
        let rows = self.client.query(TABLES, &[]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn try_close(&self, tables: &[u32], against: Against) -> Result<()> {
        // By number: a name may be text in no encoding that the driver knows.
        let numbers: Vec<String> = tables.iter().map(u32::to_string).collect();
        let sql = format!(
            "SAVEPOINT fence; SET LOCAL lock_timeout = '5s'; DO $snapback$ DECLARE it pg_catalog.oid; BEGIN \
             FOREACH it IN ARRAY '{{{}}}'::pg_catalog.oid[] LOOP EXECUTE pg_catalog.format('LOCK TABLE ONLY %s IN {} MODE', \
             it::pg_catalog.regclass); END LOOP; END $snapback$; SET LOCAL lock_timeout = 0; RELEASE SAVEPOINT fence",
            numbers.join(","),
            against.mode()
        );
        Ok(self.client.batch_execute(&sql).await?)
    }

    async fn holders(&self, tables: &[u32], against: Against) -> Result<Vec<Holder>> {
        let rows = self
            .client
            .query(HOLDERS, &[&tables, &(against == Against::All)])
            .await?;
        rows.iter().map(Holder::of).collect()
    }

    /// Ends a session, unless the role may not.
    async fn end(&mut self, holder: &Holder) -> Result<()> {
        run(self.client, "SAVEPOINT ending").await?;
        self.ended += usize::from(holder.end(self.client).await?);
        run(self.client, "ROLLBACK TO SAVEPOINT ending; RELEASE SAVEPOINT ending").await
    }
}

fn busy(holders: &[Holder]) -> anyhow::Error {
    let message = format!("the tables are in use, and could not be locked: {}", names(holders));
    Fail::new(Exit::Busy, message)
        .hint("stop these applications, or restore as a role that may end their sessions (pg_signal_backend)")
        .into()
}

fn is_in_use(error: &anyhow::Error) -> bool {
    let server = error.downcast_ref::<tokio_postgres::Error>();
    matches!(
        server.and_then(tokio_postgres::Error::code),
        Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED)
    )
}
