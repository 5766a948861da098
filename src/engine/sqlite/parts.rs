//! The rows of a database in parts, which two connections count and hash between them: none of them is done long before the other.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::tables::{self, Hashed, Numbers, Unread, quoted};

/// Numbers of rows that are worth another part.
const PART: i64 = 50_000;
/// No table has more parts: they are for two connections.
const MOST: i64 = 16;

/// A table, or a part of one.
struct Part {
    /// Its place in the list of tables.
    table: usize,
    numbers: Option<Numbers>,
}

/// Parts that nobody has read yet, and what was read of the others.
pub struct Parts<'a> {
    names: &'a [String],
    waiting: Mutex<VecDeque<Part>>,
    /// Of each table, in their order; nothing where none of it was read.
    read: Mutex<Vec<Option<Result<Hashed, Unread>>>>,
}

impl<'a> Parts<'a> {
    /// Cuts the tables with these `names` into parts.
    pub fn new(open: &Connection, names: &'a [String]) -> Self {
        let parts = |(table, name): (usize, &String)| {
            let cuts = cuts(open, name).into_iter();
            cuts.map(move |numbers| Part { table, numbers })
        };
        Parts {
            names,
            waiting: Mutex::new(names.iter().enumerate().flat_map(parts).collect()),
            read: Mutex::new(names.iter().map(|_| None).collect()),
        }
    }

    /// Reads parts until none is left. More than one connection may do so at once. Says whether something failed that ends the run.
    pub fn work(&self, open: &Connection) -> bool {
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(part) = next else { return false };
            let hashed = tables::part(open, &self.names[part.table], part.numbers);
            let failed = matches!(hashed, Err(Unread::Failed(_)));
            if failed {
                // Nothing else needs to be read.
                self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            let whole = &mut read[part.table];
            match (whole.as_mut(), hashed) {
                (None, hashed) => *whole = Some(hashed),
                (Some(Ok(sum)), Ok(more)) => sum.add(more),
                (Some(Ok(_)), Err(error)) | (Some(Err(_)), Err(error @ Unread::Failed(_))) => *whole = Some(Err(error)),
                // What was wrong with it first is what is told.
                (Some(Err(_)), _) => {}
            }
            if failed {
                return true;
            }
        }
    }

    /// What was read of each table.
    pub fn read(self) -> impl Iterator<Item = (&'a String, Result<Hashed, Unread>)> {
        let read = self.read.into_inner().unwrap_or_else(PoisonError::into_inner);
        let all = self.names.iter().zip(read);
        all.filter_map(|(name, read)| read.map(|read| (name, read)))
    }
}

/// The parts of a table; `None` is all of it.
fn cuts(open: &Connection, table: &str) -> Vec<Option<Numbers>> {
    let ends = |rowid: &str| -> rusqlite::Result<(i64, i64)> {
        let end = |which: &str| format!("(SELECT {which}({rowid}) FROM main.{} NOT INDEXED)", quoted(table));
        let sql = format!("SELECT {}, {}", end("min"), end("max"));
        open.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    // A table without rows or rowid, or one that cannot be read, is one part.
    let rowid = tables::rowid_name(&tables::all_columns(open, table));
    let Some((rowid, (first, last))) = rowid.and_then(|rowid| Some((rowid, ends(rowid).ok()?))) else {
        return vec![None];
    };
    let span = last.saturating_sub(first);
    let count = (span / PART).clamp(1, MOST);
    if count == 1 {
        return vec![None];
    }
    let cut = |at: i64| (at > 0 && at < count).then(|| first.saturating_add(span / count * at));
    let part = |at| Numbers {
        rowid,
        above: cut(at),
        up_to: cut(at + 1),
    };
    (0..count).map(|at| Some(part(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows from 1 to 200,000, and one whose number is the highest that there is.
    const MANY: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE INDEX i ON t (a);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) INSERT INTO t SELECT i, i % 77 FROM n;
        CREATE TABLE odd (rowid, _rowid_, oid); INSERT INTO odd VALUES (-9223372036854775808, 1, 9223372036854775807);
        CREATE TABLE w (a PRIMARY KEY) WITHOUT ROWID; INSERT INTO w VALUES (1), (1000000); CREATE TABLE empty (a);";

    #[test]
    fn parts_are_all_of_a_table_and_nothing_twice() {
        for more in [
            "",
            "INSERT INTO t VALUES (9223372036854775807, 1), (-9223372036854775808, 2)",
        ] {
            let open = Connection::open_in_memory().unwrap();
            open.execute_batch(&format!("{MANY}{more}")).unwrap();
            let names = ["t", "odd", "w", "empty"].map(str::to_owned);
            let parts = Parts::new(&open, &names);
            assert!(parts.waiting.lock().unwrap().len() > names.len() + 1);
            parts.work(&open);
            for (name, read) in parts.read() {
                let (read, whole) = (read.unwrap_or_else(|_| panic!("{name}")), tables::table(&open, name));
                let whole = whole.unwrap_or_else(|_| panic!("{name}"));
                assert_eq!((read.rows, read.entries), (whole.rows, whole.entries), "{name}");
            }
        }
    }
}
