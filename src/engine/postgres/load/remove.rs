//! The opposite of a load: what a database holds goes, by pg_dump's own drop statements in its own order.

use std::collections::HashSet;

use anyhow::Context as _;

use crate::archive::options::RestoreOptions;
use crate::archive::plain::Script;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::connect::session::Session;
use crate::error::Result;
use crate::raw_text;
use crate::sql::quote::Quote;

/// Drops what `entries` describe, which were read of the database that `session` is in, inside its transaction. The session is in the
/// encoding of the database.
///
/// # Errors
/// Something cannot be dropped: it is another role's. The transaction has failed then.
pub async fn remove(session: &Session, mut entries: Vec<Entry>, quote: Quote) -> Result<()> {
    let tables = entries.iter().filter(|entry| entry.desc == "TABLE");
    let tables: HashSet<DumpId> = tables.map(|entry| entry.dump_id).collect();
    entries.retain(|entry| !goes_with_its_table(entry, &tables));
    entries.iter_mut().for_each(cascade);
    many_at_once(&mut entries);
    let client = session.client();
    let options = RestoreOptions {
        clean: true,
        // Dropping a base type takes its functions along, which have drop statements of their own.
        if_exists: true,
        ..RestoreOptions::default()
    };
    let sql = Script::new(entries.into(), options, quote).drops();
    let sql = raw_text::decode(&sql);
    client.batch_execute(&sql).await.context("removing what is there")
}

/// Whether the entry needs no statement of its own. Constraints and indexes of partitions cannot even go before their tables.
fn goes_with_its_table(entry: &Entry, tables: &HashSet<DumpId>) -> bool {
    match entry.desc.as_str() {
        "CONSTRAINT" | "INDEX" => true,
        "DEFAULT" | "FK CONSTRAINT" | "TRIGGER" => entry.dependencies.iter().any(|id| tables.contains(id)),
        _ => false,
    }
}

/// Lets one statement drop many that follow each other: at the end of each statement that takes more than a few locks the
/// server goes through all that the transaction has.
fn many_at_once(entries: &mut [Entry]) {
    let mut open: Option<(usize, usize)> = None;
    for at in 0..entries.len() {
        let Some(name) = dropped_name(&entries[at]).map(str::to_owned) else {
            // What has no statement stands in nobody's way.
            open = open.filter(|_| entries[at].drop_stmt.is_empty());
            continue;
        };
        match open {
            Some((first, count)) if entries[first].desc == entries[at].desc && count < TOGETHER => {
                let statement = &mut entries[first].drop_stmt;
                statement.truncate(statement.len() - CASCADE.len());
                statement.push_str(&format!(", {name}{CASCADE}"));
                entries[at].drop_stmt.clear();
                open = Some((first, count + 1));
            }
            _ => open = Some((at, 1)),
        }
    }
}

/// Objects that are dropped with one statement, at most.
const TOGETHER: usize = 50;
const CASCADE: &str = " CASCADE;\n";

/// What the statement drops, where others of its kind can be named beside it.
fn dropped_name(entry: &Entry) -> Option<&str> {
    let kind = match entry.desc.as_str() {
        "TABLE" => "DROP TABLE ",
        "SEQUENCE" => "DROP SEQUENCE ",
        "VIEW" => "DROP VIEW ",
        _ => return None,
    };
    entry.drop_stmt.strip_prefix(kind)?.strip_suffix(CASCADE)
}

/// Lets a drop take along what depends on the object: all of it goes anyway, and some of it depends on each other.
fn cascade(entry: &mut Entry) {
    let statement = &mut entry.drop_stmt;
    let takes_it = statement.starts_with("DROP ") && !statement.starts_with("DROP USER MAPPING");
    if takes_it && !statement.contains(" CASCADE;") && statement.matches(';').count() == 1 {
        *statement = statement.replace(';', " CASCADE;");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    fn entry(id: DumpId, desc: &str, drop: &str, dependencies: &[DumpId]) -> Entry {
        let mut entry = Entry::new(id, desc, "x", Section::PreData);
        drop.clone_into(&mut entry.drop_stmt);
        entry.dependencies = dependencies.to_vec();
        entry
    }

    #[test]
    fn what_follows_each_other_is_dropped_together() {
        let mut entries = vec![
            entry(1, "TABLE", "DROP TABLE s.\"a, b\" CASCADE;\n", &[]),
            entry(2, "TABLE DATA", "", &[1]),
            entry(3, "TABLE", "DROP TABLE s.c CASCADE;\n", &[]),
            entry(4, "VIEW", "DROP VIEW s.v CASCADE;\n", &[]),
            entry(5, "TABLE", "DROP TABLE s.d CASCADE;\n", &[]),
            entry(6, "VIEW", "CREATE OR REPLACE VIEW s.w AS SELECT 1;\n", &[]),
            entry(7, "TABLE", "DROP TABLE s.e CASCADE;\n", &[]),
        ];
        many_at_once(&mut entries);
        let statements: Vec<&str> = entries.iter().map(|entry| entry.drop_stmt.trim_end()).collect();
        assert_eq!(
            statements,
            [
                "DROP TABLE s.\"a, b\", s.c CASCADE;",
                "",
                "",
                "DROP VIEW s.v CASCADE;",
                "DROP TABLE s.d CASCADE;",
                "CREATE OR REPLACE VIEW s.w AS SELECT 1;",
                "DROP TABLE s.e CASCADE;"
            ]
        );
    }

    #[test]
    fn what_belongs_to_a_table_that_stays_is_dropped_by_itself() {
        let tables = HashSet::from([1]);
        let goes = |desc, dependencies: &[DumpId]| goes_with_its_table(&entry(9, desc, "", dependencies), &tables);
        assert!(goes("FK CONSTRAINT", &[2, 1]) && goes("DEFAULT", &[1]) && goes("INDEX", &[]));
        assert!(!goes("FK CONSTRAINT", &[2, 3]) && !goes("POLICY", &[1]));
    }
}
