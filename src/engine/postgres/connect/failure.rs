//! What a person reads when no session comes about.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::{DbError, SqlState};

use super::dsn::{Dsn, Host};
use crate::error::{Exit, Fail, is_classified};

/// The server's error code, if the server said anything.
#[must_use]
pub fn sql_state(error: &anyhow::Error) -> Option<&SqlState> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
        .and_then(tokio_postgres::Error::code)
}

/// The failure with where and who, why, and what to do about it; in libpq's words, which people search for.
pub(super) fn explain(error: anyhow::Error, dsn: &Dsn, host: &Host) -> anyhow::Error {
    if error.downcast_ref::<Fail>().is_some() {
        return error;
    }
    let why = reason(&error);
    let exit = match sql_state(&error) {
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Exit::NotFound,
        _ => Exit::Unreachable,
    };
    let server = if host.is_socket() {
        format!("on socket \"{}/.s.PGSQL.{}\"", host.name, host.port)
    } else {
        format!("at \"{}\", port {}", host.name, host.port)
    };
    let message = format!(
        "connection to server {server} failed: {why} (database {:?}, user {:?})",
        dsn.database, dsn.user
    );
    let mut fail = Fail::new(exit, message);
    let of_server = || said(&error)?.hint();
    fail.hint = hint(&error, &why).or_else(of_server).map(str::to_owned);
    fail.into()
}

/// The same failure, with which server was lost and in the middle of what, where the connection broke off or the server ended
/// it. What says itself what it is stays as it is.
pub fn lost(error: anyhow::Error, dsn: &Dsn, during: &str) -> anyhow::Error {
    if !is_lost(&error) {
        return error;
    }
    let fail = Fail::new(Exit::Unreachable, format!("the connection to {dsn} was lost {during}"));
    error.context(fail.hint(BROKE))
}

/// What to do when a connection broke.
pub const BROKE: &str =
    "the connection to the server broke: see whether it is up, and why it went down, then start again";

/// Whether the failure is that the server did not answer any more, and nothing else: the connection is closed, or the server
/// said that it ends the session.
#[must_use]
pub fn is_lost(error: &anyhow::Error) -> bool {
    if is_classified(error) {
        return false;
    }
    let ended = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
        SqlState::IDLE_SESSION_TIMEOUT,
    ];
    error
        .chain()
        .any(|cause| match cause.downcast_ref::<tokio_postgres::Error>() {
            Some(error) => match error.code() {
                Some(code) => ended.contains(code) || code.code().starts_with("08"),
                None => error.is_closed() || error.source().is_some_and(|cause| cause.is::<io::Error>()),
            },
            None => false,
        })
}

/// Whether a statement gave up waiting for a lock.
#[must_use]
pub fn is_lock_timeout(error: &anyhow::Error) -> bool {
    sql_state(error) == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

fn said(error: &anyhow::Error) -> Option<&DbError> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.as_db_error())
}

/// The chain in one line; of what the server said, its own words alone.
fn reason(error: &anyhow::Error) -> String {
    match said(error) {
        Some(server) => format!("{}:  {}", server.severity(), server.message()),
        None => format!("{error:#}"),
    }
}

fn hint(error: &anyhow::Error, why: &str) -> Option<&'static str> {
    if why.contains("unsupported startup parameter") || why.contains("pgbouncer") {
        return Some(
            "a connection pooler answers there; name the server itself, because a dump needs sessions that share one \
             snapshot",
        );
    }
    if why.contains("password missing") {
        return Some("give a password with PGPASSWORD, ~/.pgpass (mode 0600) or password_file");
    }
    if why.contains("TLS") && why.contains("certificate") {
        return Some("the server's certificate must be signed by sslrootcert and, for verify-full, name the host");
    }
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    match (sql_state(error), io) {
        (Some(code), _) if *code == SqlState::INVALID_PASSWORD => {
            Some("check the password in PGPASSWORD, ~/.pgpass or password_file")
        }
        (Some(code), _) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            Some("check the user's name and the server's pg_hba.conf")
        }
        (Some(code), _) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            Some("free connections, or lower the number of jobs")
        }
        (Some(code), _) if *code == SqlState::INVALID_CATALOG_NAME => Some("`psql -l` lists the databases"),
        (None, _) if why.starts_with("could not find the address of host") && why.contains('@') => Some(
            "what stands before the @ may be of the password: in a URL write @ as %40, : as %3A, / as %2F, ? as %3F and # as %23",
        ),
        (None, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)) => {
            Some("is the server running there, and does it accept connections?")
        }
        _ => None,
    }
}
