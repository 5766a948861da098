//! From connection parameters to a session on a server that the engine knows.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{SslMode as DriverSslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};
use tokio_postgres_rustls::MakeRustlsConnect;

mod brake;
mod certificate;
mod drivers;
mod dsn;
mod failure;
mod framework;
mod greeting;
mod params;
mod pgpass;
mod refused;
mod service;
pub mod session;
mod stream;
mod tls;
mod uri;

pub use brake::{Brake, Held};
pub use certificate::certificate_ends;
pub use dsn::{ChannelBinding, Dsn, Host, SslMode, TargetSession};
pub use failure::{BROKE, is_lock_timeout, is_lost, lost, sql_state};
pub use framework::Note;
pub use params::{Params, params};
pub use refused::Refused;

use self::session::Session;
use crate::error::{Exit, Fail, Result};
use crate::raw_text;
use certificate::Seen;
use greeting::Asked;
use stream::{Carrier, Ready, Socket, Stream};

/// Major versions that the engine writes the dialect of.
pub const SUPPORTED: std::ops::RangeInclusive<u32> = 14..=18;

/// Connects to the first server of `dsn` that answers and is of the wanted kind.
///
/// # Errors
/// None does, the login is refused, or the version is not supported: each names host, port, database and
/// user, and none the password.
pub async fn connect(dsn: &Dsn) -> Result<Session> {
    let mut hosts = dsn.hosts.clone();
    if dsn.load_balance {
        shuffle(&mut hosts);
    }
    let passes: &[TargetSession] = match dsn.target_session {
        TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
        ref other => std::slice::from_ref(other),
    };
    let mut last = None;
    for wanted in passes {
        for host in &hosts {
            let outcome = match connect_host(dsn, host).await {
                Ok(session) => check_kind(&session, *wanted).await.map(|()| session),
                // The server is there and says no: another host would be asked for the same login.
                Err(Failure::Refused(error)) => return Err(failure::explain(error, dsn, host)),
                Err(Failure::Absent(error)) => Err(failure::explain(error, dsn, host)),
            };
            match outcome {
                Ok(session) => return Ok(session),
                Err(error) => last = Some(error),
            }
        }
    }
    Err(last.unwrap_or_else(|| Fail::new(Exit::Usage, "no host to connect to").into()))
}

/// Whether no server of `dsn` takes sessions: none is there, or it is starting or going down. One that refuses a login is there.
pub async fn is_down(dsn: &Dsn) -> bool {
    for host in &dsn.hosts {
        let down = match connect_host(dsn, host).await {
            Ok(_) => false,
            Err(Failure::Absent(_)) => true,
            Err(Failure::Refused(error)) => {
                let coming_or_going = [
                    SqlState::CANNOT_CONNECT_NOW,
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                ];
                failure::sql_state(&error).is_some_and(|code| coming_or_going.contains(code))
            }
        };
        if !down {
            return false;
        }
    }
    true
}

/// Why one host gave no session.
enum Failure {
    /// Nothing that speaks PostgreSQL answered there.
    Absent(anyhow::Error),
    /// A server answered and refused.
    Refused(anyhow::Error),
}

async fn connect_host(dsn: &Dsn, host: &Host) -> Result<Session, Failure> {
    let attempts: &[Layer] = if host.is_socket() {
        &[Layer::Plain]
    } else {
        match dsn.tls.mode {
            SslMode::Disable => &[Layer::Plain],
            SslMode::Allow => &[Layer::Plain, Layer::Tls],
            SslMode::Prefer => &[Layer::TlsIfOffered, Layer::Plain],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Layer::Tls],
        }
    };
    let mut attempts = attempts.iter().peekable();
    loop {
        let Some(layer) = attempts.next() else {
            return Err(Failure::Absent(anyhow::anyhow!("no way to connect")));
        };
        let failure = match within(dsn.connect_timeout, attempt(dsn, host, *layer)).await {
            Ok(session) => return Ok(session),
            Err(failure) => failure,
        };
        // pg_hba.conf may demand TLS, or forbid it: that is what the second attempt is for.
        let other_layer_may_do = match &failure {
            Failure::Absent(error) => error.downcast_ref::<Handshake>().is_some(),
            Failure::Refused(error) => {
                failure::sql_state(error) == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
            }
        };
        if attempts.peek().is_none() || !other_layer_may_do {
            return Err(failure);
        }
    }
}

/// What one attempt puts on the socket.
#[derive(Clone, Copy)]
enum Layer {
    Plain,
    Tls,
    TlsIfOffered,
}

/// Marks a failure of the TLS layer.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {0}")]
struct Handshake(String);

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let Some(limit) = limit else { return work.await };
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Absent(anyhow::anyhow!("timeout expired after {limit:?}"))),
    }
}

async fn attempt(dsn: &Dsn, host: &Host, layer: Layer) -> Result<Session, Failure> {
    if dsn.encoding_as_set {
        return log_in(dsn, host, layer, Asked::AsSet).await.map(|(session, _)| session);
    }
    match log_in(dsn, host, layer, Asked::Utf8).await {
        // What is text in no encoding, or in one that does not become UTF-8, can only be had as it is.
        Ok((_, encoding)) if encoding == "SQL_ASCII" => {}
        Err(Failure::Refused(error)) if failure::sql_state(&error) == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {}
        outcome => return outcome.map(|(session, _)| session),
    }
    log_in(dsn, host, layer, Asked::Bytes).await.map(|(session, _)| session)
}

/// A session, and the encoding of its database.
async fn log_in(dsn: &Dsn, host: &Host, layer: Layer, asked: Asked) -> Result<(Session, String), Failure> {
    let carrier = carrier(dsn, host, layer).await.map_err(Failure::Absent)?;
    let stream = Stream::new(carrier, asked);
    let brake = stream.brake();
    let connected = driver_config(dsn, host).connect_raw(stream, Ready).await;
    let (client, mut connection) = connected.map_err(|error| match error.as_db_error() {
        Some(_) => Failure::Refused(error.into()),
        None if error.is_closed() => Failure::Absent(error.into()),
        None => Failure::Refused(error.into()),
    })?;
    let major = check_version(connection.parameter("server_version")).map_err(Failure::Refused)?;
    let encoding = connection.parameter("server_encoding").unwrap_or_default().to_owned();
    tokio::spawn(async move {
        // Notices are for the log only; an error reaches whoever waits for an answer.
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(tokio_postgres::AsyncMessage::Notice(notice)) => {
                    tracing::debug!("{}: {}", notice.severity(), notice.message());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("connection ended: {error}");
                    break;
                }
            }
        }
    });
    let canceller = Canceller {
        token: client.cancel_token(),
        dsn: Arc::new(dsn.clone()),
        host: host.clone(),
        layer,
    };
    Ok((Session::new(client, canceller, brake, major), encoding))
}

fn driver_config(dsn: &Dsn, host: &Host) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .user(&dsn.user)
        .dbname(&dsn.database)
        .application_name(dsn.application_name.as_deref().unwrap_or("snapback"))
        .channel_binding(dsn.channel_binding)
        // The stream is complete already, TLS included: the driver negotiates nothing itself.
        .ssl_mode(DriverSslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    if let Some(options) = &dsn.options {
        config.options(options);
    }
    let from_file = || pgpass::find(dsn.passfile.as_deref()?, host, &dsn.database, &dsn.user);
    if let Some(password) = dsn.password.clone().or_else(from_file) {
        config.password(raw_text::encode(password.expose()));
    }
    config
}

/// A connected socket with the wanted layer on it.
async fn carrier(dsn: &Dsn, host: &Host, layer: Layer) -> Result<Carrier> {
    carrier_noting(dsn, host, layer, &Seen::default()).await
}

/// The same; the server's certificate is noted.
async fn carrier_noting(dsn: &Dsn, host: &Host, layer: Layer, seen: &Seen) -> Result<Carrier> {
    let mut socket = socket(dsn, host).await?;
    if matches!(layer, Layer::Plain) || host.is_socket() {
        return Ok(Box::new(socket));
    }
    if !dsn.tls.direct && !offers_tls(&mut socket).await? {
        return match layer {
            Layer::TlsIfOffered => Ok(Box::new(socket)),
            _ => Err(Handshake("server does not support TLS, but it was required".to_owned()).into()),
        };
    }
    let config = tls::client_config(&dsn.tls, seen)?;
    let Ok(connector) = <MakeRustlsConnect as MakeTlsConnect<Socket>>::make_tls_connect(
        &mut MakeRustlsConnect::new(config),
        &host.name,
    );
    let stream = connector
        .connect(socket)
        .await
        .map_err(|error| Handshake(error.to_string()))?;
    Ok(Box::new(stream))
}

async fn offers_tls(socket: &mut Socket) -> Result<bool> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];
    socket.write_all(&SSL_REQUEST).await?;
    socket.flush().await?;
    // Exactly one byte: what follows it belongs to the handshake and may be nothing from before it.
    match socket.read_u8().await {
        Ok(b'S') => Ok(true),
        Ok(b'N') => Ok(false),
        Ok(_) => Err(Handshake("what answers there is no PostgreSQL server".to_owned()).into()),
        Err(error) => Err(error).context("no answer to the request for TLS"),
    }
}

async fn socket(dsn: &Dsn, host: &Host) -> Result<Socket> {
    if host.is_socket() {
        return Ok(Socket::Unix(unix_socket(host).await?));
    }
    let name = host.address.as_deref().unwrap_or(&host.name);
    let addresses = tokio::net::lookup_host((name, host.port))
        .await
        .with_context(|| format!("could not find the address of host {name:?}"))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                keep_alive(&socket, dsn)?;
                return Ok(Socket::Tcp(socket));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()).into())
}

async fn unix_socket(host: &Host) -> io::Result<UnixStream> {
    let path = format!("{}/.s.PGSQL.{}", host.name, host.port);
    match path.strip_prefix('@') {
        // An abstract socket: the driver of the kernel knows it by a leading NUL.
        Some(name) => UnixStream::connect(format!("\0{name}")).await,
        None => UnixStream::connect(raw_text::path(&path)).await,
    }
}

fn keep_alive(socket: &TcpStream, dsn: &Dsn) -> io::Result<()> {
    use rustix::net::sockopt;
    let wanted = &dsn.keepalives;
    sockopt::set_socket_keepalive(socket, wanted.enabled)?;
    if let Some(idle) = wanted.idle {
        sockopt::set_tcp_keepidle(socket, idle)?;
    }
    if let Some(interval) = wanted.interval {
        sockopt::set_tcp_keepintvl(socket, interval)?;
    }
    if let Some(count) = wanted.count {
        sockopt::set_tcp_keepcnt(socket, count)?;
    }
    Ok(())
}

/// Refuses servers whose dialect the engine does not know, by the version they report.
fn check_version(version: Option<&str>) -> Result<u32> {
    let version = version.unwrap_or("unknown");
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse() {
        Ok(major) if SUPPORTED.contains(&major) => Ok(major),
        _ => Err(Fail::new(Exit::Usage, format!("PostgreSQL {version} is not supported"))
            .hint(format!(
                "Snapback works with PostgreSQL {} to {}",
                SUPPORTED.start(),
                SUPPORTED.end()
            ))
            .into()),
    }
}

/// Checks `target_session_attrs`.
async fn check_kind(session: &Session, wanted: TargetSession) -> Result<()> {
    if wanted == TargetSession::Any {
        return Ok(());
    }
    let row = session
        .client()
        .query_one(
            "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'",
            &[],
        )
        .await?;
    let (standby, read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let (fits, lacks) = match wanted {
        TargetSession::Any | TargetSession::PreferStandby => (true, ""),
        TargetSession::ReadWrite => (!read_only, "session is read-only"),
        TargetSession::ReadOnly => (read_only, "session is not read-only"),
        TargetSession::Primary => (!standby, "server is in hot standby mode"),
        TargetSession::Standby => (standby, "server is not in hot standby mode"),
    };
    if fits {
        Ok(())
    } else {
        Err(Fail::new(
            Exit::Unreachable,
            format!("{lacks}, but target_session_attrs wants another"),
        )
        .into())
    }
}

/// Any order will do that differs from run to run.
fn shuffle(hosts: &mut [Host]) {
    use std::hash::BuildHasher as _;
    let random = std::hash::RandomState::new();
    hosts.sort_by_cached_key(|host| random.hash_one(host.to_string()));
}

/// Cancels what a session's server process is doing, over a connection of its own.
#[derive(Clone)]
pub struct Canceller {
    token: tokio_postgres::CancelToken,
    dsn: Arc<Dsn>,
    host: Host,
    layer: Layer,
}

impl Canceller {
    /// The server that the session is on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Asks the server to cancel. It answers nothing: what was cancelled fails on its own connection.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn cancel(&self) -> Result<()> {
        let carrier = carrier(&self.dsn, &self.host, self.layer).await?;
        self.token
            .cancel_query_raw(Stream::new(carrier, Asked::Utf8), Ready)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_majors_pass() {
        for version in ["14.0", "15.18 (Debian 15.18-0+deb12u1)", "18.6", "18beta1"] {
            check_version(Some(version)).unwrap();
        }
        for version in ["9.6.24", "13.14", "19devel", ""] {
            let error = check_version(Some(version)).unwrap_err();
            assert_eq!(crate::error::exit_of(&error), Exit::Usage, "{version}");
        }
    }
}
