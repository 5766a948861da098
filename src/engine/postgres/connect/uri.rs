//! libpq's connection URIs: `postgresql://user:password@host:port,host:port/database?keyword=value`.

use super::params::{Params, set, usage};
use crate::error::{Exit, Fail, Result};
use crate::raw_text;

/// The parts of a URI, still encoded.
pub(super) struct Parts<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) hosts: &'a str,
    pub(super) database: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes what follows `postgresql://` apart as libpq does: the first `@` before any slash ends the login.
    ///
    /// # Errors
    /// There is an `@` where none can be: something in the password is not encoded, so that all of it would be misread.
    pub(super) fn of(rest: &'a str) -> Result<Self> {
        let slash = rest.find('/').unwrap_or(rest.len());
        let (login, after) = match rest[..slash].find('@') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => ("", rest),
        };
        let parts = Parts::without_login(after);
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let has_login = after.len() < rest.len();
        // Where no login is, one may be among the parameters.
        let named = |pair: &str| ["user=", "password=", "host="].iter().any(|key| pair.starts_with(key));
        let astray = |pair: &str| pair.contains('@') && (has_login || !named(pair));
        if parts.hosts.contains('@') || parts.database.contains('@') || parts.query.split('&').any(astray) {
            return Err(misread());
        }
        Ok(Parts {
            user,
            password,
            ..parts
        })
    }

    /// The same where no login comes before the hosts, as in Java's URLs.
    pub(super) fn without_login(rest: &'a str) -> Self {
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = before.split_once('/').unwrap_or((before, ""));
        Parts {
            user: "",
            password: "",
            hosts,
            database,
            query,
        }
    }

    /// The parameters after the question mark: keyword and value, if it has one.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| {
            pair.split_once('=')
                .map_or((pair, None), |(key, value)| (key, Some(value)))
        })
    }

    /// Login, hosts and database.
    pub(super) fn place(&self, params: &mut Params) -> Result<()> {
        for (keyword, value) in [
            ("user", self.user),
            ("password", self.password),
            ("dbname", self.database),
        ] {
            if !value.is_empty() {
                set(params, keyword, decode(value)?)?;
            }
        }
        parse_hosts(self.hosts, params)
    }

    /// What an error may not tell in words of the URI.
    pub(super) fn is_doubtful(&self) -> bool {
        self.query.contains('@')
    }
}

/// What is told of a URI that something in the password makes unreadable: no part of it, as any may be the password's.
pub(super) fn misread() -> anyhow::Error {
    let message =
        "the connection URL cannot be read: its user or password has a character that must be percent-encoded";
    let hint = "write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, & as %26, % as %25 and a blank as %20";
    Fail::new(Exit::Usage, message).hint(hint).into()
}

/// Takes what follows `postgresql://` apart, with libpq's parameters only.
pub(super) fn parse(rest: &str, params: &mut Params) -> Result<()> {
    let parts = Parts::of(rest)?;
    parts.place(params)?;
    for (keyword, value) in parts.pairs() {
        let Some(value) = value else {
            // It may be a piece of a password, so it is not repeated.
            return Err(usage(
                "missing \"=\" in a query parameter of the connection URI".to_owned(),
            ));
        };
        let (keyword, value) = (decode(keyword)?, decode(value)?);
        // JDBC's spelling, which libpq takes too.
        let known = match (keyword.as_str(), value.as_str()) {
            ("ssl", "true") => set(params, "sslmode", "require".to_owned()),
            _ => set(params, &keyword, value),
        };
        known.map_err(|error| if parts.is_doubtful() { misread() } else { error })?;
    }
    Ok(())
}

fn parse_hosts(hosts: &str, params: &mut Params) -> Result<()> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for part in hosts.split(',') {
        let (name, after) = if let Some(rest) = part.strip_prefix('[') {
            rest.split_once(']')
                .ok_or_else(|| usage("end of an IPv6 address is missing in the connection URI".to_owned()))?
        } else {
            part.split_at(part.find(':').unwrap_or(part.len()))
        };
        let port = match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => {
                return Err(usage(
                    "a colon and a port must follow the host in the connection URI".to_owned(),
                ));
            }
        };
        names.push(decode(name)?);
        ports.push(decode(port)?);
    }
    if names.iter().any(|name| !name.is_empty()) {
        set(params, "host", names.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        set(params, "port", ports.join(","))?;
    }
    Ok(())
}

/// Undoes percent-encoding.
pub(super) fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if decoded != 0 => bytes.push(decoded),
            // The text may be a password: the error does not repeat it.
            _ => {
                let message = "invalid percent-encoded token in the connection URI";
                return Err(Fail::new(Exit::Usage, message).hint("write a % itself as %25").into());
            }
        }
        rest = &rest[2..];
    }
    Ok(raw_text::decode(&bytes))
}
