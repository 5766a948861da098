//! Who reads a database in WAL mode for long keeps its log from being written back. When the reading ends, the next writer
//! that commits would do all of that at once, and wait for it: more than a second for a log of a gigabyte. So we do it
//! ourselves, and no writer waits.
//!
//! A checkpoint of SQLite takes its lock first, so that writers leave it alone. Where it also wants to keep writers out and
//! somebody else does that already, it asks its busy handler, and goes on without that when the handler gives up. Our handler is
//! called by a lock of our own, and ends the reading: from then on the whole log can be written back, and nobody can have
//! begun with that before us. Writers are kept out only for this moment.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::failure::explain;
use super::locked::is_locked;
use super::open::{self, Found};
use crate::error::Result;

/// A smaller log is written back by whoever comes next.
const LARGE: u64 = 8 << 20;
/// Pages that were written meanwhile and may be left for the next writer.
const FEW: i64 = 2000;
/// How often what was written meanwhile is written back too.
const ROUNDS: u32 = 4;
/// How long a writer may keep us from our own lock, and how often it is tried: nobody stands in line for it, and who writes without
/// end leaves it free for less than a millisecond.
const WAIT: Duration = Duration::from_secs(5);
const TRY: Duration = Duration::from_millis(1);

/// Keeps others from writing the log back, as a reader.
pub(super) struct Hold {
    /// In its transaction for as long as it is open.
    _reader: Connection,
}

impl Hold {
    /// Begins with it, where the database that was `found` has a log.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn begin(found: &Found, wait: Duration) -> Result<Option<Hold>> {
        let failed = |error| explain(error, &found.path);
        let open = open::for_reading(found, wait)?;
        open::despite_schema(&open).map_err(failed)?;
        open.execute_batch("PRAGMA cache_size = 0; BEGIN").map_err(failed)?;
        let mode: String = open
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .map_err(failed)?;
        let begun = open.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        Ok((mode == "wal" && begun.is_ok()).then_some(Hold { _reader: open }))
    }

    /// Ends it, and writes a large log back. What keeps us from that keeps no backup from being good: then a writer does it,
    /// as after any other reader.
    pub(super) fn end(self, found: &Found) {
        if found.log_size() < LARGE {
            return;
        }
        if let Err(error) = self.write_back(found) {
            tracing::debug!(
                "the log of {} is left for the next writer: {error:#}",
                found.path.display()
            );
        }
    }

    fn write_back(self, found: &Found) -> Result<()> {
        let lock = open::for_writing(&found.path)?;
        let until = Instant::now() + WAIT;
        while let Err(error) = lock.execute_batch("BEGIN IMMEDIATE") {
            if !is_locked(&error) || Instant::now() >= until {
                return Err(error.into());
            }
            std::thread::sleep(TRY);
        }
        let mut open = open::for_writing(&found.path)?;
        open.busy_handler(Some(let_go))?;
        HELD.set(Some((self, lock)));
        let written = checkpoint(&open, "FULL");
        // The handler was not called where somebody else writes the log back.
        HELD.set(None);
        let mut left = written?;
        for _ in 0..ROUNDS {
            if left <= FEW {
                break;
            }
            left = checkpoint(&open, "PASSIVE")?;
        }
        Ok(())
    }
}

thread_local! {
    /// What ends when the checkpoint has its lock: a busy handler gets no argument of ours.
    static HELD: RefCell<Option<(Hold, Connection)>> = const { RefCell::new(None) };
}

fn let_go(_: i32) -> bool {
    HELD.set(None);
    false
}

/// Writes the log back as far as readers let it; returns how many pages are left.
fn checkpoint(open: &Connection, mode: &str) -> Result<i64> {
    let pragma = format!("PRAGMA wal_checkpoint({mode})");
    let (log, done): (i64, i64) = open.query_row(&pragma, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(log - done)
}
