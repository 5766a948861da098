//! A worker: one connection that reads units, and the thread that compresses what it reads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_postgres::Statement;

use super::compress::{self, Form, Read};
use super::gate::Gate;
use super::unit::{Unit, Work};
use crate::engine::postgres::catalog::table_data::Source;
use crate::engine::postgres::connect::is_lock_timeout;
use crate::engine::postgres::connect::session::{Query, Session};
use crate::error::{Exit, Fail, Result};

/// Rows are handed on in blocks of this size: a message for each row would cost more than the row.
const BLOCK: usize = 256 << 10;
/// Blocks that may wait for the thread.
const BLOCKS: usize = 4;
/// Bytes that the thread may have before it, in units that a count of permits can hold. A row that is longer waits until
/// nothing else does.
const ROOM: u32 = (BLOCKS * BLOCK / ROOM_UNIT) as u32;
const ROOM_UNIT: usize = 1 << 10;
/// A row with more bytes is one of which no more than two shall be in memory.
const HUGE: usize = 4 << 20;
/// Bytes of a large object that are read at a time: a multiple of what one `lowrite` of a text writes.
const OBJECT_PIECE: i32 = 256 << 10;
/// The least that is asked for of each of many large objects.
const SMALLEST_PIECE: i32 = 16 << 10;
/// Bytes that are asked for at a time, at most: of a few large objects more of each, of small ones of many.
const ASKED_FOR: i32 = 4 << 20;

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
    let worker = Worker {
        session,
        leader,
        reads,
        room: Arc::new(Semaphore::new(ROOM as usize)),
        shared,
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
    reads: mpsc::Sender<Vec<Read>>,
    /// For blocks that the thread has before it: given back when it has done with them.
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// A unit with what could be asked of the server before its turn.
struct Ready {
    unit: Unit,
    /// For rows: the table and its COPY.
    copy: Option<Copy>,
}

/// The COPY of a table's rows, prepared.
struct Copy {
    source: Arc<Source>,
    sql: String,
    statement: Statement,
}

impl Worker {
    async fn units(&self) -> Result<()> {
        let mut ahead = self.ready(self.next()).await?;
        while let Some(ready) = ahead {
            // The next table is asked for together with a small one, so that many of them cost a round trip each.
            // What is large is worth one more, and others may be free earlier to read what comes behind it.
            let next = if ready.unit.small { self.next() } else { None };
            let early = next.is_some();
            let (done, prepared) = futures_util::join!(self.unit(ready), self.ready(next));
            done?;
            ahead = match prepared? {
                None if !early => self.ready(self.next()).await?,
                prepared => prepared,
            };
        }
        // The end of a COPY is not yet its success: an error that came after it shows in the next statement.
        self.session.run("SELECT 1").await.context("finishing the rows")
    }

    fn next(&self) -> Option<Unit> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }

    /// Locks the table of a unit and prepares its COPY, both at once.
    async fn ready(&self, unit: Option<Unit>) -> Result<Option<Ready>> {
        let Some(unit) = unit else { return Ok(None) };
        let Work::Rows { source, pages } = &unit.work else {
            return Ok(Some(Ready { unit, copy: None }));
        };
        let sql = match *pages {
            None => source.copy_out.clone(),
            Some((from, to)) => range(source, from, to),
        };
        let (lock, statement) = futures_util::join!(self.lock(source), self.session.client().prepare(&sql));
        let prepared = lock.and_then(|()| statement.map_err(|error| self.session.refused(error, &sql)));
        let statement = prepared.with_context(|| dumping(source))?;
        let source = Arc::clone(source);
        let copy = Some(Copy { source, sql, statement });
        Ok(Some(Ready { unit, copy }))
    }

    async fn unit(&self, Ready { unit, copy }: Ready) -> Result<()> {
        if let Some(copy) = copy {
            let rows = self.rows(unit, &copy).await;
            return rows.with_context(|| dumping(&copy.source));
        }
        let Work::Objects(oids) = &unit.work else { return Ok(()) };
        let oids = oids.clone();
        self.send(vec![Read::Begin(unit)]).await?;
        self.objects(&oids).await.context("dumping large objects")?;
        self.send(vec![Read::End]).await
    }

    async fn rows(&self, unit: Unit, copy: &Copy) -> Result<()> {
        let stream = self.session.client().copy_out(&copy.statement).await;
        let mut stream = std::pin::pin!(stream.map_err(|error| self.session.refused(error, &copy.sql))?);
        // A small table is one message with all that belongs to it.
        let mut reads = vec![Read::Begin(unit)];
        let mut block = BytesMut::with_capacity(BLOCK);
        let mut rows = 0;
        while let Some(row) = stream.next().await {
            let row = row.map_err(|error| self.session.refused_rows(error, &copy.sql, &copy.source.name))?;
            if block.len() + row.len() > BLOCK && !block.is_empty() {
                let full = std::mem::replace(&mut block, BytesMut::with_capacity(BLOCK));
                reads.push(self.rows_of(full.freeze(), rows).await?);
                self.send(std::mem::take(&mut reads)).await?;
                rows = 0;
            }
            if row.len() > BLOCK {
                // A block of its own as it came: no second copy of what may have hundreds of megabytes.
                reads.push(self.rows_of(row, 1).await?);
                self.send(std::mem::take(&mut reads)).await?;
                continue;
            }
            block.extend_from_slice(&row);
            rows += 1;
        }
        reads.push(self.rows_of(block.freeze(), rows).await?);
        reads.push(Read::End);
        self.send(reads).await
    }

    /// Takes the leader's lock too. If someone waits for a stronger lock, waiting behind them would be a
    /// deadlock that the server cannot see: they wait for the leader, and the leader for us.
    async fn lock(&self, source: &Source) -> Result<()> {
        if self.leader || source.relkind == 'f' {
            return Ok(());
        }
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", source.qualified);
        let Err(error) = self.session.run(&sql).await else {
            return Ok(());
        };
        if !is_lock_timeout(&error) {
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
        let (mut rest, mut size) = (oids, SMALLEST_PIECE);
        while !rest.is_empty() {
            let (oids, after) = rest.split_at(rest.len().min(usize::try_from(ASKED_FOR / size)?));
            rest = after;
            let query = Query::new(format!(
                "SELECT o.oid, pg_catalog.lo_get(o.oid, 0, {size}) AS data \
                 FROM pg_catalog.unnest($1) WITH ORDINALITY AS o(oid, n) ORDER BY o.n"
            ))
            .oids(oids.iter().copied());
            // A message for each small object would cost more than the object.
            let (mut cut, mut whole, mut bytes) = (0, Vec::new(), 0);
            for row in self.session.rows(&query).await? {
                let (oid, data) = (row.oid("oid")?, row.bytes("data")?);
                if i32::try_from(data.len())? == size {
                    cut += 1;
                    self.send(vec![Read::Objects(std::mem::take(&mut whole))]).await?;
                    self.long_object(oid, data).await?;
                    continue;
                }
                self.shared.count(data.len(), 0);
                bytes += data.len();
                whole.push((oid, data));
                if bytes >= BLOCK {
                    bytes = 0;
                    self.send(vec![Read::Objects(std::mem::take(&mut whole))]).await?;
                }
            }
            self.send(vec![Read::Objects(whole)]).await?;
            size = match cut * 4 > oids.len() {
                true => (size * 2).min(OBJECT_PIECE),
                false => (size / 2).max(SMALLEST_PIECE),
            };
        }
        Ok(())
    }

    /// Hands on a large object that begins with `data` and has more.
    async fn long_object(&self, oid: u32, mut data: Bytes) -> Result<()> {
        self.send(vec![Read::BeginObject(oid)]).await?;
        let (mut offset, mut complete) = (0i64, false);
        loop {
            offset += i64::try_from(data.len())?;
            self.shared.count(data.len(), 0);
            self.send(vec![Read::Bytes(data)]).await?;
            if complete {
                break;
            }
            data = self.object_piece(oid, offset).await?;
            complete = i32::try_from(data.len())? < OBJECT_PIECE;
        }
        self.send(vec![Read::EndObject]).await
    }

    async fn object_piece(&self, oid: u32, offset: i64) -> Result<Bytes> {
        let query = Query::new(format!(
            "SELECT pg_catalog.lo_get(o, {offset}, {OBJECT_PIECE}) AS data FROM pg_catalog.unnest($1) AS o"
        ))
        .oids([oid]);
        let rows = self.session.rows(&query).await?;
        rows.first().context("a large object is gone")?.bytes("data")
    }

    /// What is handed on of rows, when there is room for them.
    async fn rows_of(&self, block: Bytes, rows: u64) -> Result<Read> {
        self.shared.count(block.len(), rows);
        let units = u32::try_from(block.len() / ROOM_UNIT).unwrap_or(ROOM).min(ROOM);
        let room = match Arc::clone(&self.room).try_acquire_many_owned(units) {
            Ok(room) => room,
            Err(_) => {
                // The driver would take in some rows more meanwhile.
                let _held = (block.len() > HUGE).then(|| self.session.read_no_further());
                Arc::clone(&self.room).acquire_many_owned(units).await?
            }
        };
        Ok(Read::Rows(block, rows, room))
    }

    async fn send(&self, reads: Vec<Read>) -> Result<()> {
        self.reads.send(reads).await.context("the compressing thread ended")
    }
}

fn dumping(source: &Source) -> String {
    format!("dumping the rows of table {}", source.qualified)
}

/// COPY of a range of the heap's pages.
fn range(source: &Source, from: u64, to: Option<u64>) -> String {
    let columns = source.selected();
    let end = to.map_or_else(String::new, |to| format!(" AND ctid < '({to},0)'"));
    format!(
        "COPY (SELECT {columns} FROM ONLY {} WHERE ctid >= '({from},0)'{end}) TO stdout",
        source.qualified
    )
}
