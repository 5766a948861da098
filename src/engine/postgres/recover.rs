//! What a restore left that was killed: found by name and comment on the server, said, and removed.
//!
//! A swap is one transaction, so there is nothing of it to finish: all that a kill can leave is the database
//! that was being loaded.

use std::fmt;

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::marker::{self, State};
use super::restore_lock;
use super::target::{AS_IT_WAS, READ_WRITE, Target, UNTIMED, quoted, run};
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::connect::sql_state;
use crate::error::{Exit, Fail, Result};

/// How long the server may take to drop a database: most of it is the removal of files.
const DROP_LIMIT: &str = "15min";

/// One database that a killed restore or drill left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Its name.
    pub name: String,
    /// What left it: a `restore` or a `drill`.
    pub by: &'static str,
    /// Whether it was removed, or only found.
    pub removed: bool,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.removed { "removed" } else { "left alone" };
        write!(
            f,
            "{:?} was left by a {} that did not end: {outcome}",
            self.name, self.by
        )
    }
}

/// What the databases of restores have in their names.
const RESTORING: &str = "restoring";

/// What the copies of rehearsals have.
pub const REHEARSAL: &str = "rehearsal";

/// What those of drills have.
pub const DRILL: &str = "drill";

/// Removes what killed restores and drills of `database` left, unless one is under way now.
///
/// # Errors
/// The server cannot be reached or refuses to drop a database.
pub async fn tidy(target: &Target, database: &str) -> Result<Vec<Leftover>> {
    let client = target.outside(database).await?;
    // A standby shows what restores on its primary are at, and can change nothing.
    let standby = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?;
    if standby.try_get(0)? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if let Some(_lock) = restore_lock::try_take(target.outside(database).await?, database).await? {
        found.extend(clean(target, &client, database).await?);
    }
    let drills = drill_lock(database);
    if let Some(_lock) = restore_lock::try_take(target.outside(database).await?, &drills).await? {
        found.extend(clean_drills(target, &client, database).await?);
    }
    Ok(found)
}

/// What the lock of drills of `database` is called: they keep no restore waiting.
#[must_use]
pub fn drill_lock(database: &str) -> String {
    format!("drill of {database}")
}

/// Removes what killed drills of `database` left, for a caller that holds their lock.
///
/// # Errors
/// The server refuses to drop a database.
pub async fn clean_drills(target: &Target, client: &Client, database: &str) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for marked in marker::all(client).await? {
        let marker = &marked.marker;
        // A drill that was killed while it tried which extensions its database can have.
        let tried = marker.state == State::Unfinished && is_made_for(&marker.of, database, DRILL);
        if tried || marker.state == State::Drill && marker.of == database {
            drop_unfinished(target, client, &marked.name).await?;
            found.push(Leftover {
                name: marked.name,
                by: DRILL,
                removed: true,
            });
        }
    }
    found.extend(clean_unmarked(target, client, database, DRILL).await?);
    Ok(found)
}

/// The same for a caller that holds the lock on `database`.
///
/// # Errors
/// The server refuses to drop a database.
pub async fn clean(target: &Target, client: &Client, database: &str) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for marked in marker::all(client).await? {
        let of = &marked.marker.of;
        // A rehearsal that was killed while it tried which extensions its copy can have marked that as the copy's.
        let ours = of == database || is_made_for(of, database, REHEARSAL);
        if ours && marked.marker.state == State::Unfinished {
            drop_unfinished(target, client, &marked.name).await?;
            found.push(Leftover {
                name: marked.name,
                by: "restore",
                removed: true,
            });
        }
    }
    found.extend(clean_unmarked(target, client, database, RESTORING).await?);
    Ok(found)
}

/// Removes what was killed before it could be marked; `what` is in the names of such databases.
async fn clean_unmarked(target: &Target, client: &Client, database: &str, what: &str) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for name in unmarked(client, database, what).await? {
        let removed = is_empty(target, &name).await;
        if removed {
            drop_database(client, &name).await?;
        }
        let by = if what == DRILL { DRILL } else { "restore" };
        found.push(Leftover { name, by, removed });
    }
    Ok(found)
}

/// Drops a database that was never live. Its subscriptions go first, which would keep it: those of the live one have the
/// slots that they name, and keep them.
///
/// # Errors
/// Whatever the server says.
pub async fn drop_unfinished(target: &Target, client: &Client, name: &str) -> Result<()> {
    let subscriptions = client
        .query(
            "SELECT s.subname::text FROM pg_catalog.pg_subscription s \
             JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1",
            &[&name],
        )
        .await?;
    if !subscriptions.is_empty() {
        let inside = target.session(name).await?;
        for row in subscriptions {
            let subscription = quoted(&row.try_get::<_, AnyText>(0)?.0);
            run(&inside, &format!("ALTER SUBSCRIPTION {subscription} DISABLE")).await?;
            run(
                &inside,
                &format!("ALTER SUBSCRIPTION {subscription} SET (slot_name = NONE)"),
            )
            .await?;
            run(&inside, &format!("DROP SUBSCRIPTION {subscription}")).await?;
        }
    }
    drop_database(client, name).await
}

/// Drops a database with whoever is still in it, be it a template or not.
///
/// # Errors
/// Whatever the server says.
pub async fn drop_database(client: &Client, name: &str) -> Result<()> {
    // The session may be another's afterwards.
    run(client, UNTIMED).await?;
    run(client, READ_WRITE).await?;
    let dropped = drop_it(client, name).await;
    run(client, AS_IT_WAS).await?;
    dropped
}

async fn drop_it(client: &Client, name: &str) -> Result<()> {
    let template = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1 AND datistemplate";
    if client.query_opt(template, &[&name]).await?.is_some() {
        run(client, &format!("ALTER DATABASE {} IS_TEMPLATE false", quoted(name))).await?;
    }
    // Since 15 the server waits until each of its processes has let go of the files. One that never answers, as a worker of an
    // extension may be, would keep us for ever.
    run(client, &format!("SET statement_timeout = '{DROP_LIMIT}'")).await?;
    let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
    run(client, &drop).await.map_err(|error| match sql_state(&error) {
        Some(code) if *code == SqlState::QUERY_CANCELED => {
            let message = format!("the server did not end DROP DATABASE {} within {DROP_LIMIT}", quoted(name));
            let hint = "where pg_stat_activity shows it waiting for ProcSignalBarrier, a process of the server never answers; \
                        what is left goes with the next DROP DATABASE, after a restart of the server";
            error.context(Fail::new(Exit::Failure, message).hint(hint))
        }
        _ => error,
    })
}

/// Databases whose restore or drill was killed between their creation and their first comment.
async fn unmarked(client: &Client, database: &str, what: &str) -> Result<Vec<String>> {
    let pattern = format!("_{what}_[0-9]{{8}}T[0-9]{{6}}Z(_[0-9]+)?$");
    let rows = client
        .query(
            "SELECT datname::text FROM pg_catalog.pg_database \
             WHERE datname::text ~ $1 AND pg_catalog.shobj_description(oid, 'pg_database') IS NULL",
            &[&pattern],
        )
        .await?;
    let mut names = Vec::new();
    for row in rows {
        let AnyText(name) = row.try_get(0)?;
        let copy = name.rsplit_once("_restoring_").map(|(copy, _)| copy);
        let of_copy = what == RESTORING && copy.is_some_and(|copy| is_made_for(copy, database, REHEARSAL));
        if of_copy || is_made_for(&name, database, what) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether `name` is one that [`marker::name`] gives to something of `database`.
fn is_made_for(name: &str, database: &str, what: &str) -> bool {
    let mark = format!("_{what}_");
    name.rsplit_once(&mark).is_some_and(|(start, stamp)| {
        let room = (marker::MAX_NAME - mark.len()).saturating_sub(stamp.len());
        start == database || (database.starts_with(start) && room.saturating_sub(start.len()) < 4)
    })
}

/// Whether nobody ever put anything in: what has no marker is removed only then.
async fn is_empty(target: &Target, name: &str) -> bool {
    let Ok(client) = target.session(name).await else {
        return false;
    };
    let found = client
        .query_opt("SELECT 1 FROM pg_catalog.pg_class WHERE oid >= 16384 LIMIT 1", &[])
        .await;
    matches!(found, Ok(None))
}
