//! What is in the way of a restore in place, and what a person should know of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::Client;

use super::tables::{Tables, Way};
use crate::archive::belonging::Name;

use crate::archive::toc::Entry;
use crate::engine::postgres::any_text::texts;
use crate::engine::postgres::connect::{Dsn, connect};
use crate::engine::postgres::snapshot::OWN_ENCODING;
use crate::error::{Exit, Result};
use crate::job::Job;
use crate::restore::postgres::create::Archived;
use crate::restore::postgres::origin::{Body, Content, is_partial};
use crate::restore::postgres::plan::{Obstacle, Plan};
use crate::restore::postgres::survey::LiveState;

/// Owners of what is there that the role is not a member of. What belongs to the role that made the cluster is not
/// in `pg_shdepend`.
const OWNERS: &str = "\
SELECT DISTINCT pg_catalog.pg_get_userbyid(o.owner)::text FROM (
    SELECT classid, objid, refobjid AS owner FROM pg_catalog.pg_shdepend
    WHERE deptype = 'o' AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    UNION ALL SELECT tableoid, oid, relowner FROM pg_catalog.pg_class WHERE relkind NOT IN ('i', 'I', 't')
    UNION ALL SELECT tableoid, oid, proowner FROM pg_catalog.pg_proc
    UNION ALL SELECT tableoid, oid, nspowner FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'public'
    UNION ALL SELECT tableoid, oid, evtowner FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT tableoid, oid, pubowner FROM pg_catalog.pg_publication
    UNION ALL SELECT tableoid, oid, lomowner FROM pg_catalog.pg_largeobject_metadata) o
WHERE o.objid >= 16384 AND NOT pg_catalog.pg_has_role(o.owner, 'USAGE')
    AND o.classid <> 'pg_catalog.pg_extension'::pg_catalog.regclass
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e')
ORDER BY 1";

/// Locks that removing all takes, about, and those that the server has for all its sessions.
const LOCKS: &str = "\
SELECT (SELECT pg_catalog.count(DISTINCT (classid, objid)) FROM pg_catalog.pg_depend WHERE objid >= 16384)
    + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata),
    pg_catalog.current_setting('max_locks_per_transaction')::int8,
    pg_catalog.current_setting('max_connections')::int8 + pg_catalog.current_setting('max_prepared_transactions')::int8";

/// What keeps `entries` from being restored in the live database, which `client` is in.
///
/// # Errors
/// The server does not answer.
pub async fn obstacles(client: &Client, live: Option<&LiveState>, entries: &[Entry]) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    let Some(live) = live else { return Ok(found) };
    let archived = Archived::find(entries).ok();
    if archived.is_some_and(|archived| !archived.has_encoding(&live.database.encoding)) {
        found.push(Obstacle::new(
            Exit::Failure,
            format!(
                "the backup is not in the encoding of the live database, {}",
                live.database.encoding
            ),
            "restore it with --mode swap or --mode new, which create a database in its encoding",
        ));
    }
    if !live.subscriptions.is_empty() {
        found.push(Obstacle::new(
            Exit::Failure,
            format!(
                "subscriptions cannot be removed inside a transaction: {}",
                live.subscriptions.join(", ")
            ),
            "drop them first: ALTER SUBSCRIPTION … DISABLE, then DROP SUBSCRIPTION",
        ));
    }
    let rows = client.query(OWNERS, &[]).await?;
    let owners = texts(&rows)?;
    if !owners.is_empty() {
        found.push(Obstacle::new(
            Exit::Permission,
            format!("this role may not remove what belongs to: {}", owners.join(", ")),
            "grant it these roles, or restore as a superuser",
        ));
    }
    found.extend(locks(client, entries).await?);
    Ok(found)
}

/// Plans the replacement of single `tables`: what is `chosen` of `all` entries, into the database of `dsn`, where `new`
/// tables go.
///
/// # Errors
/// The server does not answer.
pub async fn tables(
    dsn: &Dsn,
    chosen: &[Entry],
    tables: &Tables,
    all: &[Entry],
    new: &BTreeSet<Name>,
    plan: &mut Plan,
) -> Result<()> {
    let session = Arc::new(connect(dsn).await?);
    session.run(&format!("BEGIN READ ONLY; {OWN_ENCODING}")).await?;
    let (way, mut obstacles) = tables.way(&session, dsn, all).await?;
    if chosen.is_empty() && tables.new_oids(session.client()).await?.is_empty() {
        obstacles.push(Obstacle::new(
            Exit::NotFound,
            "the tables were not there before the restore, and are not there now: there is nothing to take back",
            "`snapback undo --kept NAME` takes an earlier restore back, which `snapback list` shows as kept",
        ));
    }
    session.run("ROLLBACK").await?;
    match way {
        Way::Rows => plan.only_rows(tables.names()),
        Way::Whole(differ, whole) => plan.whole_tables(&differ, &whole.made_again(), &whole.missing),
    }
    plan.drop_tables(new);
    plan.obstacles.extend(besides(chosen));
    plan.obstacles.extend(obstacles);
    Ok(())
}

/// What is chosen that is no table. What belongs to a table is chosen along with it.
fn besides(chosen: &[Entry]) -> Option<Obstacle> {
    let along = [
        "TABLE",
        "TABLE DATA",
        "ACL",
        "COMMENT",
        "SCHEMA",
        "SECURITY LABEL",
        "STATISTICS DATA",
    ];
    let others = chosen
        .iter()
        .filter(|entry| !entry.desc.starts_with("DATABASE") && !along.contains(&entry.desc.as_str()));
    let others: Vec<_> = others.map(|entry| format!("{} {}", entry.desc, entry.tag)).collect();
    (!others.is_empty()).then(|| {
        Obstacle::new(
            Exit::Usage,
            format!("only tables are replaced in place, not {}", others.join(", ")),
            "name tables with --table, or restore the part with --mode new",
        )
    })
}

/// What of the backup or of the job does not go together with a restore in place.
#[must_use]
pub fn refused(content: &Content, job: &Job) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if let Body::Script(_) = content.body {
        found.push(Obstacle::new(
            Exit::Usage,
            "plain SQL cannot be restored in place: it may commit where it likes",
            "restore it with --mode swap or --mode new",
        ));
    }
    if is_partial(job) {
        found.push(Obstacle::new(
            Exit::Usage,
            "this job backs up only a part of the database: the rest would be removed, and the safety snapshot would not have it",
            "restore with --mode swap, which keeps the replaced database as a whole",
        ));
    }
    found
}

async fn locks(client: &Client, entries: &[Entry]) -> Result<Option<Obstacle>> {
    let row = client.query_one(LOCKS, &[]).await?;
    let (there, per_transaction, transactions): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let created: i64 = entries.iter().map(|entry| locks_of(&entry.desc)).sum();
    let (needed, has) = (there + created, per_transaction * transactions);
    Ok((needed > has).then(|| {
        Obstacle::new(
            Exit::Failure,
            format!("one transaction would need about {needed} locks, and the server has {has} for all"),
            format!(
                "set max_locks_per_transaction to {} and restart the server, or restore with --mode swap",
                needed / transactions.max(1) + per_transaction
            ),
        )
    }))
}

/// Relations that an entry creates: a table often has another one for large values, with an index.
fn locks_of(desc: &str) -> i64 {
    match desc {
        "TABLE" | "MATERIALIZED VIEW" => 3,
        "INDEX" | "CONSTRAINT" | "SEQUENCE" | "VIEW" | "FOREIGN TABLE" => 1,
        _ => 0,
    }
}
