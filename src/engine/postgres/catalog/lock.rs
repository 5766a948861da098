//! Locks on what is dumped, so that nobody drops or alters it meanwhile.

use anyhow::Context as _;

use super::Catalog;
use super::object::{Components, Oid};
use super::preflight;
use crate::engine::postgres::connect::session::{Query, Session};
use crate::engine::postgres::connect::{is_lock_timeout, is_lost};
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
    match locked {
        Ok(()) => return same,
        // Whatever is asked next would only say that the connection is closed.
        Err(error) if is_lost(&error) => return Err(error),
        Err(_) => {}
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
            let locked = session.run(&statement(std::slice::from_ref(one))).await;
            match locked {
                Err(error) if is_lock_timeout(&error) => return Err(timed_out(session, one, error).await),
                locked => locked.with_context(|| format!("locking table {}", one.1))?,
            }
        }
    }
    session.run("RELEASE SAVEPOINT lock_tables").await
}

/// The failure of a table that is locked for too long, with the setting that says how long that is, and who holds it.
async fn timed_out(session: &Session, (table, name): &(Oid, String), error: anyhow::Error) -> anyhow::Error {
    let holders = async {
        session.run("ROLLBACK TO SAVEPOINT lock_tables").await?;
        holders(session, *table).await
    };
    let (limit, holders) = holders.await.unwrap_or_default();
    let held = match holders.is_empty() {
        true => "who holds it is gone by now".to_owned(),
        false => holders.join("; "),
    };
    let message = format!("table {name} could not be locked within lock_wait_timeout ({limit}): {held}");
    let hint = "wait until that has ended, end it with pg_terminate_backend(PID), or raise lock_wait_timeout (--lock-wait-timeout)";
    error.context(Fail::new(Exit::Failure, message).hint(hint))
}

/// How long the session waits for locks, and whoever keeps others from reading `table`, as far as the role may see: who holds it
/// alone, and who waits to, behind whom all others wait.
async fn holders(session: &Session, table: Oid) -> Result<(String, Vec<String>)> {
    let query = Query::new(
        "SELECT l.pid, l.granted, a.usename::text AS role, a.application_name AS application,
                pg_catalog.to_char(a.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS since,
                pg_catalog.left(a.query, 60) AS query, pg_catalog.current_setting('lock_timeout') AS lock_limit
         FROM ROWS FROM (unnest($1)) AS wanted(oid)
         LEFT JOIN pg_catalog.pg_locks l ON l.locktype = 'relation' AND l.relation = wanted.oid AND l.mode = 'AccessExclusiveLock'
               AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
         ORDER BY l.granted DESC, a.query_start",
    )
    .oids([table]);
    let rows = session.rows(&query).await?;
    let mut found = Vec::new();
    for row in &rows {
        let does = match row.opt_bool("granted")? {
            None => continue,
            Some(true) => "holds it",
            Some(false) => "waits to hold it alone",
        };
        let Some(pid) = row.opt_int("pid")? else {
            found.push(format!("a prepared transaction {does}"));
            continue;
        };
        let [role, application, since, query] =
            ["role", "application", "since", "query"].map(|name| row.opt_text(name));
        let unknown = || "unknown".to_owned();
        found.push(format!(
            "process {pid} {does} (role {}, application {:?}, its statement since {}: {})",
            role?.unwrap_or_else(unknown),
            application?.unwrap_or_default(),
            since?.unwrap_or_else(unknown),
            query?.unwrap_or_else(unknown)
        ));
    }
    let limit = rows.first().map(|row| row.text("lock_limit")).transpose()?;
    Ok((limit.unwrap_or_default(), found))
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
