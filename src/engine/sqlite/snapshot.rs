//! Connections that see one state of a database: the pages, the rows and the checks are read at the same time.
//!
//! SQLite says whether others have changed a database between two looks of one connection (`data_version`). So one looks
//! before the others begin, and again when it has begun itself, last of all: where nothing has changed in between, all see the
//! same.

use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, InterruptHandle};

use super::failure::{self, explain, is_damage};
use super::open::{self, Found};
use crate::error::Result;

/// How often all are begun anew, because somebody wrote in between.
const ATTEMPTS: u32 = 50;

/// Connections in transactions that see the same.
pub struct Snapshot {
    /// Reads the pages.
    pub pages: Connection,
    /// Read the rows, and check; `None` where others never left a moment for all to begin.
    more: Option<[Connection; 2]>,
    /// What is wrong with the definitions, where they make no sense.
    pub damage: Option<String>,
}

impl Snapshot {
    /// Begins to read the database that was `found`, and waits up to `wait` for the locks of others.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn begin(found: &Found, wait: Duration) -> Result<Snapshot> {
        let Readers { first, more, damage } = readers(found, wait, 2)?;
        Ok(Snapshot {
            pages: first,
            more: <[Connection; 2]>::try_from(more).ok(),
            damage,
        })
    }

    /// What ends all of them.
    #[must_use]
    pub fn interrupts(&self) -> Vec<InterruptHandle> {
        let connections = self.more.iter().flatten().chain([&self.pages]);
        connections.map(Connection::get_interrupt_handle).collect()
    }

    /// Lets `read_pages` and `read_rows` run, at the same time where there are connections for that; `read_rows` gets one more
    /// for its checks. Where one fails, the other one is ended.
    ///
    /// # Errors
    /// The first that failed.
    pub fn read<T: Send>(
        self,
        read_pages: impl FnOnce(&Connection) -> Result<()>,
        read_rows: impl FnOnce(&Connection, Option<&mut Connection>) -> Result<T> + Send,
    ) -> Result<T> {
        let Snapshot { pages, more, .. } = self;
        let Some([rows, mut checks]) = more else {
            read_pages(&pages)?;
            return end(&pages, read_rows(&pages, None));
        };
        let stop_pages = pages.get_interrupt_handle();
        let stop_rows = [&rows, &checks].map(Connection::get_interrupt_handle);
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let read = read_rows(&rows, Some(&mut checks));
                if read.is_err() {
                    stop_pages.interrupt();
                }
                end(&checks, end(&rows, read))
            });
            let read = end(&pages, read_pages(&pages));
            if read.is_err() {
                stop_rows.iter().for_each(InterruptHandle::interrupt);
            }
            let joined = reading.join().ok();
            let joined = joined.context("the thread that read the rows has ended before its time")?;
            match (read, joined) {
                (Err(error), Err(other)) if is_interrupt(&error) => Err(other),
                (Err(error), _) => Err(error),
                (Ok(()), rows) => rows,
            }
        })
    }
}

/// Connections in transactions that see the same.
pub struct Readers {
    /// One of them.
    pub first: Connection,
    /// The others; none where others never left a moment for all to begin.
    pub more: Vec<Connection>,
    /// What is wrong with the definitions, where they make no sense.
    pub damage: Option<String>,
}

/// Connections to the database that was `found`: one, and so many `more`. Waits up to `wait` for the locks of others.
///
/// # Errors
/// It cannot be read.
pub fn readers(found: &Found, wait: Duration, more: usize) -> Result<Readers> {
    let first = open::for_reading(found, wait)?;
    let damage = begin(&first, found)?;
    let others = (0..more).map(|_| open::for_reading(found, wait));
    let others = others.collect::<Result<Vec<Connection>>>()?;
    let Some((last, between)) = others.split_last() else {
        return Ok(Readers {
            first,
            more: others,
            damage,
        });
    };
    first.execute_batch("ROLLBACK; PRAGMA cache_size = -2048")?;
    for open in &others {
        // Where definitions make no sense, nothing can be asked before it has begun once.
        begin(open, found)?;
        open.execute_batch("ROLLBACK; PRAGMA cache_size = -2048")?;
    }
    let all = || [&first].into_iter().chain(between).chain([last]);
    for _ in 0..ATTEMPTS {
        let before = version(last, found)?;
        for open in all() {
            begin(open, found)?;
        }
        if version(last, found)? == before {
            return Ok(Readers {
                first,
                more: others,
                damage,
            });
        }
        for open in all() {
            open.execute_batch("ROLLBACK")?;
        }
    }
    begin(&first, found)?;
    Ok(Readers {
        first,
        more: Vec::new(),
        damage,
    })
}

/// Ends the transaction. Nothing was written; and where damage was found, SQLite refuses to commit even that.
fn end<T>(open: &Connection, read: Result<T>) -> Result<T> {
    let ended = open.execute_batch("ROLLBACK");
    let read = read?;
    ended?;
    Ok(read)
}

fn is_interrupt(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(failure::code);
    code == Some(rusqlite::ErrorCode::OperationInterrupted)
}

fn version(open: &Connection, found: &Found) -> Result<i64> {
    let version = open.query_row("PRAGMA data_version", [], |row| row.get(0));
    version.map_err(|error| explain(error, &found.path))
}

/// Begins the transaction that everything is read in; says what is wrong with the definitions where they make no sense.
fn begin(open: &Connection, found: &Found) -> Result<Option<String>> {
    let first = "SELECT count(*) FROM sqlite_schema";
    open.execute_batch("BEGIN")?;
    let Err(error) = open.query_row(first, [], |_| Ok(())) else {
        return Ok(None);
    };
    if !is_damage(&error) || failure::code(&error) == Some(rusqlite::ErrorCode::NotADatabase) {
        return Err(explain(error, &found.path));
    }
    if let Some(cut) = failure::truncated(&found.path) {
        return Err(cut.into());
    }
    // Definitions that make no sense keep nobody from reading the pages.
    open.execute_batch("ROLLBACK")?;
    open::despite_schema(open)?;
    open.execute_batch("BEGIN")?;
    open.query_row(first, [], |_| Ok(()))
        .map_err(|again| explain(again, &found.path))?;
    Ok(Some(error.to_string()))
}
