//! A database file is opened: to be read, or to be written to. Opening never creates one.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access, statfs};

use super::failure::{explain, folder};
use crate::error::{Exit, Fail, Result};

/// File systems across a network, by the number that `statfs` has for them: locks on them cannot be relied upon.
const NETWORK: [(u64, &str); 5] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9P"),
];

/// A database file that is there.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is, all symbolic links followed: that is where SQLite keeps the files beside it.
    pub path: PathBuf,
    /// What the file system says of it.
    pub metadata: Metadata,
}

/// Looks for the file at `path`.
///
/// # Errors
/// There is none, or it cannot be a database.
pub fn find(path: &Path) -> Result<Found> {
    let name = path.display();
    let failed = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Failure,
        };
        match exit {
            Exit::NotFound => Fail::new(exit, format!("there is no database {name}"))
                .hint("nothing was created; a relative path is one from the current folder"),
            _ => Fail::new(exit, format!("cannot look at {name}: {error}")),
        }
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Fail::new(Exit::Usage, format!("{name} is no file, so it cannot be a database")).into());
    }
    if metadata.len() == 0 {
        return Err(Fail::new(
            Exit::Usage,
            format!("{name} is an empty file: there is no database in it yet"),
        )
        .hint("if it should not be empty: `snapback list` shows the backups that there are")
        .into());
    }
    let path = fs::canonicalize(path).map_err(failed)?;
    Ok(Found { path, metadata })
}

impl Found {
    /// The file beside it that has this ending: `-wal`, `-shm`, `-journal`.
    #[must_use]
    pub fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// The size of its write-ahead log now.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        fs::metadata(self.beside("-wal")).map_or(0, |log| log.len())
    }

    /// Its number in its file system.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.metadata.ino()
    }

    /// The name of the network file system that it is on.
    #[must_use]
    pub fn network(&self) -> Option<&'static str> {
        network(&self.path)
    }
}

/// The name of the network file system that a file or folder is on.
#[must_use]
pub fn network(path: &Path) -> Option<&'static str> {
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::unnecessary_cast)] // a number of 32 bits
    let kind = statfs(path).ok()?.f_type as u32;
    network_name(u64::from(kind))
}

fn network_name(kind: u64) -> Option<&'static str> {
    let known = NETWORK.iter().find(|(number, _)| *number == kind);
    known.map(|(_, name)| *name)
}

/// Opens a database to read it. What SQLite itself needs to write for that (the index of a write-ahead log, the rolling back
/// of what a killed application left) it may write where the rights are there; nothing else is ever written. It always takes
/// SQLite's locks: that a file system is mounted read-only here, as in a service's sandbox, keeps nobody else from writing.
///
/// # Errors
/// It cannot be opened.
pub fn for_reading(found: &Found, wait: Duration) -> Result<Connection> {
    let may_write =
        access(&found.path, Access::WRITE_OK).is_ok() && access(folder(&found.path), Access::WRITE_OK).is_ok();
    let flags = match may_write {
        true => OpenFlags::SQLITE_OPEN_READ_WRITE,
        false => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = Connection::open_with_flags(&found.path, flags).map_err(|error| explain(error, &found.path))?;
    reader(&open, wait).map_err(|error| explain(error, &found.path))?;
    Ok(open)
}

/// Opens a file that nobody else has and that nobody changes.
///
/// # Errors
/// It cannot be opened.
pub fn immutable(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let open = Connection::open_with_flags(immutable_uri(path), flags).map_err(|error| explain(error, path))?;
    reader(&open, Duration::ZERO).map_err(|error| explain(error, path))?;
    Ok(open)
}

/// Opens a database to write to it.
///
/// # Errors
/// It cannot be opened, or may not be written to.
pub fn for_writing(path: &Path) -> Result<Connection> {
    let denied = |what: &str| {
        Fail::new(
            Exit::Permission,
            format!("permission denied: {} may not be written to", what),
        )
        .hint("run as the user whose database it is")
    };
    if access(path, Access::WRITE_OK).is_err() {
        return Err(denied(&path.display().to_string()).into());
    }
    if access(folder(path), Access::WRITE_OK).is_err() {
        return Err(denied(&format!("the folder of {}", path.display())).into());
    }
    // With URIs, so that another database may be attached by one; a path that begins with a slash is none.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let path = &std::path::absolute(path)?;
    let open = Connection::open_with_flags(path, flags).map_err(|error| explain(error, path))?;
    open.busy_timeout(Duration::ZERO)
        .map_err(|error| explain(error, path))?;
    Ok(open)
}

/// Lets `open` work on pages although definitions in the schema make no sense.
///
/// # Errors
/// SQLite's.
pub fn despite_schema(open: &Connection) -> rusqlite::Result<()> {
    open.execute_batch("PRAGMA writable_schema = ON")
}

fn reader(open: &Connection, wait: Duration) -> rusqlite::Result<()> {
    open.busy_timeout(wait)?;
    // A schema may have what somebody put there to do harm: only functions that can do none are called.
    open.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;")
}

/// The `file:` URI of a file that nobody changes.
#[must_use]
pub fn immutable_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_across_a_network_are_known_by_their_numbers() {
        // NFS, SMB and CIFS as Linux numbers them (magic.h); ext4, tmpfs.
        let names = [0x6969, 0xFE53_4D42, 0xFF53_4D42, 0xEF53, 0x0102_1994].map(network_name);
        assert_eq!(names, [Some("NFS"), Some("SMB"), Some("CIFS"), None, None]);
        assert_eq!(network(Path::new("/proc")), None);
    }
}
