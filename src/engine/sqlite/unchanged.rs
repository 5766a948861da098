//! Whether others have written to a database since it was looked at. Asked while nobody can write, the answer stays true.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::failure::explain;
use super::lock::with_file;
use super::locked::{is_locked, patiently};
use super::open::{self, Found};
use crate::error::Result;

/// The state of a database that others may write to.
#[derive(Debug)]
pub struct State {
    found: Found,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    /// With a write-ahead log a connection is told whether others have committed (`data_version`), whoever has a lock.
    Log { open: Connection, version: i64 },
    /// With a rollback journal each commit raises the change counter in the file, which can be read under any lock.
    Journal { counter: u32 },
}

impl State {
    /// Looks at the database at `path`; waits up to `wait` for the locks of others.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path, wait: Duration) -> Result<State> {
        let found = open::find(path)?;
        let open = open::for_reading(&found, wait)?;
        let failed = |error| explain(error, path);
        open::despite_schema(&open).map_err(failed)?;
        // Within a transaction that reads: no writer is in the middle of a commit then.
        open.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .map_err(failed)?;
        let mode: String = open
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .map_err(failed)?;
        let seen = match mode.as_str() {
            "wal" => {
                let version = data_version(&open).map_err(failed)?;
                open.execute_batch("ROLLBACK").map_err(failed)?;
                // It is asked while this process has the lock, so there is nothing to wait for.
                open.busy_timeout(Duration::ZERO).map_err(failed)?;
                Seen::Log { open, version }
            }
            _ => {
                let counter = change_counter(&found)?;
                open.execute_batch("ROLLBACK").map_err(failed)?;
                Seen::Journal { counter }
            }
        };
        Ok(State { found, seen })
    }

    /// Whether nobody has written since.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn is_still(&self) -> Result<bool> {
        match &self.seen {
            Seen::Log { open, version } => match data_version(open) {
                Ok(now) => Ok(now == *version),
                // A lock that keeps readers out: it has no log any more, which was a change.
                Err(error) if is_locked(&error) => Ok(false),
                Err(error) => Err(explain(error, &self.found.path)),
            },
            Seen::Journal { counter } => Ok(change_counter(&self.found)? == *counter),
        }
    }

    /// Lets `change` do, through `live`, what nobody else may have the database open for, this state's own connection included:
    /// giving up the write-ahead log. Returns the state after it, or nothing where others have written.
    ///
    /// # Errors
    /// Those of `change`, or it cannot be read any more.
    pub(super) fn across(
        self,
        live: &Connection,
        until: Instant,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<Option<State>> {
        let State { found, seen } = self;
        let path = found.path.clone();
        let version = || patiently(&path, until, || data_version(live));
        let before = version()?;
        let state = State { found, seen };
        if !state.is_still()? {
            return Ok(None);
        }
        let found = state.found;
        drop(state.seen);
        change()?;
        patiently(&path, until, || live.execute_batch("BEGIN IMMEDIATE"))?;
        let is_same = version()? == before;
        let counter = change_counter(&found)?;
        live.execute_batch("ROLLBACK").map_err(|error| explain(error, &path))?;
        let seen = Seen::Journal { counter };
        Ok(is_same.then_some(State { found, seen }))
    }
}

fn data_version(open: &Connection) -> rusqlite::Result<i64> {
    open.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// The number that is raised by each commit with a rollback journal (SQLite's file format, byte 24 of the header).
fn change_counter(found: &Found) -> Result<u32> {
    let read = |file: &File| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, 24).map(|()| u32::from_be_bytes(bytes))
    };
    Ok(with_file(found, read)??)
}

/// Keeps others from writing to a database, until it is dropped. They can go on reading.
#[derive(Debug)]
pub struct Fence {
    _open: Connection,
}

impl Fence {
    /// Waits up to `wait` for the locks of others.
    ///
    /// # Errors
    /// [`crate::error::Exit::Unreachable`]: others have a lock for longer.
    pub fn raise(path: &Path, wait: Duration) -> Result<Fence> {
        let open = open::for_writing(path)?;
        patiently(path, Instant::now() + wait, || open.execute_batch("BEGIN IMMEDIATE"))?;
        Ok(Fence { _open: open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_commit_is_seen_and_what_they_roll_back_is_not() {
        for mode in ["WAL", "DELETE", "TRUNCATE", "PERSIST"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("app.db");
            let other = Connection::open(&path).unwrap();
            other
                .execute_batch(&format!(
                    "PRAGMA journal_mode = {mode}; CREATE TABLE t (a); INSERT INTO t VALUES (1)"
                ))
                .unwrap();
            let state = State::of(&path, Duration::ZERO).unwrap();
            assert!(state.is_still().unwrap(), "{mode}");
            other
                .execute_batch("BEGIN; INSERT INTO t VALUES (2); ROLLBACK")
                .unwrap();
            assert!(state.is_still().unwrap(), "{mode}");
            // While somebody else has the lock, too.
            other.execute_batch("BEGIN EXCLUSIVE").unwrap();
            assert!(state.is_still().unwrap(), "{mode}");
            other.execute_batch("INSERT INTO t VALUES (3); COMMIT").unwrap();
            assert!(!state.is_still().unwrap(), "{mode}");
        }
    }

    #[test]
    fn a_fence_keeps_writers_out_and_lets_readers_in() {
        for mode in ["WAL", "DELETE"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("app.db");
            let other = Connection::open(&path).unwrap();
            other.busy_timeout(Duration::ZERO).unwrap();
            other
                .execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (a)"))
                .unwrap();
            let fence = Fence::raise(&path, Duration::ZERO).unwrap();
            assert!(other.execute_batch("INSERT INTO t VALUES (1)").is_err(), "{mode}");
            let rows: i64 = other.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 0);
            drop(fence);
            other.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        }
    }
}
