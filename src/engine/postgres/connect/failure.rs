//! What a person reads when no session comes about.

use std::io;

use tokio_postgres::error::{DbError, SqlState};

use super::dsn::{Dsn, Host};
use crate::error::{Exit, Fail};

/// The server's error code, if the server said anything.
pub(super) fn sql_state(error: &anyhow::Error) -> Option<&SqlState> {
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
        (None, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)) => {
            Some("is the server running there, and does it accept connections?")
        }
        _ => None,
    }
}
