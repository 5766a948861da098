//! What was unpacked is put into the live file by SQLite's backup API: one transaction of SQLite's own. Whoever has the file
//! open sees the old database until it is committed and the new one after it, and a kill at any instant leaves one of both.
//!
//! The file stays the same: its owner, its mode, links to it, and what others have open.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::failure::{self, explain};
use super::{open, users};
use crate::error::{Exit, Fail, Result};

/// How many pages are copied at a time.
const STEP: i32 = 1024;

/// How often a lock of somebody else is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// Puts the database `from`, which nobody else has, into the live file `to`. Waits up to `wait` for the locks of others.
/// Blocks: not for async tasks. Returns for how long nobody else could write; `done` hears of the bytes.
///
/// # Errors
/// [`Exit::Unreachable`]: others have locks on it. Whatever fails, the live database is what it was.
pub fn into_live(from: &Path, to: &Path, wait: Duration, done: &dyn Fn(u64)) -> Result<Duration> {
    let from = open::immutable(from)?;
    let mut live = open::for_writing(to)?;
    let until = Instant::now() + wait;
    fit_page_size(&from, &live, to, until)?;
    let outcome = copy(&from, &mut live, to, until, done);
    // What readers do not need any more goes from the log into the file; where they do, it goes later.
    if outcome.is_ok() {
        let _ = live.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
    outcome
}

fn copy(from: &Connection, live: &mut Connection, to: &Path, until: Instant, done: &dyn Fn(u64)) -> Result<Duration> {
    let page_size: i64 = from.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let bytes = |pages: i32| u64::try_from(i64::from(pages) * page_size).unwrap_or_default();
    let backup = Backup::new(from, live).map_err(|error| explain(error, to))?;
    let (mut begun, mut left) = (None, None);
    loop {
        match backup.step(STEP).map_err(|error| explain(error, to))? {
            StepResult::Busy | StepResult::Locked if Instant::now() >= until => return Err(locked(to).into()),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(AGAIN),
            step => {
                let begun = begun.get_or_insert_with(Instant::now);
                let progress = backup.progress();
                done(bytes(left.unwrap_or(progress.pagecount) - progress.remaining));
                left = Some(progress.remaining);
                if step == StepResult::Done {
                    drop(backup);
                    return Ok(begun.elapsed());
                }
            }
        }
    }
}

/// A live database with a write-ahead log cannot take pages of another size: it goes back to a rollback journal first, for
/// which nobody else may have it open.
fn fit_page_size(from: &Connection, live: &Connection, to: &Path, until: Instant) -> Result<()> {
    let size = |open: &Connection| open.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0));
    let mode = |sql: &str| live.query_row(sql, [], |row| row.get::<_, String>(0));
    // A file that is no database any more says so here.
    let current = patiently(to, until, || mode("PRAGMA journal_mode"))?;
    let (ours, theirs) = (size(from)?, patiently(to, until, || size(live))?);
    if ours == theirs || current != "wal" {
        return Ok(());
    }
    loop {
        match mode("PRAGMA journal_mode = DELETE") {
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

/// Runs something again and again while others have locks, but not for longer than `until`.
pub(super) fn patiently<T>(to: &Path, until: Instant, run: impl Fn() -> rusqlite::Result<T>) -> Result<T> {
    loop {
        match run() {
            Err(error) if !is_locked(&error) => return Err(explain(error, to)),
            Err(_) if Instant::now() >= until => return Err(locked(to).into()),
            Err(_) => std::thread::sleep(AGAIN),
            Ok(done) => return Ok(done),
        }
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(failure::code(error), Some(DatabaseBusy | DatabaseLocked))
}

fn locked(to: &Path) -> Fail {
    let holders = users::holders(to);
    Fail::new(Exit::Unreachable, format!("{} is locked{}", to.display(), by(&holders)))
        .hint("nothing was changed; wait until that is done, or end it, and try again")
}

fn by(processes: &[String]) -> String {
    match processes.is_empty() {
        true => String::new(),
        false => format!(" by {}", processes.join(", ")),
    }
}
