//! Which database a session is in: what a manifest says of its source. And which one a URL means, as far as its server tells.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio_postgres::Client;

use super::connect::{Dsn, Host, connect};
use super::session::{Query, Session};
use crate::error::{Exit, Result, exit_of};
use crate::manifest::{Engine, Identity, Place, Source};

/// How long a server may take to answer that is only asked on the side.
const PATIENCE: Duration = Duration::from_secs(5);

const WHERE_AM_I: &str = "\
SELECT d.datname, d.oid,
       pg_catalog.current_setting('server_version_num')::int4 AS version_num,
       pg_catalog.current_setting('server_version') AS version,
       pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may_read_control
FROM pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database()";

const SYSTEM_IDENTIFIER: &str =
    "SELECT system_identifier::text AS system_identifier FROM pg_catalog.pg_control_system()";

/// The identity of the database that `session` is in; host and port are those that it connected to.
///
/// # Errors
/// What the server says.
pub async fn read(session: &Session) -> Result<Source> {
    let rows = session.rows(&Query::new(WHERE_AM_I)).await?;
    let row = rows.first().context("the server does not know its own database")?;
    let system_identifier = if row.bool("may_read_control")? {
        let rows = session.rows(&Query::new(SYSTEM_IDENTIFIER)).await?;
        let row = rows.first().context("pg_control_system() says nothing")?;
        Some(row.text("system_identifier")?.parse()?)
    } else {
        None
    };
    let host = session.canceller().host();
    Ok(Source {
        engine: Engine::Postgres,
        file: None,
        host: host.name.clone(),
        port: host.port,
        database: row.text("datname")?,
        system_identifier,
        database_oid: row.oid("oid")?,
        server_version_num: u32::try_from(row.int("version_num")?)?,
        server_version: row.text("version")?,
    })
}

/// The database that `dsn` names, as far as a URL tells.
#[must_use]
pub fn named(dsn: &Dsn) -> Identity {
    let place = |host: &Host| Place {
        host: host.name.clone(),
        port: host.port,
    };
    Identity {
        engine: Engine::Postgres,
        file: None,
        places: dsn.hosts.iter().map(place).collect(),
        database: dsn.database.clone(),
        system_identifier: None,
        database_oid: None,
    }
}

/// The same with what the server says of `database`, by a session in any of its databases. It need not exist.
///
/// # Errors
/// The server does not answer.
pub async fn of_database(client: &Client, dsn: &Dsn, database: &str) -> Result<Identity> {
    let oid = "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1";
    let oid = client.query_opt(oid, &[&database]).await?;
    let may = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')";
    let system_identifier = match client.query_one(may, &[]).await?.try_get(0)? {
        true => Some(
            client
                .query_one(SYSTEM_IDENTIFIER, &[])
                .await?
                .try_get::<_, String>(0)?,
        ),
        false => None,
    };
    Ok(Identity {
        database: database.to_owned(),
        system_identifier: system_identifier.map(|text| text.parse()).transpose()?,
        database_oid: oid.map(|row| row.try_get(0)).transpose()?,
        ..named(dsn)
    })
}

/// Asks the server of `dsn` on the side, through whatever database can be entered.
///
/// # Errors
/// It cannot be reached soon.
pub async fn ask(dsn: &Dsn) -> Result<Identity> {
    let asked = async {
        let session = match connect(dsn).await {
            Err(error) if exit_of(&error) == Exit::NotFound => connect(&dsn.with_database("postgres")).await?,
            outcome => outcome?,
        };
        of_database(session.client(), dsn, &dsn.database).await
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    answer.context("the server does not answer")?
}

/// Whether two places are one by their addresses: a server has several names.
pub async fn is_one(places: &[Place], other: &Place) -> bool {
    let there = addresses(other).await;
    for place in places {
        if !addresses(place).await.is_disjoint(&there) {
            return true;
        }
    }
    false
}

async fn addresses(place: &Place) -> BTreeSet<IpAddr> {
    let lookup = tokio::net::lookup_host((place.host.as_str(), place.port));
    match tokio::time::timeout(PATIENCE, lookup).await {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        _ => BTreeSet::new(),
    }
}
