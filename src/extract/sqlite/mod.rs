//! Parts of a database file of SQLite, which was unpacked for it: there is no way into the middle of a packed file.

mod definition;
mod script;
mod table;
mod value;

use std::io::Write;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::format::Format;
use super::key::Key;
use crate::engine::sqlite::failure::explain;
use crate::engine::sqlite::open::immutable;
use crate::engine::sqlite::scratch::Scratch;
use crate::error::Result;

/// A database that was unpacked.
pub struct Database {
    scratch: Scratch,
}

/// An object, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// What it is: `table`, `virtual table`, `index`, `trigger`, `view`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table that it is of.
    pub table: String,
    /// Its definition; an index that a constraint brings along has none.
    pub sql: Option<String>,
}

impl Database {
    /// The one in `scratch`.
    #[must_use]
    pub fn new(scratch: Scratch) -> Self {
        Database { scratch }
    }

    /// Does something with it.
    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let path: &Path = self.scratch.path();
        let open = immutable(path)?;
        work(&open).map_err(|error| match error.downcast::<rusqlite::Error>() {
            Ok(error) => explain(error, path),
            Err(error) => error,
        })
    }

    /// Writes the rows of the table that `word` means, or the one with the key `values`, to `out`. Returns how many, the
    /// table, and the key.
    ///
    /// # Errors
    /// There is no such table, or it is damaged, or `out` cannot be written to.
    pub fn table(
        &self,
        word: &str,
        format: Format,
        values: &[String],
        out: &mut (dyn Write + Send),
    ) -> Result<(u64, String, Option<Key>)> {
        self.with(|open| table::write(open, &objects(open)?, word, format, values, out))
    }

    /// The definition of the object that `word` means.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn definition(&self, word: &str) -> Result<String> {
        self.with(|open| definition::text(word, &objects(open)?))
    }

    /// All objects.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn objects(&self) -> Result<Vec<Object>> {
        self.with(|open| Ok(objects(open)?))
    }

    /// Writes all of it as SQL.
    ///
    /// # Errors
    /// It is damaged, or `out` cannot be written to.
    pub fn script(&self, out: &mut (dyn Write + Send)) -> Result<()> {
        self.with(|open| script::write(open, &objects(open)?, out))
    }
}

/// All objects, in the order in which they were made.
fn objects(open: &Connection) -> rusqlite::Result<Vec<Object>> {
    let mut statement = open.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")?;
    let object = |row: &rusqlite::Row<'_>| {
        let (kind, sql): (String, Option<String>) = (row.get(0)?, row.get(3)?);
        let is_virtual = kind == "table" && sql.as_deref().is_some_and(is_virtual);
        Ok(Object {
            kind: if is_virtual { "virtual table".to_owned() } else { kind },
            name: row.get(1)?,
            table: row.get(2)?,
            sql,
        })
    };
    statement.query_map([], object)?.collect()
}

/// SQLite keeps the first words of a statement in this form.
fn is_virtual(sql: &str) -> bool {
    const BEGIN: &str = "CREATE VIRTUAL TABLE";
    sql.get(..BEGIN.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(BEGIN))
}
