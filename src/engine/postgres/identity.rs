//! Which database a session is in: what a manifest says of its source.

use anyhow::Context as _;

use super::connect::Dsn;
use super::session::{Query, Session};
use crate::error::Result;
use crate::manifest::{Engine, Source};

const WHERE_AM_I: &str = "\
SELECT d.datname, d.oid,
       pg_catalog.current_setting('server_version_num')::int4 AS version_num,
       pg_catalog.current_setting('server_version') AS version,
       pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may_read_control
FROM pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database()";

const SYSTEM_IDENTIFIER: &str =
    "SELECT system_identifier::text AS system_identifier FROM pg_catalog.pg_control_system()";

/// The identity of the database that `session` is in; host and port are those of `dsn`.
///
/// # Errors
/// What the server says.
pub async fn read(session: &Session, dsn: &Dsn) -> Result<Source> {
    let rows = session.rows(&Query::new(WHERE_AM_I)).await?;
    let row = rows.first().context("the server does not know its own database")?;
    let system_identifier = if row.bool("may_read_control")? {
        let rows = session.rows(&Query::new(SYSTEM_IDENTIFIER)).await?;
        let row = rows.first().context("pg_control_system() says nothing")?;
        Some(row.text("system_identifier")?.parse()?)
    } else {
        None
    };
    let host = dsn.hosts.first();
    Ok(Source {
        engine: Engine::Postgres,
        file: None,
        host: host.map(|host| host.name.clone()).unwrap_or_default(),
        port: host.map_or(0, |host| host.port),
        database: row.text("datname")?,
        system_identifier,
        database_oid: row.oid("oid")?,
        server_version_num: u32::try_from(row.int("version_num")?)?,
        server_version: row.text("version")?,
    })
}
