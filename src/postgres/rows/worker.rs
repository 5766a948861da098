//! A worker: one connection that reads units, and the thread that compresses what it reads.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;

use super::compress::{self, Form, Read};
use super::gate::Gate;
use super::unit::{Unit, Work};
use crate::error::{Exit, Fail, Result};
use crate::postgres::catalog::table_data::Source;
use crate::postgres::session::{Query, Session};

/// Rows are handed on in blocks of this size: a message for each row would cost more than the row.
const BLOCK: usize = 256 << 10;
/// Blocks that may wait for the thread.
const BLOCKS: usize = 4;
/// Bytes of a large object that are read at a time: a multiple of what one `lowrite` of a text writes.
const OBJECT_PIECE: i32 = 256 << 10;
/// Large objects that are asked for at a time: together no more than 4 MiB.
const OBJECTS_AT_ONCE: usize = 16;

/// The units that no worker has taken yet, in order.
pub(super) type Queue = Mutex<VecDeque<Unit>>;

/// What all workers share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) gate: Arc<Gate>,
    pub(super) form: Form,
    /// What was read and not reported yet.
    pub(super) read_bytes: AtomicU64,
    pub(super) read_rows: AtomicU64,
}

impl Shared {
    fn count(&self, bytes: usize, rows: u64) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.read_rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Bytes and rows that were read since the last call.
    pub(super) fn take_counts(&self) -> (u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        (take(&self.read_bytes), take(&self.read_rows))
    }
}

/// Reads units until there are none. `leader`: the session holds the locks on all tables already.
///
/// # Errors
/// A unit could not be read as a whole.
pub(super) async fn run(session: Arc<Session>, leader: bool, shared: Arc<Shared>) -> Result<()> {
    let (reads, receiver) = mpsc::channel(BLOCKS);
    let thread = tokio::task::spawn_blocking({
        let shared = Arc::clone(&shared);
        move || compress::run(receiver, &shared.form, &shared.gate)
    });
    let mut worker = Worker {
        session,
        leader,
        reads,
        shared,
        locked: HashSet::new(),
    };
    let outcome = worker.units().await;
    drop(worker);
    // When the thread failed, the connection's side only knows that nobody listens.
    thread.await.context("a compressing thread ended")??;
    outcome
}

struct Worker {
    session: Arc<Session>,
    leader: bool,
    reads: mpsc::Sender<Read>,
    shared: Arc<Shared>,
    locked: HashSet<u32>,
}

impl Worker {
    async fn units(&mut self) -> Result<()> {
        while let Some(unit) = self.next() {
            self.unit(unit).await?;
        }
        // The end of a COPY is not yet its success: an error that came after it shows in the next statement.
        self.session.run("SELECT 1").await.context("finishing the rows")
    }

    fn next(&self) -> Option<Unit> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }

    async fn unit(&mut self, unit: Unit) -> Result<()> {
        enum What {
            Rows(Arc<Source>, Option<(u64, Option<u64>)>),
            Objects(Vec<u32>),
        }
        let what = match &unit.work {
            Work::Rows { source, pages } => What::Rows(Arc::clone(source), *pages),
            Work::Objects(oids) => What::Objects(oids.clone()),
        };
        self.send(Read::Begin(unit)).await?;
        match what {
            What::Rows(source, pages) => self
                .rows(&source, pages)
                .await
                .with_context(|| format!("dumping the rows of table {}", source.qualified))?,
            What::Objects(oids) => self.objects(&oids).await.context("dumping large objects")?,
        }
        self.send(Read::End).await
    }

    async fn rows(&mut self, source: &Source, pages: Option<(u64, Option<u64>)>) -> Result<()> {
        let sql = match pages {
            None => source.copy_out.clone(),
            Some((from, to)) => range(source, from, to),
        };
        let client = self.session.client();
        // Both at once: on a far server every round trip counts.
        let (lock, statement) = tokio::join!(self.lock(source), client.prepare(&sql));
        lock?;
        self.locked.insert(source.oid);
        let mut stream = std::pin::pin!(client.copy_out(&statement?).await?);
        let mut block = BytesMut::with_capacity(BLOCK);
        let mut rows = 0;
        while let Some(row) = stream.next().await {
            let row = row?;
            if block.len() + row.len() > BLOCK && !block.is_empty() {
                let full = std::mem::replace(&mut block, BytesMut::with_capacity(BLOCK));
                self.send_rows(full.freeze(), rows).await?;
                rows = 0;
            }
            block.extend_from_slice(&row);
            rows += 1;
        }
        self.send_rows(block.freeze(), rows).await
    }

    /// Takes the leader's lock too. If someone waits for a stronger lock, waiting behind them would be a
    /// deadlock that the server cannot see: they wait for the leader, and the leader for us.
    async fn lock(&self, source: &Source) -> Result<()> {
        if self.leader || self.locked.contains(&source.oid) || source.relkind == 'f' {
            return Ok(());
        }
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", source.qualified);
        let Err(error) = self.session.run(&sql).await else {
            return Ok(());
        };
        let taken = error
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(tokio_postgres::Error::code)
            == Some(&SqlState::LOCK_NOT_AVAILABLE);
        if !taken {
            return Err(error);
        }
        Err(Fail::new(
            Exit::Failure,
            format!("another session waits to change table {}", source.qualified),
        )
        .hint("run the dump again when nothing alters that table, or with one job (-j 1)")
        .into())
    }

    async fn objects(&self, oids: &[u32]) -> Result<()> {
        for oids in oids.chunks(OBJECTS_AT_ONCE) {
            let query = Query::new(format!(
                "SELECT o.oid, pg_catalog.lo_get(o.oid, 0, {OBJECT_PIECE}) AS data \
                 FROM pg_catalog.unnest($1) WITH ORDINALITY AS o(oid, n) ORDER BY o.n"
            ))
            .oids(oids.iter().copied());
            for row in self.session.rows(&query).await? {
                let oid = row.oid("oid")?;
                self.send(Read::BeginObject(oid)).await?;
                let mut data = row.bytes("data")?;
                let mut offset = 0i64;
                loop {
                    let complete = i32::try_from(data.len())? < OBJECT_PIECE;
                    offset += i64::try_from(data.len())?;
                    self.shared.count(data.len(), 0);
                    self.send(Read::Bytes(data)).await?;
                    if complete {
                        break;
                    }
                    data = self.object_piece(oid, offset).await?;
                }
                self.send(Read::EndObject).await?;
            }
        }
        Ok(())
    }

    async fn object_piece(&self, oid: u32, offset: i64) -> Result<Bytes> {
        let query = Query::new(format!(
            "SELECT pg_catalog.lo_get(o, {offset}, {OBJECT_PIECE}) AS data FROM pg_catalog.unnest($1) AS o"
        ))
        .oids([oid]);
        let rows = self.session.rows(&query).await?;
        rows.first().context("a large object is gone")?.bytes("data")
    }

    async fn send_rows(&self, block: Bytes, rows: u64) -> Result<()> {
        self.shared.count(block.len(), rows);
        self.send(Read::Rows(block, rows)).await
    }

    async fn send(&self, read: Read) -> Result<()> {
        self.reads.send(read).await.context("the compressing thread ended")
    }
}

/// COPY of a range of the heap's pages.
fn range(source: &Source, from: u64, to: Option<u64>) -> String {
    let columns = source.column_list.trim_start_matches('(').trim_end_matches(')');
    let end = to.map_or_else(String::new, |to| format!(" AND ctid < '({to},0)'"));
    format!(
        "COPY (SELECT {columns} FROM ONLY {} WHERE ctid >= '({from},0)'{end}) TO stdout",
        source.qualified
    )
}
