//! The server that a restore writes to: sessions in any of its databases.

use std::fmt;

use anyhow::Context as _;
use tokio_postgres::Client;

use crate::engine::postgres::connect::{Dsn, Host, connect};
use crate::error::{Exit, Fail, Result};
use crate::sql::quote::Quote;

/// A server, as the one who restores logs in to it.
#[derive(Clone, Debug)]
pub struct Target {
    dsn: Dsn,
}

impl Target {
    /// The server of `dsn`; which database that names does not matter.
    #[must_use]
    pub fn new(dsn: Dsn) -> Self {
        Target { dsn }
    }

    /// How to connect to `database`.
    #[must_use]
    pub fn dsn(&self, database: &str) -> Dsn {
        self.dsn.with_database(database)
    }

    /// A session in `database`.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the login.
    pub async fn session(&self, database: &str) -> Result<Client> {
        Ok(connect(&self.dsn(database)).await?.into_client())
    }

    /// A session in `database` that takes text in `encoding`, or else in that of the database: the texts that a server has
    /// about a database are in its encoding, which another database need not know.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the login or the encoding.
    pub async fn session_in(&self, database: &str, encoding: Option<&str>) -> Result<Client> {
        let client = self.session(database).await?;
        run(&client, UNTIMED).await?;
        run(&client, READ_WRITE).await?;
        let encoding = encoding.map_or_else(|| "pg_catalog.current_setting('server_encoding')".to_owned(), literal);
        let set = format!("SELECT pg_catalog.set_config('client_encoding', {encoding}, false)");
        run(&client, &set).await?;
        Ok(client)
    }

    /// Whether the server runs on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let name = self.dsn.hosts.first().map(|host| host.name.as_str());
        matches!(name, Some("localhost" | "127.0.0.1" | "::1")) || self.dsn.hosts.first().is_some_and(Host::is_socket)
    }

    /// A session in some database other than `live`: names change only from outside. `postgres` and
    /// `template1` are tried first, then whatever else the server lets us into.
    ///
    /// # Errors
    /// No other database can be entered.
    pub async fn outside(&self, live: &str) -> Result<Client> {
        let mut first_error = None;
        for database in ["postgres", "template1"] {
            if database == live {
                continue;
            }
            match self.session(database).await {
                Ok(client) => return Ok(client),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match self.any_other(live).await {
            Some(client) => Ok(client),
            None => Err(first_error.unwrap_or_else(|| no_way_in(live))),
        }
    }

    /// A session in any database: in `live` itself where the server lets us into no other one.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the login.
    pub async fn anywhere(&self, live: &str) -> Result<Client> {
        match self.outside(live).await {
            Ok(client) => Ok(client),
            Err(_) => self.session(live).await,
        }
    }

    async fn any_other(&self, live: &str) -> Option<Client> {
        let client = self.session(live).await.ok()?;
        let rows = client
            .query(
                "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn AND datname <> $1 AND \
                 pg_catalog.has_database_privilege(oid, 'CONNECT') ORDER BY datname",
                &[&live],
            )
            .await
            .ok()?;
        for row in rows {
            if let Ok(other) = self.session(row.get(0)).await {
                return Some(other);
            }
        }
        None
    }
}

fn no_way_in(live: &str) -> anyhow::Error {
    Fail::new(
        Exit::Unreachable,
        format!("no database besides {live:?} can be entered, and its name changes only from outside"),
    )
    .hint("allow this role to connect to the database postgres")
    .into()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dsn.hosts.first() {
            Some(host) => host.fmt(f),
            None => f.write_str("no host"),
        }
    }
}

/// What keeps a server from ending a session that has much to do or to wait for; not every version has all of it. Only for
/// sessions that nobody shares.
pub const UNTIMED: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; \
    SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'";

/// What takes back [`UNTIMED`] and [`READ_WRITE`].
pub const AS_IT_WAS: &str = "SELECT pg_catalog.set_config(name, reset_val, false) FROM pg_catalog.pg_settings \
    WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout', \
    'transaction_timeout', 'default_transaction_read_only')";

/// What makes a session able to create and drop databases where the role is read-only by default.
pub const READ_WRITE: &str = "SELECT pg_catalog.set_config(name, 'off', false) FROM pg_catalog.pg_settings \
    WHERE name = 'default_transaction_read_only' AND setting = 'on'";

/// Runs statements, and says on failure which.
///
/// # Errors
/// Whatever the server says.
pub async fn run(client: &Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.with_context(|| {
        let first = sql.lines().next().unwrap_or_default();
        format!("running {first}")
    })
}

/// Any name as an identifier, always quoted.
#[must_use]
pub fn quoted(name: &str) -> String {
    QUOTE.id(name).into_owned()
}

/// Any text as a literal, whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(text: &str) -> String {
    QUOTE.escape_literal(text)
}

/// What any version reads.
pub const QUOTE: Quote = Quote {
    all: true,
    ..Quote::standard(14)
};
