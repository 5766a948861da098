//! The data of a dump: rows and large objects, read over several connections, written in order.
//!
//! Tables are cut into `unit`s. Each `worker` takes the next one, reads it over its connection and has
//! it hashed and compressed on a thread of its own; here the units are joined in the archive's order.
//! `gate` bounds what waits for its turn.

mod compress;
mod gate;
mod inserts;
mod unit;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::connect::session::Session;
use super::options::Inserts;
use super::output::Target;
use super::progress::Progress;
use crate::archive::Writer;
use crate::archive::toc::DumpId;
use crate::error::Result;
use crate::manifest::{self, Contents, LargeObjects};
use crate::row_hash::RowHash;
use crate::seal::Chunks;
use crate::sql::quote::Quote;
use gate::Gate;
use unit::{Expected, Piece};

pub use unit::Data;

/// What is to be read, and how it is to be written.
pub struct Plan {
    /// The data of each entry, in the order of the archive.
    pub data: Vec<(DumpId, Data)>,
    /// Rows as INSERT statements.
    pub inserts: Option<Inserts>,
    /// How to quote.
    pub quote: Quote,
    /// What is read takes about this many bytes on the server's disk.
    pub bytes: u64,
    /// Nothing of it is written.
    pub hash_only: bool,
}

impl Plan {
    /// About how many pieces can be read at the same time.
    #[must_use]
    pub fn units(&self) -> usize {
        self.data.iter().map(|(_, data)| unit::count(data)).sum()
    }
}

/// Closes the gate when the dump ends, however it ends, so that no thread waits for ever.
struct CloseOnDrop(Arc<Gate>);
impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Reads all data over `sessions`, of which the first holds the locks, and writes it.
///
/// # Errors
/// Something could not be read as a whole, or not be written.
pub async fn run(
    plan: Plan,
    sessions: &[Arc<Session>],
    writer: &mut Writer,
    target: &mut Target,
    progress: &dyn Progress,
) -> Result<Contents> {
    let (units, expected) = unit::cut(plan.data, sessions.len() > 1);
    let gate = Arc::new(Gate::default());
    let _close = CloseOnDrop(Arc::clone(&gate));
    let shared = Arc::new(worker::Shared {
        queue: Mutex::new(VecDeque::from(units)),
        gate: Arc::clone(&gate),
        form: compress::Form {
            codec: writer.codec(),
            chunks: Chunks::default(),
            inserts: plan.inserts.filter(|_| !plan.hash_only),
            quote: plan.quote,
            hash_only: plan.hash_only,
        },
        read_bytes: AtomicU64::new(0),
        read_rows: AtomicU64::new(0),
    });
    let mut workers = JoinSet::new();
    for (at, session) in sessions.iter().enumerate() {
        workers.spawn(worker::run(Arc::clone(session), at == 0, Arc::clone(&shared)));
    }
    let mut join = Join {
        writer,
        target,
        gate: &gate,
        shared: &shared,
        progress,
        hash_only: plan.hash_only,
        tables: Vec::new(),
        objects: RowHash::default(),
    };
    let joined = join.all(expected).await;
    let contents = Contents {
        tables: join.tables,
        large_objects: LargeObjects::of(&join.objects),
    };
    if joined.is_err() {
        gate.close();
    }
    // A worker knows why its unit did not come; the joining side only that it did not.
    let mut failure = joined.err();
    while let Some(outcome) = workers.join_next().await {
        if let Err(error) = outcome.context("a worker ended").flatten() {
            let is_consequence = error.is::<gate::Closed>();
            if !is_consequence {
                return Err(error);
            }
            failure = failure.or(Some(error));
        } else if failure.is_some() {
            continue;
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(contents),
    }
}

/// Puts the units together in order.
struct Join<'a> {
    writer: &'a mut Writer,
    target: &'a mut Target,
    gate: &'a Gate,
    shared: &'a worker::Shared,
    progress: &'a dyn Progress,
    /// Nothing is written.
    hash_only: bool,
    tables: Vec<manifest::Table>,
    objects: RowHash,
}

impl Join<'_> {
    async fn all(&mut self, expected: Vec<Expected>) -> Result<()> {
        let mut hash = RowHash::default();
        for (index, mut unit) in expected.into_iter().enumerate() {
            self.gate.advance(index);
            if unit.first {
                hash = RowHash::default();
                if !self.hash_only {
                    self.writer.begin_data(unit.entry)?;
                    self.carry().await?;
                }
            }
            hash += self.unit(index, &mut unit).await?;
            if unit.last {
                if !self.hash_only {
                    self.writer.end_data()?;
                    self.carry().await?;
                }
                self.complete(&unit, hash);
            }
        }
        Ok(())
    }

    /// Writes one unit and returns the hash of its rows.
    async fn unit(&mut self, index: usize, unit: &mut Expected) -> Result<RowHash> {
        loop {
            let pieces = unit.from.recv().await.context("a unit was not read to its end")?;
            let (mut bytes, mut done) = (0, None);
            for piece in pieces {
                match piece {
                    Piece::Chunk(chunk) => {
                        bytes += chunk.len();
                        self.writer.chunk(chunk)?;
                    }
                    Piece::EndSegment(end) => self.writer.end_segment(&end),
                    Piece::BeginObject(oid) => self.writer.begin_object(oid)?,
                    Piece::EndObject => self.writer.end_object()?,
                    Piece::Done(hash) => done = Some(hash),
                }
            }
            self.carry().await?;
            self.gate.leave(index, bytes);
            if let Some(hash) = done {
                return Ok(hash);
            }
        }
    }

    fn complete(&mut self, unit: &Expected, hash: RowHash) {
        let Some(source) = &unit.table else {
            self.objects += hash;
            return;
        };
        let table = manifest::Table {
            schema: source.schema.clone(),
            name: source.name.clone(),
            partition_of: source.root.clone(),
            rows: hash.rows,
            bytes: hash.bytes,
            hash: hash.hash(),
        };
        self.progress.table(&table);
        self.tables.push(table);
    }

    async fn carry(&mut self) -> Result<()> {
        self.progress.notes(self.writer.notes());
        let (bytes, rows) = self.shared.take_counts();
        if bytes > 0 {
            self.progress.read(bytes, rows);
        }
        self.target.carry(self.writer).await
    }
}
