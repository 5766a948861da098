//! Whether indexes have what their tables have.
//!
//! SQLite's `integrity_check` looks up each row in each index: a page of its own for each, where the order of an index is not
//! that of its table. Here both are read once, in their own order, and compared as multisets of entries: the values of the
//! columns and the rowid. An index must also be in its own order, and a unique one has no key twice. Where anything differs, or
//! an index is of a kind that is not read like this, SQLite's own check has the word.

use std::cmp::Ordering;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::tables::{self, quoted};
use super::value_hash::ValueHash;

/// How text is compared: SQLite's own collations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collation {
    Binary,
    Nocase,
    Rtrim,
}

/// A column of an index.
#[derive(Clone, Debug)]
struct Column {
    /// Its place among the columns of the table that are stored; `None` for the rowid.
    place: Option<usize>,
    collation: Collation,
    descending: bool,
    /// Whether it belongs to the key; else it is the rowid at the end of an entry.
    is_key: bool,
}

/// An index that can be compared.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its name.
    pub name: String,
    unique: bool,
    columns: Vec<Column>,
}

/// The indexes of a table.
#[derive(Clone, Debug, Default)]
pub struct Indexes {
    /// Those that can be compared, in the order of their names.
    pub comparable: Vec<Index>,
    /// Whether there are others: on expressions, of a part of the rows, with collations of an application, of a table without
    /// rowid.
    pub others: bool,
    /// What the rowid is called in this table.
    pub rowid: Option<&'static str>,
}

/// The entries of an index, or those that it should have: how many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    count: u64,
    sum: u128,
}

impl Entries {
    fn add(&mut self, entry: u128) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(entry);
    }

    /// Adds those of another part of the same table.
    pub fn add_all(&mut self, others: Entries) {
        self.count += others.count;
        self.sum = self.sum.wrapping_add(others.sum);
    }
}

/// The indexes of `table`, whose stored columns are `stored` (quoted).
///
/// # Errors
/// SQLite's.
pub fn of(open: &Connection, table: &str, stored: &[String]) -> rusqlite::Result<Indexes> {
    let mut found = Indexes::default();
    let mut list = open.prepare("SELECT name, \"unique\", partial FROM pragma_index_list(?1, 'main') ORDER BY name")?;
    let named = list
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<(String, bool, bool)>>>()?;
    if named.is_empty() {
        return Ok(found);
    }
    let without_rowid = "SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main'";
    let without_rowid: bool = open.query_row(without_rowid, [table], |row| row.get(0))?;
    let utf8: String = open.query_row("PRAGMA main.encoding", [], |row| row.get(0))?;
    found.rowid = tables::rowid_name(&tables::all_columns(open, table));
    let can_compare = !without_rowid && utf8 == "UTF-8" && found.rowid.is_some();
    for (name, unique, partial) in named {
        match columns(open, table, &name, stored)? {
            Some(columns) if can_compare && !partial => found.comparable.push(Index { name, unique, columns }),
            _ => found.others = true,
        }
    }
    Ok(found)
}

/// The columns of an index; nothing where one of them is not read like this.
fn columns(open: &Connection, table: &str, index: &str, stored: &[String]) -> rusqlite::Result<Option<Vec<Column>>> {
    let mut info = open.prepare(
        "SELECT i.cid, t.name, i.desc, i.coll, i.key FROM pragma_index_xinfo(?1, 'main') i
         LEFT JOIN pragma_table_xinfo(?2, 'main') t ON t.cid = i.cid ORDER BY i.seqno",
    )?;
    let mut rows = info.query([index, table])?;
    let mut columns = Vec::new();
    while let Some(row) = rows.next()? {
        let (cid, name): (i64, Option<String>) = (row.get(0)?, row.get(1)?);
        let collation: Option<String> = row.get(3)?;
        let collation = match collation.as_deref().map(str::to_ascii_uppercase).as_deref() {
            Some("BINARY") | None => Collation::Binary,
            Some("NOCASE") => Collation::Nocase,
            Some("RTRIM") => Collation::Rtrim,
            Some(_) => return Ok(None),
        };
        let place = match (cid, name) {
            (-1, _) => None,
            (_, Some(name)) => match stored.iter().position(|column| *column == quoted(&name)) {
                None => return Ok(None),
                place => place,
            },
            _ => return Ok(None),
        };
        let (descending, is_key) = (row.get(2)?, row.get(4)?);
        columns.push(Column {
            place,
            collation,
            descending,
            is_key,
        });
    }
    Ok(Some(columns))
}

impl Index {
    /// Adds the entry that this index should have for a row of its table: the values of its stored columns, then its rowid.
    pub fn expect(&self, row: &[ValueRef<'_>], hash: &mut ValueHash, entries: &mut Entries) {
        for column in &self.columns {
            hash.add(row[column.place.unwrap_or(row.len() - 1)]);
        }
        entries.add(hash.take());
    }

    /// Reads the entries that there are; nothing where they are out of order, or a key is twice in a unique index.
    ///
    /// # Errors
    /// SQLite's.
    pub fn read(
        &self,
        open: &Connection,
        table: &str,
        stored: &[String],
        rowid: &str,
    ) -> rusqlite::Result<Option<Entries>> {
        let names: Vec<&str> = self
            .columns
            .iter()
            .map(|column| column.place.map_or(rowid, |place| stored[place].as_str()))
            .collect();
        let mut statement = open.prepare(&format!(
            "SELECT {} FROM main.{} INDEXED BY {}",
            names.join(", "),
            quoted(table),
            quoted(&self.name)
        ))?;
        let mut rows = statement.query([])?;
        let (mut entries, mut hash) = (Entries::default(), ValueHash::default());
        let mut before: Vec<Kept> = Vec::new();
        while let Some(row) = rows.next()? {
            let (mut order, mut key_order, mut has_null) = (Ordering::Equal, Ordering::Equal, false);
            let is_first = before.is_empty();
            for (at, column) in self.columns.iter().enumerate() {
                let value = row.get_ref(at)?;
                hash.add(value);
                has_null |= column.is_key && value == ValueRef::Null;
                if is_first {
                    before.push(Kept::default());
                } else if order == Ordering::Equal {
                    order = compare(before[at].value(), value, column.collation);
                    if column.descending {
                        order = order.reverse();
                    }
                    if column.is_key {
                        key_order = order;
                    }
                }
                before[at].keep(value);
            }
            let is_twice = self.unique && !has_null && key_order == Ordering::Equal;
            if !is_first && (order != Ordering::Less || is_twice) {
                return Ok(None);
            }
            entries.add(hash.take());
        }
        Ok(Some(entries))
    }
}

/// A value of the entry before.
#[derive(Default)]
struct Kept {
    kind: u8,
    number: i64,
    real: f64,
    bytes: Vec<u8>,
}

impl Kept {
    fn keep(&mut self, value: ValueRef<'_>) {
        let mut bytes = |kind, text: &[u8]| {
            self.bytes.clear();
            self.bytes.extend_from_slice(text);
            kind
        };
        self.kind = match value {
            ValueRef::Null => 0,
            ValueRef::Integer(number) => {
                self.number = number;
                1
            }
            ValueRef::Real(number) => {
                self.real = number;
                2
            }
            ValueRef::Text(text) => bytes(3, text),
            ValueRef::Blob(blob) => bytes(4, blob),
        };
    }

    fn value(&self) -> ValueRef<'_> {
        match self.kind {
            0 => ValueRef::Null,
            1 => ValueRef::Integer(self.number),
            2 => ValueRef::Real(self.real),
            3 => ValueRef::Text(&self.bytes),
            _ => ValueRef::Blob(&self.bytes),
        }
    }
}

/// The order that SQLite has for values: nothing, numbers, text, blobs.
fn compare(one: ValueRef<'_>, other: ValueRef<'_>, collation: Collation) -> Ordering {
    use ValueRef::{Blob, Integer, Null, Real, Text};
    let rank = |value| match value {
        Null => 0,
        Integer(_) | Real(_) => 1,
        Text(_) => 2,
        Blob(_) => 3,
    };
    match (one, other) {
        (Integer(one), Integer(other)) => one.cmp(&other),
        (Real(one), Real(other)) => one.partial_cmp(&other).unwrap_or(Ordering::Equal),
        (Integer(one), Real(other)) => integer_and_real(one, other),
        (Real(one), Integer(other)) => integer_and_real(other, one).reverse(),
        (Text(one), Text(other)) => text(one, other, collation),
        (Blob(one), Blob(other)) => one.cmp(other),
        (one, other) => rank(one).cmp(&rank(other)),
    }
}

/// An integer is not rounded for it.
fn integer_and_real(one: i64, other: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match other {
        other if other < -LIMIT => Ordering::Greater,
        other if other >= LIMIT => Ordering::Less,
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // whole parts, within the limits
        other => one
            .cmp(&(other as i64))
            .then_with(|| (one as f64).partial_cmp(&other).unwrap_or(Ordering::Equal)),
    }
}

fn text(one: &[u8], other: &[u8], collation: Collation) -> Ordering {
    let trimmed = |text: &[u8]| text.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
    match collation {
        Collation::Binary => one.cmp(other),
        Collation::Rtrim => one[..trimmed(one)].cmp(&other[..trimmed(other)]),
        Collation::Nocase => {
            let lower = |text: &[u8]| text.to_ascii_lowercase();
            lower(one).cmp(&lower(other))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(open: &Connection, collation: &str) -> Vec<rusqlite::types::Value> {
        let mut statement = open
            .prepare(&format!("SELECT v FROM t ORDER BY v COLLATE {collation}, rowid"))
            .unwrap();
        let values = statement.query_map([], |row| row.get(0)).unwrap();
        values.map(Result::unwrap).collect()
    }

    #[test]
    fn values_are_compared_as_sqlite_does() {
        let open = Connection::open_in_memory().unwrap();
        open.execute_batch(
            "CREATE TABLE t (v);
             INSERT INTO t VALUES (NULL), (1), (1.5), (-1), (9007199254740993), (9007199254740992.0), (9223372036854775807),
                 (9.3e18), (-9.3e18), (1e300), ('a'), ('A'), ('b'), ('B '), ('b  '), (''), (' '), ('ä'), ('Ä'), (x''), (x'00'), (x'61');",
        )
        .unwrap();
        for (name, collation) in [
            ("BINARY", Collation::Binary),
            ("NOCASE", Collation::Nocase),
            ("RTRIM", Collation::Rtrim),
        ] {
            let values = sorted(&open, name);
            for pair in values.windows(2) {
                let equal: bool = open
                    .query_row(&format!("SELECT ?1 = ?2 COLLATE {name}"), [&pair[0], &pair[1]], |row| {
                        Ok(row.get::<_, Option<bool>>(0)?.unwrap_or_default())
                    })
                    .unwrap();
                let wanted = if equal { Ordering::Equal } else { Ordering::Less };
                assert_eq!(
                    compare((&pair[0]).into(), (&pair[1]).into(), collation),
                    wanted,
                    "{name}: {pair:?}"
                );
            }
        }
    }
}
