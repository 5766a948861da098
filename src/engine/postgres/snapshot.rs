//! The transaction of a dump: one snapshot in every session, and settings that make text unambiguous.

use anyhow::Context as _;

use super::connect::session::{Query, Session};
use super::server::Server;
use super::spelling::{self, Spelling};
use crate::error::{Exit, Fail, Result};
use crate::sql::quote::Quote;

/// What the options of a dump say of its sessions.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// The encoding of the dump.
    pub encoding: Encoding,
    /// `--role`.
    pub role: Option<String>,
    /// `--extra-float-digits`.
    pub extra_float_digits: Option<i32>,
    /// `--lock-wait-timeout`: milliseconds, or an interval as `lock_timeout` takes it.
    pub lock_wait_timeout: Option<String>,
    /// `--serializable-deferrable`.
    pub serializable_deferrable: bool,
    /// `--snapshot`: the name of an exported snapshot to use.
    pub snapshot: Option<String>,
    /// `--enable-row-security`.
    pub enable_row_security: bool,
    /// Which names the server quotes in what it prints.
    pub quoting: Quoting,
    /// `--include-foreign-data`: rows of foreign tables are wanted.
    pub foreign_data: bool,
    /// Values are written as this says, whatever the other options and the server's settings are.
    pub spelling: Option<Spelling>,
}

/// `client_encoding`: the encoding of the dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// The database's own, in which nothing is lost.
    #[default]
    Own,
    /// What was asked for: `-E`, `--encoding`, or `client_encoding` in the connection's parameters.
    Named(String),
    /// What the session began with (see [`super::connect::Dsn::encoding_as_set`]): without the option pg_dump leaves
    /// it at that.
    AsSet,
}

/// `quote_all_identifiers`: which names the server quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quoting {
    /// Those that need it, so that definitions can be compared.
    #[default]
    Needed,
    /// All (`--quote-all-identifiers`).
    All,
    /// As the database is set: without the option pg_dump leaves it at that.
    AsSet,
}

/// The first statements run before any setting holds, so their text is plain ASCII and their literals are quoted for
/// whatever `standard_conforming_strings` is.
const UNKNOWN: Quote = Quote {
    all: true,
    std_strings: false,
    ..Quote::standard(0)
};

/// Starts the transaction of a dump in `session` and reads what is true of the server.
///
/// Everything is set for the transaction only: behind a pooler that shares server connections between
/// transactions, nothing of it can be lost, nor stay behind.
///
/// # Errors
/// What the server says: an unknown role, encoding or snapshot.
pub async fn begin(session: &Session, options: &SessionOptions) -> Result<Server> {
    let mut sql = String::from(if options.serializable_deferrable && options.snapshot.is_none() {
        "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;\n"
    } else {
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;\n"
    });
    let q = UNKNOWN;
    if let Some(snapshot) = &options.snapshot {
        sql.push_str(&format!("SET TRANSACTION SNAPSHOT {};\n", q.literal(snapshot)));
    }
    sql.push_str(&settings(options, &q));
    set_up(session, options, &sql).await
}

/// Prepares a session for a dump inside the transaction that it is in, which then sees what that has done. A
/// savepoint takes the settings back.
///
/// # Errors
/// As [`begin`].
pub async fn join(session: &Session, options: &SessionOptions) -> Result<Server> {
    set_up(session, options, &settings(options, &UNKNOWN)).await
}

async fn set_up(session: &Session, options: &SessionOptions, sql: &str) -> Result<Server> {
    let q = UNKNOWN;
    let named = |encoding: &String| Some(format!("SET LOCAL client_encoding TO {}", q.literal(encoding)));
    let encoding = match (&options.spelling, &options.encoding) {
        (Some(spelling), _) => named(&spelling.encoding),
        (None, Encoding::Named(encoding)) => named(encoding),
        (None, Encoding::AsSet) => None,
        (None, Encoding::Own) => Some(OWN_ENCODING.to_owned()),
    };
    let role = options
        .role
        .as_ref()
        .map(|role| format!("SET LOCAL ROLE {}", q.id(role)));
    // All at once: on a far server every round trip counts. They run one after the other, and the first error is
    // the one that comes back.
    let ((), (), (), server) = futures_util::try_join!(
        async { session.run(sql).await.map_err(|error| explain(error, options)) },
        async {
            let set = run(session, encoding.as_deref()).await;
            set.map_err(|error| unknown_encoding(error, options))
        },
        async {
            let set = run(session, role.as_deref()).await;
            set.with_context(|| format!("cannot set the role: {}", role.as_deref().unwrap_or_default()))
        },
        read_server(session),
    )?;
    Ok(server)
}

/// Makes that of the database the encoding of the session, until the end of the transaction: names are as they are then.
pub const OWN_ENCODING: &str =
    "SELECT pg_catalog.set_config('client_encoding', pg_catalog.current_setting('server_encoding'), true)";

async fn run(session: &Session, statement: Option<&str>) -> Result<()> {
    match statement {
        Some(statement) => session.run(statement).await,
        None => Ok(()),
    }
}

fn settings(options: &SessionOptions, q: &Quote) -> String {
    let mut set: Vec<(&str, String)> = [
        // First, because until then the role's own timeout counts.
        ("statement_timeout", "0"),
        ("search_path", "''"),
        ("DateStyle", "ISO"),
        ("IntervalStyle", "POSTGRES"),
        ("synchronize_seqscans", "off"),
        ("idle_in_transaction_session_timeout", "0"),
        // Catalog queries of an unusual size would otherwise be compiled first, for seconds.
        ("jit", "off"),
        // A dump brings its own sessions. The server's workers begin with empty caches each time, and take their rows
        // in no order.
        ("max_parallel_workers_per_gather", "0"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec();
    set.push((
        "extra_float_digits",
        options.extra_float_digits.unwrap_or(3).to_string(),
    ));
    let lock_timeout = options.lock_wait_timeout.as_deref().unwrap_or("0");
    set.push(("lock_timeout", q.literal(lock_timeout)));
    let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
    set.push(("row_security", switch(options.enable_row_security)));
    if options.quoting != Quoting::AsSet {
        set.push(("quote_all_identifiers", switch(options.quoting == Quoting::All)));
    }
    let mut sql: String = set
        .iter()
        .map(|(name, value)| format!("SET LOCAL {name} TO {value};\n"))
        .collect();
    if let Some(spelling) = &options.spelling {
        sql.push_str(&spelling.statements(q));
    }
    // Settings that not every version or minor release has. The restriction keeps a view or foreign table
    // that took a table's place from running code in our name.
    let restricted = if options.foreign_data {
        "view"
    } else {
        "view, foreign-table"
    };
    for (name, value) in [
        ("transaction_timeout", "0"),
        ("restrict_nonsystem_relation_kind", restricted),
    ] {
        sql.push_str(&format!(
            "SELECT pg_catalog.set_config(name, '{value}', true) FROM pg_catalog.pg_settings WHERE name = '{name}';\n"
        ));
    }
    sql
}

fn unknown_encoding(error: anyhow::Error, options: &SessionOptions) -> anyhow::Error {
    match &options.encoding {
        Encoding::Named(encoding) => error.context(format!("invalid client encoding \"{encoding}\" specified")),
        Encoding::Own | Encoding::AsSet => error.context("cannot set the encoding of the dump"),
    }
}

fn explain(error: anyhow::Error, options: &SessionOptions) -> anyhow::Error {
    let Some(snapshot) = &options.snapshot else {
        return error.context("cannot prepare the session of the dump");
    };
    let fail = Fail::new(Exit::Failure, format!("cannot use the snapshot {snapshot:?}")).hint(
        "the session that exported it must still be in its transaction, on the same server; a connection pooler \
             in between must not hand sessions of one dump to different servers",
    );
    error.context(fail)
}

async fn read_server(session: &Session) -> Result<Server> {
    let query = Query::new(format!(
        "SELECT {}, pg_catalog.current_setting('server_version_num')::int4 AS version_num, \
                pg_catalog.current_setting('server_version') AS version, \
                pg_catalog.current_database() AS database, \
                pg_catalog.current_setting('server_encoding') AS database_encoding, \
                pg_catalog.current_setting('standard_conforming_strings') = 'on' AS std_strings, \
                pg_catalog.current_setting('is_superuser') = 'on' AS superuser, \
                pg_catalog.pg_is_in_recovery() AS in_recovery",
        spelling::COLUMNS
    ));
    let rows = session.rows(&query).await?;
    let row = rows.first().context("the server says nothing about itself")?;
    let spelling = Spelling::of(row)?;
    Ok(Server {
        version_num: u32::try_from(row.int("version_num")?)?,
        version: row.text("version")?,
        database: row.text("database")?,
        database_encoding: row.text("database_encoding")?,
        encoding: spelling.encoding.clone(),
        std_strings: row.bool("std_strings")?,
        superuser: row.bool("superuser")?,
        in_recovery: row.bool("in_recovery")?,
        spelling,
    })
}

/// Exports the snapshot of `session`, for other sessions to use while its transaction lasts.
///
/// # Errors
/// What the server says.
pub async fn export(session: &Session) -> Result<String> {
    let rows = session
        .rows(&Query::new("SELECT pg_catalog.pg_export_snapshot() AS snapshot"))
        .await
        .context("cannot export the snapshot")?;
    rows.first().context("no snapshot was exported")?.text("snapshot")
}
