//! SQLite's own checks of a database: whether its pages hold together, and whether its rows keep the rules of their tables.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::failure::is_damage;
use super::tables::{MAIN, quoted};

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
}

/// Runs `integrity_check` and `foreign_key_check` within the transaction that `open` is in. `tables` are looked at one by
/// one where the whole cannot be checked.
///
/// # Errors
/// SQLite's, but for what the checks are about.
pub fn check(open: &Connection, tables: &[String]) -> rusqlite::Result<Findings> {
    let mut found = Findings::default();
    if let Err(error) = integrity(open, &format!("({MOST})"), &mut found) {
        if !sets_aside(&error) {
            return Err(error);
        }
        for name in tables {
            let checked = integrity(open, &format!("({})", quoted(name)), &mut found);
            note(checked, name, &mut found)?;
        }
    }
    let checked = foreign_keys(open, &mut found);
    note(checked, "foreign keys", &mut found)?;
    found.damage.truncate(MOST);
    found.violations.truncate(MOST);
    Ok(found)
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

fn integrity(open: &Connection, of: &str, found: &mut Findings) -> rusqlite::Result<()> {
    let mut statement = open.prepare(&format!("PRAGMA main.integrity_check{of}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        for line in text.lines().filter(|line| *line != "ok") {
            match is_violation(line) {
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
}
