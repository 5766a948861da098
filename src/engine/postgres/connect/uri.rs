//! libpq's connection URIs: `postgresql://user:password@host:port,host:port/database?keyword=value`.

use super::params::{Params, set, usage};
use crate::error::Result;
use crate::raw_text;

/// Takes what follows `postgresql://` apart.
pub(super) fn parse(rest: &str, params: &mut Params) -> Result<()> {
    let (before_query, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    // A password may hold an `@` only percent-encoded, but libpq takes the first one before any slash.
    let authority_end = before_query.find('/').unwrap_or(before_query.len());
    let (authority, path) = before_query.split_at(authority_end);
    let hosts = match authority.split_once('@') {
        Some((login, hosts)) => {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            set_decoded(params, "user", user)?;
            set_decoded(params, "password", password.unwrap_or_default())?;
            hosts
        }
        None => authority,
    };
    parse_hosts(hosts, params)?;
    set_decoded(params, "dbname", path.strip_prefix('/').unwrap_or_default())?;
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let Some((keyword, value)) = pair.split_once('=') else {
            return Err(usage(format!("missing \"=\" in URI query parameter {pair:?}")));
        };
        let (keyword, value) = (decode(keyword)?, decode(value)?);
        // JDBC's spelling, which libpq takes too.
        if keyword == "ssl" && value == "true" {
            set(params, "sslmode", "require".to_owned())?;
        } else {
            set(params, &keyword, value)?;
        }
    }
    Ok(())
}

fn parse_hosts(hosts: &str, params: &mut Params) -> Result<()> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for part in hosts.split(',') {
        let (name, after) = if let Some(rest) = part.strip_prefix('[') {
            rest.split_once(']')
                .ok_or_else(|| usage(format!("end of an IPv6 address is missing in {part:?}")))?
        } else {
            part.split_at(part.find(':').unwrap_or(part.len()))
        };
        let port = match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => return Err(usage(format!("unexpected {after:?} after the host in the URI"))),
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

fn set_decoded(params: &mut Params, keyword: &str, value: &str) -> Result<()> {
    if !value.is_empty() {
        set(params, keyword, decode(value)?)?;
    }
    Ok(())
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if decoded != 0 => bytes.push(decoded),
            // The text may be a password: the error does not repeat it.
            _ => return Err(usage("invalid percent-encoded token in the connection URI".to_owned())),
        }
        rest = &rest[2..];
    }
    Ok(raw_text::decode(&bytes))
}
