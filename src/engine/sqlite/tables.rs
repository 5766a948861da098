//! The definitions in a database, and the rows of its tables: counted and hashed.
//!
//! The hash of a row is over its values, each with its type and its length, so that no two different rows are alike; that
//! of a table is the sum of them, so the order of rows counts for nothing. The number of a row (rowid) is part of it only
//! where it is a column: elsewhere SQLite may change it.

use std::collections::BTreeMap;
use std::io::Write as _;

use memchr::memchr_iter;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

use super::failure::is_damage;
use super::indexes::{self, Entries, Indexes};
use super::value_hash::ValueHash;
use crate::manifest::Table;
use crate::reuse::emptied;
use crate::row_hash::RowHash;

/// The schema that tables of the file itself are in.
pub const MAIN: &str = "main";

/// What `sqlite_schema` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// SHA-256 (hex) of all of them.
    pub hash: String,
    /// How many there are of each type.
    pub entries: BTreeMap<String, u64>,
    /// The tables that have rows of their own.
    pub tables: Vec<String>,
    /// Virtual tables, and the module of each: their rows are in tables of their own.
    pub virtual_tables: Vec<(String, String)>,
}

/// Reads the definitions.
///
/// # Errors
/// SQLite's.
pub fn definitions(open: &Connection) -> rusqlite::Result<Definitions> {
    let mut found = Definitions::default();
    let mut hash = Sha256::new();
    let mut statement = open.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name COLLATE BINARY, tbl_name COLLATE BINARY",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..4 {
            let text = match row.get_ref(column)? {
                ValueRef::Text(text) | ValueRef::Blob(text) => text,
                _ => b"",
            };
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let text = |column| row.get::<_, Option<String>>(column).ok().flatten().unwrap_or_default();
        let (mut kind, name) = (text(0).to_ascii_uppercase(), text(1));
        if kind == "TABLE" {
            match module(&text(3)) {
                Some(module) => {
                    "VIRTUAL TABLE".clone_into(&mut kind);
                    found.virtual_tables.push((name, module));
                }
                None => found.tables.push(name),
            }
        }
        *found.entries.entry(kind).or_default() += 1;
    }
    found.hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(found)
}

/// The module of `CREATE VIRTUAL TABLE … USING module(…)`; nothing of another statement. SQLite keeps the words of such a
/// statement in this form.
fn module(sql: &str) -> Option<String> {
    const BEGIN: &str = "CREATE VIRTUAL TABLE";
    let begins = sql
        .get(..BEGIN.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(BEGIN));
    if !begins {
        return None;
    }
    let using = sql
        .to_ascii_uppercase()
        .find("USING")
        .map_or(sql.len(), |at| at + "USING".len());
    let rest = sql.get(using..).unwrap_or_default().trim_start();
    let end = rest
        .find(|c: char| c == '(' || c.is_whitespace() || c == ';')
        .unwrap_or(rest.len());
    Some(rest[..end].trim_matches(['"', '`', '[', ']']).to_owned())
}

/// Which modules there are here.
///
/// # Errors
/// SQLite's.
pub fn modules(open: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = open.prepare("SELECT name FROM pragma_module_list")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Why the rows of a table could not be read.
pub enum Unread {
    /// The file is damaged.
    Damaged(String),
    /// Something that the table needs is not here: a function, a collation.
    NotProvable(String),
    /// Anything else, which ends the run.
    Failed(rusqlite::Error),
}

/// The rows of a table or of a part of it, and the entries that its indexes should have for them.
pub struct Hashed {
    /// The rows.
    pub rows: RowHash,
    /// For each index that can be compared, by name.
    pub entries: Vec<(String, Entries)>,
}

impl Hashed {
    /// Adds another part of the same table.
    pub fn add(&mut self, other: Hashed) {
        self.rows += other.rows;
        for ((_, entries), (_, others)) in self.entries.iter_mut().zip(other.entries) {
            entries.add_all(others);
        }
    }

    /// What a manifest says of the table `name`, all of whose rows these are.
    #[must_use]
    pub fn table(&self, name: &str) -> Table {
        Table {
            schema: MAIN.to_owned(),
            name: name.to_owned(),
            partition_of: None,
            rows: self.rows.rows,
            bytes: self.rows.bytes,
            hash: self.rows.hash(),
        }
    }
}

/// Rows whose number is above the first and not above the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// What the number is called in this table.
    pub rowid: &'static str,
    /// `None` where there is no limit.
    pub above: Option<i64>,
    /// `None` where there is no limit.
    pub up_to: Option<i64>,
}

/// Counts and hashes the rows of one table.
///
/// # Errors
/// They cannot be read.
pub fn table(open: &Connection, name: &str) -> Result<Hashed, Unread> {
    part(open, name, None)
}

/// Counts and hashes those of the rows of a table that have these numbers, or all.
///
/// # Errors
/// They cannot be read.
pub fn part(open: &Connection, name: &str, numbers: Option<Numbers>) -> Result<Hashed, Unread> {
    hashed(open, name, numbers).map_err(|error| match error {
        error if is_damage(&error) => Unread::Damaged(format!("the rows of {name} cannot be read: {error}")),
        error if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => {
            Unread::NotProvable(format!("{name}: {error}"))
        }
        rusqlite::Error::SqlInputError { msg, .. } => Unread::NotProvable(format!("{name}: {msg}")),
        error => Unread::Failed(error),
    })
}

fn hashed(open: &Connection, name: &str, numbers: Option<Numbers>) -> rusqlite::Result<Hashed> {
    let columns = columns(open, name)?;
    let indexes = indexes::of(open, name, &columns)?;
    read(open, name, &columns, &indexes, numbers)
}

/// Counts and hashes the rows of one table by these `columns`.
///
/// # Errors
/// SQLite's.
pub fn hash(open: &Connection, name: &str, columns: &[String]) -> rusqlite::Result<Table> {
    let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    Ok(read(open, name, &columns, &Indexes::default(), None)?.table(name))
}

/// Reads the rows of a table by these `columns`, which are quoted.
fn read(
    open: &Connection,
    name: &str,
    columns: &[String],
    indexes: &Indexes,
    numbers: Option<Numbers>,
) -> rusqlite::Result<Hashed> {
    let rowid = if indexes.comparable.is_empty() {
        None
    } else {
        indexes.rowid
    };
    let selected: Vec<&str> = columns.iter().map(String::as_str).chain(rowid).collect();
    // An index may have less than the table in a damaged file: what counts is the table.
    let mut sql = format!("SELECT {} FROM main.{} NOT INDEXED", selected.join(", "), quoted(name));
    if let Some(Numbers { rowid, above, up_to }) = numbers {
        let limit = |sign, number: Option<i64>| number.map(|number| format!("{rowid} {sign} {number}"));
        let limits: Vec<String> = [limit(">", above), limit("<=", up_to)].into_iter().flatten().collect();
        sql = format!("{sql} WHERE {}", limits.join(" AND "));
    }
    let mut statement = open.prepare(&sql)?;
    let mut sum = RowHash::default();
    let mut entries = vec![Entries::default(); indexes.comparable.len()];
    let mut hash = ValueHash::default();
    let mut rows = statement.query([])?;
    let mut kept: Vec<ValueRef<'static>> = Vec::with_capacity(selected.len());
    while let Some(row) = rows.next()? {
        let mut values = emptied(kept);
        for column in 0..selected.len() {
            values.push(row.get_ref(column)?);
        }
        let bytes = values[..columns.len()].iter().map(|value| hash.add(*value)).sum();
        sum.add_row(bytes, hash.take());
        for (index, entries) in indexes.comparable.iter().zip(&mut entries) {
            index.expect(&values, &mut hash, entries);
        }
        kept = emptied(values);
    }
    let names = indexes.comparable.iter().map(|index| index.name.clone());
    Ok(Hashed {
        rows: sum,
        entries: names.zip(entries).collect(),
    })
}

/// The columns of a `SELECT`.
fn list(columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    quoted.join(", ")
}

/// The columns that are stored: values that are computed when they are read follow from the others.
///
/// # Errors
/// SQLite's.
pub fn columns(open: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    Ok(stored_columns(open, table)?.iter().map(|name| quoted(name)).collect())
}

/// The same, not quoted.
///
/// # Errors
/// SQLite's.
pub fn stored_columns(open: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        open.prepare("SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden IN (0, 3) ORDER BY cid")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

/// All columns of a table, those that are computed too; none where they cannot be read.
pub fn all_columns(open: &Connection, table: &str) -> Vec<String> {
    let names = || -> rusqlite::Result<Vec<String>> {
        let mut names = open.prepare("SELECT name FROM pragma_table_xinfo(?1, 'main')")?;
        names.query_map([table], |row| row.get(0))?.collect()
    };
    names().unwrap_or_default()
}

/// What the number of a row is called in a table with these columns; nothing where they have all of its names.
#[must_use]
pub fn rowid_name(columns: &[String]) -> Option<&'static str> {
    let is_free = |name: &&str| !columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    ["rowid", "_rowid_", "oid"].into_iter().find(is_free)
}

/// The columns of the primary key of a table, in their order in it.
///
/// # Errors
/// SQLite's.
pub fn key(open: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = open.prepare("SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE pk > 0 ORDER BY pk")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

/// Hands the values of each row of a table to `each`, written as SQL writes them, until that says that it is enough.
///
/// # Errors
/// SQLite's, or those of `each`.
pub fn rows(
    open: &Connection,
    name: &str,
    columns: &[String],
    each: &mut dyn FnMut(&[&[u8]]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let sql = format!("SELECT {} FROM main.{} NOT INDEXED", list(columns), quoted(name));
    let mut statement = open.prepare(&sql)?;
    let mut rows = statement.query([])?;
    // What a row needs is kept for the next one.
    let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(columns.len()));
    let mut kept: Vec<&'static [u8]> = Vec::with_capacity(columns.len());
    while let Some(row) = rows.next()? {
        text.clear();
        ends.clear();
        for column in 0..columns.len() {
            literal(row.get_ref(column)?, &mut text)?;
            ends.push(text.len());
        }
        let mut fields = emptied(kept);
        let mut start = 0;
        for end in &ends {
            fields.push(&text[start..*end]);
            start = *end;
        }
        let more = each(&fields)?;
        kept = emptied(fields);
        if !more {
            break;
        }
    }
    Ok(())
}

/// Writes a value as SQL writes it.
fn literal(value: ValueRef<'_>, to: &mut Vec<u8>) -> std::io::Result<()> {
    match value {
        ValueRef::Null => to.extend_from_slice(b"NULL"),
        ValueRef::Integer(number) => write!(to, "{number}")?,
        ValueRef::Real(number) => write!(to, "{number:?}")?,
        ValueRef::Text(text) => {
            to.push(b'\'');
            let mut start = 0;
            for quote in memchr_iter(b'\'', text) {
                to.extend_from_slice(&text[start..=quote]);
                start = quote;
            }
            to.extend_from_slice(&text[start..]);
            to.push(b'\'');
        }
        ValueRef::Blob(bytes) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            to.extend_from_slice(b"x'");
            for byte in bytes {
                to.push(DIGITS[usize::from(byte >> 4)]);
                to.push(DIGITS[usize::from(byte & 15)]);
            }
            to.push(b'\'');
        }
    }
    Ok(())
}

/// What `sqlite_schema` says of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// `table`, `index`, `view`, `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table that it belongs to.
    pub table: String,
    /// Its statement; none of what another statement made.
    pub sql: Option<String>,
}

/// All objects in the order of their names.
///
/// # Errors
/// SQLite's.
pub fn objects(open: &Connection) -> rusqlite::Result<Vec<Definition>> {
    let mut statement = open.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")?;
    let found = statement.query_map([], |row| {
        Ok(Definition {
            kind: row.get(0)?,
            name: row.get(1)?,
            table: row.get(2)?,
            sql: row.get(3)?,
        })
    })?;
    found.collect()
}

/// A name in a statement.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Connection {
        let open = Connection::open_in_memory().unwrap();
        open.execute_batch(sql).unwrap();
        open
    }

    fn hashed(sql: &str) -> (u64, String) {
        let table = table(&of(sql), "t").unwrap_or_else(|_| panic!("{sql}")).table("t");
        (table.rows, table.hash)
    }

    #[test]
    fn order_and_rowid_do_not_count_but_values_and_their_types_do() {
        let make = "CREATE TABLE t (a, b);";
        let same = [
            "INSERT INTO t VALUES (1, 'x'), (2, NULL)",
            "INSERT INTO t VALUES (2, NULL), (1, 'x')",
            "INSERT INTO t (rowid, a, b) VALUES (9, 2, NULL), (7, 1, 'x')",
        ];
        let hashes = same.map(|sql| hashed(&format!("{make}{sql}")));
        assert!(
            hashes.iter().all(|hash| *hash == hashes[0] && hash.0 == 2),
            "{hashes:?}"
        );
        let others = [
            "INSERT INTO t VALUES (1, 'x'), (2, '')",
            "INSERT INTO t VALUES ('1', 'x'), (2, NULL)",
            "INSERT INTO t VALUES (1.0, x'78'), (2, NULL)",
            "INSERT INTO t VALUES ('x', 1), (NULL, 2)",
            "INSERT INTO t VALUES (1, 'x'), (2, NULL), (2, NULL)",
        ];
        for sql in others {
            assert_ne!(hashed(&format!("{make}{sql}")), hashes[0], "{sql}");
        }
        assert_ne!(
            hashed("CREATE TABLE t (a, b); INSERT INTO t VALUES ('ab', 'c')"),
            hashed("CREATE TABLE t (a, b); INSERT INTO t VALUES ('a', 'bc')")
        );
        assert_ne!(
            hashed("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'x')"),
            hashed("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (2, 'x')")
        );
    }

    #[test]
    fn every_kind_of_table_is_read_and_odd_names_are_no_trouble() {
        let open = of(
            "CREATE TABLE \"odd \"\" name\" (\"a \"\" b\" TEXT PRIMARY KEY, n INT GENERATED ALWAYS AS (length(\"a \"\" b\")) STORED, \
                 v INT GENERATED ALWAYS AS (n * 2) VIRTUAL) WITHOUT ROWID;
             INSERT INTO \"odd \"\" name\" (\"a \"\" b\") VALUES ('one'), ('two');
             CREATE TABLE s (a INTEGER, b ANY) STRICT;
             CREATE VIRTUAL TABLE f USING fts5(body);
             INSERT INTO f VALUES ('words to find');
             CREATE VIEW w AS SELECT 1; CREATE INDEX i ON s (a);",
        );
        let found = definitions(&open).unwrap();
        assert_eq!(found.virtual_tables, [("f".to_owned(), "fts5".to_owned())]);
        assert_eq!(found.entries["VIRTUAL TABLE"], 1);
        assert_eq!(found.entries["VIEW"], 1);
        assert!(found.tables.contains(&"f_content".to_owned()));
        for name in &found.tables {
            assert!(table(&open, name).is_ok(), "{name}");
        }
        assert_eq!(table(&open, "odd \" name").unwrap_or_else(|_| panic!()).rows.rows, 2);
        assert!(modules(&open).unwrap().contains(&"fts5".to_owned()));
    }

    #[test]
    fn values_are_written_as_sqlite_itself_quotes_them() {
        let open = of(
            "CREATE TABLE t (a); INSERT INTO t VALUES (NULL), (-7), (1.5), (''), (''''), ('it''s ''two'), (x''), (x'00ffA0')",
        );
        let mut quoted = open.prepare("SELECT quote(a) FROM t").unwrap();
        let wanted = quoted.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let wanted: Vec<String> = wanted.map(Result::unwrap).collect();
        let mut found = Vec::new();
        let mut each = |values: &[&[u8]]| {
            let text = String::from_utf8(values[0].to_vec()).unwrap();
            // SQLite writes its blobs in capitals.
            found.push(match text.starts_with('x') {
                true => text.to_uppercase(),
                false => text,
            });
            Ok(true)
        };
        rows(&open, "t", &["a".to_owned()], &mut each).unwrap();
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_hash_of_definitions_is_theirs_alone() {
        let one = definitions(&of("CREATE TABLE a (x); CREATE TABLE b (y)")).unwrap();
        let same = definitions(&of("CREATE TABLE b (y); CREATE TABLE a (x); INSERT INTO a VALUES (1)")).unwrap();
        let other = definitions(&of("CREATE TABLE a (x); CREATE TABLE b (z)")).unwrap();
        assert_eq!(one.hash, same.hash);
        assert_ne!(one.hash, other.hash);
    }
}
