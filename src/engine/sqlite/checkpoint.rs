//! Who reads a database in WAL mode for long keeps its log from being written back. When the reading ends, the next writer
//! that commits would do all of that at once, and wait for it: more than a second for a log of a gigabyte. So we do it
//! ourselves, and no writer waits.
//!
//! A checkpoint of SQLite takes its lock first, so that writers leave it alone. Where it also wants to keep writers out and
//! somebody else does that already, it asks its busy handler, and goes on without that when the handler gives up. Our handler is
//! called by a lock of our own, and ends the reading: from then on the whole log can be written back, and nobody can have
//! begun with that before us. Writers are kept out only for this moment.
//!
//! Much is written while we write back. Another reading that began before keeps that for us too: it ends in the next round, which
//! has less to do. So the writer finds little at the end, and never what is between two rounds.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::failure::explain;
use super::locked::is_locked;
use super::open::{self, Found};
use crate::error::Result;

/// A smaller log is written back by whoever comes next.
const LARGE: u64 = 8 << 20;
/// What is written in so short a round may be left for the next writer.
const SHORT: Duration = Duration::from_millis(60);
/// How often the log is written back, at most: a writer may be as fast as we are.
const ROUNDS: u32 = 8;
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

    fn write_back(mut self, found: &Found) -> Result<()> {
        let mut open = open::for_writing(&found.path)?;
        open.busy_handler(Some(let_go))?;
        for _ in 0..ROUNDS {
            // Without another reading this is the last round.
            let next = Hold::begin(found, Duration::ZERO).ok().flatten();
            let begun = Instant::now();
            self.write_back_once(&open, found)?;
            let took = begun.elapsed();
            tracing::debug!("the log was written back in {:.3} s", took.as_secs_f64());
            match next {
                Some(next) if took > SHORT => self = next,
                _ => break,
            }
        }
        Ok(())
    }

    /// Ends the reading and writes back all that no other reading keeps.
    fn write_back_once(self, open: &Connection, found: &Found) -> Result<()> {
        let lock = open::for_writing(&found.path)?;
        let until = Instant::now() + WAIT;
        while let Err(error) = lock.execute_batch("BEGIN IMMEDIATE") {
            if !is_locked(&error) || Instant::now() >= until {
                return Err(error.into());
            }
            std::thread::sleep(TRY);
        }
        HELD.set(Some((self, lock)));
        let written = open.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()));
        // The handler was not called where somebody else writes the log back.
        HELD.set(None);
        Ok(written?)
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
