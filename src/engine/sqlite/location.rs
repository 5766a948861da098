//! Where a database file is, as people write it: a path, SQLAlchemy's URL, or SQLite's own `file:` URI.

use std::fmt;
use std::path::{Path, PathBuf};

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

/// Endings that only files of SQLite have.
const ENDINGS: [&str; 6] = [".db", ".db3", ".sqlite", ".sqlite3", ".s3db", ".sl3"];

impl Location {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Location { path: path.into() }
    }

    /// What `text` says, where it is one of SQLite's forms; `None` where it is none of them.
    ///
    /// # Errors
    /// It is a database in memory, or names no file.
    pub fn parse(text: &str) -> Result<Option<Location>, Fail> {
        let text = text.trim();
        if let Some(uri) = strip_scheme(text, "file") {
            return from_uri(text, uri).map(Some);
        }
        let text = strip_scheme(text, "jdbc").unwrap_or(text);
        if let Some(rest) = after_scheme(text) {
            return from_url(text, rest).map(Some);
        }
        let lower = text.to_ascii_lowercase();
        let is_path = !text.contains("://") && (text.contains('/') || ENDINGS.iter().any(|end| lower.ends_with(end)));
        // `host=/tmp dbname=x` is PostgreSQL's, although it has a slash.
        let is_keywords = text.split_whitespace().any(|word| word.contains('=')) && !lower.ends_with(".db");
        Ok((is_path && !is_keywords).then(|| Location::new(text)))
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

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = text.split_once(':')?;
    found.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// What follows `sqlite:`, `sqlite3:` or `sqlite+driver:`.
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let dialect = scheme.split_once('+').map_or(scheme, |(dialect, _)| dialect);
    ["sqlite", "sqlite3"]
        .iter()
        .any(|known| dialect.eq_ignore_ascii_case(known))
        .then_some(rest)
}

/// SQLAlchemy's form: three slashes and a relative path, four and an absolute one. Two slashes and a path, or none, are
/// what other frameworks write.
fn from_url(text: &str, rest: &str) -> Result<Location, Fail> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix("///").or(path.strip_prefix("//")).unwrap_or(path);
    let has = |wanted: &str| query.split('&').any(|part| part.eq_ignore_ascii_case(wanted));
    if let (Some(uri), true) = (strip_scheme(path, "file"), has("uri=true")) {
        return from_uri(text, uri);
    }
    named(text, path, has("mode=memory"))
}

/// SQLite's own URI: percent signs stand for bytes, and the authority is empty or `localhost`.
fn from_uri(text: &str, rest: &str) -> Result<Location, Fail> {
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.strip_prefix("//") {
        None => path,
        Some(after) => {
            let slash = after.find('/').unwrap_or(after.len());
            let (host, path) = after.split_at(slash);
            if !host.is_empty() && host != "localhost" {
                let message = format!("{text:?} names the machine {host:?}, and a database file is on this one");
                return Err(Fail::new(Exit::Usage, message).hint("write file:/absolute/path or file:relative/path"));
            }
            path
        }
    };
    let is_memory = query.split('&').any(|part| part == "mode=memory");
    named(text, &percent_decoded(path), is_memory)
}

fn named(text: &str, path: &str, is_memory: bool) -> Result<Location, Fail> {
    if is_memory || path.is_empty() || path == ":memory:" {
        let message = format!("{text:?} is a database in memory: there is no file to back up");
        return Err(Fail::new(Exit::Usage, message)
            .hint("name a file: sqlite:///app.db (relative), sqlite:////srv/app.db (absolute), or simply its path"));
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
            ("jdbc:sqlite:/srv/app.db", "/srv/app.db"),
            ("sqlite:///file:app.db?mode=ro&uri=true", "app.db"),
            ("file:app.db", "app.db"),
            ("file:/srv/app.db?mode=ro", "/srv/app.db"),
            ("file:///srv/my%20app.db", "/srv/my app.db"),
            ("file://localhost/srv/app.db", "/srv/app.db"),
            ("app.db", "app.db"),
            ("./app", "./app"),
            ("/srv/app.sqlite3", "/srv/app.sqlite3"),
            ("my=app.db", "my=app.db"),
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
            "app",
            "latest",
            "20261120T020000Z",
        ] {
            assert_eq!(Location::parse(text).unwrap(), None, "{text}");
        }
    }
}
