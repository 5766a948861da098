//! The SQLite engine: reads a database file page by page in one snapshot, and puts one in the place of a live one.

pub mod export;
pub mod facts;
pub mod failure;
mod give_way;
pub mod integrity;
pub mod location;
pub mod lock;
pub mod open;
mod pages;
pub mod proof;
pub mod restore;
pub mod scratch;
pub mod tables;
pub mod unpack;
pub mod users;

use crate::error::{Exit, Fail, Result};

/// The oldest SQLite that may be linked: older ones can corrupt a WAL database that has two connections, and a backup is
/// the second one.
const OLDEST: i32 = 3_051_003;

/// The version of SQLite that is compiled in.
#[must_use]
pub fn version() -> &'static str {
    rusqlite::version()
}

/// Makes sure that the SQLite that is compiled in harms no database.
///
/// # Errors
/// It is too old.
pub fn check_version() -> Result<(), Fail> {
    match rusqlite::version_number() >= OLDEST {
        true => Ok(()),
        false => Err(Fail::new(
            Exit::Failure,
            format!("SQLite {} is compiled in, and before 3.51.3 it can corrupt WAL databases", version()),
        )),
    }
}
