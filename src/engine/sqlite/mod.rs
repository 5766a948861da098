//! The SQLite engine: reads a database file page by page in one snapshot, and puts one in the place of a live one.

mod checkpoint;
pub mod export;
pub mod facts;
pub mod failure;
pub mod give_way;
mod indexes;
pub mod integrity;
pub mod location;
pub mod lock;
mod locked;
pub mod open;
mod pages;
mod parts;
pub mod proof;
pub mod put;
mod put_pages;
pub mod put_tables;
pub mod rights;
pub mod scratch;
pub mod script;
pub mod snapshot;
pub mod tables;
pub mod unchanged;
pub mod unpack;
pub mod users;
mod value_hash;

use self::location::Location;
use self::open::Found;
use crate::error::{Exit, Fail, Result};
use crate::manifest::{Engine, Identity, Place, Source};

/// The oldest SQLite that may be linked: older ones can corrupt a WAL database that has two connections, and a backup is
/// the second one.
const OLDEST: i32 = 3_051_003;

/// What a manifest says of the database that was `found`.
#[must_use]
pub fn identity(found: &Found) -> Source {
    let name = found.path.file_name().unwrap_or_default().to_string_lossy();
    Source {
        engine: Engine::Sqlite,
        file: Some(facts::file(found)),
        host: host(),
        port: 0,
        database: name.into_owned(),
        system_identifier: None,
        database_oid: 0,
        server_version_num: u32::try_from(rusqlite::version_number()).unwrap_or_default(),
        server_version: version().to_owned(),
    }
}

/// The database at `location`; its file may be gone.
#[must_use]
pub fn named(location: &Location) -> Identity {
    if let Ok(found) = open::find(location.path()) {
        return Identity::of(&identity(&found));
    }
    let name = location.path().file_name().unwrap_or_default().to_string_lossy();
    Identity {
        engine: Engine::Sqlite,
        file: None,
        places: vec![Place { host: host(), port: 0 }],
        database: name.into_owned(),
        system_identifier: None,
        database_oid: None,
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

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
            format!(
                "SQLite {} is compiled in, and before 3.51.3 it can corrupt WAL databases",
                version()
            ),
        )),
    }
}
