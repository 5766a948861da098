//! Where a database file is, as people write it: a path, SQLAlchemy's URL, or SQLite's own `file:` URI.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::engine::source::{self, SourceKind};
use crate::error::{Exit, Fail};

/// The path of a database file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    path: PathBuf,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Location {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Location { path: path.into() }
    }

    /// What `text` says, where it is one of SQLite's forms; `None` where it is none of them. No error repeats it: it may be the
    /// URL of something else, with a password in it.
    ///
    /// # Errors
    /// It is a database in memory or on another machine, or names no file.
    pub fn parse(text: &str) -> Result<Option<Location>, Fail> {
        let mut text = source::unwrap(text);
        if SourceKind::of(text) != SourceKind::Sqlite {
            return Ok(None);
        }
        loop {
            text = match source::scheme(text) {
                None => return named(text, false).map(Some),
                Some((scheme, rest)) if scheme == "file" => return from_uri(rest).map(Some),
                Some((scheme, rest)) if scheme.contains("dbc") => rest,
                Some((_, rest)) => return from_url(rest).map(Some),
            };
        }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `other` is the same file, by whatever path.
    #[must_use]
    pub fn is_same(&self, other: &Location) -> bool {
        let real = |location: &Location| std::fs::canonicalize(&location.path).ok();
        self == other || real(self).is_some_and(|path| real(other) == Some(path))
    }

    /// The same, relative to `folder` where it is relative.
    #[must_use]
    pub fn within(&self, folder: &Path) -> Location {
        Location::new(folder.join(&self.path))
    }

    /// The name of the file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// The name of the file without its ending: what a job of it is called.
    #[must_use]
    pub fn stem(&self) -> String {
        let stem = self.path.file_stem().unwrap_or(self.path.as_os_str());
        stem.to_string_lossy().into_owned()
    }
}

/// SQLAlchemy's form: three slashes and a relative path, four and an absolute one. Two slashes and a path, or none, are
/// what other frameworks write.
fn from_url(rest: &str) -> Result<Location, Fail> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (path, is_authority) = match (path.strip_prefix("///"), path.strip_prefix("//")) {
        (Some(path), _) => (path, false),
        (None, Some(path)) => (path, true),
        (None, None) => (path, false),
    };
    if is_authority && path.contains('@') {
        return Err(elsewhere());
    }
    let has = |wanted: &str| query.split('&').any(|part| part.eq_ignore_ascii_case(wanted));
    match source::scheme(path) {
        Some((scheme, uri)) if scheme == "file" && has("uri=true") => from_uri(uri),
        _ => named(path, has("mode=memory")),
    }
}

/// SQLite's own URI: percent signs stand for bytes, and the authority is empty or `localhost`.
fn from_uri(rest: &str) -> Result<Location, Fail> {
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.strip_prefix("//") {
        None => path,
        Some(after) => {
            let slash = after.find('/').unwrap_or(after.len());
            let (host, path) = after.split_at(slash);
            if !host.is_empty() && host != "localhost" {
                return Err(elsewhere());
            }
            path
        }
    };
    let is_memory = query.split('&').any(|part| part == "mode=memory");
    named(&percent_decoded(path), is_memory)
}

fn elsewhere() -> Fail {
    Fail::new(
        Exit::Usage,
        "the URL names a machine, and a database file is on this one",
    )
    .hint(FORMS)
}

/// What to write instead.
const FORMS: &str = "name a file: sqlite:///app.db (relative), sqlite:////srv/app.db (absolute), or simply its path";

fn named(path: &str, is_memory: bool) -> Result<Location, Fail> {
    if is_memory || path.is_empty() || path == ":memory:" {
        let message = "what is named is a database in memory: there is no file to back up";
        return Err(Fail::new(Exit::Usage, message).hint(FORMS));
    }
    Ok(Location::new(path))
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_path_is_understood() {
        for (text, path) in [
            ("sqlite:///relative.db", "relative.db"),
            ("sqlite:////srv/absolute.db", "/srv/absolute.db"),
            ("sqlite+aiosqlite:///data/app.db", "data/app.db"),
            ("sqlite+pysqlite:////srv/app.db?timeout=5", "/srv/app.db"),
            ("SQLite:///App.DB", "App.DB"),
            ("sqlite://app.db", "app.db"),
            ("sqlite:app.db", "app.db"),
            ("sqlite:/srv/app.db", "/srv/app.db"),
            ("sqlite3:app", "app"),
            ("'sqlite:///app.db'", "app.db"),
            ("jdbc:sqlite:/srv/app.db", "/srv/app.db"),
            ("sqlite:///file:app.db?mode=ro&uri=true", "app.db"),
            ("file:app.db", "app.db"),
            ("file:/srv/app.db?mode=ro", "/srv/app.db"),
            ("file:///srv/my%20app.db", "/srv/my app.db"),
            ("file://localhost/srv/app.db", "/srv/app.db"),
            ("app.db", "app.db"),
            ("./app", "./app"),
            ("/srv/app.sqlite3", "/srv/app.sqlite3"),
        ] {
            assert_eq!(Location::parse(text).unwrap(), Some(Location::new(path)), "{text}");
        }
    }

    #[test]
    fn what_is_in_memory_or_elsewhere_is_refused() {
        for text in [
            "sqlite://",
            "sqlite:///",
            "sqlite:///:memory:",
            "sqlite::memory:",
            "file::memory:",
            "file:x?mode=memory&cache=shared",
            "file:",
            "file://server/app.db",
            "sqlite://user:password@server/app",
        ] {
            assert_eq!(Location::parse(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }

    #[test]
    fn what_is_none_of_ours_is_left_to_others() {
        for text in [
            "postgresql://db/app",
            "postgresql+psycopg://db/app",
            "host=/var/run/postgresql dbname=app",
            "mysql://db/app",
            "//user:password@server/app",
            "app",
            "latest",
            "20261120T020000Z",
        ] {
            assert_eq!(Location::parse(text).unwrap(), None, "{text}");
        }
    }
}
