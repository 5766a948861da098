//! Connection strings: taken apart into libpq's keywords and their values.

use std::collections::BTreeMap;

use crate::engine::source::{self, SourceKind};
use crate::error::{Exit, Fail, Result};
use crate::nearest::nearest;

/// Keywords that libpq knows, each with its environment variable.
pub(super) const KEYWORDS: &[(&str, &str)] = &[
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslpassword", ""),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslsni", "PGSSLSNI"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("require_auth", "PGREQUIREAUTH"),
    ("requirepeer", "PGREQUIREPEER"),
    ("gssencmode", "PGGSSENCMODE"),
    ("krbsrvname", "PGKRBSRVNAME"),
    ("gsslib", "PGGSSLIB"),
    ("gssdelegation", "PGGSSDELEGATION"),
];

/// Connection parameters by keyword, before defaults.
pub type Params = BTreeMap<&'static str, String>;

/// Takes a connection string apart as libpq does, without filling anything in.
///
/// # Errors
/// The text is malformed or a keyword is unknown.
pub fn params(text: &str) -> Result<Params> {
    let mut params = Params::new();
    // libpq takes any other URL for the name of a database, and then shows it to everybody.
    if let Some((scheme, _)) = source::scheme(text)
        && text.contains("://")
        && !["postgresql", "postgres"].contains(&scheme.as_str())
    {
        return Err(match SourceKind::of(text) {
            SourceKind::Postgres => Fail::new(Exit::Usage, format!("the scheme {scheme}:// is none of libpq's"))
                .hint("here a URL begins with postgresql://")
                .into(),
            other => other.unsupported().into(),
        });
    }
    if let Some(rest) = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
    {
        super::uri::parse(rest, &mut params)?;
    } else if text.contains('=') {
        parse_pairs(text, &mut params)?;
    } else if text.find('@').is_some_and(|at| text[..at].contains(':')) {
        // A name may hold nearly anything, but this is an address that lost its scheme, and may hold a password.
        return Err(no_url());
    } else if !text.is_empty() {
        params.insert("dbname", text.to_owned());
    }
    Ok(params)
}

/// Sets `keyword`, which must be one that libpq knows.
pub(super) fn set(params: &mut Params, keyword: &str, value: String) -> Result<()> {
    let Some((known, _)) = KEYWORDS.iter().find(|(known, _)| *known == keyword) else {
        return Err(unknown(keyword));
    };
    params.insert(known, value);
    Ok(())
}

/// The error of what should be a URL, and is none. It repeats nothing.
pub(super) fn no_url() -> anyhow::Error {
    Fail::new(Exit::Usage, "the connection string is no URL, as it has no scheme")
        .hint("a URL begins with postgresql://")
        .into()
}

/// The error of a keyword that libpq does not know, with the one that was meant.
pub(super) fn unknown(keyword: &str) -> anyhow::Error {
    // What looks like no keyword may be a piece of a URL, with its password.
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !keyword.bytes().all(fine) {
        return usage("invalid connection option".to_owned());
    }
    let fail = Fail::new(Exit::Usage, format!("invalid connection option {keyword:?}"));
    match nearest(keyword, KEYWORDS.iter().map(|(known, _)| *known)) {
        Some(meant) => fail.hint(format!("{meant:?} is the nearest one that there is")).into(),
        None => fail.into(),
    }
}

pub(super) fn usage(message: String) -> anyhow::Error {
    Fail::new(Exit::Usage, message).into()
}

/// `keyword = 'value'` pairs with backslash escapes.
fn parse_pairs(text: &str, params: &mut Params) -> Result<()> {
    let mut chars = text.chars().peekable();
    let mut after_password = false;
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(());
        }
        let mut keyword = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            keyword.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            // The word may be a piece of a password, so it is not repeated.
            let fail = Fail::new(Exit::Usage, "missing \"=\" in the connection string");
            return Err(fail.hint("a value with blanks must be in single quotes").into());
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        let mut closed = !quoted;
        while let Some(c) = chars.next() {
            match c {
                '\\' => value.extend(chars.next()),
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                c if !quoted && c.is_whitespace() => break,
                c => value.push(c),
            }
        }
        if !closed {
            return Err(usage("unterminated quoted string in the connection string".to_owned()));
        }
        let known = set(params, &keyword, value);
        let piece = "a blank in the password of the connection string: it must be in single quotes";
        known.map_err(|error| if after_password { usage(piece.to_owned()) } else { error })?;
        after_password = !quoted && keyword == "password";
    }
}
