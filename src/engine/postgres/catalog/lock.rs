//! Locks on what is dumped, so that nobody drops or alters it meanwhile.

use anyhow::Context as _;

use super::Catalog;
use super::object::{Components, Oid};
use super::preflight;
use crate::engine::postgres::session::{Query, Session};
use crate::error::{Exit, Fail, Result};

/// Tables per LOCK statement: the names of so many fit a statement of a few dozen kilobytes.
const BATCH: usize = 500;

/// Locks what is dumped `IN ACCESS SHARE MODE`; the session's `lock_timeout` bounds the wait. With `rows` those of tables
/// are going to be read.
///
/// # Errors
/// A table could not be locked, is gone, or is another one than in the snapshot; the error names it.
pub async fn tables(cat: &Catalog, session: &Session, rows: bool) -> Result<()> {
    let wanted = wanted(cat);
    if wanted.is_empty() {
        return Ok(());
    }
    // A superuser may do everything.
    if !cat.server.superuser {
        let locked: Vec<Oid> = wanted.iter().map(|(oid, _)| *oid).collect();
        preflight::rights(session, &locked, &read(cat, rows), cat.options.enable_row_security).await?;
    }
    let all: Vec<_> = wanted.chunks(BATCH).map(statement).collect();
    let all = format!(
        "SAVEPOINT lock_tables;\n{};\nRELEASE SAVEPOINT lock_tables",
        all.join(";\n")
    );
    // The check is behind the locks, and on its way already: on a far server every round trip counts.
    let (locked, same) = futures_util::join!(session.run(&all), same_tables(session, &wanted));
    if locked.is_ok() {
        return same;
    }
    one_by_one(session, &wanted).await?;
    same_tables(session, &wanted).await
}

/// Locks tables after they could not be locked all at once: the server does not always say which failed.
async fn one_by_one(session: &Session, wanted: &[(Oid, String)]) -> Result<()> {
    session.run("ROLLBACK TO SAVEPOINT lock_tables").await?;
    for batch in wanted.chunks(BATCH) {
        if session.run(&statement(batch)).await.is_ok() {
            session
                .run("RELEASE SAVEPOINT lock_tables; SAVEPOINT lock_tables")
                .await?;
            continue;
        }
        session.run("ROLLBACK TO SAVEPOINT lock_tables").await?;
        for one in batch {
            session
                .run(&statement(std::slice::from_ref(one)))
                .await
                .with_context(|| format!("locking table {}", one.1))?;
        }
    }
    session.run("RELEASE SAVEPOINT lock_tables").await
}

fn statement(tables: &[(Oid, String)]) -> String {
    let names: Vec<_> = tables.iter().map(|(_, name)| name.as_str()).collect();
    format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "))
}

/// Only tables can be locked by anybody who may read them, and only what needs the server's functions must be.
fn wanted(cat: &Catalog) -> Vec<(Oid, String)> {
    let parts = Components::DEFINITION | Components::DATA | Components::POLICY | Components::STATISTICS;
    let q = cat.quote();
    cat.tables()
        .filter(|(object, table)| object.dump.has(parts) && matches!(table.relkind, 'r' | 'p'))
        .map(|(object, table)| {
            let schema = cat.namespace_name(object.namespace).unwrap_or_default();
            (table.oid, q.qualified(schema, &object.name))
        })
        .collect()
}

/// What rows are read of. Sequences are read with the catalogs, also when their section is not dumped.
fn read(cat: &Catalog, rows: bool) -> Vec<Oid> {
    if !cat.options.dump_data() || cat.options.binary_upgrade {
        return Vec::new();
    }
    cat.tables()
        .filter(|(object, table)| {
            object.dump.has(Components::DATA)
                && (table.relkind == 'S' || (rows && table.relkind == 'r'))
                && !cat.selection.exclude_table_data.contains(&table.oid)
        })
        .map(|(_, table)| table.oid)
        .collect()
}

/// A name may have moved to another table between the snapshot and the lock.
async fn same_tables(session: &Session, wanted: &[(Oid, String)]) -> Result<()> {
    let query = Query::new(
        "SELECT name, pg_catalog.to_regclass(name)::oid AS now
         FROM ROWS FROM (unnest($1), unnest($2)) AS wanted(oid, name)
         WHERE pg_catalog.to_regclass(name)::oid IS DISTINCT FROM wanted.oid",
    )
    .oids(wanted.iter().map(|(oid, _)| *oid))
    .texts(wanted.iter().map(|(_, name)| name.clone()));
    match session.rows(&query).await?.first() {
        None => Ok(()),
        Some(row) => Err(Fail::new(
            Exit::Failure,
            format!(
                "table {} was dropped or renamed while the dump began",
                row.text("name")?
            ),
        )
        .hint("run it again: nothing was written")
        .into()),
    }
}
