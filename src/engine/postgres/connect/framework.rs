//! Connection strings as frameworks write them: SQLAlchemy's and Java's schemes, .NET's semicolons, and parameters of drivers. What
//! can be understood is, what is only a driver's is left out and noted, and a mistyped option is an error as with libpq.

use super::drivers::{self, Meaning};
use super::params::{self, KEYWORDS, Params, set, usage};
use super::uri::{self, Parts};
use crate::engine::source::{self, SourceKind};
use crate::error::{Exit, Fail, Result};
use crate::nearest::nearest;

/// What there is to say of a connection string that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A parameter that is only a driver's was left out.
    Left(String),
    /// Something that a person should know.
    Told(String),
}

impl Note {
    /// Says it in the log.
    pub fn log(&self, job: &str) {
        match self {
            Note::Left(text) => tracing::debug!(job, "{text}"),
            Note::Told(text) => tracing::warn!(job, "{text}"),
        }
    }
}

/// Takes a connection string apart, in whatever way it is written.
pub(super) fn read(text: &str) -> Result<(Params, Vec<Note>)> {
    let text = source::unwrap(text);
    let kind = SourceKind::of(text);
    if kind != SourceKind::Postgres {
        return Err(kind.unsupported().into());
    }
    let mut reading = Reading::default();
    match source::after_scheme(text) {
        None if is_semicolons(text) => reading.semicolons(text)?,
        None if text.contains('=') => reading.params = params::params(text)?,
        // A name may hold nearly anything, but this is an address that lost its scheme, and may hold a password.
        None if text.contains('@') || text.contains("//") => return Err(params::no_url()),
        None => reading.params = params::params(text)?,
        Some((rest, wrapped)) => match rest.strip_prefix("//") {
            Some(rest) => reading.url(rest, wrapped)?,
            None if has_keys(rest) => reading.semicolons(rest)?,
            None if wrapped && !rest.contains('@') => {
                reading.url(&format!("/{}", rest.trim_start_matches('/')), true)?
            }
            None => return Err(params::no_url()),
        },
    }
    reading.end()
}

/// Whether it is a string as ADO.NET and ODBC have them: `Host=db;Username=app;Password=…`.
fn is_semicolons(text: &str) -> bool {
    text.contains(';') && has_keys(text)
}

/// Whether the first parts of a string with semicolons are known keys with one value each.
fn has_keys(text: &str) -> bool {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let known = |part: &str| {
        let Some((key, value)) = part.split_once('=') else {
            return false;
        };
        let one = !value.contains('=') || value.starts_with(['"', '\'', '{']) || key.to_lowercase().starts_with('p');
        one && drivers::semicolon_meaning(key.trim()).is_some()
    };
    parts.take(2).all(known)
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    params: Params,
    notes: Vec<Note>,
    hosts: Vec<(String, String)>,
    /// What `ssl` says; `sslmode` says it better.
    ssl: Option<&'static str>,
    /// Whether Prisma wants a valid certificate.
    valid_certificate: bool,
}

impl Reading {
    /// What follows `://`; Java's URLs have the login among the parameters.
    fn url(&mut self, rest: &str, java: bool) -> Result<()> {
        let slash_or_query = rest.find(['/', '?']).unwrap_or(rest.len());
        let parts = match java && !rest[..slash_or_query].contains('@') {
            true => Parts::without_login(rest),
            false => Parts::of(rest)?,
        };
        if parts.hosts.contains('@') || parts.database.contains('@') {
            return Err(uri::misread());
        }
        parts.place(&mut self.params)?;
        for (name, value) in parts.pairs() {
            let name = uri::decode(name)?;
            // In forms, and so in Java, a plus sign is a blank.
            let value = match (value, java) {
                (Some(value), true) => uri::decode(&value.replace('+', " "))?,
                (Some(value), false) => uri::decode(value)?,
                (None, _) => String::new(),
            };
            let meaning = drivers::meaning(&name);
            if meaning.is_none() && parts.is_doubtful() {
                return Err(uri::misread());
            }
            let taken = self.take(&name, &value, meaning);
            taken.map_err(|error| if parts.is_doubtful() { uri::misread() } else { error })?;
        }
        Ok(())
    }

    /// `Key=value;Key='value'`.
    fn semicolons(&mut self, text: &str) -> Result<()> {
        let mut rest = text.trim();
        while !rest.is_empty() {
            let Some((name, after)) = rest.split_once('=') else {
                // It may be a piece of a password.
                return Err(usage("missing \"=\" in the connection string".to_owned()));
            };
            let after = after.trim_start();
            let closing = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => Some(quote),
                Some('{') => Some('}'),
                _ => None,
            };
            let (value, after) = match closing {
                Some(quote) => {
                    let unterminated = || usage("unterminated quoted string in the connection string".to_owned());
                    after[1..].split_once(quote).ok_or_else(unterminated)?
                }
                None => after.split_at(after.find(';').unwrap_or(after.len())),
            };
            let name = name.trim();
            let meaning = drivers::semicolon_meaning(name);
            if meaning.is_none() && self.params.contains_key("password") {
                let message = "a value in the connection string has a semicolon: it must be in quotes";
                return Err(usage(message.to_owned()));
            }
            self.take(name, value.trim_end(), meaning)?;
            rest = after.trim_start().trim_start_matches(';').trim_start();
        }
        Ok(())
    }

    /// One parameter.
    fn take(&mut self, name: &str, value: &str, meaning: Option<Meaning>) -> Result<()> {
        let wrong = || usage(format!("invalid value of {name} in the connection URL"));
        match meaning {
            Some(Meaning::Option(option)) => set(&mut self.params, option, value.to_owned())?,
            Some(Meaning::Host) => self.hosts.push(host(value)),
            Some(Meaning::Seconds(option)) => match value.trim_end_matches('s').parse::<u32>() {
                Ok(seconds) => set(&mut self.params, option, seconds.to_string())?,
                Err(_) => self.leave(name),
            },
            Some(Meaning::Ssl) => {
                let mode = drivers::ssl_mode(value).ok_or_else(|| {
                    let hint = "it is one of disable, allow, prefer, require, verify-ca and verify-full";
                    Fail::new(Exit::Usage, format!("invalid {name} value in the connection URL")).hint(hint)
                })?;
                match drivers::plain(name).as_str() {
                    "sslmode" => set(&mut self.params, "sslmode", mode.to_owned())?,
                    _ => self.ssl = Some(mode),
                }
            }
            Some(Meaning::SslAccept) => self.valid_certificate = value.eq_ignore_ascii_case("strict"),
            Some(Meaning::TargetServer) => {
                let wanted = drivers::target_session(value).ok_or_else(wrong)?;
                set(&mut self.params, "target_session_attrs", wanted.to_owned())?;
            }
            Some(Meaning::LoadBalance) => {
                let order = if drivers::is_on(value) { "random" } else { "disable" };
                set(&mut self.params, "load_balance_hosts", order.to_owned())?;
            }
            Some(Meaning::KeepAlive) => {
                let sent = u8::from(drivers::is_on(value)).to_string();
                set(&mut self.params, "keepalives", sent)?;
            }
            Some(Meaning::Schema) => self.notes.push(Note::Told(format!(
                "the URL's parameter schema={value} is the application's: a backup is of all schemas, unless dump.schemas names some"
            ))),
            Some(Meaning::SocketFactory) => {
                let message = format!("{name} in the connection URL is a connector of Java, which only Java has");
                let hint = "name a host and a port that the server or its proxy answers at";
                return Err(Fail::new(Exit::Usage, message).hint(hint).into());
            }
            Some(Meaning::Driver) => self.leave(name),
            None => self.unknown(name)?,
        }
        Ok(())
    }

    fn leave(&mut self, name: &str) {
        let text = format!("the URL's parameter {name} is of a driver or a framework, and is left out");
        self.notes.push(Note::Left(text));
    }

    /// A parameter that nobody knows: a mistake, if it looks like one.
    fn unknown(&mut self, name: &str) -> Result<()> {
        let meant = nearest(name, KEYWORDS.iter().map(|(keyword, _)| *keyword));
        if meant.is_some() || drivers::is_of_safety(name) {
            return Err(params::unknown(name));
        }
        self.notes.push(Note::Told(format!(
            "the URL's parameter {name:?} is none of PostgreSQL and of no driver that is known here: it is left out"
        )));
        Ok(())
    }

    /// All together.
    fn end(mut self) -> Result<(Params, Vec<Note>)> {
        if !self.hosts.is_empty() {
            let names: Vec<&str> = self.hosts.iter().map(|(name, _)| name.as_str()).collect();
            set(&mut self.params, "host", names.join(","))?;
            if self.hosts.iter().any(|(_, port)| !port.is_empty()) {
                let ports: Vec<&str> = self.hosts.iter().map(|(_, port)| port.as_str()).collect();
                set(&mut self.params, "port", ports.join(","))?;
            }
        }
        if let Some(mode) = self.ssl
            && !self.params.contains_key("sslmode")
        {
            set(&mut self.params, "sslmode", mode.to_owned())?;
        }
        let mode = self.params.get("sslmode").map(String::as_str);
        if self.valid_certificate && !matches!(mode, Some("disable" | "verify-ca" | "verify-full")) {
            set(&mut self.params, "sslmode", "verify-full".to_owned())?;
            self.params.entry("sslrootcert").or_insert_with(|| "system".to_owned());
        }
        Ok((self.params, self.notes))
    }
}

/// A host and its port, if it has one: `db:5433`, `/run/postgresql`, `/run/postgresql/.s.PGSQL.5433`, `::1`.
fn host(value: &str) -> (String, String) {
    if value.starts_with(['/', '@']) {
        return match value.split_once("/.s.PGSQL.") {
            Some((folder, port)) => (folder.to_owned(), port.to_owned()),
            None => (value.to_owned(), String::new()),
        };
    }
    match value.split_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name.to_owned(), port.to_owned())
        }
        _ => (value.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests;
