//! What was unpacked is put into the live file page by page: only the pages that differ are written, in one transaction. A
//! restore after a migration went wrong writes little then, and neither the journal nor the log grows to the size of the file.
//!
//! The virtual table `sqlite_dbpage` reads and writes pages under SQLite's own locks, as sqlite3_rsync does.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use rusqlite::types::Null;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::failure::{explain, is_damage};
use super::locked::patiently;
use super::put::Put;
use super::unchanged::State;
use crate::error::Result;

/// What the header says of the file and not of its content (SQLite's file format, 1.3): the versions for reading and writing,
/// which tell of a write-ahead log, the change counter, and what it is valid for.
const OF_THE_FILE: [Range<usize>; 3] = [18..20, 24..28, 92..100];
/// The number of pages.
const PAGE_COUNT: Range<usize> = 28..32;
/// By it, others see that they have to read the schema anew.
const SCHEMA_COOKIE: Range<usize> = 40..44;
/// SQLite locks at this offset, so it never uses the page that is there.
const PENDING_BYTE: u64 = 1 << 30;
/// How often it is told how far it is.
const TELL: u64 = 1 << 20;

/// Whether the pages of both have the same layout.
pub(super) fn alike(from: &Connection, live: &Connection) -> rusqlite::Result<bool> {
    let layout = |open: &Connection| {
        open.query_row("SELECT data FROM sqlite_dbpage('main') WHERE pgno = 1", [], |row| {
            let page = row.get_ref(0)?.as_blob()?;
            // The size of a page, and how many bytes at its end are somebody else's.
            Ok((page.len(), page.get(16..18).map(<[u8]>::to_vec), page.get(20).copied()))
        })
    };
    Ok(layout(from)? == layout(live)?)
}

/// Puts the pages of `from` into `live`, if that is still what it was in `state`; nothing where the live database is too
/// damaged to be read by page.
///
/// # Errors
/// [`crate::error::Exit::Unreachable`]: others have locks on it. Whatever fails, the live database is what it was.
pub(super) fn put(
    from: &Connection,
    live: &Connection,
    to: &Path,
    state: Option<&State>,
    until: Instant,
    done: &dyn Fn(u64),
) -> Result<Option<Put>> {
    // With a rollback journal this keeps readers out as well: nobody sees a page before all are there. It is dropped, and
    // with it rolled back, where anything fails.
    let transaction = patiently(to, until, || {
        Transaction::new_unchecked(live, TransactionBehavior::Exclusive)
    })?;
    let begun = Instant::now();
    if !state.map_or(Ok(true), State::is_still)? {
        return Ok(Some(Put::Written));
    }
    match write(from, live, done) {
        Err(error) if is_damage(&error) => return Ok(None),
        written => written.map_err(|error| explain(error, to))?,
    }
    transaction.commit().map_err(|error| explain(error, to))?;
    Ok(Some(Put::Done(begun.elapsed())))
}

/// Writes the pages that differ, within the transaction that `live` is in.
fn write(from: &Connection, live: &Connection, done: &dyn Fn(u64)) -> rusqlite::Result<()> {
    let count = |open: &Connection| open.query_row("PRAGMA page_count", [], |row| row.get::<_, u32>(0));
    let (pages, pages_there) = (count(from)?, count(live)?);
    let mut read = from.prepare("SELECT pgno, data FROM sqlite_dbpage('main') WHERE pgno > 1 ORDER BY pgno")?;
    let mut read_there = live.prepare("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1")?;
    let mut write = live.prepare("INSERT INTO sqlite_dbpage (pgno, data) VALUES (?1, ?2)")?;
    let (mut differ, mut untold) = (pages != pages_there, 0);
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let (number, page): (u32, _) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
        let is_pending = u64::from(number - 1) * page.len() as u64 == PENDING_BYTE;
        if !is_pending && !is_page(&mut read_there, number, page)? {
            write.execute((number, page))?;
            differ = true;
        }
        untold += page.len() as u64;
        if untold >= TELL {
            done(std::mem::take(&mut untold));
        }
    }
    let first = |open: &Connection| {
        open.query_row("SELECT data FROM sqlite_dbpage('main') WHERE pgno = 1", [], |row| {
            row.get::<_, Vec<u8>>(0)
        })
    };
    let there = first(live)?;
    let wanted = first_page(first(from)?, &there, pages);
    if differ || wanted != there {
        write.execute((1, with_next_cookie(wanted, &there)))?;
    }
    if pages < pages_there {
        // All pages from this one on go. It must come last: a page that is written takes it back.
        write.execute((pages + 1, Null))?;
    }
    done(untold);
    Ok(())
}

fn is_page(read: &mut rusqlite::Statement<'_>, number: u32, page: &[u8]) -> rusqlite::Result<bool> {
    let mut rows = read.query([number])?;
    match rows.next()? {
        Some(row) => Ok(row.get_ref(0)?.as_blob()? == page),
        None => Ok(false),
    }
}

/// The first page as it is to be, but for the cookie, which stays what it is `there`.
fn first_page(mut page: Vec<u8>, there: &[u8], pages: u32) -> Vec<u8> {
    for range in OF_THE_FILE.into_iter().chain([SCHEMA_COOKIE]) {
        page[range.clone()].copy_from_slice(&there[range]);
    }
    // Very old versions of SQLite left it unset, and what commits now declares it valid.
    page[PAGE_COUNT].copy_from_slice(&pages.to_be_bytes());
    page
}

/// The backup's cookie may be the one that others have seen with another schema: theirs and one more is new to all.
fn with_next_cookie(mut page: Vec<u8>, there: &[u8]) -> Vec<u8> {
    let cookie = there[SCHEMA_COOKIE]
        .iter()
        .fold(0u32, |all, byte| all << 8 | u32::from(*byte));
    page[SCHEMA_COOKIE].copy_from_slice(&cookie.wrapping_add(1).to_be_bytes());
    page
}
