//! Single tables of what was unpacked take the place of those in a live file, in one transaction: with their rows, indexes
//! and triggers, as they were in the backup. All else stays. Whoever has the file open sees all of it at once, or nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::failure::explain;
use super::locked::patiently;
use super::put::Put;
use super::tables::{self, MAIN, Unread, quoted};
use super::unchanged::State;
use super::{integrity, open};
use crate::error::{Exit, Fail, Result};
use crate::manifest::{SqliteFacts, Table};

/// The name that the unpacked database has beside the live one.
const BACKUP: &str = "snapback_backup";

/// Which tables are put, and where they come from.
pub struct Tables<'a> {
    /// The unpacked database, which nobody else has.
    pub from: &'a Path,
    /// Their names.
    pub names: &'a [String],
    /// What their rows must be.
    pub wanted: &'a [Table],
    /// A table that the unpacked database does not have is dropped: an undo of tables that were not there before.
    pub drop_missing: bool,
}

impl Tables<'_> {
    /// Puts them into the live file `to`, if that is still what it was in `state`; waits up to `wait` for the locks of others.
    /// Blocks: not for async tasks.
    ///
    /// # Errors
    /// [`Exit::Unreachable`]: others have locks on it. Whatever fails, the live database is what it was.
    pub fn into_live(&self, to: &Path, state: Option<&State>, wait: Duration) -> Result<Put> {
        let live = open::for_writing(to)?;
        self.put(&live, to, state, Instant::now() + wait)
    }

    /// Puts them into the new, empty file `to`, which becomes a database like the one that `facts` are of.
    ///
    /// # Errors
    /// The disk is full, or a table cannot be made here.
    pub fn into_new(&self, to: &Path, facts: &SqliteFacts) -> Result<()> {
        let new = open::for_writing(to)?;
        let settings = format!(
            "PRAGMA journal_mode = MEMORY; PRAGMA page_size = {}; PRAGMA auto_vacuum = {}; PRAGMA encoding = '{}'",
            facts.page_size, facts.auto_vacuum, facts.encoding
        );
        new.execute_batch(&settings).map_err(|error| explain(error, to))?;
        self.put(&new, to, None, Instant::now()).map(|_| ())
    }

    fn put(&self, live: &Connection, to: &Path, state: Option<&State>, until: Instant) -> Result<Put> {
        let failed = |error| explain(error, to);
        // Rules are looked at when all tables are there; a row that broke one in the backup comes back as it was.
        live.execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; PRAGMA temp_store = MEMORY",
        )
        .map_err(failed)?;
        let uri = open::immutable_uri(self.from);
        // It reads the definitions of the live file, which others may have locked.
        let attach = || match live.execute(&format!("ATTACH ?1 AS {BACKUP}"), [&uri]) {
            Err(error) if encodings_differ(&error) => Ok(false),
            attached => attached.map(|_| true),
        };
        if !patiently(to, until, attach)? {
            let message = format!("{} has another text encoding than the backup", to.display());
            return Err(Fail::new(Exit::Usage, message)
                .hint("restore the backup as a whole, or beside it with --mode new --as FILE")
                .into());
        }
        patiently(to, until, || live.execute_batch("BEGIN IMMEDIATE"))?;
        if !state.map_or(Ok(true), State::is_still)? {
            live.execute_batch("ROLLBACK").map_err(failed)?;
            return Ok(Put::Written);
        }
        let begun = Instant::now();
        let replaced = self
            .replace(live, to)
            .and_then(|()| patiently(to, until, || live.execute_batch("COMMIT")));
        if let Err(error) = replaced {
            // Where even this fails, closing the connection does it.
            let _ = live.execute_batch("ROLLBACK");
            return Err(error);
        }
        Ok(Put::Done(begun.elapsed()))
    }

    /// What happens within the transaction.
    fn replace(&self, live: &Connection, to: &Path) -> Result<()> {
        let before = [MAIN, BACKUP].map(|schema| broken_references(live, schema));
        for name in self.names {
            self.one(live, name).map_err(|error| {
                let error = error.context(format!("table {name}"));
                match error.downcast::<rusqlite::Error>() {
                    Ok(error) => explain(error, to).context(format!("table {name}")),
                    Err(error) => error,
                }
            })?;
        }
        for (what, count) in broken_references(live, MAIN) {
            // What was broken before, here or in the backup, may stay so.
            let most = before.iter().filter_map(|before| before.get(&what)).max();
            if most.is_none_or(|most| *most < count) {
                let message = format!("{what}: {count}; nothing was changed");
                return Err(Fail::new(Exit::Failure, message)
                    .hint("name the other table too (-t may be repeated), or restore the backup as a whole")
                    .into());
            }
        }
        Ok(())
    }

    fn one(&self, live: &Connection, name: &str) -> Result<()> {
        let there = kind(live, "main", name)?;
        if let Some((kind, _)) = there.as_ref().filter(|(kind, _)| kind != "table") {
            let message = format!("{name} is a {kind} in the live database, and not a table");
            return Err(Fail::new(Exit::Usage, message).into());
        }
        if there.is_some() {
            live.execute_batch(&format!("DROP TABLE main.{}", quoted(name)))?;
        }
        let Some((_, has_rowid)) = kind(live, BACKUP, name)? else {
            anyhow::ensure!(self.drop_missing, "the backup does not have it");
            return Ok(());
        };
        let made = definitions(live, name)?;
        let (tables, others): (Vec<_>, Vec<_>) = made.into_iter().partition(|(kind, _)| kind == "table");
        for (_, sql) in tables {
            live.execute_batch(&sql)?;
        }
        copy_rows(live, name, has_rowid)?;
        for (_, sql) in others {
            live.execute_batch(&sql)?;
        }
        self.prove(live, name)
    }

    fn prove(&self, live: &Connection, name: &str) -> Result<()> {
        let found = match tables::table(live, name).map(|hashed| hashed.table(name)) {
            Ok(found) => found,
            Err(Unread::Failed(error)) => return Err(error.into()),
            Err(Unread::Damaged(why) | Unread::NotProvable(why)) => anyhow::bail!("its rows cannot be compared: {why}"),
        };
        let wanted: Vec<Table> = self.wanted.iter().filter(|it| it.name == name).cloned().collect();
        let problems = super::proof::rows(&[found], &wanted);
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("; "));
        Ok(())
    }
}

/// Makes sure that each of `names` is a table in the database `from` that can be restored alone; names come back as they are
/// written there.
///
/// # Errors
/// One is none.
pub fn check(from: &Path, names: &[String]) -> Result<Vec<String>> {
    let open = open::immutable(from)?;
    let mut found = Vec::new();
    for wanted in names {
        let mut statement = open.prepare(
            "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE \
             AND name NOT LIKE 'sqlite@_%' ESCAPE '@'",
        )?;
        let mut rows = statement.query([wanted])?;
        let Some(row) = rows.next()? else {
            return Err(Fail::new(Exit::NotFound, format!("the backup has no table {wanted}"))
                .hint("`snapback show` lists the tables of a backup")
                .into());
        };
        let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
        if kind != "table" {
            let what = match kind.as_str() {
                "shadow" => "belongs to a virtual table",
                "virtual" => "is a virtual table",
                _ => "is a view",
            };
            return Err(Fail::new(
                Exit::Usage,
                format!("{wanted} {what}, and is restored only with the whole backup"),
            )
            .hint("restore it beside with --mode new --as FILE, and copy from there what is missed")
            .into());
        }
        if !found.contains(&name) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Of which kind a table is, and whether its rows have numbers.
fn kind(open: &Connection, schema: &str, name: &str) -> rusqlite::Result<Option<(String, bool)>> {
    let sql = "SELECT type, wr FROM pragma_table_list WHERE schema = ?1 AND name = ?2 COLLATE NOCASE";
    let mut statement = open.prepare(sql)?;
    let mut rows = statement.query_map([schema, name], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? == 0)))?;
    rows.next().transpose()
}

/// The statements that make a table: itself, its indexes, its triggers.
fn definitions(open: &Connection, name: &str) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = format!(
        "SELECT type, sql FROM {BACKUP}.sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE AND sql IS NOT NULL \
         ORDER BY type = 'trigger', type = 'index', rowid"
    );
    let mut statement = open.prepare(&sql)?;
    statement
        .query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn copy_rows(open: &Connection, name: &str, has_rowid: bool) -> rusqlite::Result<()> {
    let mut statement = open.prepare(&format!(
        "SELECT name FROM pragma_table_xinfo(?1, '{BACKUP}') WHERE hidden = 0 ORDER BY cid"
    ))?;
    let names = statement.query_map([name], |row| row.get::<_, String>(0))?;
    let mut columns = names.collect::<rusqlite::Result<Vec<String>>>()?;
    // Others may refer to the numbers of rows, so they stay what they were.
    let rowid = tables::rowid_name(&columns).filter(|_| has_rowid);
    columns = columns.iter().map(|column| quoted(column)).collect();
    columns.extend(rowid.map(str::to_owned));
    let (list, table) = (columns.join(", "), quoted(name));
    open.execute_batch(&format!(
        "INSERT INTO main.{table} ({list}) SELECT {list} FROM {BACKUP}.{table} NOT INDEXED"
    ))?;
    // The highest number that AUTOINCREMENT has ever given.
    if kind(open, BACKUP, "sqlite_sequence")?.is_some() && kind(open, "main", "sqlite_sequence")?.is_some() {
        open.execute("DELETE FROM main.sqlite_sequence WHERE name = ?1", [name])?;
        let sql =
            format!("INSERT INTO main.sqlite_sequence SELECT name, seq FROM {BACKUP}.sqlite_sequence WHERE name = ?1");
        open.execute(&sql, [name])?;
    }
    Ok(())
}

/// What `foreign_key_check` says, as sentences with a count.
fn broken_references(open: &Connection, schema: &str) -> BTreeMap<String, u64> {
    integrity::broken_references(open, schema).unwrap_or_else(|error| BTreeMap::from([(error.to_string(), 1)]))
}

fn encodings_differ(error: &rusqlite::Error) -> bool {
    error.to_string().contains("same text encoding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_somebody_else_is_waited_for_from_the_first_statement_on() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
        let make = |path: &Path, value: i64| {
            let open = Connection::open(path).unwrap();
            let sql = format!("PRAGMA journal_mode = DELETE; CREATE TABLE t (a); INSERT INTO t VALUES ({value})");
            open.execute_batch(&sql).unwrap();
            open
        };
        let wanted = tables::table(&make(&from, 1), "t")
            .unwrap_or_else(|_| panic!())
            .table("t");
        let writer = make(&to, 2);
        // Not even the definitions can be read.
        writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            writer.execute_batch("INSERT INTO t VALUES (3); COMMIT").unwrap();
            writer
        });
        let tables = Tables {
            from: &from,
            names: &["t".to_owned()],
            wanted: &[wanted],
            drop_missing: false,
        };
        let put = tables.into_live(&to, None, Duration::from_secs(60)).unwrap();
        assert!(matches!(put, Put::Done(_)));
        let writer = ends.join().unwrap();
        let value: i64 = writer.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(value, 1);
    }
}
