//! SQLite's own checks of a database: whether its pages hold together, and whether its rows keep the rules of their tables.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::failure::is_damage;
use super::indexes::{self, Entries};
use super::tables::{self, MAIN, quoted};

/// How many findings are listed.
const MOST: usize = 50;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The file is damaged.
    pub damage: Vec<String>,
    /// Rows break the rules of their tables.
    pub violations: Vec<String>,
    /// What could not be checked here, as something that a table needs is not there.
    pub not_provable: Vec<String>,
    /// What the indexes have that are compared with their tables, by table and index.
    pub entries: BTreeMap<(String, String), Entries>,
}

/// Looks at everything that `integrity_check` and `foreign_key_check` look at, within the transaction that `open` is in. What
/// indexes have is among the findings, to be compared with the rows of their tables.
///
/// # Errors
/// SQLite's, but for what the checks are about.
pub fn check(open: &Connection, tables: &[String]) -> rusqlite::Result<Findings> {
    let mut found = Findings::default();
    // It is all of `integrity_check` but the indexes, at a fraction of its cost.
    let quick = pragma(open, &format!("quick_check({MOST})"), &mut found);
    if quick.is_err() || !found.damage.is_empty() {
        found = Findings::default();
        whole(open, tables, &mut found)?;
    } else {
        for name in tables {
            let checked = indexes(open, name, &mut found);
            note(checked, name, &mut found)?;
        }
    }
    let checked = foreign_keys(open, &mut found);
    note(checked, "foreign keys", &mut found)?;
    found.damage.truncate(MOST);
    found.violations.truncate(MOST);
    Ok(found)
}

/// Runs `integrity_check`; `tables` are looked at one by one where the whole cannot be checked.
fn whole(open: &Connection, tables: &[String], found: &mut Findings) -> rusqlite::Result<()> {
    if let Err(error) = pragma(open, &format!("integrity_check({MOST})"), found) {
        if !sets_aside(&error) {
            return Err(error);
        }
        for name in tables {
            let checked = integrity(open, name, found);
            note(checked, name, found)?;
        }
    }
    Ok(())
}

/// Reads the indexes of a table, or lets SQLite check those that are not compared here.
fn indexes(open: &Connection, table: &str, found: &mut Findings) -> rusqlite::Result<()> {
    let columns = tables::columns(open, table)?;
    let indexes = indexes::of(open, table, &columns)?;
    if indexes.others {
        return integrity(open, table, found);
    }
    for index in indexes.comparable {
        let read = index.read(open, table, &columns, indexes.rowid.unwrap_or_default());
        let Ok(Some(entries)) = read else {
            // What is wrong, or whether anything is, SQLite says itself.
            return integrity(open, table, found);
        };
        let key = (table.to_owned(), index.name);
        found.entries.insert(key, entries);
    }
    Ok(())
}

/// Compares what the indexes of `table` have with what they should have. Where one differs, SQLite says what is wrong.
///
/// # Errors
/// SQLite's, but for what the checks are about.
pub fn compare(
    open: &Connection,
    table: &str,
    wanted: &[(String, Entries)],
    found: &mut Findings,
) -> rusqlite::Result<()> {
    let differs = |(index, wanted): &(String, Entries)| {
        let there = found.entries.get(&(table.to_owned(), index.clone()));
        there.is_some_and(|there| there != wanted)
    };
    if !wanted.iter().any(differs) {
        return Ok(());
    }
    let checked = integrity(open, table, found);
    note(checked, table, found)
}

/// Whether an error says that something is missing here, and not that reading failed.
fn sets_aside(error: &rusqlite::Error) -> bool {
    let is_missing = matches!(error, rusqlite::Error::SqlInputError { .. })
        || error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown);
    is_missing || is_damage(error)
}

fn note(checked: rusqlite::Result<()>, what: &str, found: &mut Findings) -> rusqlite::Result<()> {
    match checked {
        Err(error) if is_damage(&error) => found.damage.push(format!("{what}: {error}")),
        Err(error) if sets_aside(&error) => found.not_provable.push(format!("{what}: {error}")),
        checked => return checked,
    }
    Ok(())
}

/// Runs `integrity_check` on one table.
fn integrity(open: &Connection, table: &str, found: &mut Findings) -> rusqlite::Result<()> {
    pragma(open, &format!("integrity_check({})", quoted(table)), found)
}

fn pragma(open: &Connection, check: &str, found: &mut Findings) -> rusqlite::Result<()> {
    let mut statement = open.prepare(&format!("PRAGMA main.{check}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        for line in text.lines().filter(|line| *line != "ok") {
            match is_violation(line) {
                // A table that is looked at again has the same to say.
                true if found.violations.iter().any(|known| known == line) => {}
                true => found.violations.push(line.to_owned()),
                false => found.damage.push(line.to_owned()),
            }
        }
    }
    Ok(())
}

/// What `integrity_check` says of a row that is whole, but not as its table wants it: such rows come in where a rule is added
/// later, and are read as any other.
fn is_violation(line: &str) -> bool {
    [
        "CHECK constraint failed in ",
        "NULL value in ",
        "NUMERIC value in ",
        "TEXT value in ",
        "non-INT value in ",
    ]
    .iter()
    .any(|start| line.starts_with(start))
        || (line.starts_with("non-") && line.contains(" value in "))
}

fn foreign_keys(open: &Connection, found: &mut Findings) -> rusqlite::Result<()> {
    let broken = broken_references(open, MAIN)?;
    found
        .violations
        .extend(broken.iter().map(|(what, count)| format!("{what}: {count}")));
    Ok(())
}

/// Which tables of a schema have rows that refer to rows that are not there, and how many.
///
/// # Errors
/// SQLite's.
pub fn broken_references(open: &Connection, schema: &str) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut statement = open.prepare(&format!("PRAGMA {schema}.foreign_key_check"))?;
    let mut rows = statement.query([])?;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *counts.entry((row.get(0)?, row.get(2)?)).or_default() += 1;
    }
    let sentence = |((table, parent), count)| {
        (
            format!("rows of {table} refer to rows of {parent} that are not there"),
            count,
        )
    };
    Ok(counts.into_iter().map(sentence).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_rules_are_no_damage() {
        let open = Connection::open_in_memory().unwrap();
        open.execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;
             CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p, n CHECK (n > 0));
             INSERT INTO c VALUES (7, -1), (8, 1); PRAGMA ignore_check_constraints = OFF;",
        )
        .unwrap();
        let found = check(&open, &[]).unwrap();
        assert_eq!(found.damage, Vec::<String>::new());
        assert_eq!(
            found.violations,
            [
                "CHECK constraint failed in c",
                "rows of c refer to rows of p that are not there: 2"
            ]
        );
    }

    /// Everything that a backup finds in a database, and what `integrity_check` says of it.
    fn both(open: &Connection) -> (Findings, String) {
        let names = tables::definitions(open).unwrap().tables;
        let mut found = check(open, &names).unwrap();
        for name in &names {
            let hashed = tables::table(open, name).unwrap_or_else(|_| panic!("{name}"));
            compare(open, name, &hashed.entries, &mut found).unwrap();
        }
        let said = open.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        (found, said)
    }

    const INDEXED: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b REAL, c, d INT UNIQUE, e TEXT);
         CREATE INDEX t_a ON t (a, b DESC); CREATE INDEX t_c ON t (c COLLATE RTRIM DESC, id); CREATE INDEX t_e ON t (e);
         CREATE TABLE p (a, b); CREATE INDEX p_part ON p (a) WHERE b > 3; CREATE INDEX p_expression ON p (a + b);
         CREATE TABLE w (a TEXT PRIMARY KEY, b) WITHOUT ROWID; CREATE INDEX w_b ON w (b);
         CREATE TABLE r (rowid, _rowid_ TEXT, x); CREATE INDEX r_x ON r (x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT i, CASE i % 3 WHEN 0 THEN 'a' || i WHEN 1 THEN 'A' || i ELSE NULL END, i % 7,
             CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN i WHEN 2 THEN i / 7.0 WHEN 3 THEN 'x' || i % 9 || ' ' ELSE x'00ff' END,
             NULLIF(i, 17), hex(randomblob(5)) FROM n;
         INSERT INTO p SELECT id, b FROM t; INSERT INTO w SELECT 'k' || id, b FROM t; INSERT INTO r SELECT id, a, b FROM t;";

    #[test]
    fn indexes_of_every_kind_are_as_their_tables() {
        let open = Connection::open_in_memory().unwrap();
        open.execute_batch(INDEXED).unwrap();
        let (found, said) = both(&open);
        assert_eq!((found.damage, said.as_str()), (Vec::new(), "ok"));
        // Those of table t and r, read once instead of looked up row by row.
        let compared: Vec<_> = found.entries.keys().map(|(_, index)| index.as_str()).collect();
        assert_eq!(compared, ["r_x", "sqlite_autoindex_t_1", "t_a", "t_c", "t_e"]);
    }

    #[test]
    fn an_index_that_differs_from_its_table_is_damage() {
        for (index, changed) in [
            ("t_e", "CREATE INDEX t_e ON t (a)"),
            ("t_a", "CREATE INDEX t_a ON t (a, b)"),
            ("t_a", "CREATE INDEX t_a ON t (a COLLATE BINARY, b DESC)"),
            ("p_part", "CREATE INDEX p_part ON p (a)"),
            ("p_expression", "CREATE INDEX p_expression ON p (a)"),
            ("w_b", "CREATE INDEX w_b ON w (b DESC)"),
            ("r_x", "CREATE INDEX r_x ON r (_rowid_)"),
        ] {
            let open = Connection::open_in_memory().unwrap();
            open.execute_batch(INDEXED).unwrap();
            // What an index says of itself is no longer what it has.
            open.execute_batch("PRAGMA writable_schema = ON").unwrap();
            let set = "UPDATE sqlite_schema SET sql = ?1 WHERE name = ?2";
            assert_eq!(open.execute(set, [changed, index]).unwrap(), 1);
            open.execute_batch("PRAGMA writable_schema = RESET").unwrap();
            let (found, said) = both(&open);
            assert_ne!(said, "ok", "{changed}");
            assert!(
                found.damage.contains(&said.lines().next().unwrap().to_owned()),
                "{changed}: {found:?}, {said}"
            );
        }
    }
}
