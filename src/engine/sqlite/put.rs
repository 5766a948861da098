//! What was unpacked is put into the live file in one transaction of SQLite's own. Whoever has the file open sees the old
//! database until it is committed and the new one after it, and a kill at any instant leaves one of both.
//!
//! Where the pages of both have the same layout, those that differ are written (`put_pages.rs`). All else is done by SQLite's
//! backup API, which writes all of them: another size of pages, an empty or damaged file.
//!
//! The file stays the same: its owner, its mode, links to it, and what others have open.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::failure::explain;
use super::locked::{AGAIN, by, is_locked, locked, patiently};
use super::unchanged::State;
use super::{open, put_pages, users};
use crate::error::{Exit, Fail, Result};

/// How many pages are copied at a time.
const STEP: i32 = 1024;

/// How long it waits for others to leave while it keeps new ones out. Then these have a turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of an attempt to put something into a live file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there; nobody else could write for so long.
    Done(Duration),
    /// Nothing was changed, as others have written since the state that was asked for.
    Written,
}

/// Puts the database `from`, which nobody else has, into the live file `to`, if that is still what it was in `state`. Waits up
/// to `wait` for the locks of others. Blocks: not for async tasks. `done` hears of the bytes.
///
/// # Errors
/// [`Exit::Unreachable`]: others have locks on it. Whatever fails, the live database is what it was.
pub fn into_live(from: &Path, to: &Path, state: Option<State>, wait: Duration, done: &dyn Fn(u64)) -> Result<Put> {
    let from = open::immutable(from)?;
    let mut live = open::for_writing(to)?;
    open::despite_schema(&live).map_err(|error| explain(error, to))?;
    let until = Instant::now() + wait;
    let state = match (fits(&from, &live, to, until)?, state) {
        (Fit::Fits, state) => state,
        (Fit::Not { ours, theirs }, None) => {
            leave_log(&live, to, until, ours, theirs)?;
            None
        }
        (Fit::Not { ours, theirs }, Some(state)) => {
            match state.across(&live, until, || leave_log(&live, to, until, ours, theirs))? {
                None => return Ok(Put::Written),
                state => state,
            }
        }
    };
    // With a rollback journal the lock keeps out who comes while it waits for readers to leave: nobody writes in between.
    live.busy_timeout(PATIENCE.min(until.saturating_duration_since(Instant::now())))
        .map_err(|error| explain(error, to))?;
    let outcome = write(&from, &mut live, to, state.as_ref(), until, done);
    // What readers do not need any more goes from the log into the file; where they do, it goes later.
    if outcome.is_ok() {
        let _ = live.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
    outcome
}

fn write(
    from: &Connection,
    live: &mut Connection,
    to: &Path,
    state: Option<&State>,
    until: Instant,
    done: &dyn Fn(u64),
) -> Result<Put> {
    let put = match patiently(to, until, || put_pages::alike(from, live)) {
        Ok(true) => put_pages::put(from, live, to, state, until, done)?,
        // What is damaged is replaced as a whole.
        Ok(false) | Err(_) => None,
    };
    match put {
        Some(put) => Ok(put),
        None => copy(from, live, to, state, until, done),
    }
}

fn copy(
    from: &Connection,
    live: &mut Connection,
    to: &Path,
    state: Option<&State>,
    until: Instant,
    done: &dyn Fn(u64),
) -> Result<Put> {
    let page_size: i64 = from.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let bytes = |pages: i32| u64::try_from(i64::from(pages) * page_size).unwrap_or_default();
    let backup = Backup::new(from, live).map_err(|error| explain(error, to))?;
    let (mut begun, mut left) = (None, None);
    loop {
        // The first step takes the lock. It is small, so that nothing of it goes to the disk before it is known that nobody
        // has written in between.
        let pages = if begun.is_some() { STEP } else { 1 };
        match backup.step(pages).map_err(|error| explain(error, to))? {
            StepResult::Busy | StepResult::Locked if Instant::now() >= until => return Err(locked(to).into()),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(AGAIN),
            step => {
                if begun.is_none() && !state.map_or(Ok(true), State::is_still)? {
                    return Ok(Put::Written);
                }
                let begun = begun.get_or_insert_with(Instant::now);
                let progress = backup.progress();
                done(bytes(left.unwrap_or(progress.pagecount) - progress.remaining));
                left = Some(progress.remaining);
                if step == StepResult::Done {
                    drop(backup);
                    return Ok(Put::Done(begun.elapsed()));
                }
            }
        }
    }
}

/// Whether the pages of one database fit into another.
enum Fit {
    Fits,
    /// A database with a write-ahead log cannot take pages of another size.
    Not {
        ours: i64,
        theirs: i64,
    },
}

fn fits(from: &Connection, live: &Connection, to: &Path, until: Instant) -> Result<Fit> {
    let size = |open: &Connection| open.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0));
    let mode = || live.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
    // A file that is no database any more says so here.
    let current = patiently(to, until, mode)?;
    let (ours, theirs) = (size(from)?, patiently(to, until, || size(live))?);
    match ours == theirs || current != "wal" {
        true => Ok(Fit::Fits),
        false => Ok(Fit::Not { ours, theirs }),
    }
}

/// Goes back from a write-ahead log to a rollback journal, for which nobody else may have the database open.
fn leave_log(live: &Connection, to: &Path, until: Instant, ours: i64, theirs: i64) -> Result<()> {
    loop {
        match live.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "delete" => return Ok(()),
            Err(error) if !is_locked(&error) => return Err(explain(error, to)),
            _ if Instant::now() >= until => {
                let message = format!(
                    "{} has pages of {theirs} bytes and a write-ahead log, and the backup has pages of {ours}: others must \
                     close it first{}",
                    to.display(),
                    by(&users::of(to))
                );
                return Err(Fail::new(Exit::Unreachable, message)
                    .hint("stop what has it open and try again, or restore beside it with --mode new --as FILE")
                    .into());
            }
            _ => std::thread::sleep(AGAIN),
        }
    }
}
