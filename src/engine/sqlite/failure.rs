//! What SQLite's errors mean for a person, and what to do about them.

use std::io::Read as _;
use std::path::Path;

use rusqlite::ErrorCode;
use rustix::fs::{Access, access};

use super::users;
use crate::error::{Exit, Fail};

/// What every database file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The code of an error of SQLite.
#[must_use]
pub fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// Whether an error says that the file is damaged.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(code(error), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// An error of SQLite on the database at `path`, as a person reads it.
#[must_use]
pub fn explain(error: rusqlite::Error, path: &Path) -> anyhow::Error {
    let name = path.display();
    let fail = |exit, message: String| Fail::new(exit, message);
    match code(&error) {
        Some(ErrorCode::NotADatabase) => not_a_database(path),
        Some(ErrorCode::DatabaseCorrupt) => truncated(path).unwrap_or_else(|| {
            fail(Exit::Damaged, format!("{name} is damaged: {error}"))
                .hint("`sqlite3 FILE .recover` saves what can be read; a backup from before is the better way")
        }),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let holders = users::holders(path);
            let by = if holders.is_empty() {
                String::new()
            } else {
                format!(" by {}", holders.join(", "))
            };
            fail(Exit::Unreachable, format!("{name} is locked{by}"))
                .hint("wait until that is done, or end it, and try again")
        }
        Some(ErrorCode::DiskFull) => {
            fail(Exit::Failure, format!("the disk that {name} is on is full")).hint("make room and try again")
        }
        // A log needs files beside it, which cannot be made there.
        Some(ErrorCode::ReadOnly) if !is_rollback(&error) && access(folder(path), Access::WRITE_OK).is_err() => {
            cannot_open(path)
        }
        Some(ErrorCode::ReadOnly) => fail(Exit::Permission, format!("{name} may only be read: {error}")).hint(
            "a database whose application was killed must be written to before it can be read: run as a user who may, \
             or open it once with its application",
        ),
        Some(ErrorCode::PermissionDenied) => fail(Exit::Permission, format!("permission denied on {name}")),
        Some(ErrorCode::CannotOpen) => cannot_open(path),
        Some(ErrorCode::OutOfMemory) => fail(Exit::Failure, format!("there is not enough memory to read {name}")),
        // What the header says of its format makes no sense.
        _ if error.to_string().contains("unsupported file format") => not_a_database(path),
        _ => return anyhow::Error::new(error).context(format!("database {name}")),
    }
    .into()
}

/// What to do about a database whose key only its application has.
pub const ENCRYPTED: &str = "an encrypted database can only be exported by the application that has its key";

/// Whether what a killed application left would have to be rolled back.
fn is_rollback(error: &rusqlite::Error) -> bool {
    const READONLY_ROLLBACK: i32 = 776;
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == READONLY_ROLLBACK)
}

/// Why a file that SQLite takes for no database is none. Only asked when no connection to it can have a lock.
fn not_a_database(path: &Path) -> Fail {
    let name = path.display();
    let mut start = [0; 16];
    let begun = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    let message = match begun {
        Err(_) => format!("{name} is too short to be a database"),
        Ok(()) if &start == MAGIC => {
            let message = format!(
                "{name} is no database any more: its first page is damaged, or encrypted but for its beginning (SQLCipher)"
            );
            return Fail::new(Exit::Damaged, message).hint(ENCRYPTED);
        }
        Ok(()) if start.iter().all(|byte| *byte == 0) => format!("{name} is no SQLite database: it begins with zeros"),
        Ok(())
            if start
                .iter()
                .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) =>
        {
            return Fail::new(Exit::Usage, format!("{name} is no SQLite database: it looks like text"));
        }
        Ok(()) => {
            let message =
                format!("{name} is no SQLite database that can be read: it is encrypted (SQLCipher), or no database");
            return Fail::new(Exit::Usage, message).hint(ENCRYPTED);
        }
    };
    Fail::new(Exit::Damaged, message)
}

fn cannot_open(path: &Path) -> Fail {
    let name = path.display();
    let denied = |what: &str| Fail::new(Exit::Permission, format!("permission denied: {name} {what}"));
    if access(path, Access::READ_OK).is_err() {
        return denied("may not be read").hint("run as a user who may read the database");
    }
    let folder = folder(path);
    if access(folder, Access::WRITE_OK).is_err() {
        return denied("uses a write-ahead log, and its folder may not be written to").hint(
            "SQLite needs its -shm file beside such a database to read it: run as a user who may write to the folder (in a \
             systemd unit: ReadWritePaths=), or while the application has the database open",
        );
    }
    Fail::new(Exit::Failure, format!("{name} cannot be opened"))
}

/// What is wrong with a file that has fewer pages than its header says. Only asked when SQLite has refused it.
#[must_use]
pub fn truncated(path: &Path) -> Option<Fail> {
    let mut header = [0; 100];
    std::fs::File::open(path).ok()?.read_exact(&mut header).ok()?;
    let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let (wanted, size) = (page_size * u64::from(number(28)?), std::fs::metadata(path).ok()?.len());
    // The number of pages counts only where the version that wrote it also wrote the change counter.
    (size < wanted && number(24)? == number(92)?).then(|| {
        let name = path.display();
        Fail::new(Exit::Damaged, format!("{name} is cut: it has {size} of {wanted} bytes"))
            .hint("restore it from a backup: `snapback list` shows what there is")
    })
}

/// The folder that a file is in.
#[must_use]
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
