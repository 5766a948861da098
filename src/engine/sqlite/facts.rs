//! What a database file says of itself.

use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

use rusqlite::Connection;

use super::open::Found;
use crate::manifest::{DatabaseFile, SqliteFacts};

/// The file, so that it is known again.
#[must_use]
pub fn file(found: &Found) -> DatabaseFile {
    let created = found.metadata.created().ok();
    let since = created.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    DatabaseFile {
        path: found.path.clone(),
        device: found.metadata.dev(),
        inode: found.metadata.ino(),
        created: since.and_then(|time| u64::try_from(time.as_nanos()).ok()),
    }
}

/// Reads what the header and the settings of a database say, within the transaction that `open` is in.
///
/// # Errors
/// SQLite's.
pub fn read(open: &Connection) -> rusqlite::Result<SqliteFacts> {
    let number = |name: &str| open.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let text = |name: &str| open.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, String>(0));
    let header: Vec<u8> = open.query_row("SELECT data FROM sqlite_dbpage('main') WHERE pgno = 1", [], |row| {
        row.get(0)
    })?;
    Ok(SqliteFacts {
        page_size: u32::try_from(number("page_size")?).unwrap_or_default(),
        pages: u64::try_from(number("page_count")?).unwrap_or_default(),
        reserved_bytes: header.get(20).copied().unwrap_or_default(),
        encoding: text("encoding")?,
        journal_mode: journal_mode(&header),
        auto_vacuum: u8::try_from(number("auto_vacuum")?).unwrap_or_default(),
        schema_version: number("schema_version")?,
        user_version: number("user_version")?,
        application_id: number("application_id")?,
        ..SqliteFacts::default()
    })
}

/// What the header says of the journal: only WAL is written down in it.
fn journal_mode(header: &[u8]) -> String {
    match header.get(19) {
        Some(2) => "wal",
        _ => "delete",
    }
    .to_owned()
}
