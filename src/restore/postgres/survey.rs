//! What is there before a restore: the live database, who is in it, what this role may do, what is missing.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::{Client, Row};

use super::live::{self, Live};
use super::needs::Needs;
use super::target::{Target, run};
use crate::engine::postgres::any_text::{self, AnyText};
use crate::engine::postgres::snapshot::OWN_ENCODING;
use crate::error::Result;
use crate::raw_text;

/// The server as a restore finds it.
#[derive(Debug)]
pub struct Survey {
    /// Major version.
    pub major: u32,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// What the role may do.
    pub rights: Rights,
    /// The live database; `None` when there is none.
    pub live: Option<LiveState>,
    /// What the archive needs and the server lacks.
    pub missing: Missing,
    /// Bytes that are free where the server keeps its data, when it is this machine's.
    pub free: Option<u64>,
}

/// What the role that restores may do.
#[derive(Debug)]
pub struct Rights {
    /// Its name.
    pub role: String,
    /// Whether it may do everything.
    pub superuser: bool,
    /// Whether it may create databases.
    pub create_database: bool,
    /// Whether it may create roles.
    pub create_role: bool,
    /// Whether the live database is its own, or its role's.
    pub owns_live: bool,
    /// Owners of objects in the archive that it may not hand objects to.
    pub foreign_owners: Vec<String>,
}

/// The live database and what goes on in it.
#[derive(Debug)]
pub struct LiveState {
    /// What the shared catalogs know of it.
    pub database: Live,
    /// Rows by the statistics, where it could be entered.
    pub rows: Option<i64>,
    /// When a client last did something in it.
    pub newest_activity: Option<DateTime<Utc>>,
    /// What changed in it, as far as the server counts.
    pub changes: Changes,
    /// Who is connected.
    pub clients: Vec<Clients>,
    /// Names of prepared transactions, which no swap can end.
    pub prepared: Vec<String>,
    /// Logical replication slots, which stay with the replaced database.
    pub slots: Vec<String>,
    /// Subscriptions, which go on in the replaced database.
    pub subscriptions: Vec<String>,
}

/// What a server knows of the changes in a database. It does not know when a row was last changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Rows that were inserted, updated and deleted since [`Changes::counted_since`].
    pub rows: Option<i64>,
    /// When the counters were last reset; `None`: never, or not known since when.
    pub counted_since: Option<DateTime<Utc>>,
    /// When a table was last vacuumed or analyzed: the server does that by itself after changes.
    pub maintained: Option<DateTime<Utc>>,
    /// The newest commit in any database of the server, where it keeps the times (`track_commit_timestamp`).
    pub newest_commit: Option<DateTime<Utc>>,
}

/// Connected clients of one application and role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clients {
    /// `application_name`; empty when it has none.
    pub application: String,
    /// Role.
    pub user: String,
    /// How many.
    pub count: i64,
}

/// What the archive needs and the server lacks.
#[derive(Debug, Default)]
pub struct Missing {
    /// Roles.
    pub roles: Vec<String>,
    /// Extensions that are not even available.
    pub extensions: Vec<String>,
    /// Tablespaces.
    pub tablespaces: Vec<String>,
}

/// Looks.
///
/// # Errors
/// The server cannot be reached or does not answer.
pub async fn survey(target: &Target, client: &Client, database: &str, needs: &Needs) -> Result<Survey> {
    let live = match Live::read(client, database).await? {
        Some(live) => Some(live_state(target, client, database, live).await?),
        None => None,
    };
    let recovery = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?;
    Ok(Survey {
        major: live::major(client).await?,
        in_recovery: recovery.try_get(0)?,
        rights: rights(client, database, needs).await?,
        missing: missing(client, needs).await?,
        free: free(target, client).await,
        live,
    })
}

async fn rights(client: &Client, database: &str, needs: &Needs) -> Result<Rights> {
    let row = client
        .query_one(
            "SELECT r.rolname::text, r.rolsuper, r.rolcreatedb, \
             COALESCE((SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE') \
             FROM pg_catalog.pg_database d WHERE d.datname = $1), true), r.rolsuper OR r.rolcreaterole \
             FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER",
            &[&database],
        )
        .await?;
    let owners: Vec<&str> = needs.owners.iter().map(String::as_str).collect();
    let foreign = names(
        client,
        "SELECT pg_catalog.textsend(rolname::text) FROM pg_catalog.pg_roles \
         WHERE pg_catalog.textsend(rolname::text) = ANY($1) \
         AND NOT pg_catalog.pg_has_role(oid, 'MEMBER') ORDER BY rolname",
        &owners,
    );
    Ok(Rights {
        role: row.try_get::<_, AnyText>(0)?.0,
        superuser: row.try_get(1)?,
        create_database: row.try_get::<_, bool>(1)? || row.try_get(2)?,
        owns_live: row.try_get(3)?,
        create_role: row.try_get(4)?,
        foreign_owners: foreign.await?,
    })
}

async fn missing(client: &Client, needs: &Needs) -> Result<Missing> {
    let wanted = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
    let lacking = async |names: Vec<String>, exist: &str| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let query = format!(
            "SELECT name FROM pg_catalog.unnest($1::bytea[]) AS name \
             WHERE name NOT IN (SELECT pg_catalog.textsend(name) FROM ({exist}) AS exist (name))"
        );
        self::names(client, &query, &names).await
    };
    Ok(Missing {
        // Predefined roles and the like exist everywhere; pg_roles has them.
        roles: lacking(wanted(&needs.roles), "SELECT rolname::text FROM pg_catalog.pg_roles").await?,
        extensions: lacking(
            wanted(&needs.extensions),
            "SELECT name::text FROM pg_catalog.pg_available_extensions",
        )
        .await?,
        tablespaces: lacking(
            wanted(&needs.tablespaces),
            "SELECT spcname::text FROM pg_catalog.pg_tablespace",
        )
        .await?,
    })
}

async fn texts(client: &Client, query: &str, names: &[&str]) -> Result<Vec<String>> {
    any_text::texts(&client.query(query, &[&names]).await?)
}

/// Names that a query has as bytes. Those of an archive are in the encoding of its database, in which the server has them
/// too; they need be no text in the encoding of the database that `client` is in.
async fn names(client: &Client, query: &str, names: &[&str]) -> Result<Vec<String>> {
    run(client, &format!("BEGIN READ ONLY; {OWN_ENCODING}")).await?;
    let names: Vec<_> = names.iter().map(|name| raw_text::encode(name)).collect();
    let names: Vec<&[u8]> = names.iter().map(AsRef::as_ref).collect();
    let found = client.query(query, &[&names]).await?;
    run(client, "ROLLBACK").await?;
    let name = |row: &Row| Ok(raw_text::decode(row.try_get(0)?));
    found.iter().map(name).collect()
}

async fn live_state(target: &Target, client: &Client, database: &str, live: Live) -> Result<LiveState> {
    // Not those sessions that were opened for this survey.
    let clients = client
        .query(
            "SELECT COALESCE(application_name, ''), COALESCE(usename::text, ''), pg_catalog.count(*), \
             pg_catalog.date_part('epoch', pg_catalog.max(GREATEST(state_change, query_start)))::int8 \
             FROM pg_catalog.pg_stat_activity, \
             (SELECT application_name, usesysid, backend_start FROM pg_catalog.pg_stat_activity \
             WHERE pid = pg_catalog.pg_backend_pid()) AS own (application, role, since) \
             WHERE datid = $1 AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid() \
             AND NOT (application_name = own.application AND usesysid = own.role AND backend_start >= own.since) \
             GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
            &[&live.oid],
        )
        .await?;
    let mut newest: Option<i64> = None;
    let mut connected = Vec::new();
    for row in clients {
        newest = newest.max(row.try_get(3)?);
        connected.push(Clients {
            application: row.try_get::<_, AnyText>(0)?.0,
            user: row.try_get::<_, AnyText>(1)?.0,
            count: row.try_get(2)?,
        });
    }
    let (rows, maintained) = inside(target, database).await.unwrap_or_default();
    let named = async |query: &str| texts(client, query, &[database]).await;
    Ok(LiveState {
        rows,
        changes: Changes {
            maintained,
            ..changes(client, live.oid).await?
        },
        newest_activity: time(newest),
        clients: connected,
        prepared: named("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = ANY($1) ORDER BY gid").await?,
        slots: named("SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database = ANY($1) ORDER BY 1")
            .await?,
        subscriptions: named(
            "SELECT s.subname::text FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d \
             ON d.oid = s.subdbid WHERE d.datname = ANY($1) ORDER BY 1",
        )
        .await?,
        database: live,
    })
}

/// Rows of the live database by its statistics, and when a table was last vacuumed or analyzed. A database that cannot be
/// entered can be replaced all the same.
async fn inside(target: &Target, database: &str) -> Option<(Option<i64>, Option<DateTime<Utc>>)> {
    let client = target.session(database).await.ok()?;
    let row = client
        .query_one(
            "SELECT COALESCE(pg_catalog.sum(GREATEST(c.reltuples::int8, s.n_live_tup)), 0)::int8, \
             pg_catalog.date_part('epoch', \
             pg_catalog.max(GREATEST(last_vacuum, last_autovacuum, last_analyze, last_autoanalyze)))::int8 \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_stat_user_tables s ON s.relid = c.oid",
            &[],
        )
        .await
        .ok()?;
    Some((row.try_get(0).ok()?, time(row.try_get(1).ok()?)))
}

fn time(seconds: Option<i64>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds?, 0)
}

async fn changes(client: &Client, database: u32) -> Result<Changes> {
    let counted = client
        .query_opt(
            "SELECT tup_inserted + tup_updated + tup_deleted, pg_catalog.date_part('epoch', stats_reset)::int8 \
             FROM pg_catalog.pg_stat_database WHERE datid = $1",
            &[&database],
        )
        .await?;
    let mut changes = Changes::default();
    if let Some(row) = counted {
        changes.rows = row.try_get(0)?;
        changes.counted_since = time(row.try_get(1)?);
    }
    // Where the times are not kept this is an error.
    let newest = client
        .query_opt(
            "SELECT pg_catalog.date_part('epoch', timestamp)::int8 FROM pg_catalog.pg_last_committed_xact()",
            &[],
        )
        .await;
    if let Ok(Some(row)) = newest {
        changes.newest_commit = time(row.try_get(0)?);
    }
    Ok(changes)
}

/// Free space where the server keeps its data. Only a server on this machine can be asked, and only by a role
/// that may know the folder.
async fn free(target: &Target, client: &Client) -> Option<u64> {
    if !target.is_local() {
        return None;
    }
    let row = client
        .query_one("SELECT pg_catalog.current_setting('data_directory')", &[])
        .await
        .ok()?;
    let folder: String = row.try_get(0).ok()?;
    // The folder itself is closed to others; what holds it is on the same file system as a rule.
    let stat = Path::new(&folder)
        .ancestors()
        .find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(stat.f_bavail * stat.f_frsize)
}
