//! Connection parameters as libpq reads them: URI, `keyword=value` string or plain database name, then a
//! service file, then the environment, then defaults.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;

use super::framework::{self, Note};
use super::params::{KEYWORDS, Params, usage};
use super::service;
use crate::error::{Exit, Fail, Result};
use crate::raw_text;
use crate::secret::Secret;

/// How far TLS is asked for, and what is verified (libpq's `sslmode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // libpq's own names
pub enum SslMode {
    Disable,
    Allow,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Which kind of server is wanted (libpq's `target_session_attrs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // libpq's own names
pub enum TargetSession {
    #[default]
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// Whether SCRAM must be bound to the TLS channel (libpq's `channel_binding`).
pub use tokio_postgres::config::ChannelBinding;

/// One place where the server may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Host name, address, or folder of a Unix socket (begins with `/` or `@`).
    pub name: String,
    /// Address to connect to instead of looking the name up.
    pub address: Option<String>,
    /// Port; also part of the socket's name.
    pub port: u16,
}

impl Host {
    /// Whether it is a Unix socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.address.is_none() && self.name.starts_with(['/', '@'])
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_socket() {
            write!(f, "socket {}/.s.PGSQL.{}", self.name, self.port)
        } else {
            write!(f, "{} port {}", self.name, self.port)
        }
    }
}

/// Everything that a connection needs, with all sources merged.
#[derive(Clone, Debug)]
pub struct Dsn {
    /// Where to try, in order.
    pub hosts: Vec<Host>,
    /// Name to log in with.
    pub user: String,
    /// Password, unless `~/.pgpass` is to be asked.
    pub password: Option<Secret>,
    /// The password file.
    pub passfile: Option<PathBuf>,
    /// Database to connect to.
    pub database: String,
    /// `application_name`, where one was given.
    pub application_name: Option<String>,
    /// Command line options for the server process.
    pub options: Option<String>,
    /// `client_encoding`, where one was given: the encoding of a dump.
    pub client_encoding: Option<String>,
    /// Whether sessions begin with the `client_encoding` that the server's settings give them, as those of pg_dump do,
    /// instead of with UTF-8.
    pub encoding_as_set: bool,
    /// How long one attempt may take.
    pub connect_timeout: Option<Duration>,
    /// Whether to send TCP keepalives, and after how long, how often, how many.
    pub keepalives: Keepalives,
    /// TLS.
    pub tls: Tls,
    /// Which kind of server is wanted.
    pub target_session: TargetSession,
    /// Whether the hosts are tried in random order.
    pub load_balance: bool,
    /// Whether SCRAM must be bound to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// What there is to say of how the connection string was understood.
    pub notes: Vec<Note>,
}

/// After how long a silence a keepalive is sent where nobody says. What stands between us and a server forgets a connection that is
/// silent: Azure's load balancers after 4 minutes, AWS's and its NAT gateways after 350 seconds. A session that holds a lock, or
/// builds an index, may be silent for hours; the system's value is two.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(60);

/// TCP keepalives; `None` leaves the system's value.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // libpq's own names
pub struct Keepalives {
    pub enabled: bool,
    pub idle: Option<Duration>,
    pub interval: Option<Duration>,
    pub count: Option<u32>,
}

/// TLS settings; `None` means libpq's default file, where it exists.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // libpq's own names
pub struct Tls {
    pub mode: SslMode,
    pub direct: bool,
    pub rootcert: Option<String>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub sni: bool,
    pub only_tls13: bool,
}

/// What only would make a connection stricter: silently ignoring it would weaken the login.
const UNSUPPORTED: &[&str] = &["sslcrl", "sslcrldir", "requirepeer", "require_auth", "sslpassword"];

impl Dsn {
    /// Reads `text` (a URL as libpq and frameworks write them, `keyword=value` pairs, a plain database name, or nothing) and
    /// fills in what it leaves open from the service file and the environment.
    ///
    /// # Errors
    /// The text is malformed or of another kind of database, a keyword is unknown or its value impossible.
    pub fn parse(text: &str) -> Result<Dsn> {
        let (params, notes) = framework::read(text)?;
        Ok(Dsn {
            notes,
            ..Dsn::from_params(params)?
        })
    }

    /// The same for parameters that were already taken apart (and changed by command line options).
    ///
    /// # Errors
    /// As [`Dsn::parse`].
    pub fn from_params(mut params: Params) -> Result<Dsn> {
        service::fill(&mut params)?;
        for (keyword, variable) in KEYWORDS {
            if !variable.is_empty()
                && !params.contains_key(keyword)
                && let Some(value) = std::env::var_os(variable)
                && !value.is_empty()
            {
                // Names may be in any encoding.
                params.insert(keyword, raw_text::decode(value.as_bytes()));
            }
        }
        let mut dsn = build(&params)?;
        let zone = std::env::var("PGTZ").ok();
        if let Some(zone) = zone.filter(|zone| !zone.is_empty() && !zone.eq_ignore_ascii_case("default")) {
            dsn.options = Some(with_time_zone(dsn.options.as_deref(), &zone));
        }
        Ok(dsn)
    }

    /// The same server and login, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Dsn {
        Dsn {
            database: database.to_owned(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        write!(
            f,
            "database {:?} on {} as user {:?}",
            self.database,
            hosts.join(" or "),
            self.user
        )
    }
}

fn build(params: &Params) -> Result<Dsn> {
    let get = |keyword: &str| params.get(keyword).map(String::as_str).filter(|v| !v.is_empty());
    for keyword in UNSUPPORTED {
        if get(keyword).is_some() {
            return Err(usage(format!("connection option {keyword:?} is not supported")));
        }
    }
    if get("gssencmode") == Some("require") {
        return Err(usage("gssencmode=require is not supported".to_owned()));
    }
    let user = match get("user") {
        Some(user) => user.to_owned(),
        None => os_user()?,
    };
    Ok(Dsn {
        hosts: hosts(get("host"), get("hostaddr"), get("port"))?,
        database: get("dbname").unwrap_or(&user).to_owned(),
        user,
        password: get("password").map(Secret::new),
        passfile: get("passfile")
            .map(raw_text::path)
            .or_else(|| home().map(|home| home.join(".pgpass"))),
        application_name: get("application_name")
            .or(get("fallback_application_name"))
            .map(str::to_owned),
        options: get("options").map(str::to_owned),
        client_encoding: get("client_encoding")
            .filter(|encoding| *encoding != "auto")
            .map(str::to_owned),
        encoding_as_set: false,
        connect_timeout: seconds(get("connect_timeout"), "connect_timeout")?,
        keepalives: Keepalives {
            enabled: get("keepalives") != Some("0"),
            idle: match get("keepalives_idle") {
                None => Some(KEEPALIVES_IDLE),
                given => seconds(given, "keepalives_idle")?,
            },
            interval: seconds(get("keepalives_interval"), "keepalives_interval")?,
            count: number(get("keepalives_count"), "keepalives_count")?.filter(|count| *count > 0),
        },
        tls: tls(&get)?,
        target_session: target_session(get("target_session_attrs"))?,
        load_balance: match get("load_balance_hosts") {
            None | Some("disable") => false,
            Some("random") => true,
            Some(other) => return Err(invalid("load_balance_hosts", other)),
        },
        channel_binding: match get("channel_binding") {
            Some("disable") => ChannelBinding::Disable,
            None | Some("prefer") => ChannelBinding::Prefer,
            Some("require") => ChannelBinding::Require,
            Some(other) => return Err(invalid("channel_binding", other)),
        },
        notes: Vec::new(),
    })
}

/// The server takes `PGTZ` after the options, and in options a backslash keeps the next character.
fn with_time_zone(options: Option<&str>, zone: &str) -> String {
    let mut all = format!("{} -c TimeZone=", options.unwrap_or_default());
    for c in zone.chars() {
        if c == '\\' || c.is_ascii_whitespace() {
            all.push('\\');
        }
        all.push(c);
    }
    all
}

fn tls<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Tls> {
    let rootcert = get("sslrootcert").map(str::to_owned);
    let system = rootcert.as_deref() == Some("system");
    let mode = match get("sslmode") {
        None if system => SslMode::VerifyFull,
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => return Err(invalid("sslmode", other)),
    };
    if system && mode != SslMode::VerifyFull {
        // Anyone can get a certificate of a public CA, so trusting them without the name proves nothing.
        return Err(Fail::new(
            Exit::Usage,
            "a weak sslmode may not be used with sslrootcert=system".to_owned(),
        )
        .hint("use sslmode=verify-full")
        .into());
    }
    let direct = match get("sslnegotiation") {
        None | Some("postgres") => false,
        Some("direct") if mode < SslMode::Require => {
            return Err(usage(
                "a weak sslmode may not be used with sslnegotiation=direct (use \"require\", \"verify-ca\" or \
                 \"verify-full\")"
                    .to_owned(),
            ));
        }
        Some("direct") => true,
        Some(other) => return Err(invalid("sslnegotiation", other)),
    };
    Ok(Tls {
        mode,
        direct,
        rootcert,
        cert: get("sslcert")
            .filter(|_| get("sslcertmode") != Some("disable"))
            .map(raw_text::path),
        key: get("sslkey").map(raw_text::path),
        sni: get("sslsni") != Some("0"),
        only_tls13: get("ssl_min_protocol_version") == Some("TLSv1.3"),
    })
}

fn target_session(value: Option<&str>) -> Result<TargetSession> {
    Ok(match value {
        None | Some("any") => TargetSession::Any,
        Some("read-write") => TargetSession::ReadWrite,
        Some("read-only") => TargetSession::ReadOnly,
        Some("primary") => TargetSession::Primary,
        Some("standby") => TargetSession::Standby,
        Some("prefer-standby") => TargetSession::PreferStandby,
        Some(other) => return Err(invalid("target_session_attrs", other)),
    })
}

fn hosts(names: Option<&str>, addresses: Option<&str>, ports: Option<&str>) -> Result<Vec<Host>> {
    let split = |list: Option<&str>| -> Vec<String> {
        list.map_or_else(Vec::new, |list| {
            list.split(',').map(|item| item.trim().to_owned()).collect()
        })
    };
    let (names, addresses, ports) = (split(names), split(addresses), split(ports));
    let count = names.len().max(addresses.len()).max(1);
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(usage(format!(
            "could not match {} host names to {} hostaddr values",
            names.len(),
            addresses.len()
        )));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(usage(format!(
            "could not match {} port numbers to {count} hosts",
            ports.len()
        )));
    }
    let mut hosts = Vec::new();
    for at in 0..count {
        let port = match ports.get(if ports.len() == 1 { 0 } else { at }).map(String::as_str) {
            None | Some("") => 5432,
            Some(text) => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(invalid_port(text)),
            },
        };
        let address = addresses.get(at).filter(|address| !address.is_empty()).cloned();
        let name = match names.get(at).filter(|name| !name.is_empty()) {
            Some(name) => name.clone(),
            None => address.clone().unwrap_or_else(|| default_socket_folder(port)),
        };
        hosts.push(Host { name, address, port });
    }
    Ok(hosts)
}

/// Debian's libpq looks in one folder, a self-built one in the other: take the one that has the socket.
fn default_socket_folder(port: u16) -> String {
    let candidates = ["/var/run/postgresql", "/tmp"];
    candidates
        .into_iter()
        .find(|folder| PathBuf::from(format!("{folder}/.s.PGSQL.{port}")).exists())
        .unwrap_or(candidates[0])
        .to_owned()
}

/// What stands where a value should be may be a piece of a password: only what looks like a value is repeated.
fn invalid(keyword: &str, value: &str) -> anyhow::Error {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match value.bytes().all(fine) {
        true => usage(format!("invalid {keyword} value: {value:?}")),
        false => usage(format!("invalid {keyword} value")),
    }
}

fn invalid_port(text: &str) -> anyhow::Error {
    if text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return usage(format!("invalid port number: {text:?}"));
    }
    Fail::new(
        Exit::Usage,
        "invalid port number: what follows the host's colon is no number",
    )
    .hint("a URL has the password before an @: postgresql://user:password@host:port/database")
    .into()
}

fn number(value: Option<&str>, keyword: &str) -> Result<Option<u32>> {
    value
        .map(|value| value.trim().parse().map_err(|_| invalid(keyword, value)))
        .transpose()
}

fn seconds(value: Option<&str>, keyword: &str) -> Result<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let seconds: i64 = value.trim().parse().map_err(|_| invalid(keyword, value))?;
    // Zero and below mean "the system's default" or "for ever" in libpq.
    Ok(u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs))
}

/// The home folder, where libpq's default files are.
pub(super) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
}

/// Name of the operating system's user.
fn os_user() -> Result<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    // Users of a directory service are in no file.
    match listed.or_else(|| std::env::var("USER").ok()) {
        Some(user) => Ok(user),
        None => bail!("no user name given, and user id {uid} has none"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::params::params;
    use super::*;

    fn dsn(text: &str) -> Dsn {
        build(&params(text).unwrap()).unwrap()
    }

    #[test]
    fn the_three_ways_to_write_it_agree() {
        for text in [
            "postgresql://ann:s%20e@db.example:5433/shop?sslmode=verify-full&connect_timeout=7",
            "host=db.example port=5433 user=ann password='s e' dbname = shop sslmode=verify-full connect_timeout=7",
        ] {
            let dsn = dsn(text);
            assert_eq!(dsn.hosts[0].to_string(), "db.example port 5433");
            assert_eq!((dsn.user.as_str(), dsn.database.as_str()), ("ann", "shop"));
            assert_eq!(dsn.password.as_ref().unwrap().expose(), "s e");
            assert_eq!(dsn.tls.mode, SslMode::VerifyFull);
            assert_eq!(dsn.connect_timeout, Some(Duration::from_secs(7)));
            assert!(!format!("{dsn:?} {dsn}").contains("s e"), "the password is never shown");
        }
        assert_eq!(dsn("shop").database, "shop");
    }

    #[test]
    fn uris_have_sockets_addresses_and_many_hosts() {
        let many = dsn("postgres://u@one:1,[::1]:2,three/db?target_session_attrs=standby");
        let ports: Vec<_> = many.hosts.iter().map(|h| (h.name.as_str(), h.port)).collect();
        assert_eq!(ports, [("one", 1), ("::1", 2), ("three", 5432)]);
        assert_eq!(many.target_session, TargetSession::Standby);
        let socket = dsn("postgresql://u@/db?host=/run/pg&port=7");
        assert_eq!(socket.hosts[0].to_string(), "socket /run/pg/.s.PGSQL.7");
        let encoded = dsn("postgresql://u@%2Frun%2Fpg/db");
        assert!(encoded.hosts[0].is_socket());
    }

    #[test]
    fn pairs_have_quotes_and_escapes() {
        let dsn = dsn(r"user='a\'b\\c' dbname=x\ y application_name=''");
        assert_eq!(dsn.user, r"a'b\c");
        assert_eq!(dsn.database, "x y");
    }

    #[test]
    fn impossible_values_are_errors() {
        for (text, says) in [
            ("host=a colour=red", "invalid connection option \"colour\""),
            ("user='a", "unterminated"),
            ("host=a,b port=1,2,3", "could not match 3 port numbers to 2 hosts"),
            ("port=99999", "invalid port number: \"99999\""),
            ("sslmode=maybe", "invalid sslmode value: \"maybe\""),
            ("sslmode=require sslrootcert=system", "weak sslmode"),
            ("requirepeer=postgres", "not supported"),
            ("postgresql://u:p%ZZ@h/d", "percent-encoded"),
        ] {
            let error = params(text).and_then(|params| build(&params)).unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }
}
